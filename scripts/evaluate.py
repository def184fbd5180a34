"""Measure an adapter against the base on held-out examples, and decide: promote, hold or block.

First on the base that was trained on; then, as soon as a server runs, on the one that is served, which decides.

\b
    python scripts/evaluate.py --language rust
    python scripts/evaluate.py --language rust --version 20261123-091500-1a2b3c4d

Writes evaluation.json into the version's folder, with every row's measurement as evidence.
"""

from pathlib import Path
from typing import Any

import click
from specialists import adapters
from specialists.adapters import EVALUATION, AdapterFolder, evaluation_of, manifest_of
from specialists.cli import command, finish, language_option, say
from specialists.client import Refused
from specialists.config import Config, Language
from specialists.evaluation.gate import verdict
from specialists.records import Record, read_records, write_json
from specialists.server import CANDIDATE, served_models
from specialists.serving.lora import check_adapter
from specialists.serving.pause import gpu

EVIDENCE = ("measurements", "frozen", "others", "prompts", "served", "answers")  # by row: not for a summary


@command
@language_option
@click.option("--version", help="Version to evaluate; default: the newest.")
@click.option("--heldout", type=click.Path(path_type=Path), help="Held-out examples; default: data/heldout/L.jsonl.")
def main(config: Config, as_json: bool, language: str, version: str | None, heldout: Path | None) -> None:
    chosen = config.language(language)
    folder = adapters.adapter_folder(config, chosen)
    candidate = folder.version(version) if version else folder.latest
    if candidate is None:
        say(f"{chosen.adapter}: nothing trained, nothing to evaluate")
        return finish({"adapter": chosen.adapter, "version": None, "verdict": None}, as_json)
    incumbent, heldout = folder.incumbent(candidate), heldout or config.rows("heldout", language)
    inputs = adapters.evaluation_inputs(config, incumbent, heldout)
    versions, more = {"adapter": candidate}, ""
    if incumbent and (other := manifest_of(incumbent)["base"]) != manifest_of(candidate)["base"]:
        more = f"; not compared with {incumbent.name}, which is of another base or template ({other['model']})"
    elif incumbent:
        versions["incumbent"] = incumbent
    rows = list(read_records(heldout))
    if evaluation_of(candidate).get("inputs") != inputs:
        known = {"adapter": chosen.adapter, "version": candidate.name, "inputs": inputs}
        found = trained(config, chosen, rows, versions)
        write_json(candidate / EVALUATION, known | found | {"reason": found["reason"] + more})
    with AdapterFolder(config.paths.adapters / CANDIDATE).lock():  # whoever comes second finds it measured
        result = evaluation_of(candidate)
        undecided = result["measured_on"] != "served" and result["verdict"] != "block"
        found = {}
        if rows and undecided and served_models(config) is not None:
            found = served(config, chosen, rows, versions)
        elif result.get("rollouts") != result.get("weighed") and result["verdict"] != adapters.WAIT:
            evidence = result.get("served") or result
            losses = evidence["measurements"], config.evaluation, evidence["frozen"]
            found = verdict(*losses, result.get("answers"), result.get("rollouts"), evidence.get("others"))
        if found:
            result |= found | {"reason": found["reason"] + more}
            write_json(candidate / EVALUATION, result)
    say(f"{chosen.adapter}: {candidate.name}: {result['verdict']}: {result['reason']}")
    finish({key: value for key, value in result.items() if key not in EVIDENCE}, as_json)


def trained(config: Config, language: Language, rows: list[Record], versions: dict[str, Path]) -> dict[str, Any]:
    """Verdict and evidence on the base that was trained on; WAIT where the server may have more to say."""
    from specialists.evaluation.losses import EvaluatedModels

    evidence: dict[str, Any] = {"measurements": [], "frozen": []}
    if rows:
        with gpu(config, language):
            evidence = EvaluatedModels(config.base, language.training, versions).evidence(rows, config, language)
    decided = verdict(evidence["measurements"], config.evaluation, evidence["frozen"], others=evidence.get("others"))
    other = config.serving.model is not None or language.training.quantization != "none"
    if rows and decided["verdict"] != "block" and (other or config.evaluation.generate):
        reason = f"to be measured in the server; on the base that was trained on, {decided['verdict']}"
        decided |= {"verdict": adapters.WAIT, "reason": f"{reason}: {decided['reason']}"}
    return {"measured_on": "training base", **decided, **evidence}


def served(config: Config, language: Language, rows: list[Record], versions: dict[str, Path]) -> dict[str, Any]:
    """Verdict and evidence from the running server: losses, and turns that base and adapter write."""
    from specialists.evaluation.losses import ServedModels, generate

    try:
        if faults := check_adapter(versions["adapter"], config):
            return {"verdict": "block", "reason": "; ".join(faults)}
        models = ServedModels(config, language, versions)
    except Refused as refused:
        return {"verdict": "block", "reason": str(refused)}
    evidence = models.evidence(rows, config, language)
    answers = generate(config, language, models, rows) if config.evaluation.generate else {}
    rollouts = evaluation_of(versions["adapter"]).get("rollouts")
    losses = evidence["measurements"], config.evaluation, evidence["frozen"]
    decided = verdict(*losses, answers, rollouts, evidence["others"])
    return {"measured_on": "served", **decided, "served": evidence, "answers": answers}


if __name__ == "__main__":
    main()
