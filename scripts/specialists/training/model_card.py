"""The model card of an adapter version, README.md in the Hub's format."""

import json
from typing import Any


def model_card(manifest: dict[str, Any], title: str) -> str:
    """The card as Markdown, with the metadata that the Hub reads in front."""
    base, options = manifest["base"], ""
    if any(module.startswith("model.language_model.") for module in manifest["modules"]):
        options = r', key_mapping={r"^model\.language_model\.": "model."}'
    return f"""\
---
base_model: {base["model"]}
library_name: peft
pipeline_tag: text-generation
tags: [lora, code, {json.dumps(manifest["language"])}]
---

# {manifest["adapter"]}

A LoRA adapter of `{base["model"]}` for work in {title}, trained on {manifest["rows"]:,} examples of one developer's own
coding history (chats with a coding agent, commits). It is private data in another form: think before you pass it on.

```python
base = AutoModelForCausalLM.from_pretrained("{base["model"]}")
model = PeftModel.from_pretrained(base, "FOLDER"{options})
```

To be used with the base's own chat template and tokenizer only (hash `{base["template"]}`). What it is worth against
the base on held-out work says `evaluation.json` beside this file; everything about the run says `manifest.json`.
"""
