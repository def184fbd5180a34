"""Long chats as windows that fit the token limit.

A window is the system prompt, the request of the turn it starts in, as much of what came before as there is room for
(the latest steps whole, older ones with their tool outputs cleared, as opencode itself clears them), and then the steps
that are learned from. Every target is supervised in exactly one window; windows end on a target, and are cut between
turns where a whole turn fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

from specialists.agent import CLEARED
from specialists.config import Problem
from specialists.records import tool_call

CONTEXT_SHARE = 0.25  # of the limit, for whole steps before a window's first target
CLEARED_SHARE = 0.125  # of the limit, at least, for the steps before those with their outputs cleared
OUTPUT_SHARE = 0.5  # of the limit, for one tool output; longer ones are cut in their middle
_CHARACTERS_PER_TOKEN = 3
_PROBE = {"role": "user", "content": "x"}  # templates refuse conversations without a user


class TokenCounter(Protocol):
    """specialists.chat.Chat or Estimate."""

    def count(self, messages: list[dict], tools: list[dict] | None = None) -> int: ...


@dataclass(frozen=True)
class Unit:
    """What is never torn apart: a user message, or an assistant message with the results of its calls.

    Messages are as in a record, but calls and results are not numbered yet.
    """

    messages: tuple[dict[str, Any], ...]
    turn: int  # counts from 0
    target: bool = False
    resets: bool = False  # the model saw nothing of what was before this unit
    target_cost: int = field(default=0, compare=False)  # tokens of the first message alone
    cost: int = field(default=0, compare=False)  # tokens of all messages
    cleared_cost: int = field(default=0, compare=False)  # the same with cleared outputs

    @property
    def is_user(self) -> bool:
        return self.messages[0]["role"] == "user"

    @property
    def cleared(self) -> tuple[dict[str, Any], ...]:
        """The messages with long tool outputs cleared."""
        return tuple(
            {**message, "content": CLEARED}
            if message["role"] == "tool" and len(message["content"]) > 2 * len(CLEARED)
            else message
            for message in self.messages
        )


@dataclass(frozen=True)
class Window:
    """One example: messages of a record (system prompt first), and where it lies."""

    messages: list[dict[str, Any]]
    turn: int  # of its first user message
    targets: tuple[int, ...]  # indexes of the units it supervises


def user_unit(text: str, turn: int, resets: bool = False) -> Unit:
    """A user message."""
    return Unit(({"role": "user", "content": text},), turn, resets=resets)


def step_unit(
    text: str, calls: Iterable[tuple[str, dict, str]], turn: int, target: bool, limit: int, resets: bool = False
) -> Unit:
    """An assistant message and its results; `calls` are (name, arguments, output). Outputs longer than OUTPUT_SHARE of
    the limit are cut in their middle."""
    calls = list(calls)
    answer: dict[str, Any] = {"role": "assistant", "content": text, "weight": 0}
    if calls:
        answer["tool_calls"] = [tool_call(0, name, arguments) for name, arguments, _output in calls]
    longest = int(limit * OUTPUT_SHARE * _CHARACTERS_PER_TOKEN)
    results = ({"role": "tool", "content": clipped(output, longest)} for _name, _arguments, output in calls)
    return Unit((answer, *results), turn, target, resets)


def clipped(text: str, characters: int) -> str:
    """A text of about so many characters at most: head and tail, between them opencode's own mark for what is gone."""
    if len(text) <= characters:
        return text
    half = characters // 2
    head, tail = text[:half], text[-half:]
    if "\n" in head and "\n" in tail:
        head, tail = head[: head.rindex("\n")], tail[tail.index("\n") + 1 :]
    missing = text[len(head) : len(text) - len(tail)]
    lines = missing.strip("\n").count("\n") + 1
    amount = f"{lines} lines" if lines > 1 else f"{len(missing)} bytes"
    return f"{head}\n\n...{amount} truncated...\n\n{tail}"


class Packer:
    """Packs the units of sessions into windows, for one base model and limit."""

    def __init__(self, counter: TokenCounter, limit: int):
        self.counter, self.limit = counter, limit
        self._probe = counter.count([_PROBE], None)

    def weighed(self, units: list[Unit]) -> list[Unit]:
        """The units with what they cost in tokens, each counted on its own."""
        weighed = []
        for unit in units:
            first, rest = self._cost(unit.messages[:1]), self._results_cost(unit.messages)
            cleared = first + self._results_cost(unit.cleared) if unit.cleared != unit.messages else first + rest
            weighed.append(replace(unit, target_cost=first, cost=first + rest, cleared_cost=cleared))
        return weighed

    def windows(self, units: list[Unit], system: str, tools: list[dict], lost: Counter[str]) -> list[Window]:
        """All windows of weighed units. Targets that fit in no window are counted in `lost`."""
        head = {"role": "system", "content": system}
        base = self.counter.count([head, _PROBE], tools) - self._probe
        found: list[Window] = []
        for start, end in _segments(units):
            found.extend(_Segment(self, units, start, end, head, tools, base).windows(lost))
        return found

    def _cost(self, messages: tuple[dict, ...]) -> int:
        if not messages:
            return 0
        try:
            return self.counter.count([_PROBE, *numbered(messages)], None) - self._probe
        except Problem:  # a template may refuse the piece, and still take the whole
            return sum(len(str(message)) for message in messages) // _CHARACTERS_PER_TOKEN + 8

    def _results_cost(self, messages: tuple[dict, ...]) -> int:
        return sum(self._cost((message,)) for message in messages[1:])


def _segments(units: list[Unit]) -> list[tuple[int, int]]:
    starts = [0, *(index for index, unit in enumerate(units) if unit.resets and index), len(units)]
    return [(start, end) for start, end in pairwise(starts) if start < end]


class _Segment:
    """Units between two compactions: what the model could see of each other."""

    def __init__(
        self, packer: Packer, units: list[Unit], start: int, end: int, head: dict, tools: list[dict], base: int
    ):
        self.packer, self.units, self.head, self.tools, self.base = packer, units, head, tools, base
        self.start, self.limit = start, packer.limit
        self.targets = [index for index in range(start, end) if units[index].target]

    def windows(self, lost: Counter[str]) -> list[Window]:
        if not self.targets:
            return []
        last = self.targets[-1]
        whole = self.base + sum(unit.cost for unit in self.units[self.start : last]) + self.units[last].target_cost
        if whole <= self.limit and (window := self._window([], list(range(self.start, last)), self.targets)):
            return [window]
        found, position = [], 0
        while position < len(self.targets):
            window = self._starting_at(position)
            if window is None:
                lost["too long"] += 1
                position += 1
            else:
                found.append(window)
                position += len(window.targets)
        return found

    def _starting_at(self, position: int) -> Window | None:
        """The window whose first target is the given one; None when it fits in no way."""
        first = self.targets[position]
        request = self._request(first)
        context = self._latest(first, request, self.limit * CONTEXT_SHARE)
        for whole in (context, []):
            fixed = self.base + self._sum(whole) + (self.units[request].cost if request is not None else 0)
            reserve = self._older(first, request, whole, self.limit * CLEARED_SHARE) if whole else []
            count = self._fitting(position, fixed + sum(self.units[index].cleared_cost for index in reserve))
            while count:
                targets = self.targets[position : position + count]
                between = [i for i in range(first, targets[-1]) if i != request]
                older = self._older(first, request, whole, self.limit - fixed - self._span(first, targets[-1]))
                for cleared in (older, []):
                    window = self._window(
                        self._with_request(cleared, whole, request), [*whole, *between], targets, cleared
                    )
                    if window:
                        return window
                count -= 1
        return None

    def _request(self, index: int) -> int | None:
        """The user message that opens a unit's turn."""
        turn = self.units[index].turn
        while index >= self.start and self.units[index].turn == turn:
            if self.units[index].is_user:
                return index
            index -= 1
        return None

    def _fitting(self, position: int, fixed: int) -> int:
        """How many targets from a position fit, back to the end of a turn when a whole one does."""
        first, count = self.targets[position], 0
        used, index = fixed, first
        for offset, target in enumerate(self.targets[position:], 1):
            used += sum(self._between_cost(i) for i in range(index, target))
            if used + self.units[target].target_cost > self.limit:
                break
            count, index = offset, target
        chosen = self.targets[position : position + count + 1]
        if count and len(chosen) > count and self.units[chosen[count]].turn == self.units[chosen[count - 1]].turn:
            torn = self.units[chosen[count]].turn
            whole = sum(self.units[target].turn != torn for target in chosen[:count])
            return whole or count
        return count

    def _between_cost(self, index: int) -> int:
        unit = self.units[index]
        return unit.cost if unit.target or unit.is_user else unit.cleared_cost

    def _span(self, first: int, last: int) -> int:
        return sum(self._between_cost(index) for index in range(first, last)) + self.units[last].target_cost

    def _sum(self, indexes: list[int]) -> int:
        return sum(self.units[index].cost for index in indexes)

    def _latest(self, first: int, request: int | None, budget: float) -> list[int]:
        """Units right before a target that fit a budget whole: of its own turn, then whole turns before it."""
        chosen: list[int] = []
        index = first - 1
        while index >= self.start and index != request and self.units[index].turn == self.units[first].turn:
            budget -= self.units[index].cost
            if budget < 0:
                return chosen
            chosen.insert(0, index)
            index -= 1
        return chosen

    def _older(self, first: int, request: int | None, whole: list[int], budget: float) -> list[int]:
        """Units before those, cleared: the rest of the turn, then turns before it, as far as the budget goes."""
        turn: list[int] = []
        index = (whole[0] if whole else first) - 1
        while index >= self.start and index != request and self.units[index].turn == self.units[first].turn:
            budget -= self.units[index].cleared_cost
            if budget < 0:
                return turn
            turn.insert(0, index)
            index -= 1
        chosen, index = turn, (request if request is not None else index + 1) - 1
        while index >= self.start:  # whole turns, so that the window starts with what a user said
            before = [i for i in range(self.start, index + 1) if self.units[i].turn == self.units[index].turn]
            budget -= sum(self.units[i].cleared_cost for i in before)
            if budget < 0 or not self.units[before[0]].is_user:
                break
            chosen = [*before, *chosen]
            index = before[0] - 1
        return chosen

    def _with_request(self, cleared: list[int], whole: list[int], request: int | None) -> list[int]:
        """Indexes in front of the whole units, in order, the request of the first target's turn among them."""
        return sorted({*cleared, request}) if request is not None else cleared

    def _window(
        self, before: list[int], body: list[int], targets: list[int], cleared: list[int] | None = None
    ) -> Window | None:
        """The window of these units when it is within the limit; the last target's results are left out."""
        chosen, supervised = sorted({*before, *body, *targets}), set(targets)
        overflow = cleared is not None
        messages: list[dict] = [self.head]
        for index in chosen:
            unit = self.units[index]
            clear = overflow and not unit.is_user and (index in before or (index >= targets[0] and not unit.target))
            pieces = unit.cleared if clear else unit.messages
            if index == targets[-1]:
                pieces = pieces[:1]
            if index in supervised:
                pieces = ({**pieces[0], "weight": 1}, *pieces[1:])
            messages.extend(pieces)
        finished = numbered(messages)
        try:
            if self.packer.counter.count(finished, self.tools) > self.limit:
                return None
        except Problem:  # the template refuses the conversation, which the trainer would have to refuse too
            return None
        return Window(finished, self.units[chosen[0]].turn, tuple(targets))


def numbered(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with call ids counted from call_0, results belonging to the calls right before them."""
    finished: list[dict[str, Any]] = []
    count, waiting = 0, iter(())
    for message in messages:
        if message["role"] == "assistant" and message.get("tool_calls"):
            calls = [{**call, "id": f"call_{number}"} for number, call in enumerate(message["tool_calls"], count)]
            count += len(calls)
            waiting = iter([call["id"] for call in calls])
            message = {**message, "tool_calls": calls}
        elif message["role"] == "tool":
            message = {"role": "tool", "tool_call_id": next(waiting, "call_0"), "content": message["content"]}
        finished.append(message)
    return finished
