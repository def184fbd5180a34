"""Act on the verdict on a language's newest version.

A version that is held or blocked changes nothing: the one before it, or the base, goes on answering. A running
server gets a promoted one without a dropped request, and agents in opencode's configuration follow.

\b
    python scripts/promote.py --language rust
    python scripts/promote.py --language rust --force 20261123-091500-1a2b3c4d --reason "tried it for a week"
"""

import click
from specialists.cli import command, finish, language_option, say
from specialists.config import Config
from specialists.serving.opencode_config import follow
from specialists.serving.promotion import decide, force


@command
@language_option
@click.option("--force", "version", metavar="VERSION", help="Promote this version whatever its verdict.")
@click.option("--reason", help="Why it is forced; kept in promotions.jsonl.")
def main(config: Config, as_json: bool, language: str, version: str | None, reason: str | None) -> None:
    if bool(version) != bool(reason):
        raise click.UsageError("--force and --reason go together")
    chosen = config.language(language)
    decision = force(config, chosen, version, reason) if version and reason else decide(config, chosen)
    serving = f"serving {decision['current']}" if decision["current"] else "the base answers"
    what = f"{decision['version']}: {decision['verdict']}: " if decision["version"] else ""
    say(f"{chosen.adapter}: {what}{decision['reason']}; {serving}")
    promoted = decision["version"] is not None and decision["current"] == decision["version"]
    finish({"adapter": chosen.adapter, **decision, "promoted": promoted}, as_json, follow(config))


if __name__ == "__main__":
    main()
