"""The trees of a task in git: the parent's, the owner's, and what a rollout made of the parent's.

A store is a bare repository with the source's objects in reach and none of its configuration. It stays outside of the
sandbox, and no repository that something inside wrote is opened with git.
"""

import os
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.config import Problem
from specialists.rollouts.sandbox import remove, unlock

Lines = Counter[tuple[str, str, str]]  # (path, "+" or "-", the line without white space) of a change

_GIT = "git -c core.quotePath=false".split()
_DIFF = "diff -U0 -w --no-renames --no-color --no-ext-diff --no-textconv --ignore-submodules=all".split()
_MARKS = {"\1": "+", "\2": "-"}  # at the start of changed lines, where nothing else of a patch has them
_SECONDS = 300


@dataclass(frozen=True)
class Store:
    """git in the bare repository `folder`, with an environment that names no configuration but its own."""

    folder: Path
    environment: dict[str, str]

    def tree(self, revision: str) -> str:
        """The tree of a commit. Raises Problem where there is none."""
        return self._git("rev-parse", "--verify", f"{revision}^{{tree}}").strip()

    def check_out(self, tree: str, folder: Path) -> None:
        """Write a tree's files into a new folder; no hook, filter or program that its attributes name is run."""
        folder.mkdir(parents=True)
        self._git("read-tree", tree)
        self._git("checkout-index", "-a", "-f", at=folder)

    def throwaway(self, tree: str, folder: Path) -> None:
        """A repository of its own with the tree as its one commit: no other object, branch or remote is in reach."""
        self.check_out(tree, folder)
        git = ["git", "-c", "user.name=user", "-c", "user.email=user"]
        for words in ("init -q --template= -b main", "add -A -f", "commit -q --allow-empty -m Start"):
            subprocess.run([*git, *words.split()], cwd=folder, env=self.environment, check=True, timeout=_SECONDS)

    def tree_of(self, folder: Path, start: str) -> str:
        """The tree of a checkout that began as `start`, ignored files aside; repositories in it are removed first."""
        unlock(folder)
        for parent, folders, _files in os.walk(folder):
            remove(Path(parent, ".git"))
            folders[:] = (name for name in folders if name != ".git")
        self._git("read-tree", start)
        self._git("add", "-A", at=folder)
        return self._git("write-tree").strip()

    def with_files_of(self, owner: str, tree: str, chosen: Callable[[str], bool]) -> str:
        """A tree whose chosen paths are all as in the owner's: changed back, put there, taken away."""
        entries = {name: self._git("ls-tree", "-r", "-z", name).split("\0")[:-1] for name in (owner, tree)}
        paths = [entry.partition("\t")[2] for entry in entries[tree]]
        gone = [f"0 {'0' * len(tree)}\t{path}\0" for path in paths if chosen(path)]
        back = [f"{entry}\0" for entry in entries[owner] if chosen(entry.partition("\t")[2])]
        self._git("read-tree", tree)
        self._git("update-index", "-z", "--replace", "--index-info", given="".join(gone + back))
        return self._git("write-tree").strip()

    def changed(self, before: str, after: str) -> Lines:
        """The lines that differ between two trees, white space aside."""
        found: Lines = Counter()
        marks = [f"--output-indicator-{kind}={mark}" for kind, mark in zip(("new", "old"), _MARKS, strict=True)]
        for line in self.patch(before, after, *marks).split("\n"):
            if line.startswith("diff --git "):  # a/PATH b/PATH, the same without renames
                path = line[13 : (len(line) + 10) // 2]
            elif line[:1] in _MARKS and (text := "".join(line[1:].split())):
                found[path, _MARKS[line[0]], text] += 1
        return found

    def patch(self, before: str, after: str, *options: str) -> str:
        """The same as a patch without context."""
        return self._git(*_DIFF, *options, before, after)

    def _git(self, *arguments: str, at: Path | None = None, given: str = "") -> str:
        words = [*_GIT, f"--git-dir={self.folder}", *([f"--work-tree={at}"] if at else []), *arguments]
        how: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "timeout": _SECONDS}
        how |= {"cwd": at or self.folder, "env": self.environment}
        done = subprocess.run(words, input=given, capture_output=True, check=False, **how)
        if done.returncode:
            raise Problem(f"git {arguments[0]}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        return done.stdout
