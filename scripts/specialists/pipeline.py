"""What the tasks of dodo.py are made of: running a script of ours, and asking whether anything changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from doit import Globals
from doit.control import TaskControl
from doit.exceptions import TaskFailed
from doit.loader import load_tasks

from specialists.config import PARTIAL, Config, Problem, fingerprint
from specialists.sources import SCRIPTS, skipped


def command(config: Config, script: str, *arguments: str | Path) -> list[str]:
    """The command line of a script of ours, under a configuration."""
    return [sys.executable, str(SCRIPTS / f"{script}.py"), "--config", str(config.path), *map(str, arguments)]


def run(arguments: list[str]) -> bool | TaskFailed:
    """Run a command as an action; it says itself what went wrong. What it skipped, the task `check` reports."""
    process = subprocess.Popen(arguments)
    try:
        code = process.wait()
    except KeyboardInterrupt:  # doit was told to end: so is the step, which may first save what it has
        process.terminate()
        process.wait()
        raise
    return code in (0, PARTIAL) or TaskFailed(f"{Path(arguments[1]).name} ended with exit code {code}", report=False)


def become(arguments: list[str]) -> None:
    """Be the command from now on: signals of a service manager reach it, and doit does not wait beside it."""
    sys.stdout.flush()
    os.execv(arguments[0], arguments)


def run_with_options(arguments: list[str], **options: str) -> bool | TaskFailed:
    """Run a command with the options that were given to the task."""
    given = [part for name, value in options.items() if value for part in (f"--{name}", value)]
    return run([*arguments, *given])


class Unchanged:
    """For `uptodate`: true while everything that `describe()` names is what it was when the task last succeeded."""

    def __init__(self, describe: Callable[[], dict[str, Any]]):
        self.describe = describe

    def __call__(self, task: Any, values: dict[str, Any]) -> bool:
        now = self._now()
        task.value_savers.append(lambda: {"described": now})
        return values.get("described") == now

    def changes(self, values: dict[str, Any]) -> list[str]:
        """Names of what is new, gone or other than when the task last succeeded; empty when it never did."""
        before, now = values.get("described"), self._now()
        if not isinstance(before, dict):
            return []
        return [name for name in {**now, **before} if now.get(name) != before.get(name)]

    def _now(self) -> dict[str, str]:
        return {name: fingerprint(part) for name, part in self.describe().items()}


def keys(table: Any, prefix: str) -> dict[str, Any]:
    """A table of the configuration by key, e.g. {"mining.format": "agent", …}."""
    return {f"{prefix}.{name}": value for name, value in vars(table).items()}


def reasons(namespace: dict[str, Any], names: list[str]) -> dict[str, list[str]]:
    """Why the tasks of that name, and those that they need, would run: {task: reasons}, none where nothing changed.

    For use inside a doit run. Tasks come after what they need. Raises Problem for a name that is no task.
    """
    control = TaskControl(load_tasks(namespace))
    ordered: dict[str, list[str]] = {}
    place = {name: number for number, name in enumerate(control.tasks)}  # as written in dodo.py

    def visit(name: str) -> None:
        if name in ordered:
            return
        task = control.tasks[name]
        for needed in sorted(task.task_dep, key=place.__getitem__):
            visit(needed)
        if task.actions:  # a group has none
            ordered[name] = _changes(task, control.tasks)

    for name in names:
        if name not in control.tasks:
            raise Problem(f"{name}: no such task; `doit list --all` shows them")
        visit(name)
    return ordered


def _changes(task: Any, tasks: dict[str, Any]) -> list[str]:
    """What doit's state says of one task, in words."""
    task.init_options()
    found = Globals.dep_manager.get_status(task, tasks, get_log=True).reasons
    values = Globals.dep_manager.get_values(task.name)
    changed = []
    for condition, _args, _options in found["uptodate_false"]:
        if isinstance(condition, Unchanged):
            changed += condition.changes(values) or ["it did not run yet"]
    words = {
        "missing_target": "is missing",
        "changed_file_dep": "changed",
        "missing_file_dep": "is not made yet",
        "added_file_dep": "is read now",
        "removed_file_dep": "is read no more",
    }
    if "it did not run yet" not in changed:
        changed += [f"{_short(path)} {what}" for reason, what in words.items() for path in found[reason] or ()]
    return changed or (["its outcome is out of date"] if found["uptodate_false"] else [])


def _short(path: str) -> str:
    """A path under the working folder as seen from there."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def tell(words: Callable[[], str]) -> bool | TaskFailed:
    """Print what a function says, or the Problem that it meets."""
    try:
        sys.stdout.write(f"{words()}\n")
    except Problem as problem:
        sys.stderr.write(f"{problem}\n")
        return TaskFailed(str(problem), report=False)
    return True


def problems(config: Config) -> list[str]:
    """Everything that is wrong with the configuration or missing, and everything that steps had to skip."""
    return list(dict.fromkeys([*(f"{config.path}: {finding}" for finding in config.findings), *skipped(config)]))


def check(config: Config) -> bool | TaskFailed:
    """Print all problems, one a line; fails when there is one."""
    found = problems(config)
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return not found or TaskFailed(f"{len(found)} problems", report=False)
