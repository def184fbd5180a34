"""The memory that a training run will need, checked before anything is loaded; activations are an estimate."""

import os
from collections import Counter
from functools import lru_cache
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM

from specialists.cli import say, size
from specialists.config import Base, Problem, Training
from specialists.gpus import visible_gpus
from specialists.training.base_model import base_config, sharded
from specialists.training.targets import UNPACKED, wanted_modules

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight: code, 8-bit absmax per 64, its own scale per 256 of those
OPTIMIZER_BYTES = {"adamw_8bit": 2.0, "paged_adamw_8bit": 2.0, "sgd": 0.0}  # per parameter; AdamW: two float32


def check_memory(base: Base, settings: Training, longest: int) -> int:
    """Report what training is expected to take, in bytes. Raises Problem when the weights cannot fit in one process."""
    weights, state, activations = expected_bytes(base, settings, longest)
    total = round(weights + state + activations)
    free = next((free for _name, free, _total in visible_gpus()), psutil.virtual_memory().available)
    if weights > free and not sharded():
        smaller = 'use training.quantization = "nf4", ' if settings.quantization != "nf4" else ""
        raise Problem(
            f"base.model: its weights need {size(weights)} and {size(free)} are free; {smaller}stop what else uses the "
            "memory (serving.while_training), or take a smaller base or a launcher over more devices"
        )
    if int(os.environ.get("RANK", 0)) == 0:  # one of a launcher's processes reports it
        parts = f"weights {size(weights)}, adapter and optimizer {size(state)}, activations about {size(activations)}"
        say(f"expected: {size(total)} ({parts}), {size(free)} free")
        if total > free:
            say("warning: that is more than is free; lower training.max_length, or stop what else uses the device")
    return total


@lru_cache(maxsize=4)  # five languages have one base
def empty_model(base: Base) -> Any:
    """The base's modules and shapes without weights. Raises Problem when the base is not here."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(base_config(base), dtype=getattr(torch, base.dtype))


def expected_bytes(base: Base, settings: Training, longest: int) -> tuple[float, float, float]:
    """Of weights, of adapter and optimizer, and of activations (an estimate) for rows of at most `longest` tokens."""
    model = empty_model(base)
    adapted = (model.get_submodule(name) for name in wanted_modules(model, settings.targets))
    parameters = settings.r * sum(module.in_features + module.out_features for module in adapted)
    state = parameters * (4 + 4 + OPTIMIZER_BYTES.get(settings.optimizer, 8.0))  # adapter, gradient, optimizer
    weights, widened = weight_bytes(model, settings.quantization)
    return weights, state, longest * settings.batch_size * _activation_bytes(model, settings) + widened


def weight_bytes(model: Any, quantization: str) -> tuple[float, int]:
    """Bytes of all weights on the device, and of the one layer's experts that are widened from 4 bits when used."""
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    total, widened = 0.0, Counter[str]()
    for name, parameter in model.named_parameters():
        routed = ".experts." in name
        packed = routed or (name in linear and not any(part in name for part in UNPACKED))
        total += parameter.numel() * NF4 if packed and quantization == "nf4" else parameter.nbytes
        widened[name.rpartition(".")[0]] += parameter.nbytes if routed else 0
    return total, max(widened.values()) if quantization == "nf4" else 0


def _activation_bytes(model: Any, settings: Training) -> float:
    """Per token: what each layer keeps, and what the widest layer needs while it is recomputed and differentiated."""
    config, element = model.config.get_text_config(), model.dtype.itemsize
    widths: Counter[str] = Counter()  # layer -> values per token
    for name, module in model.named_modules():
        layer = name.partition(".layers.")[2].split(".")[0]
        if layer and hasattr(module, "out_features"):
            widths[layer] += module.in_features + 2 * module.out_features
        elif layer and name.endswith(".experts"):
            inner = getattr(config, "moe_intermediate_size", config.intermediate_size)  # Mixtral has one name for both
            widths[layer] += config.num_experts_per_tok * (2 * config.hidden_size + 4 * inner)
    inside = [2 * width * element for width in widths.values()]  # values and their gradients
    kept = config.num_hidden_layers * config.hidden_size * element
    return kept + max(inside) if settings.gradient_checkpointing else sum(inside)
