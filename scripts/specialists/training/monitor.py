"""Watches over a training run: complete checkpoints, a finite loss, SIGTERM, a line a minute."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from specialists.cli import say
from specialists.config import Problem

COMPLETE = "complete"  # written into a checkpoint after everything else


class Monitor(TrainerCallback):
    """Marks complete checkpoints, stops at a loss that is not finite, reports progress without a terminal.

    On SIGTERM the step under way is finished, a checkpoint written and the run ended; transformers' own
    `enable_jit_checkpoint` stops in the middle of a step, from where a run does not resume to the same bytes.
    """

    def __init__(self, quiet: bool):
        self.quiet, self.reported, self.terminating = quiet, time.monotonic(), False

    def terminate(self, *_signal: Any) -> None:
        """The handler of SIGTERM while the run lasts."""
        self.terminating = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if self.terminating:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_kwargs: Any) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            last = last_checkpoint(Path(args.output_dir))
            kept = f"the last good checkpoint is kept: {last}" if last else "no checkpoint was written yet"
            what = f"step {state.global_step}: the loss is {loss}"
            raise Problem(f"{what}; lower training.learning_rate or look at the rows ({kept})")
        if self.quiet and "loss" in (logs or {}) and time.monotonic() - self.reported > 60:  # seconds
            self.reported = time.monotonic()
            say(f"step {state.global_step} of {state.max_steps}, loss {loss:.4f}")


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint, or None; incomplete ones, of a killed run, are removed."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / COMPLETE).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)  # so does every process of a launcher
    complete = [str(mark.parent) for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.rpartition("-")[2]), default=None)
