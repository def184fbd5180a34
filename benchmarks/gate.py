"""How often the gate is wrong: 200 seeded runs each of no gain, and of true gains of 2, 5 and 10 %.

    python benchmarks/gate.py adapters/build-rust/latest/evaluation.json

Held-out rows are drawn, with replacement, from those of an evaluation, so that they spread as measured. The adapter's
differences to the base are centred: on average it is no better. A gain is then taken off its loss on changed lines
behind their own requests alone, which is what skill is. Prints the share of runs that end in each verdict.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts")]

from specialists.cli import table
from specialists.config import Evaluation
from specialists.evaluation import gate

RUNS, CLUSTERS, GAINS = 200, (10, 20, 40), (0.0, 0.02, 0.05, 0.1)


def simulated(rows: list[dict[str, Any]], clusters: int, gain: float, seed: int) -> list[dict[str, Any]]:
    """Rows of so many clusters, one each, from measured ones that have changed code and another's request."""
    rng = random.Random(seed)
    tokens = sum(row["parts"]["changed"]["tokens"] for row in rows)
    own, other = (sum(difference(row)[number] for row in rows) / tokens for number in (0, 1))
    made = []
    for number in range(clusters):
        row = rng.choice(rows)
        count, base = row["parts"]["changed"]["tokens"], row["parts"]["changed"]["nll"]["base"]
        above, behind = difference(row)
        nll = {"base": base, "adapter": base + above - own * count - gain * base}
        parts = {"changed": {"tokens": count, "nll": nll}}
        others = {"base": row["other"]["base"], "adapter": row["other"]["base"] + behind - other * count}
        name = str(number)
        made.append({"id": name, "cluster": name, "tokens": count, "nll": nll, "parts": parts, "other": others})
    return made


def difference(row: dict[str, Any]) -> tuple[float, float]:
    """Adapter minus base on a row's changed lines, in nats: behind its own request, and behind another's."""
    own, other = row["parts"]["changed"]["nll"], row["other"]
    return own["adapter"] - own["base"], other["adapter"] - other["base"]


@click.command()
@click.argument("evaluation", type=click.Path(exists=True, path_type=Path))
def main(evaluation: Path) -> None:
    """The table of one evaluation.json."""
    found = json.loads(evaluation.read_text())
    measured = (found.get("served") or found)["measurements"]
    rows = [row for row in measured if "changed" in row["parts"] and "other" in row]
    if not rows:
        sys.exit(f"{evaluation}: no row with changed code that was measured behind another request")
    gate.RESAMPLES, lines = 1000, []
    for clusters in CLUSTERS:
        for gain in GAINS:
            runs = Counter(
                gate.verdict(simulated(rows, clusters, gain, seed), Evaluation(gain=0.0))["verdict"]
                for seed in range(RUNS)
            )
            shares = [f"{runs[verdict] / RUNS:.1%}" for verdict in ("promote", "hold", "block")]
            lines.append([clusters, f"{gain:.0%}", *shares])
    print(f"{RUNS} runs each, drawn from {len(rows)} rows")
    print(table(lines, ["clusters", "true gain", "promote", "hold", "block"]))


if __name__ == "__main__":
    main()
