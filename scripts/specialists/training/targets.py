"""Which parts of a base model get an adapter, by role, and the check that exactly those got one.

Given the usual list (q, k, v, o, gate, up, down) on a mixture-of-experts base, peft adapts the routed experts and
leaves the shared one alone (peft issue 3711). So the roles are resolved here against the model's own Linear layers, the
shared expert is wrapped by parameter, and the result is compared with what was wanted. Routed experts are not adapted.
"""

import re
from pathlib import Path
from typing import Any

from specialists.cli import say
from specialists.config import Problem, Training
from specialists.weights import key_mapping

_QWEN3_NEXT = ("in_proj_qkvz", "in_proj_ba")
_QWEN3_5 = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {  # role -> where in a decoder layer, which Linear layers there
    "attention": (r"self_attn", ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj")),
    "linear_attention": (r"linear_attn", (*_QWEN3_NEXT, *_QWEN3_5, "out_proj")),
    "mlp": (r"mlp(?:\.shared_expert)?", ("gate_proj", "up_proj", "gate_up_proj", "down_proj")),
}
_GUESSED = {  # for any other Linear layer: role -> words in its path
    "linear_attention": r"linear_attn|delta_net|mamba|ssm",
    "attention": r"attn|attention",
    "mlp": r"mlp|ffn|feed_forward|shared_expert",
}
_LAYER = re.compile(r"(.*(?:layers|h|blocks)\.\d+)\.(.+)")
UNPACKED = ("lm_head", "shared_expert_gate")  # Linear layers never in 4 bits: the output, and a gate of one row
PREFIX = "base_model.model."  # of every name in a peft model and in an adapter's file
EXPERTS = ("gate_up_proj", "down_proj")  # the fused parameters of `mlp.experts`


def wrap(model: Any, settings: Training) -> tuple[Any, dict[str, int]]:
    """The model with its adapter, and the adapted modules: name in the base -> rank. Raises Problem for any other."""
    from peft import get_peft_model

    wanted = wanted_modules(model, settings.targets)
    if guessed := [name for name in wanted if not _role(_LAYER.sub(r"\2", name))[1]]:
        kind = model.config.model_type
        say(f"warning: training.targets: {kind} is an unknown architecture; the role of {guessed[0]} is a guess")
    wrapped = get_peft_model(model, lora_config(model, settings, wanted))
    trainable = (name for name, parameter in wrapped.named_parameters() if parameter.requires_grad)
    adapted = {
        owner.removeprefix(PREFIX).replace(".base_layer", ""): wrapped.get_submodule(owner).r["default"]
        for owner in dict.fromkeys(name.split(".lora_")[0] for name in trainable)
    }
    extra, lacking = sorted(adapted.keys() - wanted), sorted(wanted.keys() - adapted)
    if extra or lacking or {*adapted.values()} != {settings.r}:
        found = f"{len(extra)} modules too many {extra[:3]}, {len(lacking)} lacking {lacking[:3]}"
        raise Problem(f"the adapter is not what was asked for: {found}, of rank {sorted({*adapted.values()})}")
    return wrapped, adapted


def wanted_modules(model: Any, roles: tuple[str, ...]) -> dict[str, str]:
    """The Linear layers that the roles mean: full name -> role. Raises Problem for a decoder layer without any."""
    import torch

    found, layers = dict[str, str](), set[str]()
    for name, module in model.named_modules():
        if match := _LAYER.fullmatch(name):
            layers.add(match[1])
            role, _known = _role(match[2])
            if role in roles and isinstance(module, torch.nn.Linear):
                found[name] = role
    bare = {layer for layer in layers if not any(name.startswith(f"{layer}.") for name in found)}
    if bare or not found:
        raise Problem(
            f"training.targets: {', '.join(roles)} leave {len(bare)} of {len(layers)} layers of a "
            f"{model.config.model_type} model without an adapter (first: {min(bare, default='no decoder layer')}); "
            "name more roles"
        )
    return found


def _role(path: str) -> tuple[str | None, bool]:
    """The role of what stands at a path in a decoder layer, if it has one; whether it is known and no guess."""
    place, _, leaf = path.rpartition(".")
    for role, (where, names) in ROLES.items():
        if leaf in names and re.fullmatch(where, place):
            return role, True
    if re.search(r"router|\bgate$|expert_gate$|(?<!shared_)(?<!shared_expert)experts?\.", path):
        return None, False
    return next((role for role, words in _GUESSED.items() if re.search(words, path)), None), False


def lora_config(model: Any, settings: Training, wanted: dict[str, str]) -> Any:
    """The peft.LoraConfig that adapts exactly the wanted modules (full name -> role) of this model."""
    from peft import LoraConfig

    shared = {name for name, role in wanted.items() if role == "mlp"} if fused_experts(model) else set()
    if shared and settings.dropout:
        raise Problem("training.dropout: must be 0 on a mixture-of-experts base (peft wraps its experts by parameter)")
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted({name.rsplit(".", 1)[1] for name in wanted.keys() - shared}),
        target_parameters=sorted({_LAYER.sub(r"\2", name) + ".weight" for name in shared}) or None,
    )


def fused_experts(model: Any) -> list[str]:
    """The fused parameters of all routed experts: full names, also where they are held in 4 bits."""
    modules = (name for name, _module in model.named_modules() if name.endswith("mlp.experts"))
    return [f"{name}.{parameter}" for name in modules for parameter in EXPERTS]


def load_adapter(wrapped: Any, folder: Path | str, name: str = "default", trainable: bool = False) -> None:
    """Load a saved adapter, whatever its file calls the modules. Raises Problem where weights are missing in it."""
    result = wrapped.load_adapter(folder, name, key_mapping=key_mapping(wrapped), is_trainable=trainable)
    if missing := result.missing_keys:  # which peft trains or measures from their random start
        raise Problem(f"{folder}: {len(missing)} weights of the adapter are missing in it ({missing[0]}, …)")
