"""How long does the search for secrets take on texts of a hundred shapes, and does it grow with their length alone?

python benchmarks/secret_shapes.py               1 MB of each: seconds of CPU time, and what half of it takes
python benchmarks/secret_shapes.py --size 4000000 --only find
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

_PASSWORDS = "password-places.txt"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]


def shapes(size: int) -> Iterator[tuple[str, str]]:
    """Texts of that many characters, each a piece again and again; `#` in a piece counts up.

    Pieces are those of the tests, and every fourth sort of place where a secret is looked for.
    """
    import secret_corpus
    from test_secrets_speed import SHAPES

    pieces = SHAPES + [row.partition(" | ")[2].replace("{}", "x#9Kq") for row in secret_corpus.lines(_PASSWORDS)[::4]]
    pieces += [line.replace("@@", "x#9Kq") for _kind, line, _body in secret_corpus.table("key-places.txt")[::4]]
    pieces += [prefix for _kind, prefix, _body in secret_corpus.PREFIXED[::8] if prefix]
    for piece in pieces:
        copies = size // len(piece) + 1
        yield piece, "".join(piece.replace("#", str(number)) for number in range(copies))[:size]


@click.command()
@click.option("--size", default=1_000_000, show_default=True, help="Characters.")
@click.option("--only", default="", help="Shapes with this in their name.")
def main(size: int, only: str) -> None:
    """Seconds of CPU time for each shape, the slowest first."""
    from specialists.secrets import redact

    redact("warm")
    times = []
    for name, text in shapes(size):
        if only in name:
            seconds = []
            for part in (text[: size // 2], text):
                started = time.process_time()
                redact(part)
                seconds.append(time.process_time() - started)
            times.append((seconds[1], seconds[1] / seconds[0], name))
    for whole, ratio, name in sorted(times, reverse=True):
        click.echo(f"{whole:6.2f} s  {ratio:4.1f} times the half  {name!r}")
    slow = sum(whole > 2 * size / 1_000_000 for whole, _ratio, _name in times)
    click.echo(f"{len(times)} shapes of {size:,} characters; {slow} take more than 2 s for 1 MB")


if __name__ == "__main__":
    main()
