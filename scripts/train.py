"""Train adapters on their languages' examples.

    python scripts/train.py --language rust
    python scripts/train.py --language rust --language ts        # loads the base once
    python scripts/train.py --language rust --train data/train/rust.jsonl --output adapters/build-rust

Makes a new version beside the old ones and points `latest` to it; nothing is served before promote.py says so. Does
nothing when the newest version was made from the same rows and configuration. Killed, it goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click
from specialists.adapters import AdapterFolder, adapter_folder, too_few, training_fingerprint
from specialists.cli import command, finish, say
from specialists.config import Config, Language, Problem, fingerprint
from specialists.records import Record, cluster_of, read_json, read_records, sha256_file, write_if_changed, write_json
from specialists.serving.sharing import gpu
from specialists.training.model_card import model_card

if TYPE_CHECKING:
    from specialists.training.trainer import Bases

_FULL = 1 << 20  # bytes free under which a disk counts as full
RUN = "run.json"  # what the processes of a launcher hand back


@command
@click.option(
    "--language",
    "languages",
    required=True,
    multiple=True,
    metavar="L",
    help="Language, as in [languages.L]; may be given again.",
)
@click.option("--train", "rows_file", type=click.Path(path_type=Path), help="Examples; default: data/train/L.jsonl.")
@click.option("--output", type=click.Path(path_type=Path), help="The adapter's folder; default: adapters/NAME.")
@click.option("--into", type=click.Path(path_type=Path), hidden=True)
def main(
    config: Config,
    as_json: bool,
    languages: tuple[str, ...],
    rows_file: Path | None,
    output: Path | None,
    into: Path | None,
) -> None:
    """Train adapters on their languages' examples, each as a new version."""
    if len(languages) > 1 and (rows_file or output):
        raise click.UsageError("--train and --output are for a single --language")
    chosen = [config.language(name) for name in languages]
    if into and rows_file:
        train_as_one_of_many(config, chosen[0], rows_file, into)
        return
    from specialists.training.trainer import Bases

    bases, summaries, problems = Bases(), [], []
    with gpu(config):
        for language in chosen:
            folder = AdapterFolder(output) if output else adapter_folder(config, language)
            file = rows_file or config.rows("train", language.name)
            if not rows_file and (reason := too_few(config, language)):
                say(f"{language.name}: {reason}")
                summaries.append({"adapter": language.adapter, "version": None, "trained": False})
                continue
            try:
                with folder.lock():  # two nightly runs at once: the second waits, then finds the work done
                    summaries.append(train(config, language, file, folder, bases))
            except Problem as problem:
                if len(chosen) == 1:
                    raise
                problems.append(f"{language.adapter}: {problem}")
        del bases
    finish(summaries[0] if len(chosen) == 1 else {"adapters": summaries}, as_json, problems)


def train(config: Config, language: Language, rows_file: Path, folder: AdapterFolder, bases: Bases) -> dict:
    """Make a version unless the newest one already is of these rows and this configuration."""
    inputs = {"rows": sha256_file(rows_file), "config": training_fingerprint(config, language)}
    if version := folder.made_from(inputs):
        folder.point("latest", version)  # a run killed after publishing, or rows as they once were
        say(f"{language.adapter}: {version.name} is up to date")
        return {"adapter": language.adapter, "version": version.name, "trained": False}
    rows = list(read_records(rows_file))
    if not rows:
        say(f"{language.adapter}: no examples, nothing to train")
        return {"adapter": language.adapter, "version": None, "trained": False}
    if sha256_file(rows_file) != inputs["rows"]:
        raise Problem(f"{rows_file}: changed while it was read; run again")

    key = fingerprint(inputs)
    building = folder.building(key)
    if language.training.launcher:
        run = launch(config, language, rows_file, building)
    else:
        from specialists.training.trainer import train_adapter

        with disk_full_named(building):
            run = train_adapter(rows, config.base, language.training, building, bases)
    manifest = {
        "adapter": language.adapter,
        "language": language.name,
        "key": key,
        "inputs": inputs,
        "base": {"model": config.base.model, "revision": config.base.revision, "template": run.pop("template")},
        "training": vars(language.training),
        "code": _commit(),
        "clusters": clusters(rows),
        **run,
    }
    write_if_changed(building / "README.md", model_card(manifest, language.title))
    version = folder.publish(building, manifest)
    losses = [loss for _step, loss in manifest["losses"]]
    first, last = fmean(losses[:3]), fmean(losses[-3:])  # one step alone says more about its rows than about training
    say(
        f"{language.adapter}: {version.name}: {manifest['rows']} rows, {manifest['parameters']:,} parameters in "
        f"{len(manifest['modules'])} modules, loss {first:.3f} -> {last:.3f}, {manifest['seconds']:.0f} s"
    )
    return {"adapter": language.adapter, "version": version.name, "trained": True}


def clusters(rows: list[Record]) -> dict[str, list[str]]:
    """Ids of the rows by session or commit: what an excluded session or commit is looked up by."""
    ids: dict[str, list[str]] = {}
    for row in rows:
        ids.setdefault(cluster_of(row), []).append(row["id"])
    return {cluster: sorted(ids[cluster]) for cluster in sorted(ids)}


@contextlib.contextmanager
def disk_full_named(folder: Path) -> Iterator[None]:
    """Turn whatever fails on a full disk into a Problem: each library that writes says it in its own way."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(folder).free > _FULL:
            raise
        raise Problem(f"{folder}: the disk is full ({error}); make room and run again, it goes on from here") from None


def launch(config: Config, language: Language, rows_file: Path, building: Path) -> dict[str, Any]:
    """Train in the processes that the configured launcher starts. Raises Problem when they fail."""
    program, *arguments = language.training.launcher
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(program, path=beside)
    if not found:
        raise Problem(f"training.launcher: {program}: no such program")
    mine = [
        str(Path(__file__).resolve()),
        "--config",
        str(config.path),
        "--language",
        language.name,
        "--train",
        str(rows_file),
        "--into",
        str(building),
    ]
    process = subprocess.Popen([found, *arguments, *mine], stdout=subprocess.DEVNULL)
    before = signal.signal(signal.SIGTERM, lambda *_signal: process.terminate())  # they write a checkpoint first
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if code:
        raise Problem(f"training.launcher: {program} ended with exit code {code}; it said why above")
    run = read_json(building / RUN) or {}
    (building / RUN).unlink()
    return run


def train_as_one_of_many(config: Config, language: Language, rows_file: Path, building: Path) -> None:
    """One process of a launcher: train together with the others; the first writes down what is known of the run."""
    from specialists.training.trainer import train_adapter

    rows = list(read_records(rows_file))
    settings = dataclasses.replace(language.training, launcher=())
    run = train_adapter(rows, config.base, settings, building)
    if int(os.environ.get("RANK", 0)) == 0:
        write_json(building / RUN, run)


def _commit() -> str | None:
    """The commit of this code, with a mark when it was changed; None outside git."""
    here = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        done = subprocess.run(
            [*here, "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
