"""Serve the base model and every promoted adapter from one vLLM.

    python scripts/serve.py
    python scripts/serve.py --dry-run

An adapter that vLLM could not load is left out, loudly; the others are served, and tried once it answers (verify.py).
This process becomes vLLM, so signals and exit codes are vLLM's. An API key is taken from $VLLM_API_KEY, or from the
file that `serving.api_key_file` names.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
from specialists.cli import command, finish, say
from specialists.config import Config, Problem
from specialists.server import api_key, base_url, served_models
from specialists.serving.lora import served_chat
from specialists.serving.vllm import exposure, served_adapters, vllm_command, vllm_environment


@command
@click.option("--dry-run", is_flag=True, help="Print the vLLM command and its environment, shell-quoted, and exit.")
def main(config: Config, as_json: bool, dry_run: bool) -> None:
    """Serve the base model and every promoted adapter from one vLLM."""
    adapters, faults = served_adapters(config)
    arguments, environment = vllm_command(config, adapters), vllm_environment(config)
    if warning := exposure(config):
        say(f"warning: {warning}")
    if dry_run:
        for fault in faults:
            say(f"warning: {fault}")
        click.echo(shlex.join([*(f"{name}={value}" for name, value in environment.items()), *arguments]))
        return
    if as_json:
        finish({"adapters": {name: str(path) for name, path in adapters.items()}, "command": arguments}, as_json)
    if served_models(config) is not None:
        raise Problem(f"{base_url(config)} is served already; stop that server first, or change serving.port")
    served_chat(config)  # a Problem where vLLM would ask the Hub, and end in a traceback
    for fault in faults:
        say(f"warning: {fault}")
    say(f"serving {', '.join([config.serving.name, *adapters])} at {base_url(config)}/v1")
    key = {"VLLM_API_KEY": key} if (key := api_key(config)) else {}  # never an argument: those can be seen by all
    if adapters:
        try_beside(config, {**os.environ, **key})
    os.execve(arguments[0], arguments, {**os.environ, **environment, **key})


def try_beside(config: Config, environment: dict[str, str]) -> None:
    """Start verify.py, which waits until this process serves; no child of ours, which vLLM would have to reap."""
    verify = [sys.executable, str(Path(__file__).with_name("verify.py")), "--config", str(config.path)]
    subprocess.run(["sh", "-c", '"$@" &', "sh", *verify, "--beside", str(os.getpid())], env=environment, check=True)


if __name__ == "__main__":
    main()
