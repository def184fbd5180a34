"""Long chats as windows that fit the token limit.

A window is the system prompt, the request of the turn it starts in, as much of what came before as there is room for
(the latest steps whole, older ones with their tool outputs cleared, as opencode itself clears them), and then the steps
that are learned from. Every target is supervised in exactly one window; windows end on a target, and are cut between
turns where a whole turn fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import dropwhile, pairwise
from typing import Any

from specialists.agent import CLEARED
from specialists.chat import Chat, Estimate
from specialists.config import Problem
from specialists.records import tool_call
from specialists.tools import Call

CONTEXT_SHARE = 0.25  # of the limit, for whole steps before a window's first target
CLEARED_SHARE = 0.125  # of the limit, at least, for the steps before those with their outputs cleared
OUTPUT_SHARE = 0.5  # of the limit, for one tool output; longer ones are cut in their middle
_CHARACTERS_PER_TOKEN = 3
_PROBE = {"role": "user", "content": "x"}  # templates refuse conversations without a user


@dataclass(frozen=True)
class Unit:
    """What is never torn apart: a user message, or an assistant message with the results of its calls.

    Messages are as in a record, but calls and results are not numbered yet.
    """

    messages: tuple[dict[str, Any], ...]
    turn: int  # counts from 0
    target: bool = False
    resets: bool = False  # the model saw nothing of what was before this unit
    target_cost: int = 0  # tokens of the first message alone
    cost: int = 0  # tokens of all messages
    cleared_cost: int = 0  # the same with cleared outputs

    @property
    def is_user(self) -> bool:
        return self.messages[0]["role"] == "user"

    @property
    def cleared(self) -> tuple[dict[str, Any], ...]:
        """The messages with long tool outputs cleared."""
        return tuple({**message, "content": CLEARED} if _is_long(message) else message for message in self.messages)


@dataclass(frozen=True)
class Window:
    """One example: messages of a record (system prompt first), and where it lies."""

    messages: list[dict[str, Any]]
    turn: int  # of its first user message
    targets: tuple[int, ...]  # indexes of the units it supervises


def _is_long(message: dict[str, Any]) -> bool:
    return message["role"] == "tool" and len(message["content"]) > 2 * len(CLEARED)


def step_unit(text: str, calls: list[Call], turn: int, limit: int) -> Unit:
    """An assistant message and its results, of which those longer than OUTPUT_SHARE are cut in their middle."""
    answer: dict[str, Any] = {"role": "assistant", "content": text, "weight": 0}
    if calls:
        answer["tool_calls"] = [tool_call(0, call.name, call.arguments) for call in calls]
    longest = int(limit * OUTPUT_SHARE * _CHARACTERS_PER_TOKEN)
    return Unit((answer, *({"role": "tool", "content": clipped(call.output, longest)} for call in calls)), turn)


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
    """Packs the units of sessions into windows, for one base model."""

    def __init__(self, counter: Chat | Estimate):
        self.counter = counter
        self._probe = counter.count([_PROBE], None)

    def counted(self, units: list[Unit]) -> list[Unit]:
        """The units with what they cost in tokens, each counted on its own."""
        counted = []
        for unit in units:
            first, results = self._cost(unit.messages[0]), sum(map(self._cost, unit.messages[1:]))
            cleared = sum(map(self._cost, unit.cleared[1:])) if unit.cleared != unit.messages else results
            counted.append(replace(unit, target_cost=first, cost=first + results, cleared_cost=first + cleared))
        return counted

    def windows(self, units: list[Unit], limit: int, system: str, tools: list, lost: Counter[str]) -> list[Window]:
        """All windows of counted units, each of `limit` tokens at most. `lost` counts targets that fit in none."""
        head = {"role": "system", "content": system}
        base = self.counter.count([head, _PROBE], tools) - self._probe
        starts = [0, *(index for index, unit in enumerate(units) if unit.resets and index), len(units)]
        count = partial(self.counter.count, tools=tools)
        segments = (_Segment(units, range(*ends), limit, head, base, count) for ends in pairwise(starts))
        return [window for segment in segments for window in segment.windows(lost)]

    def _cost(self, message: dict[str, Any]) -> int:
        try:
            return self.counter.count([_PROBE, *numbered([message])], None) - self._probe
        except Problem:  # a template may refuse the piece, and still take the whole
            return len(str(message)) // _CHARACTERS_PER_TOKEN + 8


class _Segment:
    """Units between two compactions: what the model could see of each other."""

    def __init__(self, units: list[Unit], span: range, limit: int, head: dict, base: int, count: Callable):
        """`head`: the system message; `base`: tokens of it and the tools; `count`: tokens of a whole conversation."""
        self.units, self.start, self.limit = units, span.start, limit
        self.head, self.base, self.count = head, base, count
        self.targets = [index for index in span if units[index].target]

    def windows(self, lost: Counter[str]) -> list[Window]:
        found: list[Window] = []
        position = 0
        while position < len(self.targets):
            window = (self._whole() if position == 0 else None) or self._window_from(position)
            if window:
                found.append(window)
            else:
                lost["too long"] += 1
            position += len(window.targets) if window else 1
        return found

    def _whole(self) -> Window | None:
        """One window of everything, nothing cleared."""
        *before, last = range(self.start, self.targets[-1] + 1)
        fits = self.base + self._cost(before) + self.units[last].target_cost <= self.limit
        return self._window(before, (), self.targets) if fits else None

    def _window_from(self, position: int) -> Window | None:
        """The window whose first target is the given one; None when it fits in no way."""
        first = self.targets[position]
        turn = self._start_of_turn(first)
        request = [turn] if self.units[turn].is_user else []
        before = range(first - 1, turn + len(request) - 1, -1)
        latest = self._that_fit(before, self.limit * CONTEXT_SHARE, cleared=False)
        for whole in (latest, []):
            end = whole[0] if whole else first
            fixed = self.base + self._cost([*request, *whole])
            reserve = self._older(end, self.limit * CLEARED_SHARE) if whole else []
            most = self._targets_that_fit(position, fixed + self._cost(reserve, cleared=True))
            for count in range(most, 0, -1):
                targets = self.targets[position : position + count]
                others = [index for index in range(first, targets[-1]) if not self.units[index].target]
                used = fixed + self._cost(targets[:-1]) + self._cost(others, cleared=True)
                older = self._older(end, self.limit - used - self.units[targets[-1]].target_cost)
                for cleared in ([*older, *others], others):
                    if window := self._window([*request, *whole], cleared, targets):
                        return window
        return None

    def _targets_that_fit(self, position: int, used: int) -> int:
        """How many targets from a position fit, back to the end of a turn when a whole one does."""
        targets = self.targets[position:]
        for count, target in enumerate(targets):
            if used + self.units[target].target_cost > self.limit:
                whole_turns = sum(self.units[earlier].turn != self.units[target].turn for earlier in targets[:count])
                return whole_turns or count
            following = targets[count + 1] if target != targets[-1] else target
            used += self.units[target].cost + self._cost(range(target + 1, following), cleared=True)
        return len(targets)

    def _that_fit(self, latest_first: Iterable[int], budget: float, cleared: bool) -> list[int]:
        """The latest units that fit a budget, in order."""
        found: list[int] = []
        for index in latest_first:
            budget -= self._cost([index], cleared)
            if budget < 0:
                break
            found.insert(0, index)
        return found

    def _older(self, end: int, budget: float) -> list[int]:
        """Units before `end` that fit a budget when they are cleared: the rest of its turn, then whole turns before."""
        turn = self._start_of_turn(end)
        earlier = (i for i in range(end - 1, self.start - 1, -1) if i != turn or not self.units[turn].is_user)
        found = self._that_fit(earlier, budget, cleared=True)
        return list(dropwhile(lambda index: index < turn and not self.units[index].is_user, found))

    def _start_of_turn(self, index: int) -> int:
        while index > self.start and self.units[index - 1].turn == self.units[index].turn:
            index -= 1
        return index

    def _cost(self, indexes: Iterable[int], cleared: bool = False) -> int:
        return sum(self.units[index].cleared_cost if cleared else self.units[index].cost for index in indexes)

    def _window(self, whole: Iterable[int], cleared: Collection[int], targets: list[int]) -> Window | None:
        """The window of these units when it is within the limit; the last target's results are left out."""
        chosen = sorted({*whole, *cleared, *targets})
        messages: list[dict] = [self.head]
        for index in chosen:
            unit = self.units[index]
            pieces = unit.cleared if index in cleared else unit.messages
            if index in targets:
                pieces = ({**pieces[0], "weight": 1}, *(() if index == targets[-1] else pieces[1:]))
            messages.extend(pieces)
        finished = numbered(messages)
        try:
            if self.count(finished) > self.limit:
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
