"""A 4-bit base kept on disk: read again bit for bit, whole or not at all, never at the price of a full disk."""

import dataclasses
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from specialists.config import Base, Problem
from test_nf4 import NF4, loss


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return small_base(tmp_path, "qwen3_next", linear_num_value_heads=16)


def small_base(folder: Path, architecture: str, **changes: int) -> Base:
    model = tiny_models.save_base(folder / "base", architecture, **changes)
    return Base(model=str(model), dtype="float32", prepared=folder / "kept")


def load(base: Base) -> object:
    from specialists.training.base_model import load_base

    return load_base(base, "nf4")


def forbid_quantising(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitsandbytes import functional

    def refuse(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("quantised although it was kept")

    monkeypatch.setattr(functional, "quantize_4bit", refuse)


@pytest.mark.parametrize(
    ("architecture", "changes", "packed"),  # packed: experts and Linear layers
    [("qwen3_next", {"linear_num_value_heads": 16}, 2 * 4 + 25), ("gpt_oss", {}, 2 * 2 + 8)],
)
def test_what_was_kept_is_read_bit_for_bit_without_quantising(
    architecture: str, changes: dict, packed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    import torch

    base = small_base(tmp_path, architecture, **changes)
    capfd.readouterr()
    fresh = load(base)
    assert "Writing model shards" not in capfd.readouterr().err
    with monkeypatch.context() as patch:
        forbid_quantising(patch)
        kept = load(base)
        with pytest.raises(RuntimeError):
            load(dataclasses.replace(base, prepared=None))
    ours, theirs = fresh.state_dict(), kept.state_dict()
    assert sum(".absmax" in name for name in ours) == packed
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)
    assert loss(fresh) == loss(kept)
    assert [name for name, _ in fresh.named_parameters()] == [name for name, _ in kept.named_parameters()]
    assert (kept.name_or_path, kept.config.to_dict()) == (base.model, fresh.config.to_dict())


def test_an_adapter_trained_on_it_has_the_same_bytes(base, tmp_path, monkeypatch) -> None:
    """Both bases must also lie alike in memory: matrix products round by the alignment of what they multiply."""
    from specialists.training.trainer import train_adapter

    for name in ("fresh", "again"):
        (tmp_path / name).mkdir()
        train_adapter(tiny_models.rows(4), base, dataclasses.replace(NF4, max_steps=2), tmp_path / name)
        forbid_quantising(monkeypatch)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "fresh" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_one_is_kept_and_another_takes_its_place(base) -> None:
    load(base)
    (first,) = base.prepared.iterdir()
    (base.prepared / ".nf4-killed").mkdir()
    (base.prepared / "nobody else's").mkdir()
    os.utime(Path(base.model) / "model.safetensors", (1, 1))  # written again
    load(base)
    mine, other = sorted(base.prepared.iterdir())
    assert (mine.name[:4], other.name) == ("nf4-", "nobody else's") and mine != first


def test_one_that_cannot_be_read_is_made_anew(base, capsys) -> None:
    fresh = load(base)
    (folder,) = base.prepared.iterdir()
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    assert loss(load(base)) == loss(fresh)
    assert "cannot be read" in capsys.readouterr().err
    assert (folder / "model.safetensors").stat().st_size > 5000


def test_a_base_that_was_not_fetched_whole_is_named(base) -> None:
    os.truncate(Path(base.model) / "model.safetensors", 5000)
    with pytest.raises(Problem, match=f"base.model {base.model}: cannot be read .*hf download"):
        load(base)


def test_no_room_for_it(base, monkeypatch, capsys) -> None:
    from transformers import PreTrainedModel

    def fill_up(_model: PreTrainedModel, folder: Path, **_options: object) -> None:
        (folder / "model.safetensors").write_text("half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10**5))
        load(base)
    assert list(base.prepared.iterdir()) == [] and "is not kept" in capsys.readouterr().err
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", fill_up)
    assert load(base) is not None
    assert list(base.prepared.iterdir()) == [] and "is not kept (No space left" in capsys.readouterr().err
