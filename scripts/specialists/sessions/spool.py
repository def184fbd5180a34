"""A file of records too many for memory: lines are written aside as they come, and put in order at the end.

The result is what `records.write_records` makes of the same records, byte for byte.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO

from specialists.records import replace_file, written


class Spool:
    """Collects the lines of one file of records, sorted by time and id, each id once."""

    def __init__(self, path: Path):
        self.path = path
        self._places: dict[str, tuple[str, int, int]] = {}  # id -> time, offset, length
        self._size = 0
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._aside: BinaryIO = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (`finish` closes it)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, time: str, id_: str, line: bytes) -> None:
        """One record as a line; of equal ids the last counts."""
        with written(self.path):
            self._aside.write(line)
        self._places[id_] = (time, self._size, len(line))
        self._size += len(line)

    def finish(self) -> bool:
        """Put the file in place, whole, if it differs from the one that is there. Returns whether it did."""
        order = sorted((time, id_, offset, length) for id_, (time, offset, length) in self._places.items())

        def write(file: BinaryIO) -> None:
            for _time, _id, offset, length in order:
                self._aside.seek(offset)
                file.write(self._aside.read(length))

        with self._aside:
            return replace_file(self.path, write)
