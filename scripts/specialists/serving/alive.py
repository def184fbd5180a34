"""Whether the running server really applies an adapter: its log-probabilities against the base's and against PEFT's.

A server can take an adapter and not apply it, or apply it wrongly: vLLM 0.32 mis-applies two of Qwen3-Next's modules at
tensor parallel 2, and leaves out weights whose names it does not know, without a word. So a candidate is loaded under a
name of its own, beside the incumbent that goes on answering, and asked for the log-probabilities of probes: rows
that evaluate.py measured through PEFT, those on which the adapter changed most. Its effect, adapter minus base, must be
there and be the one that was measured. That name is the same for all and is never unloaded: vLLM 0.32 keeps the slot
of an unloaded adapter, and on CPU kernels base requests get another's answers once every slot was used.

What was found stands in alive.json in the version's folder, and holds for a server of the same settings: another
copy of the base, or more GPUs, and it is looked at anew. Losses are in nats per supervised token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from specialists.adapters import AdapterFolder, evaluation_of
from specialists.chat import IGNORED
from specialists.client import Refused
from specialists.config import Config, Language, Problem, fingerprint
from specialists.dataset.frozen import frozen_rows
from specialists.records import read_json, read_records, write_json
from specialists.server import CANDIDATE, load_adapter, prompt_logprobs
from specialists.serving.lora import served_chat

ALIVE = "alive.json"
PROBES = 4  # texts that are asked for
LONGEST = 4096  # tokens of one, so that the check takes seconds on the real base too
AGREEMENT = 0.25  # share of the effect that may differ: a module left out or misplaced changes most of it


def check_alive(config: Config, language: Language, version: Path) -> list[str]:
    """What is wrong with a version in the running server, as sentences; what is served meanwhile does not change.

    Keeps what it found as the version's evidence. Raises Problem when the server does not answer.
    """
    texts, served = probes(config, language, version), {}
    measured = [text["measured"] for text in texts]
    try:
        served = _served_losses(config, version, texts)
        faults = compare(served, measured)
    except Refused as refused:
        faults = [str(refused)]
    write_json(version / ALIVE, {"server": served_as(config), "faults": faults, "served": served, "measured": measured})
    return faults


def known_faults(config: Config, version: Path) -> list[str] | None:
    """What was wrong with a version when a server of the present settings tried it; None when none did."""
    known = read_json(version / ALIVE) or {}
    return known["faults"] if known.get("server") == served_as(config) else None


def served_as(config: Config) -> str:
    """A hash of what decides how the server applies adapters."""
    serving = config.serving
    base = serving.model or [config.base.model, config.base.revision]
    return fingerprint(base, serving.tensor_parallel_size, serving.max_lora_rank, serving.extra, serving.env)


def _served_losses(config: Config, version: Path, texts: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Losses on the texts as `compare` wants them. Raises Refused when the server does not load the version."""
    with AdapterFolder(config.paths.adapters / CANDIDATE).lock(), ThreadPoolExecutor() as pool:
        load_adapter(config, CANDIDATE, version)

        def ask(model: str) -> Iterator[float]:
            return pool.map(lambda text: loss(config, model, text), texts)

        served = {"base": [*ask(config.serving.name)], "again": [*ask(config.serving.name)]}
        adapter, beside = ask(CANDIDATE), ask(config.serving.name)  # under way together: in the same batches
        return served | {"adapter": [*adapter], "beside": [*beside]}


def answers(config: Config, language: Language, version: Path) -> list[str]:
    """What is wrong right after a swap, as sentences: whether the adapter's own name answers, and not as the base."""
    text = probes(config, language, version)[0]
    effect = abs(loss(config, language.adapter, text) - loss(config, config.serving.name, text))
    return [] if effect else [f"after the swap {language.adapter} answers as the base does"]


def compare(served: dict[str, list[float]], measured: list[tuple[float, float] | None]) -> list[str]:
    """Compare losses of the same texts.

    `served` are the server's: "base", the base "again", the base "beside" the adapter, "adapter". `measured` are
    (base, adapter) through PEFT, or None for a text that was not measured.
    """
    effect = _furthest(served["adapter"], served["base"])
    noise = 2 * _furthest(served["again"], served["base"])
    if (spilled := _furthest(served["beside"], served["base"])) > max(noise, AGREEMENT * effect):
        return [f"the base answers otherwise beside it: off by {spilled:.3f}, the adapter's effect is {effect:.3f}"]
    if effect <= max(noise, spilled):
        return [f"the server answers as the base does: effects up to {effect:.2g}, noise {max(noise, spilled):.2g}"]
    pairs = [
        (base, adapter, *both)
        for base, adapter, both in zip(served["base"], served["adapter"], measured, strict=True)
        if both
    ]
    if pairs:
        wanted = _mean(through - alone for _base, _adapter, alone, through in pairs)
        wrong = _mean((adapter - base) - (through - alone) for base, adapter, alone, through in pairs)
        off = _mean(base - alone for base, _adapter, alone, _through in pairs)  # the base served, and through PEFT
        if wrong > max(2 * off, noise, AGREEMENT * wanted):
            return [f"the server applies it wrongly: {wrong:.3f} off an effect of {wanted:.3f} (the base: {off:.3f})"]
    return []


def _mean(differences: Iterable[float]) -> float:
    sizes = [abs(difference) for difference in differences]
    return sum(sizes) / len(sizes)


def _furthest(first: list[float], second: list[float]) -> float:
    return max(abs(one - two) for one, two in zip(first, second, strict=True))


def probes(config: Config, language: Language, version: Path) -> list[dict[str, Any]]:
    """Texts to ask for: {"tokens", "labels", "measured": (base, adapter) through PEFT or None}.

    Those of the evaluated rows that the adapter changed most; without an evaluation, some of the frozen set.
    """
    chat = served_chat(config)
    measured = evaluation_of(version).get("measurements", [])
    effects = {row["id"]: (row["nll"]["adapter"] - row["nll"]["base"]) / row["tokens"] for row in measured}
    losses = {row["id"]: tuple(row["nll"][arm] / row["tokens"] for arm in ("base", "adapter")) for row in measured}
    heldout = config.rows("heldout", language.name)
    rows = [row for row in read_records(heldout) if row["id"] in effects] if heldout.is_file() else []
    rows = sorted(rows, key=lambda row: -abs(effects[row["id"]])) or frozen_rows()
    texts = []
    for row in rows:
        encoded = chat.encode(row)
        if len(encoded.input_ids) < min(LONGEST, config.serving.max_model_len):
            measured_loss = losses.get(row["id"])
            texts.append({"tokens": encoded.input_ids, "labels": encoded.labels, "measured": measured_loss})
        if len(texts) == PROBES:
            return texts
    if not texts:
        raise Problem(f"{language.adapter}: no held-out row fits serving.max_model_len {config.serving.max_model_len}")
    return texts


def loss(config: Config, model: str, text: dict[str, Any]) -> float:
    """A model's loss on a probe's supervised tokens, as the running server answers."""
    logprobs = prompt_logprobs(config, model, text["tokens"])
    supervised = [logprob for logprob, label in zip(logprobs, text["labels"][1:], strict=True) if label != IGNORED]
    return -sum(supervised) / len(supervised)
