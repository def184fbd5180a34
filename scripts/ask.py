"""Ask every promoted adapter one question and show who answered.

    python scripts/ask.py

Uses the server that runs; when none does, starts one for the time of the questions. The answers are kept in
reports/answers.json, and nothing is asked again while the same versions are promoted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from specialists.adapters import promoted_versions
from specialists.agent import TOOLS, system_prompt
from specialists.cli import command, finish, progress, say, table
from specialists.config import Config, Language, Problem
from specialists.records import read_json, write_json
from specialists.server import api_key, base_url, served_models
from specialists.serving.promotion import verify

QUESTION = "Read the README and say in one sentence what this {title} project does."


@command
@click.option("--tokens", default=96, show_default=True, help="Tokens per answer at most.")
@click.option("--start-timeout", default=600, show_default=True, help="Seconds for a server of our own to start.")
def main(config: Config, as_json: bool, tokens: int, start_timeout: int) -> None:
    """Ask every promoted adapter one question and show who answered."""
    promoted = promoted_versions(config)
    kept = config.paths.reports / "answers.json"
    answers = read_json(kept) or {}
    if answers.get("promoted") != promoted:
        with running_server(config, start_timeout) if promoted else contextlib.nullcontext():
            for name in promoted:
                verify(config, config.languages[name])
            promoted = promoted_versions(config)
            told = [ask(config, config.languages[name], tokens) for name in progress(promoted, "ask")]
        answers = {"promoted": promoted, "answers": told}
        write_json(kept, answers)
    rows = [[answer["model"], answer["kind"], answer["shown"]] for answer in answers["answers"]]
    header = ["answered by", "with", "first words"]
    say(table(rows, header) if rows else "no adapter is promoted; the base answers alone")
    finish(answers, as_json)


@contextlib.contextmanager
def running_server(config: Config, start_timeout: int) -> Iterator[None]:
    """The server that runs, or one of our own for a while."""
    if served_models(config) is not None:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # leaves no server behind
    log = config.paths.reports / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        serve = [sys.executable, str(Path(__file__).with_name("serve.py")), "--config", str(config.path)]
        process = subprocess.Popen(serve, stdout=output, stderr=output, start_new_session=True)
        try:
            _wait_until_served(config, process, start_timeout, log)
            yield
        finally:
            _stop(process)


def ask(config: Config, language: Language, tokens: int) -> dict[str, Any]:
    """One question to one adapter; raises Problem when another model answers, or none."""
    import openai

    client = openai.OpenAI(base_url=f"{base_url(config)}/v1", api_key=api_key(config) or "EMPTY")
    messages: Any = [
        {"role": "system", "content": system_prompt(language)},
        {"role": "user", "content": QUESTION.format(title=language.title)},
    ]
    tools: Any = TOOLS  # plain dictionaries, where the library has a class for each
    try:
        answer = client.chat.completions.create(
            model=language.adapter, messages=messages, tools=tools, max_tokens=tokens, temperature=0
        )
    except openai.OpenAIError as error:
        raise Problem(f"{language.adapter}: no answer: {error}") from None
    if answer.model != language.adapter:
        raise Problem(f"{language.adapter}: {answer.model} answered instead")
    message = answer.choices[0].message
    if message.tool_calls and message.tool_calls[0].type == "function":
        call = message.tool_calls[0].function
        return {"model": answer.model, "kind": "tool call", "shown": f"{call.name} {call.arguments}"[:60]}
    return {"model": answer.model, "kind": "text", "shown": " ".join((message.content or "").split())[:60]}


def _wait_until_served(config: Config, process: subprocess.Popen, timeout: int, log: Path) -> None:
    deadline = time.monotonic() + timeout
    while served_models(config) is None:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            errors = [line for line in lines if "Error" in line] or lines
            last = errors[-1] if errors else "nothing"
            raise Problem(f"the server ended with exit code {process.returncode}; {log} says: {last}")
        if time.monotonic() > deadline:
            raise Problem(f"the server did not start in {timeout} s; see {log}")
        time.sleep(0.2)


def _stop(process: subprocess.Popen) -> None:
    """Stop vLLM and its workers, which share a process group of their own."""
    for number, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


if __name__ == "__main__":
    main()
