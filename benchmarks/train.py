"""What train.py costs over TRL's own `trl sft`: the same rows, model and settings, alternating in one run.

    python benchmarks/train.py --rounds 3

A small random Qwen3 and made-up rows, tokenized and masked once, so that both take the same tensors through the same
number of steps. Reports the processor time per step of both (the aim: at most 5 % more), from the end of one step to
the end of the next, which a machine with other work disturbs less than the time on the clock; then the time from start
to the end of the first step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts"), str(ROOT / "tests")]  # and not this folder, whose names shadow others

STEPS, ROWS, ACCUMULATION = 12, 24, 2
SIZES: dict = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "head_dim": 32,
}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIG = f"""
[base]
model = "./base"
dtype = "float32"
[languages.rust]
adapter = "build-rust"
extensions = [".rs"]
[training]
max_steps = {STEPS}
max_length = 2048
optimizer = "adamw_torch"
quantization = "none"
gradient_accumulation = {ACCUMULATION}
"""
CLOCK = """
import importlib.abc, importlib.util, json, os, sys, time

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "transformers.trainer_callback":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), clock(module.CallbackHandler))[0]
        return spec

def clock(handler):
    steps = []
    end, finish = handler.on_step_end, handler.on_train_end
    def on_step_end(self, *arguments):
        done = end(self, *arguments)
        steps.append((time.process_time(), time.time()))
        return done
    def on_train_end(self, *arguments):
        open(os.environ["CLOCK_FILE"], "w").write(json.dumps(steps))
        return finish(self, *arguments)
    handler.on_step_end, handler.on_train_end = on_step_end, on_train_end

sys.meta_path.insert(0, Hook())
"""  # sitecustomize.py of both commands: writes processor and wall time at the end of each step


@dataclass(frozen=True)
class Run:
    """One command: processor seconds of each step after the first, wall seconds until the end of the first."""

    steps: list[float]
    start: float


def prepare(folder: Path) -> None:
    """Base, rows, and the rows as TRL takes them without preparing anything."""
    import tiny_models
    from specialists.chat import Chat
    from specialists.records import make_record, write_records
    from specialists.training.trainer import encode_rows

    tiny_models.save_base(folder / "base", "qwen3", **SIZES)
    rows = []
    for row in tiny_models.rows(ROWS, "rust"):
        row["messages"][1]["content"] += "\n" + "fn f(x: u32) -> u32 { x + 1 }\n" * 12
        rows.append(make_record("rust", row["messages"], [], row["source"]))
    write_records(folder / "data" / "train" / "rust.jsonl", rows)
    (folder / "specialists.toml").write_text(CONFIG)
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(CLOCK)
    encoded = encode_rows(rows, Chat.load(str(folder / "base")), 2048)
    (folder / "tokenized").mkdir()
    (folder / "tokenized" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in encoded))
    print(f"{ROWS} rows of {len(encoded[0]['input_ids'])} tokens, {STEPS} steps of {ACCUMULATION}")


def ours(folder: Path) -> Run:
    """train.py."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / "train.py"),
        "--config",
        str(folder / "specialists.toml"),
        "--language",
        "rust",
        "--output",
        tempfile.mkdtemp(dir=folder),
    ]
    return run(command, folder)


def theirs(folder: Path) -> Run:
    """`trl sft`."""
    output = Path(tempfile.mkdtemp(dir=folder))
    options = {
        "model_name_or_path": folder / "base",
        "dataset_name": folder / "tokenized",
        "output_dir": output,
        "dtype": "float32",
        "max_steps": STEPS,
        "per_device_train_batch_size": 1,
        "learning_rate": 1e-4,
        "gradient_accumulation_steps": ACCUMULATION,
        "optim": "adamw_torch",
        "logging_steps": 1,
        "report_to": "none",
        "lora_r": 16,
        "lora_alpha": 16,
        "lora_dropout": 0,
        "bf16": "false",
        "use_cpu": "true",
        "gradient_checkpointing": "true",
        "save_steps": 1000,
        "seed": 17,
        "max_length": 2048,
        "eval_strategy": "no",
    }
    command = [str(Path(sys.executable).parent / "trl"), "sft", "--use_peft", "--lora_target_modules", *MODULES]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return run(command, folder)


def run(command: list[str], folder: Path) -> Run:
    """Run a command; its failure ends the benchmark."""
    clock = folder / "steps.json"
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "hf"),
        "PYTHONPATH": str(folder / "clock"),
        "CLOCK_FILE": str(clock),
    }
    started = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    ends = json.loads(clock.read_text())
    clock.unlink()
    return Run([after - before for (before, _), (after, _) in pairwise(ends)], ends[0][1] - started)


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Alternate both, first one and then the other going before, so that a busy machine disturbs both alike."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        mine, other = [], []
        for number in range(rounds):
            for turn in ("mine", "other") if number % 2 == 0 else ("other", "mine"):
                if turn == "mine":
                    mine.append(ours(folder))
                else:
                    other.append(theirs(folder))
    step, step_trl = ([seconds for run in runs for seconds in run.steps] for runs in (mine, other))
    ratio = statistics.median(step) / statistics.median(step_trl)
    print(f"processor time per step: train.py {spread(step)}, trl sft {spread(step_trl)}, ratio {ratio:.3f}")
    start, start_trl = (statistics.median(run.start for run in runs) for runs in (mine, other))
    print(f"start to the end of the first step: train.py {start:.1f} s, trl sft {start_trl:.1f} s")


def spread(seconds: list[float]) -> str:
    """Median and the middle half."""
    low, median, high = (1000 * value for value in statistics.quantiles(seconds, n=4))
    return f"{median:.0f} ms ({low:.0f}-{high:.0f})"


if __name__ == "__main__":
    main()
