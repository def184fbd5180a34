"""Held-out loss of base and adapters on the same rows, by what each supervised token is; the turns that they write."""

import json
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import compress, cycle
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model

from specialists.agent import NEW_CODE, TOOLS, captured, with_head
from specialists.chat import IGNORED, Chat
from specialists.cli import progress, say
from specialists.config import Base, Config, Language, Problem, Training
from specialists.dataset import FROZEN
from specialists.evaluation.gate import CHANGED, Measurement
from specialists.evaluation.scoring import Canary, Score, Task, canaries, score, tasks, vllm_parser
from specialists.exclusion import Exclusion
from specialists.families import vllm_options
from specialists.records import Record, calls_of, cluster_of, is_target, read_records
from specialists.secrets import redact
from specialists.server import CANDIDATE, complete, load_adapter, served_models, supervised_losses
from specialists.tables import SERVED_BASE
from specialists.training import targets
from specialists.training.base_model import load_base
from specialists.training.trainer import encode_rows

BASE = "base"  # the model without an adapter
PROMPT, EXAMPLES = "prompt", "examples"  # the base with the owner's instructions, or with his nearest work, as well
TURN_TOKENS = 512  # of a written turn at most; one that is cut off there counts for little
SHOWN = 3  # turns whose texts are kept for the report
STREAMS = 8  # turns under way at once in a server
CANARIES, CANARY_TOKENS = 8, 32  # of training rows; tokens that a model may add to one
EXAMPLE = 4_000  # characters of an example in a prompt at most
# how a template writes a text: as it is, or as a JSON string
_FORMS = (str, lambda text: json.dumps(text, ensure_ascii=False)[1:-1], lambda text: json.dumps(text)[1:-1])
CODE = {*NEW_CODE.items(), ("edit", "oldString")}  # (tool, argument) that hold code


class Models(ABC):
    """The base with adapters. A model's name is BASE or that of an adapter; a subclass says how its losses are had."""

    def __init__(self, base: Base, names: list[str], limit: int, room: float, streams: int | None):
        self.chat, self.names, self.limit = Chat.load(base.model, base.revision), names, limit
        self.room, self.streams = room, streams  # of a row with a longer prompt; rows under way at once, None: threads

    def measure(self, rows: list[Record], rivals: list[dict[str, str]] | None = None) -> list[Measurement]:
        """Each row's summed negative log-likelihood (nats) over its supervised tokens, under every model.

        `rivals` has for each row what else the base is measured with: a name, and the end of its system prompt. Rows
        with rivals are also measured behind the requests of other ones: "other", the loss of their changed code."""
        encode_rows(rows, self.chat, self.limit)
        half, given = len(rows) // 2, rivals or [{}] * len(rows)
        others = map(with_requests, rows, rows[half:] + rows[:half]) if rivals else [None] * len(rows)
        with ThreadPoolExecutor(self.streams) as pool:
            return list(progress(pool.map(self._row, rows, others, given), "evaluate", len(rows)))

    def evidence(self, rows: list[Record], config: Config, language: Language) -> dict[str, Any]:
        """The rows, measured with the owner's instructions and with the nearest learned rows too; the frozen set; other
        people's commits. "prompts": each rival's text, to paste; of the examples the two that are near to most rows."""
        path, learned = config.evaluation.instructions, config.rows("train", language.name)
        try:
            own = {PROMPT: path.read_text(encoding="utf-8")} if path else {}
        except (OSError, UnicodeDecodeError) as error:
            raise Problem(f"evaluation.instructions {path}: cannot be read: {error}") from None
        near = nearest_examples(rows, list(read_records(learned)) if learned.is_file() else [])
        rivals = [{**own, **_prompt(examples)} for examples in near]
        often = [text for text, _rows in Counter(text for examples in near for text in examples).most_common(2)]
        measured = {"measurements": self.measure(rows, rivals), "frozen": self.measure([*read_records(FROZEN)])}
        found = read_records(path) if (path := config.rows("others", language.name)).is_file() else ()
        kept = (row for row in found if not Exclusion(config).covers(row["source"]))
        others = self.measure([with_head(row, language, captured(config), 1.0) for row in kept])  # as held-out rows are
        return {**measured, "others": others, "prompts": {**own, **_prompt(often)}}

    def _row(self, row: Record, other: Record | None, rivals: dict[str, str]) -> Measurement:
        tokens, losses = self._by_part(row, self.names)
        for name, text in rivals.items():
            if self._fits(prompted := with_instructions(row, text)):
                losses[name] = self._by_part(prompted, [BASE])[1][BASE]
        nll = {name: sum(parts.values()) for name, parts in losses.items()}
        parts = {part: {"tokens": tokens[part], "nll": {n: losses[n][part] for n in losses}} for part in sorted(tokens)}
        measured = {"id": row["id"], "cluster": cluster_of(row), "tokens": tokens.total(), "nll": nll, "parts": parts}
        if other and tokens[CHANGED] and self._fits(other):
            measured["other"] = {name: found[CHANGED] for name, found in self._by_part(other, self.names)[1].items()}
        return measured

    def _by_part(self, row: Record, names: list[str]) -> tuple[Counter[str], dict[str, dict[str, float]]]:
        """Number of a row's supervised tokens by part, and under each of those models their loss in nats."""
        encoded = self.chat.encode(row)
        kinds = token_parts(row, self.chat, encoded.labels)
        losses: dict[str, dict[str, float]] = {name: dict.fromkeys(kinds, 0.0) for name in names}
        for name in names:
            for kind, loss in zip(kinds, self._losses(encoded.input_ids, encoded.labels, name), strict=True):
                losses[name][kind] += loss
        return Counter(kinds), losses

    def _fits(self, row: Record) -> bool:
        return len(self.chat.encode(row).input_ids) <= self.room

    @abstractmethod
    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> list[float]:
        """Negative log-likelihood of each supervised token."""


class EvaluatedModels(Models):
    """The base that was trained on with at least one adapter, loaded once, through PEFT."""

    def __init__(self, base: Base, settings: Training, adapters: dict[str, Path]):
        super().__init__(base, [*adapters, BASE], settings.max_length, math.inf, streams=1)
        model, first = load_base(base, settings.quantization), next(iter(adapters))
        self.model = get_peft_model(model, PeftConfig.from_pretrained(adapters[first]), first)
        for name, folder in adapters.items():
            targets.load_adapter(self.model, folder, name)
        self.model.eval()

    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> list[float]:
        # logits of supervised positions only: 8,192 x 151,936 floats would be 5 GB
        target = torch.tensor(labels, device=self.model.device)
        positions = (target[1:] != IGNORED).nonzero().squeeze(1)  # each predicts the token after it
        ids = torch.tensor([input_ids], device=self.model.device)
        if name != BASE:
            self.model.set_adapter(name)
        with self.model.disable_adapter() if name == BASE else nullcontext(), torch.inference_mode():
            logits = self.model(input_ids=ids, logits_to_keep=positions).logits[0].float()
            return torch.nn.functional.cross_entropy(logits, target[positions + 1], reduction="none").tolist()


class ServedModels(Models):
    """The running server's base, the adapter loaded into it as the candidate, and the incumbent where it serves that.

    What is served does not change. Raises Refused when the server does not take the adapter."""

    def __init__(self, config: Config, language: Language, adapters: dict[str, Path]):
        load_adapter(config, CANDIDATE, adapters["adapter"])
        self.config, self.served = config, {BASE: SERVED_BASE, "adapter": CANDIDATE}
        if (served_models(config) or {}).get(language.adapter) == str(adapters.get("incumbent")):
            self.served["incumbent"] = language.adapter
        room = config.serving.max_model_len - 1
        super().__init__(config.base, [*self.served], room, room, streams=None)

    def measure(self, rows: list[Record], rivals: list[dict[str, str]] | None = None) -> list[Measurement]:
        """As of Models, of the rows that the server takes with one token for its answer."""
        fit = [self._fits(row) for row in rows]
        if longer := [row["id"] for row, fits in zip(rows, fit, strict=True) if not fits]:
            say(f"left out, over serving.max_model_len {self.limit + 1}: {', '.join(longer)}")
        return super().measure([*compress(rows, fit)], rivals and [*compress(rivals, fit)])

    def _losses(self, input_ids: list[int], labels: list[int], name: str) -> list[float]:
        return supervised_losses(self.config, self.served[name], input_ids, labels)


def token_parts(record: Record, chat: Chat, labels: list[int]) -> list[str]:
    """What each supervised token is: CHANGED (new lines of code), "code" (others), "prose", or "syntax" of calls."""
    text, spans = chat.targets(record)
    starts, kinds = [0], ["syntax"]  # from starts[i] on, a character is of kinds[i]
    for index, (position, end) in spans.items():
        for pieces in _values(record["messages"][index]):
            value = "".join(piece for _part, piece in pieces)
            for form in _FORMS:
                if (found := text.find(form(value), position, end)) >= 0:
                    for part, piece in [*pieces, ("syntax", "")]:
                        starts.append(found)
                        kinds.append(part)
                        found += len(form(piece))
                    position = found
                    break
    offsets = chat.tokenizer.encode(text, add_special_tokens=False).offsets
    supervised = (start for (start, _end), label in zip(offsets, labels, strict=True) if label != IGNORED)
    return [kinds[bisect_right(starts, start) - 1] for start in supervised]


def _values(message: dict[str, Any]) -> Iterator[list[tuple[str, str]]]:
    """The texts in a message that are no syntax, in their order, each as pieces with what they are."""
    if content := (message.get("content") or "").strip():
        yield [("prose", content)]
    for name, arguments in calls_of(message):
        old = {line.strip() for line in str(arguments.get("oldString", "")).splitlines()} | {""}
        for argument, value in arguments.items():
            if (name, argument) in CODE and isinstance(value, str) and value.strip():
                new = argument != "oldString"
                lines = value.strip().splitlines(keepends=True)
                yield [(CHANGED if new and line.strip() not in old else "code", line) for line in lines]


def requests(record: Record) -> list[str]:
    """What the owner asks for in a record."""
    return [message["content"] for message in record["messages"] if message["role"] == "user"]


def with_requests(record: Record, other: Record) -> Record | None:
    """A record with the requests of another session or commit; None where that is none, or has none."""
    if cluster_of(record) == cluster_of(other) or not (texts := requests(other)):
        return None
    given = cycle(texts)
    messages = [{**m, "content": next(given)} if m["role"] == "user" else m for m in record["messages"]]
    return {**record, "messages": messages}


def nearest_examples(rows: list[Record], learned: list[Record]) -> list[list[str]]:
    """For each row the two learned ones whose request and code are most like its requests (BM25)."""
    texts = [example for row in learned if (example := _example(row))]
    if not texts or not rows:
        return [[] for _row in rows]
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    asked = bm25s.tokenize([" ".join(requests(row)) for row in rows], show_progress=False)
    found = index.retrieve(asked, k=min(2, len(texts)), show_progress=False).documents.tolist()
    return [[texts[number] for number in near] for near in found]


def _prompt(examples: list[str]) -> dict[str, str]:
    """Examples as a rival, if there are any."""
    return {EXAMPLES: "\n\n".join(["Earlier work:", *examples])} if examples else {}


def _example(row: Record) -> str:
    """A learned row's first request, and the calls that did the work; empty without one."""
    calls = [call["function"] for turn in filter(is_target, row["messages"]) for call in turn.get("tool_calls") or ()]
    work = [f"{function['name']} {function['arguments']}" for function in calls if function["name"] in NEW_CODE]
    return "\n".join([*requests(row)[:1], *work])[:EXAMPLE] if work else ""


def with_instructions(record: Record, instructions: str) -> Record:
    """A record whose system prompt ends with these instructions."""
    messages = record["messages"]
    if messages[0]["role"] == "system":
        instructions, messages = f"{messages[0]['content']}\n\n{instructions}", messages[1:]
    return {**record, "messages": [{"role": "system", "content": instructions}, *messages]}


def generate(config: Config, language: Language, models: ServedModels, rows: list[Record]) -> dict[str, list[Score]]:
    """What base and adapter write at held-out turns, scored, and what it adds to canaries."""
    rules, room = config.secrets, config.serving.max_model_len - TURN_TOKENS
    learned = config.rows("train", language.name)
    probes = canaries(read_records(learned), models.chat, CANARIES, rules) if learned.is_file() else []
    turns: list[Canary | Task] = [*probes, *tasks(rows, models.chat, config.evaluation.generate)]
    turns = [turn for turn in turns if len(turn.prompt) <= room]  # canaries first: they are short
    if not turns:
        return {}
    parser = vllm_options(models.chat, config.serving.tool_call_parser)["--tool-call-parser"]
    parse = vllm_parser(parser, config.base.model, rows[0].get("tools") or TOOLS)

    def write(turn: Canary | Task) -> dict[str, tuple[str, bool]]:
        limit, stop = CANARY_TOKENS if isinstance(turn, Canary) else TURN_TOKENS, models.chat.special["eos_token"]
        written = {name: complete(config, models.served[name], turn.prompt, limit) for name in ("adapter", "base")}
        return {name: (text.removesuffix(stop), whole) for name, (text, whole) in written.items()}

    scores: dict[str, list[Score]] = {"adapter": [], "base": []}
    with ThreadPoolExecutor(STREAMS) as pool:
        answered = list(progress(pool.map(write, turns), "write", len(turns)))
    asked = {row["id"]: requests(row) for row in rows}
    for turn, answers in zip(turns, answered, strict=True):
        if isinstance(turn, Canary):
            leak = turn.leak(answers["adapter"][0], answers["base"][0])
            scores["adapter"].append({"id": turn.id, "canary": turn.kind, "leak": leak})
            continue
        for model, (text, whole) in answers.items():
            shown = {"request": "\n".join(asked[turn.id]), "text": redact(text, rules)[0]}
            kept = shown if len(scores["base"]) < SHOWN else {}
            scores[model].append({"id": turn.id, **score(text, turn, parse, language, rules, whole), **kept})
    return scores
