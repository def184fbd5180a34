"""Every broken adapter that vLLM takes in silence or dies of is refused, with the reason."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import load_file, save_file
from specialists.chat import Chat
from specialists.config import Base, Config, Problem, load_config
from specialists.serving.lora import check_adapter
from specialists.weights import saved_names
from tiny_models import save_tokenizer

Q = "model.layers.0.self_attn.q_proj"
LORA = "base_model.model." + Q


@pytest.fixture
def config(config_file: Path, tmp_path: Path) -> Config:
    save_tokenizer(tmp_path / "base")
    save_file({f"{Q}.weight": numpy.zeros((12, 8), "float32")}, tmp_path / "base" / "model.safetensors")
    return load_config(config_file)


@pytest.fixture
def version(config: Config, tmp_path: Path) -> Path:
    """A sound adapter of rank 4 for a base of one 8 -> 12 layer."""
    path = tmp_path / "version"
    path.mkdir()
    weights = {f"{LORA}.lora_A.weight": numpy.ones((4, 8)), f"{LORA}.lora_B.weight": numpy.ones((12, 4))}
    save_file({name: value.astype("float32") for name, value in weights.items()}, path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text('{"r": 4}')
    template = Chat.load(config.base.model).fingerprint
    (path / "manifest.json").write_text(json.dumps({"base": {"template": template}}))
    return path


def test_a_sound_adapter_has_no_faults_wherever_the_base_is(version: Path, config: Config, tmp_path: Path) -> None:
    assert check_adapter(version, config) == []
    for file in (tmp_path / "base").iterdir():
        file.unlink()
    assert check_adapter(version, config) == []


def change(alter: Callable[[dict], dict]) -> Callable[[Path], None]:
    def act(version: Path) -> None:
        file = version / "adapter_model.safetensors"
        save_file(alter(load_file(file)), file)

    return act


def side(**weights: numpy.ndarray) -> Callable[[Path], None]:
    return change(lambda known: known | {f"{LORA}.lora_{side}.weight": value for side, value in weights.items()})


def rename(old: str, new: str) -> Callable[[Path], None]:
    return change(lambda known: {name.replace(old, new): value for name, value in known.items()})


def write(name: str, content: bytes | None) -> Callable[[Path], None]:
    return lambda version: (version / name).unlink() if content is None else (version / name).write_bytes(content)


def truncate(version: Path) -> None:
    path = version / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


FLOAT = numpy.float32
BROKEN = {
    "configuration missing": (write("adapter_config.json", None), "adapter_config.json: missing"),
    "configuration no JSON": (write("adapter_config.json", b"{"), "missing or not JSON"),
    "rank too high": (write("adapter_config.json", b'{"r": 32}'), "rank 32 is above serving.max_lora_rank 16"),
    "rank not that of the weights": (write("adapter_config.json", b'{"r": 8}'), "at rank 8 do not fit"),
    "weights missing": (write("adapter_model.safetensors", None), "no whole safetensors file"),
    "weights truncated": (truncate, "not fully covered"),
    "lora_B missing": (change(lambda known: {f"{LORA}.lora_A.weight": numpy.ones((4, 8), FLOAT)}), "lora_B is missing"),
    "half the input width": (side(A=numpy.ones((4, 4), FLOAT)), "do not fit [12, 8]"),
    "no such layer": (rename("layers.0", "layers.9"), "the base has no such module"),
    "other modules": (rename(".lora_A.weight", ".lora_embedding_A"), "not a LoRA weight"),
    "routed experts": (rename("self_attn.q_proj", "mlp.experts.base_layer"), "the base has no such module"),
    "not finite": (side(A=numpy.full((4, 8), numpy.nan, FLOAT)), "not finite"),
    "all zero": (side(B=numpy.zeros((12, 4), FLOAT)), "changes nothing"),
    "another base": (write("manifest.json", b'{"base": {"model": "Org/Other"}}'), "trained on Org/Other, base.model"),
    "another template": (write("manifest.json", b'{"base": {"template": "x"}}'), "trained with chat template"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_adapter_is_refused(version: Path, config: Config, name: str) -> None:
    act, reason = BROKEN[name]
    act(version)
    faults = check_adapter(version, config)
    assert faults and reason in faults[0], faults


def test_modules_that_the_base_has_no_weights_for_are_named(tmp_path: Path) -> None:
    held = f"model.language_model.{Q.removeprefix('model.')}"
    save_file({f"{held}.weight_packed": numpy.zeros((2, 2), "float32")}, tmp_path / "model.safetensors")
    assert saved_names([Q], Base(str(tmp_path))) == {Q: held}
    with pytest.raises(Problem, match=r"no weights of model\.layers\.1\.a, model\.layers\.1\.b, .* and 2 more: such"):
        saved_names([f"model.layers.1.{letter}" for letter in "abcde"], Base(str(tmp_path)))
