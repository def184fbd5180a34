"""Requests for synthetic examples, written by a model behind an OpenAI-compatible endpoint.

The model sees the change and the request that was put together from templates, and writes what a person would have
asked for; a second question lets it judge whether that is enough to make the change. What fails the judge, or does
not name function and file, is dropped for the template.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from specialists.endpoint import Endpoint
from specialists.phrases import pick

if TYPE_CHECKING:
    from specialists.synthetic import Candidate

LONGEST = 800  # characters of a request
STYLES = (
    "one terse line, typed in a hurry, lower case",
    "one or two plain, polite sentences",
    "a short bug report: what happens, what should happen",
    "a question to a colleague",
    "three or four sentences with some background",
)
_WRITE = """\
A developer wants this change made by a coding agent that has not seen it yet.

File: {path}
Function: {function}
Change:
{diff}
What it is about: {request}

Write the developer's request. Style: {style}. Name the function `{name}` and the file {path}. Tell what goes wrong or \
what is wanted, not which characters to type; quote no code of the change. Answer with the request alone."""
_JUDGE = """\
Request to a coding agent:
{request}

The change that was wanted:
{diff}

Could a good developer who can read {path} make a change of the same effect from this request alone? \
Answer yes or no."""


class Rephraser:
    """Asks one model for better requests; use it as the `rephrase` of an Augmenter."""

    def __init__(self, endpoint: Endpoint):
        self._ask = endpoint.ask

    def __call__(self, candidate: Candidate, request: str) -> str | None:
        """The model's request for a candidate; None when there is none that is good enough."""
        path, function = candidate.file.path, candidate.function
        diff = _diff(candidate)
        style = pick(STYLES, "style", candidate.key)
        written = self._ask(_WRITE.format(path=path, function=function.qualified, diff=diff, request=request,
                                          style=style, name=function.name))  # fmt: skip
        if not written or len(written) > LONGEST or "```" in written or function.name not in written:
            return None
        if path not in written:
            return None
        verdict = self._ask(_JUDGE.format(request=written, diff=diff, path=path))
        return written if verdict and verdict.lower().lstrip('*_" ').startswith("yes") else None


def _diff(candidate: Candidate) -> str:
    """The change as a person would see it, without its place."""
    old, new = candidate.broken.decode().split("\n"), candidate.file.source.decode().split("\n")
    return "\n".join(line for line in list(difflib.unified_diff(old, new, n=3, lineterm=""))[2:] if line[:2] != "@@")
