"""Measure an adapter against the base on held-out examples, and decide: promote, hold or block.

    python scripts/evaluate.py --language rust
    python scripts/evaluate.py --language rust --version 20261123-091500-1a2b3c4d

Writes evaluation.json into the version's folder, with every row's measurement as evidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from specialists.adapters import EVALUATION, adapter_folder, evaluation_inputs, manifest_of
from specialists.cli import command, finish, language_option, say
from specialists.config import Config, Language
from specialists.records import read_json, read_records, write_json


@command
@language_option
@click.option("--version", help="Version to evaluate; default: the newest.")
@click.option("--heldout", type=click.Path(path_type=Path), help="Held-out examples; default: data/heldout/L.jsonl.")
def main(config: Config, as_json: bool, language: str, version: str | None, heldout: Path | None) -> None:
    """Measure an adapter against the base on held-out examples."""
    chosen = config.language(language)
    folder = adapter_folder(config, chosen)
    candidate = folder.version(version) if version else folder.latest
    if candidate is None:
        say(f"{chosen.adapter}: nothing trained, nothing to evaluate")
        finish({"adapter": chosen.adapter, "version": None, "verdict": None}, as_json)
        return
    heldout = heldout or config.paths.data / "heldout" / f"{language}.jsonl"
    result = evaluate(config, chosen, candidate, folder.incumbent(candidate), heldout)
    say(f"{chosen.adapter}: {candidate.name}: {result['verdict']}: {result['reason']}")
    finish({key: value for key, value in result.items() if key != "measurements"}, as_json)


def evaluate(
    config: Config, language: Language, candidate: Path, incumbent: Path | None, heldout: Path
) -> dict[str, Any]:
    """The verdict on a version, from its evaluation.json when that is of the same held-out rows and incumbent."""
    inputs = evaluation_inputs(config, incumbent, heldout)
    known = read_json(candidate / EVALUATION) or {}
    if known.get("inputs") == inputs:
        return known
    from specialists.evaluation import measure
    from specialists.gate import verdict

    rows = list(read_records(heldout))
    arms = {"adapter": candidate}
    if incumbent and manifest_of(incumbent)["base"] == manifest_of(candidate)["base"]:
        arms["incumbent"] = incumbent
    measurements = measure(rows, config.base, language.training, arms) if rows else []
    result = verdict(measurements, config.evaluation, language.training.seed)
    result = {"adapter": language.adapter, "version": candidate.name, "inputs": inputs, **result}
    write_json(candidate / EVALUATION, {**result, "measurements": measurements})
    return result


if __name__ == "__main__":
    main()
