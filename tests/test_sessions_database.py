"""Every storage generation of opencode, and databases in bad shape."""

import json
import os
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from opencode_model import replay
from opencode_rows import START, V1, V2, History, text
from specialists.sessions.database import Session, Unreadable, read_sessions

SAMPLES = Path(__file__).parent / "samples"
V2_SCHEMAS = {name: V1.replace("TABLE session ", f"TABLE {name} ") + V2 for name in ("session", "session_v2")}


@pytest.fixture
def history(tmp_path: Path) -> History:
    """One session without messages."""
    history = History(tmp_path / "a.db")
    history.session()
    return history


def read(path: Path) -> tuple[list[Session], list[str]]:
    problems: list[str] = []
    return list(read_sessions(path, problems)), problems


@pytest.mark.parametrize("name", ["1.18.33.db", "1.14.34.db", "1.2.1.db", "1.1.65"])
def test_every_generation_is_read_whole(name: str) -> None:
    sessions, problems = read(SAMPLES / f"opencode-{name}")
    messages = [message for session in sessions for message in session.messages]
    counts = len(sessions), len(messages), sum(len(message.parts) for message in messages)
    assert problems == [] and counts == ((22, 131, 408) if name == "1.18.33.db" else (1, 4, 17))


def test_a_folder_gives_all_databases_in_it(tmp_path: Path) -> None:
    for name in ("opencode.db", "opencode-beta.db"):
        shutil.copy(SAMPLES / "opencode-1.2.1.db", tmp_path / name)
    shutil.copytree(SAMPLES / "opencode-1.1.65" / "storage", tmp_path / "storage")
    assert len(read(tmp_path)[0]) == 3


def test_rows_in_the_write_ahead_log_are_read_while_opencode_holds_the_database_open(history: History) -> None:
    history.connection.execute("PRAGMA journal_mode = WAL")
    user = history.user("ses_1")
    history.connection.execute("BEGIN")  # a write under way
    history.assistant("ses_1", user, text("not yet"))
    (session,), problems = read(history.path)
    assert Path(f"{history.path}-wal").stat().st_size > 0
    assert [message.role for message in session.messages] == ["user"] and not problems
    history.connection.execute("COMMIT")
    assert len(read(history.path)[0][0].messages) == 2


def test_nothing_is_written_not_even_beside_the_database(tmp_path: Path, history: History) -> None:
    """Also where a killed opencode left rows in its log."""
    history.connection.execute("PRAGMA journal_mode = WAL")
    history.user("ses_1", "in the log")
    folder = tmp_path / "left"
    folder.mkdir()
    for path in (history.path, f"{history.path}-wal", SAMPLES / "opencode-1.2.1.db"):
        shutil.copy(path, folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert len(read(folder / "opencode-1.2.1.db")[0]) == len(read(folder / "a.db")[0][0].messages) == 1
    after = {path: path.read_bytes() for path in folder.iterdir() if path.suffix != ".db-shm"}
    assert after == before


@pytest.mark.parametrize("files", [("",), ("", "-shm"), ("", "-wal", "-shm"), ("", "-wal")])
def test_a_folder_that_cannot_be_written(history: History, files: tuple[str, ...]) -> None:
    history.connection.execute("PRAGMA journal_mode = WAL")
    history.user("ses_1")
    if "-wal" not in files:
        history.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with tempfile.TemporaryDirectory() as name:  # `nobody` could not enter tmp_path
        folder, root = Path(name), os.geteuid() == 0
        for suffix in files:
            shutil.copy(f"{history.path}{suffix}", folder)
        folder.chmod(0o555)
        try:
            if root:  # to whom no mode is a hindrance
                os.seteuid(65534)
            if files == ("", "-wal"):  # the log has no index, and none can be made
                with pytest.raises(Unreadable, match=r"newest rows are in a\.db-wal.*copy both"):
                    read(folder / "a.db")
            else:
                (session,), problems = read(folder / "a.db")
                assert len(session.messages) == 1 and problems == []
            assert {path.name for path in folder.iterdir()} == {f"a.db{suffix}" for suffix in files}
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_tables_that_hold_tokens_or_events_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Traced(sqlite3.Connection):
        def __init__(self, *arguments: object, **options: object):
            super().__init__(*arguments, **options)
            self.set_trace_callback(seen.append)

    monkeypatch.setattr(sqlite3, "connect", Traced)
    read(SAMPLES / "opencode-1.18.33.db")
    tables = {word for query in seen for word in re.findall(r"(?:FROM|table_info\()\s*(\w+)", query)}
    assert tables == {"sqlite_master", "session", "message", "part", "session_message"}


@pytest.mark.parametrize("other", ["opencode-beta.db", "storage"])
def test_histories_beside_the_one_that_is_missing_are_named(tmp_path: Path, other: str) -> None:
    (tmp_path / "storage" / "session").mkdir(parents=True) if other == "storage" else History(tmp_path / other)
    with pytest.raises(Unreadable, match=r"no opencode history there, but .*: name it in \[opencode\] databases"):
        read(tmp_path / "opencode.db")


def test_order_is_by_time_because_ids_wrapped(history: History) -> None:
    history.user("ses_1", "first", id="msg_fff")
    history.user("ses_1", "second", id="msg_000")
    (session,), _ = read(history.path)
    assert [message.parts[0]["text"] for message in session.messages] == ["first", "second"]


def v2_tool(name: str, given: object, status: str = "completed", **more: object) -> dict:
    state = {"status": status, "input": given, "content": [], "structured": {}, **more}
    return {"type": "tool", "id": "c", "name": name, "time": {"created": 1, "pruned": 2}, "state": state}


@pytest.mark.parametrize("table", V2_SCHEMAS)
def test_the_v2_engine(tmp_path: Path, table: str) -> None:
    """Sessions of `POST /api/session` in 1.18, and of 2.x."""
    history = History(tmp_path / "a.db", V2_SCHEMAS[table])
    history.session(table=table)
    history.v2("ses_1", "agent-switched", {"agent": "build"})
    history.v2("ses_1", "user", {"text": "Look"})
    parts = [
        {"type": "text", "id": "t", "text": "Looking."},
        v2_tool("bash", {"command": "ls"}, content=[{"type": "text", "text": "a.rs"}]),
        v2_tool("read", {"filePath": "x"}, "error", error={"type": "unknown", "message": "File not found"}),
        v2_tool("read", {"path": "x"}, structured={"content": "é"}),
    ]
    history.v2("ses_1", "assistant", {"agent": "build", "model": {"id": "m"}, "content": parts, "finish": "stop"})
    history.v2("ses_1", "shell", {"command": "make", "output": "done", "callID": "c9"})
    history.v2("ses_1", "compaction", {"reason": "auto", "summary": "We looked.", "recent": ""})
    (session,), problems = read(history.path)
    assert problems == []
    assert [message.role for message in session.messages] == ["user", "assistant", "user", "user"]
    answer = session.messages[1]
    assert answer.data["modelID"] == "m" and answer.parts[1]["tool"] == "bash"
    states = [part["state"] for part in answer.parts[1:]]
    assert states[0]["output"] == "a.rs" and states[0]["time"]["compacted"] == 2
    assert json.loads(states[1]["error"])["error"]["message"] == states[1]["failure"] == "File not found"
    assert states[2]["output"] == '{"content":"é"}', "what the model was sent"
    shell, compaction = (message.parts[0]["text"] for message in session.messages[2:])
    assert shell.endswith("\nmake\n\nOutput:\ndone") and "<summary>\nWe looked.\n</summary>" in compaction


def test_what_2_x_stores_otherwise(tmp_path: Path) -> None:
    """Context that is not the user's words, attachments in the row, running compactions, unfinished calls."""
    history = History(tmp_path / "a.db", V2_SCHEMAS["session_v2"])
    history.session(table="session_v2")
    note = {"mime": "text/plain", "name": "a.txt", "data": "w6k=", "source": {"type": "inline"}}
    files = [note, {"mime": "image/png", "name": "b.png", "data": "AAAA"}]
    history.v2("ses_1", "user", {"text": "Look", "files": files})
    history.v2("ses_1", "skill", {"text": "How to look"})
    history.v2("ses_1", "system", {"text": "<env>"})
    history.v2("ses_1", "shell", {"command": "make", "output": {"output": "done", "truncated": False}})
    history.v2("ses_1", "compaction", {"status": "running", "reason": "auto"})
    history.v2("ses_1", "location-switched", {"location": {}})
    aborted = {"content": [v2_tool("shell", '{"comm', "streaming")], "error": {"type": "aborted", "message": "x"}}
    history.v2("ses_1", "assistant", aborted)
    (session,), problems = read(history.path)
    assert problems == []
    sent = [(message["role"], message["content"]) for message in replay(session.messages)]
    texts = [{"type": "text", "text": text} for text in ("Look", "\n\nAttached file: a.txt\n\né")]
    assert sent[0] == ("user", [*texts, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])
    assert sent[1:3] == [("user", "How to look"), ("user", "<system-update>\n&lt;env&gt;\n</system-update>")]
    assert sent[3][0] == "user" and sent[3][1].endswith("Output:\ndone") and len(sent) == 6
    assert sent[-1] == ("tool", "[Tool execution was interrupted]")
    assert session.messages[-1].parts[0]["state"]["status"] == "pending", "so that it counts as interrupted"


def test_a_session_in_two_tables_is_as_it_was_last_written(tmp_path: Path) -> None:
    history = History(tmp_path / "a.db", V1 + V1.split(";")[0].replace("TABLE session ", "TABLE session_v2 ") + ";")
    history.user(history.session())
    history.session(table="session_v2", revert='{"messageID": "msg_9"}', time_updated=9_999_999_999_999)
    assert read(history.path)[0][0].revert == {"messageID": "msg_9"}
    history.connection.execute("UPDATE session SET time_updated = 99999999999999")
    assert read(history.path)[0][0].revert == {}


def test_a_session_in_both_generations_counts_once(tmp_path: Path) -> None:
    """2.x copies old rows over; a session that went on is whole in the new table only."""
    history = History(tmp_path / "a.db", V1 + V2)
    old = history.user(history.session(), "old", time_created=START)
    history.v2("ses_1", "user", {"text": "old"}, id=old, time_created=START)
    (session,), _ = read(history.path)
    assert [message.data.get("agent") for message in session.messages] == ["build"]  # the older rows know more
    history.v2("ses_1", "user", {"text": "new"})
    (session,), _ = read(history.path)
    assert [message.parts[0]["text"] for message in session.messages] == ["old", "new"]


BAD = [b'{"type": "text", "te', b'{"type": "text", "text": "\xff\xfe"}', b"[1]", b"", b'{"type": "text"} {}']


@pytest.mark.parametrize("data", BAD)
def test_a_bad_row_is_named_and_the_rest_comes_through(history: History, data: bytes) -> None:
    history.assistant("ses_1", history.user("ses_1", "hello"), data, text("fine"))
    history.user(history.session("ses_2"), "other")
    found, (problem,) = read(history.path)
    assert [part["text"] for part in found[0].messages[1].parts] == ["fine"] and len(found) == 2
    assert "part prt_" in problem and "not a JSON object: " in problem


@pytest.mark.parametrize(
    ("stored", "expected"),
    [('"a\\ud83d"', "a\ufffd"), ('"\\ud83d\\ude00"', "\U0001f600"), ('"a\\u0000b"', "a\0b"), ('"a\nb\x00"', "a\nb\0")],
)
def test_odd_characters(history: History, stored: str, expected: str) -> None:
    history.message("ses_1", {"role": "user"}, [f' {{"type": "text", "text": {stored}}}\n'.encode()])
    (session,), problems = read(history.path)
    assert session.messages[0].parts[0]["text"] == expected and problems == []


def test_missing_locked_and_garbage_databases_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specialists.sessions.database.BUSY_SECONDS", 0.05)
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.db").write_bytes(b"not a database at all" * 100)
    locked = History(tmp_path / "locked.db")
    locked.connection.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
    for name, message in {
        "gone.db": "gone.db: no opencode history there",
        "garbage.db": "garbage.db: cannot be read: file is not a database",
        "empty": "neither",
        "locked.db": "locked",
    }.items():
        with pytest.raises(Unreadable, match=message):
            read(tmp_path / name)


def test_corrupt_pages_cost_the_sessions_on_them_only(tmp_path: Path) -> None:
    history = History(tmp_path / "a.db")
    for number in range(6):
        user = history.user(history.session(f"ses_{number}"), "x" * 3000)
        history.assistant(f"ses_{number}", user, text("y" * 3000))
    history.connection.close()
    content = bytearray(history.path.read_bytes())
    start = content.rindex(b"y" * 2000) // 4096 * 4096  # of the page
    content[start : start + 64] = b"\xff" * 64
    history.path.write_bytes(content)
    found, problems = read(history.path)
    assert 0 < len(found) < 6 and len(found) + len(problems) == 6
    assert all("session ses_" in problem for problem in problems)


def test_json_storage_with_a_broken_file(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "opencode-1.1.65", tmp_path / "old")
    part = min((tmp_path / "old" / "storage" / "part").rglob("*.json"))
    part.write_text(part.read_text()[:40])
    (session,), (problem,) = read(tmp_path / "old")
    assert len(session.messages) == 4 and part.name in problem
