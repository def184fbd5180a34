"""What the demo's made-up projects are and can become: five of them, one a language, described in demo/projects/*.toml.

A state says which functions are there and what was done to them; `render` gives the files of a state, and `edits` what
an editor would have to replace to get from one text to the next. Histories are walks from state to state.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "projects"
LANGUAGES = ("rust", "ts", "python", "ruby", "swift")

State = frozenset[tuple[str, str]]  # (function, what was done to it): one of TRAITS
TRAITS = ("added", "fixed", "wider", "renamed", "documented", "tested")


@dataclass(frozen=True)
class Function:
    """One function of a project, and what may happen to it."""

    module: str
    name: str
    rename: str
    goal: str  # "Add it to …"
    doc: str
    code: str  # right, documented by the line with @doc
    symptom: str  # what one sees of the bug
    fix: list[str]  # right, wrong
    wish: str  # "Make it …"
    wider: list[str]  # before, after, before, after, …
    test: str


@dataclass(frozen=True)
class Project:
    """A made-up project of one language."""

    language: str
    name: str
    about: str
    source: str
    tests: str
    header: str
    test_header: str
    lock: str
    lock_text: str
    check: str
    passed: str
    failed: str
    files: dict[str, str]
    modules: dict[str, str]
    functions: list[Function]
    footer: str = ""
    test_footer: str = ""
    indent: int = 0
    test_indent: int = 0
    blank_lines: int = 1  # between functions

    def source_path(self, function: Function) -> str:
        return self._filled(self.source, function.module)

    def check_command(self, function: Function) -> str:
        """What runs the tests of the function's module."""
        return self._filled(self.check, function.module)

    def output(self, function: Function, passed: bool, number: int) -> str:
        """What that command prints; `number` makes it vary."""
        text = self._filled(self.passed if passed else self.failed, function.module)
        return text.replace("@name", function.name).replace("@n", str(number % 9 + 1))

    def render(self, state: State) -> dict[str, str]:
        """All files of a state but the lock file: path -> text."""
        files = {"README.md": f"# {self.name}\n\n{self.about}\n", **self.files}
        for module, about in self.modules.items():
            present = [f for f in self.functions if f.module == module and (f.name, "added") in state]
            if present:
                pieces = [_indented(source_of(f, state), self.indent) for f in present]
                header = self._filled(self.header, module).replace("@about", about)
                files[self._filled(self.source, module)] = header + self._joined(header, pieces) + self.footer
            if tests := [
                _indented(test_of(f, state), self.test_indent or self.indent)
                for f in present
                if (f.name, "tested") in state
            ]:
                header = self._filled(self.test_header, module)
                files[self._filled(self.tests, module)] = header + self._joined(header, tests) + self.test_footer
        return files

    def _joined(self, header: str, pieces: list[str]) -> str:
        """Functions with blank lines between them, and after a header that does not open a block."""
        opens = header.rstrip().endswith(("{", "Minitest::Test", "module_function"))
        blank = "\n" * self.blank_lines
        return ("" if opens else blank) + blank.join(pieces)

    def _filled(self, text: str, module: str) -> str:
        return text.replace("@module", module).replace("@Module", module.capitalize())


@lru_cache
def project(language: str) -> Project:
    """The project of a language."""
    table: dict[str, Any] = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    functions = [Function(**entry) for entry in table.pop("function")]
    return Project(language=language, functions=functions, **table)


def name_of(function: Function, state: State) -> str:
    """What the function is called in a state."""
    return function.rename if (function.name, "renamed") in state else function.name


def source_of(function: Function, state: State) -> str:
    """The function's code in a state."""
    code = function.code
    if (function.name, "fixed") not in state:
        before, after = function.fix
        code = _replaced(code, before, after, function)
    if (function.name, "wider") in state:
        for before, after in zip(function.wider[::2], function.wider[1::2], strict=True):
            code = _replaced(code, before, after, function)
    code = _renamed(code, function, state)
    if (function.name, "documented") in state:
        return code.replace("@doc", function.doc)
    return "".join(line for line in code.splitlines(keepends=True) if "@doc" not in line)


def test_of(function: Function, state: State) -> str:
    """The function's test in a state."""
    return _renamed(function.test, function, state)


def edits(before: str, after: str) -> list[tuple[str, str]]:
    """(old, new) replacements, one after the other, that turn one text into the other; each old text stands once."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found, text, shift = [], before, 0
    for start, end, new_start, new_end in _changed(old, new):
        now = text.splitlines(keepends=True)
        first, last = start + shift, end + shift
        low, high = first, last
        while True:
            pair = _without_last_newline(
                "".join(now[low:high]), "".join([*now[low:first], *new[new_start:new_end], *now[last:high]])
            )
            if pair[0] and text.count(pair[0]) == 1:
                break
            if low > 0 and (low >= first or not now[low].strip() or high >= len(now)):
                low -= 1
            else:
                high += 1
        text = text.replace(*pair, 1)
        found.append(pair)
        shift += (new_end - new_start) - (end - start)
    return found


def _without_last_newline(old: str, new: str) -> tuple[str, str]:
    return (old[:-1], new[:-1]) if old.endswith("\n") and new.endswith("\n") else (old, new)


def _changed(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """Changed blocks of lines, those with at most one line between them as one."""
    blocks: list[tuple[int, int, int, int]] = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if blocks and start - blocks[-1][1] <= 1:
            start, new_start = blocks.pop()[::2]
        blocks.append((start, end, new_start, new_end))
    return blocks


def _replaced(code: str, before: str, after: str, function: Function) -> str:
    if code.count(before) != 1:
        raise ValueError(f"{function.name}: {before!r} stands {code.count(before)} times in its code")
    return code.replace(before, after)


def _renamed(text: str, function: Function, state: State) -> str:
    return re.sub(rf"\b{re.escape(function.name)}\b", name_of(function, state), text)


def _indented(code: str, width: int) -> str:
    return "".join(" " * width + line if line.strip() else line for line in code.splitlines(keepends=True))


def initial_traits(language: str) -> dict[str, set[str]]:
    """Function -> what it has from its first commit on: most are documented."""
    return {
        function.name: {"added", *(["documented"] if number % 4 not in (1, 3) else [])}
        for number, function in enumerate(project(language).functions)
    }


def commit_changes(language: str) -> list[tuple[Function, tuple[str, ...]]]:
    """What commits do to functions that are there; all the rest is left for sessions."""
    changes: list[tuple[Function, tuple[str, ...]]] = []
    for number, function in enumerate(project(language).functions):
        if number % 2:
            changes += [(function, ("fixed", "tested")), (function, ("renamed",))]
            changes += [(function, ("documented",))] if number % 4 == 1 else []
        else:
            changes.append((function, ("wider",)))
    return changes


def final_state(language: str) -> State:
    """Where the commits leave off."""
    first = {(name, trait) for name, traits in initial_traits(language).items() for trait in traits}
    later = {(function.name, trait) for function, traits in commit_changes(language) for trait in traits}
    return frozenset(first | later)
