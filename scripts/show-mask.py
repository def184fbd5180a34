"""Show a row as the model is trained on it, supervised text coloured; the report shows examples too.

The beginning of an id is enough: `python scripts/show-mask.py 1a2b3c4d`. Rendered with the base model's own chat
template, which has to be on this machine.
"""

import sys

import click
from specialists.chat import Chat
from specialists.cli import command, finish, say, shown
from specialists.config import Config, Problem
from specialists.records import SOURCES, Record, read_records

_GREEN, _RESET = "\x1b[30;42m", "\x1b[0m"


@command
@click.argument("row_id")
def main(config: Config, as_json: bool, row_id: str) -> None:
    row, place = find_row(config, row_id)
    chat = Chat.load(config.base.model, config.base.revision)
    text, encoded = marked(chat, row, colour=sys.stdout.isatty()), chat.encode(row)
    if not as_json:
        click.echo(text, color=True)
    say(f"{row['id']} in {place}: {len(encoded.input_ids)} tokens, {encoded.supervised} with loss")
    finish({"id": row["id"], "tokens": len(encoded.input_ids), "supervised": encoded.supervised}, as_json)


def find_row(config: Config, row_id: str) -> tuple[Record, str]:
    """The one row whose id starts so, and the file that it is in. Raises Problem when there is none, or are several."""
    found: dict[str, tuple[Record, str]] = {}
    for kind in ("train", "heldout", *SOURCES.values()):
        for path in sorted((config.paths.data / kind).glob("*.jsonl")):
            for row in read_records(path):
                if row["id"].startswith(row_id):
                    found.setdefault(row["id"], (row, f"{kind}/{path.name}"))
    if len(found) != 1:
        what = f"{len(found)} rows begin so" if found else "no such row under " + str(config.paths.data)
        raise Problem(f"{row_id}: {what}")
    return next(iter(found.values()))


def marked(chat: Chat, row: Record, colour: bool = True) -> str:
    """A row's text: supervised parts on green, or between ⟦ and ⟧. Raises Problem when the row cannot be masked."""
    text, spans = chat.spans(row)
    opening, closing = (_GREEN, _RESET) if colour else ("⟦", "⟧")
    pieces, position = [], 0
    for start, end in spans:
        learned = shown(text[start:end])
        if colour:  # one that spans lines is lost in a pager
            learned = learned.replace("\n", f"{_RESET}\n{_GREEN}")
        pieces += [shown(text[position:start]), opening, learned, closing]
        position = end
    return "".join([*pieces, shown(text[position:])])


if __name__ == "__main__":
    main()
