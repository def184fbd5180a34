"""Loading the base model for training and evaluation; in 4 bits it is kept on disk, so that five adapters do not
quantise it five times: in one folder, named by a hash over everything that its bytes depend on.
"""

import inspect
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, FineGrainedFP8Config
from transformers.utils import cached_file, logging

from specialists.cli import say, size
from specialists.config import Base, Problem, fingerprint
from specialists.training.nf4 import METHOD, Nf4Config

_NAME, _BUILDING = "nf4-", ".nf4-"  # what this module made, and may remove, begins so


def load_base(base: Base, quantization: str) -> Any:
    """The frozen base model on the GPU when there is one (each process of a launcher on its own), quantised as asked.

    In 4 bits it is read as an earlier run kept it, if one did; a base stored in FP8 is widened, as transformers trains
    on no FP8 weights. Nothing is downloaded. Raises Problem when the model is not here, or is quantised already."""
    logging.disable_progress_bar()
    options: dict[str, Any] = {"revision": base.revision, "dtype": getattr(torch, base.dtype), "local_files_only": True}
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        PartialState(cpu=not torch.cuda.is_available())  # processes that know each other let the first read for all
    elif torch.cuda.is_available() and not sharded():
        options["device_map"] = {"": PartialState().local_process_index}
    config = base_config(base)
    settings = getattr(config.get_text_config(), "quantization_config", None) or {}
    stored = (settings if isinstance(settings, dict) else settings.to_dict()).get("quant_method")  # e.g. "fp8"
    if quantization == "nf4" and stored:
        fix = 'name the 16-bit base, or set quantization = "none" (the quantised copy goes into serving.model)'
        raise Problem(f"base.model {base.model}: quantised already ({stored}); {fix}")
    model = _load_kept(base, config, options) if quantization == "nf4" else None
    if model is None:
        if quantization == "nf4":
            options["quantization_config"] = Nf4Config(options["dtype"])
        elif stored == "fp8":
            options["quantization_config"] = FineGrainedFP8Config(dequantize=True)
        try:
            model = AutoModelForCausalLM.from_pretrained(base.model, **options)
        except SafetensorError as error:  # a download that was not finished
            raise Problem(f"base.model {base.model}: cannot be read ({error}); fetch it with `hf download`") from None
    if quantization == "nf4":
        _keep(model, base)
        for parameter in model.parameters():
            if parameter.device.type == "cpu" and parameter.is_floating_point():
                # mapped from a file it has that file's alignment: the last bits of adapters would depend on it
                parameter.data = parameter.data.clone()
    model.config.use_cache = False
    return model


def gated_delta_rule(model: Any) -> str | None:
    """Where the function comes from that trains this model's linear attention, e.g. "fla.ops.gated_delta_rule.chunk".

    transformers decides it when it is imported: flash-linear-attention's kernel where that is installed, else its own,
    slow one. It is read from the closure that holds it: None where there is none such, or it is kept otherwise by now.
    """
    function = getattr(inspect.getmodule(type(model)), "torch_chunk_gated_delta_rule", None)
    held = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    return getattr(held.get("implementation"), "__module__", None)


def sharded() -> bool:
    """Whether a launcher spreads the model over its processes (FSDP, DeepSpeed), which place it themselves."""
    return "true" in (os.environ.get("ACCELERATE_USE_FSDP"), os.environ.get("ACCELERATE_USE_DEEPSPEED"))


def base_config(base: Base) -> Any:
    """The base model's transformers configuration. Raises Problem when the model is not on this machine."""
    try:
        return AutoConfig.from_pretrained(base.model, revision=base.revision, local_files_only=True)
    except (OSError, ValueError) as error:  # not here; no model that transformers knows
        reason = str(error).splitlines()[0]
        raise Problem(f"base.model {base.model}: cannot be read ({reason}); fetch it with `hf download`") from None


def _kept_folder(base: Base) -> Path | None:
    """Where this base is kept, whether it is there yet or not; None where `base.prepared` is empty."""
    if not base.prepared:
        return None
    source = Path(cached_file(base.model, "config.json", revision=base.revision, local_files_only=True)).parent
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(source.glob("*.*"))]
    code = Path(__file__).with_name("nf4.py").read_text(encoding="utf-8")
    versions = [version(library) for library in ("torch", "transformers", "bitsandbytes")]
    return base.prepared / f"{_NAME}{fingerprint(str(source), files, base.dtype, code, versions)}"


def _load_kept(base: Base, config: Any, options: dict[str, Any]) -> Any | None:
    """The kept model, with the base's configuration and from_pretrained options; None where there is none to read."""
    folder = _kept_folder(base)
    if not folder or not folder.is_dir():
        return None
    config.quantization_config = {"quant_method": METHOD, "dtype": base.dtype}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, **{**options, "revision": None})
    except (OSError, SafetensorError) as error:
        say(f"{folder}: cannot be read ({error}); the base is quantised again")
        shutil.rmtree(folder, ignore_errors=True)
        return None
    model.name_or_path = model.config.name_or_path = base.model  # which peft writes into an adapter's configuration
    return model


def _keep(model: Any, base: Base) -> None:
    """Write the model for the next run, all of it or nothing; where there is no room, report it and go on."""
    folder = _kept_folder(base)
    if not folder or folder.is_dir() or int(os.environ.get("RANK", 0)):  # one of a launcher's processes writes
        return
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for path in [*parent.glob(f"{_NAME}*"), *parent.glob(f"{_BUILDING}*")]:
            shutil.rmtree(path)  # another base's, or what a killed run left
        needed, free = sum(value.nbytes for value in model.state_dict().values()), shutil.disk_usage(parent).free
        if free < 2 * needed:
            say(f"{parent}: {size(free)} free; the 4-bit base ({size(needed)}) is not kept")
            return
        with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=parent, ignore_cleanup_errors=True) as building:
            model.save_pretrained(Path(building), save_original_format=False, max_shard_size="5GB")
            for path in Path(building).iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())  # after a power cut there is a whole model under its name, or none
            os.rename(building, folder)
    except OSError as error:
        say(f"{parent}: the 4-bit base is not kept ({error})")
