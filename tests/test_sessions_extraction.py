"""extract-training-data.py: from databases to files of records, and what is kept when things go wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from conftest import LANGUAGES, ROOT, invoke
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opencode_rows import V1, V2, History, bash, edit, text, tool
from specialists.agent import ROOT as STAND_IN
from specialists.agent import TOOLS, in_project
from specialists.chat import Chat
from specialists.config import load_config
from specialists.records import read_records, write_records
from specialists.secrets import Rules, clean, scrub
from specialists.sessions.extraction import Extractor, read_histories
from tiny_models import save_tokenizer

PASSWORD = "gK7#vRq2!xWm9"
SAMPLES = Path(__file__).parent / "samples"


def extract(config: Path, *arguments: object) -> Result:
    return invoke("extract-training-data", config, *arguments)


def records(config: Path, language: str) -> list[dict[str, Any]]:
    return list(read_records(config.parent / "data" / "sessions" / f"{language}.jsonl"))


def summary(config: Path) -> dict[str, Any]:
    return json.loads((config.parent / "data" / "sessions" / "summary.json").read_text())


def targets(record: dict[str, Any]) -> list[str]:
    return [message["content"] for message in record["messages"] if message.get("weight") == 1]


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
    report = json.loads(run.stdout)
    assert report["examples"] == {"rust": 5, "ts": 3, "python": 9, "ruby": 1, "swift": 1}
    assert report["problems"] == [] and summary(config_file) == report
    assert report["funnel"]["sessions"] == 22 and report["funnel"]["lost"]["failed"] == 9
    files = list((config_file.parent / "data" / "sessions").glob("*.jsonl"))
    assert not any(write_records(path, read_records(path)) for path in files), "in order, each row once"
    everything = in_project("".join(path.read_text() for path in files))
    assert "/home" not in everything and "/tmp" not in everything and "/root" not in everything


def test_a_record_is_the_chat_with_its_weights_and_where_it_came_from(config_file: Path, history: History) -> None:
    user = history.user("ses_1", "More")
    history.assistant("ses_1", user, edit("/home/kim/src/demo/src/lib.rs", status="error", error="Could not find"))
    history.assistant("ses_1", user, text("I see."), edit("/home/kim/src/demo/src/lib.rs"))
    assert extract(config_file).exit_code == 0
    (record,) = records(config_file, "rust")
    roles = [message["role"][0] + str(message.get("weight", "")) for message in record["messages"]]
    assert roles == ["s", "u", "a1", "t", "a1", "u", "a0", "t", "a1"]
    assert record["messages"][0]["content"].startswith("You are build-rust")
    call = record["messages"][2]["tool_calls"][0]["function"]
    assert call["name"] == "edit" and json.loads(call["arguments"])["filePath"] == f"{STAND_IN}/src/lib.rs"
    source = {"kind": "session", "time": "2026-05-28T20:26:41Z", "session": "ses_1", "project": "demo"}
    assert record["source"] == source and records(config_file, "python") == []


def test_forks_and_resumed_copies_count_once_and_share_a_cluster(config_file: Path, history: History) -> None:
    work(history, history.session("ses_2"))  # a fork: the same rows under new ids, and then something new
    work(history, "ses_2", "And the other one")
    run = extract(config_file)
    assert "2 copy of another session" in run.stderr
    found = records(config_file, "rust")
    assert [record["source"]["session"] for record in found] == ["ses_1", "ses_1"]
    assert [len(targets(record)) for record in found] == [2, 2]


def test_what_the_owner_excluded_is_not_learned_from_nor_are_its_forks(config_file: Path, history: History) -> None:
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
    assert [len(targets(record)) for record in records(config_file, "rust")] == [2, 2]


@pytest.mark.parametrize("done", [True, False])
def test_what_a_compaction_kept_stands_behind_its_summary(config_file: Path, history: History, done: bool) -> None:
    """One that failed took nothing away."""
    tail = history.user("ses_1", "Kept")
    part = {"type": "compaction", **({"tail_start_id": tail} if done else {})}
    asked = history.message("ses_1", {"role": "user"}, [part])
    history.assistant("ses_1", asked, text("Summary"), summary=True, finish="stop" if done else None)
    note = {"type": "text", "text": "Go on", "synthetic": True}
    history.message("ses_1", {"role": "user"}, [note])
    history.assistant("ses_1", asked, edit("/home/kim/src/demo/src/lib.rs"))
    extract(config_file)
    row = [message["content"] for message in records(config_file, "rust")[-1]["messages"][1:]]
    summary = ["What did we do so far?", "Summary"]
    assert row[-5 if done else -4 :] == ([*summary, "Kept", "Go on", ""] if done else [*summary, "Go on", ""])
    assert ("Fix it" in row) is not done


def test_subagents_are_sessions_of_their_own_and_have_no_subagents(config_file: Path, history: History) -> None:
    child = history.session("ses_2", parent_id="ses_1", title="Fix half (@build-rust subagent)")
    user = history.user(child, "In src/half.rs, divide by 2")
    history.assistant(child, user, edit("/home/kim/src/demo/src/half.rs"), agent="build-rust")
    extract(config_file)
    mine, delegated = records(config_file, "rust")
    assert delegated["messages"][1]["content"] == "In src/half.rs, divide by 2"
    tools = [{tool["function"]["name"] for tool in record["tools"]} for record in (mine, delegated)]
    assert tools[0] - tools[1] == {"task", "todowrite"}


def test_a_mixed_session_is_split_at_its_turns(config_file: Path, history: History) -> None:
    work(history, "ses_1", "now the front end", "web/app.ts")
    work(history, "ses_1", "and the notes", "NOTES.md")
    extract(config_file)
    for language, request in (("rust", "Fix it"), ("ts", "now the front end")):
        (record,) = records(config_file, language)
        assert [m["content"] for m in record["messages"] if m["role"] == "user"][-1] == request
        assert targets(record) == [f"On {request}.", "Done."]
    assert summary(config_file)["funnel"]["lost"] == {"no language": 2}


def test_a_plugins_tool_is_among_those_of_the_row(config_file: Path, history: History) -> None:
    history.assistant("ses_1", history.user("ses_1"), tool("db_query", {"sql": "x"}), edit("/home/kim/src/demo/a.rs"))
    extract(config_file)
    names = [tool["function"]["name"] for tool in records(config_file, "rust")[0]["tools"]]
    assert names == [*(tool["function"]["name"] for tool in TOOLS), "db_query"]


def test_no_example_is_over_the_limit_by_the_base_models_own_count(config_file: Path) -> None:
    save_tokenizer(config_file.parent / "base")
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_length = 2000\n")
    extract(config_file, "--database", SAMPLES / "opencode-1.18.33.db")
    chat = Chat.load(str(config_file.parent / "base"))
    lengths = [chat.count(row["messages"][1:]) for name in LANGUAGES for row in records(config_file, name)]
    assert max(lengths) <= 2000 and len(lengths) > 20


def test_a_secret_that_one_window_gives_away_is_a_fake_in_all_of_them(config_file: Path, history: History) -> None:
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_length = 2200\n")
    history.user("ses_1", f"The database has DB_PASSWORD={PASSWORD} in .env")
    for number in range(6):
        work(history, "ses_1", f"Part {number}")
        log = bash("./log", f"{number} connected with {PASSWORD}\n" + "x " * 1500)
        history.assistant("ses_1", history.user("ses_1", "And what says the log?"), log)
    last = text(f"I see {PASSWORD}.")
    history.assistant("ses_1", history.user("ses_1", "The last thing to do"), last, edit("/home/kim/src/demo/a.rs"))
    work(history, "ses_1", "The end")
    run = extract(config_file, "--json")
    found = records(config_file, "rust")
    written = [path.read_bytes() for path in (config_file.parent / "data").rglob("*") if path.is_file()]
    assert len(found) > 3 and PASSWORD.encode() not in b"".join(written)
    assert all(scrub(record, Rules()) == (record, []) for record in found)
    funnel = json.loads(run.stdout)["funnel"]
    assert funnel["lost"]["secret in target"] == 1 and funnel["secrets"] == 1
    messages = max((record["messages"] for record in found), key=len)
    (spoiled,) = [message for message in messages if message["content"].startswith("I see ")]
    assert spoiled["weight"] == 0 and messages[-1] == {"role": "assistant", "content": "Done.", "weight": 1}


def test_a_text_that_is_harmless_under_one_key_is_looked_at_again_under_another() -> None:
    call = {"function": {"name": "login", "arguments": json.dumps({"note": PASSWORD, "password": PASSWORD})}}
    messages = [{"role": "user", "content": PASSWORD}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    cleaned = clean(messages, {}, Rules())
    assert cleaned.spoiled == {0, 1} and PASSWORD not in json.dumps(cleaned.messages)


def test_a_history_that_cannot_be_read_today_keeps_its_rows(config_file: Path, history: History) -> None:
    extract(config_file)
    content = history.path.read_bytes()
    history.path.write_bytes(b"garbage" * 1000)
    run = extract(config_file, "--json")
    report = json.loads(run.stdout)
    assert run.exit_code == 3
    assert "file is not a database" in report["problems"][0] and summary(config_file) == report
    rust = report["funnel"]["languages"]["rust"]
    assert report["examples"]["rust"] == 1 and rust == {"kept from before": 1, "lost": {}}
    history.path.write_bytes(content)
    assert extract(config_file).exit_code == 0 and summary(config_file)["problems"] == []


@pytest.mark.parametrize(
    ("lose", "left"),
    [("DELETE FROM session", 0), ("DELETE FROM message", 0), ("DELETE FROM session WHERE id IN ('ses_1', 'ses_2')", 2)],
)
def test_a_history_that_collapses_keeps_its_rows_until_the_owner_accepts_it(
    config_file: Path, history: History, lose: str, left: int
) -> None:
    for number in (2, 3, 4):
        work(history, history.session(f"ses_{number}"), f"Part {number}")
    extract(config_file)
    history.connection.execute(lose)
    for _again in range(2):
        run = extract(config_file)
        assert run.exit_code == 3 and f"opencode.db: {left} sessions where there were 4" in run.stderr
        assert len(records(config_file, "rust")) == 4 and "--accept-loss" in summary(config_file)["problems"][0]
    assert extract(config_file, "--accept-loss").exit_code == 0 and len(records(config_file, "rust")) == left
    assert extract(config_file).exit_code == 0 and len(records(config_file, "rust")) == left


def test_all_histories_in_opencodes_folder_are_read_each_session_once(config_file: Path, history: History) -> None:
    folder = Path.home() / ".local" / "share" / "opencode"
    shutil.copytree(SAMPLES / "opencode-1.1.65" / "storage", folder / "storage")
    history.connection.execute("VACUUM INTO ?", [str(folder / "opencode.db")])
    stable = History(folder / "opencode-stable.db")
    work(stable, stable.session())  # as 2.x words it: each step other than in the copy
    stable.connection.execute("UPDATE part SET data = replace(data, 'Edit applied successfully.', 'Edited a')")
    work(stable, stable.session("ses_2"), "Only there")
    config_file.write_text(config_file.read_text().replace('databases = ["./opencode.db"]', ""))
    assert extract(config_file).exit_code == 0
    names = {Path(path).name for path in summary(config_file)["histories"]}
    assert names == {"opencode-stable.db", "opencode.db", "storage"}
    assert summary(config_file)["funnel"]["sessions"] == 3
    assert sorted(record["source"]["session"] for record in records(config_file, "rust")) == ["ses_1", "ses_2"]
    stable.path.unlink()
    run = extract(config_file)
    assert run.exit_code == 3 and "opencode-stable.db: no opencode history there" in run.stderr
    assert len(records(config_file, "rust")) == 2
    assert extract(config_file, "--accept-loss").exit_code == 0 and len(records(config_file, "rust")) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("message SET time_created = 1e18", "ses_1"),
        ("part SET data = replace(hex(zeroblob(5000)), '00', '[')", "part prt"),
    ],
)
def test_bad_rows_are_named(config_file: Path, history: History, change: str, problem: str) -> None:
    work(history, history.session("ses_2"), "Still there")
    history.connection.execute(f"UPDATE {change} WHERE session_id = 'ses_1'")
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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_row_whatever_it_holds_stops_the_others(config_file: Path, data: st.DataObject) -> None:
    """Values of real rows replaced by values of any type."""
    folder = config_file.parent
    (folder / "fuzz.db").unlink(missing_ok=True)
    history = History(folder / "fuzz.db", V1 + V2)
    history.connection.execute("PRAGMA synchronous = OFF")
    work(history, history.session())
    work(history, history.session("ses_2"), "Still there")
    history.v2(history.session("ses_3"), "assistant", {"content": [{"type": "tool", "name": "bash", "state": {}}]})
    anything = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.just({"a": 1})
    table = data.draw(st.sampled_from(["message", "part", "session_message"]))
    rows = history.connection.execute(f"SELECT id, data FROM {table} WHERE session_id != 'ses_2'").fetchall()
    id_, stored = data.draw(st.sampled_from(rows))
    objects: list[dict] = []
    row = json.loads(stored, object_hook=lambda value: objects.append(value) or value)
    holder = data.draw(st.sampled_from([value for value in objects if value]))
    holder[data.draw(st.sampled_from(list(holder)))] = data.draw(anything)
    history.connection.execute(f"UPDATE {table} SET data = ? WHERE id = ?", [json.dumps(row), id_])
    extractor = Extractor(load_config(config_file), ["rust"], folder / "out")
    for session in read_histories([history.path], extractor.problems):
        extractor.add(session)
    extractor.finish()
    requests = [record["messages"][1]["content"] for record in read_records(folder / "out" / "rust.jsonl")]
    assert "Still there" in requests


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
    command = [sys.executable, ROOT / "scripts" / "extract-training-data.py", "--config", config_file]
    for line in (1, 0):  # the first run says first what it will do
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        header = run.stderr.splitlines()[line].split()
        assert run.stdout == "" and header == ["language", "turns", "steps", "lost", "examples"]
