"""What train.py costs over TRL's own `trl sft`: the same rows, model and settings, alternating in one run.

    python benchmarks/train.py --rounds 3

A small random Qwen3 and made-up rows, tokenized and masked once, so that both take the same tensors through the same
number of steps. Reports the time per step of both (the aim: at most 5 % more), and what the start-up of train.py is
made of.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts"), str(ROOT / "tests")]  # and not this folder, whose names shadow others

STEPS, ROWS, ACCUMULATION = 12, 24, 2
SIZES = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8, "head_dim": 32}
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
checkpoint_steps = 1000
"""


def prepare(folder: Path) -> None:
    """Base, rows, and the rows as TRL takes them without preparing anything."""
    import tiny_models
    from specialists.chat import Chat
    from specialists.records import make_record, write_records
    from specialists.training import encode_rows

    tiny_models.save_base(folder / "base", "qwen3", **SIZES)
    rows = []
    for row in tiny_models.rows(ROWS, "rust"):
        row["messages"][1]["content"] += "\n" + "fn f(x: u32) -> u32 { x + 1 }\n" * 12
        rows.append(make_record("rust", row["messages"], [], row["source"]))
    write_records(folder / "data" / "train" / "rust.jsonl", rows)
    (folder / "specialists.toml").write_text(CONFIG)
    encoded = encode_rows(rows, Chat.load(str(folder / "base")), 2048)
    (folder / "tokenized").mkdir()
    (folder / "tokenized" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in encoded))
    print(f"{ROWS} rows of {len(encoded[0]['input_ids'])} tokens, {STEPS} steps of {ACCUMULATION}")


def ours(folder: Path) -> tuple[float, float, dict[str, float]]:
    """Seconds in all, seconds per step, seconds by part."""
    output = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--config", str(folder / "specialists.toml"),
               "--language", "rust", "--output", str(output)]  # fmt: skip
    seconds, _text = run(command, folder)
    parts = json.loads((output / "latest" / "manifest.json").read_text())["seconds_by_part"]
    return seconds, parts["train"] / STEPS, parts


def theirs(folder: Path) -> tuple[float, float]:
    """Seconds in all, seconds per step of `trl sft`."""
    output = Path(tempfile.mkdtemp(dir=folder))
    options = {
        "model_name_or_path": folder / "base", "dataset_name": folder / "tokenized", "output_dir": output,
        "dtype": "float32", "max_steps": STEPS, "per_device_train_batch_size": 1, "learning_rate": 1e-4,
        "gradient_accumulation_steps": ACCUMULATION, "optim": "adamw_torch", "logging_steps": 1, "report_to": "none",
        "lora_r": 16, "lora_alpha": 16, "lora_dropout": 0, "bf16": "false", "use_cpu": "true",
        "gradient_checkpointing": "true", "save_steps": 1000, "seed": 17, "max_length": 2048,
        "eval_strategy": "no",
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "trl"), "sft", "--use_peft", "--lora_target_modules", *MODULES]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    seconds, text = run(command, folder)
    return seconds, float(re.search(r"'train_runtime': '?([\d.]+)", text)[1]) / STEPS


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall time and output of a command; its failure ends the benchmark."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "hf")}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started, done.stdout + done.stderr


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Alternate both, so that a busy machine disturbs both alike; report medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        mine, other = [], []
        for _ in range(rounds):
            mine.append(ours(folder))
            other.append(theirs(folder))
    step, step_trl = (statistics.median(run[1] for run in runs) for runs in (mine, other))
    total, total_trl = (statistics.median(run[0] for run in runs) for runs in (mine, other))
    print(f"per step: train.py {step * 1000:.0f} ms, trl sft {step_trl * 1000:.0f} ms, ratio {step / step_trl:.3f}")
    print(f"whole command: train.py {total:.1f} s, trl sft {total_trl:.1f} s")
    parts = {part: statistics.median(run[2][part] for run in mine) for part in mine[0][2]}
    print("train.py by part: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items()))


if __name__ == "__main__":
    main()
