"""Act on the verdict on a language's newest version, or go back to what was served before.

A version that is held or blocked changes nothing: the one before it, or the base, goes on answering. A running
server gets a promoted one without a dropped request, and agents in opencode's configuration follow. A version that was
left by --back is not promoted again before a newer one is; a second --back takes the first one back.

\b
    python scripts/promote.py --language rust
    python scripts/promote.py --language rust --force 20261123-091500-1a2b3c4d --reason "tried it for a week"
    python scripts/promote.py --language rust --back --reason "it forgets the error type"
"""

import click
from specialists.cli import command, finish, language_option, say
from specialists.config import Config
from specialists.serving.opencode_config import follow
from specialists.serving.promotion import decide, force, rollback


@command
@language_option
@click.option("--force", "version", metavar="VERSION", help="Promote this version whatever its verdict.")
@click.option("--back", is_flag=True, help="Serve the version before, the base where there was none.")
@click.option("--reason", help="Why you do one of these; kept in promotions.jsonl.")
def main(config: Config, as_json: bool, language: str, version: str | None, back: bool, reason: str | None) -> None:
    if (bool(version) != bool(reason) and not back) or (version and back):
        raise click.UsageError("--force and --reason go together, and without --back")
    chosen = config.language(language)
    if back:
        decision = rollback(config, chosen, reason or "no reason given")
        what = f"back from {decision['version'] or 'the base'}"
    else:
        decision = force(config, chosen, version, reason) if version and reason else decide(config, chosen)
        what = f"{decision['version']}: {decision['verdict']}: " * bool(decision["version"]) + f"{decision['reason']};"
    serving = f"serving {decision['current']}" if decision["current"] else "the base answers"
    say(f"{chosen.adapter}: {what}{':' * back} {serving}")
    promoted = decision["version"] is not None and decision["current"] == decision["version"]
    finish({"adapter": chosen.adapter, **decision, "promoted": promoted}, as_json, follow(config))


if __name__ == "__main__":
    main()
