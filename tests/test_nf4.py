"""A base in 4 bits: fused experts too, at a small price in loss, without the whole ever being there in 16 bits."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import tiny_models
from conftest import ROOT
from specialists.config import Base, Problem, Training
from test_training import SETTINGS

NF4 = dataclasses.replace(SETTINGS, quantization="nf4")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("base")  # bitsandbytes' CPU kernel takes widths that are a multiple of 32
    return Base(model=str(tiny_models.save_base(folder, "qwen3_next", linear_num_value_heads=16)), dtype="float32")


def loss(model: object) -> float:
    import torch

    torch.manual_seed(1)
    ids = torch.randint(3, 300, (4, 128))
    return model(input_ids=ids, labels=ids).loss.item()


def test_experts_and_linear_layers_are_held_in_4_bits_and_the_rest_is_not(base) -> None:
    from specialists.training.base_model import load_base

    full, packed = load_base(base, "none"), load_base(base, "nf4")
    sizes = {name: parameter.numel() for name, parameter in full.named_parameters()}
    small = dict.fromkeys(("experts", "Linear", "rest"), 0)
    for name, parameter in packed.named_parameters():
        plain = name.replace("parametrizations.", "").replace(".original", "")
        kind = "experts" if ".experts." in name else "Linear" if "proj" in name else "rest"
        small[kind] += 1
        bits = 8 * parameter.numel() * parameter.element_size() / sizes.pop(plain)
        assert bits == (32 if kind == "rest" else 4), name
    assert not sizes and small == {"experts": 8, "Linear": 25, "rest": 32}
    # nats: 5.86 on random tokens; a random model is little moved by 4 bits, a broken one much
    assert loss(packed) == pytest.approx(loss(full), abs=0.02)


@pytest.mark.slow
def test_an_adapter_trained_on_4_bits_helps_the_16_bit_base_as_well(base, tmp_path) -> None:
    from specialists.evaluation.losses import BASE, EvaluatedModels
    from specialists.training.trainer import train_adapter

    run = train_adapter(tiny_models.rows(8), base, dataclasses.replace(NF4, max_steps=3), tmp_path)
    assert len(run["modules"]) == 25
    # on the 16-bit base: bitsandbytes' CPU kernel for inference refuses layers as small as these
    measured = EvaluatedModels(base, SETTINGS, {"adapter": tmp_path}).measure(tiny_models.rows(2))
    assert all(row["nll"]["adapter"] < row["nll"][BASE] - 10 for row in measured)


def as_fp8(folder: Path) -> None:
    """Store a base in FP8 with a scale for each block, as published ones are."""
    import torch
    from safetensors.torch import load_file, save_file

    stored = {}
    for name, value in load_file(folder / "model.safetensors").items():
        stored[name] = value
        if name.endswith("_proj.weight"):
            scale = value.abs().amax() / 448  # the largest number of float8_e4m3fn
            stored[name] = (value / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale.expand([-(-length // 128) for length in value.shape]).clone()
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_base_stored_in_fp8_is_widened_and_not_quantised_again(tmp_path) -> None:
    import torch
    from specialists.training.base_model import load_base
    from specialists.training.trainer import train_adapter

    base = Base(model=str(tiny_models.save_base(tmp_path, "qwen3")), dtype="float32")
    full = loss(load_base(base, "none"))
    as_fp8(tmp_path)
    model = load_base(base, "none")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert loss(model) == pytest.approx(full, abs=0.02)
    with pytest.raises(Problem, match=r"quantised already \(fp8\); name the 16-bit base"):
        load_base(base, "nf4")
    (tmp_path / "out").mkdir()
    settings = dataclasses.replace(SETTINGS, max_steps=1)
    assert train_adapter(tiny_models.rows(2), base, settings, tmp_path / "out")["steps"] == 1


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_expected_memory_counts_the_weights_as_they_are(base, quantization, capsys) -> None:
    from specialists.training.base_model import load_base
    from specialists.training.memory import check_memory, weight_bytes

    held = sum(p.numel() * p.element_size() for p in load_base(base, quantization).parameters())
    counted, _widened = weight_bytes(load_base(base, "none"), quantization)
    # the scales of the 4-bit blocks are no parameters: 3 % of them
    assert counted == pytest.approx(held, rel=0.001 if quantization == "none" else 0.03)
    expected = check_memory(base, Training(r=16, quantization=quantization, optimizer="adamw_torch"), 200)
    assert expected > counted + 16 * 4832 * 16  # adapter, gradient and two states of AdamW, in float32
    assert "adapter and optimizer 1 MiB" in capsys.readouterr().err


def test_weights_that_cannot_fit_are_refused(base, monkeypatch, capsys) -> None:
    from specialists.training.memory import check_memory

    settings = Training(quantization="none")
    expected = check_memory(base, settings, 200)
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=expected - 1))
    check_memory(base, settings, 200)
    assert "warning: that is more than is free" in capsys.readouterr().err
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    for quantization, way in (("none", 'use training.quantization = "nf4", stop'), ("nf4", "stop what else")):
        with pytest.raises(Problem, match=rf"its weights need \d+ MiB and 0 MiB are free; {way}"):
            check_memory(base, Training(quantization=quantization), 200)


PEAK = """
import ctypes, re, sys, threading
sys.path.insert(0, sys.argv[2])
from specialists.training.base_model import load_base
from specialists.config import Base

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

load_base(Base(model=sys.argv[3]), "nf4")  # what loading any model brings along
before, seen, done = anonymous(), [], threading.Event()

def watch():
    while not done.wait(0.002):
        seen.append(anonymous())

thread = threading.Thread(target=watch)
thread.start()
model = load_base(Base(model=sys.argv[1]), "nf4")
ctypes.CDLL(None).malloc_trim(0)
done.set()
thread.join()
print(max(seen) - before, anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_base_is_never_whole_in_16_bits(base, tmp_path) -> None:
    import torch

    sizes = {"num_hidden_layers": 32, "num_experts": 8, "hidden_size": 512, "moe_intermediate_size": 128}
    torch.set_default_dtype(torch.bfloat16)
    try:
        folder = tiny_models.save_base(tmp_path, "qwen3_next", shard="20MB", **sizes)
    finally:
        torch.set_default_dtype(torch.float32)
    shards = list(folder.glob("*.safetensors"))
    size = sum(path.stat().st_size for path in shards)
    assert len(shards) > 5 and size > 100e6
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back at once
    command = [sys.executable, "-c", PEAK, str(folder), str(ROOT / "scripts"), base.model]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    peak, kept = map(int, done.stdout.split())
    assert peak < 0.6 * size and kept < 0.4 * size
