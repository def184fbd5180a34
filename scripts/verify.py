"""Try every promoted adapter in the running server, where that was not done yet.

    python scripts/verify.py

One that is dead or applied wrongly gives way to the version before it, or to the base. serve.py runs this beside each
server that it starts, so that what was promoted while none ran is tried as soon as one does.
"""

from __future__ import annotations

import contextlib
import os
import time

import click
from specialists.adapters import promoted_versions
from specialists.cli import command, finish, say
from specialists.config import Config, Problem
from specialists.server import served_models
from specialists.serving.opencode_config import follow
from specialists.serving.promotion import verify


@command
@click.option("--beside", "process", type=int, hidden=True, help="Wait for the server that this process starts.")
def main(config: Config, as_json: bool, process: int | None) -> None:
    """Try every promoted adapter in the running server."""
    while process and served_models(config) is None:
        if not _lives(process):
            raise Problem("the server ended before it answered")
        time.sleep(0.5)
    decisions, problems = {}, []
    for name in promoted_versions(config):
        language = config.languages[name]
        try:
            if decision := verify(config, language):
                decisions[language.adapter] = decision
                instead = decision["current"] or "the base"
                problems.append(f"{language.adapter}: taken back: {decision['reason']}; {instead} answers instead")
        except Problem as problem:
            problems.append(f"{language.adapter}: not tried: {problem}")
    if not problems:
        say("every promoted adapter answers as it did in its evaluation")
    finish({"taken back": decisions}, as_json, problems + (follow(config) if decisions else []))


def _lives(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


if __name__ == "__main__":
    main()
