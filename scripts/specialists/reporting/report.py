"""The owner's page, reports/index.html: what his nights produced, in one look.

One static file without scripts or network, made from what the steps left behind: the same files give the same page.
What is not there yet is said to be not there yet. Beside it lies status.json, the same for scripts.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from specialists import adapters
from specialists.chat import Chat, Estimate, token_counter
from specialists.cli import duration
from specialists.config import Config, Language, Problem
from specialists.records import Record, is_target, read_json, write_if_changed, write_json
from specialists.reporting import figures
from specialists.reporting.mask_view import segments
from specialists.reporting.status import SHOWN, age, cost, status
from specialists.serving import alive
from specialists.sources import skipped

UNIT = "nats per token"
_SHOWN = 20  # versions and decisions listed per language, the newest
_COMPARED = 8  # versions drawn beside each other
_EXCERPT = 600  # characters of a sample's message
_PARTS = {"code": "code", "syntax": "the syntax of tool calls", "prose": "prose"}
_WRITTEN = {
    "called": "answers with a tool call",
    "valid": "tool calls that hold",
    "applies": "edits that apply",
    "parses": "edits that parse",
    "similarity": "likeness to your own edit",
    "exact": "exactly your own edit",
}  # of scoring.summary()
_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(config: Config) -> dict[str, Any]:
    """Write index.html and status.json where they changed; returns {"report", "changed"}."""
    state = status(config)
    write_json(config.paths.reports / "status.json", state)
    page = config.paths.reports / "index.html"
    return {"report": str(page), "changed": write_if_changed(page, render(config, state))}


def render(config: Config, state: dict[str, Any]) -> str:
    """The page as HTML; everything that comes from data is escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(loss=_loss, percent=_percent, signed=_signed, thousands=_thousands, duration=duration)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(page(config, state))


def page(config: Config, state: dict[str, Any]) -> dict[str, Any]:
    """Everything that the page shows, as plain values and finished figures."""
    told = (read_json(config.paths.reports / "answers.json") or {}).get("answers", [])
    chat = token_counter(config.base.model, config.base.revision)
    languages = [
        section(
            config,
            config.languages[name],
            language,
            [answer for answer in told if answer["model"] == language["adapter"]],
            chat,
        )
        for name, language in state["languages"].items()
    ]
    times = [language["newest"] for language in languages if language["newest"]]
    return {
        "base": Path(state["base"]).name if Path(state["base"]).is_absolute() else state["base"],
        "problems": _problems(config),
        "languages": languages,
        "sources": SHOWN,
        "as_of": max(times, default=None),
        "unit": UNIT,
        "confidence": f"{config.evaluation.confidence * 100:g} %",
        "gain": f"{config.evaluation.gain * 100:g} %",
        "intervals": figures.intervals(
            [(row["title"], *_interval(row["loss"]), row["verdict"]) for row in languages if row["loss"]], UNIT
        ),
    }


def section(
    config: Config, language: Language, state: dict[str, Any], told: list[dict[str, Any]], chat: Chat | Estimate
) -> dict[str, Any]:
    """What the page shows of one language."""
    folder = adapters.adapter_folder(config, language)
    known = folder.versions()
    versions = [_version(folder, version) for version in reversed(known[-_SHOWN:])]
    manifest, evaluation = adapters.manifest_of(folder.latest), adapters.evaluation_of(folder.latest)
    summary = adapters.train_summary(config, language)
    example = _newest(config.rows("train", language.name))
    decisions = adapters.decisions(folder)
    total = sum(state["train"].values())
    least, most = state["min_examples"], state["max_examples"]
    newest = [manifest.get("created"), *(decision.get("time") for decision in decisions[-1:])]
    judged = [version for version in versions[:_COMPARED] if version["loss"]]
    return {
        **state,
        "total": total,
        "missing": max(0, least - total),
        "answers": age(state["current"]) if state["current"] else None,
        "span": summary.get("span"),
        "examples": figures.meter(
            [(f"source-{kind}", state["train"][kind]) for kind in SHOWN],
            [(f"least {least}", least), (f"most {most}", most)],
            f"{total} training examples; wanted are {least} to {most}",
        ),
        "tokens": summary.get("tokens"),
        "limit": language.training.max_length,
        "lengths": figures.histogram((summary.get("tokens") or {}).get("lengths") or [], language.training.max_length),
        "curve": figures.loss_curve(manifest.get("losses") or []),
        "spread": figures.spread(_clusters(evaluation.get("measurements") or []), UNIT),
        "history": figures.intervals(
            [(version["age"], *_interval(version["loss"]), version["verdict"]) for version in judged], UNIT
        )
        if len(judged) > 1
        else None,
        "training": _facts(manifest),
        "funnels": _funnels(config, language.name),
        "sample": _sample(example),
        "mask": _mask(chat, example),
        "versions": versions,
        "older": len(known) - len(versions),
        "decisions": list(reversed(decisions[-_SHOWN:])),
        "clusters": evaluation.get("clusters"),
        "measures": _measures(evaluation),
        "signs": (evaluation.get("loss") or {}).get("signs"),
        "alive": (read_json(folder.latest / alive.ALIVE) or {}).get("faults") if folder.latest else None,
        "told": told,
        "newest": max((time for time in newest if time), default=None),
    }


def _version(folder: adapters.AdapterFolder, version: Path) -> dict[str, Any]:
    manifest, evaluation = adapters.manifest_of(version), adapters.evaluation_of(version)
    marks = [name for name in ("latest", "current", "previous") if getattr(folder, name) == version]
    losses = manifest.get("losses") or []
    return {
        "name": version.name,
        "age": age(version.name),
        "marks": ["promoted" if mark == "current" else mark for mark in marks],
        "rows": manifest.get("rows"),
        "fit": [losses[0][1], losses[-1][1]] if losses else None,
        "cost": cost(manifest),
        "loss": evaluation.get("loss"),
        "verdict": evaluation.get("verdict"),
    }


def _measures(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What else an evaluation says, as (what, the base's, the adapter's)."""
    rows = [(f"loss on {_PARTS[part]}", loss["base"], loss["adapter"]) for part, loss in _parts(evaluation)]
    if kept := evaluation.get("forgetting"):
        rows.append(("loss on the frozen set, which it should not forget", kept["base"], kept["adapter"]))
    if told := evaluation.get("prompt"):
        rows.append(("loss; in place of the base: the base told your instructions", told["prompt"], told["adapter"]))
    if before := evaluation.get("incumbent"):
        rows.append(("loss; in place of the base: the version before it", before["incumbent"], before["adapter"]))
    shown = [(what, _loss(base), _loss(adapter)) for what, base, adapter in rows]
    written = evaluation.get("generated") or {}
    for name, what in _WRITTEN.items():
        rates = [written.get(arm, {}).get(name) for arm in ("base", "adapter")]
        if None not in rates:
            shown.append((what, f"{rates[0]:.0%}", f"{rates[1]:.0%}"))
    return shown


def _parts(evaluation: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    parts = evaluation.get("parts") or {}
    return [(part, parts[part]) for part in _PARTS if part in parts]


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What the manifest of a training says, as label and value."""
    if not manifest:
        return []
    settings, base = manifest.get("training", {}), manifest.get("base", {})
    facts = [
        ("base", Path(base["model"]).name if base.get("model") else None),
        ("examples", _thousands(manifest.get("rows"))),
        ("tokens", _thousands(manifest.get("tokens"))),
        ("of them supervised", _thousands(manifest.get("supervised"))),
        ("trained parameters", _thousands(manifest.get("parameters"))),
        ("adapted modules", _thousands(len(manifest["modules"])) if manifest.get("modules") else None),
        ("took", cost(manifest)),
        *((name.replace("_", " "), settings.get(name)) for name in ("r", "alpha", "epochs", "learning_rate")),
    ]
    return [(label, str(value)) for label, value in facts if value is not None]


def _newest(rows: Path) -> Record | None:
    """The newest training row."""
    last = None
    with contextlib.suppress(OSError), rows.open(encoding="utf-8") as lines:
        for last in lines:  # noqa: B007
            pass
    return json.loads(last) if last else None


def _mask(chat: Chat | Estimate, row: Record | None) -> dict[str, Any] | None:
    """A row as the model is trained on it; long pieces in excerpts. None while the base model is not here."""
    if row is None or not isinstance(chat, Chat):
        return None
    try:
        encoded = chat.encode(row)
        pieces = [(_shortened(text), learned) for text, learned in segments(chat, row)]
    except Problem:
        return None
    return {"pieces": pieces, "tokens": len(encoded.input_ids), "supervised": encoded.supervised}


def _shortened(text: str) -> str:
    """The beginning and the end of a long text, and between them how much was left out."""
    left_out = len(text) - 2 * _EXCERPT
    return text if left_out <= 0 else f"{text[:_EXCERPT]} … {left_out:,} more characters … {text[-_EXCERPT:]}"


def _sample(row: Record | None) -> list[dict[str, Any]]:
    """A row message by message, each with whether the loss is taken on it."""
    shown = []
    for message in row["messages"] if row else ():
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        text = "\n".join(
            [message.get("content") or "", *(f"{call['name']} {call['arguments']}" for call in calls)]
        ).strip()
        shown.append(
            {
                "role": message["role"],
                "target": is_target(message),
                "text": text[:_EXCERPT],
                "more": max(0, len(text) - _EXCERPT),
            }
        )
    return shown


def _clusters(measurements: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Adapter minus base per token, for each held-out session or commit."""
    sums: dict[str, list[float]] = {}
    for row in measurements:
        total = sums.setdefault(row["cluster"], [0.0, 0.0])
        total[0] += row["nll"]["adapter"] - row["nll"]["base"]
        total[1] += row["tokens"]
    return [(cluster, difference / tokens) for cluster, (difference, tokens) in sums.items() if tokens]


def _funnels(config: Config, language: str) -> list[dict[str, Any]]:
    """What each step read, kept and left out for a language."""
    data = config.paths.data
    sessions = (read_json(data / "sessions" / "summary.json") or {}).get("funnel", {})
    found = {
        "From opencode sessions": sessions.get("languages", {}).get(language),
        "From git commits": (read_json(data / "commits" / f"{language}.summary.json") or {}).get("funnel"),
        "From the owner's own code": (read_json(data / "synthetic" / f"{language}.summary.json") or {}).get("funnel"),
        "Left out when they were joined": (read_json(data / "train" / f"{language}.summary.json") or {}).get("funnel"),
    }
    return [{"title": title, "rows": _flat(counts)} for title, counts in found.items() if counts]


def _flat(counts: dict[str, Any], prefix: str = "") -> list[tuple[str, int]]:
    """Nested counts as (what, number) in their order, groups named before their parts."""
    rows: list[tuple[str, int]] = []
    for name, value in counts.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}: ")
        elif isinstance(value, int):
            rows.append((f"{prefix}{name}".replace("_", " "), value))
    return rows


def _problems(config: Config) -> list[str]:
    """What is wrong with the configuration or missing, and what the steps skipped, each once."""
    steps = [problem.removeprefix(f"{config.path}: ") for problem in skipped(config)]
    return list(dict.fromkeys([*map(str, config.findings), *steps]))


def _interval(loss: dict[str, Any]) -> tuple[float, float, float]:
    low, high = loss["interval"]
    return low, loss["difference"], high


def _loss(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not finite"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _percent(value: float) -> str:
    return f"{value:+.1%}"


def _thousands(value: Any) -> str | None:
    return None if value is None else f"{value:,}"
