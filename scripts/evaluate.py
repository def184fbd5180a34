"""Measure an adapter against the base on held-out examples, and decide: promote, hold or block.

    python scripts/evaluate.py --language rust
    python scripts/evaluate.py --language rust --version 20261123-091500-1a2b3c4d

Writes evaluation.json into the version's folder, with every row's measurement as evidence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from specialists.adapters import EVALUATION, adapter_folder, evaluation_inputs, evaluation_of, manifest_of
from specialists.cli import command, finish, language_option, say
from specialists.config import Config, Language, Problem
from specialists.dataset.frozen import frozen_rows
from specialists.evaluation.scoring import summary
from specialists.evaluation.writing import write_answers
from specialists.records import Record, read_records, write_json
from specialists.serving.sharing import gpu

EVIDENCE = ("measurements", "frozen", "answers")  # of evaluation.json: a line for each row, not for a summary


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
    heldout = heldout or config.rows("heldout", language)
    result = evaluate(config, chosen, candidate, folder.incumbent(candidate), heldout)
    say(f"{chosen.adapter}: {candidate.name}: {result['verdict']}: {result['reason']}")
    finish({key: value for key, value in result.items() if key not in EVIDENCE}, as_json)


def evaluate(
    config: Config, language: Language, candidate: Path, incumbent: Path | None, heldout: Path
) -> dict[str, Any]:
    """The verdict on a version, from its evaluation.json when that is of the same held-out rows and incumbent."""
    inputs = evaluation_inputs(config, incumbent, heldout)
    known = evaluation_of(candidate)
    if known.get("inputs") == inputs:
        return known
    from specialists.evaluation.gate import verdict

    rows = list(read_records(heldout))
    arms = {"adapter": candidate}
    if incumbent and manifest_of(incumbent)["base"] == manifest_of(candidate)["base"]:
        arms["incumbent"] = incumbent
    measured: dict[str, Any] = {"measurements": [], "frozen": [], "answers": {}}
    if rows:
        with gpu(config):
            measured = measure(config, language, rows, arms)
    generated = {arm: summary(scores) for arm, scores in measured["answers"].items()}
    seed = language.training.seed
    result = verdict(measured["measurements"], config.evaluation, seed, measured["frozen"], generated)
    result = {"adapter": language.adapter, "version": candidate.name, "inputs": inputs, **result}
    write_json(candidate / EVALUATION, {**result, **measured})
    return result


def measure(config: Config, language: Language, rows: list[Record], versions: dict[str, Path]) -> dict[str, Any]:
    """The evidence: what evaluation.json holds of the rows, of the frozen set, and of turns that the arms wrote."""
    from specialists.evaluation.losses import Arms

    arms = Arms(config.base, language.training, versions)
    return {
        "measurements": arms.measure(rows, instructions(config)),
        "frozen": arms.measure(frozen_rows()),
        "answers": write_answers(config, language, arms, rows, versions["adapter"]),
    }


def instructions(config: Config) -> str | None:
    """The owner's AGENTS.md, when he wants to know what it does without training."""
    path = config.evaluation.instructions
    try:
        return path.read_text(encoding="utf-8") if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"evaluation.instructions {path}: cannot be read: {error}") from None


if __name__ == "__main__":
    main()
