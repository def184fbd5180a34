"""The owner's git history -> examples of one language: what is read, proved and chosen."""

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from specialists import records
from specialists.agent import system_prompt
from specialists.chat import Estimate, token_counter
from specialists.code.edits import FileChange, NotExact, conversation
from specialists.commits.contents import changed_lines, check_shown, check_syntax, file_changes, size
from specialists.commits.filter import Candidate, CommitFilter, is_test
from specialists.commits.git import GitSource, Unreadable, open_repository
from specialists.commits.message import LeftOut
from specialists.config import Config, Language, Problem, expand_repositories, fingerprint
from specialists.exclusion import Exclusion
from specialists.families import Sayable
from specialists.records import Record, canonical, is_target, iso, make_record
from specialists.secrets import redact, scrub
from specialists.tools import known_tools

SURE = 1 / 3  # of the limit, by an estimate of 3 bytes a token: no tokenizer makes more tokens than bytes
NEVER = 1.75  # of the limit, by the same: fits under none that was seen (0.8 to 1.5 times what is estimated)
MOST_LEFT_OUT = 16  # times as many of other people's commits as are wanted are looked at
TOO_LONG = "too long"
LEAST_LINE = 4  # letters and digits of a line that counts as surviving; shorter ones stand everywhere
_OTHERS = {"merge", "bot", "somebody else's", "revert", "edge of a shallow clone"}  # reasons that name nobody's work
_SIGNS = bytes(code for code in range(128) if not chr(code).isalnum())
FEW = 4  # lines taken away or put in, up to which a change that is replaced was a step and no mistake
REPLACED = 0.2  # share of the added lines that survive a day, up to which their author thought better of them


class Example(NamedTuple):
    """A commit's record, and what the choice among examples needs to know of it."""

    messages: bytes  # of the record, compressed: a history has many
    source: dict[str, Any]  # of the record
    repository: dict[str, Any]  # its line in the summary
    patch: str = ""  # the same for the same lines removed and added in the same files, as git's patch-id


class Miner:
    """Mines repositories for one language: `mine` each, then `finish`; holds what came out, and what is left out."""

    def __init__(self, config: Config, language: Language, progress: Callable = lambda items, *_: items):
        self.language, self.progress, self.limit = language, progress, language.training.max_length
        self.counter = token_counter(config.base.model, config.base.revision)
        self.secrets, self.sayable = config.secrets, Sayable(self.counter)
        self.exclusion = Exclusion(config)
        self.tools = known_tools(config)
        self.records: list[Record] = []
        self.lost: Counter[str] = Counter()  # commits by reason
        self.files: Counter[str] = Counter()  # files left out of candidates by reason
        self.repositories: list[dict[str, Any]] = []
        self.unread, self.own = list[str](), set[str]()  # names of repositories: unreadable, with the owner's commits
        self.commits: dict[str, set[str]] = {}  # ids of what HEAD reaches, by name of the repository
        self.rollouts, self.tasks = config.rollouts.enabled, list[dict[str, str]]()  # commits that are too long
        self.problems, self.nobodys = list[str](), list[str]()  # nobodys: of repositories without the owner's commits
        self._found: list[Example] = []

    def mine(self, path: Path, emails: Collection[str], others: int = 0) -> None:
        """Read one repository; one that cannot be read is among the problems. `others`: so many of everybody else."""
        try:
            if not emails:
                empty = "[owner] emails is empty, and git config --global user.email is not set"
                raise Problem(f"{path}: whose commits? {empty}")
            with open_repository(path) as source:
                self._mine(source, CommitFilter(source, emails, self.language.extensions, others))
        except (Problem, OSError) as problem:
            self.problems.append(str(problem))
            self.unread.append(path.name)

    def _mine(self, source: GitSource, rules: CommitFilter) -> None:
        repository = {"path": str(source.path), "name": source.path.name, "examples": 0}
        reached, candidates, found = self.commits.setdefault(source.path.name, set()), [], list[Example]()
        for commit in source.commits():
            reached.add(commit.sha)
            if candidate := rules.candidate(commit):
                candidates.append(candidate)
            if 0 < MOST_LEFT_OUT * rules.others <= len(candidates):
                break
        self.own |= {source.path.name} if candidates else set()
        if not candidates and not rules.others and rules.lost.keys() <= _OTHERS:
            number, who = rules.lost.total(), ", ".join(sorted(rules.emails))
            self.nobodys.append(f"{source.path}: none of its {number} commits is by {who}: is [owner] emails right?")
        paths = list({change.path for one in candidates for change in one.changes} & source.tree.keys())
        head = dict(zip(paths, map(_plain, source.blobs(source.tree[path][1] for path in paths)), strict=True))
        ids = [
            dict.fromkeys(sha for c in one.changes for sha in (c.before, c.after, one.later[c.path]) if sha.strip("0"))
            for one in candidates
        ]
        blobs = source.blobs(sha for some in ids for sha in some)
        for candidate, some in zip(self.progress(candidates, source.path.name), ids, strict=True):
            contents = {sha: next(blobs) for sha in some}
            if 0 < rules.others <= len(found):
                break
            try:
                if self.exclusion.covers({"commit": candidate.commit.sha}):
                    raise LeftOut("excluded by the owner")
                read = sum(len(contents.get(change.before) or b"") for change in candidate.changes)
                if not self.rollouts and read > NEVER * Estimate.BYTES_PER_TOKEN * self.limit:
                    raise LeftOut(TOO_LONG)  # before it is compared; what is passed over is seldom large
                changes = file_changes(candidate, contents, self.language)
                changed_again = any(candidate.later[one.path] != one.after for one in candidate.changes)
                later = {path: _plain(contents[sha]) for path, sha in candidate.later.items() if changed_again}
                if changed_again and sum(map(size, changes)) > FEW and _surviving(changes, later) <= REPLACED:
                    raise LeftOut("replaced within a day")
                example = self._example(candidate, changes, repository, head)
                check_shown(source, self.language, candidate.intent.request, changes)
                found.append(example)
            except LeftOut as reason:
                rules.lost[str(reason)] += 1
            except NotExact:
                rules.lost["not reproduced exactly"] += 1
        self._found += found
        self.lost.update(rules.lost)
        self.files.update(rules.files)
        self.repositories.append(repository)
        if source.problems:
            raise Unreadable("\n".join(source.problems))

    def _example(self, candidate: Candidate, changes: list[FileChange], repository: dict, head: dict) -> Example:
        """The scrubbed example of a candidate. Raises LeftOut for a secret, or when there is no way to fit it."""
        messages = conversation(system_prompt(self.language), candidate.intent.request, changes, self.tools)
        fits = self._fits(messages)
        if not fits and not self.rollouts:
            raise LeftOut(TOO_LONG)
        check_syntax(changes, self.language)
        source = _source(candidate, changes, repository["name"], _surviving(changes, head))
        if not fits:  # an agent reads what it needs, so it may do the commit again all the same
            request = redact(candidate.intent.request, self.secrets)[0]
            self.tasks.append({**{name: source[name] for name in ("repository", "commit", "time")}, "request": request})
            raise LeftOut(TOO_LONG)
        record, _findings = scrub(make_record(self.language.name, messages, self.tools, source), self.secrets)
        if record is None:
            raise LeftOut("secret in target")
        if not all(self.sayable.can_say(message) for message in messages if is_target(message)):
            raise LeftOut("cannot be said")
        if any(is_target(one) and one != scrubbed for one, scrubbed in zip(messages, record["messages"], strict=True)):
            raise LeftOut("personal data in target")  # its stand-in would be learned
        packed = zlib.compress(canonical(record["messages"]).encode(), 1)
        patch = fingerprint({change.path: changed_lines(change) for change in changes})
        return Example(packed, record["source"], repository, patch)

    def _fits(self, messages: list[dict]) -> bool:
        """Whether a row is short enough; what is by far, or is not, is only estimated."""
        share = Estimate().count(messages[1:]) / self.limit
        return share <= SURE or (share <= NEVER and self.counter.count(messages[1:]) <= self.limit)

    def finish(self, most: int, reword: Callable[[Record], Record | None] | None = None) -> None:
        """Choose and load the best `most` examples; `reword(record)` gives the record to take, None for none."""
        unique: dict[str, Example] = {}
        for example in sorted(self._found, key=lambda one: (one.source["time"], one.source["commit"])):
            unique.setdefault(example.patch, example)  # the oldest stays
        self.lost["same change as another commit"] += len(self._found) - len(unique)
        for example in self.progress(ranked([*unique.values()], most), "requests" if reword else "examples"):
            if len(self.records) == most:
                self.lost["not among the best"] += 1
                continue
            messages = json.loads(zlib.decompress(example.messages))
            record = make_record(self.language.name, messages, self.tools, example.source)
            better = reword(record) if reword else record
            if better and (better is record or self._fits(better["messages"])):
                example.repository["examples"] += 1
                self.records.append(self.sayable(better))
            else:
                self.lost["no request that determines it"] += 1

    def write(self, output: Path, patterns: Iterable[str], accept_loss: bool) -> dict[str, Any]:
        """Write the examples and the summary, which is returned. What could not be read today keeps its rows; so does,
        unless the owner accepts the loss, a repository that is gone, emptied or rewritten, has no commit of his, or
        that none of `patterns` (the configuration's) names any more while another finds nothing: a typo."""
        rows = {record["source"]["commit"]: record for record in self.records}
        complete = all(map(expand_repositories, patterns))
        before: dict[str, list[Record]] = defaultdict(list)
        for record in records.read_records(output) if output.exists() else ():
            if not self.exclusion.covers(record["source"]):
                before[record["source"]["repository"]].append(record)
        for name, known in before.items():
            named = [pattern for pattern in patterns if fnmatchcase(name, Path(pattern).name)]
            reached = self.commits.get(name)
            gone = [record for record in known if record["source"]["commit"] not in (reached or ())]
            lost = named or not complete if reached is None else 2 * len(gone) > len(known) or name not in self.own
            if name in self.unread or (lost and not accept_loss):
                kept = gone if name in self.own - {*self.unread} else known
                rows = {record["source"]["commit"]: record for record in kept} | rows
                if name not in self.unread and all(map(expand_repositories, named)):  # else it is said already
                    what = f"repository {name}: {len(kept)} of {len(known)} commits that gave examples give none now"
                    self.problems.append(f"{what}; they are kept until: doit mine:{self.language.name} --accept-loss")
        summaries = output.with_suffix(".summary.json")
        tasks = (records.read_json(summaries) or {}).get("tasks", [])
        self.tasks += [task for task in tasks if self.rollouts and task["repository"] in self.unread]
        self.exclusion.note()
        records.write_records(output, rows.values())
        found = dict((+self.lost).most_common())
        summary = {
            "step": "mine",
            "language": self.language.name,
            "examples": len(rows),
            "kept": len(rows) - len(self.records),
            "by model": sum("request" in record["source"] for record in rows.values()),
            "repositories": self.repositories,
            "tasks": self.tasks,
            "funnel": {"commits": sum(found.values()) + len(self.records), **found, "examples": len(self.records)},
            "files": dict(self.files.most_common()),
        }
        records.write_json(summaries, {**summary, "problems": self.problems + self.nobodys})
        return summary


def ranked(examples: list[Example], most: int) -> list[Example]:
    """Examples, which come oldest first, the best first where there are too many: by rank in time (newest 1, oldest 0),
    share of lines that survive, and 0.5 for code with tests; the n-th best of a repository loses n / most."""
    if len(examples) <= most:
        return examples
    scored, penalised, taken = [], [], Counter[str]()
    for rank, source in enumerate(example.source for example in examples):
        worth = rank / (len(examples) - 1) + source["survives"] + 0.5 * source["tests"]
        scored.append((worth, rank, source["repository"]))
    for score, rank, repository in sorted(scored, reverse=True):
        penalised.append((score - taken[repository] / most, rank))
        taken[repository] += 1
    return [examples[rank] for _score, rank in sorted(penalised, reverse=True)]


def _plain(text: bytes | None) -> str:
    """Letters and digits alone, which stay when code is formatted."""
    text = (text or b"").translate(None, _SIGNS)
    return text.decode() if text.isascii() else re.sub(r"[\W_]+", "", text.decode("utf-8", "replace"))


def _surviving(changes: list[FileChange], later: dict[str, str]) -> float:
    """The share of the added lines that stand in a later version of the same files."""
    added = [(change.path, _plain(line.encode())) for change in changes for line in changed_lines(change)[1]]
    found = [line in later.get(path, "") for path, line in added if len(line) >= LEAST_LINE]
    return round(sum(found) / len(found), 1) if found else 1.0


def _source(candidate: Candidate, changes: list[FileChange], name: str, survives: float) -> dict[str, Any]:
    """Where a record comes from, and what tells how good it is."""
    commit = candidate.commit
    tests = [is_test(change.path) for change in changes]
    blobs = {change.path: change.after for change in candidate.changes}
    times = (time for time in (commit.author_time, commit.commit_time) if 0 < time < 1 << 36)  # known to a calendar
    return {
        "kind": "commit",
        "time": iso(next(times, 0)),
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
        "survives": survives,
    }
