"""Questions to the demo's base and specialist, answered through the server: what they say and call."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from specialists.agent import ROOT, in_project, read_result, system_prompt
from specialists.config import Config, Language
from specialists.server import chat
from specialists.tables import SERVED_BASE
from specialists.tools import known_tools

QUESTIONS = (
    "Read the README and tell me what this project is for.",
    "What does `widths` in ledgerlines/tables.py do?",
    "Rename `shorten` to `ellipsis`.",
)
STEPS, ANSWER_TOKENS = 4, 160  # at most


def ask(config: Config, language: Language) -> str:
    """Every question with the answers of the base and of the language's adapter."""
    repository = config.repositories(language.name)[0]
    lines = []
    for question in QUESTIONS:
        lines.append(f"\nYou: {question}")
        for model in (SERVED_BASE, language.adapter):
            for text in answer(config, language, model, question, repository):
                lines.append(textwrap.indent(textwrap.shorten(text, 240), f"  {model}: "))
    return "\n".join(lines)


def answer(config: Config, language: Language, model: str, question: str, repository: Path) -> list[str]:
    """The steps of a model's greedy answer. What it reads in the repository it is shown; any other call ends it."""
    system = f"{system_prompt(language)}\nWorking directory: {ROOT}"
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    steps: list[str] = []
    while len(steps) < STEPS:
        message = chat(config, model, messages, known_tools(config), ANSWER_TOKENS)["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        names = [f"[{call['function']['name']} {in_project(call['function']['arguments'])}]" for call in calls]
        steps.append(" ".join([message["content"] or "", *names]).strip())
        results = [result(call["function"], repository) for call in calls]
        if not calls or None in results:
            break
        messages.append(message)
        for call, text in zip(calls, results, strict=True):
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
    return steps


def result(function: dict[str, str], repository: Path) -> str | None:
    """What opencode answers to a read of a file in the repository; None for every other call."""
    path = str(json.loads(function["arguments"]).get("filePath"))
    file = (repository / in_project(path)).resolve()
    inside = function["name"] == "read" and file.is_relative_to(repository.resolve()) and file.is_file()
    return read_result(path, file.read_text(encoding="utf-8")) if inside else None
