"""Roles in every architecture that the table knows, and in others: which modules, at which rank, how many."""

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import tiny_models
from specialists.config import Problem, Training
from specialists.training.targets import wanted_modules, wrap

ROLES = ("attention", "linear_attention", "mlp")
ATTENTION = [f"self_attn.{name}_proj" for name in "qkvo"]
MLP = [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
SHARED = [f"mlp.shared_expert.{name}_proj" for name in ("gate", "up", "down")]
NEXT = [f"linear_attn.{name}" for name in ("in_proj_qkvz", "in_proj_ba", "out_proj")]
LATER = [f"linear_attn.{name}" for name in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")]
FUSED = ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"]
NEOX = ["attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]
LAYERS = {  # architecture -> what is adapted in its first and in its last layer, modules, parameters at r = 2 (by hand)
    "qwen2": (ATTENTION + MLP, ATTENTION + MLP, 14, 4096),
    "qwen3": (ATTENTION + MLP, ATTENTION + MLP, 14, 4096),
    "qwen3_moe": (ATTENTION, ATTENTION, 8, 1792),
    "qwen3_next": (NEXT + SHARED, ATTENTION + SHARED, 25, 6064),
    "qwen3_5_text": (LATER + MLP, ATTENTION + MLP, 31, 9136),
    "qwen3_5_moe_text": (LATER + SHARED, ATTENTION + SHARED, 31, 6832),
    "llama": (ATTENTION + MLP, ATTENTION + MLP, 14, 4096),
    "mistral": (ATTENTION + MLP, ATTENTION + MLP, 14, 4096),
    "phi3": (FUSED, FUSED, 8, 3328),
    "gpt_oss": (ATTENTION, ATTENTION, 8, 1792),
    "gpt_neox": (NEOX, NEOX, 8, 3072),
}


def model(architecture: str) -> object:
    """A tiny model without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(tiny_models.base_config(architecture))


def settings(**changes: object) -> Training:
    return dataclasses.replace(Training(), **{"r": 2, "quantization": "none", **changes})


@pytest.mark.parametrize("architecture", LAYERS)
def test_roles_in_every_architecture(architecture: str, capsys: pytest.CaptureFixture) -> None:
    first, last, modules, parameters = LAYERS[architecture]
    wrapped, adapted = wrap(model(architecture), settings())
    kinds: dict[str, list[str]] = {}
    for name in adapted:
        _, layer, kind = re.fullmatch(r"(.*layers\.(\d+))\.(.+)", name).groups()
        kinds.setdefault(layer, []).append(kind)
    assert sorted(kinds[min(kinds)]) == sorted(first)
    assert sorted(kinds[max(kinds)]) == sorted(last)
    assert set(adapted.values()) == {2}
    assert (len(adapted), wrapped.get_nb_trainable_parameters()[0]) == (modules, parameters)
    assert ("unknown architecture" in capsys.readouterr().err) == (architecture == "gpt_neox")


@pytest.mark.parametrize("architecture", [name for name in LAYERS if name not in ("gpt_neox", "mistral")])
def test_vllm_knows_every_module_by_its_name(architecture: str) -> None:
    if not (vllm := importlib.util.find_spec("vllm")):
        pytest.skip("vLLM is not here")
    source = Path(vllm.origin).parent / "model_executor" / "models" / f"{re.sub('_5.*', '_5', architecture)}.py"
    known = {"o_proj", "out_proj", "down_proj"}  # what it does not fuse with others
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Assign(targets=[ast.Name(id="packed_modules_mapping")], value=ast.Dict()):
                known.update(*ast.literal_eval(node.value).values())
    assert {name.rsplit(".", 1)[1] for name in wanted_modules(model(architecture), ROLES)} <= known


REFUSED = {
    "a layer without": ("qwen3_next", {"targets": ("attention",)}, "leave 3 of 4 layers of a qwen3_next model without"),
    "the mixture has no other mlp": ("qwen3_moe", {"targets": ("mlp",)}, "leave 2 of 2 layers of a qwen3_moe model"),
    "dropout on experts": ("qwen3_next", {"dropout": 0.1}, "must be 0 on a mixture"),
}


@pytest.mark.parametrize(("architecture", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(architecture: str, change: dict, message: str) -> None:
    with pytest.raises(Problem, match=message):
        wrap(model(architecture), settings(**change))


def test_what_was_not_asked_for_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import specialists.training.targets as targets

    def plain(_model: object, settings: Training, _wanted: dict) -> object:  # the usual seven, taken literally
        from peft import LoraConfig

        names = [kind.rsplit(".", 1)[1] for kind in ATTENTION + MLP]
        return LoraConfig(task_type="CAUSAL_LM", r=settings.r, target_modules=[*names, *LATER, "in_proj_qkvz"])

    monkeypatch.setattr(targets, "lora_config", plain)
    with pytest.raises(Problem, match=r"modules too many .*experts.* lacking"):
        wrap(model("qwen3_next"), settings())
