"""What else could tell skill from form: which of several edits a model prefers, for adapters of the laboratory.

    python benchmarks/candidates.py lab/hono lab/jekyll

The first edit of each held-out commit is put beside others in its place: with one operator, number or name of its new
code changed (three of these), without a change (the old text again), and with the new code of another commit. Counted
is how often the owner's is likelier, by the whole text and per token. Prints it for base, real and form-only adapters,
and real against form-only with the interval over commits.
"""

from __future__ import annotations

import copy
import json
import random
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts")]

from specialists.chat import IGNORED
from specialists.cli import progress, table
from specialists.config import load_config
from specialists.evaluation.gate import compare
from specialists.evaluation.losses import BASE, EvaluatedModels
from specialists.records import Record, cluster_of, is_target, read_records

ARMS = ("real", "form-only")
MUTANTS, SEED = 3, 17
FLIPPED = {"==": "!=", "!=": "==", "<": ">", ">": "<", "&&": "||", "||": "&&", "and": "or", "or": "and", "+": "-"}


def edit_of(row: Record) -> dict[str, Any] | None:
    """The function of the first learned edit of a row."""
    calls = (call["function"] for turn in filter(is_target, row["messages"]) for call in turn.get("tool_calls") or ())
    return next((function for function in calls if function["name"] == "edit"), None)


def with_code(row: Record, code: str) -> Record:
    """The row up to its first learned edit, with that new code in it."""
    row = json.loads(json.dumps(row))
    function = edit_of(row)
    assert function
    function["arguments"] = json.dumps({**json.loads(function["arguments"]), "newString": code}, ensure_ascii=False)
    last = next(
        number
        for number, turn in enumerate(row["messages"])
        if is_target(turn) and any(call["function"] is function for call in turn.get("tool_calls") or ())
    )
    return {**row, "messages": row["messages"][: last + 1]}


def mutants(code: str, names: list[str], rng: random.Random) -> Iterator[str]:
    """The code with one operator flipped, one number raised or one name put for another."""
    places = list(re.finditer(r"(?<= )(?:[=!]=|[<>+]|&&|\|\||and|or)(?= )|\b\d+\b|\b[A-Za-z_]\w{2,}\b", code))
    for place in rng.sample(places, min(MUTANTS, len(places))):
        old = place[0]
        others = [name for name in names if name != old]
        new = FLIPPED.get(old) or (str(int(old) + 1) if old.isdecimal() else rng.choice(others) if others else None)
        if new:
            yield code[: place.start()] + new + code[place.end() :]


def losses(models: EvaluatedModels, rows: list[Record], name: str) -> list[tuple[float, int]]:
    """Loss in nats and number of tokens of each row's last answer, from where the first two rows differ."""
    import torch

    encoded = [models.chat.encode(row) for row in rows]
    ids = [one.input_ids for one in encoded]
    pairs = (zip(ids[0], one, strict=False) for one in ids[1:])
    shared = min(sum(1 for _same in takewhile(lambda pair: pair[0] == pair[1], both)) for both in pairs)
    found = []
    if name != BASE:
        models.model.set_adapter(name)
    with models.model.disable_adapter() if name == BASE else nullcontext(), torch.inference_mode():
        before = models.model(input_ids=torch.tensor([ids[0][: shared - 1]]), use_cache=True).past_key_values
        for one in encoded:
            rest = torch.tensor([one.input_ids[shared - 1 :]])
            logits = models.model(input_ids=rest, past_key_values=copy.deepcopy(before)).logits[0, :-1].float()
            target = torch.tensor(one.labels[shared:])
            found.append(
                (
                    float(torch.nn.functional.cross_entropy(logits, target, reduction="sum", ignore_index=IGNORED)),
                    int((target != IGNORED).sum()),
                )
            )
    return found


def measured(lab: Path) -> list[dict[str, Any]]:
    """For each held-out edit: its cluster, and model -> {(other, by): share of the others that the owner's beats}."""
    (config,) = (load_config(path) for path in lab.glob("real/specialists.toml"))
    (language,) = config.languages.values()
    adapters = {arm: path for arm in ARMS for path in lab.glob(f"{arm}/adapters/*/latest")}
    models = EvaluatedModels(config.base, language.training, {arm: path.resolve() for arm, path in adapters.items()})
    rows = [row for row in read_records(config.rows("heldout", language.name)) if edit_of(row)]
    given = [json.loads((edit_of(row) or {})["arguments"]) for row in rows]
    rng, found = random.Random(SEED), []
    for number in progress(range(len(rows)), lab.name):
        row, old, code = rows[number], given[number]["oldString"], given[number]["newString"]
        names = sorted(set(re.findall(r"\b[A-Za-z_]\w{2,}\b", code)))
        other = given[(number + len(rows) // 2) % len(rows)]["newString"]
        places = {"mutant": list(mutants(code, names, rng)), "no change": [old], "another's": [other]}
        variants = [with_code(row, text) for text in (code, *(text for some in places.values() for text in some))]
        beats = {}
        for name in (BASE, *ARMS):
            (own, count), *others = losses(models, variants, name)
            left = iter(others)
            for what, some in places.items():
                worse = [next(left) for _text in some]
                if worse:
                    beats[name, what, "whole"] = sum(own < loss for loss, _count in worse) / len(worse)
                    beats[name, what, "per token"] = sum(own / count < loss / n for loss, n in worse) / len(worse)
        found.append({"cluster": cluster_of(row), "beats": beats})
    return found


@click.command()
@click.argument("labs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(labs: tuple[Path, ...]) -> None:
    """One table of all folders, a line for each kind of other edit."""
    shown = []
    for lab in labs:
        rows = measured(lab)
        for what, by in [(what, by) for what in ("mutant", "no change", "another's") for by in ("whole", "per token")]:
            known = [(row["cluster"], row["beats"]) for row in rows if (BASE, what, by) in row["beats"]]
            nll = [(cluster, {name: beats[name, what, by] for name in (BASE, *ARMS)}) for cluster, beats in known]
            measured_ = [{"cluster": cluster, "tokens": 1, "nll": shares} for cluster, shares in nll]
            result = compare(measured_, *ARMS)
            base = compare(measured_, ARMS[0], BASE)
            low, high = result["interval"]
            rates = [f"{value:.1%}" for value in (base[BASE], result["real"], result["form-only"])]
            shown.append([lab.name, what, by, result["clusters"], *rates, f"{low:+.3f} to {high:+.3f}"])
    print(table(shown, ["commits of", "against", "by", "n", "base", *ARMS, "real minus form-only"]))


if __name__ == "__main__":
    main()
