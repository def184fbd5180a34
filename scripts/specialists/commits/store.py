"""What is known of commits from earlier runs, and which of the examples are taken when there are more than wanted."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path

from specialists import cache
from specialists.records import Record, canonical


@dataclass(slots=True)
class Entry:
    """What the choice among examples needs to know of one."""

    commit: str
    repository: str
    time: int
    patch: str
    tests: bool
    words: int
    added: dict[str, list[int]]  # path -> checksums of added lines
    survives: float = 0.0


def choose(rows: list[Entry], most: int) -> list[Entry]:
    """The best rows by score.

    A row scores by its rank in time among all (newest 1, oldest 0), plus the share of its lines that survive, plus 0.5
    for code that comes with tests, plus up to 0.25 for a request of 20 words or more. To spread over repositories, the
    n-th best row of a repository loses n / most.
    """
    if len(rows) <= most:
        return rows
    newest = sorted(rows, key=lambda row: (row.time, row.commit))
    scores = {
        row.commit: rank / max(1, len(rows) - 1) + row.survives + 0.5 * row.tests + 0.25 * min(1.0, row.words / 20)
        for rank, row in enumerate(newest)
    }
    taken: Counter[str] = Counter()
    ordered = []
    for row in sorted(rows, key=lambda row: (-scores[row.commit], row.commit)):
        ordered.append((scores[row.commit] - taken[row.repository] / most, row.commit, row))
        taken[row.repository] += 1
    return [row for _score, _commit, row in sorted(ordered, key=lambda item: (-item[0], item[1]))[:most]]


class Store:
    """Verdicts over commits from earlier runs."""

    def __init__(self, path: Path, key: str):
        """`key` stands for everything that decides a verdict but the commit itself."""
        self.database = cache.opened(path, key, "sha TEXT PRIMARY KEY, reason TEXT, record BLOB, row TEXT")

    def knows(self, sha: str) -> bool:
        """Whether there is a verdict over a commit."""
        return self.database.execute("SELECT 1 FROM known WHERE sha = ?", [sha]).fetchone() is not None

    def put(self, sha: str, reason: str | None, record: Record | None = None, row: Entry | None = None) -> None:
        """Remember why a commit is no example, or the example that it is."""
        packed = zlib.compress(canonical({**record, "tools": None}).encode(), 1) if record else None
        about = canonical(astuple(row)) if row else None
        self.database.execute("INSERT INTO known VALUES (?, ?, ?, ?)", [sha, reason, packed, about])

    def get(self, sha: str) -> str | Entry:
        """The verdict over a known commit: a reason or a row."""
        reason, about = self.database.execute("SELECT reason, row FROM known WHERE sha = ?", [sha]).fetchone()
        return reason if about is None else Entry(*json.loads(about))

    def record(self, sha: str) -> Record:
        """The example of a commit that is one, without its tools."""
        packed = self.database.execute("SELECT record FROM known WHERE sha = ?", [sha]).fetchone()[0]
        return json.loads(zlib.decompress(packed))

    def keep(self, shas: set[str]) -> None:
        """Forget every other commit: what is no longer reachable is not to lie about."""
        known = self.database.execute("SELECT sha FROM known").fetchall()
        self.database.executemany("DELETE FROM known WHERE sha = ?", [row for row in known if row[0] not in shas])

    def close(self) -> None:
        """Keep what was put."""
        self.database.commit()
        self.database.close()
