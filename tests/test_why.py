"""Why a task runs: rows and keys from hand-made versions, doit's own state from a small dodo.py."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from built_pipeline import examples, version, write
from conftest import ROOT
from specialists.config import Config, Problem, load_config
from specialists.pipeline import Unchanged
from specialists.records import cluster_of, read_records
from specialists.reporting.why import expected_cost, training_change, why

NAME = "20261123-091500-1a2b3c4d"
clusters = importlib.import_module("train").clusters


def trained(config: Config, language: str = "rust", **manifest: object) -> Path:
    """A version of 12 rows, as train.py describes it."""
    examples(config, language, {"session": 8, "commit": 4, "synthetic": 0})
    rows = list(read_records(config.paths.data / "train" / f"{language}.jsonl"))
    return version(config, NAME, language, clusters=clusters(rows), **manifest)


def change(config: Config):
    return training_change(config, config.language("rust"))


def test_clusters_of_a_version_hold_every_row_once(config_file: Path) -> None:
    config = load_config(config_file)
    trained(config)
    rows = list(read_records(config.paths.data / "train" / "rust.jsonl"))
    found = clusters(rows[::-1])
    assert found == clusters(rows) and sorted(row for ids in found.values() for row in ids) == sorted(
        row["id"] for row in rows
    )
    assert all(row["id"] in found[cluster_of(row)] for row in rows)


def test_rows_that_came_and_rows_that_went(config_file: Path) -> None:
    config = load_config(config_file)
    trained(config)
    assert change(config).reasons == []
    examples(config, "rust", {"session": 9, "commit": 3, "synthetic": 0})
    found = change(config)
    assert (len(found.added), len(found.removed), found.rows) == (1, 1, (12, 12))
    assert "session of 2026-05-09, ses_8" in found.added[0]
    assert found.removed[0].endswith(" of ses_3")
    assert found.reasons[0] == "1 rows new (12 -> 12)" and found.reasons[1].startswith("  + ")
    examples(config, "rust", {"session": 30, "commit": 4, "synthetic": 0})
    assert "  … and 14 more" in change(config).reasons


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("\n[training]\nepochs = 1", ["training.epochs 3.0 -> 1.0"]),
        ("\n[training.rust]\nr = 8", ["training.r 16 -> 8"]),
        ("\n[serving]\nport = 9000", []),
    ],
)
def test_keys(config_file: Path, edit: str, said: list[str]) -> None:
    trained(load_config(config_file))
    config_file.write_text(config_file.read_text() + edit + "\n")
    assert change(load_config(config_file)).reasons == said


def test_an_old_version_does_not_say_which_rows_it_had(config_file: Path) -> None:
    config = load_config(config_file)
    examples(config, "rust", {"session": 8, "commit": 4, "synthetic": 0})
    version(config, NAME, "rust")
    examples(config, "rust", {"session": 9, "commit": 4, "synthetic": 0})
    assert change(config).reasons == ["rows changed; the version does not say which it had"]


def test_never_trained(config_file: Path) -> None:
    assert change(load_config(config_file)).reasons == ["never trained"]


def test_rows_whose_source_only_is_written_otherwise(config_file: Path) -> None:
    config = load_config(config_file)
    trained(config)
    summary = config.paths.data / "train" / "rust.summary.json"
    write(summary, {**json.loads(summary.read_text()), "sha256": "other"})
    assert "none came, none went" in change(config).reasons[0]


@pytest.mark.parametrize(
    ("parts", "rows", "expected"),
    [
        ({"train": 754.2}, 12, "13 min, 3.0 GiB"),
        ({"train": 754.2}, 24, "25 min, 3.0 GiB"),
        ({"train": 700.0, "load": 54.2}, 24, "24 min, 3.0 GiB"),
        ({}, 6, "6 min, 3.0 GiB"),
    ],
)
def test_cost_grows_with_the_rows(config_file: Path, parts: dict, rows: int, expected: str) -> None:
    config = load_config(config_file)
    trained(config, seconds_by_part=parts)
    found = expected_cost(config, config.language("rust"), rows)
    assert found == f"about {expected}, from build-rust of 2026-11-23 09:15: 12 rows in 13 min, 3.0 GiB"


def test_cost_of_a_first_training_is_taken_from_another_language(config_file: Path) -> None:
    config = load_config(config_file)
    assert expected_cost(config, config.language("ts"), 12) is None
    trained(config)
    assert "from build-rust" in expected_cost(config, config.language("ts"), 12)
    other = config_file.read_text().replace('model = "./base"', 'model = "Org/Other"')
    config_file.write_text(other)
    config = load_config(config_file)
    assert expected_cost(config, config.language("rust"), 12) is None, "another base costs something else"


def test_a_fixed_number_of_steps_costs_the_same_for_more_rows(config_file: Path) -> None:
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_steps = 30\n")
    config = load_config(config_file)
    trained(config)
    assert expected_cost(config, config.language("rust"), 1200).startswith("about 13 min")


def test_the_page(config_file: Path) -> None:
    config = load_config(config_file)
    trained(config)
    upstream = {"extract": [], "mine:rust": ["mining.format"], "assemble:rust": [], "train:rust": []}
    said = why(config, upstream, ["train:rust"])
    assert said.splitlines()[:3] == [
        "mine:rust runs:",
        "  mining.format",
        "train:rust is up to date; it runs if mine:rust gives something else",
    ]
    assert "takes about 13 min" in said
    examples(config, "rust", {"session": 9, "commit": 4, "synthetic": 0})
    said = why(config, {"train:rust": ["its outcome is out of date"]}, ["train:rust"])
    assert "1 rows new (12 -> 13)" in said and "out of date" not in said
    assert why(config, {"train:rust": [], "report": []}, ["train:rust"]) == "Nothing: everything is up to date."


def test_names_of_what_changed() -> None:
    class Task:
        value_savers: list = []  # noqa: RUF012

    settings = {"mining.format": "agent", "mining.max_files": 5}
    unchanged = Unchanged(lambda: settings)
    assert not unchanged(Task, {}) and unchanged.changes({}) == []
    saved = Task.value_savers[-1]()
    assert unchanged(Task, saved)
    settings = {"mining.format": "diff", "/repository": ["HEAD"]}
    assert not unchanged(Task, saved)
    assert unchanged.changes(saved) == ["mining.format", "/repository", "mining.max_files"]
    assert unchanged.changes({"described": "of an older form"}) == []


DODO = """
import sys
sys.path.insert(0, {scripts!r})
from pathlib import Path
from specialists import pipeline

DOIT_CONFIG = {{"backend": "sqlite3", "dep_file": "state"}}

def task_made():
    read = lambda: {{"key": Path("key").read_text()}}
    return {{"actions": ["touch out"], "file_dep": ["code"], "targets": ["out"],
            "uptodate": [pipeline.Unchanged(read)]}}

def task_used():
    return {{"actions": [], "task_dep": ["made"]}}

def task_why():
    def why(names):
        print(pipeline.reasons(globals(), names))
    return {{"actions": [why], "pos_arg": "names", "uptodate": [False], "verbosity": 2}}
"""


def test_doit_s_own_state_in_words(tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text(DODO.format(scripts=str(ROOT / "scripts")))
    (tmp_path / "key").write_text("1")
    (tmp_path / "code").write_text("1")

    def doit(*arguments: str) -> str:
        command = [sys.executable, "-m", "doit", "-r", "zero", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()

    assert doit("why", "used") == "{'made': ['it did not run yet']}"
    doit("made")
    assert doit("why", "used") == "{'made': []}"
    (tmp_path / "key").write_text("2")
    (tmp_path / "code").write_text("2")
    assert doit("why", "used") == "{'made': ['key', 'code changed']}"
    doit("made")
    (tmp_path / "out").unlink()
    assert doit("why", "used") == "{'made': ['out is missing']}"


def test_a_name_that_is_no_task_is_told(tmp_path: Path) -> None:
    from specialists.pipeline import reasons

    with pytest.raises(Problem, match="nowhere: no such task"):
        reasons({}, ["nowhere"])
