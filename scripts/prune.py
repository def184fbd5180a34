"""Remove all but the newest versions of every adapter, and never the one that is promoted or was before it:
`python scripts/prune.py --keep 2`.

Versions that are not served any more because `[owner] exclude` names their work are removed too.
"""

import click
from specialists.adapters import adapter_folder, prune
from specialists.cli import command, finish, say
from specialists.config import Config


@command
@click.option("--keep", default=5, show_default=True, type=click.IntRange(1), help="Newest versions that stay.")
def main(config: Config, as_json: bool, keep: int) -> None:
    removed = {}
    for language in config.languages.values():
        folder = adapter_folder(config, language)
        with folder.lock():
            removed[language.adapter] = gone = prune(folder, keep)
        say(f"{language.adapter}: removed {', '.join(gone) or 'none'}; {len(folder.versions())} kept")
    finish({"removed": removed}, as_json)


if __name__ == "__main__":
    main()
