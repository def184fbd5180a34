"""The model that opencode talks to: one that answers with a script, and what it is sent, rebuilt from rows."""

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from specialists.sessions.capture import RecordingModel
from specialists.sessions.chat import (
    COMPACTION_REQUEST,
    NOT_SENT,
    is_dropped,
    joined_text,
    live_after_compaction,
    tool_output,
)
from specialists.sessions.database import Message
from specialists.sessions.database_v2 import EXECUTED_BY_USER


class ScriptedModel(RecordingModel):
    """An answer is (text, calls), a call (name, arguments); when the script is over, the answer is "Done."."""

    def __init__(self, answers: Iterable[tuple[str, list[tuple[str, dict[str, Any]]]]] = ()):
        super().__init__()
        self.answers, self._ids = iter(answers), count()

    def deltas(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if not body.get("tools"):
            return [{"role": "assistant", "content": "A title"}]
        text, calls = next(self.answers, ("Done.", []))
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": text}]
        for index, (name, arguments) in enumerate(calls):
            call = {"index": index, "id": f"call_{next(self._ids)}", "type": "function"}
            deltas.append({"tool_calls": [{**call, "function": {"name": name, "arguments": json.dumps(arguments)}}]})
        return deltas


def replay(messages: list[Message], model: str | None = None) -> list[dict[str, Any]]:
    """The messages of the request that followed these rows, as opencode 1.18 builds them, without the system prompt,
    which is not stored. `model`: the model asked, whose own reasoning is sent back to it."""
    chat: list[dict[str, Any]] = []
    for message in live_after_compaction(messages):
        if message.role == "user":
            if content := user_content(message.parts):
                chat.append({"role": "user", "content": content})
        elif message.role == "assistant" and not is_dropped(message):
            chat.extend(assistant_messages(message, model))
    return chat


def user_content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    fixed = {"compaction": COMPACTION_REQUEST, "subtask": EXECUTED_BY_USER}
    content: list[dict[str, Any]] = []
    for part in parts:
        text = "" if part.get("ignored") else part.get("text") or fixed.get(part["type"])
        if text:
            content.append({"type": "text", "text": text})
        elif part["type"] == "file" and part.get("mime") not in NOT_SENT:
            content.append({"type": "image_url", "image_url": {"url": part.get("url", "")}})
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def assistant_messages(message: Message, model: str | None) -> list[dict[str, Any]]:
    answer: dict[str, Any] = {"role": "assistant", "content": joined_text(message, "text")}
    reasoning = joined_text(message, "reasoning")
    if reasoning and model == message.data.get("modelID"):
        answer["reasoning_content"] = reasoning
    tools = [part for part in message.parts if part["type"] == "tool"]
    calls = []
    for part in tools:
        function = {"name": part["tool"], "arguments": json.dumps(part["state"].get("input") or {})}
        calls.append({"id": part["callID"], "type": "function", "function": function})
    if calls:
        answer["tool_calls"] = calls
    results = [{"role": "tool", "tool_call_id": part["callID"], "content": tool_output(part)} for part in tools]
    return [answer, *results] if answer["content"] or calls else []


def replay_v2(messages: list[Message], model: str | None = None) -> list[dict[str, Any]]:
    """The same as opencode 2 builds them."""
    chat: list[dict[str, Any]] = []
    for message in live_after_compaction(messages):
        if message.role == "user":
            if content := user_content(message.parts):
                chat.append({"role": "user", "content": content})
        elif not is_dropped(message):
            if message.data.get("error") or message.data["modelID"] != model:  # its reasoning is text then
                texts = [part["text"] for part in message.parts if part["type"] in ("reasoning", "text")]
                tools = [part for part in message.parts if part["type"] == "tool"]
                message = replace(message, parts=[{"type": "text", "text": "\n".join(texts)}, *tools])
            chat.extend(assistant_messages(message, model))
    return chat
