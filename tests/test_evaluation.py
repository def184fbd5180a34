"""From rows to a verdict on real tiny models: a harmful adapter is blocked, a useless one held, a good one promoted."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
import tiny_models
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file
from specialists.adapters import adapter_folder, is_evaluated
from specialists.config import Base, Config, load_config
from specialists.records import read_json, write_json, write_records
from specialists.secrets import Rules, redact
from test_training import SETTINGS

pytestmark = pytest.mark.slow

EVALUATION = """
[training]
quantization = "none"
max_length = 512

[evaluation]
generate = 0
forgetting = 0.5
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base and an adapter trained on it."""
    from specialists.training.trainer import train_adapter

    folder = tmp_path_factory.mktemp("trained")
    tiny_models.save_base(folder / "base")
    (folder / "adapter").mkdir()
    base = Base(model=str(folder / "base"), dtype="float32")
    train_adapter(tiny_models.rows(24)[:12], base, dataclasses.replace(SETTINGS, max_steps=8), folder / "adapter")
    return folder


@pytest.fixture
def config(config_file: Path, trained: Path) -> Config:
    text = config_file.read_text().replace('model = "./base"', f'model = "{trained / "base"}"\ndtype = "float32"')
    config_file.write_text(text + EVALUATION)
    config = load_config(config_file)
    write_records(config.paths.data / "heldout" / "python.jsonl", tiny_models.rows(24)[12:])
    return config


def version(config: Config, trained: Path, name: str, factor: float) -> Path:
    """The trained adapter with its effect multiplied, as the newest version."""
    folder = adapter_folder(config, config.language("python"))
    path = folder.path / name
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_bytes((trained / "adapter" / "adapter_config.json").read_bytes())
    weights = load_file(trained / "adapter" / "adapter_model.safetensors")
    scaled = {key: value * (factor if "lora_B" in key else 1) for key, value in weights.items()}
    save_file(scaled, path / "adapter_model.safetensors", metadata={"format": "pt"})
    (path / "manifest.json").write_text(json.dumps({"version": name, "base": {"model": config.base.model}}))
    folder.point("latest", path)
    return path


def evaluate(config: Config, *options: str) -> dict:
    script = importlib.import_module("evaluate").main
    done = CliRunner().invoke(script, ["--config", str(config.path), "--language", "python", "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("factor", "verdict", "reason"),
    [
        (1.0, "promote", "held-out loss"),
        (-1.0, "block", "worse than the base"),
        (0.001, "hold", "too small a gain"),
        (0.0, "block", "the adapter has no effect"),
    ],
)
def test_what_an_adapter_does_decides(config: Config, trained: Path, factor: float, verdict: str, reason: str) -> None:
    made = version(config, trained, "1", factor)
    result = evaluate(config)
    assert (result["verdict"], reason in result["reason"]) == (verdict, True), result["reason"]
    assert is_evaluated(config, config.language("python"))
    kept = read_json(made / "evaluation.json")
    assert len(kept["measurements"]) == 12 and len(kept["frozen"]) == 24
    assert result["clusters"] == 12 and set(result["parts"]) == {"code", "syntax", "prose"}
    for row in kept["measurements"]:
        assert sum(part["tokens"] for part in row["parts"].values()) == row["tokens"]
        total = sum(part["nll"]["adapter"] for part in row["parts"].values())
        assert total == pytest.approx(row["nll"]["adapter"], rel=1e-5)


def test_an_incumbent_a_prompt_and_the_frozen_set_are_measured_on_the_same_rows(
    config: Config, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "AGENTS.md").write_text("Use tabs.")
    config.path.write_text(config.path.read_text() + 'instructions = "./AGENTS.md"\n')
    config = load_config(config.path)
    folder = adapter_folder(config, config.language("python"))
    folder.point("current", version(config, trained, "1", 1.0))
    version(config, trained, "2", 0.9)
    result = evaluate(config)
    assert result["verdict"] == "hold" and "worse than the incumbent" in result["reason"], result["reason"]
    assert result["prompt"]["difference"] < 0 and result["prompt"]["prompt"] != result["loss"]["base"]
    assert result["forgetting"]["base"] > 0
    assert is_evaluated(config, config.language("python"))
    (tmp_path / "AGENTS.md").write_text("Use spaces.")
    assert not is_evaluated(config, config.language("python"))


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short turns that hold no tool call, without vLLM."""
    from specialists.evaluation import writing

    monkeypatch.setattr(writing, "vllm_parser", lambda *_: lambda _text: [])
    monkeypatch.setattr(writing, "TURN_TOKENS", 6)


@pytest.mark.usefixtures("no_parser")
def test_base_and_adapter_write_the_same_turns_and_are_scored(config: Config, trained: Path) -> None:
    config.path.write_text(config.path.read_text().replace("generate = 0", "generate = 3"))
    made = version(config, trained, "1", 1.0)
    result = evaluate(config)
    assert {model: scores["answers"] for model, scores in result["generated"].items()} == {"base": 3, "adapter": 3}
    answers = read_json(made / "evaluation.json")["answers"]
    assert [row["id"] for row in answers["base"]] == [row["id"] for row in answers["adapter"]]
    assert {"called", "valid", "leak"} <= answers["base"][0].keys()


@pytest.mark.usefixtures("no_parser")
def test_an_adapter_that_learned_a_secret_by_heart_is_blocked(config: Config) -> None:
    """Its fake stands in a training row; had it been the secret, the adapter would give it away."""
    from specialists.training.trainer import train_adapter

    fake = redact("ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2", Rules())[0]
    rows = tiny_models.rows(24)[:12]
    for row in rows:
        row["messages"][-1]["content"] = f"token {fake}"
    write_records(config.paths.data / "train" / "python.jsonl", rows)
    base = Base(model=config.base.model, dtype="float32")
    for name, steps in (("by-heart", 60), ("hardly", 2)):
        path = adapter_folder(config, config.language("python")).path / name
        path.mkdir(parents=True)
        train_adapter(rows, base, dataclasses.replace(SETTINGS, max_steps=steps), path)
        write_json(path / "manifest.json", {"version": name, "base": {"model": config.base.model}})
    config.path.write_text(config.path.read_text().replace("generate = 0", "generate = 1"))
    result = evaluate(config, "--version", "by-heart")
    assert result["reason"] == "it writes secrets: github token of a training row" and result["verdict"] == "block"
    assert result["generated"]["adapter"]["answers"] == 1, "a canary is no answer"
    assert evaluate(config, "--version", "hardly")["generated"]["adapter"]["leaks"] == []
