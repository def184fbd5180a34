"""Serve the base model and every promoted adapter from one vLLM, which this process becomes.

Where there is a GPU, what it has to hold is added up first; what cannot fit is not started.
An adapter that vLLM could not load is left out with a warning; the others are served. An API key is taken from
$VLLM_API_KEY, or from the file that `serving.api_key_file` names.

\b
    python scripts/serve.py --dry-run
"""

import math
import os
import shlex
import subprocess
import sys

import click
import psutil
from specialists import pipeline
from specialists.adapters import WAIT, present_verdict, promoted_versions
from specialists.cli import command, finish, say
from specialists.config import Config, Problem
from specialists.server import api_key, base_url, served_models, wait
from specialists.serving.card import serving_fit
from specialists.serving.command import exposure, served_adapters, vllm_command
from specialists.serving.lora import served_chat
from specialists.serving.promotion import verify
from specialists.tables import SERVED_BASE


@command
@click.option("--dry-run", is_flag=True, help="Print the vLLM command and its environment, shell-quoted, and exit.")
@click.option("--verify-beside", "process", type=int, hidden=True, help="Try the adapters once this process answers.")
def main(config: Config, as_json: bool, dry_run: bool, process: int | None) -> None:
    if process:
        return verify_beside(config, as_json, process)
    adapters, faults = served_adapters(config)
    arguments = vllm_command(config, adapters)
    environment = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", **config.serving.env}
    for warning in filter(None, [exposure(config), *faults]):
        say(f"warning: {warning}")
    if fit := serving_fit(config):
        say(fit[0])
        if fit[1]:
            raise Problem(fit[1])
    if dry_run:
        return click.echo(shlex.join([*(f"{name}={value}" for name, value in environment.items()), *arguments]))
    finish({"adapters": {name: str(path) for name, path in adapters.items()}, "command": arguments}, as_json)
    if served_models(config) is not None:
        raise Problem(f"{base_url(config)} is served already; stop that server first, or change serving.port")
    served_chat(config)  # a Problem where vLLM would ask the Hub, and end in a traceback
    say(f"serving {', '.join([SERVED_BASE, *adapters])} at {base_url(config)}/v1")
    key = {"VLLM_API_KEY": key} if (key := api_key(config)) else {}  # never an argument: those can be seen by all
    # in the background of a shell, and so no child of ours, which vLLM would have to reap
    again = [sys.executable, __file__, "--config", str(config.path), "--verify-beside", str(os.getpid())]
    subprocess.run(["sh", "-c", '"$@" &', "sh", *again], env={**os.environ, **key}, check=True)
    os.execve(arguments[0], arguments, {**os.environ, **environment, **key})


def verify_beside(config: Config, as_json: bool, process: int) -> None:
    """The same script beside vLLM: once that answers, try what is promoted, and measure and decide on what waits."""
    if not wait(config, True, math.inf, lambda: not psutil.pid_exists(process)):
        raise Problem("the server ended before it answered")
    decisions, problems = verify(config)
    if promoted_versions(config) and not problems:
        say("every promoted adapter answers as it did in its evaluation")
    for name in (name for name, each in config.languages.items() if present_verdict(config, each) == WAIT):
        steps = (pipeline.command(config, step, "--language", name) for step in ("evaluate", "promote"))
        if not all(pipeline.run(step) is True for step in steps):
            problems.append(f"{name}: not decided")
    finish({"rolled back": decisions}, as_json, problems)


if __name__ == "__main__":
    main()
