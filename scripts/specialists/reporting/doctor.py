"""`doit doctor`: everything that has to work between the history and an answer in opencode, a line each.

Only looks: nothing is written, loaded or started. A check that cannot be made says so and fails.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from specialists.adapters import adapter_folder, evaluation_of, manifest_of
from specialists.chat import Chat, token_counter
from specialists.cli import duration
from specialists.config import Config, Problem
from specialists.records import read_json
from specialists.reporting import checks
from specialists.reporting.checks import Check
from specialists.reporting.parity import parity
from specialists.server import base_url, served_folders
from specialists.serving import jsonc
from specialists.serving.lora import model_folder
from specialists.serving.opencode_config import PROVIDER, ConfigFile, settings
from specialists.sessions.database import overview

LATE = 8 * 86400  # seconds without a run after which it is mentioned
_MARKS = {"ok": "ok  ", "note": "note", "fail": "FAIL"}


def diagnose(config: Config) -> list[Check]:
    """Every check, in the order in which things depend on each other."""
    served: dict[str, str] | Problem | None
    try:
        served = served_folders(config, timeout=0.5)
    except (Problem, OSError, ValueError) as problem:
        served = Problem(str(problem))
    looks: list[tuple[str, Callable[[Config], Check | list[Check]]]] = [
        ("versions", checks.versions),
        ("tools", checks.tools),
        ("GPU", checks.gpu),
        ("disk", checks.disk),
        ("configuration", configuration),
        ("history", history),
        ("repositories", repositories),
        ("base model", base_model),
        ("chat template", template),
        ("server", partial(server, served=served)),
        ("adapters served", partial(adapters_served, served=served)),
        ("opencode", opencode),
        ("agents", partial(agents, served=served)),
        ("what opencode sends", head),
        ("context", context),
        ("nights", checks.schedule),
        ("last run", last_run),
    ]
    found: list[Check] = []
    for name, look in looks:
        try:
            seen = look(config)
        except Exception as error:  # a doctor that falls over helps nobody
            seen = Check(name, "fail", f"cannot be looked at: {type(error).__name__}: {error}", "mend what it names")
        found += seen if isinstance(seen, list) else [seen]
    return found


def configuration(config: Config) -> Check:
    """Mistakes that take a language out."""
    if mistakes := [finding for finding in config.findings if finding.fatal]:
        return Check("configuration", "fail", "; ".join(map(str, mistakes)), f"correct {config.path}")
    return Check("configuration", "ok", f"{config.path}: {', '.join(config.languages)}")


def history(config: Config) -> list[Check]:
    """Each database of opencode: there, readable, and how much is in it."""
    return [_database(path) for path in config.databases()]


def _database(path: Path) -> Check:
    name = "history"
    if not path.exists():
        return Check(name, "note", f"{path}: no opencode history there", "name yours in [opencode] databases")
    if path.is_dir():
        return Check(name, "ok", f"{path}: a folder, read by extract")
    try:
        sessions, _time, version = overview(path)
    except Problem as problem:
        fix = "is it the right file, and may you read it? A copy, or opencode itself, opens it?"
        return Check(name, "fail", str(problem), fix)
    return Check(name, "ok", f"{path}: {sessions} sessions, the newest of opencode {version or '?'}")


def repositories(config: Config) -> Check:
    """Repositories that the languages name."""
    missing = [finding for finding in config.findings if not finding.fatal and finding.language]
    number = len({path for name in config.languages for path in config.repositories(name)})
    if missing:
        more = f"; and {len(missing) - 3} more, see `doit check`" if len(missing) > 3 else ""
        says = f"{number} to mine; {'; '.join(map(str, missing[:3]))}{more}"
        return Check("repositories", "note", says, "correct the paths; what they gave before is kept")
    return Check("repositories", "ok", f"{number} to mine")


def base_model(config: Config) -> Check:
    """Tokenizer, template and every weight shard of the base, and of the copy that is served."""
    models = dict.fromkeys(((config.base.model, config.base.revision), (config.serving.model, None)))
    shown = []
    for model, revision in models:
        if model is None:
            continue
        fix = f"hf download {model}, or name its folder in specialists.toml"
        folder = model_folder(model, revision)
        if folder is None:
            return Check("base model", "fail", f"{model}: not on this machine", fix)
        Chat.load(model, revision)  # its Problem says what is missing
        index = read_json(folder / "model.safetensors.index.json") or {}
        shards = set(index.get("weight_map", {}).values()) or {path.name for path in folder.glob("*.safetensors")}
        absent = sorted(shard for shard in shards if not (folder / shard).is_file())
        if absent or not shards:
            says = (
                f"{model}: {len(absent)} of {len(shards)} weight files are missing"
                if shards
                else f"{model}: no weights"
            )
            return Check("base model", "fail", says, fix)
        shown.append(f"{model}: {len(shards)} weight files")
    return Check("base model", "ok", "; ".join(shown))


def template(config: Config) -> Check:
    """Chat template and tokenizer that are served against those that the promoted adapters were trained with."""
    name = "chat template"
    trained = {
        language.adapter: manifest_of(version).get("base", {}).get("template")
        for language in config.languages.values()
        if (version := adapter_folder(config, language).current)
    }
    if not trained:
        return Check(name, "ok", "no adapter is promoted yet")
    model = config.serving.model
    served = Chat.load(model or config.base.model, None if model else config.base.revision).fingerprint
    if other := [f"{adapter} ({known})" for adapter, known in trained.items() if known and known != served]:
        says = f"{', '.join(other)} trained with another template or tokenizer than is served ({served})"
        return Check(name, "fail", says, "put the base's files back, or train anew: `doit`")
    return Check(name, "ok", f"{served}, as {len(trained)} promoted adapters were trained with")


def server(config: Config, served: dict[str, str] | Problem | None) -> Check:
    """What answers at the configured address."""
    if isinstance(served, Problem):
        return Check("server", "fail", str(served), "change serving.port, or stop what runs there")
    if served is None:
        promoted = [language for language in config.languages.values() if adapter_folder(config, language).current]
        return Check("server", "fail" if promoted else "note", f"none at {base_url(config)}", "doit serve")
    return Check("server", "ok", f"{base_url(config)}: {', '.join(served)}")


def adapters_served(config: Config, served: dict[str, str] | Problem | None) -> list[Check]:
    """Whether each promoted version is the one that is served."""
    name, found = "adapters served", []
    if not isinstance(served, dict):
        return [Check(name, "note", "not known without a server")]
    for language in config.languages.values():
        current, adapter = adapter_folder(config, language).current, language.adapter
        where = served.get(adapter)
        if current and where is None:
            found.append(
                Check(
                    name,
                    "fail",
                    f"{adapter}: {current.name} is promoted and not served",
                    "start `doit serve` again; it says why it leaves an adapter out",
                )
            )
        elif current and where and Path(where).resolve() != current:
            found.append(
                Check(
                    name,
                    "fail",
                    f"{adapter}: {Path(where).name} answers, {current.name} is promoted",
                    f"doit promote:{language.name}, or start `doit serve` again",
                )
            )
        elif current is None and where is not None:
            found.append(
                Check(name, "fail", f"{adapter} is served and no version of it is promoted", "start `doit serve` again")
            )
    return found or [Check(name, "ok", "every promoted version answers, and nothing else")]


def opencode(config: Config) -> Check:
    """Whether the owner's opencode configuration holds what `doit opencode` would put there."""
    file = ConfigFile(config.opencode.config.expanduser())
    if file.read() is None:
        return Check("opencode", "note", f"{file.path}: no such file", "doit opencode")
    if file.merged(settings(config)) != file.read():
        return Check("opencode", "fail", f"{file.path}: provider, models or agents are not up to date", "doit opencode")
    return Check("opencode", "ok", f"{file.path}: up to date")


def agents(config: Config, served: dict[str, str] | Problem | None) -> Check:
    """Agents in opencode whose model nothing answers, with the reason."""
    name = "agents"
    text = ConfigFile(config.opencode.config.expanduser()).read()
    tables = (jsonc.parse(text).value if text and text.strip() else {}).get("agent") or {}
    ours = {
        agent: str(table.get("model", "")).partition("/")[2]
        for agent, table in tables.items()
        if isinstance(table, dict) and str(table.get("model", "")).startswith(f"{PROVIDER}/")
    }
    reasons = [_unanswered(config, agent, model, served) for agent, model in ours.items()]
    if lost := [reason for reason in reasons if reason]:
        return Check(name, "fail", "; ".join(lost), "doit opencode, then doit serve; or take the agent out")
    without = [language.adapter for language in config.languages.values() if language.adapter not in tables]
    if without:
        says = f"{', '.join(without)}: no such agent in opencode; it would take its default agent without a word"
        return Check(name, "note", says, "doit opencode")
    return Check(name, "ok", ", ".join(f"{agent} by {model}" for agent, model in ours.items()))


def _unanswered(config: Config, agent: str, model: str, served: dict[str, str] | Problem | None) -> str | None:
    """Why a request of an agent fails; None when it is answered, as far as can be told."""
    languages = {language.adapter: language for language in config.languages.values()}
    if isinstance(served, dict):
        if model in served:
            return None
        why = f"the server does not know {model}: opencode shows a 404"
    elif model == config.serving.name or (model in languages and adapter_folder(config, languages[model]).current):
        return None
    else:
        why = f"{model} will not be served"
    if model in languages and not adapter_folder(config, languages[model]).current:
        verdict = evaluation_of(adapter_folder(config, languages[model]).latest)
        said = f", its newest version's verdict is {verdict['verdict']}" if verdict else ""
        return f"agent {agent}: {why}; no version of it is promoted{said}"
    return f"agent {agent}: {why}" + ("" if model in languages else f"; no language of {config.path.name} has it")


def head(config: Config) -> list[Check]:
    """Prompt and tools that the rows were trained on against a captured request of the installed opencode."""
    name = "what opencode sends"
    captured = read_json(config.tools_file)
    if not isinstance(captured, dict) or not captured.get("tools"):
        return [Check(name, "note", "not captured: rows show the tools of opencode 1.18", "doit tools")]
    version = captured.get("version") or "?"
    if (newest := _opencode_of_newest_session(config)) and newest != version:
        says = f"captured from opencode {version}; your newest session is of {newest}"
        return [Check(name, "note", says, "doit tools")]
    chat = token_counter(config.base.model, config.base.revision)
    by_words: dict[tuple[str, str], list[str]] = {}
    for language in config.languages.values():
        if seen := parity(config, language, captured, chat):
            words = f"{seen.sent:,} tokens before the first word, trained on {seen.trained:,}"
            by_words.setdefault((words, "; ".join(seen.differences)), []).append(language.adapter)
    fix = "doit: extract makes the rows with the captured tools, and trains on them"
    found = []
    for (words, other), names in by_words.items():
        says = f"opencode {version} to {', '.join(names)}: {words}; "
        found.append(
            Check(name, "note", f"{says}tools {other}", fix) if other else Check(name, "ok", f"{says}same tools")
        )
    return found or [Check(name, "ok", f"opencode {version}, {len(captured['tools'])} tools; no rows to compare with")]


def _opencode_of_newest_session(config: Config) -> str | None:
    """Which opencode the owner uses now, as his histories say; None when that cannot be told."""
    found: list[tuple[int, str]] = []
    for path in config.databases():
        with contextlib.suppress(Problem):
            if path.is_file():
                found.append(overview(path)[1:])
    return max((pair for pair in found if pair[1]), default=(0, None))[1]


def context(config: Config) -> Check:
    """Whether rows as long as trained on, and opencode's own words with an answer, fit into what is served."""
    name, served = "context", config.serving.max_model_len
    captured = read_json(config.tools_file)
    longest = max((language.training.max_length for language in config.languages.values()), default=0)
    if longest > served:
        says = f"rows may have {longest:,} tokens (training.max_length), the server takes {served:,}"
        return Check(name, "fail", says, f"serving.max_model_len = {longest}, or shorter rows")
    needs = config.serving.output_tokens
    if isinstance(captured, dict) and captured.get("described"):
        chat = token_counter(config.base.model, config.base.revision)
        system = [{"role": "system", "content": captured.get("system", "")}, {"role": "user", "content": ""}]
        needs += chat.count(system, captured["described"])
    if needs >= served:
        says = (
            f"opencode's prompt and an answer of {config.serving.output_tokens:,} take {needs:,} tokens of {served:,}"
        )
        return Check(name, "fail", says, "raise serving.max_model_len, or lower serving.output_tokens")
    return Check(
        name, "ok", f"{served:,} tokens served, rows up to {longest:,}, {served - needs:,} for the work itself"
    )


def last_run(config: Config) -> Check:
    """When a step last left something behind."""
    left: Iterable[Path] = [
        *config.paths.data.glob("*/*summary.json"),
        *config.paths.adapters.glob("*/[!.]*/manifest.json"),
        *config.paths.adapters.glob("*/promotions.jsonl"),
        config.paths.reports / "index.html",
        config.path.parent / ".doit.sqlite",
    ]
    times = [path.stat().st_mtime for path in left if path.is_file()]
    if not times:
        return Check("last run", "note", "nothing was built yet", "doit")
    ago = datetime.now(UTC).timestamp() - max(times)
    says = f"{datetime.fromtimestamp(max(times), UTC):%Y-%m-%d %H:%M} UTC, {_ago(ago)} ago"
    if ago > LATE:
        return Check("last run", "note", says, "does cron run it? Its mail, or `journalctl --user`, says")
    return Check("last run", "ok", says)


def _ago(seconds: float) -> str:
    return duration(max(0.0, seconds)) if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


def as_text(found: list[Check]) -> str:
    """The page: a line a check, below it what to do."""
    width = max(len(check.name) for check in found)
    lines = []
    for check in found:
        lines.append(f"{_MARKS[check.state]}  {check.name:{width}}  {check.says}")
        if check.fix:
            lines.append(f"      {'':{width}}  -> {check.fix}")
    failed = sum(check.state == "fail" for check in found)
    lines.append(f"\n{failed} to mend." if failed else "\nNothing to mend.")
    return "\n".join(lines)


def as_data(found: list[Check]) -> dict[str, Any]:
    """The same for scripts."""
    return json.loads(
        json.dumps({"checks": [vars(check) for check in found], "ok": all(c.state != "fail" for c in found)})
    )
