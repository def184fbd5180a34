"""The owner's page, reports/index.html: where every language stands, in one look; and what of its rows is learned.

Static files without scripts or network, made from what the steps left behind: the same files give the same pages.
Beside it lies status.json, the same for scripts.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from specialists import adapters
from specialists.agent import captured
from specialists.chat import Chat, Estimate, token_counter
from specialists.cli import shown
from specialists.config import Config, Language
from specialists.evaluation.gate import CONFIDENCE
from specialists.records import SOURCES, Record, is_target, read_json, read_records, write_if_changed, write_json
from specialists.reporting.checks import skipped
from specialists.reporting.prompt_match import prompt_match
from specialists.reporting.status import age, cost, status
from specialists.serving import effect

WIDTH = 360  # of a drawing, in its own units: so narrow that its text stays readable on a phone
_POINTS = 240  # of a curve; more cannot be told apart at this width
_SHOWN = 20  # versions and decisions listed per language, the newest
_COMPARED = 8  # versions drawn beside each other
_EXCERPT = 600  # characters at each end of a long text
_EXAMPLES = 40  # rows shown per language, evenly from the best to the worst
_MESSAGES = 8  # shown of a row at most, the last requests and answers that are learned
_DRAWN = {"loss": "all", "style": "style", "skill": "skill"}  # of gate.verdict(), and how the picture calls it


def write_report(config: Config) -> dict[str, Any]:
    """Write index.html, status.json and each language's examples where they changed; returns {"report", "changed"}."""
    state = status(config)
    write_json(config.paths.reports / "status.json", state)
    index, shown = config.paths.reports / "index.html", page(config, state)
    for name, language in config.languages.items():
        rows = render("examples", {**shown, "language": language, "examples": examples(config, language)})
        write_if_changed(index.with_name(f"examples-{name}.html"), rows)
    return {"report": str(index), "changed": write_if_changed(index, render("report", shown))}


def render(name: str, values: dict[str, Any]) -> str:
    """A page as HTML, by its template; everything that comes from data is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=True, undefined=StrictUndefined)
    environment.loader = FileSystemLoader(Path(__file__).parent)
    environment.filters["shortened"] = _shortened
    environment.finalize = lambda value: shown(value) if type(value) is str else value  # a macro's is Markup
    return environment.get_template(f"{name}.html.jinja").render(values)


def page(config: Config, state: dict[str, Any]) -> dict[str, Any]:
    """Everything that the page shows, as plain values and finished figures."""
    chat = token_counter(config.base.model, config.base.revision)
    languages = [section(config, config.languages[name], known, chat) for name, known in state["languages"].items()]
    problems = [problem.removeprefix(f"{config.path}: ") for problem in skipped(config)]
    drawn = [(each, of, name) for each in languages for of, name in _DRAWN.items()]
    compared = [(f"{each['title']}: {name}", each["evaluation"].get(of), each["verdict"]) for each, of, name in drawn]
    return {
        "base": Path(state["base"]).name if Path(state["base"]).is_absolute() else state["base"],
        "problems": list(dict.fromkeys([*state["findings"], *problems])),
        "languages": languages,
        "sources": SOURCES,
        "asked": (read_json(config.paths.reports / "answers.json") or {}).get("answers", []),
        "as_of": max((language["newest"] for language in languages if language["newest"]), default=None),
        "age": age,
        "cost": cost,
        "confidence": f"{CONFIDENCE * 100:g} %",
        "gain": f"{config.evaluation.gain * 100:g} %",
        "intervals": intervals(compared),
    }


def section(config: Config, language: Language, state: dict[str, Any], chat: Chat | Estimate) -> dict[str, Any]:
    """What the page shows of one language."""
    folder = adapters.adapter_folder(config, language)
    known = folder.versions()
    versions = [(path, adapters.manifest_of(path), adapters.evaluation_of(path)) for path in reversed(known[-_SHOWN:])]
    compared = [
        (age(path.name), found.get("style") or found.get("loss"), found.get("verdict", ""))
        for path, _manifest, found in versions[:_COMPARED]
    ]
    manifest, evaluation = adapters.manifest_of(folder.latest), adapters.evaluation_of(folder.latest)
    answers = evaluation.get("answers") or {}
    base, adapter = ([one for one in answers.get(arm, ()) if "text" in one] for arm in ("base", "adapter"))
    summary, decisions = adapters.train_summary(config, language), adapters.decisions(folder)
    prompts = (evaluation.get("served") or evaluation).get("prompts", {})
    times = [manifest.get("created"), *(decision.get("time") for decision in decisions[-1:])]
    return {
        **state,
        "summary": summary,
        "manifest": manifest,
        "evaluation": evaluation,
        "limit": language.training.max_length,
        "head": prompt_match(config, language, captured(config), chat)[0],
        "curve": loss_curve(manifest.get("losses") or []),
        "history": intervals(compared) if len(versions) > 1 else None,
        "funnels": _funnels(config, language.name),
        "versions": versions,
        "links": {"latest": folder.latest, "promoted": folder.current, "previous": folder.previous},
        "older": len(known) - len(versions),
        "decisions": list(reversed(decisions[-_SHOWN:])),
        "prompts": [prompts[rival] for rival in evaluation.get("as_good", ()) if rival in prompts],
        "turns": [*zip(base, adapter, strict=False)],
        "again": (read_json(folder.latest / adapters.ROLLOUTS) or []) if folder.latest else [],
        "effect": (read_json(folder.latest / effect.EFFECT) or {}).get("faults") if folder.latest else None,
        "newest": max((time for time in times if time), default=None),
    }


def examples(config: Config, language: Language) -> list[tuple[Record, float | None, list]]:
    """Rows that are trained on, the best first, each with its score and (role, text, learned) of its last messages."""
    path, scores = config.rows("train", language.name), adapters.train_summary(config, language).get("scores", {})
    rows = sorted(read_records(path) if path.exists() else (), key=lambda row: -scores.get(row["id"], 0))
    return [(row, scores.get(row["id"]), _said(row)) for row in rows[:: math.ceil(len(rows) / _EXAMPLES) or 1]]


def _said(row: Record) -> list[tuple[str, str, bool]]:
    found = []
    for message in (each for each in row["messages"] if each["role"] == "user" or is_target(each)):
        functions = (call["function"] for call in message.get("tool_calls") or ())
        calls = (value for one in functions for value in (one["name"], *json.loads(one["arguments"]).values()))
        text = _shortened("\n".join(map(str, (message["content"] or "", *calls))))
        found.append((message["role"], text, is_target(message)))
    return found[-_MESSAGES:]


def _shortened(text: str) -> str:
    """The beginning and the end of a long text, and between them how much was left out."""
    left_out = len(text) - 2 * _EXCERPT
    return text if left_out <= 0 else f"{text[:_EXCERPT]} … {left_out:,} more characters … {text[-_EXCERPT:]}"


def _funnels(config: Config, language: str) -> dict[str, dict[str, Any]]:
    """What each step read, kept and left out for a language, by the folder of its rows under data/."""
    sessions = (read_json(config.paths.data / "sessions" / "summary.json") or {}).get("funnel", {})
    found = {"sessions": sessions.get("languages", {}).get(language)}
    for folder in ("commits", "rollouts", "synthetic", "train"):
        found[folder] = (read_json(config.paths.data / folder / f"{language}.summary.json") or {}).get("funnel")
    return {folder: counts for folder, counts in found.items() if counts}


def loss_curve(losses: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Training loss over optimizer steps from [step, loss] pairs; None when there is nothing finite to draw.

    {"points": [(x, y)], "levels": [(y, loss)], "steps": (first, last), "title"}"""
    points = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if not points:
        return None
    left, right, top, bottom = 34, WIDTH - 8, 10, 130
    first, last, few = points[0][0], points[-1][0], min(3, (len(points) + 1) // 2)
    points = points[:: -math.ceil(len(points) / _POINTS)][::-1]  # the last one stays
    levels = ticks(min(loss for _step, loss in points), max(loss for _step, loss in points))
    across = scale(first, max(last, first + 1), left, right)
    ends = " to ".join(f"{fmean(loss for _step, loss in part):.3f}" for part in (points[:few], points[-few:]))
    down = scale(levels[0], levels[-1], bottom, top)
    return {
        "points": [(across(step), down(loss)) for step, loss in points],
        "levels": [(down(level), level) for level in levels],
        "steps": (first, last),
        "title": f"Training loss from {ends} over {last:g} steps",
    }


def intervals(compared: Sequence[tuple[str, dict[str, Any] | None, str]]) -> dict[str, Any] | None:
    """Differences with intervals on one axis with a zero line, of (label, gate.compare()'s result or None, verdict).

    {"marks": [(x, difference)], "zero": x, "rows": [{"label", "verdict", "at": (low, middle, high), "ends": their x}]}
    """
    known = [(label, found["interval"], found["difference"], verdict) for label, found, verdict in compared if found]
    rows = [(label, (low, middle, high), verdict) for label, (low, high), middle, verdict in known]
    rows = [row for row in rows if all(map(math.isfinite, row[1]))]
    if not rows:
        return None
    ends = [end for _label, at, _verdict in rows for end in at]
    marks = ticks(min(0.0, *ends), max(0.0, *ends))
    if marks[-1] == 0:
        marks.append(-marks[-2])  # room to say what lies on the other side
    across = scale(marks[0], marks[-1], 118, WIDTH - 20)
    drawn = [{"label": what, "verdict": verdict, "at": at, "ends": [*map(across, at)]} for what, at, verdict in rows]
    return {"marks": [(across(mark), mark) for mark in marks], "zero": across(0), "rows": drawn}


def scale(low: float, high: float, start: float, end: float) -> Any:
    """The function that puts low at `start` and high at `end`."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float) -> list[float]:
    """About five round values from at most `low` to at least `high`, at least two."""
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):  # one value: put it in the middle
        around = abs(low) / 2 if abs(low) > 1e-6 else 0.5
        low, high = low - around, high + around
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, max(last, first + 1) + 1)]
