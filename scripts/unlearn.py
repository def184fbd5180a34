"""Take work back: remove every row of a session, commit or repository, and every adapter version trained on it.

    python scripts/unlearn.py --session ses_2062af4d80
    python scripts/unlearn.py --commit 1a2b3c4d --repository tengu

What was unlearned stands in specialists.unlearned.json beside the configuration, and no step learns from it again.
Adapters whose rows changed are trained anew by the next `doit`; until then the version before answers if it never saw
the work, else the base. What a model has said or written elsewhere cannot be taken back.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import click
from specialists.adapters import AdapterFolder, adapter_folder, manifest_of
from specialists.cli import command, finish, progress, say
from specialists.config import Config, Problem, Unlearned
from specialists.records import Record, cluster_of, read_records, source_of, write_json, write_records
from specialists.server import load_adapter, served_models, unload_adapter
from specialists.serving.opencode_config import follow


@command
@click.option("--session", "sessions", multiple=True, metavar="ID", help="An opencode session; repeatable.")
@click.option("--commit", "commits", multiple=True, metavar="SHA", help="A commit, 7 digits at least; repeatable.")
@click.option("--repository", "repositories", multiple=True, metavar="NAME", help="A repository's folder; repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
def main(config: Config, as_json: bool, dry_run: bool, **named: tuple[str, ...]) -> None:
    """Remove all rows of a session, commit or repository, and the versions trained on them."""
    named = {**named, "repositories": tuple(Path(name).name for name in named["repositories"])}
    if not any(named.values()):
        raise Problem("nothing named: give --session, --commit or --repository")
    named["commits"] = tuple(_whole(config, commit) for commit in named["commits"])
    known = {name: sorted({*getattr(config.unlearned, name), *named[name]}) for name in named}
    unlearned = Unlearned(**{name: tuple(values) for name, values in known.items()})
    if not dry_run:
        # first of all: a kill after this line leaves rows that the next `doit` leaves out
        write_json(Unlearned.file(config.path), known)
    receipt = unlearn(dataclasses.replace(config, unlearned=unlearned), dry_run)
    for path, rows in receipt["rows"].items():
        say(f"{rows} rows {'would go' if dry_run else 'removed'} from {path}")
    for name in receipt["versions"]:
        say(f"version {name} was trained on them: {'would be removed' if dry_run else 'removed'}")
    if not receipt["rows"] and not receipt["versions"]:
        say("nothing was learned from it so far; it is noted all the same")
    problems = [] if dry_run else follow(config)
    finish({**receipt, "unlearned": {name: list(values) for name, values in named.items()}}, as_json, problems)


def unlearn(config: Config, dry_run: bool) -> dict[str, Any]:
    """Remove what config.unlearned covers; returns {"rows": {file: number}, "versions": [name]}."""
    rows, gone = {}, set()
    for path in progress(sorted(config.paths.data.glob("*/*.jsonl")), "rows"):
        kept: list[Record] = []
        dropped: list[Record] = []
        for record in read_records(path):
            (dropped if config.unlearned.covers(record["source"]) else kept).append(record)
        if dropped:
            rows[f"{path.parent.name}/{path.name}"] = len(dropped)
            gone |= {cluster_of(record) for record in dropped}
            if not dry_run:
                write_records(path, kept)
    for cache in config.paths.data.glob("*/.*"):  # caches of what was read may hold text
        if not dry_run and cache.is_file():
            cache.unlink()
    versions = []
    for language in config.languages.values():
        folder = adapter_folder(config, language)
        for version in folder.versions():
            trained_on = set(manifest_of(version).get("clusters", ()))
            if trained_on & gone or any(config.unlearned.covers(source_of(cluster)) for cluster in trained_on):
                versions.append(f"{language.adapter}/{version.name}")
                if not dry_run:
                    _retire(config, folder, version, language.adapter)
    return {"rows": rows, "versions": versions}


def _retire(config: Config, folder: AdapterFolder, version: Path, adapter: str) -> None:
    """Remove a version; whatever pointed to it points to the newest that is left, or to nothing."""
    with folder.lock():
        was_current = folder.current == version
        left = [other for other in folder.versions() if other != version]
        if was_current:
            folder.point("current", folder.previous if folder.previous in left else None)
        if folder.previous == version:
            folder.point("previous", None)
        if folder.latest == version:
            folder.point("latest", left[-1] if left else None)
        shutil.rmtree(version)
    if was_current and served_models(config) is not None:
        if folder.current:
            load_adapter(config, adapter, folder.current)
        else:
            unload_adapter(config, adapter)


def _whole(config: Config, commit: str) -> str:
    """A commit's whole id, from the rows that there are; one that nothing was learned from must be given whole."""
    if len(commit) < 7:
        raise Problem(f"--commit {commit}: give 7 digits at least")
    found = {
        record["source"]["commit"]
        for path in config.paths.data.glob("*/*.jsonl")
        for record in read_records(path)
        if record["source"].get("commit", "").startswith(commit)
    }
    if len(found) > 1:
        raise Problem(f"--commit {commit}: means {', '.join(sorted(found))}; give more digits")
    if not found and len(commit) not in (40, 64):
        raise Problem(f"--commit {commit}: no row comes from such a commit; give all 40 digits to note it for later")
    return found.pop() if found else commit


if __name__ == "__main__":
    main()
