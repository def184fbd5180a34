"""Watches over a training run: complete checkpoints, a finite loss, signals to end, how far it is and the time left."""

import math
import shutil
import time
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from tqdm import tqdm
from transformers import TrainerCallback

from specialists.adapters import is_whole
from specialists.cli import duration, say
from specialists.config import Problem

COMPLETE = "complete"  # written into a checkpoint after everything else


class Monitor(TrainerCallback):
    """Marks complete checkpoints, stops at a loss that is not finite, shows how far the run is.

    That is a bar on a terminal and a line a minute otherwise; the time left goes by the steps after the first, in which
    kernels are compiled. On a signal the row under way is finished, a checkpoint of the last whole step written and the
    run ended (transformers' own `enable_jit_checkpoint` writes one in the middle of a step)."""

    def __init__(self, terminal: bool):
        self.terminal, self.reported, self.stopping = terminal, time.monotonic(), False
        self.first: tuple[int, float] | None = None  # the first step of this process, and when it was done
        self.bar = tqdm(disable=True)

    def stop(self, *_signal: Any) -> None:
        """The handler of a signal to end, while the run lasts."""
        if not self.stopping:
            say("stopping: the row under way is finished, and a checkpoint written")
        self.stopping = True

    def on_substep_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if self.stopping:
            control.should_save, control.should_training_stop = state.global_step > 0, True

    on_step_end = on_substep_end

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            last = last_checkpoint(Path(args.output_dir))
            kept = f"the last good checkpoint is kept: {last}" if last else "no checkpoint was written yet"
            what = f"step {state.global_step}: the loss is {loss}"
            raise Problem(f"{what}; lower training.learning_rate or look at the rows ({kept})")
        if not state.is_world_process_zero:
            return
        step, last, now = state.global_step, state.max_steps, time.monotonic()
        if self.first is None:
            self.first = step, now
            self.bar = tqdm(total=last, initial=step, desc="training", leave=False, disable=not self.terminal)
        self.bar.n = step  # and not update(), whose time left is that of the last steps
        self.bar.set_postfix(loss=f"{loss:.4f}")
        if not self.terminal and step > self.first[0] and now - self.reported > 60:  # seconds
            self.reported = now
            left = duration((now - self.first[1]) / (step - self.first[0]) * (last - step))
            say(f"step {step} of {last}, loss {loss:.4f}, {left} left")


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint, or None; those of a killed run or with a damaged file are removed."""
    for checkpoint in folder.glob("checkpoint-*"):
        whole = all(map(is_zipfile, checkpoint.glob("*.pt"))) and all(map(is_whole, checkpoint.glob("*.safetensors")))
        if not whole or not (checkpoint / COMPLETE).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)  # so does every process of a launcher
    complete = [str(mark.parent) for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.rpartition("-")[2]), default=None)
