"""Put the server, the promoted adapters and an agent per language into the owner's opencode configuration."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click
from specialists.cli import command, finish, say
from specialists.config import Config, Problem
from specialists.serving.opencode_config import ConfigFile, settings


@command
@click.option("--output", type=click.Path(path_type=Path), help="The configuration; default: [opencode] config.")
@click.option("--check", is_flag=True, help="Show what would change and change nothing; exit code 1 if anything would.")
@click.option("--remove", is_flag=True, help="Take our provider and agents out again.")
def main(config: Config, as_json: bool, output: Path | None, check: bool, remove: bool) -> None:
    """Put provider, models and agents into the owner's opencode configuration.

    Shows the change as a diff, then makes it; everything that is not ours keeps its bytes, comments included. The file
    as it was before lies beside it (.bak); --remove gives it back, with what you changed since.

    \b
        python scripts/configure-opencode.py
        python scripts/configure-opencode.py --output ~/src/project/opencode.jsonc
        python scripts/configure-opencode.py --check
        python scripts/configure-opencode.py --remove
    """
    file = ConfigFile((output or config.opencode.config).expanduser())
    before = file.read()
    if remove and before is None:
        raise Problem(f"{file.path}: no such file")
    after = file.unmerged(settings(config)) if remove else file.merged(settings(config))
    changed = after != before
    outcome = "up to date" if not changed else "would change" if check else "changed"
    if changed:
        now, new = ((text or "").replace("\r\n", "\n").splitlines() for text in (before, after))
        say("\n".join(difflib.unified_diff(now, new, f"{file.path} (now)", f"{file.path} (new)", lineterm="")))
    if changed and not check:
        file.write(after, ours=not remove)
    say(f"{file.path}: {outcome}")
    finish({"file": str(file.path), "changed": changed and not check, "would_change": changed}, as_json)
    if check and changed:
        sys.exit(1)


if __name__ == "__main__":
    main()
