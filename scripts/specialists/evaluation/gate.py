"""The verdict on an adapter: promote, hold or block, from paired measurements on held-out work.

Differences are in nats per supervised token, adapter minus base: below zero is better. The interval is a percentile
bootstrap over whole clusters (sessions, commits), because the rows of one session are not independent, with the tails
of Hesterberg's expanded percentile interval (What Teachers Should Know About the Bootstrap, 2015), as clusters are few.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

from specialists.config import Evaluation

Measurement = dict[str, Any]  # {"id", "cluster", "tokens", "nll": {model: nats}, "parts": {part: {"tokens", "nll"}}}

RESAMPLES = 10_000  # of the clusters; chance moves the ends of an interval by about 1 % of its width
CONFIDENCE = 0.95  # of the interval
SEED = 17  # of the resamples: the same measurements give the same verdict
CLUSTERS = 5  # held-out sessions and commits under which nothing is promoted: an interval over fewer is too narrow
TURNS = 12  # of which a rate has to be, the adapter's and the base's, to block; of fewer it holds
RATES = (  # of the turns that it writes: how far each may fall below the base's, and which it must reach
    ("valid", "valid tool calls", 0.01, 0.98),
    ("called", "answers with a tool call", 0.01, 0.0),
    ("parses", "edits that parse", 0.02, 0.0),
)
SIMILARITY = 0.02  # how much less like the owner's its edits may be than the base's


def compare(rows: list[Measurement], model: str, against: str) -> dict[str, Any]:
    """Loss of two models per token, their difference and its interval; needs at least one row.

    Returns {model: loss, against: loss, "difference", "relative" (of `against`), "interval": [low, high],
    "signs": {"better", "worse": clusters}}.
    """
    import numpy

    names, member = numpy.unique([row["cluster"] for row in rows], return_inverse=True)
    totals, count = numpy.zeros((len(names), 3)), len(names)
    numpy.add.at(totals, member, [[row["tokens"], row["nll"][model], row["nll"][against]] for row in rows])
    draws = numpy.random.default_rng(SEED).multinomial(count, [1 / count] * count, size=RESAMPLES)
    tokens, first, second = (draws @ totals).T
    tail = expanded_tail(CONFIDENCE, count)
    interval = [float(end) for end in numpy.quantile((first - second) / tokens, [tail, 1 - tail])]
    better, worse = (int((sign * (totals[:, 1] - totals[:, 2]) < 0).sum()) for sign in (1, -1))
    tokens, first, second = map(float, totals.sum(axis=0))
    difference = (first - second) / tokens
    return {
        model: first / tokens,
        against: second / tokens,
        "difference": difference,
        "relative": difference / (second / tokens) if second else 0.0,
        "interval": interval,
        "signs": {"better": better, "worse": worse},
    }


def expanded_tail(confidence: float, clusters: int) -> float:
    """Share of resamples beyond each end of an interval over n clusters: Phi(-sqrt(n / (n - 1)) t).

    The quantile t of Student's distribution is Abramowitz and Stegun's 26.7.5, to 0.3 % from five clusters on.
    """
    normal, free = NormalDist(), max(1, clusters - 1)
    z = normal.inv_cdf((1 + confidence) / 2)
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return normal.cdf(-math.sqrt((free + 1) / free) * t)


def verdict(
    rows: list[Measurement],
    settings: Evaluation,
    frozen: list[Measurement] | None = None,
    generated: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Decide on the model "adapter" against "base", and against "incumbent" where that was measured too.

    `frozen` are measurements of what should not be forgotten, `generated` each model's scoring.summary().
    Returns {"verdict", "reason", "rows", "clusters", "loss", "parts"?, "incumbent"?, "prompt"?, "forgetting"?,
    "generated"?, "needed"?: more clusters that would decide, or None}; never raises on numbers.
    """
    result: dict[str, Any] = {"rows": len(rows), "clusters": len({row["cluster"] for row in rows}), "loss": None}
    if not all(math.isfinite(value) for row in [*rows, *(frozen or [])] for value in row["nll"].values()):
        return {**result, "verdict": "block", "reason": "the adapter's loss is not finite"}
    if not rows:
        return {**result, "verdict": "hold", "reason": "no held-out examples yet: nothing to prove it with"}
    result |= {"loss": compare(rows, "adapter", "base"), "parts": by_part(rows)}
    for model in ("incumbent", "prompt"):
        if model in rows[0]["nll"]:
            result[model] = compare(rows, "adapter", model)
    if frozen:
        result["forgetting"] = compare(frozen, "adapter", "base")
    if generated:
        result["generated"] = generated
    if all(row["nll"]["adapter"] == row["nll"]["base"] for row in rows):
        return {**result, "verdict": "block", "reason": "the adapter has no effect: every loss is exactly the base's"}
    if reason := _blocked(result, settings):
        return {**result, "verdict": "block", "reason": reason}
    result["needed"] = clusters_needed(result)
    if reason := _held(result, settings):
        return {**result, "verdict": "hold", "reason": reason}
    return {**result, "verdict": "promote", "reason": f"held-out loss {_losses(result['loss'])}"}


def by_part(rows: list[Measurement]) -> dict[str, dict[str, float]]:
    """Loss per token of code, syntax and prose: part -> {"tokens", model: loss}."""
    sums: defaultdict[str, Counter] = defaultdict(Counter)
    for row in rows:
        for part, measured in row.get("parts", {}).items():
            sums[part].update({"tokens": measured["tokens"], **measured["nll"]})
    return {
        part: {name: value if name == "tokens" else value / total["tokens"] for name, value in total.items()}
        for part, total in sums.items()
    }


def clusters_needed(result: dict[str, Any]) -> int | None:
    """How many more held-out clusters would decide, if they were like those there are; None when none would."""
    clusters, difference, high = result["clusters"], result["loss"]["difference"], result["loss"]["interval"][1]
    if difference >= 0:
        return None
    # an interval narrows with the square root of their number
    return max(CLUSTERS, clusters, math.ceil(clusters * ((high - difference) / difference) ** 2)) - clusters or None


def _blocked(result: dict[str, Any], settings: Evaluation) -> str | None:
    """Why it must never be served."""
    if result["loss"]["interval"][0] > 0:
        return f"worse than the base: held-out loss {_losses(result['loss'])}"
    if generated := result.get("generated"):
        if leaks := generated["adapter"]["leaks"]:
            return f"it writes secrets: {', '.join(leaks)}"
        for reason, turns in _worse_turns(generated):
            if turns >= TURNS:
                return reason
    forgetting = result.get("forgetting")
    if forgetting and forgetting["relative"] > settings.forgetting and forgetting["interval"][0] > 0:
        return f"it forgets: loss on the frozen set {_losses(forgetting)}"
    return None


def _held(result: dict[str, Any], settings: Evaluation) -> str | None:
    """Why it is not proven."""
    loss, (low, high) = result["loss"], result["loss"]["interval"]
    change, needed = f"held-out loss {_losses(loss)}", result["needed"]
    if result["clusters"] < CLUSTERS:
        return f"{change} on {result['clusters']} held-out sessions and commits; {CLUSTERS} are needed"
    if high >= 0:
        more = f"about {needed} more held-out sessions or commits needed" if needed else "no gain that more could prove"
        return f"not enough evidence: {change}, interval {low:+.3f} to {high:+.3f}; {more}"
    if -loss["relative"] < settings.gain:
        return f"too small a gain: {change}; {settings.gain:.0%} is asked for"
    if (incumbent := result.get("incumbent")) and incumbent["interval"][0] > 0:
        return f"better than the base, worse than the incumbent: {change}"
    generated = result.get("generated", {"adapter": {}, "base": {}})
    for reason, _turns in _worse_turns(generated):
        return f"{reason}; {TURNS} such turns would block it"
    adapter, base = (generated[model].get("similarity") for model in ("adapter", "base"))
    if _less(adapter, base, SIMILARITY):
        return f"its edits are less like yours: similarity {base:.1%} -> {adapter:.1%}"
    return None


def _worse_turns(generated: dict[str, dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Each rate of the turns that the adapter wrote which is too low, in words, and how many turns it rests on."""
    adapter, base = generated["adapter"], generated["base"]
    for name, what, tolerance, least in RATES:
        was, now = base.get(name), adapter.get(name)
        asked = max(least, (was or 0) - tolerance)
        if _less(now, asked, 0):
            turns = min(filter(None, (model["of"][name] for model in (adapter, base))))
            yield f"{what}: {was or 0:.1%} -> {now:.1%} of {turns} turns, under {asked:.0%}", turns


def _less(adapter: float | None, base: float | None, tolerance: float) -> bool:
    """Whether a rate is below the base's by more than the tolerance; rates that are not known are not."""
    return adapter is not None and base is not None and adapter < base - tolerance - 1e-9


def _losses(loss: dict[str, Any]) -> str:
    return f"{loss['base']:.3f} -> {loss['adapter']:.3f} ({loss['relative']:+.1%})"
