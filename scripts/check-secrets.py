"""Look for secrets in everything that was built.

    python scripts/check-secrets.py
    python scripts/check-secrets.py ~/notes report.html

Reads data/, adapters/ and reports/ and the paths given. Says file, line and kind, never the secret. Exit code 1 when
one is found or something cannot be read. Each step scrubs its rows before it writes them; this looks whether that held.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from specialists.cli import command, finish, progress, say
from specialists.config import Config, Problem


@command
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(config: Config, as_json: bool, paths: tuple[Path, ...]) -> None:
    """Look for secrets in everything that was built, and in PATHS."""
    from specialists.secrets import Rules
    from specialists.secrets.check import Check, built_files

    check, unread = Check(Rules.of(config)), []
    files = list(built_files([config.paths.data, config.paths.adapters, config.paths.reports, *paths]))
    for path in progress(files, "check-secrets"):
        try:
            check.file(path)
        except Problem as problem:
            unread.append(str(problem))
    for line in [*map(str, check.secrets), *unread]:
        say(line)
    say(
        f"{len(files)} files, {check.size / 1e6:,.1f} MB: {len(check.secrets)} secrets, "
        f"{len(check.personal)} pieces of personal data, {len(unread)} files that cannot be read"
    )
    summary = {
        "files": len(files),
        "bytes": check.size,
        "secrets": [
            {"file": str(place.path), "line": place.line, "kind": place.finding.kind} for place in check.secrets
        ],
        "personal": len(check.personal),
        "unread": unread,
    }
    finish(summary, as_json)
    if check.secrets or unread:
        sys.exit(1)


if __name__ == "__main__":
    main()
