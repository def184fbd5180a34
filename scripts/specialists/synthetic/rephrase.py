"""Requests written by a model behind an OpenAI-compatible endpoint: of synthetic examples, and of commits.

The model sees the change and the words that are there: what was put together from templates, or the commit's own. A
second question lets it judge whether what it wrote is enough to make the change. What fails the judge is dropped, and
the words that are there stay.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

from specialists.endpoint import Endpoint
from specialists.synthetic.phrases import pick

if TYPE_CHECKING:
    from specialists.records import Record
    from specialists.synthetic.tasks import Candidate

LONGEST = 800  # characters of a request
STYLES = (
    "one terse line, typed in a hurry, lower case",
    "one or two plain, polite sentences",
    "a short bug report: what happens, what should happen",
    "a question to a colleague",
    "three or four sentences with some background",
)
OF_COMMITS = {
    "terse": "one line of at most fifteen words, typed in a hurry",
    "detailed": "three to five plain sentences: what is wrong or missing, what is wanted, which files and names it is "
    "about, and what the change adds that nobody could guess, such as a new name or a message",
}
_WRITE = """\
A developer wants this change made by a coding agent that has not seen it yet.

File: {path}
Function: {function}
Change:
{diff}
What it is about: {request}

Write the developer's request. Style: {style}. Name the function `{name}` and the file {path}. Tell what goes wrong or \
what is wanted, not which characters to type; quote no code of the change. Answer with the request alone."""
_WRITE_OF_COMMIT = """\
A developer wants this change made by a coding agent that has not seen it yet.

{diff}

The message it was committed with: {request}

Write the developer's request, before anything was done. Style: {style}. Tell what goes wrong or what is wanted, not \
which characters to type; quote no code of the change. Answer with the request alone."""
_JUDGE = """\
Request to a coding agent:
{request}

The change that was wanted:
{diff}

Could a good developer who can read {path} make a change of the same effect from this request alone? \
Answer yes or no."""


class Rephraser:
    """Asks one model for better requests; use it as the `rephrase` of an Augmenter or the `reword` of a Miner."""

    def __init__(self, endpoint: Endpoint):
        self._ask = endpoint.ask

    def __call__(self, candidate: Candidate, request: str) -> str | None:
        """The model's request for a candidate; None when there is none that is good enough."""
        path, function = candidate.file.path, candidate.function
        diff = _diff(candidate.broken.decode(), candidate.file.source.decode())
        style = pick(STYLES, "style", candidate.key)
        written = self._ask(
            _WRITE.format(
                path=path, function=function.qualified, diff=diff, request=request, style=style, name=function.name
            )
        )
        if not written or function.name not in written or path not in written:
            return None
        return written if self._is_enough(written, diff, path) else None

    def of_commit(self, record: Record) -> tuple[str, str] | None:
        """Style and request for the example of a commit; None when neither of the two is good enough.

        The model writes a terse and a detailed one. Which of them is taken where both are, the commit's id says.
        """
        source, diff = record["source"], _calls(record)
        first = pick(list(OF_COMMITS), "style", source["commit"])
        for style in sorted(OF_COMMITS, key=lambda style: style != first):
            written = self._ask(
                _WRITE_OF_COMMIT.format(diff=diff, request=record["messages"][1]["content"], style=OF_COMMITS[style])
            )
            if written and self._is_enough(written, diff, " and ".join(source["paths"])):
                return style, written
        return None

    def _is_enough(self, written: str, diff: str, path: str) -> bool:
        if len(written) > LONGEST or "```" in written:
            return False
        verdict = self._ask(_JUDGE.format(request=written, diff=diff, path=path))
        return (verdict or "").lower().lstrip('*_" ').startswith("yes")


def _calls(record: Record) -> str:
    """The change of a commit's example, as its calls make it."""
    parts = []
    for message in record["messages"]:
        for call in message.get("tool_calls") or ():
            name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
            if name in ("edit", "write"):
                old, new = arguments.get("oldString", ""), arguments.get("newString") or arguments.get("content", "")
                parts.append(f"{arguments['filePath']}\n{_diff(old, new)}")
    return "\n".join(parts) or record["messages"][-1]["content"]  # a unified diff


def _diff(old: str, new: str) -> str:
    """A change as a person would see it, without its place."""
    lines = difflib.unified_diff(old.split("\n") if old else [], new.split("\n"), n=3, lineterm="")
    return "\n".join(line for line in list(lines)[2:] if line[:2] != "@@")
