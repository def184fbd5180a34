"""Put the server, the promoted adapters and an agent per language into the owner's opencode configuration.

    python scripts/configure-opencode.py
    python scripts/configure-opencode.py --output ~/src/project/opencode.jsonc
    python scripts/configure-opencode.py --check
    python scripts/configure-opencode.py --remove

Shows the change as a diff, then makes it; everything that is not ours keeps its bytes, comments included. The file as
it is without us lies beside it (.bak); --remove gives it back.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click
from specialists.cli import command, finish, say
from specialists.config import Config, Problem


@command
@click.option("--output", type=click.Path(path_type=Path), help="The configuration; default: [opencode] config.")
@click.option("--check", is_flag=True, help="Show what would change and change nothing; exit code 1 if anything would.")
@click.option("--remove", is_flag=True, help="Take our provider and agents out again.")
def main(config: Config, as_json: bool, output: Path | None, check: bool, remove: bool) -> None:
    """Put provider, models and agents into the owner's opencode configuration."""
    from specialists.serving.opencode_config import ConfigFile, settings

    file = ConfigFile((output or config.opencode.config).expanduser())
    wanted = settings(config)
    before = file.read()
    if remove and before is None:
        raise Problem(f"{file.path}: no such file")
    after = file.unmerged(wanted) if remove else file.merged(wanted)
    changed = after != before
    if changed:
        say(_diff(before, after, file.path))
    if changed and not check:
        if remove or after is None:
            file.restore(after)
        else:
            file.write(after, wanted)
    say(f"{file.path}: {_outcome(changed, check)}")
    finish({"file": str(file.path), "changed": changed and not check, "would_change": changed}, as_json)
    if check and changed:
        sys.exit(1)


def _outcome(changed: bool, check: bool) -> str:
    if not changed:
        return "up to date"
    return "would change" if check else "changed"


def _diff(before: str | None, after: str | None, path: Path) -> str:
    now, new = ((text or "").replace("\r\n", "\n").splitlines() for text in (before, after))
    return "\n".join(difflib.unified_diff(now, new, f"{path} (now)", f"{path} (new)", lineterm=""))


if __name__ == "__main__":
    main()
