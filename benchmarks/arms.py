"""Arms of the laboratory against the first of them: the loss of the same held-out commits, by part, paired.

    python benchmarks/real_base.py --train-only --arm real,heads=0 --arm real,heads=1 ~/src/hono=ts
    python benchmarks/arms.py lab/hono real,heads=0 real,heads=1

Without what a verdict needs besides (rivals, other requests, the frozen set): behind all that opencode sends, a row
takes a minute on one core. Prints the loss of each arm and of the base, and each arm's difference to the first with
its 95 % interval over commits; arms.json in that folder keeps the measurements.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts")]

from specialists.adapters import AdapterFolder
from specialists.cli import table
from specialists.config import load_config
from specialists.evaluation.gate import CHANGED, compare, part_of
from specialists.evaluation.losses import EvaluatedModels
from specialists.records import read_records

PARTS = ("", CHANGED, "code", "syntax", "prose")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("arms", nargs=-1, required=True)
def main(folder: Path, arms: tuple[str, ...]) -> None:
    """One repository's arms, measured in one process."""
    config = load_config(folder / arms[0] / "specialists.toml")
    (language,) = config.languages.values()
    adapters = {arm: AdapterFolder(folder / arm / "adapters" / language.adapter).latest for arm in arms}
    if missing := [arm for arm, version in adapters.items() if version is None]:
        sys.exit(f"{folder}: nothing trained: {', '.join(missing)}")
    rows = list(read_records(config.rows("heldout", language.name)))
    numbered = {f"arm{number}": version for number, version in enumerate(adapters.values()) if version}
    found = EvaluatedModels(config.base, language.training, numbered).measure(rows)
    (folder / "arms.json").write_text(json.dumps({"arms": arms, "measurements": found}))
    shown = list[list[Any]]()
    for part in PARTS:
        measured = part_of(found, part) if part else found
        for arm, name in zip(("base", *arms), ("base", *numbered) if measured else (), strict=False):
            of = compare(measured, name, "arm0")
            low, high = of["interval"]
            against = ["", ""]
            if name != "arm0":
                against = [
                    f"{of['difference']:+.4f} ({low:+.4f} to {high:+.4f})",
                    f"{of['signs']['better']} of {of['clusters']}",
                ]
            shown.append([part or "all", arm, f"{of[name]:.4f}", *against])
    print(table(shown, ["part", "arm", "loss", f"against {arms[0]}", "better"]))


if __name__ == "__main__":
    main()
