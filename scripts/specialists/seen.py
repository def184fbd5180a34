"""Seen before it is said: an edit replaces text that its row shows before it, or a model would learn to invent it."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any

from specialists.agent import NEW_CODE, path_of, without_line_numbers
from specialists.records import Record, calls_of, is_target

_WORD = re.compile(r"\w+(?:\.[a-z]{1,5}\b)?")


def names(message: dict[str, Any]) -> set[str]:
    """What a message says that nobody guesses: numbers, names of files, identifiers of more than one word."""
    texts = [message.get("content") or "", *(str(value) for _name, one in calls_of(message) for value in one.values())]
    return set().union(*map(_names, texts))


@lru_cache(maxsize=4096)  # messages of a session, which its windows show again
def _names(text: str) -> frozenset[str]:
    words = {word for word in _WORD.findall(text) if 2 < len(word) < 80}
    return frozenset(word for word in words if not word.isalpha() or word[1:].lower() != word[1:] != word[1:].upper())


def _edits(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The arguments of each call that edits or writes a file."""
    return [arguments for name, arguments in calls_of(message) if name in NEW_CODE]


def shown(message: dict[str, Any]) -> str:
    """What a message shows of files: its text without line numbers, and what its calls write."""
    written = (str(one.get(key) or "") for one in _edits(message) for key in NEW_CODE.values())
    return "\n".join([without_line_numbers(message.get("content") or ""), *written])


def rests_on(message: dict[str, Any], before: Sequence[str]) -> dict[int, set[str]] | None:
    """Which of the texts `before` a message the edits in it rest on: index -> what has to stand there.

    None when an edit replaces what stands nowhere. It may stand there whole, or line by line where edits came between.
    A file that is written rests on the text that has most of its lines, if there is one; where it was read, on that."""
    found: dict[int, set[str]] = {}
    for arguments in _edits(message):
        old, content = (str(arguments.get(key) or "") for key in ("oldString", "content"))
        for parts in ([old], _lines(old)) if old else ([],):
            latest = (next((i for i in range(len(before) - 1, -1, -1) if part in before[i]), -1) for part in parts)
            places = [*takewhile(lambda place: place >= 0, latest)]
            if len(places) == len(parts):
                break
        else:
            return None
        for place, part in zip(places, parts, strict=True):
            found.setdefault(place, set()).add(part)
        lines = {*_lines(content)}
        copied = [lines.intersection(text.split("\n")) for text in before] if lines else []
        place = max(range(len(copied)), key=lambda place: (len(copied[place]), place), default=0)
        if copied and 2 * len(copied[place]) > len(lines):
            found.setdefault(place, set()).update(copied[place])
        read = [place for place, text in enumerate(before) if content and f"<path>{path_of(arguments)}</path>" in text]
        for place in read[-1:]:
            found.setdefault(place, set()).update(_lines(before[place]))
    return found


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def blind_as_context(record: Record) -> Record:
    """A record in which an answer is no target (weight 0) that edits what stands nowhere before it."""
    messages, before = record["messages"], [*map(shown, record["messages"])]
    blind = (is_target(one) and rests_on(one, before[:place]) is None for place, one in enumerate(messages))
    judged = [{**one, "weight": 0} if unseen else one for one, unseen in zip(messages, blind, strict=True)]
    return {**record, "messages": judged}
