"""The verdict on an adapter: promote, hold or block, from paired held-out losses.

Differences are in nats per supervised token, adapter minus base: below zero is better. The interval is a percentile
bootstrap over whole clusters (sessions, commits), because the rows of one session are not independent (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8 and 13).
"""

from __future__ import annotations

import math
from typing import Any

from specialists.config import Evaluation

Measurement = dict[str, Any]  # {"cluster": str, "tokens": int, "nll": {arm: float}}


def compare(rows: list[Measurement], arm: str, against: str, settings: Evaluation, seed: int) -> dict[str, Any]:
    """Loss of two arms per token, their difference and its interval; needs at least one row.

    Returns {arm: loss, against: loss, "difference", "relative" (of `against`), "interval": [low, high]}.
    """
    import numpy

    clusters: dict[str, list[float]] = {}
    for row in rows:
        sums = clusters.setdefault(row["cluster"], [0.0, 0.0, 0.0])
        for index, value in enumerate((row["tokens"], row["nll"][arm], row["nll"][against])):
            sums[index] += value
    totals = numpy.array([clusters[name] for name in sorted(clusters)])  # (clusters, 3)
    count = len(totals)
    draws = numpy.random.default_rng(seed).multinomial(count, [1 / count] * count, size=settings.resamples)
    tokens, first, second = (draws @ totals).T
    tail = (1 - settings.confidence) / 2
    low, high = numpy.quantile((first - second) / tokens, [tail, 1 - tail])
    tokens, first, second = map(float, totals.sum(axis=0))
    difference = (first - second) / tokens
    return {
        arm: first / tokens,
        against: second / tokens,
        "difference": difference,
        "relative": difference / (second / tokens) if second else 0.0,
        "interval": [float(low), float(high)],
    }


def verdict(rows: list[Measurement], settings: Evaluation, seed: int = 0) -> dict[str, Any]:
    """Decide on the arm "adapter" against "base", and against "incumbent" where that was measured too.

    Returns {"verdict", "reason", "rows", "clusters", "loss", "incumbent"?}; never raises on numbers.
    """
    clusters = len({row["cluster"] for row in rows})
    result: dict[str, Any] = {"rows": len(rows), "clusters": clusters, "loss": None}
    if not all(math.isfinite(value) for row in rows for value in row["nll"].values()):
        return {**result, "verdict": "block", "reason": "the adapter's loss is not finite"}
    if not rows:
        return {**result, "verdict": "hold", "reason": "no held-out examples yet: nothing to prove it with"}
    loss = compare(rows, "adapter", "base", settings, seed)
    result["loss"] = loss
    if all(row["nll"]["adapter"] == row["nll"]["base"] for row in rows):
        return {**result, "verdict": "block", "reason": "the adapter is dead: every loss is exactly the base's"}
    if "incumbent" in rows[0]["nll"]:
        result["incumbent"] = compare(rows, "adapter", "incumbent", settings, seed)
    return {**result, **_decide(result, settings)}


def _decide(result: dict[str, Any], settings: Evaluation) -> dict[str, str]:
    loss, (low, high) = result["loss"], result["loss"]["interval"]
    change = f"held-out loss {loss['base']:.3f} -> {loss['adapter']:.3f} ({loss['relative']:+.1%})"
    if low > 0:
        return {"verdict": "block", "reason": f"worse than the base: {change}"}
    if result["clusters"] < settings.clusters:
        few = f"{result['clusters']} held-out sessions and commits; {settings.clusters} are needed"
        return {"verdict": "hold", "reason": f"{change} on {few}"}
    if high >= 0:
        return {"verdict": "hold", "reason": f"not enough evidence: {change}, interval {low:+.3f} to {high:+.3f}"}
    if -loss["relative"] < settings.gain:
        return {"verdict": "hold", "reason": f"too small a gain: {change}; {settings.gain:.0%} is asked for"}
    if (incumbent := result.get("incumbent")) and incumbent["interval"][0] > 0:
        return {"verdict": "hold", "reason": f"better than the base, worse than the incumbent: {change}"}
    return {"verdict": "promote", "reason": change}
