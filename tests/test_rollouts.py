"""Rollouts in the real sandbox: by the real opencode with a scripted model, and by programs that stand for it."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from built_pipeline import files
from click.testing import CliRunner
from conftest import ROOT
from git_repositories import Made, git, make
from opencode_model import ScriptedModel
from servers import answering
from specialists.agent import ROOT as AT
from specialists.agent import captured, with_head
from specialists.config import Problem, load_config
from specialists.records import cluster_of, read_records, write_json, write_records
from specialists.rollouts import runs, sandbox
from test_opencode_real import opencode  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs")]

ROLES = ("solver", "wrong", "cheat", "looper", "leaker")
TOKEN = "ghp_" + "x7Kq2mZ9tR4w" * 3
BEFORE, AFTER = "    return number / 3", "    return number / 2  # {role}"


def module(role: str, line: str) -> str:
    return f'"""{role.title()}."""\n\n\ndef half_{role}(number):\n{line.format(role=role)}\n'


def history(roles: tuple[str, ...]) -> list[Made]:
    """A commit that corrects a function and tests it, for each role."""
    first: dict[str, Any] = {f"{role}.py": module(role, BEFORE) for role in roles} | {"tests/__init__.py": ""}
    commits = [Made("Add functions that halve numbers", first)]
    for role in roles:
        test = (
            f"import unittest\n\nfrom {role} import half_{role}\n\n\nclass Half(unittest.TestCase):\n"
            f"    def test_half(self):\n        self.assertEqual(half_{role}(4), 2)\n"
        )
        files: dict[str, Any] = {f"{role}.py": module(role, AFTER), f"tests/test_{role}é.py": test}
        commits.append(Made(f"Fix half_{role}, which divides its number by three", files))
    return commits


class Player(ScriptedModel):
    """Answers by the role that the request names, and by how often it was asked in this session."""

    def deltas(self, body: dict) -> list[dict]:
        user = next(message["content"] for message in body["messages"] if message["role"] == "user")
        if body.get("tools"):
            role = next(role for role in ROLES if f"half_{role}" in user)
            said = sum(message["role"] == "assistant" for message in body["messages"])
            with self.lock:  # two sessions at a time
                self.answers = iter(self.steps(role)[said:])
                return super().deltas(body)
        return super().deltas(body)

    lock = threading.Lock()

    @staticmethod
    def steps(role: str) -> list[tuple[str, list]]:
        file = {"filePath": f"{AT}/{role}.py"}
        calls = [("read", file), ("bash", {"command": "pwd; ls -a . ~", "description": "Looks"})]
        read: tuple[str, list] = ("I read it.", calls)
        if role == "looper":
            return [read] * 20
        if role == "cheat":
            return [read, ("", [("write", {**file, "content": "import os\nos._exit(0)\n"})]), ("It halves now.", [])]
        right = {"solver": AFTER.format(role=role), "leaker": AFTER.format(role=TOKEN)}
        new = right.get(role, "    return number / 4")
        return [read, ("", [("edit", {**file, "oldString": BEFORE, "newString": new})]), ("It halves now.", [])]


@pytest.fixture
def programs() -> None:
    try:
        sandbox.check_programs()
    except Problem as problem:
        pytest.skip(str(problem))


def owner(config_file: Path, url: str, roles: tuple[str, ...], heldout: bool = False, who: str = "endpoint") -> None:
    """A repository whose commits are mined and split, to be done again by the model at `url`."""
    repository = make(config_file.parent / "halves", history(roles))
    command = '["python3", "-m", "unittest", "discover"]'
    more = f'adapter = "build-python"\ntest = {command}\nrepositories = ["{repository}"]'
    text = config_file.read_text().replace('adapter = "build-python"', more)
    rollouts = f'[rollouts]\nenabled = true\nmodel = "{who}"\nruns = 1'
    config_file.write_text(f'{text}\n{rollouts}\n[endpoint]\nurl = "{url}"\nmodel = "player"\n')
    write = CliRunner().invoke(importlib.import_module("mine-repos").main, arguments(config_file))
    assert write.exit_code == 3  # the endpoint words no request
    rows = [*read_records(config_file.parent / "data" / "commits" / "python.jsonl")]
    clusters = [cluster_of(row) for row in rows if "half_" in row["messages"][1]["content"]]
    assert len(clusters) == len(roles)
    split = {"heldout": clusters if heldout else [], "train": [] if heldout else clusters}
    write_json(config_file.parent / "data" / "heldout" / "python.split.json", split)


def arguments(config_file: Path, *more: str) -> list[str]:
    return ["--config", str(config_file), "--language", "python", "--json", *more]


def rollout(config_file: Path, *more: str) -> dict[str, Any]:
    run = CliRunner().invoke(importlib.import_module("rollout").main, arguments(config_file, *more))
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


def test_what_solves_a_task_becomes_a_row_and_nothing_else_does(
    config_file: Path,
    opencode: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPECIALISTS_ENDPOINT_KEY", "sk-not-inside")
    monkeypatch.setattr(runs, "STREAMS", 2)
    with Player().serving() as player:
        owner(config_file, player.url, ROLES)
        capture = ["--config", str(config_file), "--program", opencode]
        assert CliRunner().invoke(importlib.import_module("capture-tools").main, capture).exit_code == 0
        summary = rollout(config_file, "--program", opencode)
        before = len(player.requests)
        assert rollout(config_file, "--program", opencode)["examples"] == summary["examples"] == 1
        assert len(player.requests) == before, "nothing is done twice"
    assert summary["funnel"] == {"ended": {"loop": 1, "done": 4}, "judged by tests": {"yes": 5}}
    assert summary["models"]["endpoint"]["passed"] == 0.4
    data = config_file.parent / "data" / "rollouts"
    (row,) = read_records(data / "python.jsonl")
    assert (row["source"]["kind"], row["source"]["recall"], row["source"]["passed"]) == ("rollout", 1.0, True)
    solved = [request for request in player.requests if "half_solver" in str(request["messages"][1])]
    config = load_config(config_file)
    row = with_head(row, config.language("python"), captured(config), 1.0)
    *asked, answer = ({key: value for key, value in one.items() if key != "weight"} for one in row["messages"])
    assert (asked, row["tools"]) == (as_in_rows(solved[-1]), solved[-1]["tools"])
    assert answer["content"] == "It halves now."
    assert "sk-not-inside" not in json.dumps(player.requests)
    assert TOKEN in json.dumps(player.requests) and not any(TOKEN in diff.read_text() for diff in data.rglob("*.diff"))
    assert {path.name for path in data.joinpath("python").iterdir()} == {"runs", "tasks", ".lock"}


def as_in_rows(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages of a request, byte for byte but for what rows do not have: the day, the numbers that calls got from the
    server, why a command was run."""
    text = json.dumps(request["messages"]).replace(r",\"description\":\"Looks\"", "")
    text = re.sub(r"(?<=date: )[^\\]*", "Mon Jun 01 2026", text)
    numbers = [*dict.fromkeys(re.findall(r"call_\d+", text))]
    return json.loads(re.sub(r"call_\d+", lambda call: f"call_{numbers.index(call[0])}", text))


def stand_in(folder: Path, script: str) -> str:
    """A program that is run in place of opencode."""
    folder.mkdir(exist_ok=True)
    (folder / "opencode").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "opencode").chmod(0o755)
    return str(folder / "opencode")


SOLVES = "sed -i 's:/ 3:/ 2:' *.py"  # of all roles, which changes more than was asked
LINKS = (
    "mkdir -p ~/.local/share inner; ln -s {outside} ~/.local/share/opencode; ln -s {outside} inner/.git; rm -rf .git;"
    "ln -s {outside} .git; mkfifo pipe; mkdir shut; chmod 000 shut tests"
)
ASKS = """python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8000/v1/chat/completions", b"{}")'"""
PLAYS = {  # what stands in for opencode -> how it ends, passed, recall
    "half of it": (SOLVES, ("done", True, 0.5)),
    "hangs": ("sleep 600", ("time", None, 0.0)),
    "does nothing": ("echo {}", ("gave up", None, 0.0)),
    "fails": (f"{SOLVES}; exit 3", ("failed", None, 0.5)),
    "takes the tests away": ("rm -r tests; echo > setup.cfg", ("done", False, 0.0)),
    "leads elsewhere": (LINKS, ("gave up", None, 0.0)),
    "is refused by the server": (ASKS, ("refused", None, 0.0)),
    "asks a server that is not there": (ASKS, None),
}


@pytest.mark.parametrize(("script", "expected"), PLAYS.values(), ids=PLAYS)
def test_how_a_run_ends(script: str, expected: Any, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SECONDS", 4 if "sleep" in script else 60)
    outside = config_file.parent / "outside"
    outside.mkdir()
    (outside / "opencode.db").write_text("the owner's own")
    program = stand_in(config_file.parent / "bin", script.replace("{outside}", str(outside)))
    with answering(lambda path, body: (400, {"error": {"message": "too long"}})) as port:
        owner(config_file, f"http://127.0.0.1:{port if expected else 9}/v1", ("solver",))
        run = CliRunner().invoke(importlib.import_module("rollout").main, arguments(config_file, "--program", program))
    results = [*config_file.parent.glob("data/rollouts/python/runs/*/result.json")]
    if expected is None:
        assert (run.exit_code, results) == (3, []) and "127.0.0.1:9" in run.output
        return
    assert run.exit_code == 0, run.output
    result = json.loads(results[0].read_text())
    assert (result["ended"], result["passed"], result["recall"]) == expected
    assert (outside / "opencode.db").exists() and not (results[0].parent / "opencode.db").exists()
    assert not (config_file.parent / "data" / "rollouts" / "python" / ".work").exists()


def test_tests_that_cannot_be_run_say_why(config_file: Path) -> None:
    owner(config_file, "http://127.0.0.1:9/v1", ("solver",))
    config_file.write_text(config_file.read_text().replace('"unittest", "discover"', '"no_such_tests"'))
    rollout(config_file, "--program", stand_in(config_file.parent / "bin", SOLVES))
    (task,) = config_file.parent.glob("data/rollouts/python/tasks/*.json")
    found = json.loads(task.read_text())
    assert found["why"] == "tests fail with the commit" and "No module named no_such_tests" in found["says"]


def test_a_round_that_is_killed_at_any_moment_goes_on_where_it_was(config_file: Path) -> None:
    """Killed after a second, and each time a little later, until it comes to its end."""
    owner(config_file, "http://127.0.0.1:9/v1", ("solver", "wrong"))
    mark, patience, written, kills = f"sleep 1.{os.getpid()}", 1.0, dict[Path, int](), 0
    program = stand_in(config_file.parent / "bin", f"{SOLVES}; {mark}")
    words = [sys.executable, str(ROOT / "scripts" / "rollout.py"), *arguments(config_file, "--program", program)]
    folder = config_file.parent / "data" / "rollouts" / "python"
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "bwrap", f"{folder}/.work/1/2"])
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        environment = {**os.environ, "TMPDIR": temporary}
        while True:
            try:
                subprocess.run(words, capture_output=True, env=environment, timeout=patience, check=True)
                break
            except subprocess.TimeoutExpired:  # it is killed then
                patience, kills = patience * 1.2, kills + 1
            until = time.monotonic() + 5
            while mark in processes():
                assert time.monotonic() < until
            for result in folder.glob("runs/*/result.json"):
                assert written.setdefault(result, result.stat().st_mtime_ns) == result.stat().st_mtime_ns
        # of the last one that was killed; whoever reads a repository next removes it
        assert kills > 1 >= len([*Path(temporary).iterdir()])
    assert len([*folder.glob("runs/*/result.json")]) == 2
    assert {path.name for path in folder.iterdir()} == {"runs", "tasks", ".lock"}
    assert left.wait(5) == -signal.SIGKILL and str(folder) not in processes()


def processes() -> str:
    return subprocess.run(["ps", "-e", "-o", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("served", ["20261127-1", "20261126-1"])
def test_held_out_commits_are_done_by_base_version_and_the_one_before_it_if_that_is_served(
    served: str, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner(config_file, "http://127.0.0.1:9/v1", ("solver",), heldout=True)
    version, script = config_file.parent / "adapters/build-python/20261128-1", importlib.import_module("rollout")
    write_json(version / "manifest.json", {})
    files(version)
    write_json(version / "evaluation.json", {"verdict": "promote"})
    older = write_json(version.with_name("20261127-1") / "manifest.json", {}) and version.with_name("20261127-1")
    files(older)
    older.with_name("current").symlink_to(older)
    monkeypatch.setattr(script, "served_models", lambda config: {"build-python": str(older.with_name(served))})
    monkeypatch.setattr(script, "load_adapter", lambda config, name, folder: None)
    rollout(config_file, "--heldout", "--program", stand_in(config_file.parent / "bin", SOLVES))
    evaluation = json.loads((version / "evaluation.json").read_text())
    assert evaluation["verdict"] == "promote" and evaluation["rollouts"]["tasks"] == 1
    arms = ["base", "adapter", "incumbent"][: 3 if served == older.name else 2]
    assert {arm: evaluation["rollouts"][arm]["passed"] for arm in arms} == dict.fromkeys(arms, 1)
    (task,) = json.loads((version / "rollouts.json").read_text())
    assert "half_solver" in task["request"] and [*task["runs"]] == arms
    assert all("+    return number / 2" in run["diff"] for run in task["runs"].values())
    assert not (config_file.parent / "data" / "rollouts" / "python.jsonl").exists()


def test_a_commit_too_long_for_a_row_is_a_task_unless_it_is_newer_than_what_is_held_out(config_file: Path) -> None:
    owner(config_file, "http://127.0.0.1:9/v1", ("solver", "wrong", "cheat"))
    data, program = config_file.parent / "data", stand_in(config_file.parent / "bin", SOLVES)
    rows = read_records(data / "commits" / "python.jsonl")
    held = next(row for row in rows if row["messages"][1]["content"].startswith("Fix half_wrong"))
    config_file.write_text(f"{config_file.read_text()}\n[training]\nmax_length = 64\n")
    CliRunner().invoke(importlib.import_module("mine-repos").main, arguments(config_file))
    write_records(data / "commits" / "python.jsonl", [held])
    write_json(data / "heldout" / "python.split.json", {"heldout": [cluster_of(held)], "train": []})
    config = load_config(config_file)
    work = importlib.import_module("rollout").round_of(config, config.language("python"), program, heldout=False)
    asked = "\n".join(task.request for task in work.tasks)
    assert [f"half_{role}" in asked for role in ("solver", "wrong", "cheat")] == [True, False, False]


INSIDE = {  # a shell command, and how it ends: a limit, or the exit code that it has to have
    "the network": ("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 3)'", 1),
    "the owner's home": ("ls {home}/secret", 2),
    "the real repository": ("ls {repository}", 2),
    "the key": ('test -z "$SPECIALISTS_ENDPOINT_KEY"', 0),
    "the system": ("touch /usr/new || touch /etc/new || touch /dev/new || touch /new", 1),
    "other processes": ("test $(ls -d /proc/[0-9]* | wc -l) -lt 9", 0),
    "later commits": ("cd ~/halves && git log --all --oneline | wc -l | grep -qx 1 && ! git cat-file -e {sha}", 0),
    "many processes": ("for i in $(seq 999); do sleep 60 & done; wait", "processes"),
    "memory": ("python3 -c 'import time; x = bytearray(300 << 20); time.sleep(60)'", "memory"),
    "the disk": ("while true; do head -c 9000000 /dev/zero > ~/$(date +%N); sleep 0.1; done", "disk"),
    "one large file": ("head -c 900000000 /dev/zero > ~/large", 128 + signal.SIGXFSZ),
    "output": ("yes | head -c 9000000; sleep 60", "output"),
    "no end": ("trap '' TERM INT; (setsid sleep 600 &) ; sleep 600", "time"),
}


@pytest.mark.parametrize(("command", "expected"), INSIDE.values(), ids=INSIDE)
def test_what_is_in_reach_inside(command: str, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value in {"PROCESSES": 60, "MEMORY": 200 << 20, "DISK": 40 << 20, "OUTPUT": 1 << 20}.items():
        monkeypatch.setattr(sandbox, limit, value)
    monkeypatch.setenv("SPECIALISTS_ENDPOINT_KEY", "sk-not-inside")
    (Path.home() / "secret").write_text("secret")
    repository, home = make(tmp_path / "real", history(("solver",))), tmp_path / "home"
    script = importlib.import_module("rollout")
    with script.store(repository) as store:
        store.throwaway(store.tree(git(repository, "rev-parse", "HEAD^")), home / "halves")
    with ScriptedModel().serving() as server:
        known = {"port": server.url.split(":")[2][:-3], "home": Path.home(), "repository": repository}
        words = command.format(**known, sha=git(repository, "rev-parse", "HEAD")) if "{" in command else command
        ended = sandbox.run(["sh", "-c", words], {sandbox.HOME: home}, {}, "/", 8)
    assert expected in (ended.limit, ended.code), ended
