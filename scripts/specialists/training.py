"""Training one adapter: rows in, a folder with adapter weights and what is known about the run out.

TRL's SFTTrainer does the steps; the loss mask is ours (specialists.chat) and handed over as labels, because TRL's own
needs generation markers that the base model's template does not have. A run killed at any moment goes on from its last
finished checkpoint and ends with the same bytes (same machine, one thread).
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from specialists.chat import Chat
from specialists.cli import say
from specialists.config import Base, Problem, Training
from specialists.records import Record, read_json, write_json

_COMPLETE = "complete"  # written into a checkpoint after everything else


def encode_rows(rows: list[Record], chat: Chat, max_length: int) -> list[dict[str, list[int]]]:
    """Token ids and labels per row. Raises Problem naming every row that is too long or has nothing supervised."""
    encoded, faults = [], []
    for row in rows:
        try:
            tokens = chat.encode(row)
        except Problem as problem:
            faults.append(str(problem))
            continue
        if len(tokens.input_ids) > max_length:
            faults.append(f"row {row['id']}: {len(tokens.input_ids)} tokens, over training.max_length {max_length}")
        elif not tokens.supervised:
            faults.append(f"row {row['id']}: nothing supervised")
        encoded.append({"input_ids": tokens.input_ids, "labels": tokens.labels})
    if faults:
        more = f"\n… and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise Problem("\n".join(faults[:10]) + more)
    return encoded


def train_adapter(rows: list[Record], base: Base, settings: Training, folder: Path) -> dict[str, Any]:
    """Train on the rows and leave adapter_model.safetensors and adapter_config.json in `folder`.

    Returns what the manifest says of the run: tokens, adapted modules and their ranks, parameters, [step, loss] pairs,
    seconds of the last process, peak memory in bytes, library versions. Raises Problem before the first step when a
    row or the adapter is not what it should be, and when the loss stops being finite.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, set_seed

    chat = Chat.load(base.model, base.revision)
    encoded = encode_rows(rows, chat, settings.max_length)
    from specialists.base_model import load_base
    from specialists.targets import trainable_parameters, wrap

    set_seed(settings.seed)
    model, modules = wrap(load_base(base, settings.quantization), settings)
    tokenizer = AutoTokenizer.from_pretrained(base.model, revision=base.revision, local_files_only=True)
    trainer = _trainer(model, tokenizer, Dataset.from_list(encoded), settings, folder)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    losses = [[entry["step"], entry["loss"]] for entry in trainer.state.log_history if "loss" in entry]
    if not all(math.isfinite(loss) for _step, loss in losses):
        raise Problem("the training loss is not finite; lower training.learning_rate or look at the rows")
    model.save_pretrained(folder)
    _settle(folder)
    return {
        "rows": len(rows),
        "tokens": sum(len(row["input_ids"]) for row in encoded),
        "supervised": sum(label != -100 for row in encoded for label in row["labels"]),
        "template": chat.fingerprint,
        "modules": modules,
        "parameters": trainable_parameters(model),
        "losses": losses,
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_bytes": _peak_memory(torch),
        "libraries": _libraries(),
    }


def _trainer(model: Any, tokenizer: Any, dataset: Any, settings: Training, folder: Path) -> Any:
    import torch
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Watch(TrainerCallback):
        """Marks whole checkpoints, stops at a loss that is not finite, says a line a minute without a terminal."""

        said = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_kwargs: Any) -> None:
            loss = (logs or {}).get("loss", 0.0)
            if not math.isfinite(float(loss)):
                raise Problem(f"step {state.global_step}: the loss is {loss}; the last whole checkpoint is kept")
            if args.disable_tqdm and time.monotonic() - self.said > 60:
                self.said = time.monotonic()
                say(f"step {state.global_step} of {state.max_steps}, loss {loss}")

    arguments = SFTConfig(
        output_dir=str(folder),
        max_length=None,  # nothing is truncated: rows over the limit were refused above
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        optim=settings.optimizer,
        bf16=torch.cuda.is_available() and model.dtype == torch.bfloat16,
        gradient_checkpointing=settings.gradient_checkpointing,
        router_aux_loss_coef=0.0 if hasattr(model.config.get_text_config(), "router_aux_loss_coef") else None,
        logging_steps=1,
        logging_nan_inf_filter=False,  # by default a loss that is not finite is logged as the one before
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, callbacks=[Watch()]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a killed run; half-written ones are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for checkpoint in checkpoints:
        if not (checkpoint / _COMPLETE).exists():
            shutil.rmtree(checkpoint)
    whole = [checkpoint for checkpoint in checkpoints if checkpoint.exists()]
    return str(whole[-1]) if whole else None


def _settle(folder: Path) -> None:
    """Leave the adapter alone in its folder, its configuration in one order: peft writes sets as it finds them."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card is an empty form; the manifest says what is known
    config = read_json(folder / "adapter_config.json")
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    write_json(folder / "adapter_config.json", dict(sorted(config.items())))


def _peak_memory(torch: Any) -> int:
    """Bytes: of the GPU when there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")}
