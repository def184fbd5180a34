"""Ask every promoted adapter one question and show who answered: `python scripts/ask.py`.

Uses the server that runs; when none does, starts one for the time of the questions. The answers are kept in
reports/answers.json, for the report.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from specialists.adapters import promoted_versions
from specialists.agent import system_prompt
from specialists.cli import command, finish, progress, say, table
from specialists.config import Config, Language, Problem
from specialists.records import write_json
from specialists.server import chat, served_models, wait
from specialists.serving.promotion import verify
from specialists.tools import known_tools

QUESTION = "Read the README and say in one sentence what this {title} project does."
ANSWER_TOKENS = 96  # at most
START_SECONDS = 600  # for a server of our own to start


@command
def main(config: Config, as_json: bool) -> None:
    answers, problems = list[dict[str, str]](), list[str]()
    if promoted_versions(config):
        with running_server(config):
            _decisions, problems = verify(config)
            answers = [ask(config, config.languages[name]) for name in progress(promoted_versions(config), "ask")]
        say(table([[*answer.values()] for answer in answers], ["answered by", "with", "first words"]))
    else:
        say("nothing to ask: no adapter is promoted; `doit status` says why")
    summary = {"promoted": promoted_versions(config), "answers": answers}
    write_json(config.paths.reports / "answers.json", summary)
    finish(summary, as_json, problems)


@contextlib.contextmanager
def running_server(config: Config) -> Iterator[None]:
    """The server that runs, or one of our own for a while."""
    if served_models(config) is not None:
        yield
        return
    config.paths.reports.mkdir(parents=True, exist_ok=True)
    serve = [sys.executable, str(Path(__file__).with_name("serve.py")), "--config", str(config.path)]
    with (log := config.paths.reports / "server.log").open("w") as output:
        process = subprocess.Popen(serve, stdout=output, stderr=output, start_new_session=True)
    try:
        if not wait(config, True, START_SECONDS, lambda: process.poll() is not None):
            lines = log.read_text(errors="replace").strip().splitlines()
            last = ([line for line in lines if "Error" in line] or lines or ["nothing"])[-1]
            code = process.poll()
            what = f"did not start in {START_SECONDS} s" if code is None else f"ended with exit code {code}"
            raise Problem(f"the server {what}; {log} says: {last}")
        yield
    finally:
        for number, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)  # vLLM and its workers
                process.wait(patience)
                break


def ask(config: Config, language: Language) -> dict[str, str]:
    """One question to one adapter; raises Problem when another model answers, or none."""
    prompts = {"system": system_prompt(language), "user": QUESTION.format(title=language.title)}
    messages = [{"role": role, "content": content} for role, content in prompts.items()]
    answer = chat(config, language.adapter, messages, known_tools(config), ANSWER_TOKENS)
    if answer["model"] != language.adapter:
        raise Problem(f"{language.adapter}: {answer['model']} answered instead")
    message = answer["choices"][0]["message"]
    calls = [call["function"] for call in message.get("tool_calls") or []]
    shown = f"{calls[0]['name']} {calls[0]['arguments']}" if calls else message["content"] or ""
    return {"model": answer["model"], "kind": "tool call" if calls else "text", "shown": " ".join(shown.split())[:60]}


if __name__ == "__main__":
    main()
