"""Examples made from the owner's own code at HEAD: a function to implement, a mistake to find and mend.

A real file is broken in one place, by a body replaced by a stub or by a mutation; the example is an agent that reads
the place and edits the real code back in. Requests are put together from the names and comments of the code
(`phrases`), or written by a model (`rephrase`). What is chosen depends on the content of the code and a seed alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import token_counter
from specialists.code import edits, grammars, syntax
from specialists.code.edits import FileChange, NotExact
from specialists.code.syntax import Function
from specialists.commits import filter as commit_filter
from specialists.commits.contents import machine_made
from specialists.commits.git import REGULAR, Change, GitSource, open_repository
from specialists.config import Config, Language, Problem
from specialists.records import Record, iso, make_record
from specialists.secrets import Rules, scrub
from specialists.synthetic import phrases
from specialists.synthetic.mutations import holds, mutations
from specialists.synthetic.operators import Mutation
from specialists.synthetic.phrases import Dealer, opening, pick
from specialists.tools import known_tools

SEED = 17  # of what is chosen among all that could be made
LARGEST = 200_000  # bytes; larger files are data or generated
FUNCTION_LINES = (3, 100)  # of functions that are used, with comment and attributes
BODY_LINES = (2, 30)  # of bodies that are to be written
QUOTED = 80  # characters of string literals in them: messages that nobody could guess
TOLD = 12  # words of its comment that are enough for a body of any length; fewer have to be two for each of its lines
PER_FUNCTION = 3  # mistakes at most that are made in one function

_STRING = re.compile(rb"\"{3}.*?\"{3}|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`", re.S)
_NO_BODY = re.compile(
    rb"\s*(get|set|_read|_modify|willSet|didSet)\b|.*(NotImplemented|todo!|unimplemented!|fatalError)", re.S
)


@dataclass(frozen=True)
class SourceFile:
    """A file at HEAD, and where it is from."""

    repository: str
    commit: str
    time: str  # of the commit, ISO 8601 in UTC
    path: str
    blob: str
    grammar: str
    source: bytes


@dataclass(frozen=True)
class Candidate:
    """One way to break one function."""

    task: str  # "implement" or "fix"
    file: SourceFile
    function: Function
    mutation: Mutation  # of the operator "implement" where the body is left out

    @property
    def broken(self) -> bytes:
        return self.mutation.apply(self.file.source)

    @property
    def place(self) -> tuple[str, Any]:
        """What is broken, the same for every way to break it."""
        return self.file.blob, self.function.span

    @cached_property
    def key(self) -> str:
        """What decides when it is its turn: the function alone, so that work elsewhere changes nothing."""
        (begin, end), made = self.function.span, self.mutation
        text, place = self.file.source[begin:end], (made.start - begin, made.end - begin)
        parts = (SEED, self.file.path, self.function.qualified, text, made.operator, place, made.new)
        return sha256(repr(parts).encode()).hexdigest()


@dataclass
class Augmented:
    """What came out, and what did not and why."""

    records: list[Record] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # files, functions, candidates
    found: Counter[str] = field(default_factory=Counter)  # candidates by operator
    operators: Counter[str] = field(default_factory=Counter)  # examples by operator
    kinds: Counter[str] = field(default_factory=Counter)  # examples by task
    lost: Counter[str] = field(default_factory=Counter)  # files and candidates by reason
    templates: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def funnel(self) -> dict[str, Any]:
        """Files and functions in, candidates by operator, examples out, losses by reason."""
        return {
            **dict(self.counts),
            "found": dict(sorted(self.found.items())),
            "lost": dict(self.lost.most_common()),
            "examples": len(self.records),
        }


class Augmenter:
    """Makes examples of one language."""

    def __init__(self, config: Config, language: Language, rephrase: Callable[..., str | None] | None = None):
        """`rephrase(candidate, request)` gives a better request, or None where there is none.

        Raises Problem when the language names no grammar, or one that is not installed.
        """
        if language.grammar is None:
            raise Problem(f"{config.path}: languages.{language.name}.grammar: missing; synthetic examples need one")
        grammars.parser(language.grammar)
        self.language, self.rules, self.rephrase = language, Rules.of(config), rephrase
        self.limit = language.training.max_length
        self.tools = known_tools(config)
        self.counter = token_counter(config.base.model, config.base.revision)
        self.result = Augmented()
        self.candidates: list[Candidate] = []
        self._dealer = Dealer()

    def read(self, path: Path, name: str, progress: Callable = lambda items, *_: items) -> None:
        """Find what can be made from a repository; one that cannot be read is named among the problems."""
        try:
            with open_repository(path) as source:
                for file in progress(list(self._files(source, name)), name):
                    self._add(file)
                self.result.problems += source.problems
        except (Problem, OSError) as problem:
            self.result.problems.append(str(problem))

    def _files(self, source: GitSource, name: str) -> Iterator[SourceFile]:
        """The files of the language that a person wrote, tests aside."""
        newest = next(source.commits(), None)
        if newest is None:
            return
        rules = commit_filter.CommitFilter(source, [], self.language.extensions)
        chosen = []
        for path, (mode, sha) in source.tree.items():
            if path.endswith(self.language.extensions) and mode in REGULAR:
                change = Change("000000", mode, "0" * len(sha), sha, "A", path)
                reason = rules.file_reason(change) or ("test" if commit_filter.is_test(path) else None)
                if not reason and (grammar := grammars.dialect(self.language.grammar, path)):
                    chosen.append((path, sha, grammar))
                else:
                    self.result.lost[f"file: {reason or 'template'}"] += 1
        for (path, sha, grammar), blob in zip(chosen, source.blobs([sha for _, sha, _ in chosen]), strict=True):
            if reason := _unfit(blob):
                self.result.lost[f"file: {reason}"] += 1
            elif blob is not None:
                yield SourceFile(name, newest.sha, iso(newest.commit_time), path, sha, grammar, blob)

    def _add(self, file: SourceFile) -> None:
        result = self.result
        result.counts["files"] += 1
        functions = [item for item in syntax.functions(file.grammar, file.source) if _is_usable(item)]
        result.counts["functions"] += len(functions)
        usable = {function.span for function in functions}
        names = frozenset(item.name for item in syntax.functions(file.grammar, file.source))
        found = [stub for function in functions if (stub := _stubbed(file, function, names))]
        for function, mutation in mutations(file.grammar, file.source):
            if function.span in usable:
                found.append(Candidate("fix", file, function, mutation))
        result.found.update(candidate.mutation.operator for candidate in found)
        self.candidates += found

    def finish(self, most: int) -> Augmented:
        """Make up to `most` examples: bodies and mistakes by turns, all operators by turns, functions seldom twice."""
        result, taken = self.result, Counter[Any]()
        waiting = self._queues()
        for limit in range(1, PER_FUNCTION + 1):
            later: dict[str, list[Candidate]] = defaultdict(list)
            for candidate in _by_turns(waiting):
                if len(result.records) >= most:
                    return result
                if taken[candidate.task, candidate.place] >= limit:
                    later[candidate.mutation.operator].append(candidate)
                elif (record := self._record(candidate)) is not None:
                    taken[candidate.task, candidate.place] += 1
                    result.records.append(record)
                    result.operators[candidate.mutation.operator] += 1
                    result.kinds[candidate.task] += 1
            waiting = later
        return result

    def _queues(self) -> dict[str, list[Candidate]]:
        """Candidates by operator, each once, in the order of their keys."""
        unique: dict[str, Candidate] = {}
        for candidate in sorted(self.candidates, key=lambda item: (item.file.repository, item.file.path)):
            unique.setdefault(candidate.key, candidate)
        queues: dict[str, list[Candidate]] = defaultdict(list)
        for key in sorted(unique):
            queues[unique[key].mutation.operator].append(unique[key])
        return queues

    def _record(self, candidate: Candidate) -> Record | None:
        """The scrubbed record of a candidate; None, and counted, when it is none."""
        file, broken = candidate.file, candidate.broken
        if not holds(file.grammar, file.source, candidate.mutation):
            return self._lose("does not parse")
        before, after = broken.decode(), file.source.decode()
        change = FileChange(
            file.path,
            before,
            after,
            (_hunk(before, after),),
            lambda first, last: syntax.enclosing(file.grammar, broken, first, last),
        )
        template, request, closing = self._words(candidate)
        source = {
            "kind": "synthetic",
            "time": file.time,
            "repository": file.repository,
            "path": file.path,
            "function": candidate.function.qualified,
            "commit": file.commit,
            "blob": file.blob,
            "task": candidate.task,
            "operator": candidate.mutation.operator,
            "template": template,
            "verified": "parses",
        }
        system = system_prompt(self.language)
        for narrow in (False, True):
            try:
                messages = edits.conversation(system, request, [change], closing, narrow)
            except NotExact:
                return self._lose("not reproduced exactly")
            if self.counter.count(messages, self.tools) <= self.limit:
                record, _findings = scrub(make_record(self.language.name, messages, self.tools, source), self.rules)
                if record is None:
                    return self._lose("secret in target")
                self.result.templates.update([template] if template != "model" else [])
                return record
        return self._lose("too long")

    def _lose(self, reason: str) -> Record | None:
        self.result.lost[reason] += 1
        return None

    def _words(self, candidate: Candidate) -> tuple[str, str, str]:
        """Name of the template, request and closing line of an example."""
        function, key = candidate.function, candidate.key
        known = {"f": shown_name(function, candidate.file.grammar), "p": candidate.file.path}
        doc = opening(function.doc)
        if candidate.task == "implement":
            frames = phrases.IMPLEMENT
            frame = self._dealer.deal(frames, key)
            request = frame.format(**known, d=opening(function.doc, 3, 300) or doc)
            hints = candidate.mutation.words["hints"]
            if hints and int(key[0], 16) % 2:
                request += " " + pick(phrases.HINTS, key).format(h=hints)
            template = f"implement-{frames.index(frame)}"
            closing = pick(phrases.CLOSING_IMPLEMENT, key).format(**known)
        else:
            grammar, operator, words = candidate.file.grammar, candidate.mutation.operator, candidate.mutation.words
            if phrases.breaks_build(operator, words, grammar):
                kind, frames = "build", phrases.FIX_BUILD
            else:
                kind, frames = "fix", phrases.FIX + (phrases.FIX_KNOWN if doc else ())
            frame = self._dealer.deal(frames, key)
            what = phrases.symptom(operator, words, grammar, key)
            request = frame.format(**known, d=doc, s=what)
            template = f"{kind}-{frames.index(frame)}"
            done = phrases.done(operator, words, grammar)
            closing = pick(phrases.CLOSING, key).format(**known, done=done, Done=done[:1].upper() + done[1:])
        if self.rephrase is not None and (better := self.rephrase(candidate, request)):
            return "model", better, closing
        return template, request, closing


def _unfit(blob: bytes | None) -> str | None:
    """Why a file is not worth reading; None when it is."""
    if blob is None or len(blob) > LARGEST:
        return "too large"
    if b"\0" in blob or b"\r" in blob:
        return "binary or carriage returns"
    try:
        return machine_made(blob.decode("utf-8"))
    except UnicodeDecodeError:
        return commit_filter.ENCODING


def _is_usable(function: Function) -> bool:
    """Whether a function is of a size to work on, has a name, and is no test."""
    least, most = FUNCTION_LINES
    is_test = re.match(r"test(s|_|[A-Z]|$)", function.name) or re.search(r"(^|\.)tests?(\.|$)", function.container)
    return bool(function.name) and not is_test and least <= function.lines[1] - function.lines[0] + 1 <= most


def _stubbed(file: SourceFile, function: Function, names: frozenset[str]) -> Candidate | None:
    """A function's body as something to be written; None where nobody could know what is wanted."""
    grammar = grammars.grammar_of(file.grammar)
    start, end = function.body
    body, signature = file.source[start:end], file.source[slice(*function.signature)]
    lines = body.count(b"\n") + 1
    if not grammar.stub or not BODY_LINES[0] <= lines <= BODY_LINES[1] or _NO_BODY.match(body):
        return None
    if grammar.braces and not signature.endswith(b"{"):
        return None
    quoted = sum(map(len, _STRING.findall(body)))
    if quoted > QUOTED:
        return None
    if not opening(function.doc) or len(function.doc.split()) < min(2 * lines, TOLD):
        return None
    stub = grammar.stub
    if file.grammar.startswith("tree_sitter_typescript"):  # in the style of the file
        stub = stub if file.source.count(b";\n") * 4 > file.source.count(b"\n") else stub.rstrip(";")
        stub = stub if file.source.count(b"'") >= file.source.count(b'"') else stub.replace("'", '"')
    words = {"hints": _hints(file.source, function, names)}
    return Candidate("implement", file, function, Mutation("implement", start, end, stub.encode(), words))


def _by_turns(queues: dict[str, list[Candidate]]) -> Iterator[Candidate]:
    """One of each operator by turns, and a body to write after each mistake."""
    bodies = iter(queues.get("implement", []))
    rows = [iter(queues[operator]) for operator in sorted(queues) if operator != "implement"]
    while rows:
        for row in list(rows):
            candidate = next(row, None)
            if candidate is None:
                rows.remove(row)
                continue
            yield candidate
            body = next(bodies, None)
            if body is not None:
                yield body
    yield from bodies


def _hunk(before: str, after: str) -> edits.Hunk:
    """The one stretch of lines in which two texts differ."""
    old, new = before.split("\n"), after.split("\n")
    shortest = min(len(old), len(new))
    first = next((index for index in range(shortest) if old[index] != new[index]), shortest)
    last = next((index for index in range(shortest - first) if old[-1 - index] != new[-1 - index]), shortest - first)
    return first, len(old) - last, first, len(new) - last


def shown_name(function: Function, grammar: str) -> str:
    """A function as people write it: Type.method, Type::method, Type#method."""
    *_, outer, holder = ["", "", *re.sub(r"<[^.]*", "", function.container).split(".")]
    joint = grammars.grammar_of(grammar).joint
    if holder == "self":  # Ruby's `class << self`
        holder, joint = outer, "."
    return f"{holder}{joint}{function.name}" if holder else function.name


def _hints(source: bytes, function: Function, names: frozenset[str]) -> str:
    """Up to three functions of the file that the body calls on nothing or on itself, as they stand in a sentence."""
    body, signature = (source[slice(*span)].decode("utf-8", "replace") for span in (function.body, function.signature))
    called = re.findall(r"(?<![\w.:@\"'])(?:(?:self|this)\.|Self::)?([a-z]\w{3,}[?!]?)(?=\(|[ .]|$)", body, re.M)
    own = {*re.findall(r"\w+", signature), *re.findall(r"(\w+)\s*=(?!=)", body), *re.findall(r"(\w+):", body)}
    quoted = [f"`{name}`" for name in dict.fromkeys(called) if name in names - own][:3]
    return " and ".join([part for part in (", ".join(quoted[:-1]), *quoted[-1:]) if part])
