"""Look for secrets in everything that was built."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from specialists.cli import command, finish, progress, say
from specialists.config import Config, Problem


@command
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(config: Config, as_json: bool, paths: tuple[Path, ...]) -> None:
    """Look for secrets in data/, adapters/ and reports/, and in PATHS: `python scripts/check-secrets.py ~/notes`.

    Says file, line and kind, never the secret. Exit code 1 when one is found or something cannot be read. Each step
    replaces secrets before it writes a row; this looks whether that held.
    """
    from specialists.secrets.check import Check, built_files

    check, unread = Check(config.secrets), []
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
    secrets = [{"file": str(place.path), "line": place.line, "kind": place.finding.kind} for place in check.secrets]
    counts = {"files": len(files), "bytes": check.size, "personal": len(check.personal)}
    finish({**counts, "secrets": secrets, "unread": unread}, as_json)
    sys.exit(bool(check.secrets or unread))


if __name__ == "__main__":
    main()
