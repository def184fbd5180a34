"""Train an adapter on a language's examples, as a new version.

\b
    python scripts/train.py --language rust
    python scripts/train.py --language rust --train data/train/rust.jsonl --output adapters/build-rust

The version stands beside the old ones; it is not served before promote.py decides so. Does nothing when the newest
version was made from the same rows and configuration. A killed run is resumed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import click
from specialists.adapters import AdapterFolder, adapter_folder, too_few, training_inputs
from specialists.cli import command, finish, language_option, say
from specialists.config import Config, Language, Problem, fingerprint
from specialists.records import Record, cluster_of, read_json, read_records, sha256_file, write_if_changed, write_json
from specialists.serving.pause import gpu
from specialists.stopping import handled

_FULL = 1 << 20  # bytes free under which a disk counts as full
MODEL_CARD = Path(__file__).with_name("specialists") / "training" / "model_card.md.jinja"
RUN = "run.json"  # what a training says of itself, also from the processes of a launcher


@command
@language_option
@click.option("--train", "rows_file", type=click.Path(path_type=Path), help="Examples; default: data/train/L.jsonl.")
@click.option("--output", type=click.Path(path_type=Path), help="The adapter's folder; default: adapters/NAME.")
@click.option("--into", type=click.Path(path_type=Path), hidden=True, help="Set in the processes of a launcher.")
def main(
    config: Config, as_json: bool, language: str, rows_file: Path | None, output: Path | None, into: Path | None
) -> None:
    chosen, rows = config.language(language), rows_file or config.rows("train", language)
    if into:
        return train_here(config, chosen, list(read_records(rows)), into)
    version, trained = None, False
    if not rows_file and (reason := too_few(config, chosen)):
        say(f"{language}: {reason}")
    else:
        folder = AdapterFolder(output, config.owner.exclude) if output else adapter_folder(config, chosen)
        with gpu(config, chosen), folder.lock():  # two runs at once: the second waits, then finds the work done
            version, trained = train(config, chosen, rows, folder)
    finish({"adapter": chosen.adapter, "version": version and version.name, "trained": trained}, as_json)


def train(config: Config, language: Language, rows_file: Path, folder: AdapterFolder) -> tuple[Path | None, bool]:
    """The version of these rows and this configuration, None of no rows, and whether it was made just now."""
    from jinja2 import Template

    inputs = training_inputs(config, language, sha256_file(rows_file))
    if version := folder.made_from(inputs):
        folder.point("latest", version)  # a run killed after publishing, or rows as they once were
        say(f"{language.adapter}: {version.name} is up to date")
        return version, False
    if not (rows := list(read_records(rows_file))):
        say(f"{language.adapter}: no examples, nothing to train")
        return None, False
    if sha256_file(rows_file) != inputs["rows"]:
        raise Problem(f"{rows_file}: changed while it was read; run again")
    building = folder.building(fingerprint(inputs))
    if language.training.launcher:
        launch(config, language, rows_file, building)
    else:
        train_here(config, language, rows, building)
    run = read_json(building / RUN) or {}
    (building / RUN).unlink()
    manifest = {
        "adapter": language.adapter,
        "language": language.name,
        "key": fingerprint(inputs),
        "inputs": inputs,
        "base": {"model": config.base.model, "revision": config.base.revision, "template": run.pop("template")},
        "training": vars(language.training),
        "code": code_commit(),
        "clusters": sorted({cluster_of(row) for row in rows}),  # what excluded work is looked up by
        **run,
    }
    card = Template(MODEL_CARD.read_text(encoding="utf-8"), trim_blocks=True, keep_trailing_newline=True)
    write_if_changed(building / "README.md", card.render(manifest, title=language.title))
    version = folder.publish(building, manifest)
    losses = [loss for _step, loss in manifest["losses"]]
    first, last = fmean(losses[:3]), fmean(losses[-3:])  # one step alone says more about its rows than about training
    what = f"{manifest['rows']} rows, {manifest['parameters']:,} parameters in {len(manifest['modules'])} modules"
    say(f"{language.adapter}: {version.name}: {what}, loss {first:.3f} -> {last:.3f}, {manifest['seconds']:.0f} s")
    return version, True


def train_here(config: Config, language: Language, rows: list[Record], building: Path) -> None:
    """Train in this process. Whatever fails on a full disk becomes a Problem: each library reports it differently."""
    use_one_gpu()
    from specialists.training.trainer import train_adapter

    try:
        run = train_adapter(rows, config.base, language.training, building)
        if int(os.environ.get("RANK", 0)) == 0:  # one of a launcher's processes
            write_json(building / RUN, run)
    except Exception as error:
        if shutil.disk_usage(building).free > _FULL:
            raise
        raise Problem(f"{building}: the disk is full ({error}); make room and run again, it is resumed") from None


def use_one_gpu() -> None:
    """Show this process one GPU, as TRL refuses more, but for a launcher's; to be called before an import asks CUDA."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


def launch(config: Config, language: Language, rows_file: Path, building: Path) -> None:
    """Train in processes that the configured launcher starts, of this script. Raises Problem when they fail."""
    program, *arguments = language.training.launcher
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if not (found := shutil.which(program, path=beside)):
        raise Problem(f"training.launcher: {program}: no such program")
    script = [str(Path(__file__).resolve()), "--config", str(config.path), "--language", language.name]
    script += ["--train", str(rows_file), "--into", str(building)]
    process = subprocess.Popen([found, *arguments, *script], stdout=subprocess.DEVNULL)
    with handled(lambda *_signal: process.terminate()):  # they write a checkpoint first
        code = process.wait()
    if code:
        raise Problem(f"training.launcher: {program} ended with exit code {code}; the reason stands above")


def code_commit() -> str | None:
    """The commit of this code, with a mark when it was changed; None outside git."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    main()
