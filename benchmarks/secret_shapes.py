"""How long does the search for secrets take on texts of a hundred shapes, and does it grow with their length alone?

python benchmarks/secret_shapes.py               1 MB of each: seconds of CPU time, and what half of it takes
python benchmarks/secret_shapes.py --size 4000000 --only find
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]


@click.command()
@click.option("--size", default=1_000_000, show_default=True, help="Characters.")
@click.option("--only", default="", help="Shapes with this in their name.")
def main(size: int, only: str) -> None:
    """Seconds of CPU time for each shape, the slowest first."""
    import secret_corpus
    from specialists.secrets import redact

    redact("warm")
    times = []
    for name, text in secret_corpus.shapes(size):
        if only in name:
            seconds = []
            for part in (text[: size // 2], text):
                started = time.process_time()
                redact(part)
                seconds.append(time.process_time() - started)
            times.append((seconds[1], seconds[1] / seconds[0], name))
    for whole, ratio, name in sorted(times, reverse=True):
        click.echo(f"{whole:6.2f} s  {ratio:4.1f} times the half  {name}")
    slow = sum(whole > 2 * size / 1_000_000 for whole, _ratio, _name in times)
    click.echo(f"{len(times)} shapes of {size:,} characters; {slow} take more than 2 s for 1 MB")


if __name__ == "__main__":
    main()
