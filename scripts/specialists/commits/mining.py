"""The owner's git history -> examples of one language: what is read, proved and chosen."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import Estimate, token_counter
from specialists.code import edits
from specialists.code.edits import FileChange, NotExact
from specialists.commits.contents import changed_lines, file_changes, size
from specialists.commits.filter import Candidate, CommitFilter, is_test, smaller
from specialists.commits.git import Change, GitSource, open_repository
from specialists.commits.message import LeftOut, coauthors
from specialists.config import Config, Language, Problem, fingerprint
from specialists.exclusion import Exclusion
from specialists.records import Record, canonical, iso, make_record
from specialists.secrets import Rules, redact, scrub
from specialists.tools import known_tools

SURE = 0.75  # of the limit: an estimate below needs no exact count
LEAST_LINE = 4  # characters of a line that counts as surviving; shorter ones stand everywhere

INEXACT, TOO_LONG, SECRET = "not reproduced exactly", "too long", "secret in target"
EXCLUDED, DUPLICATE, UNCHOSEN = "excluded by the owner", "same change as another commit", "not among the best"

Reword = Callable[[Record], tuple[str, str] | None]


@dataclass(slots=True)
class Example:
    """A commit's record, and what the choice among examples needs to know of it."""

    packed: bytes  # the record without tools and source
    source: dict[str, Any]  # of the record
    repository: dict[str, Any]  # its line in the summary
    words: int  # of the request
    patch: str = ""  # the same for the same lines removed and added in the same files, as git's patch-id
    added: dict[str, list[int]] = field(default_factory=dict)  # path -> hashes of added lines


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

    def __init__(self, config: Config, language: Language):
        self.config, self.language = config, language
        self.limit = language.training.max_length
        self.counter = token_counter(config.base.model, config.base.revision)
        self.estimate = Estimate()
        self.secrets = Rules.of(config)
        self.exclusion = Exclusion(config)
        self.tools = known_tools(config)
        self.result = Mined()
        self.examples: list[Example] = []
        self._seen: set[str] = set()  # commits of repositories before this one

    def mine(self, path: Path, emails: Collection[str], progress: Callable = lambda items, *_: items) -> None:
        """Read one repository; one that cannot be read is named among the problems."""
        try:
            if not emails:
                reason = "whose commits? [owner] emails is empty, and git config user.email is not set"
                raise Problem(f"{path}: {reason}")
            with open_repository(path) as source:
                self._mine(source, CommitFilter(source, emails, self.language.extensions), progress)
        except (Problem, OSError) as problem:
            self.result.problems.append(str(problem))
            self.result.unread.append(path.name)

    def _mine(self, source: GitSource, rules: CommitFilter, progress: Callable) -> None:
        result, found = self.result, []
        repository = {"path": str(source.path), "name": source.path.name, "examples": 0}
        candidates = [one for one in map(rules.candidate, source.commits()) if one and self._is_new(one, rules.lost)]
        blobs = source.blobs(sha for candidate in candidates for change in candidate.changes for sha in _blobs(change))
        for candidate in progress(candidates, source.path.name):
            contents = {sha: next(blobs) for change in candidate.changes for sha in _blobs(change)}
            try:
                found.append(self._example(candidate, file_changes(candidate, contents, self.language), repository))
            except LeftOut as reason:
                rules.lost[str(reason)] += 1
            except NotExact:
                rules.lost[INEXACT] += 1
        _measure_survival(source, found)
        self.examples += found
        if source.problems:
            result.problems += source.problems
            result.unread.append(source.path.name)
        result.counts["commits"] += sum(rules.lost.values()) + len(found)
        result.lost.update(rules.lost)
        result.files.update(rules.files)
        result.repositories.append(repository)

    def _is_new(self, candidate: Candidate, lost: Counter[str]) -> bool:
        sha = candidate.commit.sha
        excluded = self.exclusion.covers({"commit": sha})
        if excluded or sha in self._seen:
            lost[EXCLUDED if excluded else DUPLICATE] += 1
            return False
        self._seen.add(sha)
        return True

    def _example(self, candidate: Candidate, changes: list[FileChange], repository: dict[str, Any]) -> Example:
        record, changes = self._record(candidate, changes, repository["name"])
        lines = {change.path: changed_lines(change) for change in changes}
        added = {path: _hashes(after) for path, (_before, after) in lines.items()}
        packed = zlib.compress(canonical({**record, "tools": None, "source": None}).encode(), 1)
        words = len(candidate.intent.request.split())
        return Example(packed, record["source"], repository, words, fingerprint(lines), added)

    def _record(self, candidate: Candidate, changes: list[FileChange], name: str) -> tuple[Record, list[FileChange]]:
        """The scrubbed record of a candidate, and the changes in it. Raises LeftOut when there is no way to fit it."""
        system, intent = system_prompt(self.language), candidate.intent
        cut_down = smaller(changes, candidate.commit.message.decode("utf-8"))
        for some, narrow in ((changes, False), *((some, True) for some in cut_down)):
            if not any(change.path.endswith(self.language.extensions) for change in some):
                break
            messages = edits.conversation(system, intent.request, some, intent.closing, narrow)
            if self._fits(messages):
                source = _source(candidate, some, name)
                record, findings = scrub(make_record(self.language.name, messages, self.tools, source), self.secrets)
                if record is None:
                    raise LeftOut(SECRET)
                if findings:  # personal data was replaced: the calls must still hold among themselves
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

    def finish(self, most: int, reword: Reword | None = None, progress: Callable = lambda items, *_: items) -> Mined:
        """Choose the best `most` examples and load them; `reword(record)` may give another request and its style."""
        self.exclusion.note()
        result = self.result
        unique = {
            example.patch: example for example in sorted(self.examples, key=_age, reverse=True)
        }  # the oldest stays
        result.lost[DUPLICATE] += len(self.examples) - len(unique)
        chosen = choose([*unique.values()], most)
        result.lost[UNCHOSEN] += len(unique) - len(chosen)
        for example in progress(chosen, "requests" if reword else "examples"):
            example.repository["examples"] += 1
            record = {**json.loads(zlib.decompress(example.packed)), "tools": self.tools, "source": example.source}
            result.records.append(self._reworded(record, reword) if reword else record)
        result.counts["examples"] = len(chosen)
        return result

    def _reworded(self, record: Record, reword: Reword) -> Record:
        """A record with another request, where there is one and the row still fits."""
        style, request = reword(record) or ("", "")
        system, user, *rest = record["messages"]
        messages = [system, {**user, "content": request}, *rest]
        if not request or not self._fits(messages):
            return record
        return make_record(record["language"], messages, self.tools, {**record["source"], "request": style})


def choose(examples: list[Example], most: int) -> list[Example]:
    """The best examples by score.

    One scores by its rank in time among all (newest 1, oldest 0), plus the share of its lines that survive, plus 0.5
    for code that comes with tests, plus up to 0.25 for a request of 20 words or more. To spread over repositories, the
    n-th best of a repository loses n / most.
    """
    if len(examples) <= most:
        return examples
    scored, ordered, taken = [], [], Counter[str]()
    for rank, example in enumerate(sorted(examples, key=_age)):
        good = example.source["survives"] + 0.5 * example.source["tests"] + 0.25 * min(1.0, example.words / 20)
        scored.append((-rank / (len(examples) - 1) - good, example.source["commit"], example))
    for score, commit, example in sorted(scored, key=lambda item: item[:2]):
        ordered.append((score + taken[example.source["repository"]] / most, commit, example))
        taken[example.source["repository"]] += 1
    return [example for _score, _commit, example in sorted(ordered, key=lambda item: item[:2])[:most]]


def _age(example: Example) -> tuple[str, str]:
    return example.source["time"], example.source["commit"]


def _blobs(change: Change) -> list[str]:
    return [sha for sha in (change.before, change.after) if sha.strip("0")]


def _hashes(lines: list[str]) -> list[int]:
    """Lines without the white space around them, those aside that say little."""
    return [hash(line.strip()) for line in lines if len(line.strip()) >= LEAST_LINE]


def _measure_survival(source: GitSource, examples: list[Example]) -> None:
    """Note the share of each example's added lines that stand in HEAD's version of the same files."""
    paths = list({path for example in examples for path in example.added} & source.tree.keys())
    blobs = source.blobs(source.tree[path][1] for path in paths)
    head = {path: set(_hashes((next(blobs) or b"").decode("utf-8", "replace").split("\n"))) for path in paths}
    for example in examples:
        lines = [line in head.get(path, ()) for path, added in example.added.items() for line in added]
        example.source["survives"] = round(sum(lines) / len(lines), 1) if lines else 1.0
        example.added = {}  # a history has millions of lines


def _source(candidate: Candidate, changes: list[FileChange], name: str) -> dict[str, Any]:
    """Where a record comes from, and what tells how good it is."""
    commit = candidate.commit
    tests = [is_test(change.path) for change in changes]
    blobs = {change.path: change.after for change in candidate.changes}
    known = [time for time in (commit.author_time, commit.commit_time) if 0 < time < 1 << 36]  # to a calendar
    return {
        "kind": "commit",
        "time": iso(known[0] if known else 0),
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
        "survives": 0.0,  # measured when a repository was read
        "coauthors": coauthors(commit.message.decode("utf-8")),
    }
