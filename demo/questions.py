"""Questions to the demo's base and specialist, answered through the server: what they say and call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from specialists.agent import ROOT, in_project, read_result, system_prompt
from specialists.config import Config, Language
from specialists.server import chat
from specialists.tables import SERVED_BASE
from specialists.tools import known_tools

QUESTIONS = (
    "Read README.md and tell me what this project is for.",
    "What does `widths` in ledgerlines/tables.py do?",
    "Rename `shorten` in ledgerlines/tables.py to `ellipsis`.",
)
STEPS, ANSWER_TOKENS = 3, 96  # at most


def ask(config: Config, language: Language) -> str:
    """Every question with the answers of the base and of the language's adapter."""
    lines = []
    for question in QUESTIONS:
        lines.append(f"\nYou: {question}")
        for model in (SERVED_BASE, language.adapter):
            lines += [f"  {model}: {shorten(step, 240)}" for step in answer(config, language, model, question)]
    return "\n".join(lines)


def answer(config: Config, language: Language, model: str, question: str) -> Iterator[str]:
    """The steps of a model's greedy answer. A file of the repository is shown once; any other call ends it."""
    read = []
    repository = config.repositories(language.name)[0].resolve()
    system = f"{system_prompt(language)}\nWorking directory: {ROOT}"
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    for _step in range(STEPS):
        message = chat(config, model, messages, known_tools(config), ANSWER_TOKENS)["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        shown = [f"[{call['function']['name']} {in_project(call['function']['arguments'])}]" for call in calls]
        yield " ".join([message["content"] or "", *shown]).strip()
        messages.append(message)
        for call in calls:
            path = str(json.loads(call["function"]["arguments"]).get("filePath"))
            file = (repository / in_project(path)).resolve()
            inside = repository in file.parents and file.is_file() and file not in read
            if call["function"]["name"] != "read" or not inside:
                return
            read.append(file)
            text = read_result(path, file.read_text(encoding="utf-8"))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
        if not calls:
            return
