"""Held-out loss of the base and of adapters on the same rows, per supervised token and by what the token is."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model

from specialists.agent import NEW_CODE
from specialists.chat import IGNORED, Chat
from specialists.cli import progress, say
from specialists.config import Base, Config, Language, Problem, Training
from specialists.dataset.frozen import frozen_rows
from specialists.evaluation.gate import Measurement
from specialists.records import Record, cluster_of
from specialists.server import CANDIDATE, load_adapter, served_models, supervised_losses
from specialists.tables import SERVED_BASE
from specialists.training import targets
from specialists.training.base_model import load_base
from specialists.training.trainer import encode_rows

BASE = "base"  # the model without an adapter
PROMPT = "prompt"  # the base with the owner's instructions as well
CODE = {*NEW_CODE.items(), ("edit", "oldString")}  # (tool, argument) that hold code


class Models:
    """The base with adapters. A model's name is BASE or that of an adapter; a subclass says how its losses are had."""

    def __init__(self, base: Base, names: list[str], limit: int, streams: int | None):
        self.chat, self.names, self.limit = Chat.load(base.model, base.revision), names, limit
        self.streams = streams  # rows under way at once; None: the usual number of threads

    def measure(self, rows: list[Record], instructions: str | None = None) -> list[Measurement]:
        """Each row's summed negative log-likelihood (nats) over its supervised tokens, under every model.

        With `instructions` there is one more, PROMPT: the base with them at the end of its system prompt.
        """
        encoded = encode_rows(rows, self.chat, self.limit)
        with ThreadPoolExecutor(self.streams) as pool:
            found = pool.map(self._row, rows, encoded, [instructions] * len(rows))
            return list(progress(found, "evaluate", len(rows)))

    def evidence(self, rows: list[Record], path: Path | None) -> dict[str, list[Measurement]]:
        """The rows, measured with the instructions in that file too, and the frozen set."""
        try:
            instructions = path.read_text(encoding="utf-8") if path else None
        except (OSError, UnicodeDecodeError) as error:
            raise Problem(f"evaluation.instructions {path}: cannot be read: {error}") from None
        return {"measurements": self.measure(rows, instructions), "frozen": self.measure(frozen_rows())}

    def _row(self, row: Record, encoded: dict[str, list[int]], instructions: str | None) -> Measurement:
        kinds = token_parts(row, self.chat, encoded["labels"])
        losses = {name: self._losses(encoded["input_ids"], encoded["labels"], name) for name in self.names}
        parts: dict[str, Any] = {}
        for part in sorted({*kinds}):
            nll = {name: sum(compress(values, (kind == part for kind in kinds))) for name, values in losses.items()}
            parts[part] = {"tokens": kinds.count(part), "nll": nll}
        if instructions:
            prompted = self.chat.encode(with_instructions(row, instructions))
            losses[PROMPT] = self._losses(prompted.input_ids, prompted.labels, BASE)
        nll = {name: sum(values) for name, values in losses.items()}
        return {"id": row["id"], "cluster": cluster_of(row), "tokens": len(kinds), "nll": nll, "parts": parts}

    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> list[float]:
        """Negative log-likelihood of each supervised token."""
        raise NotImplementedError


class EvaluatedModels(Models):
    """The base that was trained on with at least one adapter, loaded once, through PEFT."""

    def __init__(self, base: Base, settings: Training, adapters: dict[str, Path]):
        super().__init__(base, [*adapters, BASE], settings.max_length, streams=1)
        model, first = load_base(base, settings.quantization), next(iter(adapters))
        self.model = get_peft_model(model, PeftConfig.from_pretrained(adapters[first]), first)
        for name, folder in adapters.items():
            targets.load_adapter(self.model, folder, name)
        self.model.eval()

    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> list[float]:
        """Negative log-likelihood of each supervised token.

        Logits are made for supervised positions only (8,192 x 151,936 floats would be 5 GB).
        """
        target = torch.tensor(labels, device=self.model.device)
        positions = (target[1:] != IGNORED).nonzero().squeeze(1)  # each predicts the token after it
        ids = torch.tensor([input_ids], device=self.model.device)
        with self._selected(name), torch.inference_mode():
            logits = self.model(input_ids=ids, logits_to_keep=positions).logits[0].float()
            return torch.nn.functional.cross_entropy(logits, target[positions + 1], reduction="none").tolist()

    def _selected(self, name: str) -> AbstractContextManager:
        if name == BASE:
            return self.model.disable_adapter()
        self.model.set_adapter(name)
        return nullcontext()


class ServedModels(Models):
    """The running server's base, the adapter loaded into it as the candidate, and the incumbent where it serves that.

    What is served does not change. Raises Refused when the server does not take the adapter.
    """

    def __init__(self, config: Config, language: Language, adapters: dict[str, Path]):
        load_adapter(config, CANDIDATE, adapters["adapter"])
        self.config, self.served = config, {BASE: SERVED_BASE, "adapter": CANDIDATE}
        if (served_models(config) or {}).get(language.adapter) == str(adapters.get("incumbent")):
            self.served["incumbent"] = language.adapter
        super().__init__(config.base, [*self.served], config.serving.max_model_len - 1, streams=None)

    def measure(self, rows: list[Record], instructions: str | None = None) -> list[Measurement]:
        """As of Models, of the rows that the server takes with one token for its answer."""
        prompts = [with_instructions(row, instructions) if instructions else row for row in rows]
        lengths = [len(self.chat.encode(prompt).input_ids) for prompt in prompts]
        if longer := [row["id"] for row, length in zip(rows, lengths, strict=True) if length > self.limit]:
            say(f"left out, over serving.max_model_len {self.limit + 1}: {', '.join(longer)}")
        return super().measure([row for row in rows if row["id"] not in longer], instructions)

    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> list[float]:
        return supervised_losses(self.config, self.served[name], input_ids, labels)


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
