"""What the tasks of dodo.py are made of: running a script, what a step is made from, what a run prints."""

import atexit
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from doit.dependency import SqliteDB
from doit.exceptions import BaseFail, TaskFailed, UnmetDependency
from doit.reporter import ExecutedOnlyReporter
from doit.tools import config_changed

from specialists.config import PARTIAL, Config, Language, Problem
from specialists.records import SOURCES, iso, write_json
from specialists.stopping import handled

SCRIPTS = Path(__file__).resolve().parents[1]
# no step's rows depend on them: values of the configuration are compared instead, versions have manifests
_NOT_CODE = ("adapters.py", "cli.py", "client.py", "config.py", "pipeline.py", "stopping.py", "tables.py")
_FULL = 1 << 16  # bytes free under which SQLite writes no row and its journal
_steps: set[subprocess.Popen] = set()  # under way
_ending = threading.Event()


def settings(folder: Path) -> dict[str, Any]:
    """How doit runs our tasks: what DOIT_CONFIG holds, with the state file in that folder.

    Every step is a process of its own, so `-n` needs no more than threads; doit's worker processes are left waiting
    for ever where a signal comes while the first of them are started."""
    how = {"continue": True, "verbosity": 2, "reporter": Reporter, "par_type": "thread"}
    return {"backend": "sqlite3", "dep_file": state_file(folder / ".doit.sqlite"), **how}


def state_file(path: Path) -> str:
    """The file of doit's own state, which only saves work: one that is damaged is renamed, and doit makes it anew.

    On a full disk it is kept in memory: each step looks again, and what cannot be written is said by who wants to."""
    if shutil.disk_usage(path.parent).free < _FULL:
        return ":memory:"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            well = database.execute("pragma quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:
        well = True  # it is not there, or in use
    except sqlite3.DatabaseError:
        well = False
    if not well:
        aside = path.replace(path.with_name(f"{path.name}.damaged"))
        sys.stderr.write(f"{path} was damaged, is now {aside.name}, and is made anew: each step looks again\n")
    return str(path)


def command(config: Config, script: str, *arguments: str) -> list[str]:
    """The command line of a script of ours, under a configuration."""
    return [sys.executable, str(SCRIPTS / f"{script}.py"), "--config", str(config.path), *arguments]


def run(arguments: list[str], failure: Path | None = None, **options: str | bool) -> bool | TaskFailed:
    """Run a command as an action, with the options that were given to the task; it reports itself what went wrong.

    What it had to leave out (exit code PARTIAL) is no failure: doctor repeats it. Where a step fails, the summary
    `failure` says so to report and doctor until it succeeds."""
    given = [[f"--{name}"] if value is True else [f"--{name}", value] for name, value in options.items() if value]
    process = subprocess.Popen([*arguments, *(part for option in given for part in option)])
    _steps.add(process)
    if _ending.is_set():  # in a thread, while doit ends
        process.terminate()
    try:
        code = process.wait(math.inf)  # looks again and again: another thread may have got the signal
    except BaseException:  # doit is to end
        end_steps()
        raise
    _steps.discard(process)
    if code in (0, PARTIAL):
        if failure:
            failure.unlink(missing_ok=True)
        return True
    says = f"ended with exit code {code}"
    if failure and not given:  # who gives options reads the message, and this step may be up to date without them
        step = " ".join([Path(arguments[1]).name, *arguments[4:]])
        problem = f"{step}: {says} at {iso(time.time())}; the log of that run has its message"
        with suppress(Problem):  # the disk is full, and whatever comes next says so
            write_json(failure, {"problems": [problem]})
    return TaskFailed(says, report=False)


@atexit.register  # `doit -n` leaves its threads behind without a word
def end_steps() -> None:
    """End every step under way, which may first save what it has."""
    _ending.set()
    for process in _steps.copy():
        process.terminate()
    while _steps:
        _steps.pop().wait()


def option(name: str, kind: type = str) -> dict[str, Any]:
    """An option of a task, for `run` to hand to its script."""
    return {"name": name, "long": name, "type": kind, "default": kind()}


def without(name: str) -> Callable[..., bool]:
    """For `uptodate`: a task that is given that option always runs."""
    return lambda task: not (task.options or {}).get(name)


def python(*arguments: str) -> list[tuple]:
    """The action that runs something else than a script of ours with this Python."""
    return [(run, [[sys.executable, *arguments]])]


def become(arguments: list[str]) -> None:
    """Be the command from now on: signals of a service manager reach it, and doit does not wait beside it."""
    sys.stdout.flush()
    os.execv(arguments[0], arguments)


class Reporter(ExecutedOnlyReporter):
    """Prints each task that runs, and at the end a line for each language that failed; silent when nothing is to do."""

    def initialize(self, tasks: dict[str, Any], selected_tasks: list[str]) -> None:
        """When doit is to end, it ends the steps under way and saves the state of what it finished."""
        self.named = [name for name in selected_tasks if ":" in name]
        self.handling = handled()
        self.handling.__enter__()  # until the process ends
        save = SqliteDB.dump

        def dump(state: SqliteDB) -> None:
            try:
                save(state)
            except sqlite3.Error as error:  # the disk was filled meanwhile
                sys.stderr.write(f"{state.name}: not saved: {error}; the next run looks at each step again\n")

        SqliteDB.dump = dump

    def skip_uptodate(self, task: Any) -> None:
        """Silent, as for cron, but of what was asked for by name."""
        if task.name in self.named:
            self.write(f"{task.name}: nothing to do; `doit status` says why\n")

    def add_failure(self, task: Any, fail: BaseFail) -> None:
        """What could not run because of another failure is not reported."""
        if not isinstance(fail, UnmetDependency):
            self.failures.append((task.name, fail))

    def complete_run(self) -> None:
        """The failures by language, after everything that the steps printed."""
        by_language: dict[str, list[tuple[str, BaseFail]]] = {}
        for name, fail in self.failures:
            self.write("".join(fail.traceback))  # of a defect of ours; a script's own message stands above
            by_language.setdefault(name.rpartition(":")[2], []).append((name, fail))
        for language, failed in by_language.items():
            what = ", ".join(f"{name.partition(':')[0]} {fail.message}" for name, fail in failed)
            again = " ".join(name for name, fail in failed if not fail.report)
            do = f"; correct what it reports above, then do `doit {again}`" if again else ""
            self.write(f"{language} failed: {what}{do}\n")


def unchanged(describe: Callable[[], dict[str, Any]]) -> Callable[[Any, dict[str, Any]], bool]:
    """For `uptodate`: config_changed of what `describe()` returns when the task's turn comes, not when doit starts."""

    def check(task: Any, values: dict[str, Any]) -> bool:
        now = config_changed(describe())
        now.configure_task(task)
        return now(task, values)

    return check


def code(script: str, *rooms: str) -> list[str]:
    """The files whose change makes a step run again: its script, the ground floor and the rooms that it uses."""
    ground = (path for path in (SCRIPTS / "specialists").glob("*.py") if path.name not in _NOT_CODE)
    used = (path for room in rooms for path in (SCRIPTS / "specialists" / room).glob("*.py"))
    return sorted(map(str, [SCRIPTS / f"{script}.py", *ground, *used]))


def example_files(config: Config, language: Language) -> dict[str, Path]:
    """The files that a language's examples are joined from, by folder: those of the sources that are in use."""
    used = {"synthetic": language.synthetic, "rollouts": config.rollouts.enabled}
    return {folder: config.rows(folder, language.name) for folder in SOURCES.values() if used.get(folder, True)}


def file_state(path: Path) -> list[int] | None:
    """Size and modification time (ns) of a file; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def database_state(path: Path) -> dict[str, list[int] | None]:
    """Of a database with its write-ahead log, where most fresh rows are; of a folder: of what is in it."""
    inside = (found for pattern in ("*.db", "message/*", "storage/message/*") for found in path.glob(pattern))
    files = sorted(inside) if path.is_dir() else [path]
    return {str(name): file_state(name) for file in files for name in (file, Path(f"{file}-wal"))}


def repository_state(path: Path) -> list[str]:
    """What HEAD of a repository points to, read as files: no git is run, nothing of the repository can act."""
    folder = path / ".git" if (path / ".git").exists() else path
    try:
        if folder.is_file():  # a worktree or submodule: "gitdir: FOLDER"
            folder = Path(os.path.normpath(path / folder.read_text().removeprefix("gitdir:").strip()))
        head = (folder / "HEAD").read_text().strip()
        common = folder / "commondir"
        shared = folder / common.read_text().strip() if common.is_file() else folder
        reference = shared / head.removeprefix("ref:").strip()
        if reference.is_file():
            return [head, str(file_state(shared / "shallow")), reference.read_text().strip()]
        return [head, str(file_state(shared / "packed-refs")), str(file_state(shared / "reftable" / "tables.list"))]
    except (OSError, UnicodeDecodeError) as error:
        return [f"unreadable: {error}"]
