"""Git processes that answer one request after the other: contents of blobs, hunks of commits.

Requests are fed from a thread while answers are read. A request that kills the process (a corrupt object) has no
answer; the process is started anew behind it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import BufferedReader, FileIO
from typing import IO, cast

MAX_BLOB = 1 << 19  # bytes; larger files are never held in memory, their content counts as not there
CHUNK = 1 << 17  # bytes asked of a pipe at once
PAUSE = 0.001  # seconds in which git fills a pipe that ran empty

_MARK = re.compile(  # (hunk, before, after, commit); a literal in front is looked for fast
    r"\n(?:@@ -([\d,]+ \+[\d,]+) @@|index ([0-9a-f]+)\.\.([0-9a-f]+)|([0-9a-f]{40,64})(?=\n))"
)
_NO_MARK = ("",)

Hunk = tuple[int, int, int, int]  # lines before[a:b] became after[c:d], counted from 0
Headers = dict[tuple[str, str], list[str]]  # by (before, after): of each hunk `start,count +start,count`


class Patient(FileIO):
    """The end of a pipe that lets the writer get ahead: woken for every few kilobytes, both processes would spend a
    tenth of their time on taking turns."""

    _empty = False

    def readinto(self, buffer) -> int | None:
        if self._empty:
            time.sleep(PAUSE)
        count = super().readinto(buffer)
        self._empty = count is not None and count < len(buffer)
        return count


class Stream:
    """A git process that answers one request a line, in order; started anew behind a request that kills it."""

    arguments: tuple[str, ...] = ()

    def __init__(self, start: Callable[..., subprocess.Popen], requests: list[str]):
        """`start(arguments, stderr, stdin)` starts git."""
        self.start, self.requests, self.position = start, requests, 0
        self._open()

    def _open(self) -> None:
        self.process = self.start(self.arguments, subprocess.DEVNULL, subprocess.PIPE)
        self.output = cast(BufferedReader, self.process.stdout)
        arguments = (self.process.stdin, self.requests, self.position)
        self._feeder = threading.Thread(target=_feed, args=arguments, daemon=True)
        self._feeder.start()

    def restart(self) -> None:
        """Go on with the request at `position`, in a process of its own."""
        self.close()
        self._open()

    def close(self) -> None:
        """End the process."""
        end(self.process, self._feeder)


class Blobs(Stream):
    arguments = ("cat-file", "--batch", "--buffer")

    def next(self) -> bytes | None:
        """The next blob's content."""
        self.position += 1
        output = self.output
        header = output.readline()
        if header.endswith(b" missing\n"):
            return None
        if header.endswith(b"\n"):
            size = int(header.rsplit(b" ", 1)[1])
            if size > MAX_BLOB and _skipped(output, size + 1):
                return None
            content = output.read(size)
            if output.read(1):  # the line end behind it, so all of it is there
                return content
        self.restart()  # a corrupt object ends the process
        return None


class Diffs(Stream):
    arguments = (
        "diff-tree",
        "--stdin",
        "--always",
        "-r",
        "--root",
        "-p",
        "-U0",
        "--full-index",
        "--no-renames",
        "--no-textconv",
        "--no-ext-diff",
        "--no-color",
    )

    def _open(self) -> None:
        super()._open()
        self._marks = _diff_marks(self.output)
        self._begun = next(self._marks, _NO_MARK)[-1]  # the commit whose mark was read already

    def next(self) -> Headers:
        """The headers of hunks of the next commit; none at all when its diff cannot be made."""
        request = self.requests[self.position]
        self.position += 1
        found: Headers = {}
        if self._begun == request:
            self._begun, headers = "", []
            for header, before, after, commit in self._marks:
                if header:
                    headers.append(header)
                elif before:
                    headers = found[before, after] = []  # anew for a copy of a file
                else:
                    self._begun = commit
                    return found
        if not self._begun and self.process.wait():
            self.restart()
            return {}
        return found


def _diff_marks(output: BufferedReader) -> Iterator[tuple[str, ...]]:
    """Where commits, files and hunks begin in what `diff-tree -U0` writes; the changed lines, which all have a sign in
    front, are passed over at the speed of the regular expression engine."""
    rest = b"\n"
    while chunk := output.read1(CHUNK):
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        rest = end + rest
        yield from _MARK.findall((whole + end).decode("latin-1"))


def hunk(header: str) -> Hunk:
    """A hunk by its header."""
    removed, added = header.split(" +")
    return (*_lines(removed), *_lines(added))


def _lines(numbers: str) -> tuple[int, int]:
    """`start,count` of a hunk's header without context lines as a half-open range of lines counted from 0."""
    start, _, count = numbers.partition(",")
    if not count:  # one line
        return int(start) - 1, int(start)
    if count == "0":  # none: the line before is named
        return int(start), int(start)
    return int(start) - 1, int(start) - 1 + int(count)


def is_blob(sha: str, content: bytes) -> bool:
    """Whether a content is what its id says: git does not look, and a borrowed object folder may hold anything."""
    kind = hashlib.sha1 if len(sha) == 40 else hashlib.sha256
    digest = kind(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest() == sha


def _feed(pipe: IO[bytes], requests: list[str], position: int) -> None:
    with contextlib.suppress(OSError):  # the process ended, or was ended
        for start in range(position, len(requests), 1000):
            pipe.write("".join(f"{request}\n" for request in requests[start : start + 1000]).encode())
        pipe.close()


def end(process: subprocess.Popen, feeder: threading.Thread | None = None) -> None:
    """End a process, whatever it is doing, and who feeds it."""
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
    if feeder and process.stdin:
        feeder.join()
        with contextlib.suppress(OSError):
            process.stdin.close()


def _skipped(output: IO[bytes], size: int) -> bool:
    """Whether so many bytes came, and are gone."""
    while size > 0 and (chunk := output.read(min(size, CHUNK))):
        size -= len(chunk)
    return size == 0
