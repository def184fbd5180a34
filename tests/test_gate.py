"""The verdict: made-up measurements for every outcome, and a base that is not promoted against itself."""

import random
from typing import Any

import pytest
from specialists.config import Evaluation
from specialists.evaluation import gate
from specialists.evaluation.gate import by_part, compare, expanded_tail


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "RESAMPLES", 1000)


def verdict(rows: list[dict], gain: float = 0.02, **more: Any) -> dict:
    return gate.verdict(rows, Evaluation(gain=gain), **more)


def measurements(
    gain: float, noise: float = 0.05, clusters: int = 20, seed: int = 1, skill: float = 0.0, **models: float
) -> list[dict]:
    """Rows of 100 tokens of changed code, two per cluster, whose adapter loss is `gain` below the base's 1.0 a token.

    The right request is worth 0.05 to the base, `skill` more to the adapter, spread as measured on a real base.
    """
    rng = random.Random(seed)
    rows = []
    for number in range(2 * clusters):
        base = 100 + rng.gauss(0, 5)
        nll = {"base": base, "adapter": base - 100 * (gain + rng.gauss(0, noise))}
        nll.update({model: base - 100 * value for model, value in models.items()})
        worth = rng.gauss(5, 5)
        other = {"base": base + worth, "adapter": nll["adapter"] + worth + 100 * (skill + rng.gauss(0, SPREAD))}
        parts = {"changed": {"tokens": 100, "nll": nll}}
        row = {"id": f"r{number}", "cluster": f"c{number // 2}", "tokens": 100, "nll": nll, "parts": parts}
        rows.append({**row, "other": other})
    return rows


def wrote(base: dict | None = None, turns: int = 16, bad: int = 0, **adapter: Any) -> dict:
    """The scores of turns that base and adapter wrote at the same tasks; `bad` ones of the adapter are as given."""
    usual = {"called": True, "valid": True, "edited": True, "similarity": 0.6, "parses": True, "leak": []}
    first, second = {**usual, **(base or {})}, {**usual, **adapter}
    scores = [{"id": f"r{number}", **(second if number < (bad or turns) else usual)} for number in range(turns)]
    return {"base": [{"id": f"r{number}", **first} for number in range(turns)], "adapter": scores}


def with_part(rows: list[dict], **nats: float) -> list[dict]:
    other = {part: {"tokens": 100, "nll": {"base": 100.0, "adapter": nll}} for part, nll in nats.items()}
    return [{**row, "parts": {**row["parts"], **other}} for row in rows]


def redone(base: float, adapter: float, hard: int = 40) -> dict:
    found = [{"passed": share, "hard": hard} for share in (base, adapter)]
    return {"rollouts": {"tasks": 40, "base": found[0], "adapter": found[1]}}


RECALL = {"tasks": 40, "base": {"recall": 0.8}, "adapter": {"recall": 0.2}}  # as without tests to pass
SPREAD = 0.03  # of what the right request is worth more, a row
NONE = {"called": False, "valid": False, "edited": False, "similarity": 0.0, "parses": None}
STYLE, GOOD = measurements(0.2), measurements(0.2, skill=0.05)
OTHERS = measurements(0.1, clusters=8, seed=2)
SHOWN = "skill: what the right request is worth 0.0"
TABLE: dict[str, tuple] = {  # name: (rows, more, verdict, reason)
    "skill": (GOOD, {}, "promote", SHOWN),
    "style alone": (STYLE, {}, "hold", "style, no skill: loss on the lines that you changed 1."),
    "style, and as good edits": (STYLE, {"answers": wrote()}, "promote", "yours 0.600 -> 0.600 (+0.000 to +0.000, 16"),
    "style, yours": (STYLE, {"answers": wrote(), "others": OTHERS}, "promote", "lines and on yours -0.082 -> -0.2"),
    "style, anybody's": (STYLE, {"answers": wrote(), "others": STYLE}, "hold", "not yours for sure: loss on the lines"),
    "style, of few others": (STYLE, {"answers": wrote(), "others": STYLE[:7]}, "promote", "style, no skill: loss on"),
    "skill, anybody's style": (GOOD, {"others": STYLE}, "promote", SHOWN),
    "style, of eleven": (STYLE, {"answers": wrote(turns=11)}, "hold", "or 12 tasks where both write"),
    "style, worse edits": (STYLE, {"answers": wrote(similarity=0.4)}, "hold", "yours 0.600 -> 0.400"),
    "style, base writes none": (STYLE, {"answers": wrote(NONE)}, "hold", "or 12 tasks where both write"),
    "skill, worse prose": (with_part(GOOD, prose=150), {}, "block", "loss of prose 1.000 -> 1.500 (+0.5"),
    "skill, worse on the lines": (measurements(0.0, skill=0.05), {}, "hold", "not enough evidence"),
    "form alone": (with_part(measurements(0.0), syntax=50), {}, "hold", "not enough evidence"),
    "no changed code": ([{**row, "parts": {}} for row in GOOD], {}, "hold", "no held-out work that changes code"),
    "too small a gain": (measurements(0.01, noise=0.001), {}, "hold", "too small a gain"),
    "no evidence": (measurements(0.01, noise=0.5), {}, "hold", "not enough evidence"),
    "worse": (measurements(-0.2), {}, "block", "worse than the base"),
    "few clusters": (measurements(0.2, clusters=3), {}, "hold", "3 sessions and commits); 8 are"),
    "worse than the incumbent": (measurements(0.2, skill=0.05, incumbent=0.4), {}, "hold", "worse than the incumbent"),
    "infinite": (measurements(float("inf")), {}, "block", "not finite"),
    "no number behind another request": (
        [{**row, "other": {"base": float("nan")}} for row in GOOD],
        {},
        "block",
        "not finite",
    ),
    "no number on the frozen set": (GOOD, {"frozen": measurements(float("nan"))}, "block", "not finite"),
    "no effect": (measurements(0.0, noise=0.0), {}, "block", "has no effect"),
    "nothing held out": ([], {}, "hold", "no held-out examples"),
    "forgets": (GOOD, {"frozen": measurements(-0.05)}, "block", "it forgets: loss on the frozen set 1.0"),
    "forgets, perhaps": (GOOD, {"frozen": measurements(-0.03, noise=0.5)}, "promote", SHOWN),
    "invalid calls": (GOOD, {"answers": wrote(valid=False, bad=8)}, "block", "a valid tool call 1.000 -> 0.500 (+0.1"),
    "one of sixteen": (GOOD, {"answers": wrote(valid=False, bad=1)}, "promote", SHOWN),
    "two of sixteen": (GOOD, {"answers": wrote(valid=False, bad=2)}, "hold", "1.000 -> 0.875"),
    "of eleven": (GOOD, {"answers": wrote(valid=False, turns=11)}, "hold", "11 answers); at 12 it may block"),
    "of twelve": (GOOD, {"answers": wrote(valid=False, turns=12)}, "block", "12 answers)"),
    "a base without calls": (GOOD, {"answers": wrote(NONE, valid=False, bad=12)}, "promote", SHOWN),
    "no calls any more": (GOOD, {"answers": wrote(**NONE)}, "block", "with a valid tool call 1.000 -> 0.000"),
    "does not parse": (GOOD, {"answers": wrote(parses=False, bad=9)}, "block", "edits that parse 1.000 -> 0.438"),
    "a secret": (GOOD, {"answers": wrote(leak=["GitHub token"])}, "block", "secrets: GitHub token"),
    "no better than a prompt": (
        measurements(0.2, skill=0.05, prompt=0.3),
        {},
        "promote",
        "the base with your AGENTS.md",
    ),
    "than examples": (measurements(0.2, examples=0.3), {}, "hold", "Ship the prompt"),
    "nor the prompt than the base": (measurements(0.0, examples=0.0), {}, "hold", "not enough evidence"),
    "tasks done again": (STYLE, redone(0.2, 0.8), "promote", "tasks done again 0.200 -> 0.800 (-0."),
    "fewer tasks": (GOOD, redone(0.8, 0.2), "block", "0.800 -> 0.200 (+0.3"),
    "of two with tests": (GOOD, redone(1, 0, 2), "promote", SHOWN),
    "less recall": (GOOD, {"rollouts": RECALL}, "block", "40 t"),
    "as many tasks": (STYLE, redone(0.5, 0.6), "hold", "style, no skill"),
    "shares over 1": (GOOD, redone(9, 7), "promote", SHOWN),
    "other rollouts": (GOOD, {"rollouts": {"base": "no", "adapter": [1]}}, "promote", SHOWN),
}


@pytest.mark.parametrize("case", TABLE)
def test_every_verdict(case: str) -> None:
    rows, more, expected, reason = TABLE[case]
    result = verdict(rows, **more)
    assert (result["verdict"], reason in result["reason"]) == (expected, True), result["reason"]
    assert result["weighed"] == more.get("rollouts")
    assert ("Ship the prompt" in result["reason"]) == (case in ("no better than a prompt", "than examples"))


def test_what_is_needed_is_computed_from_the_interval() -> None:
    """With as many clusters as it says, the interval, narrowed by the root of their share, ends at zero."""
    few = verdict(measurements(0.1, noise=0.6, clusters=40, seed=4))
    assert few["verdict"] == "hold" and f"about {few['needed']} more held-out" in few["reason"], few["reason"]
    loss = few["style"]
    share = (40 + few["needed"]) / 40
    width = (loss["interval"][1] - loss["difference"]) / share**0.5
    assert loss["difference"] + width == pytest.approx(0, abs=0.01) and loss["difference"] + width <= 0
    worse = verdict(measurements(-0.05, noise=0.6, clusters=40, seed=4))
    assert worse["needed"] is None and "no gain that more could prove" in worse["reason"]
    assert verdict(measurements(0.2, clusters=3))["needed"] == 5
    assert verdict(measurements(0.03, noise=0.6, clusters=10, seed=4))["needed"] is None, "thousands"


def test_losses_by_part() -> None:
    first = {"code": {"tokens": 10, "nll": {"base": 20.0, "adapter": 10.0, "prompt": 1.0}}}
    second = {"code": {"tokens": 30, "nll": {"base": 20.0, "adapter": 30.0}}}
    prose = {"prose": {"tokens": 1, "nll": {"base": 3.0, "adapter": 4.0}}}
    assert by_part([{"parts": first}, {"parts": second | prose}, {}]) == {
        "code": {"tokens": 40, "base": 1.0, "adapter": 1.0},
        "prose": {"tokens": 1, "base": 3.0, "adapter": 4.0},
    }


@pytest.mark.parametrize("gain", [0.0, 0.2], ids=["base against base", "style without skill"])
@pytest.mark.parametrize("clusters", [20, 12, 8])
def test_what_has_no_skill_is_hardly_ever_promoted(clusters: int, gain: float) -> None:
    """The plain percentile interval promotes more of few clusters."""
    rows = (measurements(gain, noise=0.5 if not gain else 0.05, clusters=clusters, seed=seed) for seed in range(200))
    runs = [verdict(row, gain=0.0)["verdict"] for row in rows]
    assert runs.count("promote") <= 10  # 5 % of 200; the interval alone would allow 2.5 %


@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_what_falls_as_much_for_others_is_hardly_ever_the_owner_s(spread: float) -> None:
    """12 held-out commits of his against 16 of other people that gain the same."""
    own = (measurements(0.2, noise=spread, clusters=12, seed=run) for run in range(200))
    theirs = (measurements(0.2, noise=spread, clusters=16, seed=500 + run) for run in range(200))
    pairs = zip(own, theirs, strict=True)
    found = [verdict(rows, others=others)["own"]["interval"] for rows, others in pairs]
    assert sum(high < 0 for _low, high in found) <= 10  # 2.5 % are meant
    assert sum(low > 0 for low, _high in found) <= 10


@pytest.mark.parametrize(("confidence", "clusters", "t"), [(0.95, 5, 2.776), (0.95, 12, 2.201), (0.9, 5, 2.132)])
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
