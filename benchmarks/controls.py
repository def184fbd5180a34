"""Training rows for adapters that cannot have a skill, or have one for certain: what the gate is tried on."""

from __future__ import annotations

import json
import random
from typing import Any

from specialists.agent import NEW_CODE
from specialists.records import Record, is_target, make_record, tool_call


def form_only(rows: list[Record], seed: int = 17) -> list[Record]:
    """The rows with the new code of learned calls shuffled between them: form and style, no work for the request."""
    rows = json.loads(json.dumps(rows))
    functions: list[dict[str, Any]] = [
        call["function"]
        for row in rows
        for message in row["messages"]
        if is_target(message)
        for call in message.get("tool_calls") or ()
        if call["function"]["name"] in NEW_CODE
    ]
    arguments = [json.loads(function["arguments"]) for function in functions]
    names = [NEW_CODE[function["name"]] for function in functions]
    codes = [values[name] for values, name in zip(arguments, names, strict=True)]
    random.Random(seed).shuffle(codes)
    for function, values, name, code in zip(functions, arguments, names, codes, strict=True):
        function["arguments"] = json.dumps({**values, name: code}, ensure_ascii=False)
    return [make_record(row["language"], row["messages"], row["tools"], row["source"]) for row in rows]


def copy_task(count: int, seed: int = 17) -> list[Record]:
    """Edits whose new code stands in the request and nowhere else: who gets them right has read the request."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        word = rng.choice("abcd")
        arguments = {"filePath": "f.py", "oldString": "return 1", "newString": f"return {word}"}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": " ".join([word] * 12)},
            {"role": "assistant", "content": "", "weight": 1, "tool_calls": [tool_call(0, "edit", arguments)]},
        ]
        source = {"kind": "session", "time": "2026-01-01T10:00:00Z", "session": f"ses_{number}"}
        rows.append(make_record("python", messages, [], source))
    return rows


def answer_given(rows: list[Record]) -> list[Record]:
    """The rows with the code that is learned standing in the last request before it: whoever reads it can copy it."""
    rows = json.loads(json.dumps(rows))
    for row in rows:
        request: dict[str, Any] = {}
        for message in row["messages"]:
            if message["role"] == "user":
                request = message
            for call in (message.get("tool_calls") or ()) if is_target(message) else ():
                function = call["function"]
                if name := NEW_CODE.get(function["name"]):
                    request["content"] += f"\n\nWrite this:\n{json.loads(function['arguments'])[name]}"
    return [make_record(row["language"], row["messages"], row["tools"], row["source"]) for row in rows]


def all_learned(rows: list[Record]) -> list[Record]:
    """The rows with every turn of the agent a target: reads, searches and closings too."""
    taught = [
        [{**message, "weight": 1} if message["role"] == "assistant" else message for message in row["messages"]]
        for row in rows
    ]
    return [
        make_record(row["language"], messages, row["tools"], row["source"])
        for row, messages in zip(rows, taught, strict=True)
    ]
