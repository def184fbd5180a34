"""Check everything that has to work, from library versions to the agents in opencode.

Each failure and each note comes with what to do. Looks only; exit code 1 when a check fails, notes do not count.

\b
    python scripts/doctor.py --ask
"""

import sys
from dataclasses import asdict

import click
from specialists.cli import command, finish, say
from specialists.config import Config


@command
@click.option("--offline", is_flag=True, help="Only what needs no server, and show only what fails: for nightly runs.")
@click.option("--ask", is_flag=True, help="Also have the installed opencode ask each agent one short question.")
def main(config: Config, as_json: bool, offline: bool, ask: bool) -> None:
    from specialists.reporting.doctor import as_text, diagnose

    found = diagnose(config, offline, ask)
    failed = [check for check in found if check.state == "fail"]
    say(as_text(failed if offline else found))
    finish({"checks": [asdict(check) for check in found], "ok": not failed}, as_json)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
