"""Rollouts: the installed opencode, in the sandbox, at a task that the owner has done; judged, and kept once finished.

    data/rollouts/LANGUAGE/tasks/…-COMMIT.json   whether the owner's tests can judge the task, and why not
    data/rollouts/LANGUAGE/runs/KEY/             result.json, opencode.db, changes.diff; the folder appears whole
                                                 (the database is as opencode wrote it, secrets too)
    data/rollouts/LANGUAGE/.work/                what is under way; the next round removes what a killed one left

KEY names task, version and number: what is there is never done again. The folder is open to the owner alone.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from specialists.agent import HOME, ROOT
from specialists.config import Config, Language, Problem, fingerprint
from specialists.records import read_json, temporary_folder, write_if_changed, write_json
from specialists.rollouts.model import ModelSocket
from specialists.rollouts.sandbox import remove, run
from specialists.rollouts.store import Store
from specialists.rollouts.verify import Task, Verifier
from specialists.secrets import SECRET, redact

STREAMS = max(1, min(8, (os.cpu_count() or 1) // 4))  # tasks at a time
SECONDS = 1800  # for one run
PORT = 8000  # of the model inside
_START = f'socat TCP-LISTEN:{PORT},fork,reuseaddr,bind=127.0.0.1 UNIX-CONNECT:/run/model/socket & exec "$@" < ~/request'
_OFF = ("AUTOUPDATE", "MODELS_FETCH", "SHARE", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
_DATABASE = ".local/share/opencode/opencode.db"


@dataclass(frozen=True)
class Solver:
    """A model that does tasks, and which version of it."""

    name: str  # in results: base, adapter, incumbent, endpoint
    version: str  # of no other solver
    url: str  # with /v1
    model: str  # its name there
    key: str | None = None


@dataclass(frozen=True)
class Round:
    """Tasks of a language to do, by every solver, [rollouts] runs times."""

    config: Config
    language: Language
    tasks: list[Task]
    solvers: list[Solver]
    program: Path  # opencode
    configuration: str  # opencode.json
    store: Callable[[Path], AbstractContextManager[Store]]  # of a repository
    is_test: Callable[[str], bool]  # of a path

    @property
    def folder(self) -> Path:
        return self.config.paths.data / "rollouts" / self.language.name

    def places(self, task: Task) -> dict[Path, tuple[Solver, int]]:
        """Where the runs of a task belong."""
        known = (task.repository.name, task.commit)
        wanted = [(solver, number) for number in range(self.config.rollouts.runs) for solver in self.solvers]
        return {self.folder / "runs" / fingerprint(*known, s.version, n): (s, n) for s, n in wanted}

    def missing(self, task: Task) -> list[Path]:
        return [place for place in self.places(task) if not place.exists()]

    def results(self) -> list[dict[str, Any]]:
        """The results that are there, each with its `folder`."""
        found = [(place, read_json(place / "result.json")) for task in self.tasks for place in self.places(task)]
        return [{**result, "folder": place} for place, result in found if result]

    def do(self, progress: Callable[[Iterable, str, int], Iterator]) -> list[str]:
        """Do what is missing, newest commit first; nothing new begins after [rollouts] minutes. Returns problems."""
        remove(self.folder / ".work")
        self.folder.chmod(0o700)
        tasks = sorted(filter(self.missing, self.tasks), key=lambda task: task.time, reverse=True)
        problems, stop, end = list[str](), threading.Event(), time.monotonic() + 60 * self.config.rollouts.minutes

        def reason() -> str:
            return "interrupted" if stop.is_set() else ""

        def one(task: Task) -> None:
            work, hard = self.folder / ".work" / f"{task.repository.name}-{task.commit}", None
            shown = task.shown(self.config.rollouts.read_only)
            if reason() or time.monotonic() > end:
                return
            try:
                with self.store(task.repository) as store:
                    verifier = Verifier(task, self.language, shown, store, work, self.is_test, reason)
                    for place in self.missing(task):
                        if not reason() and time.monotonic() < end:
                            hard = hard or self.examined(verifier)
                            self._solve(verifier, hard, place, stop)
            except (Problem, OSError, subprocess.SubprocessError) as problem:
                problems.append(f"{task.repository.name} {task.commit[:10]}: {problem}")
            finally:
                remove(work)

        with ThreadPoolExecutor(STREAMS) as pool:
            try:
                list(progress(pool.map(one, tasks), "rollouts", len(tasks)))
            finally:
                stop.set()  # those under way end, and are not recorded
        remove(self.folder / ".work")
        return problems

    def examined(self, verifier: Verifier) -> dict[str, str]:
        """Verifier.examine, once for each task and test command."""
        path = self.folder / "tasks" / f"{fingerprint(self.language.test)}-{verifier.task.commit}.json"
        hard = read_json(path) or {k: redact(v, self.config.secrets)[0] for k, v in verifier.examine().items()}
        write_json(path, hard)
        return hard

    def _solve(self, verifier: Verifier, hard: dict[str, str], place: Path, stop: threading.Event) -> None:
        """One run. Raises Problem, and records nothing, where the model's server does not answer any more."""
        task, work, (solver, number) = verifier.task, verifier.work, self.places(verifier.task)[place]
        checkout, home, result = (work / name for name in ("checkout", "home", "result"))
        remove(work)
        write_if_changed(home / "request", task.request)
        write_if_changed(home / "opencode.json", self.configuration)
        verifier.store.throwaway(verifier.before, checkout)
        seed, began = int(fingerprint(task.commit, number)[:7], 16), time.monotonic()
        model = ModelSocket(solver.url, solver.model, solver.key, seed)
        ended, took = self._run(verifier, {HOME: home, ROOT: checkout}, model)
        if ended == "interrupted":
            return
        if ended == "down":
            stop.set()
            raise Problem(model.failure)
        took["seconds"] = round(time.monotonic() - began, 1)
        tree = verifier.store.tree_of(checkout, verifier.before)
        ended = "gave up" if ended == "done" and tree == verifier.before else ended
        scores = verifier.judge(tree, hard if ended == "done" else {"why": ended})
        good = scores["recall"] >= self.config.rollouts.recall if scores["passed"] is None else scores["passed"]
        patch = verifier.store.patch(verifier.before, tree).encode("utf-8", "replace").decode()
        patch, found = redact(patch, self.config.secrets)
        write_if_changed(result / "changes.diff", patch)
        leaks = any(one.category == SECRET for one in found)
        good = _take_database(home, result) and good and ended == "done" and not leaks
        outcome = {"ended": ended, "kept": good, "hard": hard["why"] or "yes", **scores, **took}
        about = {"repository": task.repository.name, "model": solver.name, "version": solver.version, "run": number}
        write_json(result / "result.json", {**asdict(task), **about, **outcome})
        place.parent.mkdir(exist_ok=True)
        os.rename(result, place)

    def _run(self, verifier: Verifier, folders: dict[str, Path], model: ModelSocket) -> tuple[str, dict[str, float]]:
        """opencode at a task: how it ended (done, refused, failed, or why it was ended), and what it took."""
        variables = {"OPENCODE_CONFIG": f"{HOME}/opencode.json", **{f"OPENCODE_DISABLE_{what}": "1" for what in _OFF}}
        arguments = f"run --format json --agent {self.language.adapter}".split()
        words = ["sh", "-c", _START, "sh", str(self.program), *arguments]
        # a socket's path has to be short
        with temporary_folder("rollout-") as folder, model.listening(folder / "socket"):
            program = self.program.parent
            shown = {**verifier.shown, str(program): program, "/run/model": folder}
            ended = run(words, folders, shown, ROOT, SECONDS, lambda: model.ended or verifier.stop(), **variables)
        how = ended.limit or model.ended or ("refused" if model.failure else "failed" if ended.code else "done")
        return how, {"steps": model.steps, **_spent(ended.output)}


def _spent(output: str) -> dict[str, int]:
    """Tokens read and written, and calls that failed, of the events that `opencode run` prints."""
    tokens = failed = 0
    for line in output.splitlines():
        with suppress(ValueError, LookupError, TypeError, AttributeError):  # no event
            part = json.loads(line)["part"]
            failed += part["type"] == "tool" and part["state"]["status"] == "error"
            tokens += part["tokens"]["input"] + part["tokens"]["output"] if part["type"] == "step-finish" else 0
    return {"tokens": tokens, "failed calls": failed}


def _take_database(home: Path, result: Path) -> bool:
    """Keep opencode's database and its log, but where something inside made them links; whether there is one."""
    for end in ("", "-wal"):
        path = os.path.join(os.path.realpath(home), _DATABASE + end)
        if os.path.realpath(path) == path and os.path.isfile(path):
            os.chmod(path, 0o600)
            os.rename(path, result / f"opencode.db{end}")
    return (result / "opencode.db").is_file()
