"""What an earlier run worked out, in an SQLite file beside the results. It only saves work.

It holds under one key, which stands for everything else that decides a result (configuration, base model, this code);
under another one it is empty. One that cannot be used is no problem: the work is done again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path


def opened(path: Path, key: str, columns: str) -> sqlite3.Connection:
    """The cache in a transaction, with a table `known` of these columns; in memory where the file cannot be used."""
    try:
        return _opened(path, key, columns)
    except (sqlite3.OperationalError, OSError):  # in use by another run, or no place to write
        return _opened(None, key, columns)
    except sqlite3.DatabaseError:  # half of a file, or none of ours
        path.unlink(missing_ok=True)
        return _opened(path, key, columns)


def _opened(path: Path | None, key: str, columns: str) -> sqlite3.Connection:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path or ":memory:", timeout=1, isolation_level=None)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("a page is corrupt")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if "holds" not in tables or connection.execute("SELECT * FROM holds").fetchall() != [(key, columns)]:
        for table in tables:
            connection.execute(f'DROP TABLE "{table}"')
        connection.execute("CREATE TABLE holds (key TEXT, columns TEXT)")
        connection.execute("INSERT INTO holds VALUES (?, ?)", [key, columns])
        connection.execute(f"CREATE TABLE known ({columns})")
    return connection
