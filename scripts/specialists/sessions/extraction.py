"""From opencode's history to examples: sessions are read once, one by one, and each language takes its turns."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from specialists.agent import system_prompt
from specialists.chat import token_counter
from specialists.config import Config
from specialists.exclusion import Exclusion
from specialists.records import Record, canonical, iso, make_record, read_records, replace_file, write_json, written
from specialists.secrets import SECRET, Rules, clean
from specialists.sessions.chat import Step, Turn, turns
from specialists.sessions.database import Session, Unreadable, read_sessions
from specialists.sessions.languages import LanguageClassifier
from specialists.sessions.paths import ProjectPaths
from specialists.sessions.windows import Packer, Unit, step_unit, user_unit
from specialists.tools import infer_schemas, known_tools

COPY = "copy of another session"
NO_LANGUAGE = "no language"
SECRET_IN_TARGET = "secret in target"
EXCLUDED = "excluded by the owner"
_NOT_FOR_SUBAGENTS = ("task", "todowrite")
_BAD_ROWS = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass
class Funnel:
    """How many sessions, turns and steps came in, how many examples came out, and what was lost and why."""

    counts: Counter[str] = field(default_factory=Counter)  # sessions, turns, steps, secrets
    lost: Counter[str] = field(default_factory=Counter)  # steps by reason
    by_language: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # turns, steps, examples
    lost_by_language: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, other: Funnel) -> None:
        self.counts += other.counts
        self.lost += other.lost
        for name, counts in other.by_language.items():
            self.by_language[name] += counts
        for name, counts in other.lost_by_language.items():
            self.lost_by_language[name] += counts

    def add_turn(self, turn: Turn, languages: tuple[str, ...]) -> None:
        self.counts.update({"turns": 1, "steps": len(turn.steps)})
        reasons = [step.reason or (None if languages else NO_LANGUAGE) for step in turn.steps]
        lost = Counter(reason for reason in reasons if reason)
        self.lost += lost
        for name in languages:
            self.by_language[name]["turns"] += 1
            self.lost_by_language[name] += lost

    def as_json(self) -> dict[str, Any]:
        languages = {
            name: {**_sorted(counts), "lost": _sorted(self.lost_by_language[name])}
            for name, counts in sorted(self.by_language.items())
        }
        return {**_sorted(self.counts), "lost": _sorted(self.lost), "languages": languages}


class Extractor:
    """Turns sessions into files of records, one per language of a configuration."""

    def __init__(self, config: Config, names: list[str], output: Path):
        self.config, self.names, self.output = config, names, output
        self.funnel, self.problems = Funnel(), list[str]()
        self._read: set[str] = set()  # ids of sessions
        self._classifier = LanguageClassifier(config.languages.values())
        self._copies = Copies()
        self.exclusion = Exclusion(config)
        self._rules = Rules.of(config)
        self._counter = token_counter(config.base.model, config.base.revision)
        self._tools = known_tools(config)
        self._spools = {name: Spool(output / f"{name}.jsonl") for name in names}

    def add(self, session: Session) -> None:
        """Make the records of one session; one whose rows make no sense is named among the problems."""
        funnel = Funnel()
        try:
            found = turns(session, self.config.opencode.agents, funnel.lost)
            hashes = step_hashes(found)
            cluster, copied = self._copies.find(session.id, hashes)
            steps = [step for turn in found for step in turn.steps]
            for step in steps[:copied]:
                step.reason = COPY
            if self.exclusion.covers({"session": session.id}) or self.exclusion.covers({"session": cluster}):
                for step in steps:
                    step.reason = EXCLUDED
            records = self._records(session, found, cluster, funnel)
        except _BAD_ROWS as error:
            self.problems.append(f"session {session.id}: rows of an unknown shape: {error!r}")
            return
        self._copies.add(cluster, hashes)
        self._read.add(session.id)
        self.funnel.add(funnel)
        for record in records:
            self._spools[record["language"]].add(record)

    def _records(self, session: Session, found: list[Turn], cluster: str, funnel: Funnel) -> list[Record]:
        classified = self._classifier.classify(found)
        worked = [name for name in self.names if any(name in turn.languages for turn in classified)]
        limits = {name: self.config.languages[name].training.max_length for name in worked}
        source = {"session": cluster, "project": ProjectPaths(session.directory).project}
        cleaned = {limit: self._cleaned(found, limit, source, funnel) for limit in sorted(set(limits.values()))}
        again = session.id in self._read  # from a copy of the database: only what is new in it counts
        funnel.counts["sessions"] += not again
        for turn, result in zip(found, classified, strict=True):
            if not (again and all(step.reason == COPY for step in turn.steps)):
                funnel.add_turn(turn, result.languages)
        tools, records = tools_for(session, found, self._tools), []
        for name in worked:
            prompt, counts, lost = system_prompt(self.config.languages[name]), funnel.by_language[name], Counter[str]()
            units, steps, source = cleaned[limits[name]]
            targets = [
                replace(unit, target=bool(step and step.reason is None and name in classified[unit.turn].languages))
                for unit, step in zip(units, steps, strict=True)
            ]
            windows = Packer(self._counter, limits[name]).windows(targets, prompt, tools, lost)
            for window in windows:
                about = {"kind": "session", "time": iso(found[window.turn].time / 1000), **source}
                records.append(make_record(name, window.messages, tools, about))
                counts["steps"] += len(window.targets)
            counts["examples"] += len(windows)
            funnel.lost_by_language[name] += lost
        return records

    def _cleaned(
        self, found: list[Turn], limit: int, source: dict[str, Any], funnel: Funnel
    ) -> tuple[list[Unit], list[Step | None], dict[str, Any]]:
        """What all windows of a limit are cut from: units without secrets, beside each its step (None: a user message),
        and the source without secrets. A step that held a secret is no target any more, and what one place of the
        session shows to be a secret is one in every window."""
        units, steps = _units(found, limit)
        cleaned = clean([message for unit in units for message in unit.messages], source, self._rules)
        funnel.counts["secrets"] += sum(finding.category == SECRET for finding in cleaned.findings)
        fresh, at = [], 0
        for unit, step in zip(units, steps, strict=True):
            if step and at in cleaned.spoiled:
                step.reason = step.reason or SECRET_IN_TARGET
            fresh.append(replace(unit, messages=tuple(cleaned.messages[at : at + len(unit.messages)])))
            at += len(unit.messages)
        return Packer(self._counter, limit).counted(fresh), steps, cleaned.source

    def finish(self) -> dict[str, Any]:
        """Write all files and the summary. What could not be read today keeps the rows that it gave before."""
        examples = {}
        for name, spool in self._spools.items():
            counts = self.funnel.by_language[name]  # a language without any is in the funnel too
            if self.problems and spool.path.exists():
                for record in read_records(spool.path):
                    if record["source"].get("session") not in self._read:
                        spool.add(record)
                        counts["kept from before"] += 1
            examples[name] = len(spool)
            spool.finish()
        (self.output / ".cache.sqlite").unlink(missing_ok=True)  # of version 1.1; it holds rows that may have to go
        summary = {"step": "extract", "examples": examples, "funnel": self.funnel.as_json()}
        write_json(self.output / "summary.json", {**summary, "problems": self.problems})
        return summary


def read_histories(databases: list[Path], problems: list[str]) -> Iterator[Session]:
    """Sessions of several databases; one that cannot be read is named among the problems."""
    for database in databases:
        try:
            yield from read_sessions(database, problems)
        except Unreadable as problem:
            problems.append(str(problem))


class Spool:
    """A file of records too many for memory: lines go to a temporary file as they come, and are sorted at the end, into
    what `records.write_records` makes of the same records."""

    def __init__(self, path: Path):
        self.path = path
        self._places: dict[str, tuple[str, str, int, int]] = {}  # id -> time, id, offset, length
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lines = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (`finish` closes it)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, record: Record) -> None:
        """Of equal ids the last counts."""
        line = f"{canonical(record)}\n".encode()
        with written(self.path):
            self._places[record["id"]] = record["source"]["time"], record["id"], self._lines.tell(), len(line)
            self._lines.write(line)

    def finish(self) -> None:
        """Put the file in place, whole, if it differs from the one that is there."""

        def write(file: BinaryIO) -> None:
            for _time, _id, offset, length in sorted(self._places.values()):
                self._lines.seek(offset)
                file.write(self._lines.read(length))

        with self._lines:
            replace_file(self.path, write)


class Copies:
    """Finds what forks and resumed sessions have in common with an earlier session from its start on."""

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[str, array[int]]]] = defaultdict(list)  # by the first hash

    def find(self, session: str, hashes: array[int]) -> tuple[str, int]:
        """The session whose cluster this one belongs to, itself unless it is a copy, and how many steps it copied."""
        cluster, copied = session, 0
        for known_cluster, known in self._known.get(hashes[0], ()) if hashes else ():
            common = sum(a == b for a, b in zip(hashes, known, strict=False))
            if common > copied:
                cluster, copied = known_cluster, common
        return cluster, copied

    def add(self, cluster: str, hashes: array[int]) -> None:
        """Remember a session for those that come later."""
        if hashes:
            self._known[hashes[0]].append((cluster, hashes))


def step_hashes(found: list[Turn]) -> array[int]:
    """For each step a hash over the contents of the chat up to it, because copies get new ids: once two sessions
    differ, their hashes stay apart."""
    hashes, digest = array("Q"), hashlib.blake2b(digest_size=8)
    for turn in found:
        digest.update(turn.request.encode("utf-8", "replace"))
        for step in turn.steps:
            for call in step.calls:
                digest.update(f"\0{call.name}\0{call.arguments!r}\0{call.output}".encode("utf-8", "replace"))
            digest.update(f"\0{step.text}\0".encode("utf-8", "replace"))
            hashes.append(int.from_bytes(digest.digest(), "big"))
    return hashes


def tools_for(session: Session, found: list[Turn], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools that a session's agent had: opencode's own, and those seen at work in it."""
    names = {tool["function"]["name"] for tool in tools}
    calls = [call for turn in found for step in turn.steps for call in step.calls if call.name not in names]
    own = [tool for tool in tools if not (session.parent and tool["function"]["name"] in _NOT_FOR_SUBAGENTS)]
    return [*own, *infer_schemas(calls)]


def _units(found: list[Turn], limit: int) -> tuple[list[Unit], list[Step | None]]:
    """The units of a session, none a target yet, and the step that each was made from."""
    units: list[Unit] = []
    steps: list[Step | None] = []
    for number, turn in enumerate(found):
        if turn.request:
            units.append(user_unit(turn.request, number, resets=turn.compaction))
            steps.append(None)
        for step in turn.steps:
            units.append(step_unit(step.text, step.calls, number, limit))
            steps.append(step)
    return units, steps


def _sorted(counter: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in sorted(counter.items()) if number}
