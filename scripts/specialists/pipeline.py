"""What the tasks of dodo.py are made of: running a script of ours, and asking whether anything changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed

from specialists.config import PARTIAL, Config, fingerprint

SCRIPTS = Path(__file__).resolve().parents[1]


def command(config: Config, script: str, *arguments: str | Path) -> list[str]:
    """The command line of a script of ours, under a configuration."""
    return [sys.executable, str(SCRIPTS / f"{script}.py"), "--config", str(config.path), *map(str, arguments)]


def run(arguments: list[str]) -> bool | TaskFailed:
    """Run a command as an action; it says itself what went wrong. What it skipped, the task `check` reports."""
    code = subprocess.run(arguments, check=False).returncode
    return code in (0, PARTIAL) or TaskFailed(f"{Path(arguments[1]).name} ended with exit code {code}", report=False)


def unchanged(describe: Callable[[], Any]) -> Callable:
    """For `uptodate`: true while what `describe()` returns is what it was when the task last succeeded."""

    def uptodate(task: Any, values: dict) -> bool:
        now = fingerprint(describe())
        task.value_savers.append(lambda: {"described": now})
        return values.get("described") == now

    return uptodate


def problems(config: Config) -> list[str]:
    """Everything that is wrong with the configuration or missing, and everything that steps had to skip."""
    found = [f"{config.path}: {finding}" for finding in config.findings]
    for path in sorted(config.paths.data.glob("*/*summary.json")):
        try:
            found += json.loads(path.read_text(encoding="utf-8")).get("problems", [])
        except (OSError, ValueError) as error:
            found.append(f"{path}: cannot be read: {error}")
    return list(dict.fromkeys(found))


def check(config: Config) -> bool | TaskFailed:
    """Print all problems, one a line; fails when there is one."""
    found = problems(config)
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return not found or TaskFailed(f"{len(found)} problems", report=False)
