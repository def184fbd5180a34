"""Writes docs/configuration.md from the dataclasses that read specialists.toml, so that it cannot be out of date.

python docs/generate.py
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from specialists import config, tables

TARGET = ROOT / "docs" / "configuration.md"
HEAD = """\
# The configuration

Everything that can stand in `specialists.toml`. A key that is left out has its default. Paths are relative to the file,
`~` is your home. An unknown key, a wrong type or a value out of bounds is an error that names the key; a mistake in the
table of one language takes that language out and leaves the others. `doit doctor` lists everything at once.

Made from the code by `python docs/generate.py`.
"""
INTRODUCTIONS = {
    "training": "How adapters are trained. Any key again under `[training.NAME]` goes for the language of that name.",
    "languages.NAME": "One table per language; its name is the one that tasks and scripts take (`doit train:rust`).",
}


def reference() -> str:
    """The whole page."""
    sections = {**config.SECTIONS, "training": tables.Training, "languages.NAME": tables.Language}
    return "\n".join([HEAD, *(_section(name, kind) for name, kind in sections.items())])


def _section(name: str, kind: type) -> str:
    types = typing.get_type_hints(kind)
    rows = []
    for item in dataclasses.fields(kind):
        if meta := item.metadata:
            cells = (f"`{item.name}`", _type(types[item.name], meta), _default(item), _cell(meta["help"]))
            rows.append(f"| {' | '.join(cells)} |")
    introduction = f"{INTRODUCTIONS[name]}\n\n" if name in INTRODUCTIONS else ""
    return (
        f"## `[{name}]`\n\n{introduction}| key | value | default | meaning |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _type(kind: Any, metadata: Any) -> str:
    args = [arg for arg in typing.get_args(kind) if arg is not type(None)]
    if typing.get_origin(kind) is dict:
        return "table of strings"
    if typing.get_origin(kind) is tuple:
        if metadata.get("choices"):
            return "list of " + _choices(metadata)
        return "list"
    if metadata.get("choices"):
        return _choices(metadata)
    plain = config._NAMES[args[0] if args else kind]
    return plain + "".join(f", at {name} {metadata[name]:g}" for name in ("least", "most") if name in metadata)


def _choices(metadata: Any) -> str:
    return " ".join(f"`{choice}`" for choice in metadata["choices"])


def _default(item: dataclasses.Field) -> str:
    if item.default_factory is not dataclasses.MISSING:
        return f"`{{{'' if not item.default_factory() else item.default_factory()}}}`"
    if item.default is dataclasses.MISSING:
        return "**needed**"
    if item.default in (None, "", ()):
        return "empty"
    value = str(item.default) if isinstance(item.default, Path) else item.default
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
