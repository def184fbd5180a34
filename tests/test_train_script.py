"""train.py: several languages on one base, the launcher's processes, SIGTERM, early stopping, the model card."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from click.testing import CliRunner
from conftest import ROOT
from specialists.adapters import AdapterFolder, training_fingerprint
from specialists.config import Problem, load_config
from specialists.records import read_json, write_records
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
checkpoint_steps = 2
"""


@pytest.fixture
def project(config_file: Path) -> Path:
    """A configuration with a tiny base and rows for two languages."""
    folder = config_file.parent
    tiny_models.save_base(folder / "base", "qwen3")
    text = config_file.read_text().replace('model = "./base"', 'model = "./base"\ndtype = "float32"')
    config_file.write_text(text + TRAINING)
    for language, count in (("rust", 8), ("ts", 6)):
        write_records(folder / "data" / "train" / f"{language}.jsonl", tiny_models.rows(count, language))
    return config_file


def train(config: Path, *arguments: str) -> dict:
    command = importlib.import_module("train").main
    done = CliRunner().invoke(command, ["--config", str(config), "--json", *arguments])
    assert done.exit_code in (0, 3), done.output
    return json.loads(done.stdout)


def latest(config: Path, adapter: str) -> Path:
    return AdapterFolder(config.parent / "adapters" / adapter).latest


def test_several_languages_load_the_base_once_and_give_the_same_bytes(project: Path, monkeypatch) -> None:
    import specialists.training.base_model as base_model

    loads, load = [], base_model.load_base
    monkeypatch.setattr(base_model, "load_base", lambda *arguments: loads.append(arguments) or load(*arguments))
    together = train(project, "--language", "rust", "--language", "ts")
    assert [adapter["trained"] for adapter in together["adapters"]] == [True, True] and len(loads) == 1
    for language in ("rust", "ts"):
        train(project, "--language", language, "--output", str(project.parent / "alone" / language))
        alone = AdapterFolder(project.parent / "alone" / language).latest
        assert weights(alone) == weights(latest(project, f"build-{language}"))
    assert len(loads) == 3
    again = train(project, "--language", "rust", "--language", "ts")
    assert [adapter["trained"] for adapter in again["adapters"]] == [False, False] and len(loads) == 3


def test_a_language_below_min_examples_is_not_trained_unless_it_is_lowered(project: Path) -> None:
    summary = project.parent / "data" / "train" / "rust.summary.json"
    summary.write_text(json.dumps({"train": {"session": 4, "commit": 1}, "heldout": {"session": 1}}))
    project.write_text(project.read_text().replace("min_examples = 3\n", "min_examples = 7\n", 1))
    command = importlib.import_module("train").main
    done = CliRunner().invoke(command, ["--config", str(project), "--language", "rust"])
    assert (done.exit_code, latest(project, "build-rust")) == (0, None)
    assert "rust: not trained: 6 examples are fewer than languages.rust.min_examples = 7; lower it" in done.stderr
    project.write_text(project.read_text().replace("min_examples = 7\n", "min_examples = 6\n", 1))
    assert train(project, "--language", "rust")["trained"]


def test_what_cannot_be_trained_is_named_and_the_others_go_on(project: Path) -> None:
    rows = project.parent / "data" / "train" / "rust.jsonl"
    rows.write_text(rows.read_text() + "{half\n")
    done = train(project, "--language", "rust", "--language", "ts")
    assert [adapter["adapter"] for adapter in done["adapters"]] == ["build-ts"]
    assert "rust.jsonl:9: not a record" in done["problems"][0]


def test_manifest_and_card_say_what_was_done(project: Path) -> None:
    train(project, "--language", "rust")
    version = latest(project, "build-rust")
    manifest = read_json(version / "manifest.json")
    noted = {"code", "tools", "clusters", "predicted_memory_bytes", "peak_memory_bytes", "tokens_per_second"}
    assert noted <= manifest.keys()
    assert manifest["steps"] == 4 and list(manifest["seconds_by_part"])[-2:] == ["train", "save"]
    card = (version / "README.md").read_text()
    front = card.split("---\n")[1]
    assert f"base_model: {manifest['base']['model']}\n" in front and "library_name: peft\n" in front
    assert f"| 8 | `mlp.down_proj` × 2, {''}" in card and f"{manifest['parameters']:,}" in card
    assert manifest["inputs"]["rows"] in card and manifest["base"]["template"] in card
    assert f"Training loss {manifest['losses'][0][1]:.3f} at step 1" in card


def test_early_stopping_keeps_the_best_and_does_not_train_on_what_it_watches(project: Path) -> None:
    text = project.read_text().replace("max_steps = 4", "max_steps = 8").replace("1e-2", "20.0")
    project.write_text(text.replace("checkpoint_steps = 2", "checkpoint_steps = 1") + "early_stopping = 2\n")
    train(project, "--language", "rust")
    version = latest(project, "build-rust")
    heldout = [loss for _step, loss in read_json(version / "manifest.json")["heldout_losses"]]
    best = heldout.index(min(heldout))
    assert len(heldout) == best + 3 < 8  # two without a better one
    assert not list(version.glob("checkpoint-*"))
    from specialists.evaluation.losses import Arms

    config = load_config(project)
    newest = tiny_models.rows(8, "rust")[-1:]
    (row,) = Arms(config.base, config.language("rust").training, {"adapter": version}).measure(newest)
    assert row["nll"]["adapter"] / row["tokens"] == pytest.approx(heldout[best], rel=1e-4)


def test_what_is_watched_is_the_newest_tenth_in_whole_sessions() -> None:
    from specialists.config import Training
    from specialists.training.trainer import _split

    rows = tiny_models.rows(21)
    for row in rows[-2:]:
        row["source"]["session"] = "ses_last"
    encoded = [{"input_ids": [number], "labels": [number]} for number in range(21)]
    order = [3, *range(3), *range(4, 21)]  # as they lie in the file does not matter
    shuffled, tokens = [rows[index] for index in order], [encoded[index] for index in order]
    training, watched = _split(shuffled, tokens, Training(early_stopping=1))
    assert [row["input_ids"][0] for row in watched] == [18, 19, 20]
    assert len(training) == 18 and not [row for row in training if row in watched]
    assert _split(shuffled, tokens, Training()) == (tokens, [])


def test_rows_of_one_session_leave_nothing_to_watch(project: Path) -> None:
    rows = tiny_models.rows(4, "rust")
    for row in rows:
        row["source"]["session"] = "ses_1"
    write_records(project.parent / "data" / "train" / "rust.jsonl", rows)
    project.write_text(project.read_text() + "early_stopping = 1\n")
    done = CliRunner().invoke(importlib.import_module("train").main, ["--config", str(project), "--language", "rust"])
    assert done.exit_code == 1 and "all examples are of one session" in done.stderr


CHANGES = {
    "report_to": ('report_to = ["trackio"]', True),
    "checkpoint_steps": ("checkpoint_steps = 7", True),
    "neftune": ("neftune_alpha = 5.0", False),
    "launcher": ('launcher = ["accelerate", "launch"]', False),
    "early stopping": ("early_stopping = 2", False),
}


@pytest.mark.parametrize(("line", "same"), CHANGES.values(), ids=CHANGES)
def test_what_trains_an_adapter_anew(config_file: Path, line: str, same: bool) -> None:
    before = load_config(config_file)
    config_file.write_text(config_file.read_text() + f"\n[training]\n{line}\n")
    after = load_config(config_file)
    prints = [training_fingerprint(config, config.language("rust")) for config in (before, after)]
    assert (prints[0] == prints[1]) is same


def test_a_logger_that_is_not_installed_is_a_problem(project: Path) -> None:
    project.write_text(project.read_text() + 'report_to = ["comet_ml"]\n')
    done = CliRunner().invoke(importlib.import_module("train").main, ["--config", str(project), "--language", "rust"])
    assert done.exit_code == 1 and "training.report_to comet_ml: " in done.stderr


def test_sigterm_writes_a_checkpoint_from_which_the_run_ends_with_the_same_bytes(project: Path, monkeypatch) -> None:
    from specialists.training.watch import Watch

    train(project, "--language", "rust", "--output", str(project.parent / "undisturbed"))
    on_step_begin = Watch.on_step_begin

    def terminate(self: Watch, args, state, control, **kwargs) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return on_step_begin(self, args, state, control, **kwargs)

    before = signal.getsignal(signal.SIGTERM)
    command, arguments = importlib.import_module("train").main, ["--config", str(project), "--language", "rust"]
    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_begin", terminate)
        done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 1 and "stopped by SIGTERM at step 3; the next run goes on" in done.stderr
    assert signal.getsignal(signal.SIGTERM) == before
    (building,) = (project.parent / "adapters" / "build-rust").glob(".building-*")
    assert (building / "checkpoint-3" / "complete").exists()
    train(project, "--language", "rust")
    undisturbed = AdapterFolder(project.parent / "undisturbed").latest
    assert weights(latest(project, "build-rust")) == weights(undisturbed)


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(project: Path, monkeypatch) -> None:
    from trl import SFTTrainer

    compute = SFTTrainer.compute_loss

    def broken(self, model, inputs, *arguments, **options):
        loss = compute(self, model, inputs, *arguments, **options)
        return loss * float("nan") if self.state.global_step == 3 else loss

    monkeypatch.setattr(SFTTrainer, "compute_loss", broken)
    done = CliRunner().invoke(importlib.import_module("train").main, ["--config", str(project), "--language", "rust"])
    assert done.exit_code == 1 and "step 4: the loss is nan" in done.stderr
    assert "the last good checkpoint is kept" in done.stderr and "checkpoint-2" in done.stderr
    assert latest(project, "build-rust") is None


def fsdp2(folder: Path) -> list[str]:
    """configs/fsdp2.yaml for two processes on the CPU."""
    text = (ROOT / "configs" / "fsdp2.yaml").read_text()
    text = text.replace("mixed_precision: bf16", 'mixed_precision: "no"\nuse_cpu: true')
    (folder / "fsdp2.yaml").write_text(text.replace("num_processes: 4", "num_processes: 2"))
    return ["--config_file", str(folder / "fsdp2.yaml")]


LAUNCHED = {"data parallel": lambda _folder: ["--cpu", "--num_processes", "2"], "fsdp2": fsdp2}


@pytest.mark.slow
@pytest.mark.parametrize("options", LAUNCHED.values(), ids=LAUNCHED)
def test_two_processes_of_a_launcher_give_a_working_adapter(project: Path, options: Callable) -> None:
    launcher = ["accelerate", "launch", *options(project.parent), "--main_process_port", "0"]
    project.write_text(project.read_text() + f"launcher = {json.dumps(launcher)}\n")
    started = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), "--config", str(project), "--language", "rust", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert started.returncode == 0, started.stderr
    version = latest(project, "build-rust")
    manifest = read_json(version / "manifest.json")
    losses = [loss for _step, loss in manifest["losses"]]
    assert losses[-1] < losses[0] - 0.1 and len(losses) == 4
    assert sorted(path.name for path in version.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    config = load_config(project)
    from specialists.evaluation.losses import BASE, Arms
    from specialists.serving.lora import check_adapter

    assert check_adapter(version, config) == []
    arms = Arms(config.base, config.language("rust").training, {"adapter": version})
    measured = arms.measure(tiny_models.rows(2))
    assert all(row["nll"]["adapter"] < row["nll"][BASE] for row in measured)


def test_doit_waits_for_what_a_step_saves_when_it_is_told_to_end(tmp_path: Path) -> None:
    step = "import signal,sys,time; signal.signal(15, lambda *_: (time.sleep(1), open('saved', 'w'), sys.exit(1)));"
    runner = (
        "import signal,sys; from specialists.pipeline import run; signal.signal(15, signal.default_int_handler);"
        f"run([sys.executable, '-c', {step + 'print(1, flush=True); time.sleep(60)'!r}])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    process = subprocess.Popen(
        [sys.executable, "-c", runner], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("launcher", "message"),
    [(["no-such-launcher"], "no-such-launcher: no such program"), (["false"], "false ended with exit code 1")],
)
def test_a_launcher_that_fails(project: Path, launcher: list[str], message: str) -> None:
    project.write_text(project.read_text() + f"launcher = {json.dumps(launcher)}\n")
    done = CliRunner().invoke(importlib.import_module("train").main, ["--config", str(project), "--language", "rust"])
    assert done.exit_code == 1 and message in done.stderr


@pytest.mark.parametrize(("free", "kind"), [(1000, Problem), (1 << 30, RuntimeError)])
def test_a_full_disk_is_told_as_one(free: int, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("train")
    monkeypatch.setattr(script.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
    with pytest.raises(kind, match="writer failed"), script.disk_full_named(tmp_path):
        raise RuntimeError("writer failed")
