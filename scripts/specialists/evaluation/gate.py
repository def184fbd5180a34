"""The verdict on an adapter: promote, hold or block, from paired measurements on held-out work.

Differences are in nats per supervised token, adapter minus base: below zero is better. The interval is a percentile
bootstrap over whole clusters (sessions, commits), because the rows of one session are not independent (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8 and 13). Of few clusters such an interval is too narrow, so
its tails are those of Hesterberg's expanded percentile interval (What Teachers Should Know About the Bootstrap, 2015).
The sign test counts clusters that became better and worse; its p-value is exact (binomial, two-sided).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from specialists.config import Evaluation

if TYPE_CHECKING:
    from specialists.evaluation.losses import Measurement

Generated = dict[str, dict[str, Any]]  # arm -> scoring.summary()
Decision = tuple[str, str]  # verdict, reason


def compare(rows: list[Measurement], arm: str, against: str, settings: Evaluation, seed: int) -> dict[str, Any]:
    """Loss of two arms per token, their difference and its interval; needs at least one row.

    Returns {arm: loss, against: loss, "difference", "relative" (of `against`), "interval": [low, high],
    "signs": {"better", "worse": clusters, "p"}}.
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
    tail = expanded_tail(settings.confidence, count)
    low, high = numpy.quantile((first - second) / tokens, [tail, 1 - tail])
    better, worse = (int((sign * (totals[:, 1] - totals[:, 2]) < 0).sum()) for sign in (1, -1))
    tokens, first, second = map(float, totals.sum(axis=0))
    difference = (first - second) / tokens
    return {
        arm: first / tokens,
        against: second / tokens,
        "difference": difference,
        "relative": difference / (second / tokens) if second else 0.0,
        "interval": [float(low), float(high)],
        "signs": {"better": better, "worse": worse, "p": sign_test(better, worse)},
    }


def expanded_tail(confidence: float, clusters: int) -> float:
    """Share of resamples that lie beyond each end of an interval over so many clusters: Phi(-sqrt(n / (n - 1)) t).

    The quantile t of Student's distribution is Abramowitz and Stegun's 26.7.5, to 0.3 % from five clusters on.
    """
    normal, free = NormalDist(), max(1, clusters - 1)
    z = normal.inv_cdf((1 + confidence) / 2)
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return normal.cdf(-math.sqrt((free + 1) / free) * t)


def sign_test(better: int, worse: int) -> float:
    """How likely it is that a fair coin falls as far from even as this; ties do not count."""
    count, fewer = better + worse, min(better, worse)
    tail = sum(math.comb(count, number) for number in range(fewer + 1)) / 2**count
    return min(1.0, 2 * tail)


def verdict(
    rows: list[Measurement],
    settings: Evaluation,
    seed: int = 0,
    frozen: list[Measurement] | None = None,
    generated: Generated | None = None,
) -> dict[str, Any]:
    """Decide on the arm "adapter" against "base", and against "incumbent" where that was measured too.

    `frozen` are measurements of what should not be forgotten, `generated` what the arms wrote themselves.
    Returns {"verdict", "reason", "rows", "clusters", "loss", "parts"?, "incumbent"?, "prompt"?, "forgetting"?,
    "generated"?, "needed"? (clusters)}; never raises on numbers.
    """
    clusters = len({row["cluster"] for row in rows})
    result: dict[str, Any] = {"rows": len(rows), "clusters": clusters, "loss": None}
    if not all(math.isfinite(value) for row in [*rows, *(frozen or [])] for value in row["nll"].values()):
        return {**result, "verdict": "block", "reason": "the adapter's loss is not finite"}
    if not rows:
        return {**result, "verdict": "hold", "reason": "no held-out examples yet: nothing to prove it with"}
    result["loss"] = compare(rows, "adapter", "base", settings, seed)
    result["parts"] = by_part(rows)
    for arm in ("incumbent", "prompt"):
        if arm in rows[0]["nll"]:
            result[arm] = compare(rows, "adapter", arm, settings, seed)
    if frozen:
        result["forgetting"] = compare(frozen, "adapter", "base", settings, seed)
    if generated:
        result["generated"] = generated
    if all(row["nll"]["adapter"] == row["nll"]["base"] for row in rows):
        decided: Decision = "block", "the adapter is dead: every loss is exactly the base's"
    else:
        decided = _blocked(result, settings) or _held(result, settings) or ("promote", _change(result["loss"]))
    if decided[0] == "hold" and (needed := clusters_needed(result, settings)):
        result["needed"] = needed
    return {**result, "verdict": decided[0], "reason": decided[1]}


def by_part(rows: list[Measurement]) -> dict[str, dict[str, float]]:
    """Loss per token of code, syntax and prose: part -> {"tokens", arm: loss}."""
    sums: dict[str, dict[str, float]] = {}
    for row in rows:
        for part, measured in row.get("parts", {}).items():
            total = sums.setdefault(part, {"tokens": 0})
            total["tokens"] += measured["tokens"]
            for arm, nll in measured["nll"].items():
                total[arm] = total.get(arm, 0.0) + nll
    return {
        part: {name: value if name == "tokens" else value / total["tokens"] for name, value in total.items()}
        for part, total in sums.items()
    }


def clusters_needed(result: dict[str, Any], settings: Evaluation) -> int | None:
    """How many more held-out clusters would decide, if they were like those there are; None when none would.

    An interval narrows with the square root of their number, so n * (its upper half / the difference)^2 are needed.
    """
    few = max(0, settings.clusters - result["clusters"])
    difference, high = result["loss"]["difference"], result["loss"]["interval"][1]
    if difference >= 0:
        return None
    if high < 0:
        return few or None
    needed = result["clusters"] * ((high - difference) / -difference) ** 2
    return max(few, math.ceil(needed) - result["clusters"])


def _blocked(result: dict[str, Any], settings: Evaluation) -> Decision | None:
    """What must never be served."""
    if result["loss"]["interval"][0] > 0:
        return "block", f"worse than the base: {_change(result['loss'])}"
    if generated := result.get("generated"):
        adapter, base = generated["adapter"], generated["base"]
        if adapter["leaks"]:
            return "block", f"it writes secrets: {', '.join(adapter['leaks'])}"
        for name, what in (("valid", "valid tool calls"), ("called", "answers with a tool call")):
            if _less(adapter[name], base[name], 0.01):
                return "block", f"{what}: {base[name]:.1%} -> {adapter[name]:.1%}"
        if adapter["valid"] is not None and adapter["valid"] < settings.validity:
            return "block", f"{adapter['valid']:.1%} valid tool calls; {settings.validity:.0%} are asked for"
        if _less(adapter["parses"], base["parses"], settings.tolerance):
            return "block", f"edits that parse: {base['parses']:.1%} -> {adapter['parses']:.1%}"
    forgetting = result.get("forgetting")
    if forgetting and forgetting["relative"] > settings.forgetting and forgetting["interval"][0] > 0:
        return "block", f"it forgets: loss on the frozen set {_losses(forgetting)}"
    return None


def _held(result: dict[str, Any], settings: Evaluation) -> Decision | None:
    """What is not proven."""
    loss, (low, high), change = result["loss"], result["loss"]["interval"], _change(result["loss"])
    if result["clusters"] < settings.clusters:
        few = f"{result['clusters']} held-out sessions and commits; {settings.clusters} are needed"
        return "hold", f"{change} on {few}"
    if high >= 0:
        needed = clusters_needed(result, settings)
        more = f"about {needed} more held-out sessions or commits needed" if needed else "no gain that more could prove"
        return "hold", f"not enough evidence: {change}, interval {low:+.3f} to {high:+.3f}; {more}"
    if -loss["relative"] < settings.gain:
        return "hold", f"too small a gain: {change}; {settings.gain:.0%} is asked for"
    if (incumbent := result.get("incumbent")) and incumbent["interval"][0] > 0:
        return "hold", f"better than the base, worse than the incumbent: {change}"
    generated = result.get("generated")
    if generated and _less(generated["adapter"]["similarity"], generated["base"]["similarity"], settings.tolerance):
        pair = (generated[arm]["similarity"] for arm in ("base", "adapter"))
        return "hold", "its edits are less like yours: similarity {:.1%} -> {:.1%}".format(*pair)
    return None


def _less(adapter: float | None, base: float | None, tolerance: float) -> bool:
    """Whether a rate is below the base's by more than the tolerance; rates that are not known are not."""
    return adapter is not None and base is not None and adapter < base - tolerance - 1e-9


def _change(loss: dict[str, Any]) -> str:
    return f"held-out loss {_losses(loss)}"


def _losses(loss: dict[str, Any]) -> str:
    return f"{loss['base']:.3f} -> {loss['adapter']:.3f} ({loss['relative']:+.1%})"
