"""Lets base and adapter write held-out turns themselves, and scores what they write.

In the running vLLM where there is one that may be used, many at a time; else through transformers in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from specialists.adapters import AdapterFolder
from specialists.agent import TOOLS
from specialists.cli import progress
from specialists.config import Config, Language
from specialists.evaluation.scoring import Canary, Score, Task, canaries, score, tasks, vllm_parser
from specialists.records import Record, read_records
from specialists.secrets import Rules
from specialists.server import CANDIDATE, complete, load_adapter

if TYPE_CHECKING:
    from specialists.evaluation.losses import EvaluatedModels

TURN_TOKENS = 512  # of a written turn at most; one that is cut off there counts for little
SECONDS = 600  # for all of them; what is not written by then is left out
STREAMS = 8  # turns under way at once in a server
CANARIES, CANARY_TOKENS = 8, 32  # of training rows; tokens that a model may add to one

Write = Callable[[str, list[int], int], tuple[str, bool]]  # model, prompt, tokens -> what it wrote, whether it ended


def write_answers(
    config: Config, language: Language, models: EvaluatedModels, rows: list[Record], version: Path, served: bool
) -> dict[str, list[Score]]:
    """What base and adapter write at the same held-out turns, scored; the adapter's end with what it adds to canaries.

    As many turns as the time allows, written by the running server where `served`.
    """
    if not config.evaluation.generate:
        return {}
    rules, room = Rules.of(config), config.serving.max_model_len - TURN_TOKENS
    learned = config.rows("train", language.name)
    probes = canaries(read_records(learned), models.chat, CANARIES, rules) if learned.is_file() else []
    turns: list[Canary | Task] = [*probes, *tasks(rows, models.chat, config.evaluation.generate)]
    turns = [turn for turn in turns if len(turn.prompt) <= room]  # canaries first: they are short
    if not turns:
        return {}
    parse = vllm_parser(config.serving.tool_call_parser, config.base.model, rows[0].get("tools") or TOOLS)
    deadline = time.monotonic() + SECONDS
    scores: dict[str, list[Score]] = {"adapter": [], "base": []}
    leaks = []
    with _writer(config, models, version, served) as (write, streams), ThreadPoolExecutor(streams) as pool:

        def both(turn: Canary | Task) -> dict[str, tuple[str, bool]]:
            tokens = CANARY_TOKENS if isinstance(turn, Canary) else TURN_TOKENS
            in_time = time.monotonic() < deadline
            return {model: write(model, turn.prompt, tokens) for model in scores if in_time}

        for turn, answers in zip(turns, progress(pool.map(both, turns), "write", len(turns)), strict=True):
            if isinstance(turn, Canary) and answers:
                leak = turn.leak(answers["adapter"][0], answers["base"][0])
                leaks.append({"id": turn.id, "canary": turn.kind, "leak": leak})
            elif isinstance(turn, Task):
                for model, (text, whole) in answers.items():
                    scores[model].append({"id": turn.id, **score(text, turn, parse, language.grammar, rules, whole)})
    scores["adapter"] += leaks
    return scores


@contextmanager
def _writer(config: Config, models: EvaluatedModels, version: Path, served: bool) -> Iterator[tuple[Write, int]]:
    """What writes, and how many turns it can have under way."""
    if not served:
        yield lambda model, prompt, limit: models.generate(prompt, model, limit), 1
        return
    names, stop = {"adapter": CANDIDATE, "base": config.serving.name}, models.chat.special["eos_token"]

    def write(model: str, prompt: list[int], limit: int) -> tuple[str, bool]:
        text, whole = complete(config, names[model], prompt, limit)
        return text.removesuffix(stop), whole

    with AdapterFolder(config.paths.adapters / CANDIDATE).lock():
        load_adapter(config, CANDIDATE, version)
        yield write, STREAMS
