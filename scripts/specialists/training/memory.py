"""What a training run will need, told before it starts: memory by part, and time.

Counted from the model without weights; the activations and the speed are estimates (docs/training.md says how good).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from specialists.cli import duration, say, size
from specialists.config import Base, Problem, Training

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight: code, 8-bit absmax per 64, its own scale per 256 of those
OPTIMIZER_BYTES = {"adamw_8bit": 2.0, "paged_adamw_8bit": 2.0, "sgd": 0.0}  # per parameter; AdamW: two float32
_UTILISATION = 0.25  # of the speed of a plain matrix product, what training reaches; 4-bit weights are unpacked on top


@dataclass(frozen=True)
class Needs:
    """Bytes and seconds that a run is expected to take."""

    weights: float
    state: float  # adapter, its gradient, the optimizer
    activations: float
    parameters: int  # of the adapter
    seconds: float
    free: float  # bytes on the device now

    @property
    def memory(self) -> int:
        return round(self.weights + self.state + self.activations)

    def announce(self, loaded: bool) -> None:
        """Say it; `loaded` when the weights are on the device already.

        Raises Problem when the weights alone cannot fit, unless a launcher spreads them.
        """
        from specialists.training.base_model import sharded

        needed = self.memory - (self.weights if loaded else 0)
        say(
            f"expected: {size(self.memory)} (weights {size(self.weights)}, adapter and optimizer "
            f"{size(self.state)}, activations about {size(self.activations)}), {size(self.free)} free; "
            f"{self.parameters:,} parameters; about {duration(self.seconds)}"
        )
        if not loaded and not sharded() and self.weights > self.free:
            raise Problem(
                f"base.model: its weights need {size(self.weights)} and {size(self.free)} are free; "
                'use training.quantization = "nf4", a smaller base, or a launcher over more devices'
            )
        if needed > self.free:
            say("warning: that is more than is free; lower training.max_length, or stop what else uses the device")


def predict(base: Base, settings: Training, lengths: list[int]) -> Needs:
    """What training on rows of these lengths (tokens) will take. Raises Problem when the base is not here."""
    from specialists.training.base_model import skeleton
    from specialists.training.targets import wanted_ranks

    model = skeleton(base)
    parameters = sum(rank * _lora_width(model, name) for name, rank in wanted_ranks(model, settings).items())
    element = model.dtype.itemsize
    state = parameters * (4 + 4 + OPTIMIZER_BYTES.get(settings.optimizer, 8.0))
    tokens = max(lengths) * settings.batch_size
    epochs = settings.epochs
    if settings.max_steps > 0:
        epochs = settings.max_steps * settings.batch_size * settings.gradient_accumulation / len(lengths)
    # forward, recomputed forward, gradient of the inputs: two operations per weight and token each; the frozen
    # weights need no gradient of their own
    operations = (6 if settings.gradient_checkpointing else 4) * _active(model) * sum(lengths) * epochs
    return Needs(
        weights=sum(_weight_bytes(model, settings.quantization)),
        state=state,
        activations=tokens * _activation_bytes(model, settings) + _unpacked_bytes(model, settings, element),
        parameters=parameters,
        seconds=operations / (_speed(model.dtype) * _UTILISATION),
        free=_free(),
    )


def _lora_width(model: Any, name: str) -> int:
    """Parameters of one rank of LoRA on a Linear layer, or on a fused parameter of several experts."""
    from specialists.training.targets import EXPERTS

    owner, _, leaf = name.rpartition(".")
    if leaf in EXPERTS and owner.endswith(".experts"):
        count, rows, columns = getattr(model.get_submodule(owner), leaf).shape
        return count * (rows + columns)
    module = model.get_submodule(name)
    return module.in_features + module.out_features


def _weight_bytes(model: Any, quantization: str) -> Any:
    """Bytes of each parameter on the device."""
    from torch.nn import Linear

    from specialists.training.targets import UNPACKED

    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Linear)}
    for name, parameter in model.named_parameters():
        packed = (name in linear and not any(part in name for part in UNPACKED)) or ".experts." in name
        yield parameter.numel() * (NF4 if packed and quantization == "nf4" else parameter.element_size())


def _experts(config: Any) -> int:
    """Routed experts of a layer, under the names that architectures have for their number; 0 where there are none."""
    names = ("num_experts", "n_routed_experts", "num_local_experts")
    return next((number for name in names if (number := getattr(config, name, None))), 0)


def _active(model: Any) -> float:
    """Parameters that a token passes through; the embedding is looked up, not multiplied."""
    config = model.config.get_text_config()
    chosen = getattr(config, "num_experts_per_tok", 1) / max(_experts(config), 1)
    return sum(
        parameter.numel() * (chosen if ".experts." in name else 1)
        for name, parameter in model.named_parameters()
        if "embed_tokens" not in name or config.tie_word_embeddings
    )


def _activation_bytes(model: Any, settings: Training) -> float:
    """Per token: what each layer keeps, and what the widest layer needs while it is recomputed and differentiated."""
    config, element = model.config.get_text_config(), model.dtype.itemsize
    layers: dict[str, float] = {}
    for name, module in model.named_modules():
        if ".layers." in name and hasattr(module, "out_features"):
            layer = name.split(".layers.")[1].split(".")[0]
            layers[layer] = layers.get(layer, 0) + module.in_features + 2 * module.out_features
        elif name.endswith(".experts"):
            layer = name.split(".layers.")[1].split(".")[0]
            inner = getattr(config, "moe_intermediate_size", config.intermediate_size)  # Mixtral has one name for both
            width = 2 * config.hidden_size + 4 * inner
            layers[layer] = layers.get(layer, 0) + config.num_experts_per_tok * width
    inside = [2 * width * element for width in layers.values()]  # values and their gradients
    kept = config.num_hidden_layers * config.hidden_size * element
    return kept + max(inside) if settings.gradient_checkpointing else sum(inside)


def _unpacked_bytes(model: Any, settings: Training, element: int) -> float:
    """The fused experts of one layer: widened while they are used, or with their own change and its gradient."""
    copies = int(settings.quantization == "nf4") + 2 * int(settings.routed_experts)
    layers: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            layers[name.rpartition(".")[0]] = layers.get(name.rpartition(".")[0], 0) + parameter.numel()
    return copies * max(layers.values(), default=0) * element


def _speed(dtype: Any) -> float:
    """Operations per second of a plain matrix product on this device, measured now."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 1024
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = math.inf
    for _ in range(3):
        started = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _free() -> float:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    import psutil

    return psutil.virtual_memory().available
