"""opencode's history as it lies on disk: rows of every storage generation in, sessions of one shape out.

    JSON files (1.1)         storage/{session/<project>/<ses>,message/<ses>/<msg>,part/<msg>/<prt>}.json
    SQLite (1.2 to 1.18)     session, message, part
    SQLite, v2 engine        session_message beside `session` (1.18) or `session_v2` (2.x)

Nothing is ever written: databases are opened with mode=ro, write-ahead log included, one short transaction per session,
so opencode can go on writing meanwhile. Tables that hold tokens (`account`, `credential`, `session_share`, …) and the
huge `event` are never touched. A row that cannot be read is named and left out, the rest comes through.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specialists.config import Problem
from specialists.sessions.database_v2 import from_v2

BUSY_SECONDS = 5.0  # how long to wait for a database that somebody holds exclusively
_DECODER = json.JSONDecoder(strict=False)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ID_BITS = 48  # an id starts with 12 hex digits: milliseconds * 4096 + counter, modulo 2^48


@dataclass
class Message:
    """A row of the chat with its parts, in the shape of opencode 1.18: `data` as in `message`, `parts` as in `part`."""

    id: str
    role: str
    time: int  # ms since 1970
    data: dict[str, Any]
    parts: list[dict[str, Any]]


@dataclass
class Session:
    """One session, whatever it was stored as."""

    id: str
    directory: str
    created: int  # ms since 1970
    parent: str | None = None
    title: str = ""
    version: str = ""
    revert: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    state: str = ""  # a hash that changes whenever a row of the session does; empty: not known


class Unreadable(Problem):
    """A history that is not there or cannot be read today; nothing is known about the sessions in it."""


Known = Callable[[Session], bool]


def read_sessions(path: Path, problems: list[str], known: Known = lambda session: False) -> Iterator[Session]:
    """All sessions of a database, of a folder of databases or of a JSON storage folder, oldest first.

    What had to be left out is appended to `problems`. `known` is asked with each session before its messages are read;
    those that it takes are left out. Raises Unreadable when there is nothing to read, Problem when it is not a history
    that this reader knows, naming what was seen instead.
    """
    if not path.exists():
        raise Unreadable(f"{path}: no opencode history there{_others_beside(path)}")
    if path.is_dir():
        yield from _read_folder(path, problems, known)
    else:
        yield from _Database(path, problems).sessions(known)


def _others_beside(path: Path) -> str:
    """Histories in the folder where one was expected: of another channel, or of the time before SQLite."""
    others = [str(other) for other in sorted(path.parent.glob("opencode*.db"))]
    if (path.parent / "storage" / "session").is_dir():
        others.append(str(path.parent))
    return f", but {', '.join(others)}: name it in [opencode] databases" if others else ""


def _read_folder(folder: Path, problems: list[str], known: Known) -> Iterator[Session]:
    storage = folder if (folder / "session").is_dir() and (folder / "message").is_dir() else folder / "storage"
    databases = sorted(folder.glob("opencode*.db")) or sorted(folder.glob("*.db"))
    if not databases and not (storage / "session").is_dir():
        raise Unreadable(f"{folder}: neither a *.db nor a storage/session folder in it")
    for database in databases:
        yield from _Database(database, problems).sessions(known)
    if (storage / "session").is_dir():
        yield from _JsonStorage(storage, problems).sessions()


def overview(path: Path) -> tuple[int, int, str]:
    """How many sessions a database holds, when the newest was made (ms) and by which opencode ("" if unsaid).

    Raises as read_sessions does.
    """
    database = _Database(path, [])
    with database.opened() as opened:
        rows = database.rows(*opened)
    newest = rows[-1] if rows else {}
    return len(rows), _milliseconds(newest.get("time_created")), newest.get("version") or ""


class _Database:
    """One SQLite database."""

    def __init__(self, path: Path, problems: list[str]):
        self.path, self.problems = path, problems

    def sessions(self, known: Known) -> Iterator[Session]:
        with self.opened() as (connection, tables):
            for row in self.rows(connection, tables):
                try:
                    session = self._session(connection, tables, row)
                    if known(session):
                        continue
                    self._fill(connection, tables, session)
                except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
                    self.problems.append(f"{self.path}: session {row.get('id')}: {_reason(error)}")
                    continue
                yield session

    @contextmanager
    def opened(self) -> Iterator[tuple[sqlite3.Connection, set[str]]]:
        """A connection and the names of the tables. Raises as read_sessions does."""
        try:
            with closing(self._connect()) as connection:
                tables = {name for (name,) in _rows(connection, "SELECT name FROM sqlite_master WHERE type = 'table'")}
                self._check_schema(tables)
                yield connection, tables
        except sqlite3.Error as error:
            raise Unreadable(f"{self.path}: cannot be read: {_reason(error)}") from None

    def _connect(self) -> sqlite3.Connection:
        connection = self._opened("mode=ro")
        try:
            connection.execute("SELECT name FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                raise
        log = Path(f"{self.path}-wal")  # nothing can be made beside the file, as on read-only media
        if log.exists() and log.stat().st_size:
            raise Unreadable(
                f"{self.path}: its newest rows are in {log.name}, which cannot be read in a folder that cannot be "
                "written: copy both to one that can, and name the copy with --database"
            )
        return self._opened("immutable=1")  # without a log nobody has it open

    def _opened(self, how: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?{how}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        connection.text_factory = lambda text: text.decode("utf-8", "replace")  # a title costs no database
        return connection

    def _check_schema(self, tables: set[str]) -> None:
        listed = ", ".join(sorted(tables)) or "none"
        if not tables & {"session", "session_v2"} or not tables & {"message", "session_message"}:
            raise Problem(f"{self.path}: not a history that this version knows; its tables: {listed}")

    def rows(self, connection: sqlite3.Connection, tables: set[str]) -> list[dict[str, Any]]:
        """The rows of `session` and `session_v2`, oldest first, each session once: as it was last written."""
        rows: dict[str, dict[str, Any]] = {}
        for table in sorted(tables & {"session", "session_v2"}):
            wanted = "id parent_id directory title version revert time_created time_updated data".split()
            known = {name for _number, name, *_rest in _rows(connection, f"PRAGMA table_info({table})")}
            columns = [name for name in wanted if name in known]
            for values in _rows(connection, f"SELECT {', '.join(columns)} FROM {table}"):
                row = dict(zip(columns, values, strict=True))
                rows[row["id"]] = max(rows.get(row["id"], row), row, key=lambda row: row.get("time_updated") or 0)
        return sorted(rows.values(), key=lambda row: (_milliseconds(row.get("time_created")), str(row["id"])))

    def _session(self, connection: sqlite3.Connection, tables: set[str], row: dict[str, Any]) -> Session:
        extra = _load(row["data"]) if row.get("data") else {}
        revert = _load(row["revert"]) if row.get("revert") else {}
        session = Session(
            id=row["id"],
            directory=row.get("directory") or extra.get("directory") or "",
            created=_milliseconds(row.get("time_created")),
            parent=row.get("parent_id"),
            title=row.get("title") or "",
            version=row.get("version") or "",
            revert=revert if isinstance(revert, dict) else {},
        )
        figures = "count(*), max(time_updated), total(time_updated)"
        state = [
            _rows(connection, f"SELECT {figures} FROM {table} WHERE session_id = ?", session.id)
            for table in sorted(tables & {"message", "part", "session_message"})
        ]
        session.state = hashlib.sha256(repr((row, state)).encode("utf-8", "replace")).hexdigest()
        return session

    def _fill(self, connection: sqlite3.Connection, tables: set[str], session: Session) -> None:
        connection.execute("BEGIN")  # messages and parts of one moment
        try:
            if self._is_v2(connection, tables, session.id):
                session.messages = self._v2_messages(connection, session.id)
            else:
                session.messages = self._messages(connection, session.id)
        finally:
            connection.execute("ROLLBACK")

    def _is_v2(self, connection: sqlite3.Connection, tables: set[str], session: str) -> bool:
        """Which of two generations holds a session whole: 2.x copies old rows over and goes on in the new table."""
        newest = []
        for table, condition in (("message", ""), ("session_message", "AND type IN ('user', 'assistant')")):
            query = f"SELECT max(time_created) FROM {table} WHERE session_id = ? {condition}"
            newest.append((_rows(connection, query, session)[0][0] if table in tables else None) or 0)
        return newest[1] > newest[0]

    def _messages(self, connection: sqlite3.Connection, session: str) -> list[Message]:
        parts: dict[str, list[dict]] = defaultdict(list)
        query = "SELECT id, message_id, time_created, CAST(data AS BLOB) FROM part WHERE session_id = ?"
        found = []
        for id_, message, time, data in _rows(connection, query, session):
            if (part := self._decode(data, f"part {id_}")) is not None:
                found.append((time, id_, message, part))
        for _time, _id, message, part in sorted(found, key=lambda item: item[:2]):
            parts[message].append(part)
        messages = []
        query = "SELECT id, time_created, CAST(data AS BLOB) FROM message WHERE session_id = ?"
        for id_, time, data in sorted(_rows(connection, query, session), key=lambda item: (item[1], item[0])):
            decoded = self._decode(data, f"message {id_}")
            if decoded is not None:
                messages.append(Message(id_, decoded.get("role", ""), time, decoded, parts[id_]))
        return messages

    def _v2_messages(self, connection: sqlite3.Connection, session: str) -> list[Message]:
        messages: list[Message] = []
        columns = [name for _number, name, *_rest in _rows(connection, "PRAGMA table_info(session_message)")]
        order = "seq" if "seq" in columns else "time_created, id"
        chat = "SELECT id, type, time_created, CAST(data AS BLOB) FROM session_message WHERE session_id = ?"
        for id_, kind, time, data in _rows(connection, f"{chat} ORDER BY {order}", session):
            if (decoded := self._decode(data, f"session_message {id_}")) is not None:
                rows = from_v2(id_, kind, decoded)
                messages.extend(Message(name, role, time, known, parts) for name, role, known, parts in rows)
        return messages

    def _decode(self, data: bytes, what: str) -> dict[str, Any] | None:
        try:
            decoded = _load(data)
            if not isinstance(decoded, dict):
                raise ValueError("not a JSON object")
            return decoded
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{self.path}: {what}: {_reason(error)}")
            return None


class _JsonStorage:
    """The folder of JSON files that opencode wrote until 1.1."""

    def __init__(self, folder: Path, problems: list[str]):
        self.folder, self.problems = folder, problems

    def sessions(self) -> Iterator[Session]:
        rows = [row for path in (self.folder / "session").glob("*/*.json") if (row := self._load(path)) is not None]
        for row in sorted(rows, key=lambda row: (_created(row), row.get("id", ""))):
            try:
                messages = self._messages(row["id"])
            except (OSError, KeyError, TypeError, AttributeError) as error:
                self.problems.append(f"{self.folder}: session {row.get('id')}: {_reason(error)}")
                continue
            yield Session(
                id=row["id"],
                directory=row.get("directory") or "",
                created=_created(row),
                parent=row.get("parentID"),
                title=row.get("title") or "",
                version=row.get("version") or "",
                revert=row.get("revert") or {},
                messages=messages,
            )

    def _messages(self, session: str) -> list[Message]:
        messages = []
        for path in (self.folder / "message" / session).glob("*.json"):
            if (row := self._load(path)) is None:
                continue
            time = _created(row)
            parts = [part for path in self._part_paths(row["id"], time) if (part := self._load(path)) is not None]
            messages.append(Message(row["id"], row.get("role", ""), time, row, parts))
        return sorted(messages, key=lambda message: (message.time, message.id))

    def _part_paths(self, message: str, time: int) -> list[Path]:
        """Files of a message's parts in the order they were made: their ids count on from the message's own time."""
        start = (time << 12) % (1 << _ID_BITS)

        def distance(path: Path) -> tuple[int, str]:
            try:
                made = int(path.stem.removeprefix("prt_")[:12], 16)
            except ValueError:
                return 0, path.stem
            half = 1 << (_ID_BITS - 1)
            return (made - start + half) % (1 << _ID_BITS) - half, path.stem

        return sorted((self.folder / "part" / message).glob("*.json"), key=distance)

    def _load(self, path: Path) -> dict[str, Any] | None:
        try:
            row = _load(path.read_bytes())
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            return row
        except (OSError, ValueError, RecursionError) as error:
            self.problems.append(f"{path}: {_reason(error)}")
            return None


def _rows(connection: sqlite3.Connection, query: str, *values: str) -> list[tuple]:
    """All rows; JSON is asked for as the bytes that it is stored as (`CAST(data AS BLOB)`)."""
    return connection.execute(query, values).fetchall()


def _load(data: bytes | str | None) -> Any:
    """JSON as JavaScript wrote it: raw control characters pass, half a surrogate pair becomes U+FFFD.

    Raises ValueError when it is none.
    """
    if data is None:
        raise ValueError("empty")
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        value, end = _DECODER.raw_decode(text)
    except ValueError:
        end = -1
    if end != len(text):  # white space around it, or no JSON
        value = _DECODER.decode(text)
    return _mended(value) if "\\u" in text and ("\\ud" in text or "\\uD" in text) else value


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {key: _mended(item) for key, item in value.items()}
    return value


def _milliseconds(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _created(row: dict[str, Any]) -> int:
    return (row.get("time") or {}).get("created") or 0


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos}"
    if isinstance(error, (sqlite3.Error, OSError, ValueError)):
        return str(error)
    return f"{type(error).__name__}: {error}"
