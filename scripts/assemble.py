"""Join a language's examples: without duplicates, the newest held out, the best up to max_examples.

\b
    python scripts/assemble.py --language rust
    python scripts/assemble.py --language rust --sessions a.jsonl --train b.jsonl
    python scripts/assemble.py --language rust --explain 1a2b3c4d

Beside the held-out rows stands NAME.split.json, which says what sessions and commits were ever held out: keep
it, or work that adapters were trained on may be used to judge them. A summary stands beside the others.
"""

from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from specialists.agent import captured, with_head
from specialists.cli import command, finish, language_option, progress, say
from specialists.commits.git import Unreadable, open_repository
from specialists.config import Config, Language, Problem
from specialists.dataset.assembly import Dataset, Row, assemble, read_rows, read_split, starved, survived
from specialists.exclusion import Exclusion
from specialists.pipeline import example_files
from specialists.records import SOURCES, Record, is_target, sha256_file, write_json, write_records
from specialists.seen import blind_as_context

_FILE = click.Path(path_type=Path)


@command
@language_option
@click.option("--sessions", type=_FILE, help="Examples from sessions; default: data/sessions/L.jsonl.")
@click.option("--commits", type=_FILE, help="Examples from commits; default: data/commits/L.jsonl.")
@click.option("--rollouts", type=_FILE, help="Commits done again; default: data/rollouts/L.jsonl, if in use.")
@click.option("--synthetic", type=_FILE, help="Synthetic examples; default: data/synthetic/L.jsonl, if in use.")
@click.option("--train", type=_FILE, help="Where training rows go; default: data/train/L.jsonl.")
@click.option("--heldout", type=_FILE, help="Where held-out rows go; default: data/heldout/L.jsonl.")
@click.option("--explain", metavar="ROW-ID", help="Say where a row comes from and what becomes of it; write nothing.")
def main(config: Config, as_json: bool, language: str, explain: str | None, **named: Path | None) -> None:
    chosen, exclusion = config.language(language), Exclusion(config)
    train, heldout = (named.pop(part) or config.rows(part, language) for part in ("train", "heldout"))
    files = example_files(config, chosen) | {name: path for name, path in named.items() if path}
    split = heldout.with_suffix(".split.json")
    rows = [row for path in files.values() for row in read_rows(path, language, exclusion)]
    exclusion.check()
    rows = _weighed(config, chosen, rows)
    dataset = assemble(rows, read_split(split), (chosen.min_examples, chosen.max_examples), config.assembly)
    if explain:
        return say(_explained(dataset, explain), err=False)
    # the split first: a kill between the two must not let held-out work be trained on the next time
    write_json(split, dataset.split)
    capture = captured(config)

    def finished(some: list[Row], whole_heads: float) -> list[Record]:
        seen = (blind_as_context(row.record()) for row in some)
        return [with_head(one, chosen, capture, whole_heads) for one in seen if any(map(is_target, one["messages"]))]

    write_records(heldout, finished(dataset.heldout, 1.0))
    write_records(train, records := finished(dataset.train, config.assembly.whole_heads))
    summary = _summary(config, chosen, dataset, records) | {"sha256": sha256_file(train)}
    again = f"are held out; for a new split, train and judge anew: rm {split} && doit assemble:{language}"
    summary["problems"] = [f"{split}: most {SOURCES[kind]} {again}" for kind in starved(dataset)]
    write_json(train.with_suffix(".summary.json"), summary)
    counts = f"{_counts(summary['train'])} to train on, {sum(summary['heldout'].values())} held out"
    say(f"{language}: {counts}; left out: {_counts(summary['funnel'])}")
    finish(summary, as_json, summary["problems"])


def _weighed(config: Config, language: Language, rows: list[Row]) -> list[Row]:
    """The rows, those of sessions with a score by what the repository of their project's name kept of their lines."""
    scored: dict[str, Row] = {}
    for path in config.repositories(language.name):
        if own := [row for row in rows if row.kind == "session" and row.repository == path.name]:
            since = datetime.fromisoformat(min(row.time for row in own)).timestamp()
            with suppress(Unreadable), open_repository(path) as source:  # mining says so
                texts = source.texts(language.extensions + language.files, since)
                scored |= {row.id: row for row in survived(own, texts)}
    return [scored.get(row.id, row) for row in rows]


def _explained(dataset: Dataset, start: str) -> str:
    """Every row whose id starts so: its source, and whether it is trained on, held out or left out."""
    lines = []
    used = [(row, "trained on") for row in dataset.train] + [(row, "held out") for row in dataset.heldout]
    for row, fate in (found for found in [*used, *dataset.lost] if found[0].id.startswith(start)):
        about = {"file": row.file, "cluster": row.cluster, "score": f"{row.score:g}", **row.record()["source"]}
        lines += [f"{row.id}: {fate}", *(f"  {name:8} {value}" for name, value in about.items())]
    if not lines:
        raise Problem(f"no row {start} in the sources")
    return "\n".join(lines)


def _summary(config: Config, language: Language, dataset: Dataset, records: list[Record]) -> dict[str, Any]:
    def by_kind(some: list[Row]) -> dict[str, int]:
        return {kind: sum(row.kind == kind for row in some) for kind in SOURCES}

    # what was done: of a commit (fix, refactor …) and of a synthetic row (implement, fix); nothing of a session
    work = [source.get("type") or source.get("task") for source in (record["source"] for record in records)]
    days = sorted(row.time[:10] for row in dataset.train)
    return {
        "step": "assemble",
        "language": language.name,
        "read": by_kind([*dataset.train, *dataset.heldout, *(row for row, _reason in dataset.lost)]),
        "train": by_kind(dataset.train),
        "heldout": by_kind(dataset.heldout),
        "work": dict(Counter(filter(None, work)).most_common()),
        "clusters": {part: len({row.cluster for row in getattr(dataset, part)}) for part in ("train", "heldout")},
        "scores": {row.id: round(row.score, 2) for row in dataset.train},
        "span": [days[0], days[-1]] if days else [],
        "tokens": _tokens(config, records),
        "funnel": dict(sorted(dataset.funnel.items())),
    }


def _tokens(config: Config, records: list[Record]) -> dict[str, Any]:
    """Tokens in all, supervised, and of each row; supervised is None while the base model is not on this machine."""
    from specialists.chat import Chat, token_counter

    chat, supervised = token_counter(config.base.model, config.base.revision), None
    if isinstance(chat, Chat):
        counts = [chat.counts(record) for record in progress(records, "tokens")]
        lengths, supervised = sorted(length for length, _learned in counts), sum(learned for _length, learned in counts)
    else:
        lengths = sorted(chat.count(record["messages"], record["tools"]) for record in records)
    return {"train": sum(lengths), "supervised": supervised, "longest": max(lengths, default=0), "lengths": lengths}


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items()) or "none"


if __name__ == "__main__":
    main()
