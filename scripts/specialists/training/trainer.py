"""Training one adapter: rows in, a folder with adapter weights and what is known about the run out.

TRL's SFTTrainer does the steps; the loss mask is ours (chat) and handed over as labels, because TRL's own
needs generation markers that the base model's template does not have. A run killed at any moment goes on from its last
finished checkpoint and ends with the same bytes (same machine, one thread).
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from specialists.chat import IGNORED, Chat
from specialists.config import Base, Problem, Training, fingerprint
from specialists.records import Record, canonical, cluster_of, read_json, write_json

_VALIDATION = 0.1  # share of the examples, the newest, that early stopping watches instead of training on them
_KEPT = ("adapter_model.safetensors", "adapter_config.json", "runs")  # runs: where TensorBoard's callback writes

Tokens = dict[str, list[int]]  # input_ids and labels of a row


class Bases:
    """Loads base models, one at a time, and keeps the last for whoever asks for the same again: for
    `train.py --language rust --language ts`; the nightly pipeline starts a process for each adapter."""

    def __init__(self) -> None:
        self.key: Any = None
        self.model: Any = None

    def load(self, base: Base, quantization: str) -> Any:
        """The base model without any adapter. Raises Problem as base_model.load_base does."""
        from specialists.training.base_model import load_base

        if self.key != (base, quantization):
            self.key = self.model = None  # two bases at a time would not fit
            self.model = load_base(base, quantization)
            self.key = (base, quantization)
        return self.model


def encode_rows(rows: list[Record], chat: Chat, max_length: int) -> list[Tokens]:
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


def train_adapter(
    rows: list[Record], base: Base, settings: Training, folder: Path, bases: Bases | None = None
) -> dict[str, Any]:
    """Train on the rows and leave adapter_model.safetensors and adapter_config.json in `folder`.

    `bases` holds the base model for the next adapter. Returns what the manifest says of the run: tokens, adapted
    modules and their ranks, parameters, [step, loss] pairs, seconds by part of the last process, predicted and measured
    peak memory in bytes, library versions. Raises Problem before the first step when a row or the adapter is not what
    it should be, when the loss stops being finite, and on SIGTERM after a checkpoint.
    """
    parts: dict[str, float] = {}
    bases = bases or Bases()
    with _timed(parts, "import"):
        import torch
        from datasets import Dataset
        from transformers import AutoTokenizer, set_seed

        from specialists.training.memory import predict
        from specialists.training.targets import trainable_parameters, wrap

    with _timed(parts, "encode"):
        chat = Chat.load(base.model, base.revision)
        encoded = encode_rows(rows, chat, settings.max_length)
        training, validation = _split(rows, encoded, settings)
    with _timed(parts, "predict"):
        needs = predict(base, settings, [len(row["input_ids"]) for row in training])
        if int(os.environ.get("RANK", 0)) == 0:  # one of a launcher's processes says it
            needs.announce(loaded=bases.key == (base, settings.quantization))
    with _timed(parts, "load"):
        model = bases.load(base, settings.quantization)
    with _timed(parts, "wrap"):
        set_seed(settings.seed)
        wrapped, modules = wrap(model, settings)
    try:
        with _timed(parts, "trainer"):
            tokenizer = AutoTokenizer.from_pretrained(base.model, revision=base.revision, local_files_only=True)
            heldout = Dataset.from_list(validation) if validation else None
            trainer, watch = _trainer(wrapped, tokenizer, Dataset.from_list(training), heldout, settings, folder)
        _fit(trainer, watch, folder, parts)
        parameters = trainable_parameters(wrapped)
    finally:
        wrapped.unload()  # the base as it was, for the next adapter
    return {
        "rows": len(rows),
        "tokens": sum(len(row["input_ids"]) for row in encoded),
        "supervised": sum(label != IGNORED for row in encoded for label in row["labels"]),
        "template": chat.fingerprint,
        "tools": fingerprint(sorted({canonical(row.get("tools")) for row in rows})),
        "base_commit": getattr(model.config, "_commit_hash", None),
        "modules": modules,
        "parameters": parameters,
        **_course(trainer, watch, training, parts),
        "predicted_memory_bytes": needs.memory,
        "peak_memory_bytes": _peak_memory(torch),
        "libraries": _libraries(),
    }


def _fit(trainer: Any, watch: Any, folder: Path, parts: dict[str, float]) -> None:
    """Train from the last checkpoint on, and leave the adapter in the folder."""
    from specialists.training.watch import last_checkpoint

    with _timed(parts, "train"):
        _run(trainer, watch, last_checkpoint(folder))
    with _timed(parts, "save"):
        trainer.save_model(str(folder))
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            _settle(folder)


def _course(trainer: Any, watch: Any, training: list[Tokens], parts: dict[str, float]) -> dict[str, Any]:
    """How the run went: losses, steps, seconds by part of this process, tokens per second from the mean row."""
    history, args = trainer.state.log_history, trainer.args
    rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = trainer.state.global_step - watch.started_at  # the others were an earlier process's
    tokens = steps * rows * sum(len(row["input_ids"]) for row in training) / len(training)
    return {
        "losses": [[entry["step"], entry["loss"]] for entry in history if "loss" in entry],
        "heldout_losses": [[entry["step"], entry["eval_loss"]] for entry in history if "eval_loss" in entry],
        "steps": trainer.state.global_step,
        "seconds": round(sum(parts.values()), 1),
        "seconds_by_part": {part: round(seconds, 2) for part, seconds in parts.items()},
        "tokens_per_second": round(tokens / parts["train"], 1),
    }


def _split(rows: list[Record], encoded: list[Tokens], settings: Training) -> tuple[list[Tokens], list[Tokens]]:
    """What is trained on, and what early stopping watches: the newest whole sessions and commits."""
    if not settings.early_stopping:
        return encoded, []
    newest: list[str] = []
    order = sorted(range(len(rows)), key=lambda index: (rows[index]["source"]["time"], rows[index]["id"]))
    clusters = [cluster_of(row) for row in rows]
    for index in reversed(order):
        if sum(cluster in newest for cluster in clusters) >= len(rows) * _VALIDATION:
            break
        newest.append(clusters[index])
    parts: tuple[list[Tokens], list[Tokens]] = [], []
    for cluster, row in zip(clusters, encoded, strict=True):
        parts[cluster in newest].append(row)
    if not parts[0]:
        raise Problem("training.early_stopping: all examples are of one session or commit, none is left to train on")
    return parts


def _run(trainer: Any, watch: Any, checkpoint: str | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        watch.restore()
    if watch.terminated and trainer.state.global_step < trainer.state.max_steps:
        raise Problem(f"stopped by SIGTERM at step {trainer.state.global_step}; the next run goes on from there")


def _trainer(
    model: Any, tokenizer: Any, dataset: Any, heldout: Any | None, settings: Training, folder: Path
) -> tuple[Any, Any]:
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback
    from trl import SFTTrainer

    from specialists.training.watch import Watch

    watch = Watch(quiet=not sys.stderr.isatty())
    callbacks = [watch, *([EarlyStoppingCallback(settings.early_stopping)] if heldout else [])]
    try:
        trainer = SFTTrainer(
            model=model,
            args=_arguments(model, settings, folder),
            train_dataset=dataset,
            eval_dataset=heldout,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
    except (ImportError, RuntimeError) as error:
        if not settings.report_to:
            raise
        raise Problem(f"training.report_to {', '.join(settings.report_to)}: {error}") from None
    trainer.remove_callback(PrinterCallback)
    for parameter in model.parameters():
        if parameter.requires_grad:  # TRL makes adapters on a 4-bit base bfloat16, in which small steps vanish
            parameter.data = parameter.data.to(torch.float32)
    return trainer, watch


def _arguments(model: Any, settings: Training, folder: Path) -> Any:
    import torch
    from trl import SFTConfig

    gpu = torch.cuda.is_available()
    watched = {
        "eval_strategy": "steps",
        "eval_steps": settings.checkpoint_steps,
        "per_device_eval_batch_size": settings.batch_size,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,  # how long it has not become better
    }
    return SFTConfig(
        output_dir=str(folder),
        max_length=None,  # nothing is truncated: rows over the limit were refused above
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        train_sampling_strategy="group_by_length" if settings.batch_size > 1 else "random",
        optim=settings.optimizer,
        bf16=gpu and model.dtype == torch.bfloat16,
        gradient_checkpointing=settings.gradient_checkpointing,
        router_aux_loss_coef=0.0 if hasattr(model.config.get_text_config(), "router_aux_loss_coef") else None,
        neftune_noise_alpha=settings.neftune_alpha or None,
        logging_steps=1,
        logging_nan_inf_filter=False,  # by default a loss that is not finite is logged as the one before
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=list(settings.report_to) or "none",
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        **(watched if settings.early_stopping else {}),
    )


def _settle(folder: Path) -> None:
    """Leave the adapter alone in its folder, its configuration in one order: peft writes sets as it finds them."""
    for path in folder.iterdir():  # checkpoints, tokenizer, peft's card (an empty form)
        if path.is_dir() and path.name not in _KEPT:
            shutil.rmtree(path)
        elif path.name not in _KEPT:
            path.unlink()
    config = read_json(folder / "adapter_config.json") or {}
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    write_json(folder / "adapter_config.json", dict(sorted(config.items())))


@contextmanager
def _timed(parts: dict[str, float], part: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    parts[part] = time.monotonic() - started


def _peak_memory(torch: Any) -> int:
    """Bytes: of the GPU when there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")}
