"""Join a language's examples into what is trained on and what is held out.

    python scripts/assemble.py --language rust
    python scripts/assemble.py --language rust --sessions data/sessions/rust.jsonl --train data/train/rust.jsonl

Beside the held-out rows stands NAME.split.json, the ledger of which sessions and commits were ever held out: keep it,
or work that adapters were trained on may be used to judge them. Beside the training rows stands NAME.summary.json.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from specialists.cli import command, finish, language_option, progress, say
from specialists.config import Config, Language, Problem
from specialists.records import Record, sha256_file, write_json, write_records

if TYPE_CHECKING:
    from specialists.dataset import Dataset, Row

_FILE = click.Path(path_type=Path)


@command
@language_option
@click.option("--sessions", type=_FILE, help="Examples from sessions; default: data/sessions/L.jsonl.")
@click.option("--commits", type=_FILE, help="Examples from commits; default: data/commits/L.jsonl.")
@click.option("--synthetic", type=_FILE, help="Synthetic examples; default: data/synthetic/L.jsonl, if wanted.")
@click.option("--train", type=_FILE, help="Where training rows go; default: data/train/L.jsonl.")
@click.option("--heldout", type=_FILE, help="Where held-out rows go; default: data/heldout/L.jsonl.")
def main(config: Config, as_json: bool, language: str, **files: Path | None) -> None:
    """Join a language's examples: deduplicated, split by time, within the wanted bounds."""
    chosen = config.language(language)
    data = config.paths.data
    sources = {name: files[name] or data / name / f"{language}.jsonl" for name in ("sessions", "commits", "synthetic")}
    if not (chosen.synthetic or files["synthetic"]):
        del sources["synthetic"]
    train = files["train"] or data / "train" / f"{language}.jsonl"
    heldout = files["heldout"] or data / "heldout" / f"{language}.jsonl"
    summary = run(config, chosen, sources, train, heldout)
    say(_sentence(chosen, summary))
    finish(summary, as_json)


def run(config: Config, language: Language, sources: dict[str, Path], train: Path, heldout: Path) -> dict[str, Any]:
    """Assemble and write both files with ledger and summary; returns the summary."""
    from specialists.dataset import assemble, known_ledger, read_rows

    rows = [row for path in progress(sources.values(), "read") for row in read_rows(path, language.name)]
    ledger_file = heldout.with_suffix(".split.json")
    dataset = assemble(rows, known_ledger(ledger_file), language.wanted, config.assembly)
    # the ledger first: a kill between the two must not let held-out work be trained on the next time
    write_json(ledger_file, dataset.ledger)
    write_records(heldout, [row.record() for row in dataset.heldout])
    records = [row.record() for row in dataset.train]
    write_records(train, records)
    summary = _summary(config, language, rows, dataset, records, train)
    write_json(train.with_suffix(".summary.json"), summary)
    return summary


def _summary(
    config: Config, language: Language, rows: list[Row], dataset: Dataset, records: list[Record], train: Path
) -> dict[str, Any]:
    from specialists.dataset import KINDS, span

    def by_kind(some: list[Row]) -> dict[str, int]:
        counts = Counter(row.kind for row in some)
        return {kind: counts[kind] for kind in KINDS}

    return {
        "step": "assemble",
        "language": language.name,
        "read": by_kind(rows),
        "train": by_kind(dataset.train),
        "heldout": by_kind(dataset.heldout),
        "clusters": {
            "train": len({row.cluster for row in dataset.train}),
            "heldout": len({row.cluster for row in dataset.heldout}),
        },
        "span": span(dataset.train),
        "tokens": _tokens(config, records),
        "funnel": dict(sorted(dataset.funnel.items())),
        "wanted": list(language.wanted),
        "sha256": sha256_file(train),
        "problems": [],
    }


def _tokens(config: Config, records: list[Record]) -> dict[str, Any]:
    """Tokens in all, supervised, and of each row; supervised is None while the base model is not on this machine."""
    from specialists.chat import Chat, token_counter

    chat = token_counter(config.base.model, config.base.revision)
    if not isinstance(chat, Chat):
        lengths = [chat.count(record["messages"], record["tools"]) for record in records]
        return {
            "train": sum(lengths),
            "supervised": None,
            "longest": max(lengths, default=0),
            "lengths": sorted(lengths),
        }
    encoded = []
    for record in progress(records, "tokens"):
        try:
            row = chat.encode(record)
        except Problem as problem:
            raise Problem(f"{problem} ({record['source']['kind']})") from None
        encoded.append((len(row.input_ids), row.supervised))
    lengths = sorted(length for length, _supervised in encoded)
    supervised = sum(number for _length, number in encoded)
    return {"train": sum(lengths), "supervised": supervised, "longest": max(lengths, default=0), "lengths": lengths}


def _sentence(language: Language, summary: dict[str, Any]) -> str:
    train, heldout = summary["train"], summary["heldout"]
    parts = ", ".join(f"{number} {kind}" for kind, number in train.items())
    least = language.wanted[0]
    short = f"; under the {least} that are wanted" if sum(train.values()) < least else ""
    left = ", ".join(f"{number} {reason}" for reason, number in summary["funnel"].items()) or "none"
    return f"{language.name}: {parts} to train on, {sum(heldout.values())} held out{short}; left out: {left}"


if __name__ == "__main__":
    main()
