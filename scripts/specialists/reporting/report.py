"""The owner's page, reports/index.html: where every language stands, in one look.

One static file without scripts or network, made from what the steps left behind: the same files give the same page.
Beside it lies status.json, the same for scripts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from specialists import adapters
from specialists.chat import Chat, Estimate, token_counter
from specialists.config import Config, Language, Problem
from specialists.evaluation.gate import CONFIDENCE
from specialists.records import SOURCES, Record, read_json, write_if_changed, write_json
from specialists.reporting import figures
from specialists.reporting.checks import skipped
from specialists.reporting.mask_view import segments
from specialists.reporting.parity import newest_row
from specialists.reporting.status import age, cost, status
from specialists.serving import alive

UNIT = "nats per token"
_SHOWN = 20  # versions and decisions listed per language, the newest
_COMPARED = 8  # versions drawn beside each other
_EXCERPT = 600  # characters at each end of a long text
_PARTS = {"changed": "lines that you changed", "code": "other code", "syntax": "syntax of tool calls", "prose": "prose"}
_COMPARISONS = {  # of gate.verdict(): what it says, and what the adapter is compared with
    "forgetting": ("loss on the frozen set, which it should not forget", "base"),
    "style": ("style: loss on the lines that you changed", "base"),
    "skill": ("skill: how much more of it there is behind another request", "base"),
    "prompt": ("loss on these lines; in place of the base: the base with your instructions", "prompt"),
    "examples": ("the same; the base with your two nearest examples in its prompt", "examples"),
    "incumbent": ("the same; the version before it", "incumbent"),
}
_WRITTEN = {
    "called": "answers with a tool call",
    "valid": "answers with a call that holds",
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
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(page(config, state))


def page(config: Config, state: dict[str, Any]) -> dict[str, Any]:
    """Everything that the page shows, as plain values and finished figures."""
    chat = token_counter(config.base.model, config.base.revision)
    languages = [section(config, config.languages[name], known, chat) for name, known in state["languages"].items()]
    problems = [problem.removeprefix(f"{config.path}: ") for problem in skipped(config)]
    return {
        "base": Path(state["base"]).name if Path(state["base"]).is_absolute() else state["base"],
        "problems": list(dict.fromkeys([*state["findings"], *problems])),
        "languages": languages,
        "sources": SOURCES,
        "as_of": max((language["newest"] for language in languages if language["newest"]), default=None),
        "unit": UNIT,
        "confidence": f"{CONFIDENCE * 100:g} %",
        "gain": f"{config.evaluation.gain * 100:g} %",
        "intervals": _intervals(languages, "title"),
    }


def section(config: Config, language: Language, state: dict[str, Any], chat: Chat | Estimate) -> dict[str, Any]:
    """What the page shows of one language."""
    folder = adapters.adapter_folder(config, language)
    known = folder.versions()
    versions = [_version(folder, version) for version in reversed(known[-_SHOWN:])]
    manifest, evaluation = adapters.manifest_of(folder.latest), adapters.evaluation_of(folder.latest)
    summary, decisions = adapters.train_summary(config, language), adapters.decisions(folder)
    total = sum(state["train"].values())
    asked = (read_json(config.paths.reports / "answers.json") or {}).get("answers", [])
    times = [manifest.get("created"), *(decision.get("time") for decision in decisions[-1:])]
    return {
        **state,
        "total": total,
        "scale": max(total, state["max_examples"], 1),
        "answers": age(state["current"]) if state["current"] else None,
        "span": summary.get("span"),
        "tokens": summary.get("tokens"),
        "limit": language.training.max_length,
        "curve": figures.loss_curve(manifest.get("losses") or []),
        "history": _intervals(versions[:_COMPARED], "age") if len(versions) > 1 else None,
        "training": _facts(manifest),
        "funnels": _funnels(config, language.name),
        "mask": _mask(chat, newest_row(config, language)),
        "versions": versions,
        "older": len(known) - len(versions),
        "decisions": list(reversed(decisions[-_SHOWN:])),
        "clusters": evaluation.get("clusters"),
        "style": evaluation.get("style"),
        "measures": _measures(evaluation),
        "side_by_side": _side_by_side(evaluation),
        "signs": (evaluation.get("loss") or {}).get("signs"),
        "alive": (read_json(folder.latest / alive.ALIVE) or {}).get("faults") if folder.latest else None,
        "questions": [answer for answer in asked if answer["model"] == language.adapter],
        "newest": max((time for time in times if time), default=None),
    }


def _version(folder: adapters.AdapterFolder, version: Path) -> dict[str, Any]:
    manifest, evaluation = adapters.manifest_of(version), adapters.evaluation_of(version)
    links = {"latest": folder.latest, "promoted": folder.current, "previous": folder.previous}
    losses = manifest.get("losses") or []
    return {
        "name": version.name,
        "age": age(version.name),
        "marks": [mark for mark, linked in links.items() if linked == version],
        "rows": manifest.get("rows"),
        "fit": [losses[0][1], losses[-1][1]] if losses else None,
        "cost": cost(manifest),
        "loss": evaluation.get("loss"),
        "style": evaluation.get("style"),
        "verdict": evaluation.get("verdict"),
    }


def _intervals(compared: list[dict[str, Any]], label: str) -> Any:
    """The differences of languages or versions to the base, of those that were evaluated."""
    rows = [(row, row["style"] or row["loss"]) for row in compared if row["loss"]]
    drawn = [(row[label], e["interval"][0], e["difference"], e["interval"][1], row["verdict"]) for row, e in rows]
    return figures.intervals(drawn, UNIT)


def _measures(evaluation: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """What else an evaluation says, as (what, the base's, the adapter's, interval of the difference and its n)."""
    parts = evaluation.get("parts") or {}
    rows = [(f"loss on {what}", parts[part], "base") for part, what in _PARTS.items() if part in parts]
    rows += [(what, evaluation[name], arm) for name, (what, arm) in _COMPARISONS.items() if evaluation.get(name)]
    shown = [(what, _loss(loss[arm]), _loss(loss["adapter"]), _interval(loss)) for what, loss, arm in rows]
    written, paired = evaluation.get("generated") or {}, evaluation.get("paired") or {}
    for name, what in _WRITTEN.items():
        base, adapter = (written.get(arm, {}).get(name) for arm in ("base", "adapter"))
        if base is not None and adapter is not None:
            shown.append((what, f"{base:.0%}", f"{adapter:.0%}", _interval(paired.get(name))))
    return shown


def _interval(found: dict[str, Any] | None) -> str:
    """Below zero is better, of rates too; of the paired answers where the rates are of all."""
    if not found or "interval" not in found:
        return ""
    low, high = found["interval"]
    return f"{low:+.3f} to {high:+.3f}, {found.get('answers', found['clusters'])}"


def _side_by_side(evaluation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Held-out requests with what the base and the adapter wrote."""
    answers = evaluation.get("answers") or {}
    base, adapter = ([one for one in answers.get(arm, ()) if "text" in one] for arm in ("base", "adapter"))
    both = zip(base, adapter, strict=False)
    return [(one["request"], _shortened(one["text"]), _shortened(other["text"])) for one, other in both]


def _loss(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not finite"


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What the manifest of a training says, as label and value."""
    settings, base = manifest.get("training", {}), manifest.get("base", {})
    counts = {"examples": "rows", "tokens": "tokens", "of them supervised": "supervised"}
    counts["trained parameters"] = "parameters"
    facts = [
        ("base", Path(base["model"]).name if base.get("model") else None),
        *((label, f"{manifest[name]:,}" if manifest.get(name) else None) for label, name in counts.items()),
        ("adapted modules", len(manifest.get("modules", ())) or None),
        ("took", cost(manifest)),
        *((name.replace("_", " "), settings.get(name)) for name in ("r", "alpha", "epochs", "learning_rate")),
    ]
    return [(label, str(value)) for label, value in facts if value is not None]


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


def _funnels(config: Config, language: str) -> list[dict[str, Any]]:
    """What each step read, kept and left out for a language."""
    sessions = (read_json(config.paths.data / "sessions" / "summary.json") or {}).get("funnel", {})
    found = {"From opencode sessions": sessions.get("languages", {}).get(language)}
    steps = {"commits": "From git commits", "synthetic": "From the owner's own code"}
    for step, title in {**steps, "train": "Left out when they were joined"}.items():
        found[title] = (read_json(config.paths.data / step / f"{language}.summary.json") or {}).get("funnel")
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
