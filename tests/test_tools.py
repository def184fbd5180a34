"""Calls of every version in the present vocabulary."""

from pathlib import Path

import pytest
from conftest import invoke
from specialists.agent import TOOLS, compact, read_result
from specialists.config import load_config
from specialists.records import write_json
from specialists.tools import Call, Files, infer_schemas, known_tools, present_calls, present_output

READ = read_result("a.py", "x = 1\ny = 1\n")
PART = (
    "<path>a.py</path>\n<type>file</type>\n<content>\n2: y = 1\n3: z = 1\n\n"
    "(Showing lines 2-3. Use offset=4 to continue.)\n</content>"
)
TASK = {"description": "d", "prompt": "p", "subagent_type": "s"}
TODO = {"content": "c", "status": "s", "priority": "p"}


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("bash", {"command": "ls", "description": "d", "timeout": 5}, ("bash", {"command": "ls", "timeout": 5})),
        ("shell", {"command": "ls"}, ("bash", {"command": "ls"})),
        ("read", {"path": "a", "limit": 3}, ("read", {"filePath": "a", "limit": 3})),
        ("grep", {"pattern": "x", "path": "src"}, ("grep", {"pattern": "x", "path": "src"})),
        ("subagent", {"agent": "s", "description": "d", "prompt": "p"}, ("task", TASK)),
        ("skill", {"id": "s"}, ("skill", {"name": "s"})),
        ("grep", {"pattern": "x", "limit": 3}, ("grep", {"pattern": "x", "limit": 3})),
        ("todowrite", {"todos": [{**TODO, "id": "1"}]}, ("todowrite", {"todos": [TODO]})),
        ("db_query", {"sql": "x"}, ("db_query", {"sql": "x"})),
        ("list", {"path": "."}, None),
        ("edit", {"filePath": "a", "newString": "b"}, None),
    ],
)
def test_names_and_arguments(name, arguments, expected) -> None:
    calls = present_calls(Call(name, arguments, "out"), Files())
    assert expected is None if calls is None else [(call.name, call.arguments) for call in calls] == [expected]


@pytest.fixture
def files() -> Files:
    files = Files()
    files.after(Call("read", {"filePath": "a.py"}, READ))
    return files


def patch(sections: str) -> Call:
    lines = ["*** Begin Patch", *(f"*** {line}" if ": " in line else line for line in sections.split("|"))]
    return Call("apply_patch", {"patchText": "\n".join([*lines, "*** End Patch"])}, "Success.")


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ("Update File: a.py|@@|-x = 1|+x = 2", [("edit", "x = 1", "x = 2")]),
        ("Update File: a.py|@@| x = 1|-y = 1|+y = 2", [("edit", "x = 1\ny = 1", "x = 1\ny = 2")]),
        ("Update File: a.py|@@|-x = 1|+x = 2|@@|-y = 1|+w", [("edit", "x = 1", "x = 2"), ("edit", "y = 1", "w")]),
        ("Update File: a.py|@@| x = 1|@@|-y = 1|+w", [("edit", "y = 1", "w")]),  # opencode refuses an edit of nothing
        ("Update File: a.py|@@|-x = 1|+x = 1", None),
        ("Add File: b.py|+z = 1|+|+w = 2", [("write", "z = 1\n\nw = 2\n")]),
        ("Update File: a.py|@@|- = 1|+ = 2", None),  # stands there twice
        ("Update File: a.py|@@|-x  = 1|+x = 2", None),  # stands there otherwise
        ("Update File: c.py|@@|-x = 1|+x = 2", None),  # never read
        ("Update File: a.py|Move to: d.py|@@|-x = 1|+x = 2", None),
        ("Delete File: a.py", None),
        ("nonsense", None),
    ],
)
def test_patches_become_edits_where_that_is_exact(files, sections, expected) -> None:
    calls = present_calls(patch(sections), files)
    made = [(c.name, *(c.arguments.get(key) for key in ("oldString", "newString", "content"))) for c in calls or ()]
    assert [tuple(filter(None, values)) for values in made] == (expected or [])


@pytest.mark.parametrize(
    "between",
    [Call("bash", {"command": "sed -i s/x/z/ a.py"}, ""), Call("edit", {"filePath": "a.py", "oldString": "q"}, "")],
)
def test_a_file_that_may_have_changed_is_not_known(files, between) -> None:
    files.after(between)
    assert present_calls(patch("Update File: a.py|@@|-x = 1|+x = 2"), files) is None


@pytest.mark.parametrize(
    ("name", "structured", "output", "expected"),
    [
        ("read", {"content": "x = 1\ny = 1\n"}, "{}", READ),
        ("read", {"content": "y = 1\nz = 1", "offset": 2, "truncated": True, "next": 4}, "{}", PART),
        ("read", {"entries": []}, '{"entries":[]}', '{"entries":[]}'),
        ("edit", {"files": []}, "Edited file successfully: a.py", "Edit applied successfully."),
        ("write", {}, "Created file successfully: a.py", "Wrote file successfully."),
        ("bash", {"exit": 1}, "no\n\nCommand exited with code 1.", "no"),
        ("grep", {}, "Found 1 matches", "Found 1 matches"),
    ],
)
def test_results_of_the_v2_engine(name, structured, output, expected) -> None:
    assert present_output(name, {"path": "a.py"}, structured, output) == expected


def test_captured_tools_without_prose_and_with_the_argument_names_of_our_calls(config_file) -> None:
    inner = {"type": "object", "description": "prose", "properties": {"a": {"type": "string", "description": "b"}}}
    tags = {"type": "array", "items": inner}
    properties = {"filePath": {"type": "string", "description": "long"}, "tags": tags}
    parameters = {"$schema": "x", "type": "object", "properties": properties, "required": ["filePath"]}
    read = compact({"type": "function", "function": {"name": "read", "description": "d", "parameters": parameters}})
    assert "prose" not in repr(read) and "description" not in repr(read) and "$schema" not in repr(read)
    assert read["function"]["parameters"]["properties"]["tags"]["items"]["properties"] == {"a": {"type": "string"}}
    renamed = {"function": {"name": "write", "parameters": {"properties": {"path": {}, "content": {}}}}}
    config = load_config(config_file)
    assert known_tools(config) == TOOLS
    write_json(config.tools_file, {"tools": [read, renamed]})
    assert known_tools(config) == [read, next(t for t in TOOLS if t["function"]["name"] == "write")]


def test_capturing_from_a_program_that_is_not_there(config_file) -> None:
    run = invoke("capture-tools", config_file, "--program", "/nowhere/opencode")
    assert run.exit_code == 1 and "/nowhere/opencode: No such file or directory; install" in run.output


HANGS = """#!/bin/sh
case "$*" in *--help*) echo "  --standalone  run alone"; exit;; esac
echo "$*" > "$0.said"
sleep 300 & echo "$!" >> "$0.said"
setsid sleep 300 & echo "$!" >> "$0.said"
wait
"""


def test_a_program_that_never_ends_is_ended_with_all_that_it_started(tmp_path, config_file, monkeypatch) -> None:
    program, said = tmp_path / "opencode", tmp_path / "opencode.said"
    program.write_text(HANGS)
    program.chmod(0o755)
    monkeypatch.setattr("specialists.sessions.capture.SECONDS", 2)
    run = invoke("capture-tools", config_file, "--program", program)
    assert run.exit_code == 1 and "no end within 2 s" in run.output
    words, *started = said.read_text().splitlines()
    assert words.startswith("run --standalone"), "beside a service of the owner's, for which it would wait"
    commands = [Path(f"/proc/{number}/cmdline") for number in started]
    assert len(commands) == 2 and not any(command.exists() and command.read_bytes() for command in commands)


def test_schemas_of_plugins_tools_are_inferred_from_their_calls() -> None:
    given = [{"sql": "x", "limit": 3}, {"sql": "y", "all": True}]
    failed = Call("db_query", {"wrong": 1}, "", failed=True)
    calls = [*(Call("db_query", arguments, "") for arguments in given), failed, Call("bash", {"command": "ls"}, "")]
    (schema,) = infer_schemas(calls)
    properties = {"sql": {"type": "string"}, "limit": {"type": "integer"}, "all": {"type": "boolean"}}
    parameters = {"type": "object", "properties": properties, "required": ["sql"]}
    assert schema["function"] == {"name": "db_query", "parameters": parameters}
