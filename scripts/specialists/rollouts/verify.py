"""What a rollout made, against what the owner made of the same task.

Soft: recall and precision of the owner's changed lines, as SERA has it (arXiv 2601.20789). Hard, where the owner names
a test command: his test and project files are laid over the result; the command has to end well, as it does with his
commit and does not before. All of it runs in the sandbox.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.agent import HOME, ROOT
from specialists.config import Language, Problem
from specialists.rollouts.sandbox import remove, run
from specialists.rollouts.store import Lines, Store

SECONDS = 900  # for one run of the tests
LAST = 2000  # characters kept of what failing tests print


@dataclass(frozen=True)
class Task:
    """A commit of the owner's, to be made again from its parent, in a checkout at ROOT."""

    repository: Path
    commit: str
    time: str  # of the commit, ISO 8601
    request: str

    def shown(self, read_only: tuple[str, ...]) -> dict[str, Path]:
        """Paths of [rollouts] read_only, inside -> outside; those in the owner's home are in the sandbox's too."""
        found: dict[str, Path] = {}
        for outside in (Path(name).expanduser() for name in read_only):
            found[str(Path(ROOT, outside))] = self.repository / outside  # an absolute one stays as it is
            if outside.is_relative_to(Path.home()):
                found[f"{HOME}/{outside.relative_to(Path.home())}"] = outside
        return {inside: outside for inside, outside in found.items() if outside.exists()}


@dataclass
class Verifier:
    """Judges results of one task."""

    task: Task
    language: Language
    shown: dict[str, Path]
    store: Store
    work: Path  # a folder for its checkouts
    is_test: Callable[[str], bool]  # of a path
    stop: Callable[[], str] = lambda: ""  # why to end at once

    def __post_init__(self) -> None:
        self.before, self.after = self.store.tree(f"{self.task.commit}^"), self.store.tree(self.task.commit)
        self.own = self.store.changed(self.before, self.after)
        self.failed = ""  # the end of what the tests printed when they last failed

    def examine(self) -> dict[str, str]:
        """Why there is no hard verification ("why", else empty), with what failing tests print at last ("says"); and
        the line that passing tests end with ("end")."""
        if not self.language.test or not any(self.is_test(path) for path, _sign, _line in self.own):
            return {"why": "the commit has no tests" if self.language.test else "no test command"}
        first, second = self._tested(self.after), self._tested(self.after)
        if first is None or second is None:
            why = "tests fail with the commit" if first is second else "tests are not deterministic"
            return {"why": why, "says": self.failed}
        if self._tested(self._with_tests(self.before)) is not None:
            return {"why": "tests pass before the commit"}
        return {"why": "", "end": next((line for line in reversed(first) if line in second), "")}

    def judge(self, result: str, hard: dict[str, str]) -> dict[str, Any]:
        """The scores of a result's tree; `passed` is None without hard verification."""
        own, made = self._code(self.own), self._code(self.store.changed(self.before, result))
        sizes, passed = {"recall": own.total(), "precision": made.total()}, None
        if not hard["why"]:
            lines = self._tested(self._with_tests(result))
            passed = lines is not None and hard["end"] in [*lines, ""]  # else the tests were cut short
        shares = {name: round((own & made).total() / max(1, size), 3) for name, size in sizes.items()}
        return {**shares, "passed": passed}

    def _code(self, lines: Lines) -> Lines:
        """Changed lines without tests, which nobody writes twice the same; all where there is nothing else."""
        return Lines({key: count for key, count in lines.items() if not self.is_test(key[0])}) or lines

    def _with_tests(self, tree: str) -> str:
        """A tree with the owner's tests, and with his files that say how they are run."""
        project = self.language.files
        return self.store.with_files_of(self.after, tree, lambda p: self.is_test(p) or p.rpartition("/")[2] in project)

    def _tested(self, tree: str) -> list[str] | None:
        """What the tests print over a tree, figures and rulers aside; None when they fail or break a limit."""
        checkout, home = self.work / "tests", self.work / "tests-home"
        try:
            home.mkdir(parents=True)
            self.store.check_out(tree, checkout)
            ended = run(self.language.test, {HOME: home, ROOT: checkout}, self.shown, ROOT, SECONDS, self.stop)
        finally:
            remove(checkout)
            remove(home)
        if self.stop():
            raise Problem("interrupted")
        self.failed = ended.output[-LAST:] if ended.code or ended.limit else self.failed
        masked = re.sub(r"([^\w\s])\1+", r"\1", re.sub(r"\d[\d.]*", "0", ended.output))
        return None if ended.code or ended.limit else [line.strip() for line in masked.split("\n") if line.strip()]
