"""Held-out loss of the base and of adapters on the same rows, per supervised token and by what the token is."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model

from specialists.agent import NEW_CODE
from specialists.chat import IGNORED, Chat
from specialists.cli import progress
from specialists.config import Base, Training
from specialists.evaluation.gate import Measurement
from specialists.records import Record, cluster_of
from specialists.training.base_model import load_base
from specialists.training.targets import load_adapter
from specialists.training.trainer import encode_rows

BASE = "base"  # the model without an adapter
PROMPT = "prompt"  # the base with the owner's instructions as well
CODE = {*NEW_CODE.items(), ("edit", "oldString")}  # (tool, argument) that hold code


class EvaluatedModels:
    """The base with at least one adapter, loaded once. A model's name is BASE or that of an adapter."""

    def __init__(self, base: Base, settings: Training, adapters: dict[str, Path]):
        self.chat, self.limit = Chat.load(base.model, base.revision), settings.max_length
        self.names = [*adapters, BASE]
        model, first = load_base(base, settings.quantization), next(iter(adapters))
        self.model = get_peft_model(model, PeftConfig.from_pretrained(adapters[first]), first)
        for name, folder in adapters.items():
            load_adapter(self.model, folder, name)
        self.model.eval()

    def measure(self, rows: list[Record], instructions: str | None = None) -> list[Measurement]:
        """Each row's summed negative log-likelihood (nats) over its supervised tokens, under every model.

        With `instructions` there is one more, PROMPT: the base with them at the end of its system prompt.
        """
        pairs = zip(rows, encode_rows(rows, self.chat, self.limit), strict=True)
        return [self._row(row, tokens, instructions) for row, tokens in progress(pairs, "evaluate", len(rows))]

    def generate(self, tokens: list[int], name: str, limit: int) -> tuple[str, bool]:
        """A model's greedy continuation of a prompt by at most `limit` tokens, and whether it came to an end."""
        stop = self.chat.tokenizer.token_to_id(self.chat.special["eos_token"])
        ids = torch.tensor([tokens], device=self.model.device)
        options = {"max_new_tokens": limit, "do_sample": False, "use_cache": True, "eos_token_id": stop}
        with self._selected(name), torch.inference_mode():
            output = self.model.generate(ids, **options, pad_token_id=stop, attention_mask=torch.ones_like(ids))
        written = output[0, len(tokens) :].tolist()
        answer = written[: written.index(stop)] if stop in written else written
        return self.chat.tokenizer.decode(answer, skip_special_tokens=False), stop in written

    def _row(self, row: Record, encoded: dict[str, list[int]], instructions: str | None) -> Measurement:
        kinds = token_parts(row, self.chat, encoded["labels"])
        losses = {name: self._losses(encoded["input_ids"], encoded["labels"], name) for name in self.names}
        parts = {
            part: {"tokens": len(where), "nll": {name: values[where].sum().item() for name, values in losses.items()}}
            for part in ("code", "syntax", "prose")
            if (where := [index for index, kind in enumerate(kinds) if kind == part])
        }
        if instructions:
            prompted = self.chat.encode(with_instructions(row, instructions))
            losses[PROMPT] = self._losses(prompted.input_ids, prompted.labels, BASE)
        nll = {name: values.sum().item() for name, values in losses.items()}
        return {"id": row["id"], "cluster": cluster_of(row), "tokens": len(kinds), "nll": nll, "parts": parts}

    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> Any:
        """Negative log-likelihood of each supervised token, a float tensor of shape (supervised,).

        Logits are made for supervised positions only (8,192 x 151,936 floats would be 5 GB).
        """
        target = torch.tensor(labels, device=self.model.device)
        positions = (target[1:] != IGNORED).nonzero().squeeze(1)  # each predicts the token after it
        ids = torch.tensor([input_ids], device=self.model.device)
        with self._selected(name), torch.inference_mode():
            logits = self.model(input_ids=ids, logits_to_keep=positions).logits[0].float()
            return torch.nn.functional.cross_entropy(logits, target[positions + 1], reduction="none")

    def _selected(self, name: str) -> AbstractContextManager:
        if name == BASE:
            return self.model.disable_adapter()
        self.model.set_adapter(name)
        return nullcontext()


def token_parts(record: Record, chat: Chat, labels: list[int]) -> list[str]:
    """What each supervised token is: "code" (of an edit or a written file), "prose", or "syntax" of calls and turns."""
    text, spans = chat.targets(record)
    starts, kinds = [0], ["syntax"]  # from starts[i] on, a character is of kinds[i]
    for index, (position, end) in spans.items():
        for part, value in _values(record["messages"][index]):
            # as a template writes it: as it is, or as a JSON string
            for form in (value, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]):
                if (found := text.find(form, position, end)) >= 0:
                    position = found + len(form)
                    starts += [found, position]
                    kinds += [part, "syntax"]
                    break
    offsets = chat.tokenizer.encode(text, add_special_tokens=False).offsets
    supervised = (start for (start, _end), label in zip(offsets, labels, strict=True) if label != IGNORED)
    return [kinds[bisect_right(starts, start) - 1] for start in supervised]


def _values(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts in a message that are no syntax, in their order, with what they are."""
    if content := (message.get("content") or "").strip():
        yield "prose", content
    for call in message.get("tool_calls") or ():
        function = call["function"]
        for argument, value in json.loads(function["arguments"]).items():
            if (function["name"], argument) in CODE and isinstance(value, str) and value.strip():
                yield "code", value.strip()


def with_instructions(record: Record, instructions: str) -> Record:
    """A record whose system prompt ends with these instructions."""
    messages = record["messages"]
    if messages[0]["role"] == "system":
        instructions, messages = f"{messages[0]['content']}\n\n{instructions}", messages[1:]
    return {**record, "messages": [{"role": "system", "content": instructions}, *messages]}
