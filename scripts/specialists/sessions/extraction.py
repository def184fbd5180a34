"""From opencode's history to examples: sessions are read once, one by one, and each language takes its turns."""

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import token_counter
from specialists.config import Config
from specialists.exclusion import Exclusion
from specialists.families import Sayable
from specialists.records import Record, canonical, iso, make_record, read_json, read_records, replace_file, write_json
from specialists.secrets import SECRET, clean
from specialists.sessions.chat import Step, Turn, turns
from specialists.sessions.database import Session, Unreadable, read_sessions
from specialists.sessions.languages import LanguageClassifier
from specialists.sessions.paths import ProjectPaths
from specialists.sessions.windows import Packer, Unit, step_unit
from specialists.tools import in_words_of, infer_schemas, known_tools

COPY = "copy of another session"
_NOT_OF_SUBAGENTS = ("task", "todowrite", "subagent", "question")  # 1.18's, 2's
Made = tuple[Unit, Step | None, str]  # what may be a target in it, and the id of its row
_BAD_ROWS = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass
class Funnel:
    """What came in (sessions, turns, steps), what came out (steps, examples), and what was lost and why."""

    counts: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)  # steps by reason
    languages: "dict[str, Funnel]" = field(default_factory=lambda: defaultdict(Funnel))

    def add_turn(self, turn: Turn, languages: tuple[str, ...]) -> None:
        steps = [step for step in turn.steps if not step.note]
        self.counts.update({"turns": 1, "steps": len(steps)})
        lost = [reason for step in steps if (reason := step.reason or (None if languages else "no language"))]
        self.lost.update(lost)
        for name in languages:
            self.languages[name].counts["turns"] += 1
            self.languages[name].lost.update(lost)

    def as_json(self) -> dict[str, Any]:
        languages = {name: funnel.as_json() for name, funnel in sorted(self.languages.items())}
        counts, lost = (dict(sorted((+counter).items())) for counter in (self.counts, self.lost))
        return {**counts, "lost": lost, **({"languages": languages} if languages else {})}


class Extractor:
    """Turns sessions into files of records, one per language of a configuration."""

    def __init__(self, config: Config, names: list[str], output: Path, tools: list[dict[str, Any]] | None = None):
        """`tools`: of the opencode in whose words rows are; else as known_tools has them."""
        self.config, self.names, self.output = config, names, output
        self.judge: Callable[[Record], tuple[Record | None, int]] = lambda record: (record, 0)  # takes so many targets
        self.funnel, self.problems = Funnel(), list[str]()
        self.histories: dict[str, int] = {}  # path -> sessions with messages in it; only of those that could be read
        self._read: dict[str, int] = {}  # ids of sessions -> steps
        self._seen: dict[int, str] = {}  # a step's hash -> the cluster of the session that had it first
        self._classifier = LanguageClassifier(config.languages.values())
        self.exclusion = Exclusion(config)
        counter = token_counter(config.base.model, config.base.revision)
        self._packer, self._sayable = Packer(counter), Sayable(counter)
        self._tools = tools or known_tools(config)
        self._found: dict[str, dict[str, tuple[str, str, bytes]]] = {name: {} for name in names}  # id -> time, id, line

    def add(self, session: Session) -> None:
        """Make the records of one session; one whose rows make no sense is named among the problems."""
        funnel = deepcopy(self.funnel)
        try:
            found = turns(session, self.config.opencode.agents, funnel.lost, self.config)
            hashes = step_hashes(found)
            copied = max(sum(known in self._seen for known in hashes), self._read.get(session.id, 0))
            cluster = self._seen.get(hashes[copied - 1], session.id) if 0 < copied <= len(hashes) else session.id
            excluded = self.exclusion.covers({"session": session.id}) or self.exclusion.covers({"session": cluster})
            for number, step in enumerate(step for turn in found for step in turn.steps):
                if excluded or number < copied:
                    step.reason = "excluded by the owner" if excluded else COPY
            records = self._records(session, found, cluster, funnel)
        except _BAD_ROWS as error:
            self.problems.append(f"session {session.id}: rows of an unknown shape: {error!r}")
            return
        for new in hashes:
            self._seen.setdefault(new, cluster)
        if session.messages:
            self._read[session.id] = max(len(hashes), self._read.get(session.id, 0))
        self.funnel = funnel
        for record in records:
            self._keep(record)

    def _keep(self, record: Record) -> None:
        """Hold a record, compressed: a history has many. Of equal ids the last counts."""
        line = zlib.compress(f"{canonical(record)}\n".encode(), 1)
        self._found[record["language"]][record["id"]] = record["source"]["time"], record["id"], line

    def _write(self, path: Path) -> None:
        lines = [line for _time, _id, line in sorted(self._found[path.stem].values())]
        replace_file(path, lambda file: file.writelines(map(zlib.decompress, lines)))

    def _records(self, session: Session, found: list[Turn], cluster: str, funnel: Funnel) -> list[Record]:
        classified = self._classifier.classify(found)
        worked = [name for name in self.names if any(name in turn.languages for turn in classified)]
        limits = {name: self.config.languages[name].training.max_length for name in worked}
        source = {"session": cluster, "project": ProjectPaths(session.directory).project}
        units, source = self._units(found, min(limits.values()), source, funnel) if worked else ([], source)
        again = session.id in self._read  # from a copy of the database: only what is new in it counts
        funnel.counts["sessions"] += not again
        for turn, result in zip(found, classified, strict=True):
            if not (again and all(step.reason == COPY for step in turn.steps)):
                funnel.add_turn(turn, result.languages)
        tools, records = tools_for(session, found, self._tools), []
        for name in worked:
            prompt, mine = system_prompt(self.config.languages[name]), funnel.languages[name]
            chosen = [replace(unit, target=unit.target and name in classified[unit.turn].languages) for unit in units]
            windows = self._packer.windows(chosen, limits[name], prompt, mine.lost)
            for window in windows:
                about = {"kind": "session", "time": iso(found[window.turn].time / 1000), **source}
                record, taken = self.judge(self._sayable(make_record(name, window.messages, tools, about)))
                records += [record] if record else []
                mine.counts.update({"steps": len(window.targets) - taken, "examples": bool(record)})
                mine.lost["not worth learning"] += taken
        return records

    def _units(self, found: list[Turn], limit: int, source: dict, funnel: Funnel) -> tuple[list[Unit], dict]:
        """What all windows of a session are cut from, and its source, both without secrets.

        A step that held a secret is no target; what one place of the session shows to be a secret is one in all of it.
        """
        made: list[Made] = []
        for number, turn in enumerate(found):
            made += self._of_turn(turn, number, made)
        messages = [message for unit, _step, _id in made for message in unit.messages]
        cleaned = clean(messages, source, self.config.secrets)
        funnel.counts["secrets"] += sum(finding.category == SECRET for finding in cleaned.findings)
        units, start = [], 0
        for unit, step, _id in made:
            if step and start in cleaned.spoiled:
                step.reason = step.reason or "secret in target"
            if step and not self._sayable.can_say(unit.messages[0]):
                step.reason = step.reason or "cannot be said"
            end = start + len(unit.messages)
            target = bool(step and step.reason is None)
            units.append(replace(unit, messages=tuple(cleaned.messages[start:end]), target=target))
            start = end
        counted = self._packer.counted(units, limit)
        for (_unit, step, _id), before, after in zip(made, units, counted, strict=True):
            if step and before.target and not after.target:
                step.reason = "edits unseen text"
        return counted, cleaned.source

    def _of_turn(self, turn: Turn, number: int, before: list[Made]) -> list[Made]:
        """A turn's units in the words of the rows' opencode; those that a compaction kept stand behind its summary."""
        said = {"role": "user", "content": turn.request}
        made: list[Made] = [(Unit((said,), number), None, turn.id)] if turn.request else []
        for step in turn.steps:
            calls = [call for one in step.calls if (call := in_words_of(self._tools, one))]
            if step.calls and not calls:
                step.reason = step.reason or "tool of another version"
                continue
            note = Unit(({"role": "user", "content": step.text},), number) if step.note else None
            made.append((note or step_unit(step.text, calls, number), step, step.id))
        if turn.kept is not None:
            made[0] = replace(made[0][0], resets=True), *made[0][1:]
            summary = sum(id_ in (turn.id, *turn.kept) for _unit, _step, id_ in made)
            kept = (unit for unit, _step, id_ in before if id_ in turn.kept)
            made[summary:summary] = [(replace(unit, turn=number), None, "") for unit in kept]
        return made

    def known_histories(self) -> dict[str, int]:
        """Histories that the last run read, each with how many sessions it had."""
        return (read_json(self.output / "summary.json") or {}).get("histories", {})

    def finish(self, accept_loss: bool = False, more: tuple[str, ...] | list[str] = ()) -> dict[str, Any]:
        """Write all files and the summary, with more problems. What could not be read today keeps the rows that it gave
        before, as does a history that lost half of its sessions, unless the owner accepts that."""
        for path, count in () if accept_loss else self.known_histories().items():
            if 2 * self.histories.setdefault(path, count) <= count > 0:
                left = f"{path}: {self.histories[path]} sessions where there were {count}"
                kept = "it keeps its earlier examples; if they are gone for good: doit extract --accept-loss"
                self.problems.append(f"{left}: {kept}")
                self.histories[path] = count
        examples = {}
        for name, found in self._found.items():
            counts, file = self.funnel.languages[name].counts, self.output / f"{name}.jsonl"  # also without any
            for record in read_records(file) if self.problems and file.exists() else ():
                if record["source"].get("session") not in self._read and not self.exclusion.covers(record["source"]):
                    self._keep(record)
                    counts["kept from before"] += 1
            examples[name] = len(found)
            self._write(file)
        (self.output / ".cache.sqlite").unlink(missing_ok=True)  # of version 1.1; it holds rows that may have to go
        funnel = self.funnel.as_json()
        summary = {"step": "extract", "examples": examples, "funnel": funnel, "histories": self.histories}
        write_json(self.output / "summary.json", {**summary, "problems": [*self.problems, *more]})
        return summary


def read_histories(paths: list[Path], problems: list[str], counts: dict[str, int] | None = None) -> Iterator[Session]:
    """Sessions of several databases; one that cannot be read is named among the problems. `counts`: as `histories`."""
    for path in paths:
        found = 0
        try:
            for session in read_sessions(path, problems):
                found += bool(session.messages)
                yield session
            if counts is not None:
                counts[str(path)] = found
        except Unreadable as problem:
            problems.append(str(problem))


def step_hashes(found: list[Turn]) -> list[int]:
    """For each step a hash over the contents of the chat up to it: forks and resumed sessions, whose rows have new ids,
    share those of their start with an earlier session."""
    hashes, digest = [], hashlib.blake2b(digest_size=8)
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
    calls = (in_words_of(tools, call) for turn in found for step in turn.steps for call in step.calls)
    own = [tool for tool in tools if not (session.parent and tool["function"]["name"] in _NOT_OF_SUBAGENTS)]
    return [*own, *infer_schemas([call for call in calls if call and call.name not in names])]
