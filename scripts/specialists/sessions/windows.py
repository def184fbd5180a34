"""Long chats as windows that fit the token limit.

A window is the system prompt, the request of the turn it starts in (of a few words: with what it replies to), as much
of what came before as there is room for (the latest steps whole, older ones with their tool outputs cleared, as
opencode itself clears them), and then the steps that are learned from. The step that a target answers stands whole
before it, and what an edit that is learned from replaces at least with the lines around. Every target is supervised in
exactly one window; windows end on a target, and are cut between turns where a whole turn fits.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import dropwhile, groupby, pairwise
from typing import Any, NamedTuple

from specialists.agent import CLEARED, without_line_numbers
from specialists.chat import QUESTION, Chat, Estimate
from specialists.config import Problem
from specialists.records import tool_call
from specialists.seen import names, rests_on, shown
from specialists.tools import Call

CONTEXT_SHARE = 0.25  # of the limit, for whole steps before a window's first target
CLEARED_SHARE = 0.125  # of the limit, at least, for the steps before those with their outputs cleared
OUTPUT_SHARE = 0.5  # of the limit, for the outputs of one step; longer ones are cut in their middle
REPLY_WORDS = 4  # a request of fewer ("yes", "then do it") answers what was said before it
UNKNOWN = 2  # names from what a window leaves out, from which on a target cannot be said by who sees the window
INVENTED = 4  # names that stand nowhere, from which on an answer without a call tells what nobody looked up
AROUND = 12  # lines before and after what an edit replaces that stay of an output
_CHARACTERS_PER_TOKEN = 3
_CODE = re.compile(r"```.*?(?:```|\Z)", re.S)
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unit:
    """What is never torn apart: a user message, or an assistant message with the results of its calls."""

    messages: tuple[dict[str, Any], ...]  # as in a record, but calls and results are not numbered yet
    turn: int  # counts from 0
    target: bool = False
    resets: bool = False  # the model saw nothing of what was before this unit
    rests_on: Mapping[int, set[str]] = field(default_factory=dict)  # units before it, and which texts in them
    target_cost: int = 0  # tokens of the first message alone
    cost: int = 0  # tokens of all messages
    cleared_cost: int = 0  # the same with cleared outputs

    @property
    def is_user(self) -> bool:
        return self.messages[0]["role"] == "user"

    def cleared(self, texts: frozenset[str] = _NONE) -> tuple[dict[str, Any], ...]:
        """The messages with long tool outputs cleared, but for the lines around these texts."""
        return tuple(
            {**one, "content": around(one["content"], texts) or CLEARED}
            if one["role"] == "tool" and len(one["content"]) > 2 * len(CLEARED)
            else one
            for one in self.messages
        )


class Window(NamedTuple):
    """One example: messages of a record (system prompt first), and where it lies."""

    messages: list[dict[str, Any]]
    turn: int  # of its first user message
    targets: tuple[int, ...]  # indexes of the units it supervises


def step_unit(text: str, calls: list[Call], turn: int) -> Unit:
    """An assistant message and its results."""
    answer: dict[str, Any] = {"role": "assistant", "content": text, "weight": 0}
    if calls:
        answer["tool_calls"] = [tool_call(0, call.name, call.arguments) for call in calls]
    return Unit((answer, *({"role": "tool", "content": call.output} for call in calls)), turn)


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
    return f"{head}\n\n...{f'{lines} lines' if lines > 1 else f'{len(missing)} bytes'} truncated...\n\n{tail}"


def around(text: str, wanted: Collection[str]) -> str:
    """The lines of an output around what is wanted of it, without line numbers; empty where nothing of it stands."""
    if not wanted:
        return ""
    plain, kept = without_line_numbers(text), set[int]()
    for first, one in ((plain.count("\n", 0, plain.find(one)), one) for one in wanted if one in plain):
        kept |= {*range(first - AROUND, first + one.count("\n") + 1 + AROUND)}
    pieces = []
    for near, group in groupby(enumerate(text.split("\n")), lambda line: line[0] in kept):
        lines = [line for _number, line in group]
        pieces.append("\n".join(lines) if near else f"...{len(lines)} lines truncated...")
    return "\n\n".join(pieces) if kept else ""


class Packer:
    """Packs the units of sessions into windows, for one base model."""

    def __init__(self, counter: Chat | Estimate):
        self.counter = counter
        self._probe = counter.count([QUESTION], None)

    def counted(self, units: list[Unit], limit: int) -> list[Unit]:
        """The units with what they rest on and what they cost in tokens, each counted on its own.

        Outputs are cut to OUTPUT_SHARE of `limit` a step, but for what edits need. A target that edits what stands
        nowhere before it is none any more."""
        longest, wanted = int(limit * OUTPUT_SHARE * _CHARACTERS_PER_TOKEN), defaultdict[int, set[str]](set)
        before: list[str] = []
        for index, unit in enumerate(units := list(units)):
            before = [""] * index if unit.resets else before  # as many texts as units
            places = rests_on(unit.messages[0], before) if unit.target else {}
            units[index] = replace(unit, target=unit.target and places is not None, rests_on=places or {})
            before.append("\n".join(map(shown, unit.messages)))
            for place, texts in (places or {}).items():
                wanted[place] |= texts
        return [self._counted(unit, longest, wanted[index]) for index, unit in enumerate(units)]

    def _counted(self, unit: Unit, longest: int, wanted: set[str]) -> Unit:
        texts = [one["content"] for one in unit.messages[1:]]
        if sum(map(len, texts)) > longest:
            share = longest // len(texts)
            share += sum(max(0, share - len(text)) for text in texts) // sum(len(text) > share for text in texts)
            texts = [(len(text) > share and around(text, wanted)) or clipped(text, share) for text in texts]
        results = ({**one, "content": text} for one, text in zip(unit.messages[1:], texts, strict=True))
        unit = replace(unit, messages=(unit.messages[0], *results))
        first, cost = self.cost(unit.messages[:1]), self.cost(unit.messages[1:])
        cleared = unit.cleared()
        less = self.cost(cleared[1:]) if cleared != unit.messages else cost
        return replace(unit, target_cost=first, cost=first + cost, cleared_cost=first + less)

    def windows(self, units: list[Unit], limit: int, system: str, lost: Counter[str]) -> list[Window]:
        """All windows of counted units, within `limit` tokens but for the system prompt; `lost`: targets in none."""
        starts = [0, *(index for index, unit in enumerate(units) if unit.resets and index), len(units)]
        head = {"role": "system", "content": system}
        segments = (_Segment(units, range(*ends), limit, head, self) for ends in pairwise(starts))
        return [window for segment in segments for window in segment.windows(lost)]

    def cost(self, messages: Iterable[dict[str, Any]]) -> int:
        """Tokens of messages that are counted one by one."""
        return sum(map(self._cost, messages))

    def _cost(self, message: dict[str, Any]) -> int:
        try:
            return self.counter.count([QUESTION, *numbered([message])], None) - self._probe
        except Problem:  # a template may refuse the piece, and still take the whole
            return len(str(message)) // _CHARACTERS_PER_TOKEN + 8


Chosen = dict[int, frozenset[str] | None]  # units of a window -> texts that stay when outputs are cleared; None: all


class _Segment:
    """Units between two compactions: what the model could see of each other."""

    def __init__(self, units: list[Unit], span: range, limit: int, head: dict, packer: Packer):
        self.units, self.start, self.limit = units, span.start, limit
        self.head, self.packer = head, packer
        self.targets = [index for index in span if units[index].target]
        self._partly = cache(lambda index, texts: packer.cost(units[index].cleared(texts)))
        said = ((name, index) for index in reversed(span) for one in units[index].messages for name in names(one))
        self._named = dict(said)  # the first unit that says a name

    def windows(self, lost: Counter[str]) -> list[Window]:
        found: list[Window] = []
        position = 0
        while position < len(self.targets):
            window = self._window_from(position)
            position += len(window.targets) if window else 1
            if window is None:
                lost["too long"] += 1
            elif known := self._without_unknown(window, lost):
                found.append(known)
        return found

    def _without_unknown(self, window: Window, lost: Counter[str]) -> Window | None:
        """The window with those targets as context that name what the session said before, and the window does not."""
        messages, seen, targets, end = [*window.messages], set[str](), dict[int, int](), 0
        known = iter(window.targets)
        for place, message in enumerate(messages):
            said = names(message)
            if message.get("weight"):
                index = next(known)
                prose = {"content": "" if message.get("tool_calls") else _CODE.sub("", message["content"])}
                earlier = sum(self._named.get(name, index) < index for name in said - seen)
                if earlier >= UNKNOWN or len(names(prose) - seen) >= INVENTED:
                    messages[place] = {**message, "weight": 0}
                    lost["names what its window leaves out"] += 1
                else:
                    targets[index] = end = place
            seen |= said
        return Window(messages[: end + 1], window.turn, tuple(targets)) if targets else None

    def _window_from(self, position: int) -> Window | None:
        """The window whose first target is the given one; None when it fits in no way."""
        everything: Chosen = dict.fromkeys(range(self.start, self.targets[-1] + 1) if position == 0 else ())
        fits = everything and self._cost(everything, self.targets[-1]) <= self.limit
        if fits and (window := self._window(everything, self.targets)):
            return window
        first = self.targets[position]
        turn = self._start_of_turn(first)
        request = self._asked(turn)
        before = range(first - 1, turn + self.units[turn].is_user - 1, -1)
        latest = self._that_fit(before, self.limit * CONTEXT_SHARE, None) or [*before[:1]]
        for whole in (latest, []):
            end = whole[0] if whole else first
            reserve = self._older(end, self.limit * CLEARED_SHARE) if whole else {}
            most = self._targets_that_fit(position, [*request, *whole], self.limit - self._cost(reserve))
            for count in range(most, 0, -1):
                targets = self.targets[position : position + count]
                chosen = self._chosen([*request, *whole], targets)
                for some in (self._older(end, self.limit - self._cost(chosen, targets[-1])) | chosen, chosen):
                    if window := self._window(some, targets):
                        return window
        return None

    def _asked(self, turn: int) -> list[int]:
        """The request that a turn starts with; before a reply also the answer that it replies to, with its request."""
        if not self.units[turn].is_user:
            return []
        replies = len(self.units[turn].messages[0]["content"].split()) < REPLY_WORDS and turn > self.start
        return [*self._asked(self._start_of_turn(turn - 1)), turn - 1, turn] if replies else [turn]

    def _chosen(self, whole: list[int], targets: list[int]) -> Chosen:
        """The units that a window of these targets has to hold, requests too; what each later one answers is whole."""
        chosen: Chosen = dict.fromkeys(range(targets[0], targets[-1]), _NONE)
        for target in targets:
            for index, texts in self.units[target].rests_on.items():
                chosen[index] = (chosen.get(index) or _NONE) | texts
                if self.units[turn := self._start_of_turn(index)].is_user:
                    chosen.setdefault(turn, _NONE)
        return chosen | dict.fromkeys([*whole, *targets, *(target - 1 for target in targets[1:])])

    def _targets_that_fit(self, position: int, whole: list[int], budget: float) -> int:
        """How many targets from a position fit, back to the end of a turn when a whole one does."""
        targets = self.targets[position:]
        for count, target in enumerate(targets):
            if self._cost(self._chosen(whole, targets[: count + 1]), target) > budget:
                return sum(self.units[earlier].turn != self.units[target].turn for earlier in targets[:count]) or count
        return len(targets)

    def _that_fit(self, latest_first: Iterable[int], budget: float, texts: frozenset[str] | None) -> list[int]:
        """The latest units that fit a budget, in order."""
        found: list[int] = []
        for index in latest_first:
            budget -= self._cost({index: texts})
            if budget < 0:
                break
            found.insert(0, index)
        return found

    def _older(self, end: int, budget: float) -> Chosen:
        """Units before `end` that fit a budget when they are cleared: the rest of its turn, then whole turns before."""
        turn = self._start_of_turn(end)
        earlier = (i for i in range(end - 1, self.start - 1, -1) if i != turn or not self.units[turn].is_user)
        found = self._that_fit(earlier, budget, _NONE)
        return dict.fromkeys(dropwhile(lambda index: index < turn and not self.units[index].is_user, found), _NONE)

    def _start_of_turn(self, index: int) -> int:
        while index > self.start and self.units[index - 1].turn == self.units[index].turn:
            index -= 1
        return index

    def _cost(self, chosen: Chosen, last: int = -1) -> int:
        """Tokens of units; of `last` only its first message counts."""
        total = 0
        for index, texts in chosen.items():
            unit = self.units[index]
            if index == last:
                total += unit.target_cost
            elif texts:
                total += self._partly(index, texts)
            else:
                total += unit.cost if texts is None else unit.cleared_cost
        return total

    def _window(self, chosen: Chosen, targets: list[int]) -> Window | None:
        """The window of these units when it is within the limit; the last target's results are left out."""
        messages: list[dict] = [self.head]
        for index, texts in sorted(chosen.items()):
            unit = self.units[index]
            pieces = unit.messages if texts is None else unit.cleared(texts)
            if index in targets:
                pieces = ({**pieces[0], "weight": 1}, *(() if index == targets[-1] else pieces[1:]))
            messages.extend(pieces)
        finished = numbered(messages)
        try:
            if self.packer.counter.count(finished[1:]) > self.limit:
                return None
        except Problem:  # the template refuses the conversation, which the trainer would have to refuse too
            return None
        return Window(finished, self.units[min(chosen)].turn, tuple(targets))


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
