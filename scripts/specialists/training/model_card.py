"""The model card of an adapter version, README.md in the Hub's format, from its manifest."""

from __future__ import annotations

import json
from typing import Any

from specialists.cli import size

_CARD = """\
---
base_model: {base}
library_name: peft
pipeline_tag: text-generation
tags:
- lora
- code
- {language}
---

# {adapter}

A LoRA adapter of `{base}` for work in {title}, trained on one developer's own coding history (chats with a coding
agent, commits). It is private data in another form: think before you pass it on.

| | |
|---|---|
{facts}

## What is adapted

| rank | modules |
|---|---|
{modules}

## Loss

{losses}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), "this folder")
```

Only with the base's own chat template and tokenizer (hash `{template}`). What it is worth against the base on held-out
work says `evaluation.json` beside this file; everything about the run says `manifest.json`.
"""


def model_card(manifest: dict[str, Any], title: str) -> str:
    """The card as Markdown, with the metadata that the Hub reads in front."""
    base, settings = manifest["base"], manifest["training"]
    facts = {
        "base revision": base.get("revision") or manifest.get("base_commit") or "as it was on this machine",
        "examples": f"{manifest['rows']:,}",
        "tokens (of them with loss)": f"{manifest['tokens']:,} ({manifest['supervised']:,})",
        "rows, SHA-256": f"`{manifest['inputs']['rows']}`",
        "trained parameters": f"{manifest['parameters']:,}",
        "rank, alpha, dropout": f"{settings['r']}, {settings['alpha']}, {settings['dropout']}",
        "learning rate, epochs, steps": f"{settings['learning_rate']}, {settings['epochs']}, {manifest['steps']}",
        "base held as": settings["quantization"],
        "optimizer, seed": f"{settings['optimizer']}, {settings['seed']}",
        "took": f"{manifest['seconds']} s, {manifest['tokens_per_second']} tokens/s, "
        f"peak {size(manifest['peak_memory_bytes'])}",
        "made with": ", ".join(f"{name} {version}" for name, version in manifest["libraries"].items()),
        "code": manifest.get("code") or "not under git",
    }
    return _CARD.format(
        base=base["model"],
        language=json.dumps(manifest["language"]),
        title=title,
        adapter=manifest["adapter"],
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        modules="\n".join(f"| {rank} | {names} |" for rank, names in _kinds(manifest["modules"])),
        losses=_losses(manifest),
        template=base["template"],
    )


def _kinds(modules: dict[str, int]) -> list[tuple[int, str]]:
    """Rank and what has it: each kind of module once, with how often it is there."""
    counts: dict[tuple[int, str], int] = {}
    for name, rank in modules.items():
        kind = ".".join(part for part in name.split("layers.")[-1].split(".") if not part.isdigit())
        counts[rank, kind] = counts.get((rank, kind), 0) + 1
    ranks = sorted({rank for rank, _kind in counts}, reverse=True)
    return [
        (rank, ", ".join(f"`{kind}` × {count}" for (its, kind), count in sorted(counts.items()) if its == rank))
        for rank in ranks
    ]


def _losses(manifest: dict[str, Any]) -> str:
    (first, start), (last, end) = manifest["losses"][0], manifest["losses"][-1]
    text = f"Training loss {start:.3f} at step {first}, {end:.3f} at step {last}."
    if heldout := manifest.get("heldout_losses"):
        step, best = min(heldout, key=lambda pair: pair[1])
        text += f" On examples kept aside {heldout[0][1]:.3f} at step {heldout[0][0]}, best {best:.3f} at step {step}."
    return text
