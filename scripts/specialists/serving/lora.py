"""Whether vLLM would load an adapter and really apply it.

vLLM 0.32 dies at start-up of some broken adapters and takes others without a word (a layer that does not exist, half
an input width), so every adapter is checked against the headers of the base model's own weights.
"""

import re
from contextlib import suppress
from pathlib import Path

from specialists.adapters import manifest_of, trained_on_another
from specialists.chat import Chat
from specialists.config import Config, Problem
from specialists.records import read_json
from specialists.weights import base_shapes, shapes_of

_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


def check_adapter(version: Path, config: Config) -> list[str]:
    """What is wrong with an adapter, as sentences; empty when it can be served."""
    settings, weights = read_json(version / "adapter_config.json"), version / "adapter_model.safetensors"
    if not isinstance(settings, dict) or "r" not in settings:
        return [f"{version / 'adapter_config.json'}: missing or not JSON"]
    rank, highest = settings["r"], config.serving.max_lora_rank
    faults = [f"rank {rank} is above serving.max_lora_rank {highest}"] if rank > highest else []
    try:
        faults += _misfits(shapes_of(weights), rank, base_shapes(*served_model(config)))
        faults += [] if faults else _bad_numbers(weights)
    except Problem as problem:
        faults.append(str(problem))
    if other := trained_on_another(version, config):
        return [*faults, f"trained on {other}, base.model is {config.base.model}"]
    with suppress(Problem):  # nothing to compare with; serve.py itself says that the base is not there
        known, here = manifest_of(version).get("base", {}).get("template"), served_chat(config).fingerprint
        if known not in (None, here):
            faults.append(f"trained with chat template or tokenizer {known}, {served_model(config)[0]} has {here}")
    return faults


def _misfits(shapes: dict[str, list[int]], rank: int, base: dict[str, list[int]]) -> list[str]:
    """Tensors whose name, partner or shape does not fit the base."""
    modules: dict[str, dict[str, list[int]]] = {}
    faults = [f"{name}: not a LoRA weight" for name in shapes if not _NAME.fullmatch(name)]
    for match in filter(None, map(_NAME.fullmatch, shapes)):
        modules.setdefault(match["module"], {})[match["side"]] = shapes[match[0]]
    for module, sides in modules.items():
        weight = base.get(f"{module}.weight")  # a quantised copy may have others, such as .qweight
        if len(sides) != 2:
            faults.append(f"{module}: lora_{'B' if 'A' in sides else 'A'} is missing")
        elif weight and (sides["A"], sides["B"]) != ([rank, weight[1]], [weight[0], rank]):
            faults.append(f"{module}: A {sides['A']} and B {sides['B']} at rank {rank} do not fit {weight}")
        elif base and not any(name.startswith(f"{module}.") for name in base):
            faults.append(f"{module}: the base has no such module")
    return faults[:5]


def _bad_numbers(path: Path) -> list[str]:
    """Weights that are not finite, and an adapter that changes nothing because every B is zero."""
    import numpy
    from safetensors.numpy import load_file

    weights = load_file(path)
    if not any(value.any() for name, value in weights.items() if ".lora_B." in name):
        return ["every lora_B is zero: the adapter changes nothing"]
    finite = ((name, numpy.isfinite(value.astype("float32")).all()) for name, value in weights.items())
    return [f"{name}: not finite" for name, whole in finite if not whole][:5]


def served_chat(config: Config) -> Chat:
    """Template and tokenizer of the model that vLLM serves. Raises Problem when it is not on this machine."""
    return Chat.load(*served_model(config))


def served_model(config: Config) -> tuple[str, str | None]:
    """Name and revision of the base as it is served."""
    return (config.serving.model, None) if config.serving.model else (config.base.model, config.base.revision)
