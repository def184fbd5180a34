"""The report's drawings as inline SVG: no script, no font, no network; colours come from the page's style sheet.

Every figure is 360 units wide, so that its text stays readable on a phone, and has a <title> for who cannot see it.
Text goes through Markup.format, which escapes it.
"""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

WIDTH = 360
_POINTS = 240  # of a curve; more cannot be told apart at this width


def loss_curve(losses: Sequence[Sequence[float]]) -> Markup | None:
    """Training loss over optimizer steps from [step, loss] pairs; None when there is nothing finite to draw."""
    points = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if not points:
        return None
    left, right, top, bottom = 34, WIDTH - 8, 10, 130
    low_step, high_step = points[0][0], max(points[-1][0], points[0][0] + 1)
    last = points[-1]
    points = points[:: -math.ceil(len(points) / _POINTS)][::-1]  # the last one stays
    levels = ticks(min(loss for _step, loss in points), max(loss for _step, loss in points))
    low, high = levels[0], levels[-1]

    def place(step: float, loss: float) -> tuple[float, float]:
        across = left + (step - low_step) / (high_step - low_step) * (right - left)
        return across, bottom - (loss - low) / (high - low) * (bottom - top)

    parts = []
    for level in levels:
        y = place(low_step, level)[1]
        parts += [_line(left, y, right, y, "grid"), _text(left - 5, y + 4, f"{level:.4g}", "end")]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(path))
    x, y = place(*points[-1])
    parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y))
    parts += [_text(left, bottom + 16, f"{low_step:.4g}"), _text(right, bottom + 16, f"step {last[0]:g}", "end")]
    title = f"Training loss from {points[0][1]:.3f} to {points[-1][1]:.3f} over {last[0]:g} steps"
    return _figure(150, title, parts)


def intervals(compared: Sequence[tuple[str, dict[str, Any] | None, str]], unit: str) -> Markup | None:
    """Differences with intervals on one axis with a zero line, of (label, gate.compare()'s result or None, verdict)."""
    known = [(label, *found["interval"], found["difference"], verdict) for label, found, verdict in compared if found]
    rows = [row for row in known if all(map(math.isfinite, row[1:4]))]
    if not rows:
        return None
    left, right, step = 118, WIDTH - 20, 26
    bottom = 12 + step * len(rows)
    marks = ticks(min(0.0, *(row[1] for row in rows)), max(0.0, *(row[2] for row in rows)), 4)
    if marks[-1] == 0:
        marks.append(-marks[-2])  # room to say what lies on the other side
    low, high = marks[0], marks[-1]

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for mark in marks:
        parts.append(_line(across(mark), 8, across(mark), bottom, "zero" if mark == 0 else "grid"))
        parts.append(_text(across(mark), bottom + 14, f"{mark:+.3g}" if mark else "0", "middle"))
    for number, (label, least, most, middle, verdict) in enumerate(rows):
        y = 8 + step * (number + 0.5)
        title = f"{label}: {middle:+.4f}, {least:+.4f} to {most:+.4f}: {verdict}"
        dot = Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(across(middle), y)
        drawn = _line(across(least), y, across(most), y, "span") + dot
        parts.append(Markup('<g class="{}"><title>{}</title>{}</g>').format(verdict, title, drawn))
        parts.append(_text(left - 10, y + 4, label, "end", "label"))
    parts += [_text(across(0) - 6, bottom + 30, "← better", "end"), _text(across(0) + 6, bottom + 30, "worse →")]
    return _figure(bottom + 34, f"Difference to the base, {unit}", parts)


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


def _figure(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    figure = Markup('<svg viewBox="0 0 {} {:g}" role="img"><title>{}</title>{}</svg>')
    return figure.format(WIDTH, height, title, Markup("").join(parts))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)
