"""`doit why train:rust`: which rows, configuration keys or code make a task run, and what a training will cost."""

from __future__ import annotations

from dataclasses import dataclass

from specialists import adapters
from specialists.config import Config, Language
from specialists.records import Record, cluster_of, read_records
from specialists.reporting.status import age, config_changes, cost

_SHOWN = 8  # rows listed of those that came, and of those that went


@dataclass(frozen=True)
class TrainingChange:
    """What differs between the newest version and what a training would make now."""

    added: list[str]  # rows, in words
    removed: list[str]
    keys: list[str]  # of the configuration, with what they were
    rows: tuple[int, int] | None  # trained on, and there now; None: never trained
    unknown: str | None = None  # why the rows cannot be compared one by one
    cost: str | None = None  # what a training will take, in words

    @property
    def reasons(self) -> list[str]:
        """All of it as lines; empty when the newest version is up to date."""
        lines = list(self.keys) if self.rows else ["never trained"]
        if self.unknown:
            lines.append(self.unknown)
        for sign, what, rows in (("+", "new", self.added), ("-", "gone", self.removed)):
            if rows:
                before, now = self.rows or (0, 0)
                lines.append(f"{len(rows)} rows {what} ({before} -> {now})")
                lines += [f"  {sign} {row}" for row in rows[:_SHOWN]]
                lines += [f"  … and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        return lines


def training_change(config: Config, language: Language) -> TrainingChange:
    """Compare the newest version of a language's adapter with its present rows and configuration."""
    manifest = adapters.manifest_of(adapters.adapter_folder(config, language).latest)
    present, known = adapters.training_inputs(config, language), manifest.get("inputs", {})
    now = adapters.training_rows(config, language)
    estimate = expected_cost(config, language, now)
    if not manifest:
        return TrainingChange([], [], [], None, cost=estimate)
    keys = config_changes(config, language, manifest) if known.get("config") != present["config"] else []
    counts = manifest.get("rows", 0), now
    if known.get("rows") == present["rows"]:
        return TrainingChange([], [], keys, counts, cost=estimate)
    if "clusters" not in manifest:
        return TrainingChange([], [], keys, counts, "rows changed; the version does not say which it had", estimate)
    added, removed = _rows(config, language, manifest["clusters"])
    # rows that only moved or were reworded in their source leave the same ids in another order or with another source
    unknown = None if added or removed else "rows changed in what is noted of their source; none came, none went"
    return TrainingChange(added, removed, keys, counts, unknown, estimate)


def _rows(config: Config, language: Language, clusters: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Rows that came and rows that went, in words, newest source first."""
    path = config.rows("train", language.name)
    present = {record["id"]: record for record in read_records(path)} if path.exists() else {}
    trained = {row: cluster for cluster, rows in clusters.items() for row in rows}
    added = [_in_words(record) for row, record in present.items() if row not in trained]
    return added[::-1], [f"{row} of {cluster}" for row, cluster in trained.items() if row not in present]


def _in_words(record: Record) -> str:
    source = record["source"]
    return f"{record['id']} {source['kind']} of {source['time'][:10]}, {cluster_of(record)}"


def expected_cost(config: Config, language: Language, rows: int) -> str | None:
    """Minutes and GiB of a training on so many rows, from the newest version on this base, of another language if need.

    Time grows with rows and epochs; what is not training (loading, saving) is taken as it was.
    """
    manifests = [
        adapters.manifest_of(adapters.adapter_folder(config, other).latest)
        for other in (language, *config.languages.values())
    ]
    like = next(
        (
            each
            for each in manifests
            if each.get("seconds") and each.get("rows") and each.get("base", {}).get("model") == config.base.model
        ),
        None,
    )
    if like is None:
        return None
    settings = language.training
    share = 1.0
    if settings.max_steps < 0:
        share = rows * settings.epochs / (like["rows"] * like.get("training", {}).get("epochs", settings.epochs))
    fixed = like["seconds"] - like.get("seconds_by_part", {}).get("train", like["seconds"])
    seconds = fixed + (like["seconds"] - fixed) * share
    took = cost({**like, "seconds": seconds})
    return f"about {took}, from {like['adapter']} of {age(like['version'])}: {like['rows']} rows in {cost(like)}"


def explained(config: Config, found: dict[str, list[str]], asked: list[str]) -> list[str]:
    """The lines that `doit why` prints. `found`: reasons by task, as pipeline.reasons gives them, in order."""
    lines: list[str] = []
    waiting: list[str] = []
    for task, reasons in found.items():
        step, _colon, name = task.partition(":")
        training = step == "train" and name in config.languages
        change = training_change(config, config.languages[name]) if training else None
        if change and reasons:
            reasons = change.reasons or reasons
        if reasons:
            lines += [f"{task} runs:", *(f"  {reason}" for reason in reasons)]
        elif waiting and task in asked:
            lines.append(f"{task} is up to date; it runs if {', '.join(waiting)} gives something else")
        if change and change.cost and (reasons or (waiting and task in asked)):
            lines.append(f"  takes {change.cost}")
        if reasons:
            waiting.append(task)
    return lines or ["Nothing: everything is up to date."]


def why(config: Config, found: dict[str, list[str]], asked: list[str]) -> str:
    """What `doit why` prints."""
    return "\n".join(explained(config, found, asked))
