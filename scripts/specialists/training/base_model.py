"""Loading the base model for training and evaluation."""

import inspect
import os
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, FineGrainedFP8Config
from transformers.utils import logging

from specialists.config import Base, Problem
from specialists.training import prepared
from specialists.training.nf4 import Nf4Config


def load_base(base: Base, quantization: str) -> Any:
    """The frozen base model on the GPU when there is one (each process of a launcher on its own), quantised as asked.

    In 4 bits it is read as an earlier run kept it, if one did; a base stored in FP8 is widened, as transformers trains
    on no FP8 weights. Nothing is downloaded. Raises Problem when the model is not here, or is quantised already.
    """
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
    model = prepared.load(base, config, options) if quantization == "nf4" else None
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
        prepared.keep(model, base)
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
