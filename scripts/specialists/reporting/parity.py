"""What a specialist was trained on against what opencode sends it: prompt and tools before the owner's first word.

`doit tools` runs the installed opencode once and keeps its request; the rows show what the training saw.
"""

from __future__ import annotations

import json
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import Chat, Estimate
from specialists.config import Config, Language
from specialists.records import Record
from specialists.tools import compact


def parity(
    language: Language, row: Record, captured: dict[str, Any], chat: Chat | Estimate
) -> tuple[int, int, list[str]]:
    """Compare a row with a captured request.

    Returns the tokens before the owner's first word that are sent and that were trained on, by the base model's own
    template, and the differences between the tools, in words.
    """
    shown, present = _parameters(row["tools"]), _parameters(captured["tools"])
    plugins = {name for name in shown if "_" in name}  # of a plugin or an MCP server: not in a captured request
    names = {
        "never shown in training": present.keys() - shown.keys(),
        "shown in training but gone": shown.keys() - present.keys() - plugins,
        "changed since": {name for name in shown.keys() & present.keys() if shown[name] != present[name]},
    }
    sent = f"{system_prompt(language)}{captured.get('system', '')}"
    differences = [f"{what}: {', '.join(sorted(tools))}" for what, tools in names.items() if tools]
    tokens = _tokens(chat, sent, captured.get("described") or captured["tools"])
    return tokens, _tokens(chat, row["messages"][0]["content"], row["tools"]), differences


def newest_row(config: Config, language: Language) -> Record | None:
    """The newest training row of a session, which shows the primary agent's tools; else the newest of all."""
    path, newest = config.rows("train", language.name), None
    for line in path.open(encoding="utf-8") if path.is_file() else ():  # in the order of time
        if newest is None or '"kind":"session"' in line or '"kind":"session"' not in newest:
            newest = line
    return json.loads(newest) if newest else None


def _parameters(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """By tool: its parameters and which of them are needed, without prose."""
    schemas = {tool["function"]["name"]: compact(tool)["function"]["parameters"] for tool in tools}
    keys = ("properties", "required")
    return {name: [set(schema.get(key, ())) for key in keys] for name, schema in schemas.items()}


def _tokens(chat: Chat | Estimate, system: str, tools: list[dict[str, Any]]) -> int:
    return chat.count([{"role": "system", "content": system}, {"role": "user", "content": ""}], tools)
