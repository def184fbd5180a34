"""What made demo/base, the demo's base model: a tiny dense Qwen3 that has read some of Python's standard library.

    python demo/make_base.py            two minutes; it lies in the repository, so that the demo need not wait for it

Too small to be of use, and just large enough that an adapter trained on it is measurably better than it: everything
around the model is as it is with a real one.
"""

from __future__ import annotations

import json
import os
import random
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

BASE = Path(__file__).resolve().parent / "base"
sys.path.insert(0, str(BASE.parents[1] / "scripts"))
SEED = 17
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, TURN_START, TURN_END)
MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>")  # one token each
VOCABULARY = 3072
PIECES = r"\n[\n ]*| ?\p{L}+|[^\p{L}\n]+"  # no token goes over these; JSON's punctuation is one, so schemas are short
STEPS = 800
SHARES = (0.25, 0.6)  # of the steps on code, and until when on conversations without a list of tools
PEAK = 1e-2  # of the learning rate: the best of 2e-3 to 1.2e-2
UNLEARNED = -100  # the label of a token without loss
LIBRARY_FILES = 120  # of the standard library, read for the tokenizer and the training


def build(folder: Path, steps: int = STEPS, vocabulary: int = VOCABULARY, threads: int = 2) -> None:
    """Write tokenizer and weights beside the chat template. The same Python gives the same tokenizer, the same machine
    the same weights; they are kept in 16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    files = library()
    tokenizer = train_tokenizer(files, vocabulary)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    train_model(tokenizer, files, steps, threads).bfloat16().save_pretrained(folder)


def library() -> list[Path]:
    """A fixed sample of the standard library's modules of moderate size."""
    root = Path(sysconfig.get_paths()["stdlib"])
    modules = [
        path
        for folder in (root, root / "json", root / "email", root / "http", root / "asyncio")
        for path in sorted(folder.glob("*.py"))
        if 2_000 < path.stat().st_size < 60_000
    ]
    return random.Random(SEED).sample(modules, min(LIBRARY_FILES, len(modules)))


def train_tokenizer(files: list[Path], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer of the files and of some conversations."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [path.read_text(encoding="utf-8") for path in files]
    tokenizer.train_from_iterator([*texts, *islice(chats(files, SEED), 200)], trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in MARKS])
    return tokenizer


def chats(files: list[Path], seed: int, tools: bool = True) -> Iterator[str]:
    """Endless toy conversations as text, with or without the list of tools in front."""
    from specialists.agent import TOOLS
    from specialists.chat import Chat, decoded
    from toy_chats import conversations

    chat = Chat((BASE / "chat_template.jinja").read_text(encoding="utf-8"), "", {"eos_token": TURN_END})
    for messages in conversations(files, seed):
        yield chat.render(decoded(messages), TOOLS if tools else None)


def train_model(tokenizer: Any, files: list[Path], steps: int, threads: int) -> Any:
    """A tiny Qwen3 after so many steps: code first, then conversations of full length."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a thread that waits must not keep a core from the other
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=16384,
        tie_word_embeddings=True,
        initializer_range=0.08,  # about 1 over the root of the width; with the usual 0.02 it learns half as fast
        eos_token_id=ids[TURN_END],
        pad_token_id=ids[END_OF_TEXT],
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.05, betas=(0.9, 0.95))
    for step, (batch, labels) in enumerate(_batches(tokenizer, files, steps)):
        rate = PEAK * min(1.0, (step + 1) / 20) * (1 - 0.95 * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        row, before_it = (labels[:, 1:] != UNLEARNED).nonzero(as_tuple=True)  # logits of what is learned, no others
        hidden = model.model(input_ids=batch).last_hidden_state[row, before_it]
        torch.nn.functional.cross_entropy(model.lm_head(hidden), labels[row, before_it + 1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(before)
    model.generation_config = GenerationConfig(
        eos_token_id=[ids[TURN_END], ids[END_OF_TEXT]], pad_token_id=ids[END_OF_TEXT]
    )
    return model.eval()


def _batches(tokenizer: Any, files: list[Path], steps: int) -> Iterator[tuple[Any, Any]]:
    """Token ids and labels: of shape (8, 128) from code, then (1, 1024) from conversations, first without tools."""
    import torch

    rng = random.Random(SEED)
    code: list[int] = []
    for found in tokenizer.encode_batch([path.read_text(encoding="utf-8") for path in files]):
        code += [*found.ids, tokenizer.token_to_id(END_OF_TEXT)]
    short, whole = (_talk(tokenizer, chats(files, SEED + 1, tools)) for tools in (False, True))
    for step in range(steps):
        if step < steps * SHARES[0]:
            starts = [rng.randrange(len(code) - 128) for _ in range(8)]
            batch = torch.tensor([code[start : start + 128] for start in starts])
            yield batch, batch
        else:
            ids, labels = zip(*islice(short if step < steps * SHARES[1] else whole, 1024), strict=True)
            yield torch.tensor([ids]), torch.tensor([labels])


def _talk(tokenizer: Any, texts: Iterator[str]) -> Iterator[tuple[int, int]]:
    """Token ids with labels, without loss on the system prompts, which are nearly the same every time."""
    prompt = cache(lambda text: tokenizer.encode(text).ids)
    for text in texts:
        system, end, talk = text.partition(TURN_END)
        ids = tokenizer.encode(end + talk).ids
        yield from zip([*prompt(system), *ids], [UNLEARNED] * (len(prompt(system)) + 1) + ids[1:], strict=True)


if __name__ == "__main__":
    build(BASE)
