"""The owner's git history -> examples of one language: what is read, remembered, proved, chosen.

A commit's verdict is remembered in a small database beside the examples, keyed by the commit and by everything that
decides it (rules, configuration, base model): the next night reads new commits only. Metadata is always read, so that
what is no longer reachable is gone.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import Estimate, token_counter
from specialists.code import edits
from specialists.code.edits import FileChange, NotExact
from specialists.commits import filter as commit_filter
from specialists.commits.contents import added_checksums, checksum, file_changes, patch_id, size
from specialists.commits.filter import Candidate, CommitFilter, LeftOut
from specialists.commits.git import Contents, GitSource
from specialists.commits.layout import owner_emails
from specialists.commits.message import coauthors
from specialists.commits.store import Entry, Store, choose
from specialists.config import Config, Language, Problem, fingerprint
from specialists.exclusion import Exclusion
from specialists.records import Record, iso, make_record
from specialists.secrets import Rules, redact, scrub
from specialists.sources import code
from specialists.tools import known_tools

SURE = 0.75  # of the limit: an estimate below needs no exact count

INEXACT, TOO_LONG, SECRET = "not reproduced exactly", "too long", "secret in target"
EXCLUDED, DUPLICATE, UNCHOSEN = "excluded by the owner", "same change as another commit", "not among the best"

Reword = Callable[[Record], tuple[str, str] | None]

_LICENCE = re.compile(r"(?:licen[cs]e|copying|unlicense|notice|copyright)(?:[-._].*)?", re.I)


@dataclass
class Mined:
    """What came out of the repositories of a language, and what did not and why."""

    records: list[Record] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # commits and examples
    lost: Counter[str] = field(default_factory=Counter)  # commits by reason
    files: Counter[str] = field(default_factory=Counter)  # files left out of candidates by reason
    repositories: list[dict[str, Any]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # names of repositories that could not be read
    problems: list[str] = field(default_factory=list)

    def funnel(self) -> dict[str, int]:
        """Commits in, examples out, and between them the losses by reason, which add up."""
        lost = {reason: number for reason, number in self.lost.most_common() if number}
        return {"commits": self.counts["commits"], **lost, "examples": self.counts["examples"]}


class Miner:
    """Mines repositories for one language."""

    def __init__(self, config: Config, language: Language, store_file: Path):
        """`store_file`: where verdicts are remembered."""
        self.config, self.language = config, language
        self.limit = language.training.max_length
        self.counter = token_counter(config.base.model, config.base.revision)
        self.estimate = Estimate()
        self.secrets = Rules.of(config)
        self.exclusion = Exclusion(config)
        self.tools = known_tools(config) if config.mining.format == "agent" else []
        self.store = Store(store_file, self._key())
        self.result = Mined()
        self.rows: list[Entry] = []
        self._seen: set[str] = set()  # commits of repositories before this one
        self._commits: list[set[str]] = []  # examples by repository

    def _key(self) -> str:
        """A fingerprint of everything but the commit that decides a verdict."""
        ours = [zlib.crc32(path.read_bytes()) for path in map(Path, code("mine-repos"))]
        plain = {
            **vars(self.language),
            "training": self.limit,
            "repositories": None,
            "min_examples": None,
            "max_examples": None,
        }
        counter = "estimate" if isinstance(self.counter, Estimate) else self.counter.fingerprint
        return fingerprint(ours, plain, self.config.mining, self.config.secrets, self.tools, counter)

    def mine(self, path: Path, emails: Iterable[str], progress: Callable = lambda items, *_: items) -> None:
        """Read one repository; one that cannot be read is named among the problems."""
        try:
            with GitSource(path) as source:
                self._mine(source, list(emails) or owner_emails(path), progress)
        except (Problem, OSError) as problem:
            self.result.problems.append(str(problem))
            self.result.unread.append(path.name)

    def _mine(self, source: GitSource, emails: list[str], progress: Callable) -> None:
        name, result = source.path.name, self.result
        if not emails:
            said = "whose commits? [owner] emails is empty, and git config user.email is not set"
            raise Problem(f"{source.path}: {said}")
        rules = CommitFilter(source, emails, self.language.extensions, self.config.mining.max_files)
        shas, fresh = self._candidates(source, rules)
        contents = source.read([(candidate.commit, candidate.changes) for candidate in fresh])
        for candidate, content in progress(zip(fresh, contents, strict=True), name, len(fresh)):
            self.store.put(candidate.commit.sha, *self._verdict(candidate, content, name))
        rows = []
        for verdict in map(self.store.get, shas):
            if isinstance(verdict, str):
                rules.lost[verdict] += 1
            else:
                verdict.repository = name  # the folder may have been renamed since
                rows.append(verdict)
        self._survival(source, rows)
        self.rows += rows
        if source.problems:
            result.problems += source.problems
            result.unread.append(name)
        result.lost.update(rules.lost)
        result.files.update(rules.files)
        licences = sorted(path for path in source.tree() if "/" not in path and _LICENCE.fullmatch(path))
        self._commits.append({row.commit for row in rows})
        result.repositories.append({"path": shown(source.path), "name": name, "examples": 0, "licence": licences})

    def _candidates(self, source: GitSource, rules: CommitFilter) -> tuple[list[str], list[Candidate]]:
        """The ids of all commits that may be examples, and those of them that no earlier run has read."""
        shas, fresh = [], []
        for commit in source.commits():
            self.result.counts["commits"] += 1
            candidate = rules.candidate(commit)
            if candidate is None:
                continue
            if self.exclusion.covers({"commit": commit.sha}):
                rules.lost[EXCLUDED] += 1
            elif commit.sha in self._seen:
                rules.lost[DUPLICATE] += 1
            else:
                self._seen.add(commit.sha)
                shas.append(commit.sha)
                if not self.store.knows(commit.sha):
                    fresh.append(candidate)
        return shas, fresh

    def _verdict(
        self, candidate: Candidate, contents: Contents, name: str
    ) -> tuple[str | None, Record | None, Entry | None]:
        try:
            record, changes = self._record(candidate, file_changes(candidate, contents, self.language), name)
        except LeftOut as reason:
            return str(reason), None, None
        except NotExact:
            return INEXACT, None, None
        row = Entry(
            candidate.commit.sha,
            name,
            candidate.commit.author_time,
            patch_id(changes),
            record["source"]["tests"],
            len(candidate.intent.request.split()),
            {change.path: added_checksums(change) for change in changes},
        )
        return None, record, row

    def _is_own(self, path: str) -> bool:
        return path.endswith(self.language.extensions)

    def _record(self, candidate: Candidate, changes: list[FileChange], name: str) -> tuple[Record, list[FileChange]]:
        """The scrubbed record of a candidate, and the changes in it. Raises LeftOut when there is no way to fit it."""
        system, intent = system_prompt(self.language), candidate.intent
        message = candidate.commit.message.decode("utf-8")
        for some, narrow in ((changes, False), *((some, True) for some in commit_filter.smaller(changes, message))):
            if not any(self._is_own(change.path) for change in some):
                break
            if self.tools:
                messages = edits.conversation(system, intent.request, some, intent.closing, narrow)
            else:
                messages = _diff_messages(system, intent.request, some)
            if self._fits(messages):
                source = _source(candidate, some, name)
                record, findings = scrub(make_record(self.language.name, messages, self.tools, source), self.secrets)
                if record is None:
                    raise LeftOut(SECRET)
                if findings and self.tools:  # personal data was replaced: the calls must still hold among themselves
                    edits.prove(record["messages"], [self._redacted(change) for change in some])
                return record, some
        raise LeftOut(TOO_LONG)

    def _redacted(self, change: FileChange) -> FileChange:
        path, after = (redact(text, self.secrets)[0] for text in (change.path, change.after))
        return FileChange(path, change.before and redact(change.before, self.secrets)[0], after)

    def _fits(self, messages: list[dict]) -> bool:
        estimated = self.estimate.count(messages, self.tools)
        if estimated <= SURE * self.limit or isinstance(self.counter, Estimate):
            return estimated <= self.limit
        return estimated <= 3 * self.limit and self.counter.count(messages, self.tools) <= self.limit

    def _survival(self, source: GitSource, rows: list[Entry]) -> None:
        """The share of each row's added lines that stand in HEAD's version of the same files."""
        tree = source.tree()
        paths = sorted({path for row in rows for path in row.added if path in tree})
        owners: dict[str, list[Entry]] = {}
        for row in rows:
            for path in row.added:
                owners.setdefault(path, []).append(row)
        alive: Counter[str] = Counter()
        for path, blob in zip(paths, source.blobs([tree[path][1] for path in paths]), strict=True):
            present = {checksum(line) for line in (blob or b"").split(b"\n")}
            for row in owners[path]:
                alive[row.commit] += sum(line in present for line in row.added[path])
        for row in rows:
            total = sum(map(len, row.added.values()))
            row.survives = round(alive[row.commit] / total, 1) if total else 1.0

    def finish(self, most: int, reword: Reword | None = None, progress: Callable = lambda items, *_: items) -> Mined:
        """Choose the best `most` examples and load them; `reword(record)` may give another request and its style."""
        self.exclusion.note()
        result = self.result
        unique: dict[str, Entry] = {}
        for row in sorted(self.rows, key=lambda row: (row.time, row.commit)):
            unique.setdefault(row.patch, row)
        result.lost[DUPLICATE] += len(self.rows) - len(unique)
        chosen = choose(list(unique.values()), most)
        result.lost[UNCHOSEN] += len(unique) - len(chosen)
        for row in progress(chosen, "requests" if reword else "examples"):
            record = {**self.store.record(row.commit), "tools": self.tools}
            record["source"] |= {"repository": row.repository, "survives": row.survives}
            result.records.append(self._reworded(record, reword) if reword else record)
        taken = {row.commit for row in chosen}
        for repository, commits in zip(result.repositories, self._commits, strict=True):
            repository["examples"] = len(taken & commits)
        result.counts["examples"] = len(chosen)
        if not result.unread:
            self.store.keep(self._seen)
        return result

    def _reworded(self, record: Record, reword: Reword) -> Record:
        """A record with another request, where there is one and the row still fits."""
        if not (found := reword(record)):
            return record
        style, request = found
        system, user, *rest = record["messages"]
        messages = [system, {**user, "content": request}, *rest]
        if not self._fits(messages):
            return record
        return make_record(record["language"], messages, self.tools, {**record["source"], "request": style})

    def close(self) -> None:
        """Keep what was read for the next run."""
        self.store.close()


def _source(candidate: Candidate, changes: list[FileChange], name: str) -> dict[str, Any]:
    """Where a record comes from, and what tells how good it is."""
    commit = candidate.commit
    tests = [commit_filter.is_test(change.path) for change in changes]
    blobs = {change.path: change.after for change in candidate.changes}
    return {
        "kind": "commit",
        "time": _time(commit.author_time, commit.commit_time),
        "repository": name,
        "commit": commit.sha,
        "path": changes[0].path,
        "paths": [change.path for change in changes],
        "blobs": [blobs[change.path] for change in changes],
        "verified": "replayed",
        "type": "test" if all(tests) else candidate.intent.kind,
        "files": len(changes),
        "lines": sum(map(size, changes)),
        "tests": any(tests) and not all(tests),
        "survives": 0.0,  # told when the examples are chosen
        "coauthors": coauthors(commit.message.decode("utf-8")),
    }


def shown(path: Path) -> str:
    """A path with the home folder as ~."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _diff_messages(system: str, request: str, changes: list[FileChange]) -> list[dict[str, Any]]:
    diff = "".join(edits.unified_diff(change) for change in changes)
    files = edits.apply_diff(diff, {change.path: change.before for change in changes if change.before is not None})
    if any(files.get(change.path) != change.after for change in changes):
        raise NotExact("the diff does not give the files")
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": request},
        {"role": "assistant", "content": diff, "weight": 1},
    ]


def _time(*times: int) -> str:
    """The first time that a calendar knows, as ISO 8601 in UTC."""
    seconds = next((time for time in times if 0 < time < 1 << 36), 0)
    return iso(seconds)
