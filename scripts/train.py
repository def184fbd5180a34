"""Train a language's adapter on its examples.

    python scripts/train.py --language rust
    python scripts/train.py --language rust --train data/train/rust.jsonl --output adapters/build-rust

Makes a new version beside the old ones and points `latest` to it; nothing is served before promote.py says so. Does
nothing when the newest version was made from the same rows and configuration. Killed, it goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
from specialists.adapters import AdapterFolder, adapter_folder, manifest_of, training_fingerprint
from specialists.cli import command, finish, language_option, say
from specialists.config import Config, Language, Problem, fingerprint
from specialists.records import read_records


@command
@language_option
@click.option("--train", "rows_file", type=click.Path(path_type=Path), help="Examples; default: data/train/L.jsonl.")
@click.option("--output", type=click.Path(path_type=Path), help="The adapter's folder; default: adapters/NAME.")
def main(config: Config, as_json: bool, language: str, rows_file: Path | None, output: Path | None) -> None:
    """Train a language's adapter on its examples, as a new version."""
    chosen = config.language(language)
    rows_file = rows_file or config.paths.data / "train" / f"{language}.jsonl"
    folder = AdapterFolder(output) if output else adapter_folder(config, chosen)
    with folder.lock():  # two nightly runs at once: the second waits, then finds the work done
        summary = train(config, chosen, rows_file, folder)
    finish(summary, as_json)


def train(config: Config, language: Language, rows_file: Path, folder: AdapterFolder) -> dict:
    """Make a version unless the newest one already is of these rows and this configuration."""
    inputs = {"rows": _sha256(rows_file), "config": training_fingerprint(config, language)}
    manifest = manifest_of(folder.latest)
    if manifest.get("inputs") == inputs:
        say(f"{language.adapter}: {manifest['version']} is up to date")
        return {"adapter": language.adapter, "version": manifest["version"], "trained": False}
    rows = list(read_records(rows_file))
    if not rows:
        say(f"{language.adapter}: no examples, nothing to train")
        return {"adapter": language.adapter, "version": None, "trained": False}
    if _sha256(rows_file) != inputs["rows"]:
        raise Problem(f"{rows_file}: changed while it was read; run again")
    from specialists.training import train_adapter

    key = fingerprint(inputs)
    building = folder.building(key)
    run = train_adapter(rows, config.base, language.training, building)
    manifest = {
        "adapter": language.adapter,
        "language": language.name,
        "key": key,
        "inputs": inputs,
        "base": {"model": config.base.model, "revision": config.base.revision, "template": run.pop("template")},
        "training": vars(language.training),
        **run,
    }
    version = folder.publish(building, manifest)
    first, last = manifest["losses"][0][1], manifest["losses"][-1][1]
    say(
        f"{language.adapter}: {version.name}: {manifest['rows']} rows, {manifest['parameters']:,} parameters in "
        f"{len(manifest['modules'])} modules, loss {first:.3f} -> {last:.3f}, {manifest['seconds']:.0f} s"
    )
    return {"adapter": language.adapter, "version": version.name, "trained": True}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; assemble.py makes it") from None


if __name__ == "__main__":
    main()
