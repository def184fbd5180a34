"""Measure an adapter against the base on held-out examples, and decide: promote, hold or block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from specialists.adapters import EVALUATION, adapter_folder, evaluation_inputs, evaluation_of, manifest_of
from specialists.cli import command, finish, language_option, say
from specialists.config import Config, Language, Problem
from specialists.dataset.frozen import frozen_rows
from specialists.evaluation.gate import verdict
from specialists.evaluation.scoring import summary
from specialists.records import Record, read_records, write_json
from specialists.server import served_models
from specialists.serving.lora import check_adapter
from specialists.serving.sharing import gpu

EVIDENCE = ("measurements", "frozen", "answers")  # of evaluation.json: a line for each row, not for a summary


@command
@language_option
@click.option("--version", help="Version to evaluate; default: the newest.")
@click.option("--heldout", type=click.Path(path_type=Path), help="Held-out examples; default: data/heldout/L.jsonl.")
def main(config: Config, as_json: bool, language: str, version: str | None, heldout: Path | None) -> None:
    """Measure an adapter against the base on held-out examples, and decide: promote, hold or block.

    \b
        python scripts/evaluate.py --language rust
        python scripts/evaluate.py --language rust --version 20261123-091500-1a2b3c4d

    Writes evaluation.json into the version's folder, with every row's measurement as evidence.
    """
    chosen = config.language(language)
    folder = adapter_folder(config, chosen)
    candidate = folder.version(version) if version else folder.latest
    if candidate is None:
        say(f"{chosen.adapter}: nothing trained, nothing to evaluate")
        return finish({"adapter": chosen.adapter, "version": None, "verdict": None}, as_json)
    incumbent, heldout = folder.incumbent(candidate), heldout or config.rows("heldout", language)
    inputs = evaluation_inputs(config, incumbent, heldout)
    result = evaluation_of(candidate)
    if result.get("inputs") != inputs:
        versions = {"adapter": candidate}
        if incumbent and manifest_of(incumbent)["base"] == manifest_of(candidate)["base"]:
            versions["incumbent"] = incumbent
        evidence: dict[str, Any] = {"measurements": [], "frozen": [], "answers": {}}
        if rows := list(read_records(heldout)):
            with gpu(config):
                evidence = measure(config, chosen, rows, versions)
        generated = {model: summary(scores) for model, scores in evidence["answers"].items()}
        decided = verdict(evidence["measurements"], config.evaluation, evidence["frozen"], generated)
        if incumbent and "incumbent" not in versions:
            other = manifest_of(incumbent)["base"]["model"]
            decided["reason"] += f"; not compared with {incumbent.name}, which is of another base or template ({other})"
        result = {"adapter": chosen.adapter, "version": candidate.name, "inputs": inputs, **decided}
        write_json(candidate / EVALUATION, {**result, **evidence})
    say(f"{chosen.adapter}: {candidate.name}: {result['verdict']}: {result['reason']}")
    finish({key: value for key, value in result.items() if key not in EVIDENCE}, as_json)


def measure(config: Config, language: Language, rows: list[Record], versions: dict[str, Path]) -> dict[str, Any]:
    """The evidence: losses on the rows and on the frozen set, and turns that the models wrote."""
    from specialists.evaluation.losses import EvaluatedModels
    from specialists.evaluation.writing import write_answers

    path, turns = config.evaluation.instructions, config.evaluation.generate
    try:
        instructions = path.read_text(encoding="utf-8") if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"evaluation.instructions {path}: cannot be read: {error}") from None
    models = EvaluatedModels(config.base, language.training, versions)
    running = config.serving.while_training == "keep" and served_models(config) is not None
    served = running and not check_adapter(versions["adapter"], config)
    return {
        "measurements": models.measure(rows, instructions),
        "frozen": models.measure(frozen_rows()),
        "answers": write_answers(config, language, models, rows, versions["adapter"], served) if turns else {},
    }


if __name__ == "__main__":
    main()
