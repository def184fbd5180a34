"""train.py: what a version holds, the launcher's processes, signals, what goes wrong."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from click.testing import Result
from conftest import ROOT, invoke
from specialists.adapters import AdapterFolder
from specialists.config import load_config
from specialists.records import read_json, write_records
from specialists.serving.lora import check_adapter
from test_training import weights

TRAINING = """
[training]
r = 8
max_steps = 4
max_length = 512
optimizer = "adamw_torch"
quantization = "none"
learning_rate = 1e-2
gradient_accumulation = 2
"""


@pytest.fixture
def project(config_file: Path) -> Path:
    """A configuration with a tiny base and rows for Rust."""
    folder = config_file.parent
    tiny_models.save_base(folder / "base", "qwen3")
    text = config_file.read_text().replace('model = "./base"', 'model = "./base"\ndtype = "float32"')
    config_file.write_text(text + TRAINING)
    write_records(folder / "data" / "train" / "rust.jsonl", tiny_models.rows(8, "rust"))
    return config_file


def run(config: Path, *arguments: str) -> Result:
    return invoke("train", config, "--language", "rust", "--json", *arguments)


def train(config: Path, *arguments: str) -> dict:
    done = run(config, *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def latest(config: Path, adapter: str = "adapters/build-rust") -> Path:
    return AdapterFolder(config.parent / adapter).latest


def test_a_language_below_min_examples_is_not_trained_unless_it_is_lowered(project) -> None:
    summary = project.parent / "data" / "train" / "rust.summary.json"
    summary.write_text(json.dumps({"train": {"session": 4, "commit": 1}, "heldout": {"session": 1}}))
    project.write_text(project.read_text().replace("min_examples = 3\n", "min_examples = 7\n", 1))
    done = run(project)
    assert (done.exit_code, latest(project)) == (0, None)
    assert "rust: not trained: 6 examples are fewer than languages.rust.min_examples = 7; lower it" in done.stderr
    project.write_text(project.read_text().replace("min_examples = 7\n", "min_examples = 6\n", 1))
    assert train(project)["trained"]


def test_a_version_says_what_it_was_made_from_and_is_not_made_twice(project) -> None:
    assert train(project)["trained"]
    version = latest(project)
    manifest = read_json(version / "manifest.json")
    assert {"code", "tools", "clusters", "predicted_memory_bytes", "peak_memory_bytes", "seconds"} <= manifest.keys()
    assert (manifest["steps"], manifest["parameters"], len(manifest["losses"])) == (4, 8 * 2048, 4)
    _, front, card = (version / "README.md").read_text().split("---\n")
    assert f"base_model: {manifest['base']['model']}\n" in front and "library_name: peft\n" in front
    assert "8 examples" in card and manifest["base"]["template"] in card
    assert train(project) == {"adapter": "build-rust", "version": version.name, "trained": False, "problems": []}


@pytest.mark.parametrize(
    ("given", "processes", "visible"),
    [(None, None, "0"), ("2,3", None, "2"), ("", None, ""), (None, "1", "0"), (None, "2", None)],
)
def test_one_of_several_gpus_is_used_without_a_launcher(given, processes, visible, monkeypatch) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", given), ("WORLD_SIZE", processes)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    importlib.import_module("train").use_one_gpu()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def test_no_rows_are_no_problem(project) -> None:
    (project.parent / "data" / "train" / "rust.jsonl").write_text("")
    assert train(project)["version"] is None and latest(project) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_writes_a_checkpoint_from_which_the_run_ends_with_the_same_bytes(project, number, monkeypatch) -> None:
    from specialists.training.monitor import Monitor

    train(project, "--output", str(project.parent / "undisturbed"))
    on_step_begin = Monitor.on_step_begin

    def terminate(self: Monitor, args, state, control, **kwargs) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), number)
        return on_step_begin(self, args, state, control, **kwargs)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "on_step_begin", terminate)
        done = run(project)
    assert done.exit_code == 1 and "stopped at step 2; the next run goes on" in done.stderr
    assert signal.getsignal(number) == before
    (building,) = (project.parent / "adapters" / "build-rust").glob(".building-*")
    assert (building / "checkpoint-2" / "complete").exists()
    assert "going on from step 2" in run(project).stderr
    assert weights(latest(project)) == weights(latest(project, "undisturbed"))


@pytest.mark.slow
def test_two_processes_of_a_launcher_give_a_working_adapter(project: Path) -> None:
    settings = (ROOT / "configs" / "fsdp2.yaml").read_text().replace("num_processes: 4", "num_processes: 2")
    settings = settings.replace("mixed_precision: bf16", 'mixed_precision: "no"\nuse_cpu: true')
    (project.parent / "fsdp2.yaml").write_text(settings)
    launcher = ["accelerate", "launch", "--config_file", str(project.parent / "fsdp2.yaml"), "--main_process_port", "0"]
    project.write_text(project.read_text() + f"launcher = {json.dumps(launcher)}\n")
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--config", str(project), "--language", "rust"]
    started = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert started.returncode == 0, started.stderr
    version = latest(project)
    manifest = read_json(version / "manifest.json")
    losses = [loss for _step, loss in manifest["losses"]]
    assert losses[-1] < losses[0] - 0.1 and len(losses) == 4
    files = {"README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json"}
    assert {path.name for path in version.iterdir()} == files
    config = load_config(project)
    from specialists.evaluation.losses import BASE, EvaluatedModels

    assert check_adapter(version, config) == []
    models = EvaluatedModels(config.base, config.language("rust").training, {"adapter": version})
    measured = models.measure(tiny_models.rows(2))
    assert all(row["nll"]["adapter"] < row["nll"][BASE] for row in measured)


FAILURES = {  # keys of [training], lines added to the rows, message
    "no such launcher": ('launcher = ["no-such-launcher"]', "", "no-such-launcher: no such program"),
    "a launcher that fails": ('launcher = ["false"]', "", "false ended with exit code 1"),
    "no such optimizer": ("[training.rust]\noptimizer = 'adamx'", "", "optimizer 'adamx': known are adamw_torch"),
    "a row that is no record": ("", "{half\n", "rust.jsonl:9: not a record"),
}


@pytest.mark.parametrize(("keys", "lines", "message"), FAILURES.values(), ids=FAILURES)
def test_what_cannot_be_trained_is_named(project, keys, lines, message) -> None:
    project.write_text(project.read_text() + keys)
    with (project.parent / "data" / "train" / "rust.jsonl").open("a") as file:
        file.write(lines)
    done = run(project)
    assert done.exit_code == 1 and message in done.stderr


@pytest.mark.parametrize(("free", "message"), [(1000, "the disk is full (writer failed)"), (1 << 30, "")])
def test_a_full_disk_is_reported_as_one(project, free, message, monkeypatch) -> None:
    from specialists.training import trainer

    def fail(*_arguments: object) -> None:
        raise RuntimeError("writer failed")

    monkeypatch.setattr(trainer, "train_adapter", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
    done = run(project)
    assert message in done.stderr and isinstance(done.exception, SystemExit if message else RuntimeError)
