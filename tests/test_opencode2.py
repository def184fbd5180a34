"""Rows in the words of one opencode, whichever wrote the history."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from opencode_rows import V1, V2, History
from specialists.agent import EDIT_DONE, ROOT, TOOLS, TOOLS_2, WRITE_DONE, read_result
from specialists.code.edits import FileChange, conversation, line_hunks, replay
from specialists.config import load_config
from specialists.records import read_records, write_json
from specialists.sessions.extraction import Extractor, read_histories
from specialists.tools import Call, answer, in_words_of, known_tools

DIRECTORY = "<path>.</path>\n<type>directory</type>\n<entries>\na/\nb\n\n(2 entries)\n</entries>"
TASK = '<task id="ses_1" state="completed">\n<task_result>\nDone.\n</task_result>\n</task>'
NOT_FOUND = "Could not find oldString in the file. It must match exactly, including whitespace, indentation, and line "
NOT_FOUND_2 = "Could not find oldString in a.py. It must match exactly, including whitespace and indentation."
MORE = "\n[Output truncated. Continue reading with offset: 3]"
SHOWN = "(Showing lines 2-2. Use offset=3 to continue.)"
PART = f"<path>a.py</path>\n<type>file</type>\n<content>\n2: y\n\n{SHOWN}\n</content>"
ANSWERS = [  # name, 1.18's, 2's
    ("read", read_result("a.py", "x\n\ny\n"), "Read file a.py, lines 1-3\n1: x\n2: \n3: y"),
    ("read", PART, f"Read file a.py, lines 2-2\n2: y{MORE}"),
    ("read", DIRECTORY, "Read directory ., entries 1-2\na/\nb"),
    ("edit", EDIT_DONE, "Edited a.py (1 replacement)"),
    ("edit", f"{NOT_FOUND}endings.", NOT_FOUND_2),
    ("write", WRITE_DONE, "Created file successfully: a.py"),
    ("bash", "out\n", "out\n\nCommand exited with code 3."),
    ("task", TASK, "Done."),
    ("glob", "a.py\nb.py", "a.py\nb.py"),
]


@pytest.mark.parametrize(("name", "one", "two"), ANSWERS)
def test_answers_both_ways(name: str, one: str, two: str) -> None:
    known: dict[str, Any] = {"path": "a.py", "number": 1, "exit": 3, "id": "ses_1"}
    assert answer(one, name, to_2=True, **known) == two and answer(two, name, to_2=False, **known) == one


REFUSAL = '{"error":{"type":"tool.execution","message":"no"},"content":[]}'
X = {"command": "x"}
LIMITED = {"pattern": "x", "path": "b", "limit": 3}
CALLS: list[tuple[Call, tuple | None, tuple | None]] = [  # in 1.18's words, in 2's: name, arguments, answer
    (Call("edit", {"filePath": "a"}, "no", True), ("edit", {"filePath": "a"}, "no"), ("edit", {"path": "a"}, REFUSAL)),
    (Call("grep", LIMITED, "y"), ("grep", {"pattern": "x", "path": "b"}, "y"), ("grep", LIMITED, "y")),
    (Call("skill", {"name": "s"}, "t"), ("skill", {"name": "s"}, "t"), ("skill", {"id": "s"}, "t")),
    (Call("bash", X, "no", True, 127), ("bash", X, "no"), ("shell", X, "no\nCommand exited with code 127.")),
    (Call("bash", X | {"background": True}, "", sent=""), None, ("shell", X | {"background": True}, "")),
    (Call("todowrite", {"todos": []}, "[]"), ("todowrite", {"todos": []}, "[]"), None),
    (Call("task", {"task_id": "t"}, ""), ("task", {"task_id": "t"}, ""), None),
    (Call("execute", {"code": "x"}, "", sent=""), None, ("execute", {"code": "x"}, "")),
    (Call("bash", {}, "Unknown tool: bash", True, sent="{}"), None, ("bash", {}, "{}")),
    (Call("db_query", {"path": "a"}, "b"), ("db_query", {"path": "a"}, "b"), ("db_query", {"path": "a"}, "b")),
]


@pytest.mark.parametrize(("call", "one", "two"), CALLS)
def test_calls_in_the_words_of_each(call: Call, one: tuple | None, two: tuple | None) -> None:
    for tools, expected in ((TOOLS, one), (TOOLS_2, two)):
        made = in_words_of(tools, call)
        assert (made and (made.name, made.arguments, made.output)) == expected


SAMPLES = ["dev-1.18.33.db", "old-1.14.34.db", "old-1.2.1.db", "json-storage-1.1.65", "2.x/dev-2.x.db"]


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("tools", [TOOLS, TOOLS_2], ids=["as 1.18", "as 2"])
def test_every_call_that_is_taught_fits_the_tools_of_its_row(
    shared_samples: Path, config_file: Path, sample: str, tools: list[dict[str, Any]]
) -> None:
    config = load_config(config_file)
    write_json(config.tools_file, {"tools": tools})
    strict = json.loads((shared_samples / "2.x" / "tools-2.x.json").read_text())["build"]
    sent = {tool["function"]["name"]: tool["function"]["parameters"] for tool in strict if tools is TOOLS_2}
    extractor = Extractor(config, list(config.languages), config_file.parent)
    for session in read_histories([shared_samples / sample], extractor.problems):
        extractor.add(session)
    extractor.finish()
    taught = 0
    for row in (row for name in config.languages for row in read_records(config_file.parent / f"{name}.jsonl")):
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}
        for message in row["messages"]:
            for call in message.get("tool_calls", ()) if message.get("weight") else ():
                name, given = call["function"]["name"], json.loads(call["function"]["arguments"])
                for schema in (schemas[name] | {"additionalProperties": False}, sent.get(name, {})):
                    Draft202012Validator(schema).validate(given)
                taught += 1
    assert taught and extractor.problems == []


def test_commits_and_synthetic_rows_are_in_the_same_words() -> None:
    change = FileChange("a.py", "x = 1\n", "x = 2\n", line_hunks("x = 1\n", "x = 2\n"))
    messages = conversation("s", "r", [change], TOOLS_2)
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    assert [json.loads(call["arguments"])["path"] for call in calls] == [f"{ROOT}/a.py"] * 2
    answers = [message["content"] for message in messages if message["role"] == "tool"]
    assert answers == [f"Read file {ROOT}/a.py, lines 1-1\n1: x = 1", "Edited a.py (1 replacement)"]
    assert replay(messages, {"a.py": "x = 1\n"}) == {"a.py": "x = 2\n"}


def test_the_installed_opencode_decides_then_the_newest_in_the_history(config_file: Path) -> None:
    config = load_config(config_file)
    history = History(config.databases()[0], V1 + V2 + V1.split(";")[0].replace("session ", "session_v2 ") + ";")
    history.session()
    assert known_tools(config) == TOOLS, "2.x was never used"
    history.session(table="session_v2")
    assert known_tools(config) == TOOLS_2
    write_json(config.tools_file, {"tools": TOOLS})
    assert known_tools(config) == TOOLS
