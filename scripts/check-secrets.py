"""Look for secrets in data/, adapters/ and reports/, and in PATHS: `python scripts/check-secrets.py ~/notes`.

Says file, line and kind, never the secret. Exit code 1 when one is found or something cannot be read. Each step
replaces secrets before it writes a row; this looks whether that held.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from specialists.cli import command, finish, progress, say
from specialists.config import Config, Problem
from specialists.secrets import SECRET, Rules, SecretFinding, find, leaves

WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz", ".npy"}  # numbers, and gigabytes of them


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


def findings(path: Path, rules: Rules) -> Iterator[tuple[int, SecretFinding]]:
    """What stands in a file, with its line (1 where there are none). Raises Problem when the file cannot be read."""
    try:
        with path.open("rb") as file:
            chunks = file if path.suffix == ".jsonl" else [file.read()]  # rows may be larger than memory
            for before, chunk in enumerate(chunks):
                value = chunk.decode("utf-16" if chunk[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", errors="replace")
                for key, text in leaves(value, everywhere=True):
                    for item in find(text, rules, key):
                        yield before + _line(value, text, item.start), item.finding(text)
    except OSError as error:
        raise Problem(f"{path}: cannot be read: {error.strerror or error}") from None


def _line(whole: str, text: str, start: int) -> int:
    """The line of a position in a text that stands, as it is or as JSON, in a whole file; 1 if it cannot be told."""
    if text == whole:
        return whole.count("\n", 0, start) + 1
    return whole.count("\n", 0, max(whole.find(json.dumps(text[start : start + 40], ensure_ascii=False)[1:-1]), 0)) + 1


def built_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Every file under the folders that is no weights, in order; a folder that is not there holds none."""
    for folder in folders:
        if folder.is_file():
            yield folder
            continue
        for root, directories, files in os.walk(folder, onerror=_unreadable):
            directories.sort()
            yield from (Path(root, name) for name in sorted(files) if Path(name).suffix not in WEIGHTS)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise Problem(f"{error.filename}: cannot be read: {error.strerror}") from None


if __name__ == "__main__":
    main()
