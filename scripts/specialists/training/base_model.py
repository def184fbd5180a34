"""Loading the base model for training and evaluation."""

from __future__ import annotations

import os
from typing import Any

from specialists.config import Base, Problem


def load_base(base: Base, quantization: str) -> Any:
    """The frozen base model on the GPU when there is one (each process of a launcher on its own), quantised as asked.

    `nf4` holds Linear layers and fused experts in 4 bits, converted tensor by tensor while the shards are read
    (learning.nf4), or read as an earlier run kept it (learning.prepared). `none` takes the base as it is; one
    stored in FP8 is widened, because nothing trains on FP8 weights. Nothing is downloaded. Raises Problem when the
    model is not on this machine, or is quantised already.
    """
    import torch
    from accelerate import PartialState
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    dtype = getattr(torch, base.dtype)
    options: dict[str, Any] = {"revision": base.revision, "dtype": dtype, "local_files_only": True}
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        PartialState(cpu=not torch.cuda.is_available())  # processes that know each other let the first read for all
    elif torch.cuda.is_available() and not sharded():
        options["device_map"] = {"": PartialState().local_process_index}
    stored = stored_quantization(base)
    if quantization == "nf4":
        if stored:
            raise Problem(
                f"base.model {base.model}: quantised already ({stored}); name the 16-bit base, or set quantization = "
                f'"none" (the quantised copy goes into serving.model)'
            )
        model = _in_4_bits(base, options)
    else:
        if stored == "fp8":
            from transformers import FineGrainedFP8Config

            options["quantization_config"] = FineGrainedFP8Config(dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(base.model, **options)
    model.config.use_cache = False
    return model


def _in_4_bits(base: Base, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    from specialists.training import prepared
    from specialists.training.nf4 import Nf4Config

    if kept := prepared.load(base, base_config(base), options):
        return kept
    config = Nf4Config(options["dtype"])
    model = AutoModelForCausalLM.from_pretrained(base.model, **options, quantization_config=config)
    prepared.keep(model, base)
    return model


def sharded() -> bool:
    """Whether a launcher spreads the model over its processes (FSDP, DeepSpeed), which place it themselves."""
    return "true" in (os.environ.get("ACCELERATE_USE_FSDP"), os.environ.get("ACCELERATE_USE_DEEPSPEED"))


def base_config(base: Base) -> Any:
    """The base model's transformers configuration. Raises Problem when the model is not on this machine."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base.model, revision=base.revision, local_files_only=True)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise Problem(f"base.model {base.model}: not on this machine ({reason}); fetch it with `hf download`") from None


def stored_quantization(base: Base) -> str | None:
    """How the weights lie on disk, e.g. "fp8"; None for 16 or 32 bits. Raises Problem when the model is not here."""
    settings = getattr(base_config(base).get_text_config(), "quantization_config", None)
    return (settings if isinstance(settings, dict) else settings.to_dict()).get("quant_method") if settings else None


def skeleton(base: Base) -> Any:
    """The base model without weights (on torch's meta device), to be counted."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(base_config(base), dtype=getattr(torch, base.dtype))
