"""Which parts of a base model get an adapter, by role, and the proof that exactly those got one.

The plan's q/k/v/o and gate/up/down, taken literally on a mixture-of-experts base, make peft adapt the routed experts
and leave the shared expert alone (peft issue 3711). So the roles are resolved here against the model's own Linear
layers, the shared expert is wrapped by parameter, which peft leaves as it is, and what came out is compared with what
was asked before the first step.
"""

from __future__ import annotations

import re
from typing import Any

from specialists.config import Problem, Training

_QWEN3_NEXT = ("in_proj_qkvz", "in_proj_ba")
_QWEN3_5 = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a")
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {  # role -> where in a decoder layer, which Linear layers there;
    "attention": (r"self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),  # nothing else knows an architecture
    "linear_attention": (r"linear_attn", (*_QWEN3_NEXT, *_QWEN3_5, "out_proj")),
    "mlp": (r"mlp(?:\.shared_expert)?", ("gate_proj", "up_proj", "down_proj")),
}
_LAYER = re.compile(r"(.*layers\.\d+)\.(.+)")
_EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")


def wanted_modules(model: Any, roles: tuple[str, ...]) -> dict[str, str]:
    """The Linear layers that the roles mean in this model: full name -> role.

    Raises Problem when a decoder layer would be left without an adapter.
    """
    import torch

    found: dict[str, str] = {}
    layers: set[str] = set()
    for name, module in model.named_modules():
        if not (match := _LAYER.fullmatch(name)):
            continue
        layers.add(match[1])
        if isinstance(module, torch.nn.Linear):
            place, _, leaf = match[2].rpartition(".")
            for role in roles:
                if leaf in ROLES[role][1] and re.fullmatch(ROLES[role][0], place):
                    found[name] = role
    bare = layers - {_LAYER.fullmatch(name)[1] for name in found}
    if bare or not found:
        layer = min(bare, default="no decoder layer")
        raise Problem(
            f"training.targets: {', '.join(roles)} leave {len(bare)} of {len(layers)} layers of a "
            f"{model.config.model_type} model without an adapter (first: {layer}); name more roles"
        )
    return found


def lora_config(model: Any, settings: Training) -> Any:
    """The peft.LoraConfig that adapts exactly the wanted modules of this model."""
    from peft import LoraConfig

    wanted = wanted_modules(model, settings.targets)
    mixture = any(name.endswith("mlp.experts") for name, _module in model.named_modules())
    modules = {name.rsplit(".", 1)[1] for name, role in wanted.items() if not (mixture and role == "mlp")}
    parameters = {_suffix(name) + ".weight" for name, role in wanted.items() if mixture and role == "mlp"}
    if settings.routed_experts:
        if not mixture:
            raise Problem(f"training.routed_experts: a {model.config.model_type} model has no routed experts")
        parameters |= set(_EXPERTS)
    if parameters and settings.dropout:
        raise Problem("training.dropout: must be 0 on a mixture-of-experts base (peft wraps its experts by parameter)")
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(modules),
        target_parameters=sorted(parameters) or None,
    )


def wrap(model: Any, settings: Training) -> tuple[Any, dict[str, int]]:
    """The model with its adapter, and the adapted modules: full name in the base -> rank.

    Raises Problem when peft adapted anything else than what was asked for.
    """
    from peft import get_peft_model

    wanted = set(wanted_modules(model, settings.targets))
    if settings.routed_experts:
        wanted |= {name for name, _parameter in model.named_parameters() if name.endswith(_EXPERTS)}
    wrapped = get_peft_model(model, lora_config(model, settings))
    adapted = adapted_modules(wrapped)
    extra, lacking = sorted(adapted.keys() - wanted), sorted(wanted - adapted.keys())
    if extra or lacking:
        raise Problem(
            f"the adapter is not what was asked for: {len(extra)} modules too many ({', '.join(extra[:3])}), "
            f"{len(lacking)} lacking ({', '.join(lacking[:3])})"
        )
    if wrong := {name: rank for name, rank in adapted.items() if rank != settings.r}:
        raise Problem(f"adapter ranks differ from training.r = {settings.r}: {dict(list(wrong.items())[:3])}")
    return wrapped, adapted


def adapted_modules(wrapped: Any) -> dict[str, int]:
    """What is trainable in a peft model: module's (or parameter's) name in the base -> rank."""
    modules: dict[str, int] = {}
    for name, parameter in wrapped.named_parameters():
        if not parameter.requires_grad:
            continue
        if "lora_" not in name:
            raise Problem(f"{name} is trainable and no part of an adapter")
        owner = name.removeprefix("base_model.model.").split(".lora_")[0]
        module = wrapped.get_submodule(name.split(".lora_")[0])
        owner = owner.replace(".base_layer", "")
        if (parameter_name := getattr(module, "parameter_name", None)) not in (None, "weight"):
            owner = f"{owner}.{parameter_name}"  # one fused expert parameter of several on the same module
        modules[owner] = module.r["default"]
    return modules


def trainable_parameters(wrapped: Any) -> int:
    """How many numbers the optimizer moves."""
    return sum(parameter.numel() for parameter in wrapped.parameters() if parameter.requires_grad)


def _suffix(name: str) -> str:
    return _LAYER.fullmatch(name)[2]
