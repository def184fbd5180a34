"""Do rows show what their edits replace, and the head that opencode sends?

    python benchmarks/rows.py ~/src/ripgrep                                  made sessions over its Rust files
    python benchmarks/rows.py ~/src/ripgrep --tools data/opencode-tools.json --base BASE

Sessions of 212 steps read real files whole and edit four lines of what was read. An edit that is learned from is blind
when what it replaces stands, as it is, nowhere before it in its row.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from extract import ROOT, Maker

sys.path.insert(0, str(ROOT / "scripts"))

SESSIONS, STEPS, LANGUAGE = 20, 212, "rust"


def files_of(repository: Path) -> dict[str, str]:
    """The Rust files at HEAD of 40 to 2,000 lines."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True).stdout

    names = [name for name in git("ls-tree", "-r", "--name-only", "HEAD").split("\n") if name.endswith(".rs")]
    texts = {name: git("show", f"HEAD:{name}") for name in names}
    return {name: text for name, text in texts.items() if 40 < text.count("\n") < 2000}


class Reader(Maker):
    """Sessions in which edits replace what was read."""

    def __init__(self, path: Path, texts: dict[str, str]):
        super().__init__(path, seed=1)
        self.texts = texts

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
        elif len(opened) < 2 or self.random.random() < 0.2:
            opened.append(self.random.choice([*self.texts]))
            path = f"{folder}/{opened[-1]}"
            self.tool(session, message, "read", {"filePath": path}, read_result(path, self.texts[opened[-1]]))
        elif self.random.random() < 1 / 3:
            output = "test case ... ok\n" * 60
            self.tool(session, message, "bash", {"command": "cargo test"}, output, {"exit": 0, "output": output})
        else:
            name = self.random.choice(opened[-2:])
            lines, old = self.texts[name].split("\n"), ""
            while not old.strip() or self.texts[name].count(old) != 1:
                start = self.random.randrange(max(1, len(lines) - 5))
                old = "\n".join(lines[start : start + 4])
            arguments = {"filePath": f"{folder}/{name}", "oldString": old, "newString": f"{old}\n// changed\n"}
            self.tool(session, message, "edit", arguments, EDIT_DONE)


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


@click.command()
@click.argument("repository", type=click.Path(path_type=Path, exists=True))
@click.option("--tools", type=click.Path(path_type=Path, exists=True), help="What `doit tools` captured.")
@click.option("--base", default="none", help="Folder of a base model, to count tokens exactly; default: the estimate.")
def main(repository: Path, tools: Path | None, base: str) -> None:
    """Blind edits among those learned from at 8,192 tokens, and how much of the head stands in the rows."""
    from click.testing import CliRunner
    from specialists.agent import captured
    from specialists.chat import token_counter
    from specialists.config import load_config
    from specialists.records import read_records, write_records
    from specialists.reporting.parity import parity

    with tempfile.TemporaryDirectory() as folder:
        settings, database = Path(folder, "specialists.toml"), Path(folder, "opencode.db")
        text = (ROOT / "specialists.toml").read_text(encoding="utf-8")
        settings.write_text(text.replace('model = "Qwen/Qwen3-Coder-Next"', f'model = "{base}"'), encoding="utf-8")
        config, maker = load_config(settings), Reader(database, files_of(repository))
        maker.database.execute("BEGIN")
        for number in range(SESSIONS):
            maker.session(number, STEPS)
        maker.database.execute("COMMIT")
        write_records(config.rows("commits", LANGUAGE), [])
        if tools:
            shutil.copy(tools, config.tools_file)
        of_rust = ["--language", LANGUAGE]
        for step, words in (("extract-training-data", ["--database", str(database)]), ("assemble", [])):
            main_ = importlib.import_module(step).main
            done = CliRunner().invoke(main_, ["--config", str(settings), *of_rust, *words])
            if done.exit_code:
                raise click.ClickException(done.output)
        edits, unseen = blind([*read_records(config.rows("sessions", LANGUAGE))])
        click.echo(f"{edits} edits are learned from, {unseen} of them blind ({unseen / edits:.0%})")
        says, _gap = parity(
            config, config.language(LANGUAGE), captured(config), token_counter(config.base.model, config.base.revision)
        )
        click.echo(f"opencode sends {says}" if says else "what opencode sends was not captured: doit tools, --tools")


if __name__ == "__main__":
    main()
