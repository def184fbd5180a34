"""Status: what the next doit does and why, in words, from hand-made outputs of every state."""

import json
import shutil
from pathlib import Path

import pytest
from built_pipeline import built, decided, evaluated, examples, version
from conftest import invoke
from specialists import adapters
from specialists.cli import duration
from specialists.config import Config, load_config
from specialists.reporting.status import age, as_text, cost, next_step, status
from test_server import with_serving

NAME = "20261123-091500-1a2b3c4d"
COUNTS = {"session": 24, "commit": 12, "rollout": 0, "synthetic": 0}


def reason(config: Config) -> str | None:
    return next_step(config, config.language("rust"))


def whole(config_file: Path) -> tuple[Config, Path]:
    """Rust built, trained, evaluated and promoted."""
    config = load_config(config_file)
    examples(config, "rust", COUNTS)
    path = version(config, NAME, "rust")
    evaluated(config, path, "rust")
    decided(config, path, "rust")
    return config, path


def test_each_state_of_the_pipeline_has_its_reason(config_file: Path) -> None:
    config = load_config(config_file)
    assert reason(config) == "build examples: there are none yet"
    examples(config, "rust", dict.fromkeys(COUNTS, 0))
    few = "not trained: 0 examples are fewer than languages.rust.min_examples = 3; lower it to train all the same"
    assert reason(config) == few
    examples(config, "rust", COUNTS)
    assert reason(config) == "train: never trained"
    building = adapters.adapter_folder(config, config.language("rust")).path / ".building-1"
    (building / "checkpoint-1").mkdir(parents=True)
    assert reason(config) == "train: never trained, goes on where it was stopped"
    shutil.rmtree(building)
    path = version(config, NAME, "rust")
    assert reason(config) == "evaluate: not evaluated yet"
    evaluated(config, path, "rust", verdict="wait")
    assert reason(config).startswith("evaluate: waits for the server to be measured in; `doit serve`")
    evaluated(config, path, "rust")
    assert reason(config) == "promote: the verdict was not acted on yet"
    decided(config, path, "rust")
    assert reason(config) is None
    examples(config, "rust", {**COUNTS, "session": 30})
    assert reason(config) == "train: rows changed (36 -> 42) (the last one took 13 min, 3.0 GiB)"


BASE, OTHER = 'model = "./base"', ["the base model, base.dtype or the training code changed"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "\n[training]\nepochs = 1", ["training.epochs 3.0 -> 1.0"]),
        ("", "\n[training.rust]\nr = 8\nalpha = 32", ["training.r 16 -> 8", "training.alpha 16 -> 32"]),
        ("", "\n[training]\ntargets = ['mlp']", ["training.targets ['attention', 'linear_attention", "-> ['mlp']"]),
        (BASE, 'model = "Org/Other"', OTHER),
        (BASE, f'{BASE}\ndtype = "float32"', OTHER),
        ("", "\n[evaluation]\ngain = 0.5", ["evaluate: held-out rows, incumbent, [evaluation] or serving.model"]),
        ("", "\n[serving]\nmodel = './base-FP8'", ["evaluate: held-out rows, incumbent"]),
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
    evaluated(config, version(config, "20261124-091500-1a2b3c4d", "rust"), "rust")
    adapters.adapter_folder(config, config.language("rust")).point("current", None)
    assert reason(config).startswith("evaluate: held-out rows")


def test_the_table_and_the_data(config_file: Path) -> None:
    config_file.write_text(config_file.read_text() + "\n[training.swift]\nr = 7\n")
    config = built(config_file)
    server = {"url": "http://127.0.0.1:8000", "models": {"base": "", "build-rust": ""}, "problem": None}
    state = status(config, server)
    rust, ts = state["languages"]["rust"], state["languages"]["ts"]
    assert (rust["train"], rust["verdict"], rust["current"]) == (COUNTS, "promote", NAME)
    assert (ts["verdict"], ts["current"], ts["served"], rust["served"]) == ("hold", None, False, True)
    text = as_text(state)
    assert "Ruby: train: never trained" in text and "base, build-rust" in text
    row = next(line for line in text.splitlines() if line.startswith("Rust"))
    assert " ".join(row.split()) == "Rust 24 12 0 0 45 of 3-50 9 2026-11-23 09:15 promote newest adapter"
    assert "swift" not in state["languages"] and "Wrong or missing: training.swift.r" in text
    assert "server" not in status(config), "nobody asked"


def test_durations_costs_and_ages_as_a_person_says_them() -> None:
    assert [duration(seconds) for seconds in (0.4, 89, 90, 754, 9000)] == ["0 s", "89 s", "2 min", "13 min", "2.5 h"]
    assert (cost({}), cost({"seconds": 3}), cost({"peak_memory_bytes": 1 << 29})) == (None, "3 s", "0.5 GiB")
    assert (age(NAME), age("mine")) == ("2026-11-23 09:15", "mine")


def test_the_script_changes_nothing(config_file: Path, tmp_path: Path) -> None:
    built(with_serving(config_file, "port = 9"))  # discard: nobody answers there
    before = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    done = invoke("status", config_file, "--json")
    assert json.loads(done.stdout)["languages"].keys() == {"rust", "ts", "python", "ruby", "swift"}
    assert "Swift: build examples: there are none yet" in done.stderr and "none runs there" in done.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
