"""A change of files as the calls of an agent that makes it (reads, edits, writes), and the proof that they make it."""

import io
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import count
from posixpath import commonprefix, join
from typing import Any, NamedTuple

from specialists.agent import EDIT_DONE, ROOT, TOOLS, WRITE_DONE, in_project, path_of, read_result
from specialists.records import calls_of, tool_call
from specialists.tools import Call, in_words_of

NEAR = 3  # unchanged lines between two hunks that still become one edit
LEAST = 8  # characters that an oldString has at least, so that nobody finds it by chance

Hunk = tuple[int, int, int, int]  # lines before[a:b] became after[c:d], counted from 0


class NotExact(Exception):
    """The calls do not give the file that they should."""


class FileChange(NamedTuple):
    """One file of an example; `before` is None for a new file."""

    path: str
    before: str | None
    after: str
    hunks: tuple[Hunk, ...] = ()


def plan_edits(change: FileChange) -> list[tuple[str, str]]:
    """Old and new texts that in order make `after`, each old one once in the file as it then is. Raises NotExact."""
    before, after = lines_of(change.before or ""), lines_of(change.after)
    edits, current, shift = [], list(before), 0
    for a, b, c, d in _grouped(change.hunks):
        first, last = a + shift, b + shift  # the hunk in the current lines
        text = "".join(current)
        for low, high in _around(first, last, len(current)):
            old, new = "".join(current[low:high]), "".join([*current[low:first], *after[c:d], *current[last:high]])
            if old.endswith("\n") and new.endswith("\n"):
                old, new = old[:-1], new[:-1]
            lines, whole = old.split("\n"), (low, high) == (0, len(current))
            # nobody finds it by chance, and it begins and ends with no empty line
            stands_out = len(old.strip()) >= LEAST and lines[0].strip() and lines[-1].strip()
            if old and old != new and _once(text, old) and (whole or (new and stands_out)):
                break
        else:
            raise NotExact(f"{change.path}: no text to hold an edit on")
        edits.append((old, new))
        current[first:last] = after[c:d]
        shift += (d - c) - (b - a)
    return edits


def conversation(system: str, request: str, changes: list[FileChange], tools: list = TOOLS) -> list[dict]:
    """A record's messages: request, reads of whole files, edits file by file, writes of new files, closing line.

    Only edits and writes are targets: nobody knows how the author found the place, or what was said in the end.
    Calls and results are in the words of the opencode that has `tools`.
    Raises NotExact when replaying the calls does not give every file byte for byte."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}, {"role": "user", "content": request}]
    reads: list[tuple[str, dict[str, Any], str]] = []
    steps = [reads]
    for change in changes:
        before, path = change.before or "", join(ROOT, change.path)
        if not before.strip():  # nothing there that an edit could hold on to
            steps.append([("write", {"content": change.after, "filePath": path}, WRITE_DONE)])
            continue
        reads.append(("read", {"filePath": path}, read_result(path, before)))
        edits = [{"filePath": path, "oldString": old, "newString": new} for old, new in plan_edits(change)]
        steps.append([("edit", one, EDIT_DONE) for one in edits])
    ids = count()
    for step in filter(None, steps):
        made = [call for one in step if (call := in_words_of(tools, Call(*one)))]
        calls = [tool_call(next(ids), call.name, call.arguments) for call in made]
        messages.append({"role": "assistant", "content": "", "weight": int(step is not reads), "tool_calls": calls})
        for sent, result in zip(calls, made, strict=True):
            messages.append({"role": "tool", "tool_call_id": sent["id"], "content": result.output})
    messages.append({"role": "assistant", "content": "Done.", "weight": 0})
    files = replay(messages, {change.path: change.before for change in changes if change.before is not None})
    if wrong := [change.path for change in changes if files.get(change.path) != change.after]:
        raise NotExact(f"{wrong[0]}: the calls do not give the file")
    return messages


def replay(messages: Iterable[dict[str, Any]], files: dict[str, str]) -> dict[str, str]:
    """The files after some messages' `edit` and `write` calls. Raises NotExact where opencode would refuse one."""
    files = dict(files)
    for message in messages:
        for name, arguments in calls_of(message):
            path = in_project(path_of(arguments))
            if name == "write":
                files[path] = arguments["content"]
            elif name == "edit":
                old, new = arguments["oldString"], arguments["newString"]
                if path not in files or not old or old == new or not _once(files[path], old):
                    raise NotExact(f"{path}: oldString does not stand there exactly once")
                files[path] = files[path].replace(old, new)
    return files


def line_hunks(before: str, after: str) -> tuple[Hunk, ...]:
    """The lines in which two texts differ."""
    old, new = lines_of(before), lines_of(after)
    # the ends that are equal are most of a file, and the matcher's time grows with the square of what it is given
    first = len(commonprefix([old, new]))
    last = len(commonprefix([old[first:][::-1], new[first:][::-1]]))
    matcher = SequenceMatcher(None, old[first : len(old) - last], new[first : len(new) - last])
    codes = (code for code in matcher.get_opcodes() if code[0] != "equal")
    return tuple((first + a, first + b, first + c, first + d) for _tag, a, b, c, d in codes)


def lines_of(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one."""
    return io.StringIO(text, newline="\n").readlines()


def _once(text: str, part: str) -> bool:
    start = text.find(part)
    return start >= 0 and text.find(part, start + 1) < 0


def _around(first: int, last: int, total: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of lines around first..last, each wider than the one before, up to all."""
    if last > first:
        yield first, last
    for reach in count(1):
        low, high = max(0, first - reach), min(total, last + reach)
        yield from ((low, last), (first, high), (low, high))
        if (low, high) == (0, total):
            return


def _grouped(hunks: Iterable[Hunk]) -> list[Hunk]:
    """Hunks with at most NEAR unchanged lines between them as one."""
    groups: list[Hunk] = []
    for a, b, c, d in hunks:
        if groups and a - groups[-1][1] <= NEAR:
            a, _b, c, _d = groups.pop()
        groups.append((a, b, c, d))
    return groups
