"""The verdict on an adapter: promote, hold or block, from paired measurements on held-out work.

Differences below zero are better: adapter minus base in nats per token, base minus adapter in rates. The interval is a
percentile bootstrap over whole clusters (sessions, commits), as the rows of one are not independent, with the tails of
Hesterberg's expanded percentile interval (What Teachers Should Know About the Bootstrap, 2015), as clusters are few.

"style": loss on the lines of code that the owner changed. "own": how much more of it goes than on other people's lines
in his repositories. "skill": the same minus the loss of the same lines behind another row's request, which is what the
right request is worth: who learned form and style alone gains nothing there.
"""

import math
from statistics import NormalDist
from typing import Any

from specialists.config import Evaluation
from specialists.evaluation.scoring import Score, summary

Measurement = dict[str, Any]
"""{"id", "cluster", "tokens", "nll": {model: nats}, "parts": {part: {"tokens", "nll"}}, "other"?: {model: nats}}"""
CHANGED = "changed"  # the part of a row that is its work: lines of an edit's new code that are not in its old code

RESAMPLES = 10_000  # of the clusters; chance moves the ends of an interval by about 1 % of its width
CONFIDENCE = 0.95  # of the interval
SEED = 17  # of the resamples: the same measurements give the same verdict
CLUSTERS = 8  # held-out sessions and commits under which nothing is promoted: an interval over fewer is too narrow
MOST = 1000  # more clusters than that nobody collects: as good as none that would decide
TURNS = 12  # answers of both at least, where a rate is to block, or to show that style did no harm
RATES = {  # of written turns, base and adapter at the same task
    "valid": "answers with a valid tool call",
    "parses": "edits that parse",
    "similarity": "likeness of its edits to yours",
}
FALL = 0.1  # how far one of them may lie under the base's where it is not sure that it does
RIVALS = {"prompt": "with your AGENTS.md", "examples": "with your two nearest examples in its prompt"}


def compare(rows: list[Measurement], model: str, against: str) -> dict[str, Any]:
    """Loss of two models per token, their difference and its interval; needs at least one row.

    Returns {model: loss, against: loss, "difference", "relative" (of `against`), "interval": [low, high],
    "clusters", "signs": {"better", "worse": clusters}}."""
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
        "clusters": count,
        "signs": {"better": better, "worse": worse},
    }


def expanded_tail(confidence: float, clusters: int) -> float:
    """Share of resamples beyond each end of an interval over n clusters: Phi(-sqrt(n / (n - 1)) t).

    The quantile t of Student's distribution is Abramowitz and Stegun's 26.7.5, to 0.3 % from five clusters on."""
    normal, free = NormalDist(), max(1, clusters - 1)
    z = normal.inv_cdf((1 + confidence) / 2)
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return normal.cdf(-math.sqrt((free + 1) / free) * t)


def verdict(
    rows: list[Measurement],
    settings: Evaluation,
    frozen: list[Measurement] | None = None,
    answers: dict[str, list[Score]] | None = None,
    rollouts: Any = None,
    others: list[Measurement] | None = None,
) -> dict[str, Any]:
    """Decide on the model "adapter" against "base", and against "incumbent" where that was measured too.

    `frozen` are measurements of what should not be forgotten, `answers` the scores of each model's written turns,
    `rollouts` what rollout.py found, `others` measurements of other people's work. Returns {"verdict", "reason",
    "rows", "clusters", "loss", "parts"?, "style"?, "own"?, "skill"?, "incumbent"?, "prompt"?, "examples"?,
    "forgetting"?, "generated"?, "paired"?, "rollouts_compared"?, "weighed", "as_good"?: rivals, "needed"?: more
    clusters that would decide, or None}; never raises on numbers."""
    clusters = {row["id"]: row["cluster"] for row in rows}
    held = len({*clusters.values()})
    result: dict[str, Any] = {"rows": len(rows), "clusters": held, "loss": None, "weighed": rollouts}
    every = [*rows, *(frozen or []), *(others or [])]
    if not all(math.isfinite(loss) for row in every for loss in [*row["nll"].values(), *row.get("other", {}).values()]):
        return {**result, "verdict": "block", "reason": "the adapter's loss is not finite"}
    if not rows:
        return {**result, "verdict": "hold", "reason": "no held-out examples yet: nothing to prove it with"}
    result |= {"loss": compare(rows, "adapter", "base"), "parts": by_part(rows), **_compared(rows)}
    if "style" in result and len(foreign := part_of(others or [], CHANGED)) >= CLUSTERS:
        result["own"] = _beyond(result["style"], compare(foreign, "adapter", "base"))
    if frozen:
        result["forgetting"] = compare(frozen, "adapter", "base")
    if answers:
        result["generated"] = {model: summary(scores) for model, scores in answers.items()}
        result["paired"] = paired(answers, clusters)
    if outcome := compare_rollouts(rollouts):
        result["rollouts_compared"] = outcome
    if all(row["nll"]["adapter"] == row["nll"]["base"] for row in rows):
        return {**result, "verdict": "block", "reason": "the adapter has no effect: every loss is exactly the base's"}
    if reason := _blocked(rows, result, settings):
        return {**result, "verdict": "block", "reason": reason}
    if outcome and outcome["interval"][1] < 0:
        return {**result, "verdict": "promote", "reason": _shown("held-out tasks done again", outcome, "tasks")}
    decided, reason = _weighed(result, settings)
    result["as_good"] = [name for name in RIVALS if name in result and _as_good(rows, result, name, settings)]
    return {**result, "verdict": decided, "reason": reason + _as_well(result)}


def part_of(rows: list[Measurement], part: str, model: str = "base") -> list[Measurement]:
    """The rows as if they were that part alone, of those that have it and were measured with the model."""
    found = ({**row, **row["parts"][part]} for row in rows if part in row.get("parts", {}))
    return [row for row in found if model in row["nll"]]


def _compared(rows: list[Measurement]) -> dict[str, Any]:
    """Style and skill, and the changed code's loss against the rivals, of what was measured."""
    found: dict[str, Any] = {}
    for name, model in (("style", "base"), ("incumbent", "incumbent"), *((rival, rival) for rival in RIVALS)):
        if changed := part_of(rows, CHANGED, model):
            found[name] = compare(changed, "adapter", model)
    asked = [row for row in part_of(rows, CHANGED) if "other" in row]
    worth = [{**row, "nll": {name: nll - row["nll"][name] for name, nll in row["other"].items()}} for row in asked]
    return found | ({"skill": compare(worth, "base", "adapter")} if worth else {})


def _beyond(own: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """What the loss changes by on other people's work ("base") and on the owner's ("adapter"): compare()'s.

    The interval of the difference of two samples is by Zou and Donner (Statistics in Medicine 27, 2008)."""
    mine, theirs = own["difference"], others["difference"]
    (low, high), (least, most) = own["interval"], others["interval"]
    below, above = math.hypot(mine - low, most - theirs), math.hypot(high - mine, theirs - least)
    found = {"difference": mine - theirs, "interval": [mine - theirs - below, mine - theirs + above]}
    return {"base": theirs, "adapter": mine, "clusters": min(own["clusters"], others["clusters"]), **found}


def paired(answers: dict[str, list[Score]], clusters: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Each of RATES on the tasks where it is known of base and adapter: compare()'s, with the number of "answers"."""
    base = {score["id"]: score for score in answers.get("base", ())}
    pairs = [(score, base[score["id"]]) for score in answers.get("adapter", ()) if score["id"] in base]
    found = {}
    for name in RATES:
        known = [p for p in pairs if all(one.get(name) is not None for one in p)]
        if name == "similarity":  # of edits alone: how many they are is another rate
            known = [(a, b) for a, b in known if a.get("edited") and b.get("edited")]
        nll = [(a["id"], {"adapter": float(a[name]), "base": float(b[name])}) for a, b in known]
        rows = [{"cluster": clusters.get(task, task), "tokens": 1, "nll": shares} for task, shares in nll]
        if rows:
            found[name] = {**compare(rows, "base", "adapter"), "answers": len(rows)}
    return found


def compare_rollouts(found: Any) -> dict[str, Any] | None:
    """Held-out tasks done again; None where {"tasks": n, "base", "adapter": {"passed", "hard": tasks, "recall"}} lacks.

    Passed, of tasks that tests judge, else recall: {"base", "adapter", "difference", "interval", "clusters": tasks}, by
    Agresti and Caffo (The American Statistician 54, 2000): a mean of shares spreads no more than one of hits."""
    try:
        arms = [found["base"], found["adapter"]]
        # tasks are counted, and not runs: those of one task are alike
        what, of = ("passed", "hard") if all(arm.get("hard") for arm in arms) else ("recall", "tasks")
        base, adapter = (float(arm[what]) for arm in arms)
        counts = [int(arm.get(of, found["tasks"])) for arm in arms]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    if not (0 <= base <= 1 and 0 <= adapter <= 1 and min(counts) > 0):
        return None
    shares = [(share * count + 1) / (count + 2) for share, count in zip((base, adapter), counts, strict=True)]
    spread = sum(share * (1 - share) / (count + 2) for share, count in zip(shares, counts, strict=True))
    wide, middle = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(spread), shares[0] - shares[1]
    result = {"base": base, "adapter": adapter, "difference": base - adapter, "clusters": min(counts)}
    return {**result, "interval": [middle - wide, middle + wide]}


def by_part(rows: list[Measurement]) -> dict[str, dict[str, float]]:
    """Loss per token of changed code, other code, syntax and prose: part -> {"tokens", model: loss}."""
    result = {}
    for part in sorted({part for row in rows for part in row.get("parts", {})}):
        found = part_of(rows, part)
        tokens, models = sum(row["tokens"] for row in found), set.intersection(*({*row["nll"]} for row in found))
        losses = {model: sum(row["nll"][model] for row in found) / tokens for model in sorted(models)}
        result[part] = {"tokens": tokens, **losses}
    return result


def clusters_needed(found: dict[str, Any]) -> int | None:
    """How many more held-out clusters would decide, if they were like those there are; None when none would."""
    clusters, difference, high = found["clusters"], found["difference"], found["interval"][1]
    if difference >= 0:
        return None
    # an interval narrows with the square root of their number
    more = max(CLUSTERS, clusters, math.ceil(clusters * ((high - difference) / difference) ** 2)) - clusters
    return more if 0 < more <= MOST else None


def _blocked(rows: list[Measurement], result: dict[str, Any], settings: Evaluation) -> str | None:
    """Why it must never be served."""
    if (outcome := result.get("rollouts_compared")) and outcome["interval"][0] > 0:
        return f"worse than the base: {_shown('held-out tasks done again', outcome, 'tasks')}"
    if result["loss"]["interval"][0] > 0:
        return f"worse than the base: {_shown('held-out loss', result['loss'])}"
    for part in result["parts"]:
        loss = compare(part_of(rows, part), "adapter", "base")
        if loss["clusters"] >= CLUSTERS and loss["interval"][0] > 0 and loss["relative"] > settings.forgetting:
            return f"worse than the base: {_shown(f'held-out loss of {part}', loss)}"
    if leaks := result.get("generated", {}).get("adapter", {}).get("leaks"):
        return f"it writes secrets: {', '.join(leaks)}"
    for name, rate in result.get("paired", {}).items():
        if name != "similarity" and rate["answers"] >= TURNS and rate["interval"][0] > 0:
            return _shown(RATES[name], rate, "answers")
    forgetting = result.get("forgetting")
    if forgetting and forgetting["relative"] > settings.forgetting and forgetting["interval"][0] > 0:
        return f"it forgets: {_shown('loss on the frozen set', forgetting)}"
    return None


def _weighed(result: dict[str, Any], settings: Evaluation) -> tuple[str, str]:
    """Promote or hold, with what was shown, or lacks; sets result["needed"]."""
    skill, rates = result.get("skill"), result.get("paired", {})
    if not (style := result.get("style")):
        return "hold", "no held-out work that changes code yet: nothing to prove it with"
    changed = _shown("loss on the lines that you changed", style)
    result["needed"] = clusters_needed(style)
    if style["clusters"] < CLUSTERS:
        return "hold", f"{changed}; {CLUSTERS} are needed"
    if style["interval"][1] >= 0:
        return "hold", f"not enough evidence: {changed}; {_more(result['needed'])}"
    if -style["relative"] < settings.gain:
        return "hold", f"too small a gain: {changed}; {settings.gain:.0%} is asked for"
    if (incumbent := result.get("incumbent")) and incumbent["interval"][0] > 0:
        return "hold", f"better than the base, worse than the incumbent: {changed}"
    for name, rate in rates.items():
        if rate["difference"] > FALL or (name == "similarity" and rate["interval"][0] > 0):
            return "hold", f"{_shown(RATES[name], rate, 'answers')}; at {TURNS} it may block"
    worth = _shown("what the right request is worth", skill) if skill else "what the right request is worth: not known"
    if skill and skill["interval"][1] < 0:
        return "promote", f"skill: {worth}; {changed}"
    result["needed"] = clusters_needed(skill) if skill else None
    if own := result.get("own"):
        changed += "; " + _shown("what the loss changes by on other people's lines and on yours", own)
        if own["interval"][1] >= 0:
            return "hold", f"style, no skill, and not yours for sure: {changed}; {worth}"
    likeness = rates.get("similarity")
    if likeness and likeness["answers"] >= TURNS and likeness["interval"][1] < FALL:
        return "promote", f"style, no skill: {changed}; {_shown(RATES['similarity'], likeness, 'answers')}"
    least = f"or {TURNS} tasks where both write edits, its at most {FALL:.0%} less like yours for sure"
    return "hold", f"style, no skill: {changed}; {worth}; {_more(result['needed'])}, {least}"


def _more(needed: int | None) -> str:
    return f"about {needed} more held-out sessions or commits needed" if needed else "no gain that more could prove"


def _as_good(rows: list[Measurement], result: dict[str, Any], rival: str, settings: Evaluation) -> bool:
    """Whether a rival gains as much as is asked of an adapter, and the adapter is not better than it for sure."""
    found = compare(part_of(rows, CHANGED, rival), rival, "base")
    return found["interval"][1] < 0 <= result[rival]["interval"][1] and -found["relative"] >= settings.gain


def _as_well(result: dict[str, Any]) -> str:
    """The rivals that do as well as the adapter, or better."""
    rivals = ((RIVALS[name], {**result[name], "base": result[name][name]}) for name in result["as_good"])
    found = "; ".join(_shown(f"the base {what}", rival) for what, rival in rivals)
    return f". Ship the prompt, it costs nothing and does as well (its text is in the report): {found}" if found else ""


def _shown(what: str, found: dict[str, Any], unit: str = "sessions and commits") -> str:
    """A comparison in words, with what it rests on."""
    (low, high), count = found["interval"], found.get("answers", found["clusters"])
    return f"{what} {found['base']:.3f} -> {found['adapter']:.3f} ({low:+.3f} to {high:+.3f}, {count} {unit})"
