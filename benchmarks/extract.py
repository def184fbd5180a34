"""How fast is extract-training-data.py, and how much memory does it take, against the floor: reading the same rows?

    python benchmarks/extract.py                      a history of the owner's size: 64 sessions, 13,598 messages
    python benchmarks/extract.py --scale 100 --event-gb 4

The floor reads the rows of `message` and `part` and `json.loads` them, nothing else. Every figure comes from a process
of its own; made histories are kept in --folder and used again.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click

ROOT = Path(__file__).resolve().parents[1]
SESSIONS, MESSAGES = 64, 13_598
WORDS = """
    the parser returns early when a value is missing so check it first then update the tests and run them again
""".split()
LANGUAGES = [
    ("rs", "cargo test"),
    ("ts", "npx tsc"),
    ("py", "pytest -q"),
    ("rb", "bundle exec rspec"),
    ("swift", "swift build"),
]
SCHEMA = """
CREATE TABLE session (id text PRIMARY KEY, parent_id text, directory text NOT NULL, title text NOT NULL,
    version text NOT NULL, revert text, time_created integer NOT NULL, time_updated integer NOT NULL);
CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL, time_created integer NOT NULL,
    time_updated integer NOT NULL, data text NOT NULL);
CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
    time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
CREATE TABLE event (id integer PRIMARY KEY, aggregate_id text, seq integer, type text, data text);
CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);
CREATE INDEX part_message_id_id_idx ON part (message_id, id);
CREATE INDEX part_session_idx ON part (session_id);
"""


class Maker:
    """Writes a history; the same seed gives the same one."""

    def __init__(self, path: Path, seed: int):
        self.random = random.Random(seed)
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)
        self.clock, self.number = 1_780_000_000_000, 0

    def fill(self, scale: int, event_gb: float) -> None:
        self.database.execute("BEGIN")
        for session in range(SESSIONS * scale):
            self.session(session, MESSAGES // SESSIONS + (session % SESSIONS < MESSAGES % SESSIONS))
        bloat = "x" * 100_000
        for number in range(int(event_gb * 1e9 / len(bloat))):
            self.database.execute(
                "INSERT INTO event VALUES (?, 'ses', ?, 'message.part.updated', ?)", [number, number, bloat]
            )
        self.database.execute("COMMIT")

    def session(self, number: int, messages: int) -> None:
        id_, directory = f"ses_{number:06}", f"/home/kim/src/project{number % 40}"
        row = (id_, None, directory, "t", "1.18.33", None, self.tick(), self.clock)
        self.database.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        extension, command = LANGUAGES[number % len(LANGUAGES)]
        left, parent = messages, ""
        while left > 0:
            parent = self.message(id_, {"role": "user", "agent": "build", "time": {"created": self.clock}})
            self.part(id_, parent, {"type": "text", "text": self.prose(30)})
            for step in range(min(left - 1, self.random.randint(4, 20))):
                self.step(id_, parent, directory, extension, command, step)
                left -= 1
            left -= 1

    def step(self, session: str, parent: str, directory: str, extension: str, command: str, step: int) -> None:
        times = {"created": self.clock, "completed": self.clock + 900}
        path = f"{directory}/src/module{self.random.randint(0, 30)}.{extension}"
        data = {
            "role": "assistant",
            "parentID": parent,
            "agent": "build",
            "modelID": "m",
            "providerID": "p",
            "path": {"cwd": directory, "root": directory},
            "finish": "tool-calls",
            "time": times,
            "cost": 0,
            "tokens": {"input": 9000, "output": 200, "reasoning": 0, "cache": {"read": 0, "write": 0}},
        }
        message = self.message(session, data)
        self.part(session, message, {"type": "step-start", "snapshot": "0" * 40})
        self.part(session, message, {"type": "reasoning", "text": self.prose(40), "time": {"start": 1, "end": 2}})
        self.part(session, message, {"type": "text", "text": self.prose(25)})
        kind = step % 4
        if kind == 0:
            lines = self.code(self.random.choice((40, 150, 600)))
            body = "\n".join(f"{number}: {line}" for number, line in enumerate(lines, 1))
            self.tool(
                session, message, "read", {"filePath": path}, f"<path>{path}</path>\n<content>\n{body}\n</content>"
            )
        elif kind == 1:
            old, new = "\n".join(self.code(8)), "\n".join(self.code(14))
            arguments = {"filePath": path, "oldString": old, "newString": new}
            diff = {"diff": f"--- {path}\n+++ {path}\n" + old + new, "filediff": {"file": path, "patch": old + new}}
            self.tool(session, message, "edit", arguments, "Edit applied successfully.", diff)
        elif kind == 2:
            output = "\n".join(self.code(self.random.choice((3, 30, 120))))
            self.tool(session, message, "bash", {"command": command}, output, {"exit": 0, "output": output})
        else:
            found = "\n".join(f"{path}:{number}: {line}" for number, line in enumerate(self.code(25)))
            self.tool(session, message, "grep", {"pattern": "value", "path": directory}, found)
        finish = {"type": "step-finish", "reason": "tool-calls", "tokens": {"input": 9000, "output": 200}, "cost": 0}
        self.part(session, message, finish)

    def tool(
        self, session: str, message: str, name: str, arguments: dict, output: str, metadata: dict | None = None
    ) -> None:
        state = {
            "status": "completed",
            "input": arguments,
            "output": output,
            "metadata": metadata or {},
            "title": name,
            "time": {"start": self.clock, "end": self.clock + 5},
        }
        self.part(session, message, {"type": "tool", "tool": name, "callID": f"call_{self.number}", "state": state})

    def message(self, session: str, data: dict) -> str:
        self.number += 1
        id_ = f"msg_{self.number:012x}"
        row = (id_, session, self.tick(), self.clock, json.dumps(data))
        self.database.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", row)
        return id_

    def part(self, session: str, message: str, data: dict) -> None:
        self.number += 1
        row = (f"prt_{self.number:012x}", message, session, self.tick(), self.clock, json.dumps(data))
        self.database.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", row)

    def tick(self) -> int:
        self.clock += 100
        return self.clock

    def prose(self, words: int) -> str:
        return " ".join(self.random.choices(WORDS, k=words)) + "."

    def code(self, lines: int) -> list[str]:
        return [
            f"    let {a}_{n} = {b}({a}, {n});"
            for n, (a, b) in enumerate(zip(*(self.random.choices(WORDS, k=lines) for _ in "ab"), strict=True))
        ]


def floor(database: Path) -> None:
    """Read and decode the same rows."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    for table in ("message", "part"):
        for _id, _time, data in connection.execute(f"SELECT id, time_created, data FROM {table}"):
            json.loads(data)


def reading(database: Path) -> None:
    """Sessions as the extraction sees them, nothing made of them."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from specialists.sessions.database import read_sessions

    for _session in read_sessions(database, []):
        pass


class Measured(NamedTuple):
    """What a process took: seconds on the clock, seconds of a processor, peak MB."""

    seconds: float
    cpu: float
    memory: float


def measured(arguments: list[str]) -> Measured:
    """Run a process."""
    started = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read() if process.stderr else ""
    _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        click.echo(errors[-500:], err=True)
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Measured(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def figures(database: Path, output: Path, base: str | None) -> tuple[dict[str, Measured], int]:
    """What each part takes, and how many examples the extraction made."""
    settings = output / "specialists.toml"
    text = (ROOT / "specialists.toml").read_text(encoding="utf-8")
    settings.write_text(
        text.replace('model = "Qwen/Qwen3-Coder-Next"', f'model = "{base or "none"}"'), encoding="utf-8"
    )
    me = [sys.executable, __file__, "--database", str(database), "--only"]
    script, rows_folder = ROOT / "scripts" / "extract-training-data.py", output / "sessions"
    options = {"--config": settings, "--database": database, "--output": rows_folder}
    step = [sys.executable, str(script), *(str(word) for option in options.items() for word in option)]
    commands = {"floor: rows and json.loads": [*me, "floor"], "sessions read": [*me, "reading"], "extraction": step}
    rows = {label: measured(arguments) for label, arguments in commands.items()}
    return rows, sum(1 for path in rows_folder.glob("*.jsonl") for _line in path.open("rb"))


@click.command()
@click.option("--scale", default=1, show_default=True, help="Times the owner's 64 sessions.")
@click.option("--event-gb", default=0.0, show_default=True, help="Bloat of the event table.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where histories are kept; default: the temporary folder."
)
@click.option("--base", help="Folder of a base model, to count tokens exactly; default: the estimate.")
@click.option("--only", type=click.Choice(["floor", "reading"]), hidden=True)
@click.option("--database", type=click.Path(path_type=Path), hidden=True)
def main(
    scale: int, event_gb: float, folder: Path | None, base: str | None, only: str | None, database: Path | None
) -> None:
    """Seconds, processor time and peak memory of an extraction, against the floor."""
    if only and database:
        return {"floor": floor, "reading": reading}[only](database)
    folder = folder or Path(tempfile.gettempdir()) / "benchmark-extract"
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / f"opencode-{scale}-{event_gb:g}.db"
    if not database.exists():
        Maker(half := database.with_suffix(".half"), seed=1).fill(scale, event_gb)
        half.rename(database)
    floor(database) if scale == 1 else None  # the pages are warm for everybody
    with tempfile.TemporaryDirectory(dir=folder) as output:
        rows, examples = figures(database, Path(output), base)
    least = rows["floor: rows and json.loads"]
    size = database.stat().st_size / 1e6
    click.echo(f"{SESSIONS * scale} sessions, {MESSAGES * scale} messages, {size:,.0f} MB; {examples} examples")
    click.echo(f"{'':28}{'seconds':>10}{'x floor':>9}{'CPU':>8}{'x floor':>9}{'MB':>7}")
    for label, row in rows.items():
        click.echo(
            f"{label:28}{row.seconds:10.2f}{row.seconds / least.seconds:9.2f}{row.cpu:8.2f}{row.cpu / least.cpu:9.2f}"
            f"{row.memory:7.0f}"
        )


if __name__ == "__main__":
    main()
