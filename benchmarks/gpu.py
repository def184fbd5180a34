"""Whether the real architecture trains on one GPU: Qwen3-Coder-Next's shape, random weights, NF4 with its experts.

    python benchmarks/gpu.py                      # on a GPU: full width and depth; without one: small, and it says so
    python benchmarks/gpu.py --tokens 4096 --layers 12
    python benchmarks/gpu.py --tokens 2048 --no-kernels

Weights are made parameter by parameter on the device and go through the same loading as a real base (training/nf4.py);
then the same trainer takes a few steps of 8 rows (r = 16, gradient checkpointing, 8-bit AdamW), one row at a time and
two. Reports the time to load and, for both, seconds a step, peak memory, tokens per second, whose gated delta rule was
used, and what 400 examples of that length in 3 epochs would take. The aim: a peak of at most 80 GiB at 8,192 tokens.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts"), str(ROOT / "tests")]  # and not this folder, whose names shadow others

ROWS = 8  # examples of an optimizer step
SMALL = {  # the same kinds of layer, for a machine without a GPU
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "vocab_size": 4096,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "num_attention_heads": 4,
    "head_dim": 64,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 16,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}


class Random:
    """Stands for a tensor in a checkpoint: random numbers, made when they are read."""

    def __init__(self, shape: Any, dtype: Any, device: str):
        self.shape, self.dtype, self.device = shape, dtype, device

    def __getitem__(self, _all: Any) -> Any:
        import torch

        return torch.empty(self.shape, dtype=self.dtype, device=self.device).normal_(std=0.02)


def load(config: Any, device: str, dtype: Any) -> Any:
    """A model of that configuration in NF4, its weights random, never whole in 16 bits."""
    import torch
    from specialists.training.nf4 import Nf4Config
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        kind = type(AutoModelForCausalLM.from_config(config, dtype=dtype))
        names = AutoModelForCausalLM.from_config(config, dtype=dtype).state_dict()
    weights = {name: Random(value.shape, value.dtype, device) for name, value in names.items()}
    model = kind.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        dtype=dtype,
        quantization_config=Nf4Config(dtype),
        device_map={"": 0 if device == "cuda" else "cpu"},
    )
    model.config.use_cache = False
    return model


def seconds_a_step(wrapped: Any, tokens: int, count: int, settings: Any) -> float:
    """The mean over `count` optimizer steps, without the first, in which kernels are compiled."""
    import tiny_models
    import torch
    from specialists.config import Base
    from specialists.training.trainer import make_trainer, training_arguments
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_arguments: Any, **_named: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    row = torch.randint(3, 300, (tokens,)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        tiny_models.save_tokenizer(Path(folder))
        rows = [{"input_ids": row, "labels": row}] * ROWS * count
        arguments = training_arguments(wrapped, settings, Path(folder), checkpoint_steps=2 * count)
        trainer = make_trainer(wrapped, Base(model=folder), rows, arguments)
        trainer.add_callback(Clock)
        trainer.train()
    return (times[-1] - times[0]) / (len(times) - 1)


@click.command()
@click.option("--tokens", default=8192, show_default=True, help="Tokens of each example.")
@click.option("--layers", type=int, help="Fewer layers than the real 48.")
@click.option("--steps", "count", default=4, show_default=True, help="Optimizer steps of 8 examples.")
@click.option("--no-kernels", is_flag=True, help="As if flash-linear-attention were not installed.")
def main(tokens: int, layers: int | None, count: int, no_kernels: bool) -> None:
    """Load, train a few steps, report."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    if no_kernels:
        sys.modules["fla"] = None  # type: ignore[assignment]  # importing it fails
    import torch
    from specialists.config import Training
    from specialists.training.base_model import gated_delta_rule
    from specialists.training.targets import wrap
    from transformers import Qwen3NextConfig

    gpu = torch.cuda.is_available()
    if not gpu:
        tokens = min(tokens, 256)
        print(
            "NO GPU HERE: a small model on the CPU shows that the script runs; its figures say nothing of the real one"
        )
    shape = {} if gpu else SMALL  # the class's defaults are Qwen3-Next-80B-A3B's shape, which Qwen3-Coder-Next has
    config = Qwen3NextConfig(**{**shape, **({"num_hidden_layers": layers} if layers else {})})
    started = time.perf_counter()
    model = load(config, "cuda" if gpu else "cpu", torch.bfloat16 if gpu else torch.float32)
    print(
        f"{torch.cuda.get_device_name() if gpu else 'CPU'}: {config.num_hidden_layers} layers loaded in "
        f"{time.perf_counter() - started:.0f} s, {_held() / 2**30:.1f} GiB held"
    )
    settings = Training(max_steps=count, optimizer="adamw_8bit" if gpu else "adamw_torch")
    wrapped, _modules = wrap(model, settings)
    print(f"{tokens} tokens, {wrapped.get_nb_trainable_parameters()[0]:,} parameters, {gated_delta_rule(model)}")
    for size in (1, 2):
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        each = dataclasses.replace(settings, batch_size=size, gradient_accumulation=ROWS // size)
        seconds = seconds_a_step(wrapped, tokens, count, each)
        peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(
            f"batch_size {size}, gradient_accumulation {ROWS // size}: {seconds:.2f} s a step, "
            f"{ROWS * tokens / seconds:.0f} tokens/s, peak {peak / 2**30:.1f} GiB; "
            f"400 such examples, 3 epochs: {1200 / ROWS * seconds / 3600:.2f} h"
        )


def _held() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
