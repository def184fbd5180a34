"""Where a git repository keeps its parts, told from its files alone; and git run so that nobody's settings matter.

Everything here is read as data: HEAD, packed references, alternates, the pointers of linked worktrees and submodules. A
path that is no regular file (a FIFO would wait forever) is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from specialists.config import Problem

MAX_LINE = 1 << 16  # bytes of HEAD, of a pointer, of a loose reference
MAX_REFERENCES = 256 << 20  # bytes of packed-refs
MAX_ALTERNATES = 5  # how deep git itself follows alternates of alternates

OBJECT_ID = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


class Unreadable(Problem):
    """A repository that cannot be read: the rest goes on without it."""


@dataclass(frozen=True)
class Layout:
    """Where a repository keeps its parts."""

    git_dir: Path
    common_dir: Path  # differs from git_dir in a linked worktree

    @classmethod
    def of(cls, path: Path) -> Layout:
        """Of a work tree, a linked worktree, a submodule's checkout or a bare repository.

        Raises Unreadable when the folder is none of these.
        """
        marker = path / ".git"
        if marker.is_dir():
            git_dir = marker
        elif marker.exists():
            target = text(marker, MAX_LINE).strip()
            if not target.startswith("gitdir:"):
                raise Unreadable(f"{path}: .git is neither a folder nor a pointer to one")
            git_dir = path / target.removeprefix("gitdir:").strip()
        else:
            git_dir = path
        common = git_dir / "commondir"
        common_dir = git_dir / text(common, MAX_LINE).strip() if common.exists() else git_dir
        if not ((git_dir / "HEAD").is_file() and (common_dir / "objects").is_dir()):
            what = "no git repository there" if path.is_dir() else "not there"
            raise Unreadable(f"{path}: {what}")
        return cls(git_dir, common_dir)

    def head(self) -> str | None:
        """The id of the commit that HEAD means; None for an unborn branch."""
        value = text(self.git_dir / "HEAD", MAX_LINE).strip()
        for _ in range(5):  # symbolic references may point to symbolic references
            if not value.startswith("ref:"):
                if OBJECT_ID.fullmatch(value):
                    return value
                raise Unreadable(f"{self.git_dir}: HEAD is no reference and no commit")
            name = value.removeprefix("ref:").strip()
            if name == "refs/heads/.invalid":
                return self._head_in_reftable()
            if not name.startswith("refs/") or ".." in name.split("/"):
                raise Unreadable(f"{self.git_dir}: HEAD points outside of refs/")
            found = self._reference(name)
            if found is None:
                return None
            value = found
        raise Unreadable(f"{self.git_dir}: HEAD goes round in circles")

    def _reference(self, name: str) -> str | None:
        for folder in (self.git_dir, self.common_dir):
            if (folder / name).exists() and not (folder / name).is_dir():
                return text(folder / name, MAX_LINE).strip()
        packed = self.common_dir / "packed-refs"
        if not packed.exists():
            return None
        found = re.search(rf"^({OBJECT_ID.pattern}) {re.escape(name)}$", text(packed, MAX_REFERENCES), re.M)
        return found[1] if found else None

    def _head_in_reftable(self) -> str | None:
        """HEAD where references are in reftables: git reads a copy of the tables, in a repository of our own."""
        form = _config_values(self.common_dir / "config", "extensions.objectformat") or ["sha1"]
        with tempfile.TemporaryDirectory(prefix="git-refs-") as name:
            folder = Path(name)
            kind = ["--ref-format=reftable", f"--object-format={form[-1].lower()}"]
            if run_git(["init", "-q", "--bare", "--template=", *kind, "."], folder).returncode:
                raise Unreadable(f"{self.git_dir}: its references are in reftables, for which git 2.45 is needed")
            _only_files(self.git_dir / "reftable")
            shutil.rmtree(folder / "reftable")
            shutil.copytree(self.git_dir / "reftable", folder / "reftable")
            shown = run_git(["rev-parse", "--verify", "-q", "HEAD"], folder).stdout.decode("ascii", "replace").strip()
            return shown if OBJECT_ID.fullmatch(shown) else None

    def alternates(self) -> bytes:
        """What makes the objects of this repository those of another: the content of its `objects/info/alternates`."""
        return b"".join(os.fsencode(f"{_quoted(str(folder))}\n") for folder in self.object_folders())

    def object_folders(self) -> list[Path]:
        """The object folder and all that it borrows from, nested ones too, whose relative paths git would not follow
        from another repository. What is not there is left out: the objects in it are then missing."""
        found, waiting = [], [(self.common_dir / "objects", 0)]
        while waiting:
            folder, depth = waiting.pop(0)
            folder = Path(os.path.realpath(folder))
            if folder in found or not folder.is_dir():
                continue
            _only_files(folder)
            found.append(folder)
            listed = folder / "info" / "alternates"
            if depth < MAX_ALTERNATES and listed.exists():
                for line in text(listed, 1 << 20).split("\n"):
                    if line and not line.startswith("#"):
                        waiting.append((folder / _unquoted(line), depth + 1))
        return found


def _only_files(folder: Path) -> None:
    """Raises Unreadable when an object folder holds what git would wait for, or read without end."""
    for parent, folders, _files in os.walk(folder):
        if parent != str(folder):
            folders.clear()  # objects lie one level down
        for entry in os.scandir(parent):
            if not (entry.is_dir() or entry.is_file() or (entry.is_symlink() and not os.path.exists(entry))):
                raise Unreadable(f"{entry.path}: not a file that git would write")


def owner_emails(path: Path) -> list[str]:
    """`git config user.email` of a repository and of the owner, read without following what the repository includes."""
    try:
        found = _config_values(Layout.of(path).common_dir / "config", "user.email")
    except (Unreadable, OSError):
        found = []
    with tempfile.TemporaryDirectory(prefix="git-config-") as folder:
        shown = subprocess.run(
            ["git", "config", "--global", "--includes", "--get-all", "user.email"],
            cwd=folder,
            env={**os.environ, "GIT_DIR": folder},
            capture_output=True,
            check=False,
        )
    found += shown.stdout.decode("utf-8", "replace").split("\n")
    return list(dict.fromkeys(email.strip().lower() for email in found if email.strip()))


def _config_values(path: Path, key: str) -> list[str]:
    """The values of a key in a repository's configuration, parsed by git as a file like any other, without includes."""
    if not path.is_file():
        return []
    with tempfile.TemporaryDirectory(prefix="git-config-") as folder:
        shown = run_git(["config", "--file", str(path.absolute()), "--no-includes", "--get-all", key], Path(folder))
    return [line for line in shown.stdout.decode("utf-8", "replace").split("\n") if line]


def environment(home: Path) -> dict[str, str]:
    """Nothing of the owner's git configuration or environment; no network, no prompts, no lazy fetches."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_PAGER": "cat",
    }


def run_git(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, env=environment(folder), capture_output=True, check=False
        )
    except FileNotFoundError:
        raise Problem("git: not installed, or not on the PATH") from None


def text(path: Path, limit: int) -> str:
    """A small file's text. Raises Unreadable for what is no regular file (a FIFO would wait forever) or too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise Unreadable(f"{path}: not a file that git would write")
        return os.fsdecode(file.read())


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _unquoted(line: str) -> str:
    if not (line.startswith('"') and line.endswith('"')):
        return line
    return re.sub(r"\\(.)", lambda part: {"n": "\n", "t": "\t"}.get(part[1], part[1]), line[1:-1])


def last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "git said nothing"
