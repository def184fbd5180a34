"""How fast are secrets looked for, how many are found, and how often is real code taken for one?

    python benchmarks/find_secrets.py                the corpus of the tests, and Python's own library as real code
    python benchmarks/find_secrets.py ~/src --seeds 20    files of one's own, the corpus made 20 times

Speed is per CPU second of this process. A row is a chat of 30 kB, as extract makes them.
"""

from __future__ import annotations

import random
import sys
import sysconfig
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
CODE = set(
    """
    .py .rs .ts .tsx .js .rb .swift .toml .json .yml .yaml .md .sh .c .h
""".split()
)


def corpus(seeds: int) -> None:
    """Recall, look-alikes taken for secrets, and whether the second time changes nothing."""
    import secret_corpus
    from specialists.secrets import Rules, find, redact

    secrets = missed = alarms = look_alikes = changed = 0
    for seed in range(1, seeds + 1):
        for sample in secret_corpus.secrets(seed):
            once, _findings = redact(sample.text)
            secrets += 1
            missed += any(sample.secret[at : at + 6] in once for at in range(len(sample.secret) - 5))
            changed += redact(once)[0] != once
        lines = secret_corpus.look_alikes(seed)
        look_alikes += len(lines)
        alarms += sum(bool(find(line, Rules())) for line in lines)
    kinds = len({sample.kind for sample in secret_corpus.secrets()})
    click.echo(f"{secrets} secrets of {kinds} kinds: {1 - missed / secrets:.2%} found whole; {changed} not stable")
    click.echo(f"{look_alikes} look-alikes: {alarms / look_alikes:.2%} false alarms")


def real_code(files: list[Path]) -> None:
    """MB per CPU second, and files with an alarm."""
    from specialists.secrets import SECRET, Rules, find

    find("warm", Rules())
    size, cpu, alarms = 0, 0.0, []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        started = time.process_time()
        finds = find(text, Rules())
        cpu += time.process_time() - started
        size += len(text.encode(errors="replace"))
        alarms += [(path, item) for item in finds if item.category == SECRET][:1]
    click.echo(f"{len(files)} files, {size / 1e6:.1f} MB: {size / 1e6 / cpu:.1f} MB per CPU second")
    click.echo(f"{len(alarms)} files with an alarm, 1 in {len(files) / max(1, len(alarms)):.0f}")
    for path, item in alarms[:20]:
        click.echo(f"  {path}: {item.kind} at character {item.start}")


def rows(files: list[Path], count: int) -> None:
    """Rows that pass `scrub` per CPU second."""
    from specialists.agent import TOOLS
    from specialists.records import make_record, tool_call
    from specialists.secrets import Rules, scrub

    texts = [path.read_text(encoding="utf-8", errors="replace")[:9_000] for path in files]
    texts = [text for text in texts if len(text) > 8_000]
    source = {"kind": "session", "time": "2026-01-01T00:00:00Z", "project": "a"}
    records = []
    for number in range(count):
        read, old, new = (f"{number} {texts[(number * 3 + offset) % len(texts)]}" for offset in range(3))
        call = tool_call(0, "edit", {"filePath": "a.py", "oldString": old, "newString": new})
        messages: list[dict] = [{"role": "user", "content": read}]
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        records.append(make_record("python", messages, TOOLS, source))
    size = sum(len(str(record["messages"])) for record in records)
    started = time.process_time()
    kept = sum(scrub(record, Rules())[0] is not None for record in records)
    cpu = time.process_time() - started
    speed = f"{count / cpu:.0f} rows, {size / 1e6 / cpu:.1f} MB per CPU second"
    click.echo(f"{count} rows, {size / 1e6:.1f} MB: {speed}; {kept} kept")


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--seeds", default=5, show_default=True, help="Times that the corpus is made.")
@click.option("--files", default=1000, show_default=True, help="Files of real code at most.")
@click.option("--rows", "count", default=300, show_default=True, help="Rows to scrub.")
def main(folders: tuple[Path, ...], seeds: int, files: int, count: int) -> None:
    """Speed, recall and false alarms of the search for secrets."""
    folders = folders or (Path(sysconfig.get_path("stdlib")),)
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in CODE and path.is_file())
    chosen = random.Random(1).sample(found, min(files, len(found)))
    corpus(seeds)
    real_code(chosen)
    rows(chosen, count)


if __name__ == "__main__":
    main()
