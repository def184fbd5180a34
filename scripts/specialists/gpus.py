"""The GPUs of this machine as nvidia-smi shows them: no library is loaded for it, and nothing of their memory taken."""

import os
import subprocess
from collections.abc import Mapping


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[tuple[str, int, int]]:
    """Name, free and all bytes of those that a process of this environment may use; none where that is not known."""
    query = ["nvidia-smi", "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    if (visible := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        query += ["--id", visible]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
        gpus = [line.rsplit(", ", 2) for line in lines if visible != ""]
        return [(name, int(free) << 20, int(total) << 20) for name, free, total in gpus]
    except (OSError, subprocess.SubprocessError, ValueError):  # "[N/A]" where it is the computer's own memory
        return []
