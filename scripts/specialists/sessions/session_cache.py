"""What each session gave at the last run, so that a night does the work of the sessions that changed, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specialists import cache

_COLUMNS = "session TEXT, state TEXT, about TEXT, lines BLOB, PRIMARY KEY (session, state)"


class SessionCache:
    """Results by session id and state: a JSON value, and lines of text, which as JSON would cost many times more."""

    def __init__(self, path: Path, key: str):
        """`key` stands for everything that decides a result but the session itself."""
        self._used: set[tuple[str, str]] = set()
        self._connection = cache.opened(path, key, _COLUMNS)

    def get(self, session: str, state: str) -> tuple[Any, list[bytes]] | None:
        """What a session in this state gave; None when that is not known."""
        query = "SELECT about, lines FROM known WHERE session = ? AND state = ?"
        row = self._connection.execute(query, [session, state]).fetchone() if state else None
        if row is None:
            return None
        self._used.add((session, state))
        return json.loads(row[0]), row[1].splitlines(keepends=True)

    def put(self, session: str, state: str, about: Any, lines: list[bytes]) -> None:
        """Keep what a session gave; each line ends in its only line feed."""
        if state:
            row = [session, state, json.dumps(about, ensure_ascii=False), b"".join(lines)]
            self._connection.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", row)
            self._used.add((session, state))

    def close(self) -> None:
        """Keep what was used or made in this run and nothing else: what left the history leaves the cache."""
        for pair in self._connection.execute("SELECT session, state FROM known").fetchall():
            if pair not in self._used:
                self._connection.execute("DELETE FROM known WHERE session = ? AND state = ?", pair)
        self._connection.commit()
        self._connection.close()
