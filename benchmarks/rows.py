"""Are rows what the served agent lives through: its head, its paths, what its edits replace, what came of them?

    python benchmarks/rows.py ~/src/ripgrep                                  made sessions over its Rust files
    python benchmarks/rows.py ~/src/ripgrep --tools data/opencode-tools.json --base BASE
    python benchmarks/rows.py ~/src/ripgrep --commits rust=~/src/ripgrep --commits python=~/src/click

Sessions of 212 steps read real files whole and edit four lines of what was read; of the edits one in ten is refused by
the tool, and one in ten breaks the next test. An edit that is learned from is blind when what it replaces stands, as it
is, nowhere before it in its row. Of repositories (--commits) the three busiest authors count. The split is that of 400
older commits and 130 newer rows of 13 sessions.
"""

from __future__ import annotations

import importlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from extract import ROOT, Maker

sys.path.insert(0, str(ROOT / "scripts"))

SESSIONS, STEPS, LANGUAGE = 20, 212, "rust"
LIMITS, MODEL, LENGTH = (8192, 16384, 32768), 'model = "Qwen/Qwen3-Coder-Next"', "max_length = 8192"
REFUSED, BREAKS = "// refused", "// breaks a test"


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True).stdout


def files_of(repository: Path) -> dict[str, str]:
    """The Rust files at HEAD of 40 to 2,000 lines."""
    listed = git(repository, "ls-tree", "-r", "--name-only", "HEAD").split("\n")
    texts = {name: git(repository, "show", f"HEAD:{name}") for name in listed if name.endswith(".rs")}
    return {name: text for name, text in texts.items() if 40 < text.count("\n") < 2000}


class Reader(Maker):
    """Sessions in which edits replace what was read."""

    def __init__(self, path: Path, texts: dict[str, str]):
        super().__init__(path, seed=1)
        self.texts, self.broken = texts, False

    def session(self, number: int, messages: int) -> None:
        id_, folder, left = f"ses_{number:06}", f"/home/kim/src/project{number}", messages
        row = (id_, None, folder, "t", "1.18.33", None, self.tick(), self.clock)
        self.database.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        while left > 0:
            parent = self.message(id_, {"role": "user", "agent": "build", "time": {"created": self.clock}})
            self.part(id_, parent, {"type": "text", "text": self.prose(30)})
            opened: list[str] = []
            steps = min(self.random.randint(6, 18), left)
            for step in range(steps):
                self.work(id_, parent, folder, opened, last=step == steps - 1)
            left -= steps + 1

    def work(self, session: str, parent: str, folder: str, opened: list[str], last: bool) -> None:
        from specialists.agent import EDIT_DONE, read_result

        times = {"created": self.clock, "completed": self.clock + 900}
        data: dict[str, Any] = {
            "role": "assistant",
            "parentID": parent,
            "agent": "build",
            "modelID": "m",
            "providerID": "p",
        }
        data |= {"path": {"cwd": folder, "root": folder}, "finish": "stop" if last else "tool-calls", "time": times}
        message = self.message(session, data)
        if last:
            self.part(session, message, {"type": "text", "text": self.prose(25)})
        elif not self.broken and (len(opened) < 2 or self.random.random() < 0.2):
            opened.append(self.random.choice([*self.texts]))
            path = f"{folder}/{opened[-1]}"
            self.tool(session, message, "read", {"filePath": path}, read_result(path, self.texts[opened[-1]]))
        elif self.broken or self.random.random() < 1 / 3:
            output = "test case ... ok\n" * 60 + "test result: FAILED. 1 failed" * self.broken
            code, self.broken = 101 * self.broken, False
            self.tool(session, message, "bash", {"command": "cargo test"}, output, {"exit": code, "output": output})
        else:
            name = self.random.choice(opened[-2:])
            lines, old = self.texts[name].split("\n"), ""
            while not old.strip() or self.texts[name].count(old) != 1:
                start = self.random.randrange(max(1, len(lines) - 5))
                old = "\n".join(lines[start : start + 4])
            note = self.random.choices([REFUSED, BREAKS, "// changed"], [1, 1, 8])[0]
            arguments = {"filePath": f"{folder}/{name}", "oldString": old, "newString": f"{old}\n{note}\n"}
            self.broken = note == BREAKS
            if note == REFUSED:
                state = {"status": "error", "input": arguments, "error": "Could not find oldString in the file."}
                part = {"type": "tool", "tool": "edit", "callID": f"call_{self.number}", "state": state}
                return self.part(session, message, part)
            self.tool(session, message, "edit", arguments, EDIT_DONE)
            if self.broken:
                self.work(session, parent, folder, opened, last=False)


def blind(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Edits that are learned from, and how many of them are blind."""
    from specialists.seen import shown

    edits = unseen = 0
    for row in rows:
        before = ""
        for message in row["messages"]:
            for call in message.get("tool_calls") or () if message.get("weight") else ():
                if call["function"]["name"] == "edit":
                    edits += 1
                    unseen += json.loads(call["function"]["arguments"])["oldString"] not in before
            before += shown(message)
    return edits, unseen


def calls(rows: Iterable[dict[str, Any]], learned: bool = False) -> Iterable[tuple[str, dict[str, Any]]]:
    """Names and arguments of all calls in rows, or of those that are learned from."""
    for message in (one for row in rows for one in row["messages"]):
        for call in message.get("tool_calls") or () if message.get("weight") or not learned else ():
            yield call["function"]["name"], json.loads(call["function"]["arguments"])


def run(step: str, *words: str) -> None:
    from click.testing import CliRunner

    done = CliRunner().invoke(importlib.import_module(step).main, [*words])
    if done.exit_code:
        raise click.ClickException(done.output)


def sessions_kept(config: Any, folder: Path) -> dict[str, int]:
    """How many of 13 new sessions are trained on, and how many held out, beside 400 older commits."""
    from specialists.dataset.assembly import assemble, read_rows
    from specialists.records import make_record, write_records

    chance, words = random.Random(1), [f"w{number}" for number in range(4000)]

    def row(time: str, **source: Any) -> dict[str, Any]:
        said = [{"role": role, "content": " ".join(chance.sample(words, 40))} for role in ("user", "assistant")]
        messages: list[dict[str, Any]] = [{"role": "system", "content": "s"}, said[0], {**said[1], "weight": 1}]
        return make_record(LANGUAGE, messages, [], {"time": time, **source})

    of_commits = ((f"20{18 + i // 60:02}-{1 + i // 5 % 12:02}-01T00:00:00Z", i) for i in range(400))
    rows = [row(at, kind="commit", commit=f"{i:040x}", repository=f"r{i % 3}", survives=0.5) for at, i in of_commits]
    of_sessions = ((f"2026-{5 + i % 6:02}-0{1 + i % 9}T00:00:00Z", i % 13) for i in range(130))
    rows += [row(time, kind="session", session=f"ses_{number}", project="p") for time, number in of_sessions]
    write_records(folder / "split.jsonl", rows)
    dataset = assemble(read_rows(folder / "split.jsonl", LANGUAGE), {}, (300, 500), config.assembly)
    parts = {"trained on": dataset.train, "held out": dataset.heldout}
    return {
        name: len({one.record()["source"]["session"] for one in part if one.kind == "session"})
        for name, part in parts.items()
    }


@click.command()
@click.argument("repository", type=click.Path(path_type=Path, exists=True))
@click.option("--tools", type=click.Path(path_type=Path, exists=True), help="What `doit tools` captured.")
@click.option("--base", default="none", help="Folder of a base model, to count tokens exactly; default: the estimate.")
@click.option("--commits", multiple=True, metavar="LANGUAGE=PATH", help="A repository to mine; repeatable.")
def main(repository: Path, tools: Path | None, base: str, commits: tuple[str, ...]) -> None:
    """A table: the head's share in the rows, paths, blind edits, edits that failed, commit rows and the split."""
    from specialists.agent import captured, with_head
    from specialists.chat import token_counter
    from specialists.config import load_config
    from specialists.records import read_records, write_records
    from specialists.reporting.prompt_match import prompt_match

    def show(what: str, figure: str) -> None:
        click.echo(f"| {what} | {figure} |")

    with tempfile.TemporaryDirectory() as name:
        folder, text = Path(name), (ROOT / "specialists.toml").read_text(encoding="utf-8")
        settings, database = folder / "specialists.toml", folder / "opencode.db"
        maker = Reader(database, files_of(repository))
        maker.database.execute("BEGIN")
        for number in range(SESSIONS):
            maker.session(number, STEPS)
        maker.database.execute("COMMIT")
        for limit in reversed(LIMITS):  # the product's last
            here = text.replace(MODEL, f'model = "{base}"').replace(LENGTH, f"max_length = {limit}")
            settings.write_text(here, encoding="utf-8")
            config, to = load_config(settings), ["--config", str(settings), "--language", LANGUAGE]
            if tools:
                config.tools_file.parent.mkdir(exist_ok=True)
                shutil.copy(tools, config.tools_file)
            run("extract-training-data", *to, "--database", str(database), "--accept-loss")
            rows = [*read_records(config.rows("sessions", LANGUAGE))]
            edits, unseen = blind(rows)
            show(f"edits learned at {limit:,} tokens; blind", f"{edits}; {unseen} ({unseen / edits:.0%})")
        learned = [str(given["newString"]) for tool, given in calls(rows, learned=True) if tool == "edit"]
        for note in (REFUSED, BREAKS):
            show(f"of them edits that failed ({note[3:]})", f"{sum(note in one for one in learned)}")
        paths = [str(given[key]) for _tool, given in calls(rows) for key in ("filePath", "path") if key in given]
        show("paths in calls; absolute", f"{len(paths)}; {sum(path.startswith('/') for path in paths)}")
        if tools:
            chat, language = token_counter(config.base.model, config.base.revision), config.language(LANGUAGE)
            for which, share in (("compact", 0.0), ("the mix", config.assembly.whole_heads), ("whole", 1.0)):
                heads = [with_head(row, language, captured(config), share) for row in rows]
                write_records(config.rows("train", LANGUAGE), heads)
                show(f"head, {which}", prompt_match(config, language, captured(config), chat)[0])
        for named in commits:
            mined(config, settings, *named.split("=", 1))
        show("13 sessions beside 400 commits", str(sessions_kept(config, folder)))


def mined(config: Any, settings: Path, language: str, path: str) -> None:
    """Mine a repository, and say what its rows look like."""
    from specialists.records import read_records

    repository = Path(path).expanduser()
    busiest = Counter(git(repository, "log", "--no-merges", "--format=%ae").split()).most_common(3)
    authors = [word for email, _number in busiest for word in ("--author", email)]
    run(
        "mine-repos",
        *("--config", str(settings), "--language", language, "--repository", str(repository), "--accept-loss"),
        *authors,
    )
    rows = [*read_records(config.rows("commits", language))]
    reads = [given for tool, given in calls(rows) if tool == "read"]
    learned = Counter(tool for tool, _given in calls(rows, learned=True))
    said = [message for row in rows for message in row["messages"] if message["role"] == "assistant"]
    closings = [message for message in said if not message.get("tool_calls")]
    taught = sum(bool(message.get("weight")) for message in closings)
    garbled = sum("alwaysed" in message["content"].lower() for message in closings)
    figures = f"{len(rows)} rows, learned {dict(learned)}; {len(reads)} reads, {sum('offset' in one for one in reads)} "
    figures += f"with an offset; {len(closings)} closings, {taught} learned, {garbled} garbled"
    click.echo(f"| commits, {language}, {'/'.join(repository.parts[-2:])} | {figures} |")


if __name__ == "__main__":
    main()
