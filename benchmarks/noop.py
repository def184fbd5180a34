"""How long a `doit` with nothing to do takes, against `doit --version`, in one run on a built pipeline.

    SPECIALISTS_CONFIG=demo/specialists.toml python benchmarks/noop.py

The aim: at most twice the time of `doit --version` with five languages.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOIT = [sys.executable, "-m", "doit"]


def seconds(*arguments: str) -> float:
    """Wall time of one command; what it prints is an error, because idle runs are silent."""
    started = time.perf_counter()
    done = subprocess.run([*DOIT, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode or ("--version" not in arguments and done.stdout + done.stderr):
        sys.exit(f"`doit {' '.join(arguments)}` is not idle:\n{done.stdout}{done.stderr}")
    return took


def main(rounds: int = 15) -> None:
    """Alternate both commands, so that a busy machine disturbs both alike; report medians."""
    pairs = [(seconds("--version"), seconds()) for _ in range(rounds)]
    version, idle = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"doit --version {version * 1000:.0f} ms, idle doit {idle * 1000:.0f} ms, ratio {idle / version:.2f}")


if __name__ == "__main__":
    main()
