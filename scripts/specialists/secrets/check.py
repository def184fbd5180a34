"""Looks through what was built for secrets that a step let through; what cannot be read counts as not clean.

JSON is decoded as often as it was encoded (the arguments of a call in a row), so that an escape hides nothing.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from specialists.config import Problem
from specialists.secrets import SECRET, Rules, SecretFinding, find, leaves

WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".npy"}  # numbers, and gigabytes of them


@dataclass(frozen=True)
class Place:
    """Where something was found. `line`: 1 where there are none."""

    path: Path
    line: int
    finding: SecretFinding

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.finding.kind} {self.finding.masked}"


class Check:
    """One look through files: `secrets` and `personal` are what was found, `size` is bytes read."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.secrets: list[Place] = []
        self.personal: list[Place] = []
        self.size = 0

    def file(self, path: Path) -> None:
        """Look through one file. Raises Problem when it cannot be read."""
        try:
            with path.open("rb") as file:
                self.size += path.stat().st_size
                if path.suffix == ".jsonl":  # may be larger than memory
                    for number, line in enumerate(file, 1):
                        self._value(path, line.decode(errors="replace"), number)
                else:
                    data = file.read()
                    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
                    self._value(path, data.decode(encoding, errors="replace"))
        except OSError as error:
            raise Problem(f"{path}: cannot be read: {error.strerror or error}") from None

    def _value(self, path: Path, value: str, line: int = 0) -> None:
        """A text, decoded if it is JSON. `line`: where it stands; 0: it is all of the file."""
        for key, text in leaves(value, everywhere=True):
            for item in find(text, self.rules, key):
                found = self.secrets if item.category == SECRET else self.personal
                found.append(Place(path, line or _line(value, text, item.start), item.finding(text)))


def _line(whole: str, text: str, start: int) -> int:
    """The line of a position in a text that stands, as it is or as JSON, in a whole file; 1 if it cannot be told."""
    if text == whole:
        return whole.count("\n", 0, start) + 1
    at = whole.find(json.dumps(text[start : start + 40], ensure_ascii=False)[1:-1])
    return whole.count("\n", 0, max(at, 0)) + 1


def built_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Every file under the folders that is no weights, in order; a folder that is not there holds none."""
    for folder in folders:
        if folder.is_file():
            yield folder
            continue
        for root, directories, files in os.walk(folder, onerror=_unreadable):
            directories.sort()
            yield from (Path(root, name) for name in sorted(files) if Path(name).suffix not in WEIGHTS)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise Problem(f"{error.filename}: cannot be read: {error.strerror}") from None
