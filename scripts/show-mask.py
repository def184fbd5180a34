"""Show a row as the model is trained on it, supervised text coloured; the report shows examples too.

The beginning of an id is enough. Rendered with the base model's own chat template, which has to be on this machine.

\b
    python scripts/show-mask.py 1a2b3c4d
"""

import sys

import click
from specialists.chat import Chat
from specialists.cli import command, finish, say
from specialists.config import Config
from specialists.reporting.mask_view import find_row, marked


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


if __name__ == "__main__":
    main()
