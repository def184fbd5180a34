"""Training one adapter: rows in, a folder with adapter weights and what is known about the run out.

The loss mask is ours (chat.py), because TRL's own needs generation markers that the base's template does not have. A
run killed at any moment resumes from its last complete checkpoint and ends with the same bytes (on one thread).
"""

import os
import resource
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PrinterCallback, set_seed
from transformers.training_args import OptimizerNames
from trl import SFTConfig, SFTTrainer

from specialists.chat import IGNORED, Chat
from specialists.cli import say
from specialists.config import Base, Problem, Training, fingerprint
from specialists.records import Record, canonical, read_json, write_json
from specialists.stopping import handled
from specialists.training.base_model import gated_delta_rule, load_base
from specialists.training.memory import check_memory
from specialists.training.monitor import Monitor, last_checkpoint
from specialists.training.targets import PREFIX, load_adapter, wrap
from specialists.weights import saved_names

SEED = 17  # of the adapter's first weights, of dropout, of the order of the rows
SCHEDULE, WARMUP = "cosine", 0.05  # of the learning rate: up over that share of the steps, then down to 0
CHECKPOINT_STEPS = 25  # optimizer steps between two checkpoints: what a killed run loses at most
# TRL's import sets it; a server that is started after training would log nothing
if os.environ.get("VLLM_LOGGING_LEVEL") == "ERROR":
    del os.environ["VLLM_LOGGING_LEVEL"]
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def train_adapter(rows: list[Record], base: Base, settings: Training, folder: Path) -> dict[str, Any]:
    """Train on the rows and leave adapter_model.safetensors and adapter_config.json in `folder`.

    Returns what the manifest says of the run. Raises Problem before the first step when a row or the adapter is not
    what it should be, when the loss stops being finite, and after a checkpoint when the process is to end."""
    started = time.monotonic()
    chat = Chat.load(base.model, base.revision)
    parts = [part for row in rows for part in chat.parts(row)]
    if len(parts) > len(rows):
        say(f"{len(rows)} rows become {len(parts)}: the chat template changes a turn once a question follows it")
    encoded = encode_rows(parts, chat, settings.max_length)
    expected = check_memory(base, settings, max(len(row["input_ids"]) for row in encoded))
    model = load_base(base, settings.quantization)
    set_seed(SEED)
    wrapped, modules = wrap(model, settings)
    names = saved_names(modules, base)
    monitor = Monitor(terminal=sys.stderr.isatty())
    trainer = make_trainer(wrapped, base, encoded, training_arguments(model, settings, folder, CHECKPOINT_STEPS))
    trainer.add_callback(monitor)
    run_from_last_checkpoint(trainer, monitor, folder)
    save_adapter(trainer, folder, names)
    gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "rows": len(rows),
        "tokens": sum(len(row["input_ids"]) for row in encoded),
        "supervised": sum(label != IGNORED for row in encoded for label in row["labels"]),
        "template": chat.fingerprint,
        "tools": fingerprint(sorted({canonical(row.get("tools")) for row in rows})),
        "base_commit": getattr(model.config, "_commit_hash", None),
        "modules": {names[module]: rank for module, rank in modules.items()},
        "parameters": wrapped.get_nb_trainable_parameters()[0],
        "losses": [[entry["step"], entry["loss"]] for entry in trainer.state.log_history if "loss" in entry],
        "steps": trainer.state.global_step,
        "schedule": {"kind": SCHEDULE, "warmup_steps": trainer.args.get_warmup_steps(trainer.state.max_steps)},
        "gated_delta_rule": gated_delta_rule(model),
        "seconds": round(time.monotonic() - started, 1),
        "predicted_memory_bytes": expected,
        "peak_memory_bytes": peak,
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def encode_rows(rows: list[Record], chat: Chat, max_length: int) -> list[dict[str, list[int]]]:
    """input_ids and labels of each row. Raises Problem naming every row that is too long or has nothing supervised."""
    encoded, faults = [], []
    for row in rows:
        try:
            tokens = chat.encode(row)
        except Problem as problem:
            faults.append(str(problem))
            continue
        encoded.append(vars(tokens))
        said = [message for message in row["messages"] if message["role"] != "system"]
        if len(tokens.input_ids) > max_length and (length := chat.count(said)) > max_length:
            faults.append(f"row {row['id']}: {length} tokens after its head, over training.max_length {max_length}")
    if faults:
        raise Problem("\n".join(faults[:10] + [f"… and {len(faults) - 10} more"] * (len(faults) > 10)))
    return encoded


def training_arguments(model: Any, settings: Training, folder: Path, checkpoint_steps: int) -> Any:
    """TRL's arguments for these settings. Raises Problem for an optimizer that transformers does not know."""
    if settings.optimizer not in {*OptimizerNames}:
        raise Problem(f"training.optimizer {settings.optimizer!r}: known are {', '.join(OptimizerNames)}")
    gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder),
        max_length=None,  # nothing is truncated: rows over the limit were refused
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULE,
        warmup_steps=WARMUP,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        train_sampling_strategy="group_by_length" if settings.batch_size > 1 else "random",
        optim=settings.optimizer,
        bf16=gpu and model.dtype == torch.bfloat16,
        gradient_checkpointing=settings.gradient_checkpointing,
        router_aux_loss_coef=0.0 if hasattr(model.config.get_text_config(), "router_aux_loss_coef") else None,
        logging_steps=1,
        logging_nan_inf_filter=False,  # by default a loss that is not finite is logged as the one before
        save_steps=checkpoint_steps,
        save_total_limit=2,
        seed=SEED,
        report_to="none",
        disable_tqdm=True,  # its bar prints dictionaries; Monitor has one
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
    )


def make_trainer(wrapped: Any, base: Base, encoded: list[dict[str, list[int]]], arguments: Any) -> Any:
    """TRL's trainer on the encoded rows."""
    trainer = SFTTrainer(
        model=wrapped,
        args=arguments,
        train_dataset=Dataset.from_list(encoded),
        processing_class=AutoTokenizer.from_pretrained(base.model, revision=base.revision, local_files_only=True),
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:  # TRL makes adapters on a 4-bit base bfloat16, in which small steps vanish
            parameter.data = parameter.data.to(torch.float32)
    return trainer


def run_from_last_checkpoint(trainer: Any, monitor: Any, folder: Path) -> None:
    """Train to the end, from the last complete checkpoint in the folder. Raises Problem when it is to end before."""
    if checkpoint := last_checkpoint(folder):
        say(f"going on from step {checkpoint.rpartition('-')[2]}")
        load_adapter(trainer.model, checkpoint, trainable=True)  # the trainer itself overlooks missing weights
    with handled(monitor.stop), monitor.bar:
        trainer.train(resume_from_checkpoint=checkpoint)
    if monitor.stopping and trainer.state.global_step < trainer.state.max_steps:
        raise Problem(f"stopped at step {trainer.state.global_step}; the next run goes on from there")


def save_adapter(trainer: Any, folder: Path, names: dict[str, str]) -> None:
    """Leave the adapter alone in the folder, modules renamed and configuration sorted (peft writes sets)."""
    trainer.save_model(str(folder))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return
    for path in folder.iterdir():
        if path.is_dir():  # a checkpoint
            shutil.rmtree(path)
        elif path.name not in ("adapter_model.safetensors", "adapter_config.json"):
            path.unlink()  # tokenizer, peft's card (an empty form)
    config = read_json(folder / "adapter_config.json") or {}
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    write_json(folder / "adapter_config.json", dict(sorted(config.items())))
    if any(name != new for name, new in names.items()):
        weights, ends = load_file(path := folder / "adapter_model.safetensors"), (".lora_A.weight", ".lora_B.weight")
        renamed = {PREFIX + new + end: weights[PREFIX + name + end] for name, new in names.items() for end in ends}
        save_file(renamed, path, {"format": "pt"})
