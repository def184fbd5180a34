"""What each session gave at the last run, so that a night does the work of the sessions that changed, and no other.

Everything that decides a result but the session itself (configuration, base model, this code) is one key; another key
empties the cache. A cache that cannot be used is no problem: the work is done again.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

_SCHEMA = """
DROP TABLE IF EXISTS setup;
DROP TABLE IF EXISTS result;
CREATE TABLE setup (key text);
CREATE TABLE result (session text, state text, about text, lines blob, PRIMARY KEY (session, state));
"""


class SessionCache:
    """Results by session id and state: a JSON value, and lines of text, which as JSON would cost many times more."""

    def __init__(self, path: Path, key: str):
        self._used: set[tuple[str, str]] = set()
        try:
            self._open(path, key)
        except sqlite3.OperationalError:  # in use by another run, or no place to write
            self._open(Path(":memory:"), key)
        except sqlite3.DatabaseError:  # no database any more
            path.unlink(missing_ok=True)
            self._open(path, key)

    def _open(self, path: Path, key: str) -> None:
        if path.name != ":memory:":
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=0.1)
        self._connection.execute("BEGIN IMMEDIATE")
        tables = self._connection.execute("SELECT name FROM sqlite_master WHERE name = 'setup'").fetchall()
        if not tables or self._connection.execute("SELECT key FROM setup").fetchall() != [(key,)]:
            for statement in _SCHEMA.strip().splitlines():
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO setup VALUES (?)", [key])

    def get(self, session: str, state: str) -> tuple[Any, list[bytes]] | None:
        """What a session in this state gave; None when that is not known."""
        query = "SELECT about, lines FROM result WHERE session = ? AND state = ?"
        row = self._connection.execute(query, [session, state]).fetchone() if state else None
        if row is None:
            return None
        self._used.add((session, state))
        return json.loads(row[0]), row[1].splitlines(keepends=True)

    def put(self, session: str, state: str, about: Any, lines: list[bytes]) -> None:
        """Keep what a session gave; each line ends in its only line feed."""
        if state:
            row = [session, state, json.dumps(about, ensure_ascii=False), b"".join(lines)]
            self._connection.execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", row)
            self._used.add((session, state))

    def close(self) -> None:
        """Keep what was used or made in this run and nothing else: what left the history leaves the cache."""
        for pair in self._connection.execute("SELECT session, state FROM result").fetchall():
            if pair not in self._used:
                self._connection.execute("DELETE FROM result WHERE session = ? AND state = ?", pair)
        self._connection.commit()
        self._connection.close()
