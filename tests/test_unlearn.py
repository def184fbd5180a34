"""Unlearning: the rows go, the versions trained on them go, and what pointed to them points to something valid."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from specialists.adapters import AdapterFolder, adapter_folder
from specialists.config import Config, Problem, load_config
from specialists.records import make_record, read_records, write_records

SHA = "1a2b3c4d" * 5


def row(kind: str, **source: str) -> dict:
    messages = [{"role": "user", "content": str(source)}, {"role": "assistant", "content": "x", "weight": 1}]
    return make_record("rust", messages, [], {"kind": kind, "time": "2026-01-01T00:00:00Z", **source})


ROWS = {
    "session": row("session", session="ses_1"),
    "other session": row("session", session="ses_2"),
    "commit": row("commit", repository="tengu", commit=SHA),
    "other commit": row("commit", repository="visor", commit="2" * 40),
    "synthetic": row("synthetic", repository="tengu", commit="3" * 40),
}


@pytest.fixture
def built(config_file: Path) -> Config:
    """Rows in two files, and three versions: trained on ses_2, on ses_1 and ses_2 (previous), on ses_1 (current)."""
    config_file.write_text(config_file.read_text() + "\n[serving]\nport = 9\n")
    config = load_config(config_file)
    for kind in ("sessions", "train"):
        write_records(config.paths.data / kind / "rust.jsonl", ROWS.values())
    (config.paths.data / "sessions" / ".cache.db").write_text("ses_1")
    folder = adapter_folder(config, config.language("rust"))
    for name, clusters in {"1": ["ses_2"], "2": ["ses_1", "ses_2"], "3": ["ses_1", f"tengu@{SHA}"]}.items():
        (folder.path / name).mkdir(parents=True)
        (folder.path / name / "manifest.json").write_text(json.dumps({"version": name, "clusters": clusters}))
    for link, name in {"latest": "3", "current": "3", "previous": "2"}.items():
        folder.point(link, folder.path / name)
    return config


def run(config: Config, *arguments: str) -> Result:
    script = importlib.import_module("unlearn").main
    return CliRunner().invoke(script, ["--config", str(config.path), "--json", *arguments])


def state(config: Config) -> tuple[set[str], dict[str, str | None]]:
    left = {record["id"] for record in read_records(config.paths.data / "train" / "rust.jsonl")}
    folder: AdapterFolder = adapter_folder(config, config.language("rust"))
    links = {name: getattr(folder, name) for name in ("latest", "current", "previous")}
    return {name for name, record in ROWS.items() if record["id"] in left}, {
        name: version and version.name for name, version in links.items()
    }


CASES = {
    "a session": (["--session", "ses_1"], {"session"}, {"latest": "1", "current": None, "previous": None}),
    "a commit": (["--commit", SHA[:8]], {"commit"}, {"latest": "2", "current": "2", "previous": "2"}),
    "a repository": (
        ["--repository", "/src/tengu"],
        {"commit", "synthetic"},
        {"latest": "2", "current": "2", "previous": "2"},
    ),
    "an unknown session": (["--session", "ses_9"], set(), {"latest": "3", "current": "3", "previous": "2"}),
}


@pytest.mark.parametrize(("arguments", "gone", "links"), CASES.values(), ids=CASES)
def test_what_is_unlearned(built: Config, arguments: list[str], gone: set[str], links: dict) -> None:
    done = run(built, *arguments)
    assert done.exit_code == 0, done.output
    assert state(built) == (ROWS.keys() - gone, links)
    receipt = json.loads(done.stdout)
    assert receipt["rows"] == ({"sessions/rust.jsonl": len(gone), "train/rust.jsonl": len(gone)} if gone else {})
    assert not (built.paths.data / "sessions" / ".cache.db").exists()
    again = load_config(built.path).unlearned
    assert {name for name, record in ROWS.items() if again.covers(record["source"])} == gone


def test_a_dry_run_changes_nothing(built: Config) -> None:
    before = state(built)
    done = run(built, "--session", "ses_1", "--dry-run")
    assert json.loads(done.stdout)["versions"] == ["build-rust/2", "build-rust/3"]
    assert state(built) == before and not load_config(built.path).unlearned.sessions


def test_unlearning_adds_up(built: Config) -> None:
    run(built, "--session", "ses_1")
    run(built, "--session", "ses_2", "--repository", "visor")
    unlearned = load_config(built.path).unlearned
    assert (unlearned.sessions, unlearned.repositories) == (("ses_1", "ses_2"), ("visor",))


MISTAKES = {
    "nothing named": ([], "nothing named"),
    "too few digits": (["--commit", "12"], "give 7 digits"),
    "an unknown commit": (["--commit", "1234567"], "no row comes from such a commit"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(built: Config, arguments: list[str], message: str) -> None:
    done = run(built, *arguments)
    assert done.exit_code == 1 and message in done.stderr
    assert state(built)[0] == ROWS.keys()


def test_a_broken_list_stops_everything(built: Config) -> None:
    built.path.with_suffix(".unlearned.json").write_text("[")
    with pytest.raises(Problem, match=r"unlearned\.json: cannot be read"):
        load_config(built.path)
