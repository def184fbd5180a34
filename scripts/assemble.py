"""Join a language's examples into what is trained on and what is held out.

    python scripts/assemble.py --language rust
    python scripts/assemble.py --language rust --sessions data/sessions/rust.jsonl --train data/train/rust.jsonl
    python scripts/assemble.py --language rust --explain 1a2b3c4d

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
from specialists.records import Record, sha256_file, write_if_changed, write_json, write_records
from specialists.sources import example_files

if TYPE_CHECKING:
    from specialists.dataset.assembly import Dataset, Row


_FILE = click.Path(path_type=Path)


@command
@language_option
@click.option("--sessions", type=_FILE, help="Examples from sessions; default: data/sessions/L.jsonl.")
@click.option("--commits", type=_FILE, help="Examples from commits; default: data/commits/L.jsonl.")
@click.option("--synthetic", type=_FILE, help="Synthetic examples; default: data/synthetic/L.jsonl, if wanted.")
@click.option("--train", type=_FILE, help="Where training rows go; default: data/train/L.jsonl.")
@click.option("--heldout", type=_FILE, help="Where held-out rows go; default: data/heldout/L.jsonl.")
@click.option("--explain", metavar="ROW-ID", help="Say where a row comes from and what becomes of it; write nothing.")
def main(
    config: Config,
    as_json: bool,
    language: str,
    train: Path | None,
    heldout: Path | None,
    explain: str | None,
    **named: Path | None,
) -> None:
    """Join a language's examples: deduplicated, split by time, between min_examples and max_examples."""
    chosen = config.language(language)
    sources = example_files(config, chosen) | {name: path for name, path in named.items() if path}
    heldout = heldout or config.rows("heldout", language)
    dataset = _assembled(config, chosen, sources, heldout)
    if explain:
        click.echo(_explained(dataset, explain))
        return
    summary = _write(config, chosen, dataset, train or config.rows("train", language), heldout)
    say(_sentence(chosen, summary))
    finish(summary, as_json)


def _assembled(config: Config, language: Language, sources: dict[str, Path], heldout: Path) -> Dataset:
    from specialists.dataset.assembly import assemble, known_ledger, read_rows
    from specialists.exclusion import Exclusion

    exclusion = Exclusion(config)
    files = progress(sources.values(), "read")
    rows = [row for path in files for row in read_rows(path, language.name, exclusion)]
    exclusion.check()
    return assemble(
        rows, known_ledger(_ledger_file(heldout)), (language.min_examples, language.max_examples), config.assembly
    )


def _ledger_file(heldout: Path) -> Path:
    return heldout.with_suffix(".split.json")


def _write(config: Config, language: Language, dataset: Dataset, train: Path, heldout: Path) -> dict[str, Any]:
    """Write both files with ledger, summary and card; returns the summary."""
    # the ledger first: a kill between the two must not let held-out work be trained on the next time
    write_json(_ledger_file(heldout), dataset.ledger)
    write_records(heldout, [row.record() for row in dataset.heldout])
    records = [row.record() for row in dataset.train]
    write_records(train, records)
    summary = _summary(config, language, dataset, records, train)
    write_json(train.with_suffix(".summary.json"), summary)
    write_if_changed(train.with_suffix(".card.md"), card(language, summary))
    return summary


def _explained(dataset: Dataset, wanted: str) -> str:
    """Every row whose id starts with `wanted`: its source, and whether it is trained on, held out or left out."""
    fates = [(row, "trained on") for row in dataset.train] + [(row, "held out") for row in dataset.heldout]
    found = [(row, fate) for row, fate in [*fates, *dataset.lost] if row.id.startswith(wanted)]
    if not found:
        raise Problem(f"no row {wanted} in the sources")
    lines = []
    for row, fate in found:
        lines += [
            f"{row.id}: {fate}",
            f"  file     {row.file}",
            f"  cluster  {row.cluster}",
            f"  score    {row.score:g}",
        ]
        lines += [f"  {name:8} {value}" for name, value in row.record()["source"].items()]
    return "\n".join(lines)


def _summary(
    config: Config, language: Language, dataset: Dataset, records: list[Record], train: Path
) -> dict[str, Any]:
    from specialists.dataset.assembly import KINDS, span

    def by_kind(some: list[Row]) -> dict[str, int]:
        counts = Counter(row.kind for row in some)
        return {kind: counts[kind] for kind in KINDS}

    return {
        "step": "assemble",
        "language": language.name,
        "read": by_kind([*dataset.train, *dataset.heldout, *(row for row, _reason in dataset.lost)]),
        "train": by_kind(dataset.train),
        "heldout": by_kind(dataset.heldout),
        "work": dict(Counter(work for record in records if (work := _work(record["source"]))).most_common()),
        "clusters": {
            "train": len({row.cluster for row in dataset.train}),
            "heldout": len({row.cluster for row in dataset.heldout}),
        },
        "span": span(dataset.train),
        "tokens": _tokens(config, records),
        "funnel": dict(sorted(dataset.funnel.items())),
        "min_examples": language.min_examples,
        "max_examples": language.max_examples,
        "sha256": sha256_file(train),
        "problems": [],
    }


def _work(source: dict[str, Any]) -> str | None:
    """What was done, of a commit (fix, refactor …) and of a synthetic row (implement, fix); None for a session."""
    return source.get("type") or source.get("task")


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


def card(language: Language, summary: dict[str, Any]) -> str:
    """The dataset card, Markdown."""
    tokens, lengths = summary["tokens"], summary["tokens"]["lengths"]
    rows = sum(summary["train"].values())
    supervised = (
        f"{tokens['supervised'] / tokens['train']:.0%}" if tokens["supervised"] else "not counted: no base model"
    )
    facts = {
        "rows to train on": ", ".join(f"{number} {kind}" for kind, number in summary["train"].items()),
        "rows held out": ", ".join(f"{number} {kind}" for kind, number in summary["heldout"].items()),
        "sessions and commits": f"{summary['clusters']['train']} trained on, {summary['clusters']['heldout']} held out",
        "kinds of work": ", ".join(f"{number} {work}" for work, number in summary["work"].items()) or "-",
        "examples": f"{summary['min_examples']} to {summary['max_examples']}",
        "time": " to ".join(summary["span"]) or "-",
        "tokens": f"{tokens['train']:,}; median {lengths[rows // 2]:,}, longest {tokens['longest']:,}" if rows else "0",
        "supervised": supervised,
        "SHA-256": f"`{summary['sha256']}`",
    }
    lines = [f"# {language.title}: the rows of {language.adapter}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    lines += ["", "| left out because | rows |", "|---|---:|"]
    lines += [f"| {reason} | {number} |" for reason, number in summary["funnel"].items()]
    return "\n".join(lines) + "\n"


def _sentence(language: Language, summary: dict[str, Any]) -> str:
    train, heldout = summary["train"], summary["heldout"]
    parts = ", ".join(f"{number} {kind}" for kind, number in train.items())
    few = sum(train.values()) + sum(heldout.values()) < language.min_examples
    short = f"; fewer than min_examples, {language.min_examples}" if few else ""
    left = ", ".join(f"{number} {reason}" for reason, number in summary["funnel"].items()) or "none"
    return f"{language.name}: {parts} to train on, {sum(heldout.values())} held out{short}; left out: {left}"


if __name__ == "__main__":
    main()
