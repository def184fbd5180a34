"""The demo's git repositories: one a language, with a history as projects have it, the same hashes every time.

Functions appear, mostly with a bug that is fixed later; there are tests, wishes, renames, documentation, a merge, a
revert, a bot that raises a dependency, a lock file. Written through `git fast-import`, one process per repository, with
fixed names and dates and without the owner's git configuration.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stamps import make_once
from stories import FOLDER, LANGUAGES, Function, Project, State, commit_changes, initial_traits, name_of, project

HERE = Path(__file__).resolve().parent
SEED = 17
ADA = "Ada Demo <ada@demo.example>"
BEN = "Ben Demo <ben@demo.example>"  # somebody else, whose commits are not the owner's
BOT = "renewal[bot] <renewal[bot]@demo.example>"
FIRST = 1_767_600_000  # 5 January 2026
DAY = 86_400

MESSAGES = {
    "added": ("Add {name} to {goal}", "feat({module}): add {name} to {goal}"),
    "fixed": ("Fix {name}: {symptom}", "fix({module}): correct {name}, since {symptom}"),
    "wider": ("Make {name} {wish}", "feat({module}): make {name} {wish}"),
    "renamed": ("Rename {name} to {rename}", "refactor({module}): rename {name} to {rename}"),
    "documented": ("Document what {name} does", "docs({module}): document {name}"),
}


def make(out: Path) -> None:
    """Make out/repositories, one folder a project, unless they are there already."""
    sources = [HERE / "make_repositories.py", HERE / "stories.py", *sorted(FOLDER.glob("*.toml"))]
    make_once(out / "repositories", sources, build)


def build(folder: Path) -> None:
    """Write all repositories into a folder."""
    for language in LANGUAGES:
        spec = project(language)
        repository = folder / spec.name
        repository.mkdir(parents=True)
        _git(repository, "init", "--quiet", "--template=", "--initial-branch=main")
        _git(repository, "fast-import", "--quiet", stdin=stream(spec))
        _git(repository, "reset", "--quiet", "--hard")


def stream(spec: Project) -> bytes:
    """A project's history as `git fast-import` reads it."""
    history = History(spec)
    rng = random.Random(f"{SEED} {spec.language}")
    history.commit("Start the project\n")
    changes, merged = _walk(spec, rng), False
    while changes:
        number, change = len(history.commits), changes.pop(0)
        if number >= 19 and not merged and changes[0][0] is not change[0]:
            _merge(history, change, changes.pop(0), rng)
            merged = True
            continue
        _apply(history, change, rng)
        if number == 7:
            history.commit("Bump the test dependency to its newest release\n", author=BOT, lock=2)
        elif number == 13:
            _take_back(history, spec)
        elif number == 25:
            history.commit("Say in the README how the tests are run\n", author=BEN, usage=True)
    return history.stream()


@dataclass
class History:
    """Commits one after the other, each with all files of its state."""

    spec: Project
    state: State = frozenset()
    lock: int = 1
    usage: bool = False
    commits: list[str] = field(default_factory=list)

    def commit(
        self,
        message: str,
        traits: Iterable[tuple[str, str]] = (),
        author: str = ADA,
        merge: int | None = None,
        parent: int | None = None,
        lock: int | None = None,
        usage: bool = False,
    ) -> int:
        """Add a commit on top of the newest one, or of `parent`; returns its mark."""
        self.state |= frozenset(traits)
        self.lock, self.usage = lock or self.lock, self.usage or usage
        mark = len(self.commits) + 1
        when = f"{FIRST + mark * 6 * DAY + mark * 7919 % 30_000} +0100"
        data = message.encode()
        lines = [
            f"commit refs/heads/main\nmark :{mark}\nauthor {author} {when}\ncommitter {author} {when}",
            f"data {len(data)}\n{message}",
        ]
        if mark > 1:
            lines.append(f"from :{parent or mark - 1}")
        if merge:
            lines.append(f"merge :{merge}")
        lines.append("deleteall")
        for path, text in sorted(self._files().items()):
            lines.append(f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}")
        self.commits.append("\n".join(lines) + "\n")
        return mark

    def stream(self) -> bytes:
        return "".join(self.commits).encode()

    def _files(self) -> dict[str, str]:
        files = self.spec.render(self.state)
        files[self.spec.lock] = self.spec.lock_text.replace("@n", str(self.lock))
        if self.usage:
            command = self.spec.check_command(self.spec.functions[0])
            files["README.md"] += f"\nThe tests of a module are run by `{command}`.\n"
        return files


Change = tuple[Function, tuple[str, ...]]


def _walk(spec: Project, rng: random.Random) -> list[Change]:
    """All changes in some order: a function's first comes first, the rest in theirs."""
    first = initial_traits(spec.language)
    queues = [
        [
            (function, ("added", *sorted(first[function.name] - {"added"}))),
            *(change for change in commit_changes(spec.language) if change[0] is function),
        ]
        for function in spec.functions
    ]
    walk = [queues[0].pop(0)]
    while queues:
        queue = rng.choice(queues[:3])  # a few functions at a time
        walk.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    return walk


def _message(function: Function, trait: str, state: State, rng: random.Random) -> str:
    text = rng.choice(MESSAGES[trait]).format(
        name=name_of(function, state),
        rename=function.rename,
        goal=function.goal,
        symptom=function.symptom,
        wish=function.wish,
        module=function.module,
    )
    if trait == "added" and rng.random() < 0.4:
        return f"{text}\n\n{function.doc}\n"
    return f"{text}\n"


def _take_back(history: History, spec: Project) -> None:
    """A test that came too early, and its revert."""
    function = spec.functions[0]
    before = history.state
    title = f"Add a test for {name_of(function, before)}"
    history.commit(f"{title}\n", {(function.name, "tested")})
    history.state = before
    history.commit(f'Revert "{title}"\n\nThe bug that it shows is not fixed yet.\n')


def _merge(history: History, aside: Change, meanwhile: Change, rng: random.Random) -> None:
    """A change on a branch, another one on main meanwhile, and the merge of both."""
    fork, before = len(history.commits), history.state
    branch = _apply(history, aside, rng)
    after, history.state = history.state, before
    _apply(history, meanwhile, rng, parent=fork)
    history.commit(f"Merge branch '{aside[0].module}'\n", after, merge=branch)


def _apply(history: History, change: Change, rng: random.Random, parent: int | None = None) -> int:
    function, traits = change
    message = _message(function, traits[0], history.state, rng)
    return history.commit(message, {(function.name, trait) for trait in traits}, parent=parent)


def _git(repository: Path, *arguments: str, stdin: bytes | None = None) -> None:
    """Run git without anybody's configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C",
    }
    subprocess.run(["git", *arguments], cwd=repository, env=environment, input=stdin, check=True, capture_output=True)
