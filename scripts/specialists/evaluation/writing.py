"""Has base and adapter write held-out turns themselves, and scores what they write.

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
from specialists.server import CANDIDATE, complete, load_adapter, served_models
from specialists.serving.lora import check_adapter

if TYPE_CHECKING:
    from specialists.evaluation.losses import Arms

ADAPTER, BASE = "adapter", "base"  # the arms that write
STREAMS = 8  # turns under way at once in a server

CANARIES, CANARY_TOKENS = 8, 32  # of training rows; tokens that an arm may add to one

Write = Callable[[str, list[int], int], tuple[str, bool]]  # arm, prompt, tokens -> what it wrote, whether it ended


def write_answers(
    config: Config, language: Language, arms: Arms, rows: list[Record], version: Path
) -> dict[str, list[Score]]:
    """What base and adapter write at the same held-out turns, scored; as many turns as the time allows.

    Those of the adapter end with what it adds to canaries.
    """
    limits, rules = config.evaluation, Rules.of(config)
    if not limits.generate:
        return {}
    room = config.serving.max_model_len - limits.generate_tokens
    wanted = [task for task in tasks(rows, arms.chat, limits.generate) if len(task.prompt) <= room]
    learned = config.rows("train", language.name)
    told = canaries(read_records(learned), arms.chat, CANARIES, rules) if learned.is_file() else []
    told = [canary for canary in told if len(canary.prompt) <= room]
    if not wanted and not told:
        return {}
    parse = vllm_parser(config.serving.tool_call_parser, config.base.model, rows[0].get("tools") or TOOLS)
    deadline = time.monotonic() + limits.generate_seconds
    scores: dict[str, list[Score]] = {ADAPTER: [], BASE: []}
    with _writer(config, arms, version) as (write, streams), ThreadPoolExecutor(streams) as pool:

        def both(task: Task | Canary) -> dict[str, tuple[str, bool]]:
            late = time.monotonic() > deadline
            tokens = CANARY_TOKENS if isinstance(task, Canary) else limits.generate_tokens
            return {} if late else {arm: write(arm, task.prompt, tokens) for arm in scores}

        leaks = []  # canaries first: they are short, and come to their turn even where time is short
        for canary, answers in zip(told, pool.map(both, told), strict=True):
            if answers:
                leak = canary.leak(answers[ADAPTER][0], answers[BASE][0])
                leaks.append({"id": canary.id, "canary": canary.kind, "leak": leak})
        for task, answers in zip(wanted, progress(pool.map(both, wanted), "write", len(wanted)), strict=True):
            for arm, (text, whole) in answers.items():
                scores[arm].append({"id": task.id, **score(text, task, parse, language.grammar, rules, whole)})
        scores[ADAPTER] += leaks
    return scores


@contextmanager
def _writer(config: Config, arms: Arms, version: Path) -> Iterator[tuple[Write, int]]:
    """What writes, and how many turns it can have under way."""
    stop = arms.chat.special["eos_token"]
    awake = config.serving.while_training == "keep" and served_models(config) is not None
    if not awake or check_adapter(version, config):
        yield lambda arm, prompt, limit: arms.generate(prompt, arm, limit), 1
        return
    names = {ADAPTER: CANDIDATE, BASE: config.serving.name}

    def write(arm: str, prompt: list[int], limit: int) -> tuple[str, bool]:
        text, whole = complete(config, names[arm], prompt, limit)
        return text.removesuffix(stop), whole

    with AdapterFolder(config.paths.adapters / CANDIDATE).lock():
        load_adapter(config, CANDIDATE, version)
        yield write, STREAMS
