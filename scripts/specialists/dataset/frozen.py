"""The frozen set: plain chat and languages that no specialist is trained on, to see what an adapter forgets.

The same for ever, so that its losses compare from version to version; frozen.jsonl beside this file holds it.
"""

from __future__ import annotations

import json
from pathlib import Path

from specialists.records import Record, make_record

_FILE = Path(__file__).with_name("frozen.jsonl")


def frozen_rows() -> list[Record]:
    """Conversations of one question and one answer, as records; each is a cluster of its own."""
    rows: list[Record] = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        messages = [
            {"role": "user", "content": item["user"]},
            {"role": "assistant", "content": item["assistant"], "weight": 1},
        ]
        source = {"kind": "frozen", "time": "2026-01-01T00:00:00Z", "session": f"frozen-{len(rows)}"}
        rows.append(make_record(item["topic"], messages, [], source))
    return rows
