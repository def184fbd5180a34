"""What a GPU and a disk have to hold, with the base's real shapes and an nvidia-smi that shows the GPU of the test."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import invoke
from specialists.config import Config, load_config
from specialists.reporting import checks
from specialists.reporting.doctor import gpu
from specialists.serving.card import serving_fit, training_fit

GPUS = {"4090": "NVIDIA GeForce RTX 4090, 24217, 24564", "H100": "NVIDIA H100 80GB HBM3, 81000, 81559"}
GPUS |= {"H200": "NVIDIA H200, 143000, 143771", "GB10": "NVIDIA GB10, [N/A], [N/A]"}  # name, free and all MiB
COPIES = {"bf16": 148.4, "FP8": 75.0, "4 bits": 43.8}  # GiB of Qwen3-Coder-Next's copies
SHAPE = {"model_type": "qwen3_next", "num_hidden_layers": 48, "full_attention_interval": 4, "hidden_size": 2048}
SHAPE |= {"num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "num_experts": 512}  # rest: defaults
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copies of the base, as far as their configurations and indexes: no weight file is here yet."""
    folder = tmp_path_factory.mktemp("models")
    for copy, size in COPIES.items():
        (folder / copy).mkdir()
        shape = {**SHAPE, "quantization_config": FP8} if copy == "FP8" else SHAPE
        (folder / copy / "config.json").write_text(json.dumps(shape))
        index = {"metadata": {"total_size": round(size * 2**30)}, "weight_map": {"a": "model-1.safetensors"}}
        (folder / copy / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def machine(config_file: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """The configuration of a machine with one GPU, as its nvidia-smi shows it, that serves a copy of the base."""

    def make(name: str, copy: str, serving: str = "") -> Config:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{GPUS[name]}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        text = config_file.read_text().replace('"./base"', f'"{models / "bf16"}"')
        config_file.write_text(f'{text}\n[serving]\nmodel = "{models / copy}"\n{serving}\n')
        return load_config(config_file)

    return make


SHARE = 'extra = ["--gpu-memory-utilization", "0.62"]'
ALONE, BESIDE = "while the server is stopped; both fit up to --gpu-memory-utilization ", "beside the server; both fit"


@pytest.mark.parametrize(
    ("name", "copy", "serving", "takes", "too_much", "training"),
    [
        ("4090", "bf16", "", "155.7 GiB", "133.6 GiB", "training takes 52"),
        ("4090", "FP8", "", "82.3 GiB", "60.2 GiB", "training takes 52"),
        ("4090", "4 bits", "", "51.1 GiB", "29.0 GiB", "training takes 52"),
        ("H100", "bf16", "", "155.7 GiB", "82.4 GiB", f"{ALONE}0.34"),
        ("H100", "FP8", "", "82.3 GiB", "9.0 GiB", f"{ALONE}0.34"),
        ("H100", "4 bits", "", "51.1 GiB", None, f"{ALONE}0.34"),
        ("H100", "4 bits", "max_model_len = 262144", "54.1 GiB", None, f"{ALONE}0.34"),
        ("H200", "bf16", "", "155.7 GiB", "26.5 GiB", f"{ALONE}0.62"),
        ("H200", "FP8", "", "82.3 GiB", None, f"{ALONE}0.62"),
        ("H200", "FP8", SHARE, "82.3 GiB", None, BESIDE),
        ("H200", "FP8", f'{SHARE}\nwhile_training = "keep"', "82.3 GiB", None, BESIDE),
        ("H200", "FP8", 'while_training = "keep"', "82.3 GiB", None, f"{ALONE}0.62"),
        ("H200", "FP8", 'extra = ["--gpu-memory-utilization=0.5"]', "82.3 GiB", "12.1 GiB", BESIDE),
        ("H100", "bf16", 'extra = ["--tensor-parallel-size", "4"]', "41.9 GiB", None, f"{ALONE}0.34"),
    ],
)
def test_what_fits_is_said_and_what_does_not_is_not_started(
    machine: Callable[..., Config], name: str, copy: str, serving: str, takes: str, too_much: str | None, training: str
) -> None:
    config = machine(name, copy, serving)
    done = invoke("serve", config.path, "--dry-run")
    assert done.exit_code == bool(too_much) and f"takes {takes} of a GPU (weights" in done.stderr, done.stderr
    assert (f"Error: {too_much} too much: name a smaller copy" in done.stderr) == bool(too_much)
    assert bool(done.stdout) != bool(too_much), "the command"
    card, serves, trains = gpu(config)
    assert (card.state, serves.state) == ("ok", "fail" if too_much else "ok") and takes in serves.says
    held = name != "4090" and (config.serving.while_training != "keep" or BESIDE in trains.says)
    assert training in trains.says and trains.state == ("ok" if held else "fail")


@pytest.mark.parametrize(
    ("name", "serving", "trains"),  # a GPU with the computer's own memory; one not for vLLM; weights made smaller; FSDP
    [
        ("GB10", "", False),
        ("H100", 'env = {CUDA_VISIBLE_DEVICES = ""}', True),
        ("H100", 'extra = ["--quantization", "fp8"]\n[training]\nlauncher = ["accelerate"]', False),
    ],
)
def test_what_is_not_known_is_not_refused(machine, name, serving, trains) -> None:
    config = machine(name, "bf16", serving)
    assert (serving_fit(config), bool(training_fit(config))) == (None, trains)


@pytest.mark.parametrize(("free", "before", "after"), [(310, "ok", "ok"), (300, "fail", "ok"), (149, "fail", "fail")])
def test_the_disk_has_room_for_what_is_still_missing(machine, models, monkeypatch, free, before, after) -> None:
    """148.4 GiB of base, 75 served, 80 while the base in 4 bits is written, 2 for rows; after it only the first."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free << 30))
    config = machine("H200", "FP8")
    config = dataclasses.replace(config, base=dataclasses.replace(config.base, prepared=config.path.parent / "kept"))
    assert [check.state for check in checks.disk(config)] == [before]
    shard = models / "FP8" / "model-1.safetensors"
    shard.touch()
    os.truncate(shard, 75 << 30)
    (config.base.prepared / "nf4-1").mkdir(parents=True)
    (check,) = checks.disk(config)
    shard.unlink()
    assert check.state == after and "bf16 148.4 GiB" in check.says and "FP8" not in check.says
