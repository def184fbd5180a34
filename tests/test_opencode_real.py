"""The real opencode, driven against a scripted model: what it stores is what the model's server saw."""

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import invoke
from opencode_model import ScriptedModel, replay
from specialists.agent import EDIT_DONE, ROOT, TOOLS, WRITE_DONE, read_result
from specialists.client import request_json
from specialists.records import read_records
from specialists.sessions.capture import MODEL, prepare, run_opencode
from specialists.sessions.chat import live_messages
from specialists.sessions.database import read_sessions
from specialists.sessions.paths import ProjectPaths

VERSION = "1.18.33"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coding-specialists"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def opencode() -> str:
    """The program, from npm, kept in the cache; several test processes may come at once."""
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"opencode-{platform.system().lower()}-{machine}"
    folder = CACHE / f"opencode-{VERSION}"
    program = folder / "node_modules" / package / "bin" / "opencode"
    if not program.exists():
        if not shutil.which("npm"):
            pytest.skip("npm is not here")
        CACHE.mkdir(parents=True, exist_ok=True)
        options = "--ignore-scripts --no-audit --no-fund".split()
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as building, suppress(OSError):
            command = ["npm", "install", "--prefix", building, *options, f"{package}@{VERSION}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                pytest.skip(f"npm install {package}: {done.stderr[-500:]}")
            os.rename(building, folder)  # OSError: another process was first
    return str(program)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "halves"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "lib.rs").write_text("pub fn half(x: i32) -> i32 {\n    x / 3\n}\n")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


@contextmanager
def served(program: str, home: Path, project: Path, model_url: str) -> Iterator[Callable]:
    """`opencode serve`; gives a function that posts to it."""
    variables = {**prepare(home, model_url), "PWD": str(project)}
    shutil.copy(home / "opencode.json", project)  # the v2 engine does not look at OPENCODE_CONFIG
    command, output = [program, "serve", "--port", "0"], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=project, env=variables, text=True, **output)
    try:
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.:]+", line)))
        yield lambda path, body: request_json(url + path, body, timeout=60)["data"]
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def comparable(messages: list[dict], shown: Callable[[str], str] = str) -> list[tuple]:
    """Role, text and calls of messages, with what may differ in form made the same."""
    plain = []
    for message in messages:
        functions = [call["function"] for call in message.get("tool_calls") or ()]
        calls = [(function["name"], json.loads(function["arguments"])) for function in functions]
        calls = [(name, {k: shown(v) for k, v in given.items() if k != "description"}) for name, given in calls]
        plain.append((message["role"], shown(message["content"] or ""), calls))
    return plain


def extracted(database: Path, config_file: Path, requests: list[dict]) -> tuple[dict, list[int]]:
    """The one record that the history gives, which was replayed as `requests`, and the weights of its answers."""
    (session,) = read_sessions(database, [])
    messages, _reverted = live_messages(session)
    steps = [index for index, message in enumerate(messages) if message.role == "assistant"]
    for request, index in zip(requests, steps, strict=True):
        assert comparable(replay(messages[:index], MODEL)) == comparable(request["messages"][1:])
    assert invoke("extract-training-data", config_file, "--database", database).exit_code == 0
    (record,) = read_records(config_file.parent / "data" / "sessions" / "rust.jsonl")
    return record, [message["weight"] for message in record["messages"] if message["role"] == "assistant"]


def test_a_session_is_as_the_server_saw_it(opencode: str, project: Path, tmp_path: Path, config_file: Path) -> None:
    home, file = tmp_path / "opencode-home", {"filePath": str(project / "src" / "lib.rs")}
    answers = [
        ("I'll read it.", [("read", file), ("bash", {"command": "ls src", "description": "Lists"})]),
        ("", [("edit", {**file, "oldString": "x / 4", "newString": "x / 2"})]),
        ("Once more.", [("edit", {**file, "oldString": "x / 3", "newString": "x / 2"})]),
        ("`half` divides by 2 now.", []),
    ]
    with ScriptedModel(answers).serving() as model:
        database = run_opencode(opencode, home, project, model.url, "half() divides by 3; make it 2.")
        run_opencode(opencode, home, project, model.url, "--continue", "Thanks, anything else?")
    assert "x / 2" in (project / "src" / "lib.rs").read_text() and len(model.requests) == 5
    record, weights = extracted(database, config_file, model.requests)
    relative = ProjectPaths(str(project)).text
    seen = comparable(model.requests[-1]["messages"][1:], lambda text: relative(text.removeprefix("Error: ")))
    seen = [(role, text.strip('"') if role == "user" else text, calls) for role, text, calls in seen]
    assert comparable(record["messages"][1:-1]) == seen
    assert weights == [1, 0, 1, 1, 1], "the edit that failed is context"
    assert record["messages"][-1]["content"] == "Done."
    assert str(tmp_path) not in json.dumps(record)


def test_so_is_one_of_the_v2_engine(opencode: str, project: Path, tmp_path: Path, config_file: Path) -> None:
    path = str(project / "src" / "lib.rs")
    reads = [("read", {"path": path}), ("read", {"path": path, "offset": 2, "limit": 1})]
    others = [("bash", {"command": "ls src; exit 3"}), ("write", {"path": "new.rs", "content": "// é\n"})]
    script = [
        ("Looking.", [*reads, *others]),
        ("", [("edit", {"path": path, "oldString": "x / 4", "newString": "x / 2"}), ("search", {})]),
        ("", [("edit", {"path": path, "oldString": "x / 3", "newString": "x / 2"})]),
        ("Done.", []),
    ]
    home = tmp_path / "opencode-home"
    database = home / "data" / "opencode" / "opencode.db"
    with ScriptedModel(script).serving() as model, served(opencode, home, project, model.url) as post:
        where, served_model = {"directory": str(project)}, {"providerID": "local", "id": MODEL}
        made = post("/api/session", {"agent": "build", "location": where, "model": served_model})
        post(f"/api/session/{made['id']}/prompt", {"prompt": {"text": "half() divides by 3; make it 2."}})
        for _ in range(900):  # read while opencode is writing
            (session,) = read_sessions(database, [])
            if session.messages and session.messages[-1].data.get("finish") == "stop":
                break
            time.sleep(0.2)
    record, weights = extracted(database, config_file, model.requests)
    assert weights == [1, 0, 1, 1]
    results = [message["content"] for message in record["messages"] if message["role"] == "tool"]
    assert results[0] == read_result(f"{ROOT}/src/lib.rs", "pub fn half(x: i32) -> i32 {\n    x / 3\n}\n")
    assert "\n2:     x / 3\n" in results[1] and "offset=3" in results[1]
    assert results[2:4] == ["lib.rs", WRITE_DONE]
    assert results[4].startswith("Could not find oldString") and results[5:] == ["Unknown tool: search", EDIT_DONE]


def test_the_tools_that_training_shows_are_the_ones_that_opencode_sends(opencode: str, config_file: Path) -> None:
    run = invoke("capture-tools", config_file, "--program", opencode, "--json")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["version"] == VERSION
    captured = json.loads((config_file.parent / "data" / "opencode-tools.json").read_text())
    known = f"Working directory: {ROOT}\n", "git repo: yes", "named {adapter}", "date: Mon Jun 01 2026"
    assert all(part in captured["system"] for part in known)
    assert "/tmp" not in captured["system"] and str(config_file.parent) not in json.dumps(captured)
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in captured["tools"]}
    for tool in TOOLS:
        parameters = tools.pop(tool["function"]["name"])
        assert set(parameters["required"]) == set(tool["function"]["parameters"]["required"])
        assert set(tool["function"]["parameters"]["properties"]) <= set(parameters["properties"])
    assert tools == {}
