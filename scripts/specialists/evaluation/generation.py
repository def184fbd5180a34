"""Base and adapter write held-out turns, in the running server."""

from concurrent.futures import ThreadPoolExecutor

from specialists.agent import TOOLS
from specialists.cli import progress
from specialists.config import Config, Language
from specialists.evaluation.losses import ServedModels, requests
from specialists.evaluation.scoring import Canary, Score, Task, canaries, score, tasks, vllm_parser
from specialists.families import vllm_options
from specialists.records import Record, read_records
from specialists.secrets import redact
from specialists.server import complete

TURN_TOKENS = 512  # of a written turn at most; one that is cut off there counts for little
SHOWN = 3  # turns whose texts are kept for the report
STREAMS = 8  # turns under way at once in a server
CANARIES, CANARY_TOKENS = 8, 32  # of training rows; tokens that a model may add to one


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
