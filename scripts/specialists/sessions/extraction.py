"""From opencode's history to examples: sessions are read once, one by one, and each language takes its turns."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import token_counter
from specialists.config import Config, Language
from specialists.records import Record, iso, make_record, read_records, write_json
from specialists.secrets import SECRET, Rules, clean
from specialists.sessions.chat import Step, Turn, turns
from specialists.sessions.database import Session, Unreadable, read_sessions
from specialists.sessions.languages import LanguageClassifier
from specialists.sessions.paths import ProjectPaths
from specialists.sessions.spool import Spool
from specialists.sessions.windows import Packer, Unit, step_unit, user_unit
from specialists.tools import infer_schemas, known_tools

COPY = "copy of another session"
NO_LANGUAGE = "no language"
SECRET_IN_TARGET = "secret in target"
UNLEARNED = "unlearned"  # taken back by the owner
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


@dataclass(frozen=True)
class CleanedSession:
    """A session ready to be cut into windows of one limit: secrets replaced, tokens counted."""

    units: list[Unit]
    steps: list[Step | None]  # beside the units; None: a user message
    source: dict[str, Any]


class Extractor:
    """Turns sessions into files of records, one per language of a configuration."""

    def __init__(self, config: Config, names: list[str], output: Path):
        self.config, self.names, self.output = config, names, output
        self.funnel, self.problems = Funnel(), list[str]()
        self._read: set[str] = set()  # ids of sessions
        self._classifier = LanguageClassifier(config.languages.values())
        self._copies = Copies()
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
            self._mark(session, found, cluster, copied)
            records = self._records(session, found, cluster, funnel)
        except _BAD_ROWS as error:
            self.problems.append(f"session {session.id}: rows of an unknown shape: {error!r}")
            return
        self._copies.add(cluster, hashes)
        self._read.add(session.id)
        self.funnel.add(funnel)
        for record in records:
            self._spools[record["language"]].add(record)

    def _mark(self, session: Session, found: list[Turn], cluster: str, copied: int) -> None:
        """Give a reason to steps that were learned from already, or are not to be."""
        steps = [step for turn in found for step in turn.steps]
        for step in steps[:copied]:
            step.reason = COPY
        if {session.id, cluster} & set(self.config.unlearned.sessions):
            for step in steps:
                step.reason = UNLEARNED

    def _records(self, session: Session, found: list[Turn], cluster: str, funnel: Funnel) -> list[Record]:
        classified = self._classifier.classify(found)
        worked = [name for name in self.names if any(name in turn.languages for turn in classified)]
        languages = [self.config.languages[name] for name in worked]
        source = {"session": cluster, "project": ProjectPaths(session.directory).project}
        limits = sorted({language.training.max_length for language in languages})
        cleaned = {limit: self._cleaned(found, limit, source, funnel) for limit in limits}
        again = session.id in self._read  # from a copy of the database: only what is new in it counts
        funnel.counts["sessions"] += not again
        for turn, result in zip(found, classified, strict=True):
            if not (again and all(step.reason == COPY for step in turn.steps)):
                funnel.add_turn(turn, result.languages)
        tools = tools_for(session, found, self._tools)
        records = []
        for language in languages:
            mine = cleaned[language.training.max_length]
            work = {number for number, turn in enumerate(classified) if language.name in turn.languages}
            records += self._examples(language, mine, work, found, tools, funnel)
        return records

    def _cleaned(self, found: list[Turn], limit: int, source: dict[str, Any], funnel: Funnel) -> CleanedSession:
        """The session that all windows are cut from, so that what one place of it shows to be a secret is one in each
        of them. A step that held one is no target any more."""
        units, steps = _units(found, limit)
        cleaned = clean([message for unit in units for message in unit.messages], source, self._rules)
        funnel.counts["secrets"] += sum(finding.category == SECRET for finding in cleaned.findings)
        fresh, at = [], 0
        for unit, step in zip(units, steps, strict=True):
            if step and at in cleaned.spoiled:
                step.reason = step.reason or SECRET_IN_TARGET
            messages = cleaned.messages[at : at + len(unit.messages)]
            fresh.append(replace(unit, messages=tuple(messages)))
            at += len(messages)
        return CleanedSession(Packer(self._counter, limit).counted(fresh), steps, cleaned.source)

    def _examples(
        self,
        language: Language,
        session: CleanedSession,
        work: set[int],
        found: list[Turn],
        tools: list[dict[str, Any]],
        funnel: Funnel,
    ) -> list[Record]:
        """The records of one language. `work`: numbers of the turns that are work in it."""
        units = [
            replace(unit, target=step is not None and step.reason is None and unit.turn in work)
            for unit, step in zip(session.units, session.steps, strict=True)
        ]
        packer = Packer(self._counter, language.training.max_length)
        records = []
        for window in packer.windows(units, system_prompt(language), tools, funnel.lost_by_language[language.name]):
            source = {"kind": "session", "time": iso(found[window.turn].time / 1000), **session.source}
            records.append(make_record(language.name, window.messages, tools, source))
            funnel.by_language[language.name]["steps"] += len(window.targets)
        funnel.by_language[language.name]["examples"] += len(records)
        return records

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
