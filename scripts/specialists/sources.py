"""Where examples lie, and what changes when what they are made from does: files, databases, repositories, our code."""

from __future__ import annotations

import json
import os
from pathlib import Path

from specialists.config import Config, Language
from specialists.records import SOURCES

SCRIPTS = Path(__file__).resolve().parents[1]


def example_files(config: Config, language: Language) -> dict[str, Path]:
    """The files that a language's examples are joined from, by folder: those of the sources that are in use."""
    used = [folder for folder in SOURCES.values() if folder != "synthetic" or language.synthetic]
    return {folder: config.rows(folder, language.name) for folder in used}


def skipped(config: Config) -> list[str]:
    """What the steps had to skip and said so when they last ran, each once; of languages that there still are."""
    found: list[str] = []
    for path in sorted(config.paths.data.glob("*/*summary.json")):
        if path.name == "summary.json" or path.name.removesuffix(".summary.json") in config.languages:
            try:
                found += json.loads(path.read_text(encoding="utf-8")).get("problems", [])
            except (OSError, ValueError) as error:
                found.append(f"{path}: cannot be read: {error}")
    return list(dict.fromkeys(found))


def file_state(path: Path) -> list[int] | None:
    """Size and modification time (ns) of a file; None when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def database_state(path: Path) -> dict[str, list[int] | None]:
    """Of a database with its write-ahead log, where most fresh rows are; of a folder: of the databases in it."""
    files = sorted(path.glob("*.db")) if path.is_dir() else [path]
    return {str(name): file_state(name) for file in files for name in (file, Path(f"{file}-wal"))}


def repository_state(path: Path) -> list[str]:
    """What HEAD of a repository points to, read as files: no git is run, nothing of the repository can act."""
    folder = path / ".git" if (path / ".git").exists() else path
    try:
        if folder.is_file():  # a worktree or submodule: "gitdir: FOLDER"
            folder = Path(os.path.normpath(path / folder.read_text().removeprefix("gitdir:").strip()))
        head = (folder / "HEAD").read_text().strip()
        common = folder / "commondir"
        shared = folder / common.read_text().strip() if common.is_file() else folder
        reference = shared / head.removeprefix("ref:").strip()
        if not head.startswith("ref:"):
            return [head]
        if reference.is_file():
            return [head, reference.read_text().strip()]
        return [head, str(file_state(shared / "packed-refs")), str(file_state(shared / "reftable" / "tables.list"))]
    except (OSError, UnicodeDecodeError) as error:
        return [f"unreadable: {error}"]


def code(script: str) -> list[str]:
    """The files whose change makes a step run again: its script and our package.

    Not those of the command line and the configuration: its values are compared instead.
    """
    package = [*(SCRIPTS / "specialists").rglob("*.py")]
    return sorted(
        map(str, [SCRIPTS / f"{script}.py", *(p for p in package if p.stem not in ("cli", "config", "tables"))])
    )
