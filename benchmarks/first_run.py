"""How long does the first run take before any training, one step after the other and two at once?

    python benchmarks/first_run.py ~/src/click=python ~/src/httpx=python ~/src/fd=rust ~/src/zod=ts --base BASE

A made history of the owner's size (64 sessions, 13,598 messages, as benchmarks/extract.py makes it) and the given
repositories, whose busiest authors are the owner, go through `doit extract mine augment assemble` into a new folder.
The aim, with ten repositories of some 2,000 commits: under a minute on two cores, and no process over 500 MB.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from extract import Maker
from real_base import busiest_authors


def configure(folder: Path, repositories: dict[str, list[Path]], base: str) -> Path:
    """The owner's specialists.toml with another history, other repositories and another base."""
    authors = sorted({email for paths in repositories.values() for path in paths for email in busiest_authors(path)})
    head, *tables = re.split(r"(?m)^(?=\[languages\.\w+\]$)", (ROOT / "specialists.toml").read_text())
    head = head.replace("emails = []", f"emails = {json.dumps(authors)}")
    head = head.replace("databases = []", f'databases = ["{folder / "opencode.db"}"]')
    head = re.sub(r'(?m)^model = "Qwen/Qwen3-Coder-Next"$', f'model = "{base}"', head)
    for table in tables:
        paths = repositories[table.split("]")[0].rpartition(".")[2]]
        named = f"repositories = {json.dumps(list(map(str, paths)))}"
        head += re.sub(r"(?ms)^repositories = \[.*?\]$", lambda _match, named=named: named, table)
    config = folder / "specialists.toml"
    config.write_text(head)
    return config


@click.command()
@click.argument("given", nargs=-1, required=True, metavar="REPOSITORY=LANGUAGE...")
@click.option("--base", required=True, help="Whose tokens are counted: a model with a chat template that fits.")
@click.option("--folder", type=click.Path(path_type=Path), help="Default: in the temporary folder.")
def main(given: tuple[str, ...], base: str, folder: Path | None) -> None:
    """Seconds on the clock, and the memory of the largest process."""
    folder = folder or Path(tempfile.gettempdir()) / "benchmark-first-run"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "opencode.db").is_file():
        Maker(folder / "opencode.db", seed=1).fill(1, 0)
    repositories: dict[str, list[Path]] = defaultdict(list)
    for path, _, language in (one.rpartition("=") for one in given):
        repositories[language].append(Path(path).expanduser().absolute())
    environment = {**os.environ, "SPECIALISTS_CONFIG": str(configure(folder, repositories, base))}
    for options in ([], ["-n", "2"]):
        for made in (*folder.glob("data"), *folder.glob(".doit*")):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        command = [sys.executable, "-m", "doit", *options, "extract", "mine", "augment", "assemble"]
        started = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
        took, kilobytes = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"{' '.join(['doit', *options])}: {took:.0f} s, largest process so far {kilobytes / 1024:.0f} MB")


if __name__ == "__main__":
    main()
