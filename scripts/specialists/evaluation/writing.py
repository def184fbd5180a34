"""Base and adapter write held-out turns: in the running vLLM where it may be used, else through transformers here."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from specialists.adapters import AdapterFolder
from specialists.agent import TOOLS
from specialists.cli import progress
from specialists.config import Config, Language
from specialists.evaluation.losses import EvaluatedModels
from specialists.evaluation.scoring import Canary, Score, Task, canaries, score, tasks, vllm_parser
from specialists.families import vllm_options
from specialists.records import Record, read_records
from specialists.secrets import Rules
from specialists.server import CANDIDATE, complete, load_adapter
from specialists.tables import SERVED_BASE

TURN_TOKENS = 512  # of a written turn at most; one that is cut off there counts for little
SECONDS = 600  # for all of them; what is not written by then is left out
STREAMS = 8  # turns under way at once in a server
CANARIES, CANARY_TOKENS = 8, 32  # of training rows; tokens that a model may add to one


def write_answers(
    config: Config, language: Language, models: EvaluatedModels, rows: list[Record], version: Path, served: bool
) -> dict[str, list[Score]]:
    """What base and adapter write at as many held-out turns as time allows, scored, and what it adds to canaries."""
    rules, room = Rules.of(config), config.serving.max_model_len - TURN_TOKENS
    learned = config.rows("train", language.name)
    probes = canaries(read_records(learned), models.chat, CANARIES, rules) if learned.is_file() else []
    turns: list[Canary | Task] = [*probes, *tasks(rows, models.chat, config.evaluation.generate)]
    turns = [turn for turn in turns if len(turn.prompt) <= room]  # canaries first: they are short
    if not turns:
        return {}
    parser = vllm_options(models.chat, config.serving.tool_call_parser)["--tool-call-parser"]
    parse = vllm_parser(parser, config.base.model, rows[0].get("tools") or TOOLS)
    scores: dict[str, list[Score]] = {"adapter": [], "base": []}
    for turn, answers in zip(turns, _written(config, models, turns, version, served), strict=True):
        if isinstance(turn, Canary) and answers:
            leak = turn.leak(answers["adapter"][0], answers["base"][0])
            scores["adapter"].append({"id": turn.id, "canary": turn.kind, "leak": leak})
        elif isinstance(turn, Task):
            for model, (text, whole) in answers.items():
                scores[model].append({"id": turn.id, **score(text, turn, parse, language, rules, whole)})
    return scores


def _written(
    config: Config, models: EvaluatedModels, turns: list[Canary | Task], version: Path, served: bool
) -> list[dict[str, tuple[str, bool]]]:
    """What each model writes at each turn, and whether it came to an end; nothing once the time is over."""
    names, stop = {"adapter": CANDIDATE, "base": SERVED_BASE}, models.chat.special["eos_token"]
    deadline = time.monotonic() + SECONDS

    def write(turn: Canary | Task, model: str) -> tuple[str, bool]:
        limit = CANARY_TOKENS if isinstance(turn, Canary) else TURN_TOKENS
        if not served:
            return models.generate(turn.prompt, model, limit)
        text, whole = complete(config, names[model], turn.prompt, limit)
        return text.removesuffix(stop), whole

    def both(turn: Canary | Task) -> dict[str, tuple[str, bool]]:
        return {model: write(turn, model) for model in names} if time.monotonic() < deadline else {}

    if not served:
        return [both(turn) for turn in progress(turns, "write")]
    with AdapterFolder(config.paths.adapters / CANDIDATE).lock(), ThreadPoolExecutor(STREAMS) as pool:
        load_adapter(config, CANDIDATE, version)
        return list(progress(pool.map(both, turns), "write", len(turns)))
