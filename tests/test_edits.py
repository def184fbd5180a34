"""Changes as calls, and calls replayed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specialists.agent import ROOT
from specialists.code.edits import FileChange, NotExact, conversation, line_hunks, plan_edits, replay
from specialists.records import tool_call

FUNCTIONS = "".join(f"def f{n}():\n    x = {n}\n    y = x + 1\n    return y\n\n\n" for n in range(60))


def change(before: str | None, after: str, **options) -> FileChange:
    return FileChange("a.py", before, after, line_hunks(before or "", after), **options)


def replayed(made: FileChange) -> str:
    messages = conversation("system", "request", [made])
    return replay(messages, {} if made.before is None else {made.path: made.before})[made.path]


LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "    return x\n", "}\n", "def f(x):\n", "é ß\n"]), max_size=25)
ENDS = st.sampled_from(["", "last line without an end"])


@given(LINES, LINES, ENDS, ENDS, st.data())
def test_calls_give_the_file(old: list[str], new: list[str], old_end: str, new_end: str, data: st.DataObject) -> None:
    if data.draw(st.booleans()):  # mostly the same, as in life
        cut = data.draw(st.integers(0, len(old)))
        new = old[:cut] + new[:2] + old[cut + 1 :]
    before, after = "".join(old) + old_end, "".join(new) + new_end
    assert replayed(FileChange("new.py", None, after)) == after
    if before != after:
        try:
            assert replayed(change(before, after)) == after
        except NotExact:
            assert not before.strip()  # an edit needs something to hold on to


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    x = 7\n    y", "    x = 8\n    y", ("def f7():\n    x = 7", "def f7():\n    x = 8")),  # too little
        (
            "    y = x + 1\n    return y\n\n\ndef f8",
            "    return x\n\n\ndef f8",  # stands 60 times: grows until unique
            ("    x = 7\n    y = x + 1\n    return y", "    x = 7\n    return x"),
        ),
        ("def f8():\n", "def other_name():\n", ("def f8():", "def other_name():")),  # unique as it stands
        ("def f8():\n", "def f8():\n    print(8)\n", ("def f8():", "def f8():\n    print(8)")),  # insertion
        ("def f8():\n    x = 8\n    y = x + 1\n    return y\n\n\n", "", None),  # deletion
    ],
)
def test_old_string_is_short_and_unique(old: str, new: str, expected: tuple[str, str] | None) -> None:
    assert FUNCTIONS.count(old) == 1
    (planned,) = plan_edits(change(FUNCTIONS, FUNCTIONS.replace(old, new)))
    assert FUNCTIONS.count(planned[0]) == 1 and planned[1] != "" and expected in (None, planned)


def test_near_hunks_become_one_edit_and_far_ones_two() -> None:
    near = FUNCTIONS.replace("def f1(", "def one(").replace("x = 1\n", "x = 100\n")
    far = near.replace("x = 50\n", "x = 500\n")
    assert [len(plan_edits(change(FUNCTIONS, after))) for after in (near, far)] == [1, 2]


def test_files_are_read_whole_and_only_edits_are_learned() -> None:
    made = change("one = 1\n", "one = 2\n")
    messages = conversation("s", "r", [made])
    assert " ".join(one["role"] for one in messages) == "system user assistant tool assistant tool assistant"
    assert messages[2]["tool_calls"][0]["function"]["arguments"] == f'{{"filePath":"{ROOT}/a.py"}}'
    assert messages[3]["content"].endswith("(End of file - total 1 lines)\n</content>")
    assert messages[-1] == {"role": "assistant", "content": "Done.", "weight": 0}
    assert [message["weight"] for message in messages if message["role"] == "assistant"] == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("edit", {"filePath": "gone.py", "oldString": "one", "newString": "two"}),
        ("edit", {"filePath": "a.py", "oldString": "three", "newString": "two"}),
        ("edit", {"filePath": "a.py", "oldString": "one", "newString": "two"}),  # twice
        ("edit", {"filePath": "a.py", "oldString": "", "newString": "two"}),
        ("edit", {"filePath": "a.py", "oldString": "one\n", "newString": "one\n"}),
    ],
)
def test_replay_refuses_what_opencode_refuses(name: str, arguments: dict) -> None:
    with pytest.raises(NotExact):
        replay([{"role": "assistant", "tool_calls": [tool_call(0, name, arguments)]}], {"a.py": "one\none\n"})


def test_hunks_that_are_not_the_difference_are_found_out() -> None:
    made = FileChange("a.py", "one = 1\ntwo = 2\n", "one = 1\ntwo = 3\n", ((0, 1, 0, 1),))
    with pytest.raises(NotExact):
        conversation("s", "r", [made])
