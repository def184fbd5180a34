"""Requests worded by a model behind an OpenAI-compatible endpoint, of synthetic rows and of commits.

The model sees the change and the words that are there, which stay where what it wrote fails a second question.
"""

import json
import re

from specialists.agent import path_of
from specialists.endpoint import Endpoint
from specialists.records import Record, make_record

_WRITE = """\
A developer wants this change made by a coding agent that has not seen it yet.
{changes}
What is known of it: {request}

Write the developer's request in one to four plain sentences: what goes wrong or what is wanted, in which function and \
file, and names and messages that nobody could guess. Quote no code of the change. Answer with the request alone."""
_CHECK = """\
Request to a coding agent: {request}

The change that was wanted:
{changes}
Could a good developer who can read the files make a change of the same effect from this request alone, and does the \
request leave it to him to find out what to write? Answer yes or no."""
_FIT = re.compile(r"(?!.*(?:```|<\|))[^\x00-\x08\x0b-\x1f\x7f]{1,800}", re.S)  # no code, special token or control


class Rephraser:
    """Asks one model for better requests."""

    def __init__(self, endpoint: Endpoint):
        self._ask = endpoint.ask

    def __call__(self, record: Record) -> Record | None:
        """The record with the model's request; None when there is none that passes the check."""
        calls = [call["function"] for message in record["messages"] for call in message.get("tool_calls", ())]
        changes, added = "", set()
        for change in (json.loads(call["arguments"]) for call in calls if call["name"] in ("edit", "write")):
            old, new = change.get("oldString", ""), change.get("newString", "") + change.get("content", "")
            changes += f"\n{path_of(change)}, before:\n{old}\nafter:\n{new}\n"
            added |= {line.strip() for line in new.split("\n")} - {line.strip() for line in old.split("\n")}
        written = self._ask(_WRITE.format(changes=changes, request=record["messages"][1]["content"])) or ""
        if not _FIT.fullmatch(written) or any(len(line) > 8 and line in written for line in added):
            return None  # not a request, or one that gives the solution away
        answer = self._ask(_CHECK.format(changes=changes, request=written)) or ""
        if not answer.lower().lstrip('*_" ').startswith("yes"):
            return None
        system, user, *rest = record["messages"]
        messages, source = [system, {**user, "content": written}, *rest], {**record["source"], "request": "model"}
        return make_record(record["language"], messages, record["tools"], source)
