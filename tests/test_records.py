"""Records: content ids, whole files or none, the same bytes for the same rows."""

import fcntl
import json
import os
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from specialists.cli import Command
from specialists.config import Problem
from specialists.records import (
    canonical,
    make_record,
    read_records,
    record_id,
    temporary_folder,
    tool_call,
    write_if_changed,
    write_records,
)


def record(text: str, time: str = "2026-01-01T00:00:00Z", **source: str) -> dict:
    return make_record("rust", [{"role": "user", "content": text}], [], {"kind": "session", "time": time, **source})


@given(st.permutations([record(str(number), f"2026-01-0{1 + number % 3}T00:00:00Z") for number in range(6)]))
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    path = tmp_path_factory.mktemp("order") / "rows.jsonl"
    write_records(path, rows + rows[:2])
    read = list(read_records(path))
    assert read == sorted(rows, key=lambda row: (row["source"]["time"], row["id"]))


def test_a_file_is_touched_only_when_its_content_changes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    assert write_records(path, [record("a")])
    before = path.stat().st_mtime_ns
    assert not write_records(path, [record("a")])
    assert path.stat().st_mtime_ns == before
    assert write_records(path, [record("b")])
    assert not list(path.parent.glob(".*")), "no temporary file stays behind"


def test_many_that_write_a_file_do_not_disturb_one_another(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_if_changed(tmp_path / "a.json", str(number)), range(400)))


def test_what_a_step_writes_is_the_owners_alone(tmp_path: Path) -> None:
    @click.command(cls=Command)
    def step() -> None:
        (tmp_path / "data" / "logs").mkdir(parents=True)
        (tmp_path / "data" / "logs" / "step.log").write_text("x")
        sqlite3.connect(tmp_path / "data" / "cache.db").execute("create table a (b)")
        subprocess.run(["touch", "data/by-a-child"], cwd=tmp_path, check=True)
        write_records(tmp_path / "data" / "made" / "rows.jsonl", [record("a")])
        write_if_changed(tmp_path / "open.json", "{}")

    (tmp_path / "open.json").write_text("{}")
    before = os.umask(0)
    try:
        (tmp_path / "open.json").chmod(0o644)  # of an earlier version
        CliRunner().invoke(step, catch_exceptions=False)
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    written = [*(tmp_path / "data").rglob("*"), tmp_path / "data", tmp_path / "open.json"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in written}
    assert modes == {path.name: 0o700 if path.is_dir() else 0o600 for path in written} and len(modes) == 8


@given(st.text(alphabet=st.characters(codec=None), max_size=20))
def test_any_text_survives_a_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "rows.jsonl"
    write_records(path, [record(text)])
    (read,) = read_records(path)
    expected = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    assert read["messages"][0]["content"] == expected


def test_an_id_is_of_what_the_model_sees() -> None:
    assert record("a", session="x")["id"] == record("a", session="y")["id"]
    assert record("a")["id"] != record("b")["id"]
    assert record_id("rust", [], []) != record_id("ts", [], [])


def test_a_call_carries_its_arguments_as_exact_json() -> None:
    call = tool_call(3, "edit", {"filePath": "ä.rs", "replaceAll": True})
    assert call["id"] == "call_3"
    assert json.loads(call["function"]["arguments"]) == {"filePath": "ä.rs", "replaceAll": True}
    assert canonical({"a": "\ud800"}) == '{"a":"\ufffd"}'
    assert record_id("rust", [{"content": "\ud800"}], []) == record_id("rust", [{"content": "\ufffd"}], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory; the step before makes it"),
        (b'{"id": "x"}\n', r"rows\.jsonl:1: not a record: KeyError"),
        (b"{\n", r"rows\.jsonl:1: not a record: InvalidLineError: line contains invalid json"),
        (canonical(record("x") | {"messages": "x"}).encode(), "TypeError: messages is no list; if a step made this"),
        (b"[]\n", r"rows\.jsonl:1: not a record: InvalidLineError: line does not match"),
        (b"\xff\n", r"rows\.jsonl:1: not a record: InvalidLineError: line is not valid utf-8"),
    ],
)
def test_what_is_no_record_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Problem, match=message):
        list(read_records(path))


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(Problem, match="cannot be written"):
        write_if_changed(tmp_path / "file" / "x", "new")
    assert (tmp_path / "file").read_text() == "kept"


def test_what_a_killed_run_left_goes_and_what_is_in_use_or_not_ours_stays(tmp_path: Path, monkeypatch) -> None:
    abandoned, mine = tmp_path / ".a.json.k7f_x1ab.tmp", tmp_path / ".a.json.q2w3e4r5.tmp"
    kept = {mine, *(tmp_path / name for name in (".a.json.swp", ".a.json.bak", "work-notes", "work-12345678"))}
    for path in (abandoned, *kept):
        path.write_text("half")
    with mine.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_if_changed(tmp_path / "a.json", "{}")
        assert {*tmp_path.iterdir()} == {tmp_path / "a.json", *kept}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "coding-specialists-work-12345678").mkdir()
    with temporary_folder("work-") as one, temporary_folder("work-") as other:
        assert {*tmp_path.glob("*work-*")} == {one, other, tmp_path / "work-notes", tmp_path / "work-12345678"}
