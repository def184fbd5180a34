"""The frozen set: plain chat and languages that no specialist is trained on, to see what an adapter forgets.

The same for ever, so that its losses compare from version to version.
"""

from pathlib import Path

from specialists.records import Record, read_records


def frozen_rows() -> list[Record]:
    """Conversations of one question and one answer, as records; each is a cluster of its own."""
    return list(read_records(Path(__file__).with_name("frozen.jsonl")))
