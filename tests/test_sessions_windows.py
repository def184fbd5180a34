"""Windows: every target once, order kept, never over the limit, results right behind their calls."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specialists.agent import CLEARED, read_result
from specialists.chat import Estimate
from specialists.config import Problem
from specialists.sessions.windows import Packer, Unit, Window, clipped, step_unit
from specialists.tools import Call


@dataclass
class Words:
    """A token a word, four for the frame of a message or call: exact, and easy to reckon with."""

    preamble: int = 0  # more for a whole conversation than for its pieces

    def count(self, messages: list[dict], tools: list[dict] | None = None) -> int:
        calls = [call["function"]["arguments"] for message in messages for call in message.get("tool_calls") or ()]
        texts = [*(message["content"] for message in messages), *calls]
        return len(tools or ()) + self.preamble * (len(messages) > 3) + sum(4 + len(text.split()) for text in texts)


def pack(units: list[Unit], limit: int, counter: Words | Estimate | None = None) -> tuple[list[Window], Counter[str]]:
    packer, lost = Packer(counter or Words()), Counter()
    return packer.windows(packer.counted(units, limit), limit, "You are a test.", lost), lost


def step(turn: int, target: bool = True, words: int = 1, output: int | None = None, name: str = "") -> Unit:
    calls = [] if output is None else [Call("bash", {"command": "x"}, "out " * part) for part in (output, 1)]
    return replace(step_unit(f"{name} " * bool(name) + "word " * words, calls, turn), target=target)


def user_unit(text: str, turn: int, resets: bool = False) -> Unit:
    return Unit(({"role": "user", "content": text},), turn, resets=resets)


sizes = st.integers(0, 60)
steps = st.tuples(st.booleans(), st.integers(1, 60), st.none() | sizes)
turn_lists = st.lists(st.tuples(sizes, st.booleans(), st.lists(steps, max_size=6)), min_size=1, max_size=6)


def units_of(drawn: list) -> list[Unit]:
    units = []
    for number, (words, resets, turn_steps) in enumerate(drawn):
        units.append(user_unit(f"ask{number} " + "word " * words, number, resets))
        for index, (target, length, output) in enumerate(turn_steps):
            units.append(step(number, target, length, output, f"t{number}s{index}"))
    return units


@settings(max_examples=300, deadline=None)
@given(turn_lists, st.integers(20, 400), st.sampled_from([Words(), Words(preamble=7)]))
def test_invariants(drawn: list, limit: int, counter: Words) -> None:
    units = units_of(drawn)
    windows, lost = pack(units, limit, counter)
    supervised: Counter[str] = Counter()
    for window in windows:
        messages = window.messages
        assert counter.count(messages[1:]) <= limit, "without the head"
        assert [message["role"] for message in messages[:2]] == ["system", "user"]
        assert messages[-1]["role"] == "assistant" and messages[-1]["weight"] == 1
        ids = [call["id"] for message in messages for call in message.get("tool_calls", ())]
        assert ids == [f"call_{number}" for number in range(len(ids))]
        waiting: list[str] = []
        for message in messages[1:]:
            if message["role"] == "tool":
                assert message["tool_call_id"] == waiting.pop(0)
            else:
                assert not waiting
                waiting = [call["id"] for call in message.get("tool_calls", ())]
        marks = [message["content"].split()[0] for message in messages[1:] if message["role"] != "tool"]
        order = {unit.messages[0]["content"].split()[0]: index for index, unit in enumerate(units)}
        assert all(order[a] < order[b] for a, b in pairwise(marks)), "order kept, nothing twice"
        starts = [order[mark] for mark in marks]
        assert not any(units[index].resets for index in range(starts[0] + 1, starts[-1] + 1)), "nothing from before"
        supervised.update(message["content"].split()[0] for message in messages if message.get("weight") == 1)
    targets = [unit.messages[0]["content"].split()[0] for unit in units if unit.target]
    assert all(supervised[target] <= 1 for target in targets) and set(supervised) <= set(targets)
    assert len(targets) - len(supervised) == lost["too long"]


@pytest.mark.parametrize("seed", range(6))
def test_no_target_of_a_long_session_edits_what_its_window_does_not_show(seed: int) -> None:
    random = Random(seed)
    files = {f"{name}.rs": [f"{name} {n} {'x' * random.randint(0, 60)}" for n in range(900)] for name in "abcd"}
    units, seen = [], set[str]()
    for turn in range(8):
        units.append(user_unit("Go on. " * random.randint(1, 300), turn))
        for number in range(random.randint(3, 20)):
            path = random.choice([*files])
            lines, at = files[path], random.randrange(len(files[path]) - 5)
            whole = "".join(f"{line}\n" for line in lines)
            if path not in seen or random.random() < 0.2:
                seen.add(path)
                call = Call("read", {"filePath": path}, read_result(path, whole))
            elif random.random() < 0.3:
                call = Call("bash", {"command": "ls"}, "ok\n" * random.randint(1, 5000))
            else:
                old, new = lines[at : at + 5], [f"{turn}.{number} new", lines[at + 1]]
                lines[at : at + 5] = new
                call = Call("edit", {"filePath": path, "oldString": "\n".join(old), "newString": "\n".join(new)}, "ok")
            units.append(replace(step_unit("", [call], turn), target=True))
    units.append(replace(step_unit("", [Call("edit", {"oldString": "never seen"}, "")], 7), target=True))
    windows, lost = pack(units, 8192, Estimate())
    edits = 0
    for window in windows:
        before = ""
        for message in window.messages:
            for call in message.get("tool_calls", ()):
                arguments = json.loads(call["function"]["arguments"])
                if message["weight"] and "oldString" in arguments:
                    edits += 1
                    assert all(line in before for line in arguments["oldString"].split("\n"))
                before += str(arguments.get("newString"))
            before += message["content"]
    assert not lost and edits == sum("oldString" in repr(unit) for unit in units) - 1


@settings(max_examples=100, deadline=None)
@given(turn_lists)
def test_what_fits_is_one_window_with_nothing_cleared(drawn: list) -> None:
    units = units_of([(words, False, turn_steps) for words, _resets, turn_steps in drawn])
    windows, lost = pack(units, 100_000)
    assert len(windows) == any(unit.target for unit in units) and not lost
    assert CLEARED not in repr(windows)


def test_windows_are_cut_between_turns() -> None:
    units = []
    for turn in range(4):
        units += [user_unit(f"ask{turn} " + "w " * 20, turn), step(turn, words=30), step(turn, words=30)]
    windows, _ = pack(units, 230)
    assert [[units[target].turn for target in window.targets] for window in windows] == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_a_long_turn_keeps_its_request_and_clears_old_outputs() -> None:
    units = [user_unit("ask", 0), *(step(0, output=40) for _ in range(12))]
    windows, lost = pack(units, 300)
    assert not lost and sum(len(window.targets) for window in windows) == 12
    second = windows[1].messages
    assert second[1]["content"] == "ask"
    outputs = [message["content"] for message in second if message["role"] == "tool"]
    assert CLEARED in outputs and outputs.index(CLEARED) == 0, "the oldest outputs are cleared"
    first_target = next(index for index, message in enumerate(second) if message.get("weight") == 1)
    assert second[first_target - 1]["content"].startswith("out"), "the latest are whole"


def test_what_a_target_answers_is_whole_before_it() -> None:
    units = [user_unit("ask", 0), step(0, output=90), step(0, False, output=90), step(0), step(0, output=200), step(0)]
    windows, lost = pack(units, 400)
    assert not lost and sum(len(window.targets) for window in windows) == 4
    for window in windows:
        for before, message in zip(window.messages, window.messages[2:], strict=False):  # the longer of two outputs
            assert not message.get("weight") or before["content"] != CLEARED
    cut = Packer(Words()).counted([step(0, output=900)], 100)[0].messages  # a step's outputs share their room
    assert len(cut[1]["content"]) < 200 and cut[2]["content"] == "out "


def test_a_file_that_is_written_stands_behind_what_it_is_copied_from_and_its_read() -> None:
    code = "".join(f"line {number}\n" for number in range(40))
    units = [user_unit("ask", 0), step_unit("", [Call("read", {"filePath": "a"}, read_result("a", code))], 0)]
    units += [step(0, words=9, output=150, name=str(number)) for number in range(9)]
    for path, content, stands in (
        ("b", f"one more\n{code}", True),
        ("b", code.replace("line", "row"), False),
        ("a", code.replace("line", "row"), True),
    ):
        call = Call("write", {"filePath": path, "content": content}, "ok")
        windows, lost = pack([*units, replace(step_unit("", [call], 0), target=True)], 500)
        assert not lost and stands == ("39: line 38" in str(windows[-1].messages))


def test_what_names_two_things_that_its_window_leaves_out_is_context() -> None:
    units = [user_unit("ask", 0), step(0, words=30, name="It is run_4711 of backup.sql")]
    units += [step(0, False, words=30) for _ in range(9)]
    for name, learned in (("run_4711 failed", 1), ("run_4711 filled backup.sql", 0), ("run_1 filled other.sql", 1)):
        windows, lost = pack([*units, step(0, name=name)], 150)
        assert (len(windows), lost) == (1 + learned, {} if learned else {"names what its window leaves out": 1})
    four = "runs 4711, 4712 in backup.sql and other.sql"
    for text, calls, learned in (
        (four, [], 0),
        (four, [Call("bash", {}, "")], 1),
        (f"```\n{four}", [], 1),
        ("이제 이것을 모두 실행합니다", [], 1),
    ):
        windows, lost = pack([user_unit("ask", 0), replace(step_unit(text, calls, 0), target=True)], 150)
        assert len(windows) == learned == 1 - lost["names what its window leaves out"]


def test_what_was_before_the_first_request_is_in_no_later_window() -> None:
    asked = "Rename the flag everywhere"
    units = [step(0, output=9), user_unit(asked, 1), *(step(1, words=50) for _ in range(3))]
    windows, _ = pack(units, 150)
    assert [window.messages[1]["content"] == asked for window in windows] == [False, True, True]


def test_a_reply_stands_behind_what_it_answers() -> None:
    start, plan, more = user_unit("Plan the new cache for me", 0), step(0, words=40, name="plan"), step(0, words=60)
    units = [start, more, plan, user_unit("yes", 1), *(step(1, words=30, name="did") for _ in range(9))]
    windows, lost = pack(units, 150)
    assert not lost and len(windows) > 2
    for window in windows[2:]:
        assert [message["content"].split()[0] for message in window.messages[1:5]] == ["Plan", "plan", "yes", "did"]


def test_a_template_that_refuses_a_piece_or_the_whole() -> None:
    class Refusing(Words):
        def count(self, messages: list[dict], tools: list[dict] | None = None) -> int:
            if any(message["role"] == "tool" for message in messages[:2]):
                raise Problem("a result without a call")
            if any("refused" in message["content"] for message in messages):
                raise Problem("no")
            return super().count(messages, tools)

    units = [user_unit("ask", 0), step(0, output=5), step(0)]
    assert len(pack(units, 1000, Refusing())[0]) == 1
    windows, lost = pack([user_unit("refused", 0), step(0)], 1000, Refusing())
    assert windows == [] and lost == {"too long": 1}


@pytest.mark.parametrize(
    ("text", "characters", "expected"),
    [
        ("short", 100, "short"),
        ("\n".join(f"row {n}" for n in range(99)), 30, "row 0\nrow 1\n\n...95 lines truncated...\n\nrow 97\nrow 98"),
        ("x" * 100, 10, "xxxxx\n\n...90 bytes truncated...\n\nxxxxx"),
    ],
)
def test_long_outputs_lose_their_middle(text: str, characters: int, expected: str) -> None:
    assert clipped(text, characters) == expected
