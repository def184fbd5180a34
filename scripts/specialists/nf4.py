"""A base model in 4 bits, fused experts included, quantised tensor by tensor while its shards are read.

transformers' own bitsandbytes quantiser sees Linear layers only: 3 % of an 80 B mixture of experts. This one hands the
fused expert parameters over too, each to bitsandbytes' own parametrisation as soon as it was read, so that never more
than one parameter is there in 16 bits. Norms, router and embeddings keep their precision.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn.parametrize import replace_parameter_4bit_prequantized
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.quantizers import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

from specialists.targets import EXPERTS, UNPACKED

METHOD = "bitsandbytes_with_experts"
_FUSED = tuple(f"mlp.experts.{name}" for name in EXPERTS)


@register_quantization_config(f"{METHOD}_4bit")
class Nf4Config(BitsAndBytesConfig):
    """What `from_pretrained(quantization_config=…)` takes."""

    def __init__(self, dtype: torch.dtype):
        super().__init__(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(UNPACKED),
        )
        self.quant_method = METHOD


@register_quantizer(METHOD)
class Nf4Quantizer(Bnb4BitHfQuantizer):
    """bitsandbytes' 4-bit quantiser of transformers, and fused experts beside the Linear layers."""

    def __init__(self, config: Nf4Config, **options: Any):
        super().__init__(config, **options)
        self.states: dict[str, functional.QuantState] = {}

    def param_needs_quantization(self, model: Any, param_name: str, **options: Any) -> bool:
        return param_name.endswith(_FUSED) or super().param_needs_quantization(model, param_name, **options)

    def get_quantize_ops(self) -> Any:
        return _Quantize(self)

    def _process_model_after_weight_loading(self, model: Any, **options: Any) -> Any:
        for name, state in self.states.items():
            owner, _, parameter = name.rpartition(".")
            module = model.get_submodule(owner)
            device = getattr(module, parameter).device
            replace_parameter_4bit_prequantized(module, parameter, state.as_dict(packed=True), device)
        self.states.clear()
        return super()._process_model_after_weight_loading(model, **options)


class _Quantize(Bnb4bitQuantize):
    def convert(self, input_dict: dict[str, Any], **options: Any) -> dict[str, Any]:
        experts = {name: value for name, value in input_dict.items() if name.endswith(_FUSED)}
        others = {name: value for name, value in input_dict.items() if name not in experts}
        result = super().convert(others, **options)
        for name, value in experts.items():
            value = value[0] if isinstance(value, list) else value
            packed, state = functional.quantize_4bit(value, compress_statistics=True, quant_type="nf4")
            self.hf_quantizer.states[name] = state
            result[name] = torch.nn.Parameter(packed, requires_grad=False)
        return result
