"""Status: what the next doit does and why, in words, from hand-made outputs of every state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from built_pipeline import built, decided, evaluated, examples, version
from click.testing import CliRunner
from servers import answering, models_answer
from specialists import adapters
from specialists.cli import duration
from specialists.config import Config, load_config
from specialists.reporting.status import age, as_text, cost, next_step, server_state, status
from test_server import with_serving

NAME = "20261123-091500-1a2b3c4d"


SERVER = {"url": "http://127.0.0.1:8000", "models": None, "problem": None}


def reason(config: Config) -> str | None:
    return next_step(config, config.language("rust"))


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
    assert reason(config) == "build examples: there are none yet"
    examples(config, "rust", {"session": 0, "commit": 0, "synthetic": 0})
    assert reason(config) is None, "nothing to train"
    examples(config, "rust", {"session": 24, "commit": 12, "synthetic": 0})
    assert reason(config) == "train: never trained"
    path = version(config, NAME, "rust")
    assert reason(config) == "evaluate: not evaluated yet"
    evaluated(config, path, "rust")
    assert reason(config) == "promote: the verdict was not acted on yet"
    decided(config, path, "rust")
    assert reason(config) is None
    examples(config, "rust", {"session": 30, "commit": 12, "synthetic": 0})
    assert reason(config) == "train: rows changed (36 -> 42) (the last one took 13 min, 3.0 GiB)"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "\n[training]\nepochs = 1", ["training.epochs 3.0 -> 1.0"]),
        ("", "\n[training.rust]\nr = 8\nalpha = 32", ["training.r 16 -> 8", "training.alpha 16 -> 32"]),
        (
            "",
            "\n[training]\ntargets = ['mlp']",
            ["training.targets ['attention', 'linear_attention', 'mlp'] -> ['mlp']"],
        ),
        ('model = "./base"', 'model = "Org/Other"', ["the base model, base.dtype or the training code changed"]),
        (
            'model = "./base"',
            'model = "./base"\ndtype = "float32"',
            ["the base model, base.dtype or the training code changed"],
        ),
        ("", "\n[training]\ncheckpoint_steps = 7", []),
        ("", "\n[evaluation]\ngain = 0.5", ["evaluate: held-out rows, incumbent or [evaluation] changed"]),
        ("", "\n[serving]\nport = 9000", []),
    ],
)
def test_which_key_made_it_stale(config_file: Path, before: str, after: str, words: list[str]) -> None:
    whole(config_file)
    text = config_file.read_text()
    config_file.write_text(text.replace(before, after) if before else text + after + "\n")
    found = reason(load_config(config_file))
    assert bool(found) == bool(words) and all(part in found for part in words)


def test_new_held_out_rows_and_a_new_incumbent(config_file: Path) -> None:
    config, path = whole(config_file)
    heldout = config.paths.data / "heldout" / "rust.jsonl"
    heldout.write_text(heldout.read_text() + "{}\n")
    assert reason(config).startswith("evaluate: held-out rows")
    evaluated(config, path, "rust")
    decided(config, path, "rust")
    assert reason(config) is None
    newer = version(config, "20261124-091500-1a2b3c4d", "rust")
    evaluated(config, newer, "rust")
    adapters.adapter_folder(config, config.language("rust")).point("current", None)
    assert reason(config).startswith("evaluate: held-out rows")


def test_the_table_and_the_data(config_file: Path) -> None:
    config = built(config_file)
    state = status(config, {**SERVER, "models": {"base": "", "build-rust": ""}})
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
    assert "server" not in status(config), "nobody asked"


@pytest.mark.parametrize(
    ("models", "expected", "problem"),
    [({"base": "x", "build-rust": "y"}, True, None), ({"other": "z"}, False, "answered by another server")],
)
def test_what_runs_at_the_address(
    config_file: Path, models: dict[str, str], expected: bool, problem: str | None
) -> None:
    with answering(lambda _path, _body: models_answer(models)) as port:
        config = load_config(with_serving(config_file, f"port = {port}"))
        found = server_state(config)
    assert found["models"] == (models if expected else None)
    assert problem is None or problem in found["problem"]
    assert server_state(config) == {"url": f"http://127.0.0.1:{port}", "models": None, "problem": None}


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


def test_the_script_changes_nothing(config_file: Path, tmp_path: Path) -> None:
    import status as script

    built(with_serving(config_file, "port = 9"))  # discard: nobody answers there
    before = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    done = CliRunner().invoke(script.main, ["--config", str(config_file), "--json"])
    assert json.loads(done.stdout)["languages"].keys() == {"rust", "ts", "python", "ruby", "swift"}
    assert "Swift: build examples: there are none yet" in done.stderr and "none runs there" in done.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
