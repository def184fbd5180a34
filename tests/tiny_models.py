"""Tiny random models of the real architectures, with a tokenizer, made on the spot."""

import json
from pathlib import Path
from typing import Any

TEMPLATE = """\
{%- macro calls(message) %}
{%- for call in message.tool_calls or [] %}
<tool_call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</tool_call>
{%- endfor %}
{%- endmacro %}
{%- if tools %}<|im_start|>system
{{ tools | tojson }}<|im_end|>
{% endif %}
{%- for message in messages %}
<|im_start|>{{ message.role }}
{{ message.content or '' }}{{ calls(message) }}<|im_end|>
{%- endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""

TEXT = "def f(x):\n    return x + 1\n fn main() { println!(); } class A end struct B {} the quick brown fox " * 40


def save_tokenizer(folder: Path, template: str = TEMPLATE) -> int:
    """A byte-level BPE tokenizer with a chat template; returns the vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options: dict[str, Any] = {"special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=400, **options))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(template)
    return tokenizer.get_vocab_size()


SIZES = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 2048, "tie_word_embeddings": True}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "eos_token_id": 2, "pad_token_id": 0}
DELTA_NET = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
DELTA_NET |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
SHARED = {"shared_expert_intermediate_size": 32}
ARCHITECTURES = {  # name -> configuration class, what is its own, layers
    "qwen2": ("Qwen2Config", {}, 2),
    "qwen3": ("Qwen3Config", {}, 2),
    "qwen3_moe": ("Qwen3MoeConfig", EXPERTS, 2),
    "qwen3_next": ("Qwen3NextConfig", {**DELTA_NET, **EXPERTS, **SHARED}, 4),
    "qwen3_5_text": ("Qwen3_5TextConfig", DELTA_NET, 4),
    "qwen3_5_moe_text": ("Qwen3_5MoeTextConfig", {**DELTA_NET, **EXPERTS, **SHARED}, 4),
    "llama": ("LlamaConfig", {}, 2),
    "mistral": ("MistralConfig", {}, 2),
    "phi3": ("Phi3Config", {}, 2),
    "gpt_oss": ("GptOssConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}, 2),
    "gpt_neox": ("GPTNeoXConfig", {}, 2),  # stands for one that nobody thought of
}


def base_config(architecture: str, vocabulary: int = 324, **changes: int) -> Any:
    """The configuration of a tiny model."""
    import transformers

    kind, own, layers = ARCHITECTURES[architecture]
    settings = {**SIZES, **own, "num_hidden_layers": layers, "vocab_size": vocabulary, **changes}
    return getattr(transformers, kind)(**settings)


def save_base(folder: Path, architecture: str = "qwen3", shard: str = "5GB", **changes: int) -> Path:
    """A base model's folder, e.g. `qwen3` (dense) or `qwen3_next` (Gated DeltaNet, routed and shared experts)."""
    import torch
    import transformers

    config = base_config(architecture, save_tokenizer(folder), **changes)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size=shard)
    return folder


def pretrain(folder: Path, rows: list[dict], steps: int = 80) -> None:
    """Train all weights of a tiny base, larger random ones at first, on the form of such rows, all equally long."""
    import torch
    from specialists.chat import Chat
    from transformers import AutoModelForCausalLM

    chat = Chat.load(str(folder))
    encoded = [chat.encode(row).input_ids for row in rows]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(0)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.08)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        ids = torch.tensor([encoded[(8 * step + number) % len(encoded)] for number in range(8)])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def rows(count: int, language: str = "python") -> list[dict]:
    """Training rows with something to learn: every answer is the same edit call and the same closing line."""
    from specialists.records import make_record, tool_call

    made = []
    for number in range(count):
        call = tool_call(0, "edit", {"filePath": f"f{number}.py", "oldString": "return x + 1", "newString": "return x"})
        messages: list[dict] = [
            {"role": "system", "content": "You are a coding agent."},
            {"role": "user", "content": f"Fix f{number}."},
            {"role": "assistant", "content": "", "weight": 1, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_0", "content": "Edit applied successfully."},
            {"role": "assistant", "content": "the quick brown fox", "weight": 1},
        ]
        time = f"2026-0{1 + number // 28}-{1 + number % 28:02}T10:00:00Z"
        made.append(make_record(language, messages, [], {"kind": "session", "time": time, "session": f"ses_{number}"}))
    return made


def save_adapter(folder: Path, base: Path, seed: int, scale: float = 0.5) -> Path:
    """A version whose adapter changes every Linear layer of a tiny dense base at random; `scale` is how much."""
    import numpy
    from safetensors.numpy import save_file
    from specialists.chat import Chat
    from specialists.weights import base_shapes

    rng = numpy.random.default_rng(seed)
    weights, modules = {}, set()
    for name, shape in base_shapes(str(base)).items():
        if not name.endswith("_proj.weight"):
            continue
        module = name.removesuffix(".weight")
        modules.add(module.rsplit(".", 1)[1])
        for side, size in (("A", (8, shape[1])), ("B", (shape[0], 8))):
            values = rng.normal(size=size) * scale / size[1] ** 0.5
            weights[f"base_model.model.{module}.lora_{side}.weight"] = values.astype("float32")
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 8, "lora_dropout": 0.0}
    settings |= {"bias": "none", "base_model_name_or_path": str(base), "target_modules": sorted(modules)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    manifest = {"version": folder.name, "base": {"model": str(base), "template": Chat.load(str(base)).fingerprint}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
