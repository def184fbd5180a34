"""What a specialist was trained on against what opencode sends it: the head of the conversation, and the context.

`doit tools` runs the installed opencode once and keeps its request; the rows say what the training saw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.agent import system_prompt
from specialists.chat import Chat, Estimate
from specialists.config import Config, Language
from specialists.tools import compact

Schemas = dict[str, Any]  # by name of the tool


@dataclass(frozen=True)
class Parity:
    """One language. Tokens are those before the owner's first word, by the base model's own template."""

    trained: int
    sent: int
    unknown: list[str]  # tools that opencode has and no row showed
    gone: list[str]  # tools that rows show and opencode has no more
    changed: list[str]  # schemas that are not what the rows show, with what changed

    @property
    def differences(self) -> list[str]:
        parts = {
            "never shown in training": self.unknown,
            "shown in training but gone": self.gone,
            "changed since": self.changed,
        }
        return [f"{what}: {', '.join(names)}" for what, names in parts.items() if names]


def parity(config: Config, language: Language, captured: dict[str, Any], chat: Chat | Estimate) -> Parity | None:
    """Compare the newest session's row of a language with a captured request; None while there are no rows."""
    row = newest_row(config.rows("train", language.name))
    if row is None:
        return None
    trained, present = schemas(row["tools"]), schemas(captured["tools"])
    sent = f"{system_prompt(language)}{captured.get('system', '')}"
    own = {name for name in trained if name not in present and "_" in name}  # of a plugin or an MCP server
    return Parity(
        trained=_head(chat, row["messages"][0]["content"], row["tools"]),
        sent=_head(chat, sent, captured.get("described") or captured["tools"]),
        unknown=sorted(present.keys() - trained.keys()),
        gone=sorted(trained.keys() - present.keys() - own),
        changed=[
            f"{name} ({what})"
            for name in sorted(trained.keys() & present.keys())
            if (what := _change(trained[name], present[name]))
        ],
    )


def newest_row(path: Path) -> dict[str, Any] | None:
    """The newest row of a session, which shows the primary agent's tools; else the newest of all."""
    newest = None
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:  # in the order of time
                if newest is None or '"kind":"session"' in line or '"kind":"session"' not in newest:
                    newest = line
    except OSError:
        return None
    return json.loads(newest) if newest else None


def schemas(tools: list[dict[str, Any]]) -> Schemas:
    """Parameters by tool, without prose."""
    return {tool["function"]["name"]: compact(tool)["function"]["parameters"] for tool in tools}


def _change(before: Schemas, now: Schemas) -> str:
    """What a tool's arguments gained, lost or need now; empty when they are the same."""
    old, new = before.get("properties", {}), now.get("properties", {})
    parts = [f"+{name}" for name in new if name not in old] + [f"-{name}" for name in old if name not in new]
    required = set(now.get("required", ())) ^ set(before.get("required", ()))
    return " ".join([*parts, *(f"{name} required or not" for name in sorted(required & old.keys() & new.keys()))])


def _head(chat: Chat | Estimate, system: str, tools: list[dict[str, Any]]) -> int:
    return chat.count([{"role": "system", "content": system}, {"role": "user", "content": ""}], tools)
