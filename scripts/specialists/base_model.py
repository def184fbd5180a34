"""Loading the base model for training and evaluation."""

from __future__ import annotations

from typing import Any

from specialists.config import Base, Problem


def load_base(base: Base, quantization: str) -> Any:
    """The frozen base model on the GPU when there is one, quantised as asked; nothing is downloaded by surprise.

    `nf4` holds Linear layers and fused expert parameters in 4 bits (bitsandbytes). Experts are converted after they
    were loaded in 16 bits, so the 80 B model does not survive this yet on one card; dense models do.
    Raises Problem when the model is not on this machine.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    dtype = getattr(torch, base.dtype)
    options: dict[str, Any] = {"revision": base.revision, "dtype": dtype, "local_files_only": True}
    if torch.cuda.is_available():
        options["device_map"] = {"": 0}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(base.model, **options)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise Problem(f"base.model {base.model}: not on this machine ({reason}); fetch it with `hf download`") from None
    if quantization == "nf4":
        _quantize_experts(model)
    model.config.use_cache = False
    return model


def _quantize_experts(model: Any) -> None:
    """Fused expert parameters to NF4: BitsAndBytesConfig sees Linear layers only, 3 % of an 80 B base."""
    from bitsandbytes.nn.parametrize import replace_parameter_4bit

    for name, module in model.named_modules():
        if name.endswith("mlp.experts"):
            for parameter in ("gate_up_proj", "down_proj"):
                replace_parameter_4bit(module, parameter, quant_type="nf4")
