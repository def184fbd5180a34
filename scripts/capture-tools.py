"""Store what the installed opencode sends before the first word: the tools and the prompt around the agent's.

Runs it once against a server on the loopback, in a folder of its own: nothing of yours is read or changed. Rows
have it as their head, held-out rows all of it, of the others the share [assembly] whole_heads; `doit doctor`
compares. Folder, date and platform are the same in all rows.

\b
    python scripts/capture-tools.py --program ~/.opencode/bin/opencode
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import click
from specialists.agent import HOME, ROOT, compact
from specialists.cli import command, finish, say
from specialists.config import Config, Problem
from specialists.records import write_json

PROMPT = "You are a specialist."  # stands first; what opencode adds comes after it
STAND_INS = {"(?<=date: ).*": "Mon Jun 01 2026", "(?<=Platform: ).*": "linux", r"\bses_\w+": "ses_1"}


@command
@click.option("--program", default="opencode", show_default=True, help="The opencode to run.")
def main(config: Config, as_json: bool, program: str) -> None:
    from specialists.serving.opencode_config import PROVIDER, description
    from specialists.sessions.capture import MODEL, SCHEMA, RecordingModel, run_opencode
    from specialists.sessions.database import read_sessions

    with tempfile.TemporaryDirectory() as folder, RecordingModel().serving() as model:
        project = Path(folder, "project")
        languages, agent = config.languages.values(), {"mode": "all", "prompt": PROMPT}
        agents = {each.adapter: {**agent, "description": description(each)} for each in languages}
        write_json(project / "opencode.json", {"$schema": SCHEMA, "agent": agents})
        subprocess.run(["git", "init", "-q", "--template=", str(project)], check=True)  # as most projects have it
        words = ("--agent", next(iter(agents)), "Hello")
        database = run_opencode(str(Path(program).expanduser()), Path(folder, "home"), project, model.url, *words)
        version = next((session.version for session in read_sessions(database, [])), "")
    if not model.requests:
        raise Problem(f"{program}: asked its model nothing")
    request = json.loads(json.dumps(model.requests[0]).replace(str(project), ROOT).replace(folder, HOME))
    system = "\n".join(str(message["content"]) for message in request["messages"] if message["role"] == "system")
    rest = system.removeprefix(PROMPT).replace(f"local/{MODEL}", f"{PROVIDER}/{{adapter}}").replace(MODEL, "{adapter}")
    for pattern, stand_in in STAND_INS.items():
        rest = re.sub(pattern, stand_in, rest)
    tools = [compact(tool) for tool in request["tools"]]
    write_json(config.tools_file, {"version": version, "tools": tools, "system": rest, "described": request["tools"]})
    names = [tool["function"]["name"] for tool in tools]
    say(f"opencode {version}: {len(names)} tools: {', '.join(names)} -> {config.tools_file}")
    finish({"step": "tools", "version": version, "tools": names}, as_json)


if __name__ == "__main__":
    main()
