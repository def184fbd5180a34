"""Serve the version of one language that was served before; the base when there was none.

The version that is left is not promoted again before a newer one is; a second rollback takes the first one back.

\b
    python scripts/rollback.py --language rust --reason "it forgets the error type"
"""

import click
from specialists.cli import command, finish, language_option, say
from specialists.config import Config
from specialists.serving import promotion
from specialists.serving.opencode_config import follow


@command
@language_option
@click.option("--reason", default="no reason given", show_default=True, help="Why; kept in promotions.jsonl.")
def main(config: Config, as_json: bool, language: str, reason: str) -> None:
    chosen = config.language(language)
    decision = promotion.rollback(config, chosen, reason)
    serving = f"serving {decision['current']}" if decision["current"] else "the base answers"
    say(f"{chosen.adapter}: back from {decision['version'] or 'the base'}: {serving}")
    finish({"adapter": chosen.adapter, **decision}, as_json, follow(config))


if __name__ == "__main__":
    main()
