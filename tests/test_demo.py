"""The demo's makers: the same history and repositories every time, in the real forms; a template vLLM can parse."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import make_history
import make_repositories
import pytest
import stories
from conftest import ROOT
from developer import NOT_FOUND
from hypothesis import given
from hypothesis import strategies as st
from specialists.config import load_config
from specialists.sessions.database import Session, read_sessions
from stamps import make_once


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("history")
    make_history.make(out)
    return out / "opencode.db"


@pytest.fixture(scope="module")
def sessions(history: Path) -> list[Session]:
    problems: list[str] = []
    found = list(read_sessions(history, problems))
    assert not problems
    return found


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("repositories")
    make_repositories.make(out)
    return out / "repositories"


# --- made once ----------------------------------------------------------------------------------------------------


def test_makes_again_only_when_a_source_changed(tmp_path: Path) -> None:
    source, target, made = tmp_path / "maker.py", tmp_path / "out" / "thing", []
    source.write_text("1")

    def build(path: Path) -> None:
        made.append(path)
        path.mkdir()
        (path / "file").write_text(str(len(made)))

    assert make_once(target, [source], build)
    assert not make_once(target, [source], build)
    source.write_text("2")
    assert make_once(target, [source], build)
    assert (target / "file").read_text() == "2"
    assert sorted(path.name for path in target.parent.iterdir()) == [".thing.stamp", "thing"]


def test_what_failed_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    source, target = tmp_path / "maker.py", tmp_path / "thing"
    source.write_text("1")
    make_once(target, [source], lambda path: path.write_text("whole"))
    source.write_text("2")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_once(target, [source], fail)
    assert target.read_text() == "whole"
    assert make_once(target, [source], lambda path: path.write_text("new")) and target.read_text() == "new"


def test_killed_before_the_stamp_it_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "maker.py", tmp_path / "thing"
    source.write_text("1")
    make_once(target, [source], lambda path: path.write_bytes(b"first"))
    source.write_text("2")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", lambda *_arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        make_once(target, [source], lambda path: path.write_bytes(b"second"))
    source.write_text("1")
    assert make_once(target, [source], lambda path: path.write_bytes(b"third"))


# --- stories ------------------------------------------------------------------------------------------------------

ALL = {
    language: sorted((f.name, trait) for f in stories.project(language).functions for trait in stories.TRAITS)
    for language in stories.LANGUAGES
}


@given(st.data(), st.sampled_from(stories.LANGUAGES))
def test_edits_lead_from_any_state_to_any_other(data: st.DataObject, language: str) -> None:
    before, after = (data.draw(st.frozensets(st.sampled_from(ALL[language]))) for _ in range(2))
    files = stories.project(language).render(before)
    for path, wanted in stories.project(language).render(after).items():
        text = files.get(path, wanted)
        for old, new in stories.edits(text, wanted):
            assert text.count(old) == 1
            text = text.replace(old, new)
        assert text == wanted


GRAMMARS = {".rs": "rust", ".ts": "typescript", ".py": "python", ".rb": "ruby", ".swift": "swift"}


@pytest.mark.parametrize("language", stories.LANGUAGES)
@pytest.mark.parametrize("lacking", ["", *stories.TRAITS[1:]])
def test_what_is_told_is_code(language: str, lacking: str) -> None:
    from importlib import import_module

    from tree_sitter import Language, Parser

    files = stories.project(language).render(frozenset(pair for pair in ALL[language] if pair[1] != lacking))
    sources = {path: text for path, text in files.items() if Path(path).suffix in GRAMMARS}
    assert len(sources) >= 4
    for path, text in sources.items():
        name = GRAMMARS[Path(path).suffix]
        module = import_module(f"tree_sitter_{name}")
        grammar = module.language_typescript() if name == "typescript" else module.language()
        assert not Parser(Language(grammar)).parse(text.encode()).root_node.has_error, path


def test_the_python_project_passes_its_tests_only_when_fixed() -> None:
    def failures(state: stories.State) -> int:
        failed = 0
        for function in stories.project("python").functions:
            namespace: dict = {"__name__": "told"}
            exec(stories.source_of(function, state), namespace)
            test = stories.test_of(function, state).replace(f"{function.module}.", "")
            try:
                exec(f"{test}test_{function.name}()", namespace)
            except AssertionError:
                failed += 1
        return failed

    assert failures(frozenset(ALL["python"])) == 0
    assert failures(frozenset(pair for pair in ALL["python"] if pair[1] == "renamed")) == 12


# --- the history --------------------------------------------------------------------------------------------------


def rows(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as connection:
        yield from connection.iterdump()


def schema(path: Path) -> dict:
    """Tables with columns, types, keys; indexes by name, table and columns."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:

        def ask(statement: str) -> list[tuple]:
            return connection.execute(statement).fetchall()

        tables = {
            name: (ask(f"PRAGMA table_info({name})"), sorted(ask(f"PRAGMA foreign_key_list({name})")))
            for (name,) in ask("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        indexes = {
            name: (table, ask(f"PRAGMA index_info({name})"))
            for name, table in ask("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        }
    return {
        "tables": {name: [column[:5] for column in info] for name, (info, _keys) in tables.items()},
        "keys": {name: [key[2:7] for key in keys] for name, (_info, keys) in tables.items()},
        "indexes": indexes,
    }


def made_elsewhere(module: str, path: Path, **environment: str) -> None:
    """Let a maker build in a process of its own, with another seed of Python's hashes."""
    program = f"import pathlib, {module}; {module}.build(pathlib.Path({str(path)!r}))"
    paths = os.pathsep.join([str(ROOT / "demo"), str(ROOT / "scripts")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", **environment}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_the_history_is_the_same_every_time(history: Path, tmp_path: Path) -> None:
    made_elsewhere("make_history", tmp_path / "again.db")
    assert list(rows(history)) == list(rows(tmp_path / "again.db"))


def test_the_history_has_the_schema_of_the_real_program(history: Path, shared_samples: Path) -> None:
    assert schema(history) == schema(shared_samples / "dev-1.18.33.db")


def test_rows_hold_what_real_rows_hold(history: Path, shared_samples: Path) -> None:
    """Every kind of part and message has no other keys than in the real database, and the ones that readers need."""

    def keys(path: Path) -> dict[tuple, set[str]]:
        found: dict[tuple, set[str]] = {}
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            for (data,) in connection.execute("SELECT data FROM message UNION ALL SELECT data FROM part"):
                value = json.loads(data)
                state = value.get("state", {})
                kind = (value.get("role"), value.get("type"), state.get("status"))
                found.setdefault(kind, set()).update(value, (f"state.{key}" for key in state))
        return found

    real, made = keys(shared_samples / "dev-1.18.33.db"), keys(history)
    for kind, found in made.items():
        assert found <= real[kind] | {"error"}, kind


def test_ids_are_unlike_and_in_time(sessions: list[Session]) -> None:
    messages = [message for session in sessions for message in session.messages]
    assert len({message.id for message in messages}) == len(messages)
    for session in sessions:
        assert all(a.time < b.time for a, b in pairwise(session.messages)), session.id


@pytest.mark.parametrize("language", stories.LANGUAGES)
def test_every_language_has_what_histories_hold(sessions: list[Session], language: str) -> None:
    name = stories.project(language).name
    mine = [session for session in sessions if session.directory.endswith(f"/{name}")]
    assert len(mine) >= 25
    assert sum(bool(session.revert) for session in mine) == 1
    data = [message.data for session in mine for message in session.messages]
    assert any("error" in row for row in data)
    for session in mine:
        calls = [part["state"] for message in session.messages for part in message.parts if part["type"] == "tool"]
        failed = [index for index, state in enumerate(calls) if state.get("error") == NOT_FOUND]
        if failed:
            later = calls[failed[0] + 1 :]
            assert any(state["status"] == "completed" and "oldString" in state["input"] for state in later)
            break
    else:
        pytest.fail("no failed edit")


def test_there_is_one_of_each_odd_session(history: Path, sessions: list[Session]) -> None:
    assert [session for session in sessions if session.parent]
    with closing(sqlite3.connect(history)) as connection:
        agents = dict(connection.execute("SELECT agent, count(*) FROM session GROUP BY agent"))
    assert agents["plan"] == 1 and agents["build"] > 100
    token = make_history._token()
    seen = [
        part
        for session in sessions
        for message in session.messages
        for part in message.parts
        if part["type"] == "tool" and token in json.dumps(part)
    ]
    assert sorted(part["tool"] for part in seen) == ["bash", "edit"]


def test_no_secret_stands_in_the_sources() -> None:
    token = make_history._token()
    assert len(token) == 40
    for path in (ROOT / "demo").glob("*.py"):
        assert token not in path.read_text() and token[:4] not in path.read_text()


# --- repositories -------------------------------------------------------------------------------------------------


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout


def test_hashes_are_the_same_whatever_the_owner_configured(repositories: Path, tmp_path: Path) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[user]\n\tname = Zoe\n\temail = zoe@home.example\n"
        f"[init]\n\tdefaultBranch = trunk\n\ttemplateDir = {tmp_path}\n"
        "[core]\n\tautocrlf = true\n[commit]\n\tgpgSign = true\n[i18n]\n\tcommitEncoding = latin1\n"
    )
    owner = {
        "GIT_CONFIG_GLOBAL": str(settings),
        "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
        "GIT_DIR": str(tmp_path / "elsewhere"),
    }
    made_elsewhere("make_repositories", tmp_path / "again", **owner)
    names = sorted(path.name for path in repositories.iterdir())
    assert names == sorted(stories.project(language).name for language in stories.LANGUAGES)
    for name in names:
        assert git(repositories / name, "log", "--format=%H") == git(tmp_path / "again" / name, "log", "--format=%H")


@pytest.mark.parametrize("language", stories.LANGUAGES)
def test_a_history_as_projects_have_it(repositories: Path, language: str) -> None:
    told = stories.project(language)
    repository = repositories / told.name
    log = git(repository, "log", "--format=%ae %at %P|%s").splitlines()
    assert 25 <= len(log) <= 40
    subjects = [line.partition("|")[2] for line in log]
    assert len(set(subjects)) == len(subjects)
    assert sum(len(line.partition("|")[0].split()) > 3 for line in log) == 1, "a merge"
    assert any(subject.startswith("Revert ") for subject in subjects)
    emails = {line.split()[0] for line in log}
    assert {"ada@demo.example", "ben@demo.example"} < emails and any("[bot]" in email for email in emails)
    times = [int(line.split()[1]) for line in log]
    assert times == sorted(times, reverse=True)
    assert git(repository, "status", "--porcelain") == ""
    files = told.render(stories.final_state(language))
    for path, text in files.items():
        if path != "README.md":
            assert (repository / path).read_text() == text
    assert (repository / told.lock).is_file()


def test_the_configuration_names_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # wherever it is started
    config = load_config(ROOT / "demo" / "specialists.toml")
    assert not [finding for finding in config.findings if finding.fatal]
    assert list(config.languages) == list(stories.LANGUAGES)
    out = ROOT / "demo" / "out"
    for name, language in config.languages.items():
        assert language.repositories == (str(out / "repositories" / stories.project(name).name),)
    assert config.databases() == [out / "opencode.db"] and config.base.model == str(out / "base")
    assert config.paths.data.parent == config.paths.adapters.parent == config.paths.reports.parent == out
