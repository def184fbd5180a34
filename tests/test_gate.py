"""The verdict: made-up measurements for every outcome, and a base that is not promoted against itself."""

from __future__ import annotations

import random

import pytest
from specialists.config import Evaluation
from specialists.evaluation import gate
from specialists.evaluation.gate import by_part, compare, expanded_tail


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "RESAMPLES", 1000)


def verdict(rows: list[dict], gain: float = 0.02, **more: object) -> dict:
    return gate.verdict(rows, Evaluation(gain=gain), **more)


def measurements(gain: float, noise: float = 0.05, clusters: int = 20, seed: int = 1, **models: float) -> list[dict]:
    """Rows of 100 tokens, two per cluster, whose adapter loss is `gain` below the base's 1.0 per token."""
    rng = random.Random(seed)
    rows = []
    for number in range(2 * clusters):
        base = 100 + rng.gauss(0, 5)
        nll = {"base": base, "adapter": base - 100 * (gain + rng.gauss(0, noise))}
        nll.update({model: base - 100 * value for model, value in models.items()})
        rows.append({"cluster": f"c{number // 2}", "tokens": 100, "nll": nll})
    return rows


def wrote(base: dict | None = None, turns: int = 50, **adapter: object) -> dict:
    """What base and adapter wrote, as scoring.summary() reports it; `turns` is of how many the adapter's calls are."""
    usual = {"answers": 50, "called": 1.0, "valid": 1.0, "similarity": 0.6, "exact": 0.1, "applies": 0.9, "parses": 0.9}
    usual |= {"leaks": [], "of": dict.fromkeys(usual, 50)}
    return {"base": {**usual, **(base or {})}, "adapter": {**usual, "of": {**usual["of"], "valid": turns}, **adapter}}


GOOD = measurements(0.2)
TABLE = {  # name: (rows, frozen, generated, verdict, reason)
    "better": (GOOD, None, None, "promote", "held-out loss"),
    "too small a gain": (measurements(0.01, noise=0.001), None, None, "hold", "too small a gain"),
    "no evidence": (measurements(0.01, noise=0.5), None, None, "hold", "not enough evidence"),
    "worse": (measurements(-0.2), None, None, "block", "worse than the base"),
    "few clusters": (measurements(0.2, clusters=3), None, None, "hold", "3 held-out sessions and commits; 5 are"),
    "better than the incumbent": (measurements(0.2, incumbent=0.1), None, None, "promote", "held-out loss"),
    "worse than the incumbent": (measurements(0.2, incumbent=0.4), None, None, "hold", "worse than the incumbent"),
    "infinite": (measurements(float("inf")), None, None, "block", "not finite"),
    "no number on the frozen set": (GOOD, measurements(float("nan")), None, "block", "not finite"),
    "no effect": (measurements(0.0, noise=0.0), None, None, "block", "has no effect"),
    "nothing held out": ([], None, None, "hold", "no held-out examples"),
    "forgets": (GOOD, measurements(-0.05), None, "block", "it forgets: loss on the frozen set 1.003 -> 1.052 (+5.0%)"),
    "forgets a little": (GOOD, measurements(-0.015), None, "promote", "held-out loss"),
    "forgets, perhaps": (GOOD, measurements(-0.03, noise=0.5), None, "promote", "held-out loss"),
    "invalid calls": (GOOD, None, wrote(valid=0.985), "block", "calls: 100.0% -> 98.5% of 50 turns, under 99%"),
    "a base no better": (GOOD, None, wrote({"valid": 0.9}, valid=0.95), "block", "-> 95.0% of 50 turns, under 98%"),
    "two of three": (GOOD, None, wrote(valid=0.667, turns=3), "hold", "-> 66.7% of 3 turns, under 99%; 12 such turns"),
    "of eleven": (GOOD, None, wrote(valid=0.9, turns=11), "hold", "of 11 turns"),
    "of twelve": (GOOD, None, wrote(valid=0.9, turns=12), "block", "of 12 turns"),
    "few, and none is wrong": (GOOD, None, wrote(turns=3), "promote", "held-out loss"),
    "a base without calls": (GOOD, None, wrote({"valid": None, "of": {"valid": 0}}, valid=0.5), "block", "-> 50.0%"),
    "one point less": (GOOD, None, wrote(valid=0.99), "promote", "held-out loss"),
    "no calls any more": (GOOD, None, wrote(called=0.5), "block", "with a tool call"),
    "no call to look at": (GOOD, None, wrote({"valid": None}, valid=None), "promote", "held-out loss"),
    "does not parse": (GOOD, None, wrote(parses=0.85), "block", "parse: 90.0% -> 85.0% of 50"),
    "a secret": (GOOD, None, wrote(leaks=["GitHub token"]), "block", "secrets: GitHub token"),
    "edits unlike": (GOOD, None, wrote(similarity=0.5), "hold", "60.0% -> 50.0%"),
    "as the base's prompt": (measurements(0.2, prompt=0.3), None, None, "promote", "held-out loss"),
}


@pytest.mark.parametrize("case", TABLE)
def test_every_verdict(case: str) -> None:
    rows, frozen, generated, expected, reason = TABLE[case]
    result = verdict(rows, frozen=frozen, generated=generated)
    assert (result["verdict"], reason in result["reason"]) == (expected, True), result["reason"]
    if "prompt" in case:
        assert result["prompt"]["difference"] == pytest.approx(0.1, abs=0.02)


def test_what_is_needed_is_computed_from_the_interval() -> None:
    """With as many clusters as it says, the interval, narrowed by the root of their share, ends at zero."""
    few = verdict(measurements(0.1, noise=0.6, clusters=40, seed=1))
    assert few["verdict"] == "hold" and f"about {few['needed']} more held-out" in few["reason"], few["reason"]
    loss = few["loss"]
    share = (40 + few["needed"]) / 40
    width = (loss["interval"][1] - loss["difference"]) / share**0.5
    assert loss["difference"] + width == pytest.approx(0, abs=0.01) and loss["difference"] + width <= 0
    worse = verdict(measurements(0.1, noise=0.6, clusters=40, seed=3))
    assert worse["needed"] is None and "no gain that more could prove" in worse["reason"]
    assert verdict(measurements(0.2, clusters=3))["needed"] == 2


def test_losses_by_part() -> None:
    first = {"code": {"tokens": 10, "nll": {"base": 20.0, "adapter": 10.0}}}
    second = {"code": {"tokens": 30, "nll": {"base": 20.0, "adapter": 30.0}}}
    prose = {"prose": {"tokens": 1, "nll": {"base": 3.0, "adapter": 4.0}}}
    assert by_part([{"parts": first}, {"parts": second | prose}, {}]) == {
        "code": {"tokens": 40, "base": 1.0, "adapter": 1.0},
        "prose": {"tokens": 1, "base": 3.0, "adapter": 4.0},
    }


@pytest.mark.parametrize(("clusters", "gain"), [(20, 0.02), (20, 0.0), (8, 0.0), (5, 0.0)])
def test_base_against_base_is_hardly_ever_promoted(clusters: int, gain: float) -> None:
    """The plain percentile interval promotes 8 % of five clusters."""
    rows = (measurements(0.0, noise=0.5, clusters=clusters, seed=seed) for seed in range(200))
    runs = [verdict(row, gain)["verdict"] for row in rows]
    assert runs.count("promote") <= 10  # 5 % of 200; the interval alone would allow 2.5 %


@pytest.mark.parametrize(
    ("confidence", "clusters", "t"), [(0.95, 5, 2.776), (0.95, 12, 2.201), (0.9, 5, 2.132), (0.99, 8, 3.499)]
)
def test_the_tail_is_student_s(confidence: float, clusters: int, t: float) -> None:
    from statistics import NormalDist

    wanted = NormalDist().cdf(-((clusters / (clusters - 1)) ** 0.5) * t)  # tables of Student's distribution
    assert expanded_tail(confidence, clusters) == pytest.approx(wanted, rel=0.05)
    assert expanded_tail(confidence, 100_000) == pytest.approx((1 - confidence) / 2, rel=1e-3)


def test_rows_of_one_cluster_are_not_counted_as_independent() -> None:
    rows = measurements(0.05, noise=0.2, clusters=20)
    copies = [row for row in rows for _ in range(50)]
    width = [high - low for low, high in (compare(r, "adapter", "base")["interval"] for r in (rows, copies))]
    assert width[1] == pytest.approx(width[0], rel=1e-6)


def test_the_interval_is_the_same_for_the_same_rows_in_any_order() -> None:
    rows = measurements(0.1)
    first, second = (compare(order, "adapter", "base") for order in (rows, rows[::-1]))
    assert first.pop("signs") == second.pop("signs") == {"better": 20, "worse": 0}
    assert first.pop("interval") == pytest.approx(second.pop("interval"), abs=1e-12)
    assert first == pytest.approx(second, abs=1e-12)
