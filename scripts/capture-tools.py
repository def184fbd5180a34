"""The tools of the opencode that is installed here -> data/opencode-tools.json, which extract uses from then on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from specialists.cli import command, finish, say
from specialists.config import Config, Problem

PROMPT = "You are a specialist."  # stands first; what opencode adds comes after it


@command
@click.option("--program", default="opencode", show_default=True, help="The opencode to run.")
def main(config: Config, as_json: bool, program: str) -> None:
    """Store the tool schemas of the installed opencode.

    Runs it once against a server on the loopback, in a folder of its own: nothing of yours is read or changed. Rows
    show the tools without descriptions, which cost 5,000 tokens a row; what is sent to a specialist, prose and all, is
    kept for `doit doctor`, which compares.

    \b
        python scripts/capture-tools.py
        python scripts/capture-tools.py --program ~/.opencode/bin/opencode
    """
    from specialists.records import write_json
    from specialists.sessions.capture import SCHEMA, RecordingModel, run_opencode
    from specialists.sessions.database import read_sessions
    from specialists.tools import compact

    with tempfile.TemporaryDirectory() as folder, RecordingModel().serving() as model:
        project = Path(folder, "project")
        agent = {"mode": "all", "prompt": PROMPT}
        write_json(project / "opencode.json", {"$schema": SCHEMA, "agent": {"specialist": agent}})
        words = ("--agent", "specialist", "Hello")
        database = run_opencode(str(Path(program).expanduser()), Path(folder, "home"), project, model.url, *words)
        version = next((session.version for session in read_sessions(database, [])), "")
    if not model.requests:
        raise Problem(f"{program}: asked its model nothing")
    request = model.requests[0]
    system = "\n".join(str(message["content"]) for message in request["messages"] if message["role"] == "system")
    tools = [compact(tool) for tool in request["tools"]]
    path = config.tools_file
    rest = system.replace(folder, "").removeprefix(PROMPT)
    write_json(path, {"version": version, "tools": tools, "system": rest, "described": request["tools"]})
    names = [tool["function"]["name"] for tool in tools]
    say(f"opencode {version}: {len(names)} tools: {', '.join(names)} -> {path}")
    finish({"step": "tools", "version": version, "tools": names}, as_json)


if __name__ == "__main__":
    main()
