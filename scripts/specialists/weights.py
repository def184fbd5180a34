"""Names and shapes of weights in safetensors files, read from their headers, and what an adapter's modules are called.

Qwen3.5 and later lie on the Hub with text and vision in one, the text under `model.language_model.`. transformers loads
the text alone, as `model.`, and so peft names an adapter; vLLM silently ignores such names (issues 48019, 49354).
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from specialists.chat import model_folder
from specialists.config import Base, Problem
from specialists.records import read_json

_TEXT, _COMPOSITE = "model.", "model.language_model."


def saved_names(modules: Iterable[str], base: Base) -> dict[str, str]:
    """Modules by transformers' names -> by those of the base's weights. Raises Problem for one that has no weight."""
    weights = base_shapes(base.model, base.revision)
    owners = {name[:end] for name in weights for end, letter in enumerate(name) if letter == "."}
    names = {name: name if name in owners else name.replace(_TEXT, _COMPOSITE, 1) for name in modules}
    if lost := [name for name, saved in names.items() if saved not in owners]:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        what = f"no weights of {', '.join(lost[:3])}{more}: such an adapter is not served"
        raise Problem(f"base.model {base.model}: {what}")
    return names


def key_mapping(model: Any) -> dict[str, str] | None:
    """What peft has to be told to load an adapter with saved names into a model of transformers."""
    composite = any(f".{_COMPOSITE}" in f".{name}" for name, _module in model.named_modules())
    return None if composite else {f"^{re.escape(_COMPOSITE)}": _TEXT}


def shapes_of(path: Path) -> dict[str, list[int]]:
    """Tensor name -> shape of a safetensors file. Raises Problem when it is missing, truncated or no such file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  (no iterator)
    except (OSError, SafetensorError) as error:
        raise Problem(f"{path}: missing, or no whole safetensors file: {error}") from None


def base_shapes(model: str, revision: str | None = None) -> dict[str, list[int]]:
    """Weight name -> shape of a base model on this machine; empty when it is not there to compare with."""
    folder = model_folder(model, revision)
    shards = folder.glob("*.safetensors") if folder else ()
    return {name: shape for shard in shards for name, shape in shapes_of(shard).items()}


def weight_files(folder: Path) -> tuple[list[Path], int]:
    """The weight files that a model's folder should have, and the bytes of all; the index's, where some are missing."""
    index = read_json(folder / "model.safetensors.index.json") or {}
    files = sorted({folder / name for name in index.get("weight_map", {}).values()} or folder.glob("*.safetensors"))
    if all(file.is_file() for file in files):
        return files, sum(file.stat().st_size for file in files)
    return files, index.get("metadata", {}).get("total_size", 0)
