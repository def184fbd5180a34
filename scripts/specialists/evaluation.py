"""Held-out loss of the base and of adapters on the same rows, per supervised token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specialists.chat import Chat
from specialists.cli import progress
from specialists.config import Base, Training
from specialists.records import Record, cluster_of
from specialists.training import encode_rows

BASE = "base"  # the arm without an adapter


def measure(rows: list[Record], base: Base, settings: Training, adapters: dict[str, Path]) -> list[dict[str, Any]]:
    """Each row's summed negative log-likelihood (nats) over its supervised tokens, under every arm.

    Returns one {"id", "cluster", "tokens", "nll": {arm: float}} per row; the arms are BASE and the names in `adapters`.
    Raises Problem for rows that cannot be encoded, and for a base that is not on this machine.
    """
    import torch
    from peft import PeftModel

    from specialists.base_model import load_base

    encoded = encode_rows(rows, Chat.load(base.model, base.revision), settings.max_length)
    model = load_base(base, settings.quantization)
    wrapped = None
    for name, folder in adapters.items():
        if wrapped is None:
            wrapped = PeftModel.from_pretrained(model, folder, adapter_name=name)
        else:
            wrapped.load_adapter(folder, adapter_name=name)
    (wrapped or model).eval()
    results = []
    with torch.inference_mode():
        for row, tokens in zip(progress(rows, "evaluate"), encoded, strict=True):
            nll = {}
            for name in adapters:
                wrapped.set_adapter(name)
                nll[name] = _nll(wrapped, tokens)
            if wrapped is None:
                nll[BASE] = _nll(model, tokens)
            else:
                with wrapped.disable_adapter():
                    nll[BASE] = _nll(wrapped, tokens)
            supervised = sum(label != -100 for label in tokens["labels"])
            results.append({"id": row["id"], "cluster": cluster_of(row), "tokens": supervised, "nll": nll})
    return results


def _nll(model: Any, tokens: dict[str, list[int]]) -> float:
    """Summed negative log-likelihood of one row; logits are made for supervised positions only (8,192 x 151,936 floats
    would be 5 GB)."""
    import torch

    labels = torch.tensor(tokens["labels"], device=model.device)
    positions = (labels != -100).nonzero().squeeze(1)
    positions = positions[positions > 0]
    ids = torch.tensor([tokens["input_ids"]], device=model.device)
    logits = model(input_ids=ids, logits_to_keep=positions - 1).logits[0].float()
    return torch.nn.functional.cross_entropy(logits, labels[positions], reduction="sum").item()
