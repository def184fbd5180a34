"""What dodo.py is made of: what a failed run prints, how a signal ends one, what makes a step run again."""

import os
import re
import runpy
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from doit.dependency import SqliteDB
from git_repositories import Made, make
from specialists import pipeline
from specialists.config import load_config
from specialists.reporting.checks import skipped
from test_house import imported_rooms

DODO = """
import pathlib, sys
sys.path.insert(0, {scripts!r})
from specialists import pipeline
DOIT_CONFIG = pipeline.settings(pathlib.Path.cwd())

def task_mine():
    # Python itself prints a traceback where SIGINT comes while it starts
    mine = "import os, signal; signal.signal(2, signal.SIG_IGN); os.mkdir('mined'); print('mined')"
    return {{"actions": pipeline.python("-c", mine)}}

def task_train():
    for name, code in (("rust", 0), ("python", 4), ("ts", 3)):
        step = "import sys; print('a message', file=sys.stderr); sys.exit(%d)" % code
        yield {{"name": name, "actions": pipeline.python("-c", step)}}

def task_promote():
    for name in ("rust", "python", "ts"):
        yield {{"name": name, "actions": [lambda: print("promoted")], "task_dep": ["train:" + name]}}

def task_defect():
    return {{"actions": [lambda: 1 / 0]}}

def task_report():
    return {{"actions": [lambda: print("reported")]}}

def task_slow():
    save = "import os, signal, sys, time; save = lambda *_: (time.sleep(0.5), os.mkdir('saved'), sys.exit(1));"
    heard = "signal.signal(2, signal.SIG_IGN); signal.signal(1, signal.SIG_IGN); signal.signal(15, save);"
    return {{"actions": pipeline.python("-c", save + heard + "os.mkdir('started'); time.sleep(60)")}}
"""


def started(folder: Path, *arguments: str) -> subprocess.Popen:
    (folder / "dodo.py").write_text(DODO.format(scripts=str(ROOT / "scripts")))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "doit", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def test_a_failed_run_ends_in_a_line_for_each_language_and_does_the_rest(tmp_path) -> None:
    process = started(tmp_path, "mine", "train", "promote", "report")
    printed, _none = process.communicate()
    assert process.returncode != 0
    assert printed.count("promoted") == 2 and "reported" in printed, "ts only left something out"
    assert "Traceback" not in printed and "Unmet" not in printed and printed.count("a message") == 3
    last = "python failed: train ended with exit code 4; correct what it reports above, then do `doit train:python`"
    assert printed.splitlines()[-1] == last and printed.count("failed") == 1
    defect, _none = started(tmp_path, "defect").communicate()
    assert "Traceback" in defect and "ZeroDivisionError" in defect, "of ours: with all there is to know"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("jobs", ["", "-n 2"])
def test_told_to_end_doit_waits_for_what_the_step_saves_and_keeps_what_it_finished(tmp_path, jobs, number) -> None:
    process = started(tmp_path, *jobs.split(), "mine", "slow")
    while not all((tmp_path / name).exists() for name in ("started", "mined")):
        assert process.poll() is None
    send = process.send_signal if number == signal.SIGTERM else partial(os.killpg, process.pid)  # the terminal: to all
    send(number)
    printed, _none = process.communicate(timeout=30)
    assert "Traceback" not in printed
    assert process.returncode == 128 + number and (tmp_path / "saved").exists()
    status = started(tmp_path, "info", "slow").communicate()[0]
    assert "status" in status and (tmp_path / ".doit.sqlite").exists()


def test_a_step_that_a_thread_starts_while_doit_ends_is_ended_too() -> None:
    code = "from specialists import pipeline; pipeline.end_steps(); print(pipeline.run(['sleep', '90']).message)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "ended with exit code -15\n"


@pytest.mark.parametrize("damage", [b"not a database" * 200, b"SQLite format 3\0" + bytes(3000), None])
def test_a_damaged_state_is_put_aside_and_one_in_use_is_not(tmp_path, damage) -> None:
    state = tmp_path / ".doit.sqlite"
    if damage:
        state.write_bytes(damage)
        assert pipeline.state_file(state) == str(state)
        assert not state.exists() and (tmp_path / ".doit.sqlite.damaged").read_bytes() == damage
        return
    pipeline.state_file(state)
    with closing(sqlite3.connect(state)) as database:
        database.execute("create table doit (task_id text)")
        database.execute("begin exclusive")
        pipeline.state_file(state)
    assert state.exists() and not (tmp_path / ".doit.sqlite.damaged").exists()


def test_a_full_disk_costs_no_more_than_the_state(tmp_path, monkeypatch, capsys) -> None:
    def full(_state: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(SqliteDB, "dump", full)
    reporter = pipeline.Reporter.__new__(pipeline.Reporter)
    reporter.initialize({}, [])
    reporter.handling.__exit__(None, None, None)
    SqliteDB.dump(SimpleNamespace(name="x.sqlite"))
    assert "x.sqlite: not saved: database or disk is full" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=0))
    assert pipeline.state_file(tmp_path / ".doit.sqlite") == ":memory:"


def test_the_state_of_a_repository_changes_with_a_commit_whatever_its_layout(tmp_path) -> None:
    repository = make(tmp_path / "repo", [Made("One", {"a.py": "1\n"})])
    worktree = tmp_path / "worktree"
    git = ["git", "-C", str(repository)]
    subprocess.run([*git, "worktree", "add", "-q", "-b", "other", str(worktree)], check=True)
    states = [pipeline.repository_state(path) for path in (repository, worktree)]
    for path in (repository, worktree):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(path), *identity, "commit", "-q", "--allow-empty", "-m", "Two"], check=True)
    after = [pipeline.repository_state(path) for path in (repository, worktree)]
    assert all(re.fullmatch("[0-9a-f]{40}", state[-1]) for state in [*states, *after])
    assert states[0] != after[0] and states[1] != after[1]
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert pipeline.repository_state(repository) != after[0] and "unreadable" not in str(after)
    assert "unreadable" in pipeline.repository_state(tmp_path / "nowhere")[0]


def test_a_step_that_failed_is_named_until_it_succeeds(config_file) -> None:
    config = load_config(config_file)
    failure = config.paths.data / "failed-train" / "rust.summary.json"
    for code, named in ((0, False), (4, True), (4, True), (3, False), (4, True), (0, False)):
        arguments = [sys.executable, "-c", f"raise SystemExit({code})", "FILE", "--language", "rust"]
        assert (pipeline.run(arguments, failure) is True) != named
        problems = skipped(config)
        assert len(problems) == named and all("--language rust: ended with exit code 4" in says for says in problems)
    pipeline.run([sys.executable, "-c", "raise SystemExit(1)", "FILE"], failure, force="no version of mine")
    assert not failure.exists()  # the owner saw the message, and no later run would take it back


def test_the_state_of_a_database_has_its_log(tmp_path) -> None:
    database = tmp_path / "opencode.db"
    before = pipeline.database_state(database)
    database.write_text("1")
    made = pipeline.database_state(database)
    (tmp_path / "opencode.db-wal").write_text("2")
    logged = pipeline.database_state(database)
    assert before != made != logged and logged == pipeline.database_state(tmp_path)


@pytest.mark.parametrize("script", ["extract-training-data", "mine-repos", "augment", "assemble"])
def test_a_step_runs_again_when_a_room_that_it_uses_changes(script) -> None:
    dodo = SimpleNamespace(**runpy.run_path(str(ROOT / "dodo.py")))
    creators = [dodo.task_extract(), *dodo.task_mine(), *dodo.task_augment(), *dodo.task_assemble()]
    files = next(task["file_dep"] for task in creators if f"{script}.py" in str(task.get("actions")))
    assert str(ROOT / "scripts" / f"{script}.py") in map(str, files)
    watched = {Path(file).parent.name for file in files} - {"specialists", "scripts"}
    assert imported_rooms(ROOT / "scripts" / f"{script}.py") <= watched


def test_how_many_examples_are_wanted_decides_what_is_joined_and_not_what_is_read(
    config_file: Path, monkeypatch
) -> None:
    def inputs() -> dict[str, str]:
        made = runpy.run_path(str(ROOT / "dodo.py"))
        tasks = {name: made[f"task_{name}"]() for name in ("extract", "mine", "assemble")}
        return {name: (task if name == "extract" else next(task))["uptodate"][0].config for name, task in tasks.items()}

    monkeypatch.setenv("SPECIALISTS_CONFIG", str(config_file))
    before = inputs()
    config_file.write_text(config_file.read_text().replace("min_examples = 3", "min_examples = 4"))
    assert {name for name, known in inputs().items() if known != before[name]} == {"assemble"}
