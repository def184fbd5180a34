"""Seen before it is said: an edit replaces text that its row shows before it, or a model would learn to invent it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from specialists.agent import NEW_CODE, without_line_numbers
from specialists.records import is_target


def _calls(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    functions = (call["function"] for call in message.get("tool_calls") or ())
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def shown(message: dict[str, Any]) -> str:
    """What a message shows of files: its text without line numbers, and what its calls write."""
    written = (str(arguments.get(NEW_CODE[name])) for name, arguments in _calls(message) if name in NEW_CODE)
    return "\n".join([without_line_numbers(message.get("content") or ""), *written])


def rests_on(message: dict[str, Any], before: Sequence[str]) -> dict[int, frozenset[str]] | None:
    """Which of the texts `before` a message the edits in it rest on: index -> what has to stand there.

    None when an edit replaces what stands nowhere. It may stand there whole, or line by line where edits came between.
    """
    found: dict[int, frozenset[str]] = {}
    own = ""
    for name, arguments in _calls(message):
        old = str(arguments.get("oldString", "")) if name == "edit" else ""
        if old not in own:
            places = _places([old], before) or _places([line for line in old.split("\n") if line.strip()], before)
            if not places:
                return None
            found |= {index: found.get(index, frozenset()) | texts for index, texts in places.items()}
        own += f"\n{arguments.get(NEW_CODE.get(name, ''), '')}"
    return found


def _places(parts: list[str], before: Sequence[str]) -> dict[int, frozenset[str]]:
    """The latest text that each part stands in; empty when one stands in none."""
    found: dict[int, frozenset[str]] = {}
    for part in parts:
        place = next((index for index in range(len(before) - 1, -1, -1) if part in before[index]), None)
        if place is None:
            return {}
        found[place] = found.get(place, frozenset()) | {part}
    return found


def blind_as_context(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in which an answer is no target (weight 0) that edits what stands nowhere before it."""
    before: list[str] = []
    judged = []
    for message in messages:
        blind = is_target(message) and rests_on(message, before) is None
        judged.append({**message, "weight": 0} if blind else message)
        before.append(shown(message))
    return judged
