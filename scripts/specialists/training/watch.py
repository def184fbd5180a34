"""What keeps an eye on a training run: whole checkpoints, a loss that is a number, SIGTERM, a line a minute."""

from __future__ import annotations

import math
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from specialists.cli import say
from specialists.config import Problem

COMPLETE = "complete"  # written into a checkpoint after everything else


class Watch(TrainerCallback):
    """Marks whole checkpoints, stops at a loss that is not finite, says a line a minute without a terminal.

    On SIGTERM the step under way is finished, a checkpoint written and the run ended; transformers' own
    `enable_jit_checkpoint` stops in the middle of a step instead, from where a run does not go on to the same bytes.
    """

    def __init__(self, quiet: bool):
        self.quiet, self.said, self.terminated = quiet, time.monotonic(), False
        self.started_at, self.handler = 0, signal.getsignal(signal.SIGTERM)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self.started_at = state.global_step
        signal.signal(signal.SIGTERM, self._terminate)

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self.restore()

    def restore(self) -> None:
        """Give SIGTERM back to whoever handled it before."""
        signal.signal(signal.SIGTERM, self.handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if self.terminated:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_kwargs: Any) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(float(loss)):
            raise Problem(
                f"step {state.global_step}: the loss is {loss}; lower training.learning_rate or look at the rows "
                f"({_newest(Path(args.output_dir))})"
            )
        if self.quiet and "loss" in (logs or {}) and time.monotonic() - self.said > 60:
            self.said = time.monotonic()
            say(f"step {state.global_step} of {state.max_steps}, loss {float(loss):.4f}")

    def _terminate(self, *_signal: Any) -> None:
        self.terminated = True


def checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoints, whole or not, oldest first."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def last_checkpoint(folder: Path, remove: bool = True) -> str | None:
    """The newest whole checkpoint of a killed run; half-written ones are removed."""
    for checkpoint in checkpoints(folder):
        if remove and not (checkpoint / COMPLETE).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)  # so does every process of a launcher
    whole = [checkpoint for checkpoint in checkpoints(folder) if (checkpoint / COMPLETE).exists()]
    return str(whole[-1]) if whole else None


def _newest(folder: Path) -> str:
    last = last_checkpoint(folder, remove=False)
    return f"the last good checkpoint is kept: {last}" if last else "no checkpoint was written yet"
