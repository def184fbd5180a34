"""What the report's drawings show, in units of a figure that is WIDTH wide; figures.svg.jinja draws it.

So narrow that its text stays readable on a phone.
"""

import math
from collections.abc import Sequence
from typing import Any

WIDTH = 360
_POINTS = 240  # of a curve; more cannot be told apart at this width


def loss_curve(losses: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Training loss over optimizer steps from [step, loss] pairs; None when there is nothing finite to draw.

    {"points": [(x, y)], "levels": [(y, loss)], "steps": (first, last), "title"}
    """
    points = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if not points:
        return None
    left, right, top, bottom = 34, WIDTH - 8, 10, 130
    first, last = points[0][0], points[-1][0]
    points = points[:: -math.ceil(len(points) / _POINTS)][::-1]  # the last one stays
    levels = ticks(min(loss for _step, loss in points), max(loss for _step, loss in points))
    across = scale(first, max(last, first + 1), left, right)
    down = scale(levels[0], levels[-1], bottom, top)
    return {
        "points": [(across(step), down(loss)) for step, loss in points],
        "levels": [(down(level), level) for level in levels],
        "steps": (first, last),
        "title": f"Training loss from {points[0][1]:.3f} to {points[-1][1]:.3f} over {last:g} steps",
    }


def intervals(compared: Sequence[tuple[str, dict[str, Any] | None, str]]) -> dict[str, Any] | None:
    """Differences with intervals on one axis with a zero line, of (label, gate.compare()'s result or None, verdict).

    {"marks": [(x, difference)], "zero": x, "rows": [{"label", "verdict", "title", "ends": (x, x, x)}]}
    """
    known = [(label, found["interval"], found["difference"], verdict) for label, found, verdict in compared if found]
    rows = [(label, low, mid, high, verdict) for label, (low, high), mid, verdict in known]
    rows = [row for row in rows if all(map(math.isfinite, row[1:4]))]
    if not rows:
        return None
    marks = ticks(min(0.0, *(row[1] for row in rows)), max(0.0, *(row[3] for row in rows)), 4)
    if marks[-1] == 0:
        marks.append(-marks[-2])  # room to say what lies on the other side
    across = scale(marks[0], marks[-1], 118, WIDTH - 20)
    drawn = []
    for label, low, middle, high, verdict in rows:
        title = f"{label}: {middle:+.4f}, {low:+.4f} to {high:+.4f}: {verdict}"
        drawn.append({"label": label, "verdict": verdict, "title": title, "ends": [*map(across, (low, middle, high))]})
    return {"marks": [(across(mark), mark) for mark in marks], "zero": across(0), "rows": drawn}


def scale(low: float, high: float, start: float, end: float) -> Any:
    """The function that puts low at `start` and high at `end`."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` + 1 round values from at most `low` to at least `high`, at least two."""
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):  # one value: put it in the middle
        around = abs(low) / 2 if abs(low) > 1e-6 else 0.5
        low, high = low - around, high + around
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, max(last, first + 1) + 1)]
