"""Where every language stands: examples against wanted, what would be rebuilt and why, who answers.

Everything is read from the files that the steps leave behind; nothing heavy is imported, no step is run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from specialists import adapters
from specialists.cli import duration, size, table
from specialists.config import Config, Language, Problem
from specialists.records import SOURCES
from specialists.server import base_url, served_models

SHOWN = SOURCES


@dataclass(frozen=True)
class LanguageStatus:
    """One language: what went in, what came out, what is out of date."""

    language: str
    title: str
    adapter: str
    min_examples: int
    max_examples: int
    train: dict[str, int]  # examples by source
    heldout: dict[str, int]
    stale: list[str]  # what the next `doit` does, and why
    latest: str | None  # version
    current: str | None  # version
    verdict: str | None
    reason: str | None
    loss: dict[str, Any] | None  # gate.compare() of adapter and base
    cost: str | None  # what the latest training took
    served: bool | None  # by the running server; None: no server was found, or none was asked


@dataclass(frozen=True)
class Server:
    """What answers at the configured address."""

    url: str
    models: list[str] | None  # None: no server
    problem: str | None = None


def server_state(config: Config, timeout: float = 0.5) -> Server:
    """Ask the server which models it serves; one that is not there, or not ours, is a state like any other."""
    try:
        return Server(base_url(config), served_models(config, timeout))
    except (Problem, OSError) as problem:
        return Server(base_url(config), None, str(problem))


def language_status(config: Config, language: Language, server: Server | None = None) -> LanguageStatus:
    """One language's state from its files."""
    folder = adapters.adapter_folder(config, language)
    summary = adapters.train_summary(config, language)
    evaluation = adapters.evaluation_of(folder.latest)
    models = server.models if server else None
    return LanguageStatus(
        language=language.name,
        title=language.title,
        adapter=language.adapter,
        min_examples=language.min_examples,
        max_examples=language.max_examples,
        train=_by_source(summary.get("train")),
        heldout=_by_source(summary.get("heldout")),
        stale=stale(config, language),
        latest=folder.latest.name if folder.latest else None,
        current=folder.current.name if folder.current else None,
        verdict=evaluation.get("verdict"),
        reason=evaluation.get("reason"),
        loss=evaluation.get("loss"),
        cost=cost(adapters.manifest_of(folder.latest)),
        served=None if models is None else language.adapter in models,
    )


def status(config: Config, server: Server | None = None) -> dict[str, Any]:
    """Every language's state as plain data; with `server` also what is served.

    Returns {"base", "languages": {name: LanguageStatus}, "server"?, "findings"}.
    """
    languages = {name: asdict(language_status(config, language, server)) for name, language in config.languages.items()}
    findings = [str(finding) for finding in config.findings]
    result = {"base": config.base.model, "languages": languages, "findings": findings}
    return {**result, "server": asdict(server)} if server else result


def stale(config: Config, language: Language) -> list[str]:
    """What the next `doit` does for a language and why, in words; empty when everything is up to date."""
    folder = adapters.adapter_folder(config, language)
    if not adapters.train_summary(config, language):
        return ["build examples: there are none yet"]
    notes = adapters.notes(config, language)
    if not adapters.is_trained(config, language):
        return [*notes, f"train: {_training_change(config, language, folder)}"]
    if not adapters.is_evaluated(config, language):
        return [*notes, f"evaluate: {_evaluation_change(config, language, folder)}"]
    if not adapters.is_decided(config, language):
        return [*notes, "promote: the verdict was not acted on yet"]
    return notes


def _training_change(config: Config, language: Language, folder: adapters.AdapterFolder) -> str:
    """Why the newest version is not what a training would make now, and what that training will take."""
    if folder.latest is None:
        return "never trained"
    manifest, inputs = adapters.manifest_of(folder.latest), adapters.training_inputs(config, language)
    known, took = manifest.get("inputs", {}), cost(manifest)
    reasons = []
    if known.get("rows") != inputs["rows"]:
        before, now = manifest.get("rows"), adapters.training_rows(config, language)
        reasons.append(f"rows changed ({before} -> {now})" if before and before != now else "rows changed")
    if known.get("config") != inputs["config"]:
        reasons += config_changes(config, language, manifest)
    return f"{'; '.join(reasons)}{f' (the last one took {took})' if took else ''}"


def config_changes(config: Config, language: Language, manifest: dict[str, Any]) -> list[str]:
    """Keys of the configuration that are not what they were when a version was trained, with both values."""
    trained, base = manifest.get("training", {}), manifest.get("base", {})
    reasons = []
    for name, value in vars(language.training).items():
        now = list(value) if isinstance(value, tuple) else value  # as JSON keeps it
        if name != "checkpoint_steps" and name in trained and trained[name] != now:
            reasons.append(f"training.{name} {_shown(trained[name])} -> {_shown(now)}")
    for name in ("model", "revision"):
        now = getattr(config.base, name)
        if name in base and base[name] != now:
            reasons.append(f"base.{name} {base[name]} -> {now}")
    return reasons or ["the base model's files, base.dtype or the training code changed"]


def _evaluation_change(config: Config, language: Language, folder: adapters.AdapterFolder) -> str:
    known = adapters.evaluation_of(folder.latest).get("inputs")
    if folder.latest is None or not known:
        return "not evaluated yet"
    heldout = config.rows("heldout", language.name)
    now = adapters.evaluation_inputs(config, folder.incumbent(folder.latest), heldout)
    words = {"heldout": "held-out rows", "incumbent": "the incumbent", "settings": "[evaluation]"}
    return f"{', '.join(words.get(name, name) for name in now if known.get(name) != now[name])} changed"


def cost(manifest: dict[str, Any]) -> str | None:
    """Time and memory of a version's training, in words; None when the manifest does not say."""
    seconds, memory = manifest.get("seconds"), manifest.get("peak_memory_bytes")
    parts = [duration(seconds)] if seconds is not None else []
    parts += [size(memory)] if memory else []
    return ", ".join(parts) or None


def age(version: str) -> str:
    """A version's name, 20261123-091500-1a2b3c4d, as its date and time; a name of another form as it is."""
    try:
        return f"{datetime.strptime(version[:15], '%Y%m%d-%H%M%S').replace(tzinfo=UTC):%Y-%m-%d %H:%M}"
    except ValueError:
        return version


def as_text(state: dict[str, Any]) -> str:
    """The table that `doit status` prints, and below it what is stale and what runs."""
    header = ["language", *SHOWN.values(), "examples", "held out", "newest version", "verdict", "promoted", "served"]
    rows = [_row(language) for language in state["languages"].values()]
    lines = [table(rows, header), ""]
    for language in state["languages"].values():
        lines += [f"{language['title']}: {reason}" for reason in language["stale"]]
    if not any(language["stale"] for language in state["languages"].values()):
        lines.append("Everything is up to date.")
    lines += [f"Wrong or missing: {finding}" for finding in state["findings"]]
    if server := state.get("server"):
        models = ", ".join(server["models"] or ())
        lines.append(f"Server {server['url']}: {models or server['problem'] or 'none runs there'}")
    return "\n".join(lines)


def _row(state: dict[str, Any]) -> list[Any]:
    counts = [state["train"].get(kind, 0) for kind in SHOWN]
    total = sum(counts)
    promoted = state["current"] and ("newest" if state["current"] == state["latest"] else age(state["current"]))
    return [
        state["title"],
        *counts,
        f"{total} of {state['min_examples']}-{state['max_examples']}",
        sum(state["heldout"].values()),
        age(state["latest"]) if state["latest"] else "-",
        state["verdict"] or "-",
        promoted or "-",
        {None: "no server", True: "adapter", False: "base"}[state["served"]],
    ]


def _by_source(counts: Any) -> dict[str, int]:
    return {kind: (counts or {}).get(kind, 0) for kind in SHOWN}


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
