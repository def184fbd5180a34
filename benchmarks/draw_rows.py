"""Rows drawn by chance, for a person to read whole.

    python benchmarks/draw_rows.py data/commits/rust.jsonl data/commits/python.jsonl --number 10 --seed 17

Every message is printed but the system prompt; an edit as the lines that it takes away (-), puts in (+) and holds on
to. In the margin "|" marks what is learned.
"""

from __future__ import annotations

import json
import random
import sys
from difflib import ndiff
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from specialists.records import is_target, read_records


def shown(call: dict[str, Any]) -> str:
    """A tool call: its name, its short arguments, then the text that it changes or writes."""
    arguments = json.loads(call["function"]["arguments"])
    old, new = (arguments.pop(key, None) for key in ("oldString", "newString"))
    text = str(arguments.pop("content", ""))
    if old is not None and new is not None:
        text = "\n".join(line for line in ndiff(old.split("\n"), new.split("\n")) if line[0] != "?")
    return f"[{call['function']['name']} {json.dumps(arguments, ensure_ascii=False)}]\n{text}".rstrip("\n")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--number", default=10, show_default=True, help="Rows of each file.")
@click.option("--seed", default=1, show_default=True)
def main(files: tuple[Path, ...], number: int, seed: int) -> None:
    """Print rows drawn by chance from each of the files."""
    for path in files:
        rows = [*read_records(path)]
        for place, row in enumerate(random.Random(seed).sample(rows, min(number, len(rows))), 1):
            source = {key: value for key, value in row["source"].items() if key not in ("paths", "blobs", "path")}
            click.echo(f"{'=' * 100}\n{path.stem} {place}: row {row['id']} {json.dumps(source)}")
            for message in row["messages"][1:]:
                parts = [message["content"] or "", *map(shown, message.get("tool_calls") or ())]
                margin = "| " if is_target(message) else "  "
                click.echo(f"--- {message['role']}")
                click.echo("\n".join(margin + line for part in parts if part for line in part.split("\n")))


if __name__ == "__main__":
    main()
