"""Where every language stands: examples against wanted, what the next `doit` does and why, which model answers.

Everything is read from the files that the steps leave behind; nothing heavy is imported, no step is run.
"""

import json
from datetime import UTC, datetime
from typing import Any

from specialists import adapters
from specialists.cli import duration, size, table
from specialists.config import Config, Language, Problem
from specialists.records import SOURCES
from specialists.server import base_url, served_models


def server_state(config: Config) -> dict[str, Any]:
    """What answers at the configured address: {"url", "models": {name: folder} or None, "problem"}."""
    state: dict[str, Any] = {"url": base_url(config), "models": None, "problem": None}
    try:
        return {**state, "models": served_models(config, timeout=0.5)}
    except Problem as problem:
        return {**state, "problem": str(problem)}


def status(config: Config, server: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every language's state, and with `server`, of server_state, what is served, as plain data:
    {"base", "languages": {name: language_status()}, "server"?, "findings"}."""
    languages = {name: language_status(config, language, server) for name, language in config.languages.items()}
    findings = [*map(str, config.findings), *adapters.not_served(config)]
    result = {"base": config.base.model, "languages": languages, "findings": findings}
    return {**result, "server": server} if server else result


def language_status(config: Config, language: Language, server: dict[str, Any] | None = None) -> dict[str, Any]:
    """What went in, what came out, what is out of date, from the files of one language."""
    folder = adapters.adapter_folder(config, language)
    summary = adapters.train_summary(config, language)
    evaluation = adapters.evaluation_of(folder.latest)
    models = server["models"] if server else None
    return {
        "language": language.name,
        **{name: getattr(language, name) for name in ("title", "adapter", "min_examples", "max_examples")},
        **{part: {kind: (summary.get(part) or {}).get(kind, 0) for kind in SOURCES} for part in ("train", "heldout")},
        "next": next_step(config, language),
        "latest": folder.latest.name if folder.latest else None,
        "current": folder.current.name if folder.current else None,
        **{name: evaluation.get(name) for name in ("verdict", "reason", "loss")},
        "cost": cost(adapters.manifest_of(folder.latest)),
        "served": None if models is None else language.adapter in models,
    }


def next_step(config: Config, language: Language) -> str | None:
    """What the next `doit` does for a language with the rows that there are, and why; None: nothing."""
    folder = adapters.adapter_folder(config, language)
    if not adapters.train_summary(config, language):
        return "build examples: there are none yet"
    if few := adapters.too_few(config, language):
        return few
    if not adapters.is_trained(config, language):
        return f"train: {_training_change(config, language, adapters.manifest_of(folder.latest))}"
    if adapters.present_verdict(config, language) == adapters.WAIT:
        return "evaluate: waits for the server to be measured in; `doit serve`, or the next doit while it runs"
    if not adapters.is_evaluated(config, language):
        known = adapters.evaluation_of(folder.latest).get("inputs")
        changed = "held-out rows, incumbent, [evaluation] or serving.model changed"
        return f"evaluate: {changed if known else 'not evaluated yet'}"
    return None if adapters.is_decided(config, language) else "promote: the verdict was not acted on yet"


def _training_change(config: Config, language: Language, manifest: dict[str, Any]) -> str:
    """Why the newest version is not what a training would make now, and what that training took the last time."""
    if not manifest:
        begun = any(adapters.adapter_folder(config, language).path.glob(".*/checkpoint-*"))
        return "never trained" + ", goes on where it was stopped" * begun
    inputs, known = adapters.training_inputs(config, language), manifest.get("inputs", {})
    reasons = []
    if known.get("rows") != inputs["rows"]:
        count = sum((adapters.train_summary(config, language).get("train") or {}).values())
        reasons.append(f"rows changed ({manifest.get('rows')} -> {count})")
    if known.get("config") != inputs["config"]:
        trained, now = manifest.get("training", {}), json.loads(json.dumps(vars(language.training)))
        changed = [name for name in now if name in trained and trained[name] != now[name]]
        reasons += [f"training.{name} {trained[name]} -> {now[name]}" for name in changed]
        reasons += [] if changed else ["the base model, base.dtype or the training code changed"]
    took = cost(manifest)
    return f"{'; '.join(reasons)}{f' (the last one took {took})' if took else ''}"


def cost(manifest: dict[str, Any]) -> str | None:
    """Time and memory of a version's training, in words; None when the manifest does not say."""
    seconds, memory = manifest.get("seconds"), manifest.get("peak_memory_bytes")
    return ", ".join([duration(seconds or 0)] * (seconds is not None) + [size(memory or 0)] * bool(memory)) or None


def age(version: str) -> str:
    """A version's name, 20261123-091500-1a2b3c4d, as its date and time; a name of another form as it is."""
    try:
        return f"{datetime.strptime(version[:15], '%Y%m%d-%H%M%S').replace(tzinfo=UTC):%Y-%m-%d %H:%M}"
    except ValueError:
        return version


def as_text(state: dict[str, Any]) -> str:
    """The table that `doit status` prints, and below it what the next `doit` does and what runs."""
    header = ["language", *SOURCES.values(), "wanted", "held out", "newest version", "verdict", "promoted", "served"]
    languages = state["languages"].values()
    lines = [table([_row(language) for language in languages], header), ""]
    todo = [f"{language['title']}: {language['next']}" for language in languages if language["next"]]
    lines += ["The next doit, with the examples that there are:", *todo] if todo else ["Everything is up to date."]
    lines += [f"Wrong or missing: {finding}" for finding in state["findings"]]
    if server := state.get("server"):
        models = ", ".join(server["models"] or ())
        lines.append(f"Server {server['url']}: {models or server['problem'] or 'none runs there'}")
    return "\n".join(lines)


def _row(state: dict[str, Any]) -> list[Any]:
    counts, heldout = list(state["train"].values()), sum(state["heldout"].values())
    least, most = state["min_examples"], state["max_examples"]
    promoted = state["current"] and ("newest" if state["current"] == state["latest"] else age(state["current"]))
    return [
        state["title"],
        *counts,
        f"{sum(counts) + heldout} of {least}-{most}",
        heldout,
        age(state["latest"]) if state["latest"] else "-",
        state["verdict"] or "-",
        promoted or "-",
        {None: "no server", True: "adapter", False: "base"}[state["served"]],
    ]
