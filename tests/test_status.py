"""Status: what is stale and why, in words, from hand-made outputs of every state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from built_pipeline import built, decided, evaluated, examples, version
from click.testing import CliRunner
from conftest import ROOT
from servers import answering, models_answer
from specialists import adapters
from specialists.config import Config, load_config
from specialists.reporting.status import Server, age, as_text, cost, duration, server_state, stale, status
from test_server import with_serving

NAME = "20261123-091500-1a2b3c4d"


def reasons(config: Config, language: str = "rust") -> list[str]:
    return stale(config, config.language(language))


def whole(config_file: Path) -> tuple[Config, Path]:
    """Rust built, trained, evaluated and promoted."""
    config = load_config(config_file)
    examples(config, "rust", {"session": 24, "commit": 12, "synthetic": 0})
    path = version(config, NAME, "rust")
    evaluated(config, path, "rust")
    decided(config, path, "rust")
    return config, path


def test_each_state_of_the_pipeline_has_its_reason(config_file: Path) -> None:
    config = load_config(config_file)
    assert reasons(config) == ["build examples: there are none yet"]
    examples(config, "rust", {"session": 24, "commit": 12, "synthetic": 0})
    assert reasons(config) == ["train: never trained"]
    path = version(config, NAME, "rust")
    assert reasons(config) == ["evaluate: not evaluated yet"]
    evaluated(config, path, "rust")
    assert reasons(config) == ["promote: the verdict was not acted on yet"]
    decided(config, path, "rust")
    assert reasons(config) == []


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_rows_are_not_trained(config_file: Path, count: int) -> None:
    config = load_config(config_file)
    examples(config, "rust", {"session": count, "commit": 0, "synthetic": 0})
    assert reasons(config) == [adapters.too_few(config, config.language("rust"))]
    assert f"not trained: {count} examples are fewer than languages.rust.min_examples = 3" in reasons(config)[0]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "\n[training]\nepochs = 1", ["training.epochs 3.0 -> 1.0"]),
        ("", "\n[training.rust]\nr = 8\nalpha = 32", ["training.r 16 -> 8", "training.alpha 16 -> 32"]),
        ("", "\n[training]\ntargets = ['mlp']", ["training.targets attention, linear_attention, mlp -> mlp"]),
        ('model = "./base"', 'model = "Org/Other"', ["base.model", "-> Org/Other"]),
        ('model = "./base"', 'model = "./base"\ndtype = "float32"', ["files, base.dtype or the training code changed"]),
        ("", "\n[training]\ncheckpoint_steps = 7", []),
        ("", "\n[evaluation]\ngain = 0.5", ["evaluate: [evaluation] changed"]),
        ("", "\n[serving]\nport = 9000", []),
    ],
)
def test_which_key_made_it_stale(config_file: Path, before: str, after: str, said: list[str]) -> None:
    whole(config_file)
    text = config_file.read_text()
    config_file.write_text(text.replace(before, after) if before else text + after + "\n")
    found = reasons(load_config(config_file))
    assert bool(found) == bool(said)
    for words in said:
        assert words in found[0]


def test_changed_rows_are_counted_and_what_it_costs_is_told(config_file: Path) -> None:
    config, _path = whole(config_file)
    examples(config, "rust", {"session": 30, "commit": 12, "synthetic": 0})
    assert reasons(config) == ["train: rows changed (36 -> 42) (the last one took 13 min, 3.0 GiB)"]


def test_new_held_out_rows_and_a_new_incumbent_are_told(config_file: Path) -> None:
    config, path = whole(config_file)
    heldout = config.paths.data / "heldout" / "rust.jsonl"
    heldout.write_text(heldout.read_text() + "{}\n")
    assert reasons(config) == ["evaluate: held-out rows changed"]
    evaluated(config, path, "rust")
    decided(config, path, "rust")
    assert reasons(config) == []
    newer = version(config, "20261124-091500-1a2b3c4d", "rust")
    evaluated(config, newer, "rust")
    adapters.adapter_folder(config, config.language("rust")).point("current", None)
    assert reasons(config) == ["evaluate: the incumbent changed"]


def test_the_table_and_the_data(config_file: Path) -> None:
    config = built(config_file)
    state = status(config, Server("http://127.0.0.1:8000", ["base", "build-rust"]))
    rust, ts = state["languages"]["rust"], state["languages"]["ts"]
    assert (rust["train"], rust["verdict"], rust["current"]) == (
        {"session": 24, "commit": 12, "synthetic": 0},
        "promote",
        NAME,
    )
    assert (ts["verdict"], ts["current"], ts["served"], rust["served"]) == ("hold", None, False, True)
    text = as_text(state)
    assert "Ruby: train: never trained" in text
    assert "models" not in text and "base, build-rust" in text
    row = next(line for line in text.splitlines() if line.startswith("Rust"))
    assert " ".join(row.split()) == "Rust 24 12 0 36 of 3-50 9 2026-11-23 09:15 promote newest adapter"
    assert json.loads(json.dumps(state)) == json.loads(json.dumps(status(config, Server(**state["server"]))))


def test_without_a_server_nothing_is_said_about_serving(config_file: Path) -> None:
    assert "server" not in status(built(config_file))


@pytest.mark.parametrize(
    ("models", "expected", "problem"),
    [(("base", "build-rust"), ["base", "build-rust"], None), (("other",), None, "answered by another server")],
)
def test_what_runs_at_the_address(
    config_file: Path, models: tuple[str, ...], expected: list[str] | None, problem: str | None
) -> None:
    with answering(lambda _path, _body: models_answer(dict.fromkeys(models, ""))) as port:
        config = load_config(with_serving(config_file, f"port = {port}"))
        found = server_state(config)
    assert found.models == expected
    assert problem is None or problem in found.problem
    assert server_state(config) == Server(f"http://127.0.0.1:{port}", None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (754, "13 min"), (9000, "2.5 h")]
)
def test_durations_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_costs_and_ages_of_incomplete_manifests() -> None:
    assert cost({}) is None
    assert cost({"seconds": 3}) == "3 s"
    assert cost({"peak_memory_bytes": 1 << 29}) == "0.5 GiB"
    assert age(NAME) == "2026-11-23 09:15"
    assert age("mine") == "mine"


def test_mistakes_of_the_configuration_are_in_the_data(config_file: Path) -> None:
    config_file.write_text(config_file.read_text() + "\n[training.rust]\nr = 7\n")
    state = status(load_config(config_file))
    assert "rust" not in state["languages"]
    assert any("training.rust.r" in finding for finding in state["findings"])
    assert "training.rust.r" in as_text(state)


def test_the_script(config_file: Path) -> None:
    with_serving(config_file, "port = 9")  # discard: nobody answers there
    command = [sys.executable, str(ROOT / "scripts" / "status.py"), "--config", str(config_file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["languages"].keys() == {"rust", "ts", "python", "ruby", "swift"}
    assert "Rust: build examples: there are none yet" in done.stderr
    assert "none runs there" in done.stderr


def test_status_changes_nothing(config_file: Path, tmp_path: Path) -> None:
    import status as script

    built(with_serving(config_file, "port = 9"))
    before = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    assert CliRunner().invoke(script.main, ["--config", str(config_file)]).exit_code == 0
    assert before == {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
