"""Remove old versions of all adapters: all but the newest `serving.keep`, and never one that is in use.

    python scripts/prune.py

The newest, the promoted and the previous version always stay.
"""

from __future__ import annotations

from specialists.adapters import adapter_folder, prune
from specialists.cli import command, finish, say
from specialists.config import Config


@command
def main(config: Config, as_json: bool) -> None:
    """Remove all but the last versions of every adapter."""
    removed = {}
    for language in config.languages.values():
        folder = adapter_folder(config, language)
        with folder.lock():
            removed[language.adapter] = prune(folder, config.serving.keep)
        say(f"{language.adapter}: {len(removed[language.adapter])} removed, {len(folder.versions())} kept")
    finish({"removed": removed}, as_json)


if __name__ == "__main__":
    main()
