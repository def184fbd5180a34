"""Git repositories read as data: history, trees and blobs, and nothing of the repository acts.

A repository's own configuration can run programs (fsmonitor, textconv, gpg.program, hooks, upload-pack of a partial
clone…). So git never works in it: a bare repository of our own, the shim, has the source's object folders as
alternates, and everything is asked by object id. References and `shallow` are read as plain files (see git_layout). Git
also refuses repositories of other users ("dubious ownership"); through the shim it reads them. Nothing is written into
a source.

History is read in two phases: `commits` gives the metadata of all of them (about a tenth of the cost of `git log -p`),
`read` the diffs and contents of those that the caller chose, from one process after the other: each of them holds what
others are deltas of, and side by side they would hold it twice.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from sys import intern
from typing import IO, NamedTuple, cast

from specialists.commits.layout import (
    MAX_REFERENCES,
    OBJECT_ID,
    Layout,
    Unreadable,
    environment,
    last_line,
    run_git,
    text,
)
from specialists.commits.streams import CHUNK, MAX_BLOB, Blobs, Diffs, Hunk, Patient, end, hunk, is_blob

REGULAR = ("100644", "100755")
SYMLINK, SUBMODULE = "120000", "160000"
RECENT = 256  # blobs kept at hand: what one commit made is mostly what the next one changes
PART = 1 << 15  # commits whose hunks are held (under 1 KB each); each part begins with empty caches
PIPE = 1 << 20  # bytes that a pipe holds: fewer changes between processes (Linux; elsewhere of no effect)

SMALL = (  # git maps whole packs into memory, 210 MB for one of 120 MB; so it takes 90, in no more time
    "-c",
    "core.packedGitWindowSize=512k",
    "-c",
    "core.packedGitLimit=16m",
    "-c",
    "core.deltaBaseCacheLimit=40m",
    "-c",
    f"core.bigFileThreshold={MAX_BLOB}",  # larger ones count as not there: no diff is made of them
)

_FORMAT = "%H%x00%P%x00%at%x00%ct%x00%ae%x00%aE%x00%an%x00%B%x00"


class Change(NamedTuple):  # made by the hundred thousand: tuples are made faster than dataclasses
    """One path in one commit; ids of zeros where there is no file before or after."""

    before_mode: str
    after_mode: str
    before: str
    after: str
    status: str  # A added, M modified, D deleted, T type changed
    path: str  # bytes that are no UTF-8 stand as surrogates


class Commit(NamedTuple):
    """The metadata of a commit."""

    sha: str
    parents: tuple[str, ...]
    author_time: int  # seconds since 1970, as the author's clock had it
    commit_time: int
    email: str  # lower case
    mapped_email: str  # after the repository's own .mailmap
    author: str
    message: bytes  # UTF-8 where git could tell the encoding
    changes: list[Change]  # none for merges


@dataclass(frozen=True, slots=True)
class Contents:
    """What the second phase adds to a commit."""

    blobs: dict[str, bytes | None]  # by id, to be checked with is_blob; None: missing, corrupt or over MAX_BLOB
    headers: dict[tuple[str, str], str]  # by (before, after): those of the hunks, a line each

    def hunks(self, change: Change) -> tuple[Hunk, ...]:
        """What a change did to its lines; nothing when the diff could not be made."""
        return tuple(map(hunk, self.headers.get((change.before, change.after), "").splitlines()))


class GitSource:
    """One repository, opened for reading; use it as a context manager.

    `problems` names what could not be read and was passed over; `shim` is the repository that git works in.
    """

    def __init__(self, path: Path):
        """Raises Unreadable when there is no repository at `path`, or none that can be read."""
        self.path = path
        self.problems: list[str] = []
        self._tree: dict[str, tuple[str, str]] | None = None
        try:
            self.layout = Layout.of(path)
            self.head = self.layout.head()
            shallow = self.layout.common_dir / "shallow"
            self.shallow = set(OBJECT_ID.findall(text(shallow, MAX_REFERENCES))) if shallow.exists() else set()
            alternates = self.layout.alternates()
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror or error}") from None
        self._folder = tempfile.TemporaryDirectory(prefix="git-shim-")
        self.shim = Path(self._folder.name)
        self._make_shim(alternates)

    def __enter__(self) -> GitSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _make_shim(self, alternates: bytes) -> None:
        kind = ["--object-format=sha256"] if self.head is not None and len(self.head) == 64 else []
        made = run_git(["init", "-q", "--bare", "--template=", *kind, "."], self.shim)
        if made.returncode:
            self._folder.cleanup()
            raise Unreadable(f"{self.path}: git init: {last_line(made.stderr)}")
        info = self.shim / "objects" / "info"
        info.mkdir(exist_ok=True)
        info.joinpath("alternates").write_bytes(alternates)
        if self.shallow:
            self.shim.joinpath("shallow").write_text("".join(f"{sha}\n" for sha in sorted(self.shallow)))

    def commits(self) -> Iterator[Commit]:
        """All commits that HEAD reaches, newest first, merges without changes; renames are a deletion and an addition.

        Raises Unreadable when not even the first can be read; a history that breaks off later is among `problems`.
        """
        if self.head is None:
            return
        arguments = [
            "-c",
            f"mailmap.blob={self.head}:.mailmap",
            "log",
            "-z",
            "--raw",
            "--root",
            "--no-renames",
            "--no-abbrev",
            "--no-notes",
            "--no-show-signature",
            "--no-color",
            "--encoding=UTF-8",
            f"--format={_FORMAT}",
            self.head,
            "--",
        ]
        seen = 0
        with self._running(arguments) as (process, failure):
            for commit in _parsed(_fields(process.stdout)):
                seen += 1
                yield commit
            if told := failure():
                told = f"{self.path}: history cannot be read{' any further' if seen else ''}: {told}"
                if not seen:
                    raise Unreadable(told)
                self.problems.append(told)

    def tree(self) -> dict[str, tuple[str, str]]:
        """Path -> (mode, id) of every file in HEAD; empty for an unborn branch."""
        if self._tree is None:
            self._tree = {}
            if self.head is not None:
                with self._running(["ls-tree", "-r", "-z", "--full-tree", self.head]) as (process, failure):
                    for entry in _fields(process.stdout):
                        about, _, path = entry.partition(b"\t")
                        mode, _kind, sha = about.decode("ascii").split(" ")
                        self._tree[_decoded(path)] = (mode, sha)
                    if told := failure():
                        self.problems.append(f"{self.path}: HEAD's tree cannot be read: {told}")
        return self._tree

    def blobs(self, ids: Iterable[str]) -> Iterator[bytes | None]:
        """The content of each blob, in order; None where it is missing, corrupt or over MAX_BLOB."""
        ids = list(ids)
        stream = Blobs(self.start, ids)
        try:
            for sha in ids:
                content = stream.next()
                yield content if content is not None and is_blob(sha, content) else None
        finally:
            stream.close()

    def read(self, chosen: Iterable[tuple[Commit, list[Change]]]) -> Iterator[Contents]:
        """Blobs and hunks of some changes of each commit, in order."""
        chosen = list(chosen)
        for first in range(0, len(chosen), PART):
            part = chosen[first : first + PART]
            headers = list(self._headers(part))
            yield from map(Contents, self._contents(part), headers)

    def _headers(self, chosen: list[tuple[Commit, list[Change]]]) -> Iterator[dict[tuple[str, str], str]]:
        """The headers of hunks of some changes of each commit, in few objects: thousands wait with theirs."""
        diffs = Diffs(self.start, [commit.sha for commit, _changes in chosen])
        try:
            for _commit, changes in chosen:
                found = diffs.next()
                keys = [(change.before, change.after) for change in changes]  # of ids that are held anyway
                yield {key: "\n".join(found[key]) for key in keys if key in found}
        finally:
            diffs.close()

    def _contents(self, chosen: list[tuple[Commit, list[Change]]]) -> Iterator[dict[str, bytes | None]]:
        """The blobs of some changes of each commit."""
        requests: list[str] = []
        recent = _Recent()
        for _commit, changes in chosen:
            recent.take(changes, requests.append)
        blobs = Blobs(self.start, requests)
        recent = _Recent()
        try:
            for _commit, changes in chosen:
                yield recent.take(changes, lambda _sha: blobs.next())
        finally:
            blobs.close()

    def start(self, arguments: Iterable[str], errors: IO | int, stdin: int = subprocess.DEVNULL) -> subprocess.Popen:
        """A git process in the shim, its output in a pipe."""
        process = subprocess.Popen(
            ["git", "--no-pager", f"--git-dir={self.shim}", *SMALL, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(self.shim),
            cwd=self.shim,
            pipesize=PIPE,
        )
        with cast(IO, process.stdout) as pipe:
            process.stdout = BufferedReader(Patient(os.dup(pipe.fileno())), CHUNK)
        return process

    @contextlib.contextmanager
    def _running(self, arguments: list[str]) -> Iterator[tuple]:
        """A process that needs no input, and a function that waits for it and says what failed."""
        with tempfile.TemporaryFile() as errors:
            process = self.start(arguments, errors)

            def failure() -> str | None:
                if not process.wait():
                    return None
                errors.seek(0)
                return last_line(errors.read())

            try:
                yield process, failure
            finally:
                end(process)


class _Recent:
    """The RECENT blobs that commits older than the last one may still ask for.

    The same sequence of changes asks for the same blobs, so that requests can be told before anything is read.
    """

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes | None] = OrderedDict()

    def take(self, changes: list[Change], read: Callable[[str], bytes | None]) -> dict[str, bytes | None]:
        """The blobs of some changes, read where they are not at hand."""
        found: dict[str, bytes | None] = {}
        for change in changes:
            for sha in (change.before, change.after):
                if sha in found or not sha.strip("0"):
                    continue
                found[sha] = self._blobs.pop(sha) if sha in self._blobs else read(sha)
        for change in changes:
            if change.before in found:
                self._blobs[change.before] = found[change.before]  # what an older commit made
        while len(self._blobs) > RECENT:
            self._blobs.popitem(last=False)
        return found


def _fields(output: BufferedReader) -> Iterator[bytes]:
    """What stands between NUL bytes."""
    rest = b""
    while chunk := output.read1(CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole


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
            parents, authored, committed, *names, message = about
            email, mapped, author = map(_decoded, names)
            commit = Commit(
                item.decode("ascii"),
                tuple(parents.decode("ascii").split()),
                _number(authored),
                _number(committed),
                email.lower(),
                mapped.lower(),
                author,
                message,
                [],
            )
    if commit:
        yield commit


def _number(digits: bytes) -> int:
    return int(digits) if digits.lstrip(b"-").isdigit() else 0


def _decoded(name: bytes) -> str:
    """A path or a name, which come again and again and are held once."""
    return intern(name.decode("utf-8", "surrogateescape"))
