"""Looks through what was built for secrets that a step let through; what cannot be read counts as not clean.

JSON is decoded as often as it was encoded (the arguments of a call in a row), so that an escape hides nothing.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from specialists.config import Problem
from specialists.secrets import Rules, SecretFinding, find, leaves

WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".npy"}  # numbers, and gigabytes of them


def findings(path: Path, rules: Rules) -> Iterator[tuple[int, SecretFinding]]:
    """What stands in a file, with its line (1 where there are none). Raises Problem when the file cannot be read."""
    try:
        with path.open("rb") as file:
            chunks = file if path.suffix == ".jsonl" else [file.read()]  # rows may be larger than memory
            for before, chunk in enumerate(chunks):
                value = chunk.decode("utf-16" if chunk[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", errors="replace")
                for key, text in leaves(value, everywhere=True):
                    for item in find(text, rules, key):
                        yield before + _line(value, text, item.start), item.finding(text)
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {error.strerror or error}") from None


def _line(whole: str, text: str, start: int) -> int:
    """The line of a position in a text that stands, as it is or as JSON, in a whole file; 1 if it cannot be told."""
    if text == whole:
        return whole.count("\n", 0, start) + 1
    return whole.count("\n", 0, max(whole.find(json.dumps(text[start : start + 40], ensure_ascii=False)[1:-1]), 0)) + 1


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
