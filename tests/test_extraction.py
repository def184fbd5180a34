"""extract-training-data.py: from databases to files of records, and what is kept when things go wrong."""

from __future__ import annotations

import importlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import LANGUAGES, ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opencode_rows import V1, V2, History, bash, edit, text, tool
from specialists.chat import Chat
from specialists.config import load_config
from specialists.records import line_of, read_records, write_records
from specialists.sessions.extraction import Extractor
from specialists.sessions.session_cache import SessionCache
from specialists.sessions.spool import Spool
from tiny_models import save_tokenizer

SAMPLES = Path(__file__).parent / "samples"


def extract(config: Path, *arguments: object) -> Result:
    main = importlib.import_module("extract-training-data").main
    return CliRunner().invoke(main, ["--config", str(config), *map(str, arguments)])


def records(config: Path, language: str) -> list[dict[str, Any]]:
    return list(read_records(config.parent / "data" / "sessions" / f"{language}.jsonl"))


def summary(config: Path) -> dict[str, Any]:
    return json.loads((config.parent / "data" / "sessions" / "summary.json").read_text())


def work(history: History, session: str, request: str = "Fix it", path: str = "src/lib.rs") -> None:
    user = history.user(session, request)
    history.assistant(session, user, text(f"On {request}."), edit(f"/home/kim/src/demo/{path}"))
    history.assistant(session, user, text("Done."))


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "opencode.db")
    work(history, history.session())
    return history


def test_the_sample_of_the_real_program_gives_examples_in_every_language(config_file: Path) -> None:
    run = extract(config_file, "--database", SAMPLES / "opencode-1.18.33.db", "--json")
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["examples"] == {"rust": 5, "ts": 3, "python": 9, "ruby": 1, "swift": 1}
    assert told["problems"] == [] and {**summary(config_file), **told} == told
    assert told["funnel"]["sessions"] == 22 and told["funnel"]["lost"]["failed"] == 9
    folder = config_file.parent / "data" / "sessions"
    everything = "".join(path.read_text() for path in folder.glob("*.jsonl"))
    assert "/home" not in everything and "/tmp" not in everything and "/root" not in everything


def test_a_record_is_the_chat_with_its_weights_and_where_it_came_from(config_file: Path, history: History) -> None:
    user = history.user("ses_1", "More")
    history.assistant("ses_1", user, edit("/home/kim/src/demo/src/lib.rs", status="error", error="Could not find"))
    history.assistant("ses_1", user, text("I see."), edit("/home/kim/src/demo/src/lib.rs"))
    assert extract(config_file).exit_code == 0
    (record,) = records(config_file, "rust")
    roles = [(message["role"], message.get("weight")) for message in record["messages"]]
    assert roles == [("system", None), ("user", None), ("assistant", 1), ("tool", None), ("assistant", 1),
                     ("user", None), ("assistant", 0), ("tool", None), ("assistant", 1)]  # fmt: skip
    assert record["messages"][0]["content"].startswith("You are build-rust")
    call = record["messages"][2]["tool_calls"][0]["function"]
    assert call["name"] == "edit" and json.loads(call["arguments"])["filePath"] == "src/lib.rs"
    assert record["source"] == {
        "kind": "session",
        "time": "2026-05-28T20:26:41Z",
        "session": "ses_1",
        "project": "demo",
    }
    assert records(config_file, "python") == []


def test_forks_and_resumed_copies_count_once_and_share_a_cluster(config_file: Path, history: History) -> None:
    work(history, history.session("ses_2"))  # a fork: the same rows under new ids, and then something new
    work(history, "ses_2", "And the other one")
    run = extract(config_file)
    assert "2 copy of another session" in run.stderr
    found = records(config_file, "rust")
    assert [record["source"]["session"] for record in found] == ["ses_1", "ses_1"]
    assert [sum(m.get("weight") == 1 for m in record["messages"]) for record in found] == [2, 2]


def test_what_the_owner_took_back_is_not_learned_from_again_nor_are_its_forks(
    config_file: Path, history: History
) -> None:
    work(history, history.session("ses_2"))
    work(history, history.session("ses_3"), "Something else")
    config_file.write_text(config_file.read_text().replace("[owner]", '[owner]\nexclude = ["ses_1"]'))
    assert "4 excluded by the owner" in extract(config_file).stderr
    assert [record["source"]["session"] for record in records(config_file, "rust")] == ["ses_3"]


def test_the_same_session_in_two_databases_counts_once(config_file: Path, history: History, tmp_path: Path) -> None:
    history.connection.execute("VACUUM INTO ?", [str(tmp_path / "backup.db")])
    work(history, "ses_1", "After the backup")
    run = extract(config_file, "--database", tmp_path / "backup.db", "--database", history.path)
    funnel = summary(config_file)["funnel"]
    assert run.exit_code == 0 and (funnel["sessions"], funnel["turns"], funnel["steps"]) == (1, 2, 4)
    targets = [sum(m.get("weight") == 1 for m in record["messages"]) for record in records(config_file, "rust")]
    assert targets == [2, 2]


def test_two_copies_of_a_database_count_once_also_when_nothing_is_done_again(
    config_file: Path, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.session("ses_2")  # an empty one
    history.connection.execute("VACUUM INTO ?", [str(tmp_path / "copy.db")])
    arguments = ("--database", history.path, "--database", tmp_path / "copy.db")
    extract(config_file, *arguments)
    first, done = summary(config_file), []
    assert first["funnel"]["sessions"] == 2
    add = Extractor.add
    monkeypatch.setattr(Extractor, "add", lambda self, session: (done.append(session.id), add(self, session)))
    extract(config_file, *arguments)
    assert done == [] and summary(config_file) == first


def test_subagents_are_sessions_of_their_own_and_have_no_subagents(config_file: Path, history: History) -> None:
    child = history.session("ses_2", parent_id="ses_1", title="Fix half (@build-rust subagent)")
    user = history.user(child, "In src/half.rs, divide by 2")
    history.assistant(child, user, edit("/home/kim/src/demo/src/half.rs"), agent="build-rust")
    extract(config_file)
    mine, delegated = records(config_file, "rust")
    assert delegated["messages"][1]["content"] == "In src/half.rs, divide by 2"
    assert [{t["function"]["name"] for t in r["tools"]} & {"task", "todowrite"} for r in (mine, delegated)] == [
        {"task", "todowrite"}, set()
    ]  # fmt: skip


def test_a_mixed_session_is_split_at_its_turns(config_file: Path, history: History) -> None:
    work(history, "ses_1", "now the front end", "web/app.ts")
    work(history, "ses_1", "and the notes", "NOTES.md")
    extract(config_file)
    for language, request in (("rust", "Fix it"), ("ts", "now the front end")):
        (record,) = records(config_file, language)
        last_user = [m["content"] for m in record["messages"] if m["role"] == "user"][-1]
        targets = [m["content"] for m in record["messages"] if m.get("weight") == 1]
        assert last_user == request and targets == [f"On {request}.", "Done."]
    assert summary(config_file)["funnel"]["lost"] == {"no language": 2}


def test_tools_of_the_installed_opencode_are_used_where_they_were_captured(config_file: Path, history: History) -> None:
    parameters = {"type": "object", "properties": {key: {} for key in ("filePath", "oldString", "newString")}}
    captured = {"tools": [{"type": "function", "function": {"name": "edit", "parameters": parameters}}]}
    (config_file.parent / "data").mkdir()
    (config_file.parent / "data" / "opencode-tools.json").write_text(json.dumps(captured))
    history.assistant("ses_1", history.user("ses_1"), tool("db_query", {"sql": "x"}), edit("/home/kim/src/demo/a.rs"))
    extract(config_file)
    assert [tool["function"]["name"] for tool in records(config_file, "rust")[0]["tools"]] == ["edit", "db_query"]


def test_no_example_is_over_the_limit_by_the_base_models_own_count(config_file: Path) -> None:
    save_tokenizer(config_file.parent / "base")
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_length = 3000\n")
    run = extract(config_file, "--database", SAMPLES / "opencode-1.18.33.db", "--json")
    chat = Chat.load(str(config_file.parent / "base"))
    lengths = [chat.count(r["messages"], r["tools"]) for name in LANGUAGES for r in records(config_file, name)]
    assert max(lengths) <= 3000 and len(lengths) > 25
    assert json.loads(run.stdout)["funnel"]["lost"] == summary(config_file)["funnel"]["lost"]


# --- again, and again ---


def test_a_second_run_does_no_session_again_and_changes_no_byte(
    config_file: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(config_file)
    folder = config_file.parent / "data" / "sessions"
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.json*")}
    done: list[str] = []
    monkeypatch.setattr(Extractor, "add", lambda self, session: done.append(session.id))
    assert extract(config_file).exit_code == 0 and done == []
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.json*")}
    work(history, history.session("ses_2"), "New work")
    history.connection.execute("UPDATE message SET time_updated = time_updated + 1 WHERE id = 'msg_001'")
    extract(config_file)
    assert done == ["ses_1", "ses_2"]


def test_with_and_without_what_was_kept_the_result_is_the_same(config_file: Path, history: History) -> None:
    extract(config_file)
    work(history, history.session("ses_2"))
    work(history, "ses_2", "Something new", "a.py")
    folder = config_file.parent / "data" / "sessions"
    outcomes = []
    for _ in range(2):
        extract(config_file)
        outcomes.append({path.name: path.read_bytes() for path in folder.glob("*.json*")})
        (folder / ".cache.sqlite").unlink()
    assert outcomes[0] == outcomes[1]


LINES = ['{"a":"\\n\u2028ä"}\n'.encode(), b"2\n"]


def test_the_cache_of_an_older_version_is_no_obstacle(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cache")) as old:
        old.executescript("CREATE TABLE setup (key text); CREATE TABLE result (session text, state text, data text)")
    for expected in (None, ({}, LINES)):
        cache = SessionCache(tmp_path / "cache", "a")
        assert cache.get("ses_1", "s") == expected
        cache.put("ses_1", "s", {}, LINES)
        cache.close()


def test_a_broken_page_makes_a_new_cache(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    cache = SessionCache(path, "a")
    for number in range(100):
        cache.put(f"ses_{number}", "s", {}, LINES * 20)
    cache.close()
    path.write_bytes((whole := path.read_bytes())[:8192] + b"\xff" * 4096 + whole[12288:])
    cache = SessionCache(path, "a")
    assert {cache.get(f"ses_{number}", "s") for number in range(100)} == {None}
    cache.close()


def test_another_configuration_or_what_left_the_history_empties_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    for key, expected in (("a", [None, None]), ("a", [({"x": 1}, LINES), None]), ("b", [None, None])):
        cache = SessionCache(path, key)
        assert [cache.get("ses_1", "s"), cache.get("ses_2", "s")] == expected
        cache.put("ses_1", "s", {"x": 1}, LINES)
        if expected == [None, None]:
            cache.put("ses_2", "other state", {}, [])
        cache.close()
    cache = SessionCache(path, "b")
    assert cache.get("ses_2", "other state") == ({}, [])
    cache.close()
    cache = SessionCache(path, "b")
    assert cache.get("ses_1", "s") is None, "not asked for in the run before"
    cache.close()
    path.write_bytes(b"garbage" * 1000)
    cache = SessionCache(path, "a")
    assert cache.get("ses_1", "s") is None
    second = SessionCache(path, "a")  # another run at the same time
    assert second.get("ses_1", "s") is None
    second.close()
    cache.close()


@given(st.lists(st.tuples(st.sampled_from(["2026-01-01", "2026-01-02"]), st.integers(0, 5), st.text(max_size=5))))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_spool_writes_what_write_records_writes(tmp_path: Path, drawn: list[tuple[str, int, str]]) -> None:
    made = [{"id": str(id_), "text": words, "source": {"time": time}} for time, id_, words in drawn]
    write_records(tmp_path / "a", made)
    spool = Spool(tmp_path / "b")
    for record in made:
        spool.add(record["source"]["time"], record["id"], line_of(record))
    spool.finish()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not list(tmp_path.glob(".*")), "nothing is left aside"


# --- things that go wrong ---


def test_a_history_that_cannot_be_read_today_keeps_its_rows(config_file: Path, history: History) -> None:
    extract(config_file)
    content = history.path.read_bytes()
    history.path.write_bytes(b"garbage" * 1000)
    run = extract(config_file, "--json")
    assert run.exit_code == 3
    told = json.loads(run.stdout)
    assert "file is not a database" in told["problems"][0] and summary(config_file)["problems"] == told["problems"]
    assert told["examples"]["rust"] == 1 and told["funnel"]["languages"]["rust"] == {"kept from before": 1, "lost": {}}
    history.path.write_bytes(content)
    assert extract(config_file).exit_code == 0 and summary(config_file)["problems"] == []


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        ("UPDATE part SET data = substr(data, 1, 20) WHERE session_id = 'ses_1'", "not JSON"),
        ("UPDATE message SET data = '[]' WHERE session_id = 'ses_1'", "not a JSON object"),
        ('UPDATE message SET data = \'{"role": "assistant", "error": 3}\' WHERE session_id = \'ses_1\'', "ses_1"),
        ('UPDATE part SET data = \'{"type": "tool", "state": [1]}\' WHERE session_id = \'ses_1\'', "ses_1"),
        ("UPDATE message SET time_created = 1e18 WHERE session_id = 'ses_1'", "ses_1"),
        ("UPDATE part SET data = replace(hex(zeroblob(5000)), '00', '[') WHERE session_id = 'ses_1'", "part prt"),
    ],
)
def test_bad_rows_are_named_and_the_other_session_comes_through(
    config_file: Path, history: History, break_it: str, problem: str
) -> None:
    work(history, history.session("ses_2"), "Still there")
    history.connection.execute(break_it)
    run = extract(config_file)
    assert run.exit_code == 3 and problem in run.stderr
    assert "Still there" in {record["messages"][1]["content"] for record in records(config_file, "rust")}


def test_odd_characters_and_a_huge_output_come_through(config_file: Path, history: History) -> None:
    user = history.user("ses_1", "odd \ud83d \0 characters")
    history.assistant("ses_1", user, bash("cat log", "x" * 20_000_000), edit("/home/kim/src/demo/a.rs"))
    history.assistant("ses_1", user, text("Fine \udc00."))
    assert extract(config_file).exit_code == 0
    messages = records(config_file, "rust")[-1]["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"][-1] == "odd \ufffd \0 characters"
    assert " bytes truncated..." in repr(messages) and len(repr(messages)) < 60_000


def test_a_database_deleted_while_it_is_read(config_file: Path, history: History, tmp_path: Path) -> None:
    work(history, history.session("ses_2"), "Second")
    config = load_config(config_file)
    extractor = Extractor(config, list(config.languages), tmp_path / "out")
    for session in extractor.read([history.path]):
        history.path.unlink(missing_ok=True)
        extractor.add(session)
    assert extractor.finish()["examples"]["rust"] == 2 and extractor.totals.problems == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_row_whatever_it_holds_stops_the_others(config_file: Path, data: st.DataObject) -> None:
    """Values of real rows replaced by values of any type."""
    folder = config_file.parent
    for path in (folder / "fuzz.db", folder / "out" / ".cache.sqlite"):
        path.unlink(missing_ok=True)
    history = History(folder / "fuzz.db", V1 + V2)
    history.connection.execute("PRAGMA synchronous = OFF")
    work(history, history.session())
    work(history, history.session("ses_2"), "Still there")
    history.v2(history.session("ses_3"), "assistant", {"content": [{"type": "tool", "name": "bash", "state": {}}]})
    anything = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.just({"a": 1})
    table = data.draw(st.sampled_from(["message", "part", "session_message"]))
    rows = history.connection.execute(f"SELECT id, data FROM {table} WHERE session_id != 'ses_2'").fetchall()
    id_, row = data.draw(st.sampled_from(rows))
    row = json.loads(row)
    holder = data.draw(st.sampled_from(list(containers(row))))
    key = data.draw(st.sampled_from(list(holder)))
    holder[key] = data.draw(anything)
    history.connection.execute(f"UPDATE {table} SET data = ? WHERE id = ?", [json.dumps(row), id_])
    extractor = Extractor(load_config(config_file), ["rust"], folder / "out")
    for session in extractor.read([history.path]):
        extractor.add(session)
    extractor.finish()
    requests = [record["messages"][1]["content"] for record in read_records(folder / "out" / "rust.jsonl")]
    assert "Still there" in requests


def containers(value: Any) -> Any:
    """All objects in a JSON value that have keys."""
    if isinstance(value, dict) and value:
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from containers(item)


def test_an_unknown_schema_ends_in_an_error_and_leaves_the_files_alone(config_file: Path, history: History) -> None:
    extract(config_file)
    for table in ("message", "part"):
        history.connection.execute(f"ALTER TABLE {table} RENAME TO {table}_v9")
    run = extract(config_file)
    assert run.exit_code == 1 and "message_v9, part_v9, session" in run.output
    assert len(records(config_file, "rust")) == 1


def test_explain(config_file: Path, history: History) -> None:
    run = extract(config_file, "--explain", "ses_1")
    assert run.exit_code == 0
    lines = run.stdout.splitlines()
    assert lines[0].startswith("turn 1: rust (") and lines[0].endswith("Fix it")
    assert lines[1].split() == ["10", "rust", "edit:", "src/lib.rs"]
    assert lines[-2:] == ["    step: edit: learned from", "    step: answer: learned from"]
    assert not (config_file.parent / "data").exists()
    assert "no session ses_9" in extract(config_file, "--explain", "ses_9").output


def test_one_language_only(config_file: Path, history: History) -> None:
    assert extract(config_file, "--language", "rust").exit_code == 0
    assert {path.name for path in (config_file.parent / "data" / "sessions").glob("*.jsonl")} == {"rust.jsonl"}
    run = extract(config_file, "--language", "cobol")
    assert run.exit_code == 1 and "cobol" in run.output and set(LANGUAGES) <= set(run.output.replace(",", " ").split())


def test_the_script_runs(config_file: Path, history: History) -> None:
    script = ROOT / "scripts" / "extract-training-data.py"
    run = subprocess.run(
        [sys.executable, str(script), "--config", str(config_file)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "" and run.stderr.splitlines()[0].split() == ["language", "turns", "steps", "lost", "examples"]
