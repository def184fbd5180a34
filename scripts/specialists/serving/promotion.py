"""What is served from now on: acting on a verdict, the owner's own decision instead of one, and rolling back.

A version is first tried in the running server (serving.effect), then `current` moves, then the server swaps the adapter
in place, and one request shows that the new version answers; where that fails, everything is put back. Every decision
is a line in the adapter's promotions.jsonl, written last: where a run was killed before it, the links are put back.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from specialists import adapters
from specialists.adapters import FORCED, RETIRED, ROLLBACK, AdapterFolder, adapter_folder
from specialists.client import Refused
from specialists.config import Config, Language, Problem
from specialists.exclusion import Exclusion
from specialists.server import load_adapter, served_models, unload_adapter
from specialists.serving import effect
from specialists.serving.lora import check_adapter
from specialists.serving.opencode_config import follow

Decision = dict[str, Any]  # version, verdict, reason, current, evaluation: as it stands in promotions.jsonl


def decide(config: Config, language: Language) -> Decision:
    """Promote the newest version if its verdict says so and it works. Raises Problem when it was not evaluated."""
    with _deciding(config, language) as folder:
        Exclusion(config).check()
        if folder.retired("current"):  # it goes out of use, in the running server too
            left = (folder.path / "current").resolve()
            _load_current(config, language, folder)
            _record(folder, left, RETIRED, folder.unusable(left) or "")
        for link in folder.retired():
            folder.point(link, getattr(folder, link))
        if folder.previous == folder.current:
            folder.point("previous", None)
        if (version := folder.latest) is None:
            return {"version": None, "verdict": None, "reason": "nothing trained", "current": None}
        evaluation = adapters.evaluation_of(version)
        if not evaluation:
            raise Problem(f"{version}: not evaluated yet; evaluate.py does it")
        verdict, reason, faults = evaluation["verdict"], evaluation["reason"], list[str]()
        if verdict == "promote" and (owners := adapters.withdrawn(folder).get(version.name)) is not None:
            verdict, reason = "hold", f"set aside by the owner: {owners}"
        if verdict == "promote" and (faults := _promote(config, language, folder, version)):
            verdict, reason = "block", "; ".join(faults)
        kept = [decision.get("version") for decision in adapters.decisions(folder) if decision.get("verdict") == FORCED]
        if verdict == "block" and folder.current == version and (faults or version.name not in kept):
            _roll_back(folder)  # it was promoted before more held-out work, or another server, showed this
            _load_current(config, language, folder)
        return _record(folder, version, verdict, reason)


@contextlib.contextmanager
def _deciding(config: Config, language: Language) -> Iterator[AdapterFolder]:
    """A language's adapter, held alone; a decision that fails leaves links and server as they were."""
    folder = adapter_folder(config, language)
    with folder.lock(), _restored(config, language, folder):
        yield folder


@contextlib.contextmanager
def _restored(config: Config, language: Language, folder: AdapterFolder) -> Iterator[None]:
    links = {link: getattr(folder, link) for link in ("current", "previous")}
    try:
        yield
    except BaseException:
        if links != {link: getattr(folder, link) for link in links}:
            for link, target in links.items():
                folder.point(link, target)
            with contextlib.suppress(Problem):  # a server that is gone starts with the right version
                _load_current(config, language, folder)
        raise


def force(config: Config, language: Language, name: str, reason: str) -> Decision:
    """Promote the version of that name whatever its verdict. Raises Problem when there is none, or it does not work."""
    with _deciding(config, language) as folder:
        version = folder.version(name)
        if faults := _promote(config, language, folder, version):
            raise Problem(f"{language.adapter}: {name} cannot be served: {'; '.join(faults)}")
        newest = folder.latest.name if folder.latest and folder.latest != version else None
        return _record(folder, version, FORCED, reason, instead_of=newest)  # which the next run is not to promote


def rollback(config: Config, language: Language, reason: str) -> Decision:
    """Serve what was served before; a second time takes it back. Raises Problem when nothing was ever promoted."""
    with _deciding(config, language) as folder:
        served_models(config)  # a Problem where it cannot be told to swap
        left = folder.current
        if left is None and folder.previous is None:
            raise Problem(f"{language.adapter}: nothing was promoted yet, so there is nothing to go back to")
        folder.point("current", folder.previous)
        folder.point("previous", left)
        _load_current(config, language, folder)
        return _record(folder, left, ROLLBACK, reason)


def verify(config: Config) -> tuple[dict[str, Decision], list[str]]:
    """Have the server answer with what is promoted; what fails its trial is rolled back. Returns that, and problems."""
    taken, problems = dict[str, Decision](), list[str]()
    for language in (config.languages[name] for name in adapters.promoted_versions(config)):
        adapter, reasons = language.adapter, []
        try:
            with _deciding(config, language) as folder:
                tried = folder.current
                if (served := served_models(config)) is None:
                    raise Problem("no server runs")
                while (version := folder.current) and (faults := _faults(config, language, version)):
                    _roll_back(folder)
                    reasons += faults
                if reasons:
                    taken[adapter] = _record(folder, tried, "block", "; ".join(reasons))
                    instead = folder.current.name if folder.current else "the base"
                    problems.append(f"{adapter}: rolled back: {'; '.join(reasons)}; {instead} answers instead")
                if served.get(adapter, "") != str(folder.current or ""):
                    _load_current(config, language, folder)
        except Problem as problem:
            problems.append(f"{adapter}: not tried: {problem}")
    return taken, problems + (follow(config) if taken else [])


def _faults(config: Config, language: Language, version: Path) -> list[str]:
    """What is wrong with a version in the running server, as found earlier or now."""
    known = check_adapter(version, config) or effect.known_faults(config, version)
    return effect.check_effect(config, language, version) if known is None else known


def _promote(config: Config, language: Language, folder: AdapterFolder, version: Path) -> list[str]:
    """Make a version the current one, in the running server too; when that cannot be, say why and change nothing."""
    if faults := check_adapter(version, config):
        return faults
    running = served_models(config) is not None
    if tried := effect.check_effect(config, language, version) if running else effect.known_faults(config, version):
        return tried
    try:
        with _restored(config, language, folder):
            adapters.make_current(folder, version)
            if running:
                load_adapter(config, language.adapter, version)
                if faults := effect.check_swapped(config, language, version):
                    raise Refused("; ".join(faults), 200)
    except Refused as refused:
        return [str(refused)]
    return []


def _roll_back(folder: AdapterFolder) -> None:
    """Serve the version before the current one instead of it, the base where there is none; this is for good."""
    folder.point("current", folder.previous if folder.previous != folder.current else None)
    folder.point("previous", None)


def _load_current(config: Config, language: Language, folder: AdapterFolder) -> None:
    """Have a running server answer with the current version, or not at all; that none runs is no problem."""
    if served_models(config) is None:
        return
    if folder.current:
        load_adapter(config, language.adapter, folder.current)
    else:
        unload_adapter(config, language.adapter)


def _record(folder: AdapterFolder, version: Path | None, verdict: str, reason: str, **more: str | None) -> Decision:
    """Keep a decision, unless it is the last one over again."""
    before = folder.previous if folder.previous != folder.current else None
    decision = {
        "version": version and version.name,
        "verdict": verdict,
        "reason": reason,
        "current": folder.current and folder.current.name,
        "previous": before and before.name,
        "evaluation": version and adapters.evaluation_hash(version),
        **more,
    }
    if not decision.items() <= adapters.last_decision(folder).items():
        adapters.record_decision(folder, decision)
    return decision
