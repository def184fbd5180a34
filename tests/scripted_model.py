"""A model that answers opencode with a script, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count
from typing import Any

from specialists.sessions.capture import RecordingModel


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
