"""The chat as the model saw it, and what of it is the model's own good work."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from opencode_model import replay, replay_v2
from opencode_rows import History, bash, edit, text, tool
from specialists.agent import ROOT, in_project
from specialists.sessions.chat import Turn, live_after_compaction, live_messages, spoken, turns, unquoted
from specialists.sessions.database import Session, read_sessions

AGENTS = ("build", "p*")
SAMPLES = Path(__file__).parent / "samples"


def only_session(history: History) -> Session:
    (session,) = read_sessions(history.path, [])
    return session


def turns_of(history: History) -> tuple[list[Turn], Counter[str]]:
    lost: Counter[str] = Counter()
    return turns(only_session(history), AGENTS, lost), lost


def reasons_of(history: History) -> list[str | None]:
    return [step.reason for turn in turns_of(history)[0] for step in turn.steps]


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "a.db")
    history.session()
    return history


NOT_STORED = {"0100", "0101", "0102", "0103", "0118"}  # reminders of plan and build mode, the prompt of a compaction


def comparable(messages: list[dict[str, Any]]) -> str:
    plain = []
    for message in messages:
        calls = [(call["id"], call["function"]) for call in message.get("tool_calls", ())]
        calls = [(id_, call["name"], json.loads(call["arguments"])) for id_, call in calls]
        plain.append({**message, "content": message["content"] or "", "tool_calls": calls})
    return json.dumps(plain, sort_keys=True)


def missed(samples: Path, database: str, builder: Callable) -> dict[str, list[dict[str, Any]]]:
    """Of the requests that the server saw those that cannot be rebuilt from the rows before them, by number."""
    rebuilt = set()
    for session in read_sessions(samples / database, []):
        for messages in (session.messages, live_messages(session)[0]):
            models = {message.data.get("modelID") for message in messages}
            for index, model in product(range(len(messages) + 1), models):
                rebuilt.add(comparable(builder(messages[:index], model)))
            words = (message.parts[0]["text"] for message in messages if message.data.get("text"))
            rebuilt |= {comparable([{"role": "user", "content": text}]) for text in words}  # for a title, in 2.x
    captures = sorted((samples / "captures-dev").iterdir())
    sent = {path.name[:4]: json.loads(path.read_text(encoding="utf-8"))["body"]["messages"] for path in captures}
    return {name: found for name, found in sent.items() if comparable(found[1:] or found) not in rebuilt}


def test_replay_equals_the_requests_that_the_server_saw(shared_samples: Path) -> None:
    """All requests but titles, and those of which opencode does not store everything."""
    titles = {path.name[:4] for path in (shared_samples / "captures-dev").glob("*-title*")}
    count = len(list((shared_samples / "captures-dev").iterdir())) - len(titles)
    assert set(missed(shared_samples, "dev-1.18.33.db", replay)) - titles == NOT_STORED
    assert count - len(NOT_STORED) == 99


def test_replay_equals_the_requests_of_2_x(shared_samples: Path) -> None:
    """All 235 but those for a summary, and two of rows that a committed revert deleted."""
    found = missed(shared_samples / "2.x", "dev-2.x.db", replay_v2)
    assert set(found) == {"0133", "0145", "0151", "0164", "0165"}


COMPACTIONS = {  # what a request holds after: r a read before, k a tail that was kept, C the request, s the summary
    "finished": ({}, {"finish": "stop"}, "Csx"),
    "failed": ({}, {"finish": "stop", "error": {"name": "APIError"}}, "rkCsx"),
    "aborted": ({}, {"error": {"name": "MessageAbortedError"}}, "rkCsx"),
    "never ended": ({}, {}, "rkCsx"),
    "with a tail": ({"tail_start_id": "k"}, {"finish": "stop"}, "Cskx"),
    "failed with a tail, which 1.18.33 takes as done": ({"tail_start_id": "k"}, {}, "Cskx"),
}


@pytest.mark.parametrize(("part", "data", "live"), COMPACTIONS.values(), ids=list(COMPACTIONS))
def test_rows_hold_what_a_compaction_left(history: History, part: dict, data: dict, live: str) -> None:
    """The request after it and the row that is made of it: one function decides for both."""
    build = {"role": "assistant", "agent": "build", "finish": "stop"}
    for name in "rk":
        history.message("ses_1", build, [text(name)], id=name)
    history.message("ses_1", {"role": "user"}, [{"type": "compaction", **part}], id="C")
    summary = {"role": "assistant", "parentID": "C", "summary": True, **data}
    history.message("ses_1", summary, [text("s")], id="s")
    history.user("ses_1", "x", id="x")
    session = only_session(history)
    assert "".join(message.id for message in live_after_compaction(session.messages)) == live
    *_before, turn, _x = turns(session, AGENTS, Counter())
    assert turn.kept == (None if live[0] == "r" else tuple(live[1:-1]))


def test_replay_of_results_that_were_never_finished(history: History) -> None:
    interrupted, cleared = "[Tool execution was interrupted]", "[Old tool result content cleared]"
    calls = {
        interrupted: tool("bash", {}, status="running"),
        cleared: tool("bash", {}, "long gone", time={"compacted": 1}),
        "part": tool("bash", {}, status="error", error="x", metadata={"interrupted": True, "output": "part"}),
        "boom": tool("bash", {}, status="error", error="boom"),
    }
    history.assistant("ses_1", history.user("ses_1"), *calls.values())
    results = [message["content"] for message in replay(only_session(history).messages) if message["role"] == "tool"]
    assert results == list(calls)


def test_paths_quotes_and_vocabulary_are_the_present_ones(history: History) -> None:
    user = history.user("ses_1", '"Look at /home/kim/src/demo/a.rs, \\"kim\\""')
    call = tool("shell", {"command": "ls /home/kim/.cargo", "description": "Lists"}, "kim kim /home/kim/src/demo")
    history.assistant("ses_1", user, text("In /home/kim/src/demo/a.rs."), call, path={"root": "/home/kim/src/demo"})
    ((turn,), _) = turns_of(history)
    assert turn.request == f'Look at {ROOT}/a.rs, "user"'
    (step,) = turn.steps
    assert step.text == f"In {ROOT}/a.rs." and step.reason is None
    assert (step.calls[0].name, step.calls[0].arguments) == ("bash", {"command": "ls /home/user/.cargo"})
    assert step.calls[0].output == f"user user {ROOT}"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("<think>\nhm, `x`\n</think>\n\nDone.", "Done."),
        ("Well. <think>hm</think>Done.", "Well. Done."),
        ("hm, so it is.\n</think>\n\nDone.", "Done."),
        ("<think>it never ends", ""),
        ("The tag `<think>` and `</think>`:\n```\n<think>x</think>\n```\nstay.", None),
    ],
)
def test_reasoning_in_the_text_is_left_out(stored: str, expected: str | None) -> None:
    assert spoken(stored) == (stored if expected is None else expected)


def test_each_step_is_in_the_folder_where_it_was_made(history: History) -> None:
    folders = ["/home/kim/src/demo", "/home/kim/work/demo2", r"C:\Users\Kim Doe\demo"]
    for folder in folders:
        path = {"cwd": folder, "root": folder}
        parts = text(f"From {folder} to {folders[1]}"), edit(f"{folder}/a.py")
        history.assistant("ses_1", history.user("ses_1", f"In {folder}/a.py"), *parts, path=path)
    found, _ = turns_of(history)
    assert {step.calls[0].path for turn in found for step in turn.steps} == {"a.py"}
    assert "kim" not in repr(found).lower() and "work" not in repr(found)


QUOTED = {'"Fix the tests"': "Fix the tests", '"say \\"hi\\" now"': 'say "hi" now'}
AS_THEY_ARE = ['"word"', '"a b" and "c d"', "plain words", '"']


@pytest.mark.parametrize(("stored", "expected"), [*QUOTED.items(), *((text, text) for text in AS_THEY_ARE)])
def test_quotes_of_opencode_run(stored: str, expected: str) -> None:
    assert unquoted(stored) == expected


BAD_ARGUMENTS = "read was called with invalid arguments"
PATCH = "*** Update File: a\n@@\n-x\n+y"
CALLS_AS_TEXT = [
    "I search.\n\n<function=grep>\n<parameter=pattern>\nx\n</parameter>\n</function>\n</tool_call>",
    'Now: <tool_call>{"name": "write", "arguments": {}}</tool_call>',
    '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="read">',
    '<function_calls>\n<invoke name="bash">',
    'assistant to=functions.read code{"path": "a"}',
    '{"name": "read", "arguments": {"filePath": "a.py"}}',
    "Done.<tool_call>",
]
ABOUT_CALLS = [
    "It parses `<tool_call>` and `to=functions.x {`:\n```xml\n<tool_call>\n<function=read>\n```",
    "The words <tool_call> and <function=…> are the model's, to=functions.x is another's.",
    'The answer is {"name": "x"}, as DSML has it.',
]
REASONS: list[tuple[str, list[Any], dict[str, Any], str | None]] = [
    ("good", [text("hm"), edit("a.rs")], {}, None),
    ("old row without agent and finish time", [text("hm")], {"agent": None, "time": None}, None),
    ("another agent", [text("hm")], {"agent": "docs"}, "other agent"),
    ("a plan, whatever agents are asked for", [text("plan")], {"agent": "plan"}, "other agent"),
    ("summary", [text("sum")], {"summary": True}, "summary"),
    ("aborted with work done", [text("half")], {"error": {"name": "MessageAbortedError"}}, "aborted"),
    ("aborted command", [bash("x", "…\n<shell_metadata>\nUser aborted the command")], {}, "aborted"),
    ("killed", [tool("bash", {}, status="running")], {"finish": None, "time": {"created": 1}}, "interrupted"),
    ("killed in text", [text("I wi")], {"finish": None, "time": {"created": 1}}, "interrupted"),
    ("out of tokens", [text("I wi")], {"finish": "length"}, "cut off"),
    ("failed edit", [edit("a.rs", status="error", error="Could not find oldString")], {}, "failed"),
    ("one of two calls failed", [edit("a.rs"), edit("b.rs", status="error", error="no")], {}, "failed"),
    ("unknown command", [bash("crago test", "not found", exit=127)], {}, "failed"),
    ("tests that fail are no failure", [bash("cargo test", "FAILED", exit=101)], {}, None),
    ("unknown tool", [tool("invalid", {"tool": "search", "error": "…"})], {}, "invalid call"),
    ("bad arguments", [tool("read", {}, status="error", error=BAD_ARGUMENTS)], {}, "invalid call"),
    ("retired tool", [tool("list", {"path": "."})], {}, "tool of another version"),
    ("a patch of unknown text", [tool("apply_patch", {"patchText": PATCH})], {}, "no exact edit for apply_patch"),
    *(("a call as text", [text(words)], {}, "invalid call") for words in CALLS_AS_TEXT),
    *(("about calls", [text(words)], {}, None) for words in ABOUT_CALLS),
    ("a plugin's tool", [tool("db_query", {"sql": "select 1"})], {}, None),
]


@pytest.mark.parametrize(("parts", "data", "reason"), [case[1:] for case in REASONS], ids=[case[0] for case in REASONS])
def test_weights(history: History, parts: list[Any], data: dict[str, Any], reason: str | None) -> None:
    history.assistant("ses_1", history.user("ses_1"), *parts, **data)
    assert reasons_of(history) == [reason]


@pytest.mark.parametrize(
    ("parts", "data", "lost"),
    [
        ([], {"error": {"name": "APIError"}}, {"provider error": 1}),
        ([text("half")], {"error": {"name": "APIError"}}, {"provider error": 1}),
        ([{"type": "reasoning", "text": "hm"}], {"error": {"name": "MessageAbortedError"}}, {"aborted": 1}),
        ([text(" ")], {}, {"empty": 1}),
    ],
)
def test_steps_that_the_model_did_not_see_again(history: History, parts: list, data: dict, lost: dict) -> None:
    history.assistant("ses_1", history.user("ses_1"), *parts, **data)
    ((turn,), counted) = turns_of(history)
    assert turn.steps == [] and counted == lost


def test_what_the_user_ran_himself_is_not_the_models(history: History) -> None:
    synthetic = {"type": "text", "text": "The following tool was executed by the user", "synthetic": True}
    history.assistant("ses_1", "msg_gone", text("So it is."))
    user = history.message("ses_1", {"role": "user"}, [synthetic])
    history.assistant("ses_1", user, bash("git log"))
    task = history.message("ses_1", {"role": "user"}, [{"type": "subtask", "prompt": "p", "agent": "x"}])
    history.assistant("ses_1", task, tool("task", {"description": "d", "prompt": "p", "subagent_type": "x"}))
    user = history.user("ses_1", "Explain")
    history.assistant("ses_1", user, text("It is so."))
    assert reasons_of(history) == ["no request", "made by the user", "made by the user", None]


def test_reverted_rows_are_cut_and_counted(history: History) -> None:
    history.assistant("ses_1", history.user("ses_1", "keep"), text("kept"))
    undone = history.user("ses_1", "undo me")
    history.assistant("ses_1", undone, text("gone"))
    history.connection.execute("UPDATE session SET revert = ?", [json.dumps({"messageID": undone})])
    found, lost = turns_of(history)
    assert [turn.request for turn in found] == ["keep"] and lost["reverted"] == 1


def test_edits_that_were_thrown_away(history: History) -> None:
    user = history.user("ses_1")
    for part in (edit("/home/kim/src/demo/src/a.rs"), bash("git checkout src/a.rs"), edit("src/a.rs")):
        history.assistant("ses_1", user, part)
    assert reasons_of(history) == ["undone later", None, None]


def test_attachments_and_images(history: History) -> None:
    read = {"type": "text", "text": "Called the Read tool with the following input: {}", "synthetic": True}
    note = {"type": "file", "mime": "text/plain", "filename": "n.txt", "url": "file:///n.txt"}
    image = {"type": "file", "mime": "image/png", "filename": "p.png", "url": "data:…"}
    ignored = {"type": "text", "text": "never sent", "ignored": True}
    history.message("ses_1", {"role": "user"}, [read, note, image, ignored, text('"Describe it please"')])
    ((turn,), _) = turns_of(history)
    assert turn.request.split("\n") == [read["text"], "[Attached image/png: p.png]", "Describe it please"]


@pytest.mark.parametrize("name", ["opencode-1.1.65", "opencode-1.2.1.db", "opencode-1.14.34.db"])
def test_older_versions_come_out_alike(name: str) -> None:
    (session,) = read_sessions(SAMPLES / name, [])
    (turn,) = turns(session, AGENTS, Counter())
    assert [step.reason for step in turn.steps] == [None, "failed", None]
    assert turn.steps[0].calls[0].arguments == {"command": "echo hi"}
    assert turn.steps[1].calls[0].output.startswith("Could not find oldString")
    assert "/home" not in in_project(repr(turn))
