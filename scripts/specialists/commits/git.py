"""Git repositories read as data: history, trees and blobs, and nothing of the repository acts.

A repository's configuration can run programs (fsmonitor, textconv, hooks…). So git works in a bare repository of ours,
the shim, which has the source's object folders as alternates; only where HEAD points is asked in the source. `commits`
gives all metadata (a tenth of the cost of `git log -p`), `blobs` the contents that the caller chose; both are streams.
"""

import contextlib
import hashlib
import json
import math
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from sys import intern
from typing import IO, Any, NamedTuple, cast

from specialists.config import Problem
from specialists.records import temporary_folder

REGULAR = ("100644", "100755")
MAX_BLOB = 1 << 19  # bytes; larger files are never held in memory, their content counts as not there
CHUNK = 1 << 17  # bytes asked of a pipe at once
LIMIT = 60  # seconds for a command that takes milliseconds

_SMALL = (  # git maps whole packs into memory, 210 MB for one of 120 MB; so it takes 90, in no more time
    "-c core.packedGitWindowSize=512k -c core.packedGitLimit=16m -c core.deltaBaseCacheLimit=40m "
    f"-c core.bigFileThreshold={MAX_BLOB}"
).split()
_LOG = "log -z --raw --root --no-renames --no-abbrev --no-notes --no-show-signature --no-color --encoding=UTF-8".split()
_ENVIRONMENT = (  # no configuration but the shim's; no network, no prompts, no lazy fetches
    "LC_ALL=C GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1 "
    "GIT_NO_LAZY_FETCH=1 GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=none GIT_PAGER=cat"
)
_FORMAT = "--format=%H%x00%P%x00%at%x00%ct%x00%ae%x00%aE%x00%an%x00%B%x00"


class Unreadable(Problem):
    """A repository that cannot be read: the rest goes on without it."""


class Change(NamedTuple):  # made by the hundred thousand: tuples are made faster than dataclasses
    """One path in one commit; ids of zeros where there is no file before or after."""

    before_mode: str
    after_mode: str
    before: str
    after: str
    status: str  # A added, M modified, D deleted, T type changed
    path: str  # bytes that are no UTF-8 stand as surrogates


class Commit(NamedTuple):
    sha: str
    parents: tuple[str, ...]
    author_time: int  # seconds since 1970, as the author's clock had it
    commit_time: int
    email: str  # lower case
    mapped_email: str  # after the repository's own .mailmap
    author: str
    message: bytes  # UTF-8 where git could tell the encoding
    changes: list[Change]  # none for merges; a rename is a deletion and an addition


@contextlib.contextmanager
def open_repository(path: Path) -> Iterator["GitSource"]:
    """A repository, for reading. Raises Unreadable when there is none at `path`, or none that can be read."""
    with temporary_folder("git-shim-") as shim:
        yield GitSource(path.absolute(), shim)


class GitSource:
    """One repository. `problems` names what could not be read and was passed over; git works in `shim`."""

    def __init__(self, path: Path, shim: Path):
        self.path, self.shim = path, shim
        self.problems: list[str] = []
        common_dir, self.head = _resolved(path, shim)
        kind = ["--object-format=sha256"] if self.head and len(self.head) == 64 else []
        _git(path, shim, "init", "-q", "--bare", "--template=", *kind, ".")
        borrowed = [json.dumps(str(folder), ensure_ascii=False) for folder in _object_folders(common_dir)]
        (shim / "objects" / "info" / "alternates").write_bytes(os.fsencode("\n".join(borrowed) + "\n"))
        edge = common_dir / "shallow"
        self.shallow = set(edge.read_text("ascii", "replace").split()) if edge.exists() else set()
        if self.shallow:
            (shim / "shallow").write_text("".join(f"{sha}\n" for sha in self.shallow))

    def commits(self) -> Iterator[Commit]:
        """All commits that HEAD reaches, newest first. Raises Unreadable when not even the first can be read."""
        if self.head is None:
            return
        mailmap = ["-c", f"mailmap.blob={self.head}:.mailmap"]
        found = _parsed(self._fields("history", *mailmap, *_LOG, _FORMAT, self.head, "--"))
        if (newest := next(found, None)) is None:
            raise Unreadable(self.problems.pop())
        yield from chain([newest], found)

    @cached_property
    def tree(self) -> dict[str, tuple[str, str]]:
        """Path -> (mode, id) of every file in HEAD; empty for an unborn branch."""
        found = {}
        for entry in self._fields("HEAD's tree", "ls-tree", "-r", "-z", "--full-tree", self.head) if self.head else ():
            about, _, path = entry.partition(b"\t")
            mode, _kind, sha = about.decode("ascii").split(" ")
            found[_decoded(path)] = (mode, sha)
        return found

    def texts(self, endings: tuple[str, ...], since: float) -> Iterator[tuple[float, str]]:
        """Files with these endings as commits from `since` on left them, with their time; HEAD's with infinity."""
        found = [(math.inf, blob) for path, (_mode, blob) in self.tree.items() if path.endswith(endings)]
        for commit in self.commits():
            new = [one.after for one in commit.changes if one.path.endswith(endings) and one.after.strip("0")]
            found += [(commit.author_time, blob) for blob in new if commit.author_time >= since]
        for (time, _blob), content in zip(found, self.blobs(blob for _time, blob in found), strict=True):
            yield time, (content or b"").decode("utf-8", "replace")

    def blobs(self, ids: Iterable[str]) -> Iterator[bytes | None]:
        """The content of each blob, in order; None where it is missing, corrupt or over MAX_BLOB."""
        waiting, done = list(ids), 0
        while done < len(waiting):  # a corrupt object ends the process; another one goes on behind it
            with self._running("cat-file", "--batch", "--buffer", requests=waiting[done:]) as (process, _errors):
                alive = True
                while alive and done < len(waiting):
                    content, alive = _answer(cast(BufferedReader, process.stdout), waiting[done])
                    done += 1
                    yield content

    def _fields(self, what: str, *arguments: str) -> Iterator[bytes]:
        """What git writes between NUL bytes; where it fails in the end, `what` is among the problems."""
        with self._running(*arguments) as (process, errors):
            rest = b""
            while chunk := cast(BufferedReader, process.stdout).read1(CHUNK):
                *whole, rest = (rest + chunk).split(b"\0")
                yield from whole
            if process.wait():
                errors.seek(0)
                self.problems.append(f"{self.path}: {what} cannot be read to its end: {_last_line(errors.read())}")

    @contextlib.contextmanager
    def _running(self, *arguments: str, requests: Iterable[str] = ()) -> Iterator[tuple[subprocess.Popen, IO[bytes]]]:
        """A git process in the shim, and its messages. Requests lie in a file: nobody writes while somebody reads."""
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
            asked.writelines(f"{request}\n".encode() for request in requests)
            asked.seek(0)
            command = ["git", "--no-pager", f"--git-dir={self.shim}", *_SMALL, *arguments]
            pipes: dict[str, Any] = {"stdin": asked, "stdout": subprocess.PIPE, "stderr": errors, "bufsize": CHUNK}
            process = subprocess.Popen(command, cwd=self.shim, env=environment(self.shim), **pipes)
            try:
                yield process, errors
            finally:
                process.kill()
                process.communicate()


def _answer(output: BufferedReader, sha: str) -> tuple[bytes | None, bool]:
    """What `cat-file --batch` writes for one blob, None where it is of no use, and whether more can follow."""
    header = output.readline()
    if not header.endswith(b"\n") or header.endswith(b" missing\n"):
        return None, bool(header)
    size = int(header.rsplit(b" ", 1)[1])
    rest, content = size + 1, b""  # a line end behind it shows that all of it is there
    while rest and (chunk := output.read(min(rest, MAX_BLOB + 1))):
        rest, content = rest - len(chunk), chunk
    digest = hashlib.new("sha1" if len(sha) == 40 else "sha256", b"blob %d\0" % size, usedforsecurity=False)
    digest.update(content[:-1])  # git does not look whether it fits the id, and alternates may hold anything
    return content[:-1] if size <= MAX_BLOB and digest.hexdigest() == sha else None, not rest


def _parsed(fields: Iterator[bytes]) -> Iterator[Commit]:
    """Commits of a `log -z --raw` in _FORMAT."""
    commit: Commit | None = None
    for item in fields:
        if commit and item.startswith((b"\n:", b":")):
            before_mode, after_mode, before, after, status = map(intern, item.lstrip(b"\n:").decode("ascii").split(" "))
            path = _decoded(next(fields, b""))
            commit.changes.append(Change(before_mode, after_mode, before, after, status[0], path))
        elif item:
            if commit:
                yield commit
            about = list(islice(fields, 7))
            if len(about) < 7:  # git broke off
                return
            parents, *times, email, mapped, author, message = about
            authored, committed = (int(time) if time.lstrip(b"-").isdigit() else 0 for time in times)
            names = _decoded(email).lower(), _decoded(mapped).lower(), _decoded(author)
            ids = item.decode("ascii"), tuple(parents.decode("ascii").split())
            commit = Commit(*ids, authored, committed, *names, message, [])
    if commit:
        yield commit


def _decoded(name: bytes) -> str:
    """A path or a name, which come again and again and are held once."""
    return intern(name.decode("utf-8", "surrogateescape"))


def _resolved(path: Path, home: Path) -> tuple[Path, str | None]:
    """The git folder that all worktrees of a repository share, and the commit that HEAD means (None: unborn branch)."""
    git_dir = f"--git-dir={path / '.git' if (path / '.git').exists() else path}"
    shown = _git(path, home, git_dir, "rev-parse", "--path-format=absolute", "--git-common-dir")
    common_dir = Path(os.fsdecode(shown.stdout).removesuffix("\n"))
    _check_files(common_dir, "*", "refs/**/*", "reftable/*")
    head = _git(path, home, git_dir, "rev-parse", "--verify", "-q", "HEAD", allowed=1).stdout.decode("ascii").strip()
    if not head:  # this fails where a reference is broken, not where there is none yet
        _git(path, home, git_dir, "symbolic-ref", "HEAD")
    return common_dir, head or None


def _object_folders(common_dir: Path) -> list[Path]:
    """The object folder and all that it borrows from: git would not follow relative paths from another repository."""
    found, waiting = list[Path](), [common_dir / "objects"]
    while waiting:
        folder = Path(os.path.realpath(waiting.pop(0)))
        if folder not in found and folder.is_dir():
            _check_files(folder, "*/*")
            found.append(folder)
            listed = folder / "info" / "alternates"
            lines = os.fsdecode(listed.read_bytes()).split("\n") if listed.exists() else []
            waiting += [folder / line.strip('"') for line in lines if line and not line.startswith("#")]
    return found


def _check_files(folder: Path, *patterns: str) -> None:
    """Raises Unreadable when a folder holds what git would wait for (a FIFO), or read without end (a device)."""
    for path in (path for pattern in patterns for path in folder.glob(pattern) if path.exists()):
        if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise Unreadable(f"{path}: not a file that git would write")


def environment(home: Path) -> dict[str, str]:
    """Nothing of the owner's git configuration or environment."""
    fixed = dict(item.split("=") for item in _ENVIRONMENT.split())
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "XDG_CONFIG_HOME": str(home), **fixed}


def _git(path: Path, home: Path, *arguments: str, allowed: int = 0) -> subprocess.CompletedProcess:
    """One short git command. Raises Unreadable when it fails with a higher exit code than is allowed, or hangs."""
    if not path.exists():
        raise Unreadable(f"{path}: not there")
    try:
        done = subprocess.run(["git", *arguments], cwd=home, env=environment(home), capture_output=True, timeout=LIMIT)
    except FileNotFoundError:
        raise Problem("git: not installed, or not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise Unreadable(f"{path}: git does not come to an end") from None
    if done.returncode > allowed:
        raise Unreadable(f"{path}: {_last_line(done.stderr)}")
    return done


def _last_line(errors: bytes) -> str:
    return (errors.decode("utf-8", "replace").strip().splitlines() or ["git gives no reason"])[-1]
