"""What a GPU has to hold for the server, added up before vLLM starts, and whether training fits beside it."""

import dataclasses
import math
import os
import re

from specialists.agent import sent_tokens
from specialists.chat import model_folder
from specialists.cli import size
from specialists.config import Config, Language
from specialists.gpus import visible_gpus
from specialists.serving.command import vllm_command
from specialists.serving.lora import served_model
from specialists.training.targets import ROLES, wanted_modules
from specialists.weights import weight_files

UTILIZATION = 0.92  # of the GPU: vLLM 0.32's --gpu-memory-utilization
VLLM_ITSELF = 4 << 30  # estimate: CUDA's context and graphs, activations of 8,192 tokens, logits of a full batch
WAYS = (
    "name a smaller copy of the base in serving.model (FP8, or 4 bits), lower serving.max_model_len, or add to "
    "serving.extra --gpu-memory-utilization (at most 0.97; training may then have to stop the server) or "
    "--tensor-parallel-size"
)
SPARE = 1.1  # training takes so much more than expected at most: its activations are an estimate


def serving_fit(config: Config) -> tuple[str, str] | None:
    """What vLLM will hold, added up against its share of the smallest GPU; then what to do, empty where it fits.

    None without a GPU or a copy of the base here, or where vLLM quantises it. Raises Problem for an unknown model."""
    folder, gpus = model_folder(*served_model(config)), visible_gpus({**os.environ, **config.serving.env})
    if not gpus or not folder or any(word.startswith("--quantization") for word in config.serving.extra):
        return None
    tokens, rank, slots = (_option(config, f"--max-{name}", 1) for name in ("model-len", "lora-rank", "loras"))
    cache, slot = _cache_and_slot_bytes(config, tokens, rank)
    parts = {"weights": weight_files(folder)[1], f"{slots:g} LoRA slots": slots * slot}
    parts[f"KV cache of {tokens:,.0f} tokens"] = cache
    spread = _option(config, "--tensor-parallel-size", 1) * _option(config, "--pipeline-parallel-size", 1)
    share = _option(config, "--gpu-memory-utilization", UTILIZATION)
    needed, may = sum(parts.values()) / spread + VLLM_ITSELF, share * min(total for *_, total in gpus)
    terms = ", ".join(f"{what} {size(count)}" for what, count in parts.items())
    says = f"{served_model(config)[0]} takes {size(needed)} of a GPU ({terms}, over {spread:g}; vLLM itself about "
    says += f"{size(VLLM_ITSELF)}) and may take {size(may)} (--gpu-memory-utilization {share:g})"
    return says, "" if needed <= may else f"{size(needed - may)} too much: {WAYS}"


def training_fit(config: Config) -> tuple[str, str] | None:
    """Likewise whether training fits, and what becomes of the server meanwhile; None also where GPUs may share it."""
    gpus, alone = visible_gpus(), [each for each in config.languages.values() if not each.training.launcher]
    if not gpus or not alone or not model_folder(config.base.model, config.base.revision):
        return None
    needed, total = max(training_bytes(config, each) for each in alone), gpus[0][2]
    if needed > total:
        return f"training takes {size(needed)} (estimate)", "lower training.max_length, or take a smaller base"
    share = math.floor(100 * (1 - needed / total)) / 100
    both = _option(config, "--gpu-memory-utilization", UTILIZATION) <= share
    says = f"training takes {size(needed)} (estimate), {'beside the server' if both else 'while the server is stopped'}"
    says += f"; both fit up to --gpu-memory-utilization {share:g}"
    return says, "" if both or config.serving.while_training != "keep" else 'while_training = "auto"'


def training_bytes(config: Config, language: Language) -> float:
    """What training this language takes of a GPU at most. Raises Problem when the base is not here."""
    from specialists.training.memory import expected_bytes

    longest = language.training.max_length + sent_tokens(config, language)
    return SPARE * sum(expected_bytes(config.base, language.training, longest))


def _cache_and_slot_bytes(config: Config, tokens: float, rank: float) -> tuple[float, float]:
    """Of the KV cache of so many tokens, and of a LoRA slot, which is on every module that an adapter may have."""
    from specialists.training.memory import empty_model

    model, revision = served_model(config)
    base = empty_model(dataclasses.replace(config.base, model=model, revision=revision))
    shape = base.config.get_text_config()
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    # linear attention keeps a state of constant size, 2 MiB a layer of Qwen3-Coder-Next
    kept = {"linear_attention": 0, "sliding_attention": min(tokens, getattr(shape, "sliding_window", None) or tokens)}
    kinds = getattr(shape, "layer_types", None) or ["full_attention"] * shape.num_hidden_layers
    cache = 2 * heads * width * sum(kept.get(kind, tokens) for kind in kinds)
    modules = map(base.get_submodule, wanted_modules(base, tuple(ROLES)))
    slot = rank * sum(module.in_features + module.out_features for module in modules)
    return cache * base.dtype.itemsize, slot * base.dtype.itemsize


def _option(config: Config, name: str, default: float) -> float:
    """A number on vLLM's command line; the last one counts. What is no number vLLM itself refuses."""
    given = re.findall(rf"{name}[ =](\d*\.?\d+)(?!\S)", " ".join(vllm_command(config, {})))
    return float(given[-1]) if given else default
