"""How long and how much memory assembling takes, and whether near duplicates are found.

    python benchmarks/assemble.py --rows 100000

Makes rows of two kilobytes (sessions of 20 windows, commits; 1 % exact and 1 % near duplicates, planted at Jaccard 0.75
to 0.9) and assembles them in a process of their own. Aims: 100,000 rows under 2 minutes and 1 GB. Before that, what
reading and writing 10,000 rows of 8 kB takes: through jsonlines, and with the json of the standard library alone.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

WORDS = [f"word{number}" for number in range(4000)]


def text(rng: random.Random, count: int) -> list[str]:
    """Made-up code, a list of words."""
    return [rng.choice(WORDS) for _ in range(count)]


def record(rng: random.Random, number: int, target: list[str], width: int = 8) -> dict:
    """One row around a target."""
    from specialists.records import make_record, tool_call

    lines = "\n".join(" ".join(target[start : start + width]) for start in range(0, len(target), width))
    call = tool_call(0, "edit", {"filePath": "a.rs", "oldString": "x", "newString": lines})
    messages: list[dict] = [
        {"role": "user", "content": " ".join(text(rng, 120))},
        {"role": "assistant", "content": "", "weight": 1, "tool_calls": [call]},
    ]
    time = f"2026-{1 + number % 12:02}-{1 + number % 28:02}T00:00:00Z"
    kind = (
        {"kind": "session", "session": f"s{number // 20}"} if number % 2 else {"kind": "commit", "commit": str(number)}
    )
    return make_record("rust", messages, [], {**kind, "time": time, "repository": f"r{number % 7}"})


def make(path: Path, rows: int) -> int:
    """Write the rows; returns how many near duplicates are among them."""
    rng, planted, last = random.Random(17), 0, text(random.Random(0), 150)
    with path.open("w") as file:
        for number in range(rows):
            target = text(rng, 150)
            if number % 100 == 1:  # two words of the one before: a near duplicate
                target = [*last]
                for position in rng.sample(range(150), 2):
                    target[position] = rng.choice(WORDS)
                planted += 1
            # broken at other places, or it would be the same change by its lines
            row = record(rng, number, target, width=7 if number % 100 == 1 else 8)
            file.write((json.dumps(row) + "\n") * (2 if number % 100 == 2 else 1))
            last = target
    return planted


def files(folder: Path, count: int = 10_000) -> None:
    """CPU seconds that reading and writing rows of 8 kB takes."""
    from specialists.records import canonical, make_record, read_records, write_records

    rng, spent = random.Random(17), {}
    source = {"kind": "session", "session": "s", "time": "2026-01-01T00:00:00Z"}
    contents = (" ".join(text(rng, 900)) for _ in range(count))
    rows = [make_record("rust", [{"role": "user", "content": content}], [], source) for content in contents]

    def timed(what: str, act: Callable[[], Any]) -> None:
        started = time.process_time()
        act()
        spent[what] = time.process_time() - started

    ours, plain = folder / "ours.jsonl", folder / "plain.jsonl"
    timed("write_records", lambda: write_records(ours, rows))
    timed("json alone", lambda: plain.write_text("".join(f"{canonical(row)}\n" for row in rows)))
    timed("read_records", lambda: sum(1 for _row in read_records(ours)))
    timed("json alone, reading", lambda: [json.loads(line) for line in plain.open()])
    shown = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in spent.items())
    print(f"{count} rows, {ours.stat().st_size / 1e6:.0f} MB: {shown}")


def measure(path: Path) -> None:
    """Assemble a file of rows; print time, peak MB and what was left out, as JSON. Runs in a process of its own."""
    from specialists.config import Assembly
    from specialists.dataset.assembly import assemble, read_rows

    started = time.perf_counter()
    rows = read_rows(path, "rust")
    read = time.perf_counter() - started
    dataset = assemble(rows, {}, (1, 10**9), Assembly())
    seconds, cpu = time.perf_counter() - started, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"read": read, "seconds": seconds, "cpu": cpu, "peak": peak, "funnel": dataset.funnel}))


@click.command()
@click.option("--rows", default=100_000, show_default=True)
@click.option("--measure", "measured", type=click.Path(path_type=Path), hidden=True)
def main(rows: int, measured: Path | None) -> None:
    """Measure assembling."""
    if measured:
        measure(measured)
        return
    with tempfile.TemporaryDirectory() as folder:
        files(Path(folder))
        path = Path(folder) / "rows.jsonl"
        planted = make(path, rows)
        size = path.stat().st_size / 1e6
        done = subprocess.run([sys.executable, __file__, "--measure", path], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    print(
        f"{rows} rows, {size:.0f} MB: {result['seconds']:.1f} s ({result['read']:.1f} s reading; "
        f"{result['cpu']:.1f} s of a CPU), peak {result['peak']:.0f} MB"
    )
    print(f"planted {planted} near duplicates; left out: {result['funnel']}")


if __name__ == "__main__":
    main()
