"""Look for secrets in data/, adapters/ and reports/, and in PATHS: `python scripts/check-secrets.py ~/notes`.

Says file, line and kind, never the secret. Exit code 1 when one is found or something cannot be read. Each step
replaces secrets before it writes a row; this looks whether that held.
"""

import sys
from collections import Counter
from pathlib import Path

import click
from specialists.cli import command, finish, progress, say
from specialists.config import Config, Problem
from specialists.secrets import SECRET, SecretFinding
from specialists.secrets.check import built_files, findings


@command
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(config: Config, as_json: bool, paths: tuple[Path, ...]) -> None:
    found, unread = list[tuple[Path, int, SecretFinding]](), []
    files = list(built_files([config.paths.data, config.paths.adapters, config.paths.reports, *paths]))
    for path in progress(files, "check-secrets"):
        try:
            found += [(path, *each) for each in findings(path, config.secrets)]
        except Problem as problem:
            unread.append(str(problem))
    size = sum(path.stat().st_size for path in files if path.exists())
    secrets = [each for each in found if each[2].category == SECRET]
    personal = Counter(path for path, _line, one in found if one.category != SECRET)
    lines = [f"{path}: {number} pieces of personal data" for path, number in personal.items()]
    for line in [*lines, *(f"{path}:{line}: {one.kind} {one.masked}" for path, line, one in secrets), *unread]:
        say(line)
    what = (
        f"{len(secrets)} secrets, {personal.total()} pieces of personal data, {len(unread)} files that cannot be read"
    )
    say(f"{len(files)} files, {size / 1e6:,.1f} MB: {what}")
    shown = [{"file": str(path), "line": line, "kind": finding.kind} for path, line, finding in secrets]
    finish(
        {"files": len(files), "bytes": size, "personal": personal.total(), "secrets": shown, "unread": unread}, as_json
    )
    sys.exit(bool(secrets or unread))


if __name__ == "__main__":
    main()
