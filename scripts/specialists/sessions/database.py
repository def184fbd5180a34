"""opencode's history as it lies on disk: rows of every storage generation in, sessions of one shape out.

    JSON files (1.1)         storage/{session/<project>/<ses>,message/<ses>/<msg>,part/<msg>/<prt>}.json
    SQLite (1.2 to 1.18)     session, message, part
    SQLite, v2 engine        session_message beside `session` (1.18) or `session_v2` (2.x)

Nothing is ever written: databases are opened with mode=ro, write-ahead log included, one short transaction per session,
so opencode can go on writing meanwhile. Tables that hold tokens (`account`, `credential`, `session_share`, …) and the
huge `event` are never touched. A row that cannot be read is named and left out, the rest comes through.
"""

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specialists.config import Problem
from specialists.sessions.database_v2 import from_v2

BUSY_SECONDS = 5.0  # how long to wait for a database that somebody holds exclusively
_DECODER = json.JSONDecoder(strict=False)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SESSION_COLUMNS = "id parent_id directory version revert time_created time_updated data".split()
_BAD_ROWS = (sqlite3.Error, OSError, ValueError, KeyError, TypeError, AttributeError)


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
    parent: str | None = None  # the session that started this one as a subagent
    version: str = ""  # of opencode
    revert: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)


class Unreadable(Problem):
    """A history that is not there or cannot be read today; nothing is known about the sessions in it."""


def read_sessions(path: Path, problems: list[str]) -> Iterator[Session]:
    """All sessions of a database, of a folder of databases or of a JSON storage folder, oldest first.

    What had to be left out is appended to `problems`. Raises Unreadable when there is nothing to read, Problem when it
    is not a history that this reader knows, naming what was seen instead."""
    if not path.exists():
        others = [*sorted(path.parent.glob("opencode*.db")), *(p.parent for p in path.parent.glob("storage/session"))]
        hint = f", but {', '.join(map(str, others))}: name it in [opencode] databases" if others else ""
        raise Unreadable(f"{path}: no opencode history there{hint}")
    storage = path if (path / "session").is_dir() and (path / "message").is_dir() else path / "storage"
    databases = [path] if path.is_file() else sorted(path.glob("opencode*.db")) or sorted(path.glob("*.db"))
    if not databases and not (storage / "session").is_dir():
        raise Unreadable(f"{path}: neither a *.db nor a storage/session folder in it")
    for database in databases:
        with _opened(database, problems) as opened:
            yield from _sessions(opened)
    if (storage / "session").is_dir():
        yield from _sessions(_JsonStorage(storage, problems))


def overview(path: Path) -> tuple[int, int, str]:
    """How many sessions a database holds, when the newest was made (ms) and by which opencode; raises as above."""
    with _opened(path, []) as database:
        rows = database.session_rows()
    newest = rows[-1] if rows else {}
    return len(rows), _milliseconds(newest.get("time_created")), newest.get("version") or ""


def _sessions(history: "_Database | _JsonStorage") -> Iterator[Session]:
    for row in history.session_rows():
        try:
            yield history.session(row)
        except _BAD_ROWS as error:
            history.problems.append(f"{history.path}: session {row.get('id')}: {_reason(error)}")


@contextmanager
def _opened(path: Path, problems: list[str]) -> Iterator["_Database"]:
    """A database while it is read. Raises as read_sessions does."""
    try:
        with closing(_connect(path)) as connection:
            yield _Database(path, connection, problems)
    except sqlite3.Error as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from None


def _connect(path: Path, mode: str = "mode=ro") -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")  # an odd name costs no database
    try:
        connection.execute("SELECT name FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if mode != "mode=ro" or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
    log = Path(f"{path}-wal")  # nothing can be made beside the file, as on read-only media
    if log.exists() and log.stat().st_size:
        raise Unreadable(
            f"{path}: its newest rows are in {log.name}, which cannot be read in a folder that cannot be "
            "written: copy both to one that can, and name the copy with --database"
        )
    return _connect(path, "immutable=1")  # without a log nobody has it open


class _Database:
    """One SQLite database, open."""

    def __init__(self, path: Path, connection: sqlite3.Connection, problems: list[str]):
        self.path, self.connection, self.problems = path, connection, problems
        self.tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not self.tables & {"session", "session_v2"} or not self.tables & {"message", "session_message"}:
            listed = ", ".join(sorted(self.tables)) or "none"
            raise Problem(f"{path}: not a history that this version knows; its tables: {listed}")

    def session_rows(self) -> list[dict[str, Any]]:
        """The rows of `session` and `session_v2`, oldest first, each session once: as it was last written."""
        rows: dict[str, dict[str, Any]] = {}
        for table in sorted(self.tables & {"session", "session_v2"}):
            columns = [name for name in _SESSION_COLUMNS if name in self._columns(table)]
            for values in self._rows(f"SELECT {', '.join(columns)} FROM {table}"):
                row = {**dict(zip(columns, values, strict=True)), "table": table}
                rows[row["id"]] = max(rows.get(row["id"], row), row, key=lambda row: row.get("time_updated") or 0)
        return sorted(rows.values(), key=lambda row: (_milliseconds(row.get("time_created")), str(row["id"])))

    def session(self, row: dict[str, Any]) -> Session:
        extra, revert = (_load(row.get(column) or "{}") for column in ("data", "revert"))
        self.connection.execute("BEGIN")  # messages and parts of one moment
        try:
            messages = self._v2_messages(row["id"]) if self._is_v2(row) else self._messages(row["id"])
        finally:
            self.connection.execute("ROLLBACK")
        directory = row.get("directory") or extra.get("directory") or ""
        return Session(row["id"], directory, row.get("parent_id"), row.get("version") or "", revert or {}, messages)

    def _is_v2(self, row: dict[str, Any]) -> bool:
        """Whether the new table holds the session whole: 2.x copies old rows over and goes on there, or takes back."""
        newest = []
        for table, condition in (("message", ""), ("session_message", "AND type IN ('user', 'assistant')")):
            query = f"SELECT max(time_created) FROM {table} WHERE session_id = ? {condition}"
            newest.append((self._rows(query, row["id"])[0][0] if table in self.tables else None) or 0)
        return newest[1] > newest[0] or (newest[1] > 0 and row["table"] == "session_v2")

    def _messages(self, session: str) -> list[Message]:
        parts: dict[str, list[dict]] = defaultdict(list)
        for _time, _id, message, part in self._decoded("part", "time_created, id, message_id", session):
            parts[message].append(part)
        rows = self._decoded("message", "time_created, id", session)
        return [Message(id_, data.get("role", ""), time, data, parts[id_]) for time, id_, data in rows]

    def _v2_messages(self, session: str) -> list[Message]:
        messages: list[Message] = []
        columns = ("seq" if "seq" in self._columns("session_message") else "time_created") + ", id, type, time_created"
        for _order, id_, kind, time, data in self._decoded("session_message", columns, session):
            rows = from_v2(id_, kind, data)
            messages.extend(Message(name, role, time, known, parts) for name, role, known, parts in rows)
        return messages

    def _decoded(self, table: str, columns: str, session: str) -> Iterator[tuple]:
        """Columns of a session's rows and their JSON, by the first two columns; what is no JSON is named, left out."""
        query = f"SELECT {columns}, CAST(data AS BLOB) FROM {table} WHERE session_id = ?"
        for *about, data in sorted(self._rows(query, session), key=lambda row: row[:2]):
            yield from ((*about, one) for one in _decoded(data, f"{self.path}: {table} {about[1]}", self.problems))

    def _columns(self, table: str) -> list[str]:
        return [name for _number, name, *_rest in self._rows(f"PRAGMA table_info({table})")]

    def _rows(self, query: str, *values: str) -> list[tuple]:
        """All rows; queries ask for JSON as the bytes that it is stored as (`CAST(data AS BLOB)`)."""
        return self.connection.execute(query, values).fetchall()


class _JsonStorage:
    """The folder of JSON files that opencode wrote until 1.1."""

    def __init__(self, path: Path, problems: list[str]):
        self.path, self.problems = path, problems

    def session_rows(self) -> list[dict[str, Any]]:
        return sorted(self._rows("session/*"), key=lambda row: (_created(row), row.get("id", "")))

    def session(self, row: dict[str, Any]) -> Session:
        messages = []
        for data in self._rows(f"message/{row['id']}"):
            parts = list(self._rows(f"part/{data['id']}"))  # in order: their ids begin with the time
            messages.append(Message(data["id"], data.get("role", ""), _created(data), data, parts))
        messages.sort(key=lambda message: (message.time, message.id))
        directory, revert = row.get("directory") or "", row.get("revert") or {}
        return Session(row["id"], directory, row.get("parentID"), row.get("version") or "", revert, messages)

    def _rows(self, folder: str) -> Iterator[dict[str, Any]]:
        for path in sorted(self.path.glob(f"{folder}/*.json")):
            try:
                yield from _decoded(path.read_bytes(), str(path), self.problems)
            except OSError as error:
                self.problems.append(f"{path}: {_reason(error)}")


def _decoded(data: bytes | None, what: str, problems: list[str]) -> list[dict[str, Any]]:
    """A JSON object; none, but a problem that names `what`, when it is something else."""
    try:
        if isinstance(value := _load(data or b""), dict):
            return [value]
        reason = f"a {type(value).__name__}"
    except (ValueError, RecursionError) as error:
        reason = _reason(error)
    problems.append(f"{what}: not a JSON object: {reason}")
    return []


def _load(data: bytes | str) -> Any:
    """JSON as JavaScript wrote it: raw control characters pass, half a surrogate pair becomes U+FFFD."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    value = _DECODER.decode(text)
    if "\\u" in text and ("\\ud" in text or "\\uD" in text):
        return _DECODER.decode(_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    return value


def _milliseconds(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _created(row: dict[str, Any]) -> int:
    return (row.get("time") or {}).get("created") or 0


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (sqlite3.Error, OSError, ValueError)) else f"{type(error).__name__}: {error}"
