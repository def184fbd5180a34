"""Rows made from the owner's own code at HEAD: a function to implement, a mistake to find and fix.

A real file is broken in one place, by a stub for a body or by a mutation; the row is an agent that reads the place and
edits the real code back in. What is chosen depends on the code alone. That both files parse is all that is
known of a row; nothing is run. Refactorings are not made up: the owner's own are among the mined commits. Requests are
templates that say what the function is for, nothing of a mistake; or a model's that sees the change, of commits too.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

from specialists.agent import system_prompt
from specialists.chat import token_counter
from specialists.code import edits, grammars, syntax
from specialists.config import Config, Language, Problem
from specialists.families import Sayable
from specialists.records import Record, is_target, make_record
from specialists.secrets import scrub
from specialists.synthetic.mutations import Mutation, mutations
from specialists.tools import known_tools

IMPLEMENT = (  # {f} function, {p} its file, {d} the first sentences of its comment
    "Implement `{f}` in {p}. {d}",
    "`{f}` in {p} is still a stub. {d} Please write the body.",
    "write the body of `{f}` in {p}. {d} Keep to the style of the code around it.",
)
FIX = (
    "`{f}` in {p} does not behave as it should. {d} Find out why and fix it.",
    "There is a mistake in `{f}` ({p}). {d} Please correct it, and leave the rest as it is.",
    "can you fix `{f}` in {p}? {d}",
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\[(])")
_SECTION = re.compile(  # where the prose of a comment ends
    r"(?i)\s*(:\w+|@\w+|- \w+:|- ?(Parameters?|Returns?|Throws)\b|=+|#+ |Args?:|Returns?:|Raises:|Parameters?:?$"
    r"|Example|```|\.\. |>>>|\$|\* |$)"
)
_SAYS_NOTHING = re.compile(r"(?i:see|same as|alias|inherited|todo|fixme|hack|.*copyright)\b|[A-Z]+ /|<?https?:")
FUNCTION_LINES = range(3, 101)  # of functions that are used, with comment and attributes
BODY_LINES = range(1, 21)  # of bodies that are to be written
LITERALS = 30  # characters of string literals in them: messages that nobody could guess
ENOUGH = (5, 12)  # words of a comment that do for a body of one line, of any length; between them two for each line
PER_FUNCTION = 3  # mistakes at most that are made in one function

_NOT_CODE = re.compile(  # folders that show how something is used, or what is copied elsewhere
    r"(?i)(^|/)([^/]*\.(docc|playground)|docs?|documentation|snippets?|([\w-]*[-_ ])?(examples?|demos?|samples?)"
    r"|tutorials?|guides?|templates)/"
)
_TEST = re.compile(r"(^|\.)(|test(_\w*|[A-Z]\w*)?|tests)(\.|$)")  # or without a name
_ACCESSORS = re.compile(r"(get|set|_read|_modify|willSet|didSet)\b")
_STRING = re.compile(r"\"{3}.*?\"{3}|<<[-~].*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`", re.S)


class Task(NamedTuple):
    """One way to break one function."""

    file: syntax.SourceFile
    grammar: str
    function: syntax.Function
    mutation: Mutation  # of the kind "implement" where the body is left out

    def key(self) -> str:
        """What decides when it is its turn: the function alone, so that work elsewhere changes nothing."""
        first, last = self.function.lines
        text, place = self.file.text.split("\n")[first - 1 : last], self.mutation.start - self.function.body[0]
        return sha256(repr((self.function.qualified, text, self.mutation.kind, place)).encode()).hexdigest()


class Augmenter:
    """Makes rows of one language; `found` and `lost` count what could be made of which, and what could not and why."""

    def __init__(self, config: Config, language: Language, reword: Callable[[Record], Record | None] | None = None):
        """`reword(record)` may give a better request. Raises Problem when the language has no grammar installed."""
        if language.grammar is None:
            raise Problem(f"{config.path}: languages.{language.name}.grammar: missing; synthetic examples need one")
        grammars.parser(language.grammar)
        self.language, self.grammar, self.reword, self.rules = language, language.grammar, reword, config.secrets
        self.tools, self.counter = known_tools(config), token_counter(config.base.model, config.base.revision)
        self.sayable = Sayable(self.counter)
        self.found, self.lost = Counter[str](), Counter[str]()

    def rows(self, files: Iterable[syntax.SourceFile], most: int) -> list[Record]:
        """Up to `most` rows of some files."""
        return list(islice(filter(None, map(self._record, _in_turn(self._tasks(files)))), most))

    def _tasks(self, files: Iterable[syntax.SourceFile]) -> list[Task]:
        """All that could be made. A function needs its name for itself in its file, so that a request can name it."""
        read, declared, tasks = [], set(), []
        for file in files:
            grammar, source = grammars.dialect(self.grammar, file.path), file.text.encode()
            if grammar and not _NOT_CODE.search(file.path):
                functions, names = syntax.functions(grammar, source), _names(grammar, source)
                read.append((file, grammar, functions, names))
                bodies = [function.body for function in functions]
                declared |= {name.lstrip(":") for at, name in names if not any(a <= at < b for a, b in bodies)}
        for file, grammar, functions, names in read:
            source, times = file.text.encode(), Counter(function.name for function in functions)
            own = {f for f in functions if times[f.name] == 1 and not _TEST.search(f.qualified)}
            usable = {f for f in own if f.lines[1] - f.lines[0] + 1 in FUNCTION_LINES}
            made = [(function, mutation) for function, mutation in mutations(grammar, source) if function in usable]
            stub = grammars.grammar_of(grammar).stub.encode()
            described = [function for function in usable if _is_described(source, function, names, declared)]
            made += [(function, Mutation("implement", *function.body, stub)) for function in described if stub]
            self.found.update(["files", *("functions" for _ in usable), *(mutation.kind for _, mutation in made)])
            tasks += [Task(file, grammar, function, mutation) for function, mutation in made]
        return tasks

    def _record(self, task: Task) -> Record | None:
        """The scrubbed record of a task; None, with the reason counted, where there is none."""
        file, kind = task.file, task.mutation.kind
        about = {"kind": "synthetic", "time": file.time, "repository": file.repository, "commit": file.commit}
        about |= {"path": file.path, "function": task.function.qualified, "operator": kind, "verified": "parses"}
        about |= {"task": "implement" if kind == "implement" else "fix"}
        source, broken = file.text.encode(), task.mutation.apply(file.text.encode())
        if syntax.error_nodes(task.grammar, broken) > syntax.error_nodes(task.grammar, source):
            self.lost["does not parse"] += 1
            return None
        hunks = edits.line_hunks(before := broken.decode(), file.text)
        request, prompt = words(kind, task.function, file.path, task.key()), system_prompt(self.language)
        try:
            change = edits.FileChange(file.path, before, file.text, hunks)
            messages = edits.conversation(prompt, request, [change], self.tools)
        except edits.NotExact as reason:
            self.lost[str(reason)] += 1
            return None
        scrubbed, _findings = scrub(make_record(self.language.name, messages, self.tools, about), self.rules)
        if scrubbed is None or not self._fits(scrubbed):
            self.lost["too long" if scrubbed else "secret in target"] += 1
            return None
        if not all(self.sayable.can_say(message) for message in scrubbed["messages"] if is_target(message)):
            self.lost["cannot be said"] += 1
            return None
        better = self.reword(scrubbed) if self.reword else None
        return self.sayable(better if better and self._fits(better) else scrubbed)

    def _fits(self, record: Record) -> bool:
        return self.counter.count(record["messages"][1:]) <= self.language.training.max_length


def _names(grammar: str, source: bytes) -> list[tuple[int, str]]:
    """The names in a file, and where they stand."""
    nodes = syntax.walk(syntax.parse(grammar, source).root_node)
    named = (node for node in nodes if re.search("identifier|constant|variable|symbol", node.type))
    return [(node.start_byte, (node.text or b"").decode().rstrip("?!:")) for node in named if not node.children]


def _is_described(source: bytes, function: syntax.Function, names: list[tuple[int, str]], declared: set[str]) -> bool:
    """Whether the comment says what a body does, and the rest of the file shows every name that it needs.

    Names that the owner's files declare, constants, symbols and `@` variables have to stand there; what else stands
    nowhere is of the language and its libraries."""
    start, end = function.body
    body, rest = source[start:end].decode(), (source[:start] + b" " + source[end:]).decode()
    lines, literals = body.count("\n") + 1, sum(map(len, _STRING.findall(body)))
    if lines not in BODY_LINES or literals > LITERALS or _ACCESSORS.match(body):
        return False
    shown = set(re.findall(r"[@$]*\w+", rest))
    needed = {name for at, name in names if start <= at < end and name.lstrip(":") not in shown}
    enough = opening(function.doc) and len(function.doc.split()) >= min(max(2 * lines, ENOUGH[0]), ENOUGH[1])
    return bool(enough) and not any(name in declared or re.match("[A-Z:@]", name) for name in needed)


def _in_turn(tasks: list[Task]) -> list[Task]:
    """Each task once: documented functions first, each function once before any is taken again."""
    unique = {task.key(): task for task in sorted(tasks, key=lambda task: task.file, reverse=True)}
    taken, order = Counter[Any](), []
    for key, task in sorted(unique.items()):
        place = (task.mutation.kind == "implement", task.file.path, task.function)
        taken[place] += 1
        order.append((not task.function.doc, taken[place], key))
    return [unique[key] for _undocumented, number, key in sorted(order) if number <= PER_FUNCTION]


def words(kind: str, function: syntax.Function, path: str, key: str) -> str:
    """The request of a row; which wording, the key (hex digits) decides."""
    doc, implement = opening(function.doc), kind == "implement"
    options = IMPLEMENT if implement else FIX
    purpose = f"What it should do: {doc}" if doc and not implement else doc
    return options[int(key, 16) % len(options)].format(f=function.name, p=path, d=purpose).replace("  ", " ").strip()


def opening(doc: str, sentences: int = 3, longest: int = 300) -> str:
    """The first sentences of a doc comment; "" when there are none that can stand in a request."""
    lines = doc.strip().split("\n")
    prose = lines[: next((number for number, line in enumerate(lines) if _SECTION.match(line)), None)]
    whole = [sentence for sentence in _SENTENCE.split(" ".join(" ".join(prose).split())) if sentence[-1:] != ":"]
    text = next((part for n in range(sentences, 0, -1) if len(part := " ".join(whole[:n])) <= longest), "")
    if len(re.findall(r"[A-Za-z]{2,}", text)) < 3 or _SAYS_NOTHING.match(text) or text.count("`") % 2:
        return ""
    text = text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
    return text if text[-1] in ".!?" else f"{text.rstrip(';,')}."
