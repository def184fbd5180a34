"""What is served from now on: acting on a verdict, the owner's own decision instead of one, and the way back.

In each case the running server is asked first (serving.alive), then `current` moves, then the server swaps the
adapter in place, and one request proves that the new version answers; where that fails, everything is put back. What
was promoted while no server ran is tried by `verify` as soon as one does. Every decision is a line in the adapter's
promotions.jsonl, written last: a run that was killed before it does it all again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from specialists.adapters import (
    FORCED,
    RETIRED,
    ROLLBACK,
    AdapterFolder,
    adapter_folder,
    decisions,
    evaluation_hash,
    evaluation_of,
    last_decision,
    make_current,
    record_decision,
    swap_back,
    withdrawn,
)
from specialists.client import Refused
from specialists.config import Config, Language, Problem
from specialists.exclusion import Exclusion
from specialists.server import load_adapter, served_folders, served_models, unload_adapter
from specialists.serving import alive
from specialists.serving.lora import check_adapter

Decision = dict[str, Any]  # version, verdict, reason, current, evaluation: as it stands in promotions.jsonl


def decide(config: Config, language: Language) -> Decision:
    """Promote the newest version if its verdict says so and it works. Raises Problem when it was not evaluated."""
    folder = adapter_folder(config, language)
    with folder.lock():
        _retire(config, language, folder)
        version = folder.latest
        if version is None:
            return {"version": None, "verdict": None, "reason": "nothing trained", "current": None}
        evaluation = evaluation_of(version)
        if not evaluation:
            raise Problem(f"{version}: not evaluated yet; evaluate.py does it")
        verdict, reason = evaluation["verdict"], evaluation["reason"]
        if verdict == "promote" and (owners := withdrawn(folder).get(version.name)) is not None:
            verdict, reason = "hold", f"the owner rolled it back: {owners}"
        faults: list[str] = []
        if verdict == "promote" and (faults := _serve(config, language, folder, version)):
            verdict, reason = "block", "; ".join(faults)
        if verdict == "block" and folder.current == version and (faults or not _forced(folder, version)):
            _give_way(folder)  # it was promoted before more held-out work, or another server, showed this
            _tell(config, language.adapter, folder.current)
        return _record(folder, version, verdict, reason)


def _retire(config: Config, language: Language, folder: AdapterFolder) -> None:
    """Take a version that was trained on excluded work out of use, in the running server too."""
    Exclusion(config).check()
    if folder.retired("current"):
        left = (folder.path / "current").resolve()
        _tell(config, language.adapter, folder.current)
        _record(folder, left, RETIRED, f"trained on {', '.join(folder.trained_on(left))}, which owner.exclude names")
    folder.retire()


def force(config: Config, language: Language, name: str, reason: str) -> Decision:
    """Promote the version of that name whatever its verdict. Raises Problem when there is none, or it does not work."""
    folder = adapter_folder(config, language)
    with folder.lock():
        version = folder.version(name)
        if faults := _serve(config, language, folder, version):
            raise Problem(f"{language.adapter}: {name} cannot be served: {'; '.join(faults)}")
        return _record(folder, version, FORCED, reason)


def go_back(config: Config, language: Language, reason: str) -> Decision:
    """Serve what was served before, the base when there was nothing; a second time takes it back.

    Raises Problem when nothing was ever promoted.
    """
    folder = adapter_folder(config, language)
    with folder.lock():
        left = folder.current
        if left is None and folder.previous is None:
            raise Problem(f"{language.adapter}: nothing was promoted yet, so there is nothing to go back to")
        swap_back(folder)
        _tell(config, language.adapter, folder.current)
        return _record(folder, left, ROLLBACK, reason)


def verify(config: Config, language: Language) -> Decision | None:
    """Have the running server answer with what is promoted, after trying it where that was not done yet.

    A version that is not alive gives way to the one before it, then to the base; returns that decision, None when there
    was none to take. Raises Problem when no server runs, or it does not answer.
    """
    folder, decision = adapter_folder(config, language), None
    with folder.lock():
        left, reasons = folder.current, []
        if (served := served_folders(config)) is None:
            raise Problem(f"{language.adapter}: no server runs")
        while (version := folder.current) and (faults := _faults(config, language, version)):
            _give_way(folder)
            reasons += faults
        if reasons:
            decision = _record(folder, left, "block", "; ".join(reasons))
        if served.get(language.adapter, "") != str(folder.current or ""):
            _tell(config, language.adapter, folder.current)
    return decision


def _faults(config: Config, language: Language, version: Path) -> list[str]:
    """What is wrong with a version in the running server, from an earlier look or from one now."""
    if faults := check_adapter(version, config):
        return faults
    known = alive.known_faults(config, version)
    return alive.check_alive(config, language, version) if known is None else known


def _serve(config: Config, language: Language, folder: AdapterFolder, version: Path) -> list[str]:
    """Make a version the current one, in the running server too; when that cannot be, say why and change nothing."""
    if faults := check_adapter(version, config):
        return faults
    running = served_models(config) is not None
    if faults := alive.check_alive(config, language, version) if running else alive.known_faults(config, version) or []:
        return faults
    current, previous = folder.current, folder.previous
    try:
        make_current(folder, version)
        if running:
            load_adapter(config, language.adapter, version)
            faults = alive.answers(config, language, version)
    except Refused as refused:
        faults = [str(refused)]
    except Problem:
        _put_back(config, language.adapter, folder, current, previous)
        raise
    if faults:
        _put_back(config, language.adapter, folder, current, previous)
    return faults


def _give_way(folder: AdapterFolder) -> None:
    """Have the version before the current one take its place, the base where there is none; this is for good."""
    folder.point("current", folder.previous if folder.previous != folder.current else None)
    folder.point("previous", None)


def _forced(folder: AdapterFolder, version: Path) -> bool:
    """Whether the owner once promoted this version himself."""
    return any((d.get("verdict"), d.get("version")) == (FORCED, version.name) for d in decisions(folder))


def _put_back(config: Config, adapter: str, folder: AdapterFolder, current: Path | None, previous: Path | None) -> None:
    if folder.current == current:
        return
    folder.point("current", current)
    folder.point("previous", previous)
    with contextlib.suppress(Problem):  # a server that is gone starts with the right version
        _tell(config, adapter, current)


def _tell(config: Config, adapter: str, version: Path | None) -> None:
    """Have a running server answer with a version, or not at all; that none runs is no problem."""
    if served_models(config) is None:
        return
    if version:
        load_adapter(config, adapter, version)
    else:
        unload_adapter(config, adapter)


def _record(folder: AdapterFolder, version: Path | None, verdict: str, reason: str) -> Decision:
    """Keep a decision, unless it is the last one over again."""
    current = folder.current
    decision = {
        "version": version and version.name,
        "verdict": verdict,
        "reason": reason,
        "current": current and current.name,
        "evaluation": version and evaluation_hash(version),
    }
    known = last_decision(folder)
    if {key: known.get(key) for key in decision} != decision:
        record_decision(folder, decision)
    return decision
