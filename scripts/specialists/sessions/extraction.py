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
from specialists.chat import Chat, token_counter
from specialists.config import Config, Language, fingerprint
from specialists.exclusion import Exclusion
from specialists.records import iso, line_of, make_record, read_records, write_json
from specialists.secrets import SECRET, Rules, clean
from specialists.sessions.chat import Step, Turn, turns
from specialists.sessions.database import Known, Session, Unreadable, read_sessions
from specialists.sessions.languages import Judge, Verdict
from specialists.sessions.paths import ProjectPaths
from specialists.sessions.session_cache import SessionCache
from specialists.sessions.spool import Spool
from specialists.sessions.windows import Packer, Unit, step_unit, user_unit
from specialists.sources import code
from specialists.tools import infer_schemas, known_tools

COPY = "copy of another session"
NO_LANGUAGE = "no language"
SECRET_IN_TARGET = "secret in target"
EXCLUDED = "excluded by the owner"
_NOT_FOR_SUBAGENTS = ("task", "todowrite")
_BAD_ROWS = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass
class Share:
    """What one session gives; all of it but the lines goes through JSON and back unchanged."""

    chain: list[int]  # see Copies
    cluster: str
    common: int  # steps at its start that another session has too
    counts: Counter[str] = field(default_factory=Counter)  # sessions, turns, steps
    lost: Counter[str] = field(default_factory=Counter)  # steps by reason, languages aside
    by_language: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # turns, steps, examples
    lost_by_language: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rows: list[tuple[str, str, str]] = field(default_factory=list)  # language, time, id
    lines: list[bytes] = field(default_factory=list)  # beside the rows: each as it is written


@dataclass(frozen=True)
class Material:
    """A session ready to be cut into windows of one limit: without secrets, and weighed."""

    units: list[Unit]
    steps: list[Step | None]  # beside the units; None: a user message
    source: dict[str, Any]


@dataclass
class Totals:
    """What all sessions gave, and what did not come through and why."""

    counts: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    by_language: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    lost_by_language: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sessions: set[str] = field(default_factory=set)  # ids of those that were read
    problems: list[str] = field(default_factory=list)

    def add(self, share: Share) -> None:
        self.counts.update(share.counts)
        self.lost.update(share.lost)
        for name, counts in share.by_language.items():
            self.by_language[name].update(counts)
        for name, counts in share.lost_by_language.items():
            self.lost_by_language[name].update(counts)

    def funnel(self) -> dict[str, Any]:
        """Sessions, turns and steps in; examples out; losses by reason, in all and per language."""
        languages = {}
        for name in sorted(self.by_language):
            languages[name] = {**_sorted(self.by_language[name]), "lost": _sorted(self.lost_by_language[name])}
        return {**_sorted(self.counts), "lost": _sorted(self.lost), "languages": languages}


class Extractor:
    """Turns sessions into files of records, one per language of a configuration."""

    def __init__(self, config: Config, names: list[str], output: Path):
        self.config, self.names, self.output = config, names, output
        self.judge = Judge(config.languages.values())
        self.copies = Copies()
        self.totals = Totals()
        self.exclusion = Exclusion(config)
        self._rules = Rules.of(config)
        self._counter = token_counter(config.base.model, config.base.revision)
        self._tools = known_tools(config)
        self._packers: dict[int, Packer] = {}
        self._spools = {name: Spool(output / f"{name}.jsonl") for name in names}
        self._cache = SessionCache(output / ".cache.sqlite", self._key())

    def _key(self) -> str:
        """A hash over everything but the session that decides what it gives."""
        ours = [Path(file).read_bytes() for file in code("extract-training-data")]
        counter = self._counter.fingerprint if isinstance(self._counter, Chat) else "estimate"
        languages = [
            {**vars(language), "training": language.training.max_length} for language in self.config.languages.values()
        ]
        wanted = self.names, self.config.opencode.agents, self.config.secrets, self.config.owner.exclude
        return fingerprint(ours, counter, languages, wanted, self._tools)

    def read(self, databases: list[Path]) -> Iterator[Session]:
        """The sessions of all databases that are to be added; unchanged ones count without being read again."""
        return read_histories(databases, self.totals.problems, self._unchanged)

    def _unchanged(self, session: Session) -> bool:
        known = self._cache.get(session.id, self._state(session))
        if known is None:
            return False
        share = Share(**known[0], lines=known[1])
        if self.copies.find(session.id, share.chain) != (share.cluster, share.common):
            return False
        self._merge(session, share)
        return True

    def _state(self, session: Session) -> str:
        return f"again {session.state}" if session.state and session.id in self.totals.sessions else session.state

    def add(self, session: Session) -> None:
        """Make the records of one session; one whose rows make no sense is named among the problems."""
        try:
            share = self._share(session)
        except _BAD_ROWS as error:
            self.totals.problems.append(f"session {session.id}: rows of an unknown shape: {error!r}")
            return
        about = {name: value for name, value in vars(share).items() if name != "lines"}
        self._cache.put(session.id, self._state(session), about, share.lines)
        self._merge(session, share)

    def _merge(self, session: Session, share: Share) -> None:
        self.copies.add(share.cluster, share.chain)
        self.totals.sessions.add(session.id)
        self.totals.add(share)
        for (language, time, id_), line in zip(share.rows, share.lines, strict=True):
            self._spools[language].add(time, id_, line)

    def _share(self, session: Session) -> Share:
        lost: Counter[str] = Counter()
        found = turns(session, self.config.opencode.agents, lost)
        chain = chain_of(found)
        share = Share(chain, *self.copies.find(session.id, chain), lost=lost)
        steps = [step for turn in found for step in turn.steps]
        for step in steps[: share.common]:
            step.reason = COPY
        if self.exclusion.covers({"session": session.id}) or self.exclusion.covers({"session": share.cluster}):
            for step in steps:
                step.reason = EXCLUDED
        again = session.id in self.totals.sessions  # in a copy of the database: only what is new in it counts
        share.counts["sessions"] = 0 if again else 1
        verdicts = self.judge.session(found)
        worked = [name for name in self.names if any(name in verdict.languages for verdict in verdicts)]
        limits = {name: self.config.languages[name].training.max_length for name in worked}
        source = {"session": share.cluster, "project": ProjectPaths(session.directory).project}
        material = {limit: self._material(found, limit, source, share) for limit in sorted(set(limits.values()))}
        for turn, verdict in zip(found, verdicts, strict=True):
            if not (again and all(step.reason == COPY for step in turn.steps)):
                _count(share, turn, verdict)
        tools = tools_for(session, found, self._tools)
        for name in worked:
            wanted = [name in verdict.languages for verdict in verdicts]
            self._examples(share, self.config.languages[name], material[limits[name]], wanted, found, tools)
        return share

    def _material(self, found: list[Turn], limit: int, source: dict[str, Any], share: Share) -> Material:
        """All windows are cut from this, so that what one place of a session shows to be a secret is one in each of
        them. A step that held one is no target any more."""
        units, steps = _units(found, limit)
        cleaned = clean([message for unit in units for message in unit.messages], source, self._rules)
        share.counts["secrets"] += sum(finding.category == SECRET for finding in cleaned.findings)
        fresh, at = [], 0
        for unit, step in zip(units, steps, strict=True):
            if step and at in cleaned.spoiled:
                step.reason = step.reason or SECRET_IN_TARGET
            messages = cleaned.messages[at : at + len(unit.messages)]
            fresh.append(replace(unit, messages=tuple(messages)))
            at += len(messages)
        return Material(self._packer(limit).weighed(fresh), steps, cleaned.source)

    def _packer(self, limit: int) -> Packer:
        return self._packers.setdefault(limit, Packer(self._counter, limit))

    def _examples(
        self,
        share: Share,
        language: Language,
        material: Material,
        wanted: list[bool],
        found: list[Turn],
        tools: list[dict[str, Any]],
    ) -> None:
        """The records of one language. `wanted`: whether a turn is work in it."""
        units = [
            replace(unit, target=step is not None and step.reason is None and wanted[unit.turn])
            for unit, step in zip(material.units, material.steps, strict=True)
        ]
        lost, counts = share.lost_by_language[language.name], share.by_language[language.name]
        packer = self._packer(language.training.max_length)
        for window in packer.windows(units, system_prompt(language), tools, lost):
            time = iso(found[window.turn].time / 1000)
            source = {"kind": "session", "time": time, **material.source}
            record = make_record(language.name, window.messages, tools, source)
            counts["examples"] += 1
            counts["steps"] += len(window.targets)
            share.rows.append((language.name, time, record["id"]))
            share.lines.append(line_of(record))

    def finish(self) -> dict[str, Any]:
        """Write all files and the summary. What could not be read today keeps the rows that it gave before."""
        totals, examples = self.totals, {}
        for name, spool in self._spools.items():
            if totals.problems and spool.path.exists():
                for record in read_records(spool.path):
                    if record["source"].get("session") not in totals.sessions:
                        spool.add(record["source"]["time"], record["id"], line_of(record))
                        totals.by_language[name]["kept from before"] += 1
            totals.by_language[name]["examples"] += 0  # a language without any is in the funnel too
            examples[name] = len(spool)
            spool.finish()
        self._cache.close()
        summary = {"step": "extract", "examples": examples, "funnel": totals.funnel()}
        write_json(self.output / "summary.json", {**summary, "problems": totals.problems})
        return summary


def read_histories(
    databases: list[Path], problems: list[str], known: Known = lambda session: False
) -> Iterator[Session]:
    """Sessions of several databases; one that cannot be read is named among the problems."""
    for database in databases:
        try:
            yield from read_sessions(database, problems, known)
        except Unreadable as problem:
            problems.append(str(problem))


class Copies:
    """Finds what forks and resumed sessions copied: the steps that a session has in common with an earlier one from its
    start on. Chats are compared by content, because copies get new ids.

    A chain has 8 bytes for each step of a session: a hash over the chat up to it. Once apart, hashes stay apart.
    """

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[str, array]]] = defaultdict(list)  # by a chain's first hash

    def find(self, session: str, chain: list[int]) -> tuple[str, int]:
        """The session whose cluster this one belongs to, itself unless it is a copy, and how many steps it copied."""
        cluster, common = session, 0
        for known_cluster, known in self._known.get(chain[0], ()) if chain else ():
            shared = sum(a == b for a, b in zip(chain, known, strict=False))
            if shared > common:
                cluster, common = known_cluster, shared
        return cluster, common

    def add(self, cluster: str, chain: list[int]) -> None:
        """Remember a session for those that come later."""
        if chain:
            self._known[chain[0]].append((cluster, array("Q", chain)))


def chain_of(found: list[Turn]) -> list[int]:
    """See Copies."""
    chain, digest = [], hashlib.blake2b(digest_size=8)
    for turn in found:
        digest.update(turn.request.encode("utf-8", "replace"))
        for step in turn.steps:
            for call in step.calls:
                digest.update(f"\0{call.name}\0{call.arguments!r}\0{call.output}".encode("utf-8", "replace"))
            digest.update(f"\0{step.text}\0".encode("utf-8", "replace"))
            chain.append(int.from_bytes(digest.digest(), "big"))
    return chain


def tools_for(session: Session, found: list[Turn], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools that a session's agent had: opencode's own, and those seen at work in it."""
    names = {tool["function"]["name"] for tool in tools}
    calls = [call for turn in found for step in turn.steps for call in step.calls if call.name not in names]
    own = [tool for tool in tools if not (session.parent and tool["function"]["name"] in _NOT_FOR_SUBAGENTS)]
    return [*own, *infer_schemas(calls)]


def _count(share: Share, turn: Turn, verdict: Verdict) -> None:
    share.counts["turns"] += 1
    for step in turn.steps:
        share.counts["steps"] += 1
        reason = step.reason or (None if verdict.languages else NO_LANGUAGE)
        if reason:
            share.lost[reason] += 1
            for name in verdict.languages:
                share.lost_by_language[name][reason] += 1
    for name in verdict.languages:
        share.by_language[name]["turns"] += 1


def _units(found: list[Turn], limit: int) -> tuple[list[Unit], list[Step | None]]:
    """The units of a session, none a target yet, and the step that each was made from."""
    units: list[Unit] = []
    steps: list[Step | None] = []
    for number, turn in enumerate(found):
        if turn.request:
            units.append(user_unit(turn.request, number, resets=turn.compaction))
            steps.append(None)
        for step in turn.steps:
            calls = [(call.name, call.arguments, call.output) for call in step.calls]
            units.append(step_unit(step.text, calls, number, False, limit))
            steps.append(step)
    return units, steps


def _sorted(counter: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in sorted(counter.items()) if number}
