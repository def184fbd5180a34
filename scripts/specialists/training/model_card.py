"""The model card of an adapter version, README.md in the Hub's format, from its manifest."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from specialists.cli import duration, size

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

To be used with the base's own chat template and tokenizer only (hash `{template}`). What it is worth against the base
on held-out work says `evaluation.json` beside this file; everything about the run says `manifest.json`.
"""


def model_card(manifest: dict[str, Any], title: str) -> str:
    """The card as Markdown, with the metadata that the Hub reads in front."""
    base, settings = manifest["base"], manifest["training"]
    (first, start), (last, end) = manifest["losses"][0], manifest["losses"][-1]
    kinds = Counter(
        ".".join(part for part in name.split("layers.")[-1].split(".") if not part.isdigit())
        for name in manifest["modules"]
    )
    facts = {
        "base revision": base.get("revision") or manifest.get("base_commit") or "as it was on this machine",
        "examples": f"{manifest['rows']:,}",
        "tokens (of them with loss)": f"{manifest['tokens']:,} ({manifest['supervised']:,})",
        "adapted": ", ".join(f"`{kind}` × {count}" for kind, count in sorted(kinds.items())),
        "trained parameters": f"{manifest['parameters']:,}",
        "rank, alpha, dropout": f"{settings['r']}, {settings['alpha']}, {settings['dropout']}",
        "learning rate, epochs, steps": f"{settings['learning_rate']}, {settings['epochs']}, {manifest['steps']}",
        "training loss": f"{start:.3f} at step {first}, {end:.3f} at step {last}",
        "took": f"{duration(manifest['seconds'])}, {size(manifest['peak_memory_bytes'])}",
        "code": manifest.get("code") or "not under git",
    }
    return _CARD.format(
        base=base["model"],
        language=json.dumps(manifest["language"]),
        title=title,
        adapter=manifest["adapter"],
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        template=base["template"],
    )
