"""A file of records too many for memory: lines are written to a temporary file as they come, and sorted at the end.

The result is what `records.write_records` makes of the same records, byte for byte.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO

from specialists.records import Record, line_of, replace_file, written


class Spool:
    """Collects one file of records, sorted by time and id, each id once."""

    def __init__(self, path: Path):
        self.path = path
        self._places: dict[str, tuple[str, str, int, int]] = {}  # id -> time, id, offset, length
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lines = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (`finish` closes it)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, record: Record) -> None:
        """Of equal ids the last counts."""
        line = line_of(record)
        with written(self.path):
            self._places[record["id"]] = record["source"]["time"], record["id"], self._lines.tell(), len(line)
            self._lines.write(line)

    def finish(self) -> None:
        """Put the file in place, whole, if it differs from the one that is there."""

        def write(file: BinaryIO) -> None:
            for _time, _id, offset, length in sorted(self._places.values()):
                self._lines.seek(offset)
                file.write(self._lines.read(length))

        with self._lines:
            replace_file(self.path, write)
