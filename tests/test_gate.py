"""The verdict: made-up measurements for every outcome, and a base that is not promoted against itself."""

from __future__ import annotations

import random

import pytest
from specialists.config import Evaluation
from specialists.gate import compare, verdict

SETTINGS = Evaluation(resamples=1000)


def measurements(gain: float, noise: float = 0.05, clusters: int = 20, seed: int = 1, **arms: float) -> list[dict]:
    """Rows of 100 tokens, two per cluster, whose adapter loss is `gain` below the base's 1.0 per token."""
    rng = random.Random(seed)
    rows = []
    for number in range(2 * clusters):
        base = 100 + rng.gauss(0, 5)
        nll = {"base": base, "adapter": base - 100 * (gain + rng.gauss(0, noise))}
        nll.update({arm: base - 100 * value for arm, value in arms.items()})
        rows.append({"cluster": f"c{number // 2}", "tokens": 100, "nll": nll})
    return rows


@pytest.mark.parametrize(
    ("rows", "expected", "reason"),
    [
        (measurements(0.2), "promote", "held-out loss"),
        (measurements(0.01, noise=0.001), "hold", "too small a gain"),
        (measurements(0.01, noise=0.5), "hold", "not enough evidence"),
        (measurements(-0.2), "block", "worse than the base"),
        (measurements(0.2, clusters=3), "hold", "3 held-out sessions and commits; 5 are needed"),
        (measurements(0.2, incumbent=0.1), "promote", "held-out loss"),
        (measurements(0.2, incumbent=0.4), "hold", "worse than the incumbent"),
        (measurements(float("nan")), "block", "not finite"),
        (measurements(float("inf")), "block", "not finite"),
        (measurements(0.0, noise=0.0), "block", "dead"),
        ([], "hold", "no held-out examples"),
    ],
)
def test_every_verdict(rows: list[dict], expected: str, reason: str) -> None:
    result = verdict(rows, SETTINGS)
    assert (result["verdict"], reason in result["reason"]) == (expected, True), result["reason"]


def test_base_against_base_is_hardly_ever_promoted() -> None:
    runs = [verdict(measurements(0.0, noise=0.2, seed=seed), SETTINGS)["verdict"] for seed in range(200)]
    assert runs.count("promote") <= 10  # 5 % of 200; the interval alone would allow 2.5 %


def test_rows_of_one_cluster_are_not_counted_as_independent() -> None:
    rows = measurements(0.05, noise=0.2, clusters=20)
    copies = [row for row in rows for _ in range(50)]
    width = [
        high - low for low, high in (compare(r, "adapter", "base", SETTINGS, 0)["interval"] for r in (rows, copies))
    ]
    assert width[1] == pytest.approx(width[0], rel=1e-6)


def test_the_interval_is_the_same_for_the_same_rows_in_any_order() -> None:
    rows = measurements(0.1)
    first, second = (compare(order, "adapter", "base", SETTINGS, 0) for order in (rows, rows[::-1]))
    assert first.pop("interval") == pytest.approx(second.pop("interval"), abs=1e-12)
    assert first == pytest.approx(second, abs=1e-12)
