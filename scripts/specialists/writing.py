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
from specialists.lora import check_adapter
from specialists.records import Record
from specialists.scoring import Score, Task, score, tasks, vllm_parser
from specialists.secrets import Rules
from specialists.server import CANDIDATE, complete, load_adapter, served_models

if TYPE_CHECKING:
    from specialists.evaluation import Arms

ADAPTER, BASE = "adapter", "base"  # the arms that write
STREAMS = 8  # turns under way at once in a server

Write = Callable[[str, list[int]], tuple[str, bool]]  # arm, prompt -> what it wrote, whether it came to an end


def write_answers(
    config: Config, language: Language, arms: Arms, rows: list[Record], version: Path
) -> dict[str, list[Score]]:
    """What base and adapter write at the same held-out turns, scored; as many turns as the time allows."""
    limits = config.evaluation
    wanted = tasks(rows, arms.chat, limits.generate) if limits.generate else []
    wanted = [task for task in wanted if len(task.prompt) + limits.generate_tokens <= config.serving.max_model_len]
    if not wanted:
        return {}
    parse = vllm_parser(config.serving.tool_call_parser, config.base.model, rows[0].get("tools") or TOOLS)
    deadline = time.monotonic() + limits.generate_seconds
    scores: dict[str, list[Score]] = {ADAPTER: [], BASE: []}
    with _writer(config, arms, version) as (write, streams), ThreadPoolExecutor(streams) as pool:

        def both(task: Task) -> dict[str, tuple[str, bool]]:
            late = time.monotonic() > deadline
            return {} if late else {arm: write(arm, task.prompt) for arm in scores}

        for task, answers in zip(wanted, progress(pool.map(both, wanted), "write", len(wanted)), strict=True):
            for arm, (text, whole) in answers.items():
                found = score(text, task, parse, language.grammar, whole, Rules.of(config))
                scores[arm].append({"id": task.id, **found})
    return scores


@contextmanager
def _writer(config: Config, arms: Arms, version: Path) -> Iterator[tuple[Write, int]]:
    """What writes, and how many turns it can have under way."""
    limit, stop = config.evaluation.generate_tokens, arms.chat.special["eos_token"]
    awake = config.serving.while_training == "keep" and served_models(config) is not None
    if not awake or check_adapter(version, config):
        yield lambda arm, prompt: arms.generate(prompt, arm, limit), 1
        return
    names = {ADAPTER: CANDIDATE, BASE: config.serving.name}

    def write(arm: str, prompt: list[int]) -> tuple[str, bool]:
        text, whole = complete(config, names[arm], prompt, limit)
        return text.removesuffix(stop), whole

    with AdapterFolder(config.paths.adapters / CANDIDATE).lock():
        load_adapter(config, CANDIDATE, version)
        yield write, STREAMS
