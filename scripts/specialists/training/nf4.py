"""A base model in 4 bits, fused experts included, quantised tensor by tensor while its shards are read.

transformers' own bitsandbytes quantiser sees Linear layers only: 3 % of an 80 B mixture of experts. This one hands the
fused expert parameters over too, each to bitsandbytes' own parametrisation as soon as it was read, so that at most one
parameter at a time is held in 16 bits. Norms, router and embeddings keep their precision.
"""

from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn.parametrize import replace_parameter_4bit_prequantized
from transformers import BitsAndBytesConfig
from transformers.core_model_loading import ConversionOps, WeightConverter
from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.quantizers import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

from specialists.training.targets import EXPERTS, UNPACKED, fused_experts

METHOD = "bitsandbytes_with_experts"
_FUSED = tuple(f"mlp.experts.{name}" for name in EXPERTS)


@register_quantization_config(METHOD)
class Nf4Config(BitsAndBytesConfig):
    """What `from_pretrained(quantization_config=…)` takes, and, as a dictionary, a configuration of such a model."""

    def __init__(self, dtype: torch.dtype | str, quant_method: str = METHOD):
        super().__init__(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(UNPACKED),
        )
        self.quant_method = quant_method


@register_quantizer(METHOD)
class Nf4Quantizer(Bnb4BitHfQuantizer):
    """bitsandbytes' 4-bit quantiser of transformers, and fused experts beside the Linear layers."""

    def param_needs_quantization(self, model: Any, param_name: str, **options: Any) -> bool:
        return param_name.endswith(_FUSED) or super().param_needs_quantization(model, param_name, **options)

    def get_quantize_ops(self) -> Any:
        return _Quantize(self)

    def get_weight_conversions(self) -> list[WeightConverter]:
        if not self.pre_quantized:
            return []
        state = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4")
        fused = [  # "$": gpt-oss has gate_up_proj_bias beside gate_up_proj
            WeightConverter([*(f"{name}.{part}" for part in state), f"{name}$"], name, [_Deserialize()])
            for name in _FUSED
        ]
        return fused + super().get_weight_conversions()

    def _process_model_after_weight_loading(self, model: Any, **options: Any) -> Any:
        for name in fused_experts(model):
            owner, _, leaf = name.rpartition(".")
            module = model.get_submodule(owner)
            packed = getattr(module, leaf)
            replace_parameter_4bit_prequantized(module, leaf, packed.quant_state.as_dict(packed=True), packed.device)
        return super()._process_model_after_weight_loading(model, **options)


class _Quantize(Bnb4bitQuantize):
    def convert(self, input_dict: dict[str, Any], **options: Any) -> dict[str, Any]:
        experts = {name: value for name, value in input_dict.items() if name.endswith(_FUSED)}
        result = super().convert({name: value for name, value in input_dict.items() if name not in experts}, **options)
        for name, value in experts.items():
            value = value[0] if isinstance(value, list) else value
            result[name] = _packed(*functional.quantize_4bit(value, compress_statistics=True, quant_type="nf4"))
        return result


class _Deserialize(ConversionOps):
    """A fused parameter as it was saved: packed codes under its own name, the state under names that begin with it."""

    def convert(self, input_dict: dict[str, Any], **options: Any) -> dict[str, Any]:
        parts = {name: value[0] if isinstance(value, list) else value for name, value in input_dict.items()}
        name = min(parts, key=len)
        packed = parts.pop(name)
        return {name.removesuffix("$"): _packed(packed, functional.QuantState.from_dict(parts, device=packed.device))}


def _packed(codes: torch.Tensor, state: functional.QuantState) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(codes, requires_grad=False)
    parameter.quant_state = state  # until all is loaded and the module can be parametrised
    return parameter
