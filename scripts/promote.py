"""Act on the verdict: make the newest version the current one, or keep what is served.

    python scripts/promote.py --language rust

A version that is held or blocked changes nothing; the incumbent, or the base, goes on answering. Every decision is a
line in the adapter's promotions.jsonl.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from specialists.adapters import (
    EVALUATION,
    AdapterFolder,
    adapter_folder,
    evaluation_hash,
    last_decision,
    promote,
    record_decision,
)
from specialists.cli import command, finish, language_option, say
from specialists.config import Config, Problem
from specialists.lora import check_adapter
from specialists.records import read_json
from specialists.server import load_adapter, served_models


@command
@language_option
def main(config: Config, as_json: bool, language: str) -> None:
    """Act on the verdict on a language's newest version."""
    chosen = config.language(language)
    folder = adapter_folder(config, chosen)
    with folder.lock():
        summary = decide(folder, config)
    say(f"{chosen.adapter}: {summary['message']}")
    problems = _tell_server(config, chosen.adapter, folder.current) if summary["promoted"] else []
    finish(summary, as_json, problems)


def decide(folder: AdapterFolder, config: Config) -> dict:
    """Promote the newest version if its verdict says so and vLLM can load it; returns what was done and why."""
    version = folder.latest
    if version is None:
        return {"version": None, "promoted": False, "message": "nothing trained"}
    evaluation = read_json(version / EVALUATION)
    if not evaluation:
        raise Problem(f"{version}: not evaluated yet; evaluate.py does it")
    verdict, reason = evaluation["verdict"], evaluation["reason"]
    if verdict == "promote" and (faults := check_adapter(version, config)):
        verdict, reason = "block", "; ".join(faults)
    if verdict == "promote":
        promote(folder, version)
    current = folder.current
    decision = {"version": version.name, "verdict": verdict, "reason": reason, "current": current and current.name,
                "evaluation": evaluation_hash(version)}  # fmt: skip
    known = last_decision(folder)
    if {key: known.get(key) for key in decision} != decision:
        record_decision(folder, {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **decision})
    serving = f"serving {current.name}" if current else "the base answers"
    return {**decision, "promoted": current == version, "message": f"{version.name}: {verdict}: {reason}; {serving}"}


def _tell_server(config: Config, adapter: str, version: Path) -> list[str]:
    """Have a running server answer with the new version; that none runs is no problem: it starts with it."""
    try:
        if served_models(config) is not None:
            load_adapter(config, adapter, version)
    except Problem as problem:
        return [str(problem)]
    return []


if __name__ == "__main__":
    main()
