"""The words of requests: from templates, or by a model behind an OpenAI-compatible endpoint, of commits too.

Templates say where something is wanted and what the function is for by its own comment, nothing of what a mistake was.
The model sees the change and the words that are there, which stay where its own fail a second question.
"""

import re

from specialists.agent import path_of
from specialists.code.syntax import Function
from specialists.endpoint import Endpoint
from specialists.records import Record, calls_of, make_record

IMPLEMENT = (  # {f} function, {p} its file, {d} the first sentences of its comment
    "Implement `{f}` in {p}. {d}",
    "`{f}` in {p} is still a stub. {d} Please write the body.",
    "write the body of `{f}` in {p}. {d} Keep to the style of the code around it.",
)
FIX = (
    "`{f}` in {p} does not behave as it should. {d} Find out why and fix it.",
    "There is a mistake in `{f}` ({p}). {d} Please correct it, and leave the rest as it is.",
    "can you fix `{f}` in {p}? {d}",
    "Please debug `{f}` in {p} and make the smallest fix. {d}",
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\[(])")
_SECTION = re.compile(  # where the prose of a comment ends
    r"(?i)\s*(:\w+|@\w+|- \w+:|- ?(Parameters?|Returns?|Throws)\b|=+|#+ |Args?:|Returns?:|Raises:|Parameters?:?$"
    r"|Example|```|\.\. |>>>|\$|\* |$)"
)
_SAYS_NOTHING = re.compile(r"(?i:see|same as|alias|inherited|todo|fixme|hack|.*copyright)\b|[A-Z]+ /|<?https?:")
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


def words(kind: str, function: Function, path: str, key: str) -> str:
    """The request of a row; which wording, the key (hex digits) decides."""
    doc, implement = opening(function.doc), kind == "implement"
    options = IMPLEMENT if implement else FIX
    purpose = f"What it should do: {doc}" if doc and not implement else doc
    return options[int(key, 16) % len(options)].format(f=function.name, p=path, d=purpose).replace("  ", " ").strip()


def opening(doc: str, sentences: int = 3, longest: int = 300) -> str:
    """The first sentences of a doc comment; "" when there are none that can stand in a request."""
    lines = doc.strip().split("\n")
    prose = lines[: next((number for number, line in enumerate(lines) if _SECTION.match(line)), None)]
    whole = [sentence for sentence in _SENTENCE.split(" ".join(" ".join(prose).split())) if sentence[-1:] != ":"]
    text = next((part for n in range(sentences, 0, -1) if len(part := " ".join(whole[:n])) <= longest), "")
    if len(re.findall(r"[A-Za-z]{2,}", text)) < 3 or _SAYS_NOTHING.match(text) or text.count("`") % 2:
        return ""
    text = text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
    return text if text[-1] in ".!?" else f"{text.rstrip(';,')}."


def reworded(endpoint: Endpoint, record: Record) -> Record | None:
    """The record with a request in the words of the endpoint's model; None when there is none that passes the check."""
    calls = [call for message in record["messages"] for call in calls_of(message)]
    changes, added = "", set()
    for change in (arguments for name, arguments in calls if name in ("edit", "write")):
        old, new = change.get("oldString", ""), change.get("newString", "") + change.get("content", "")
        changes += f"\n{path_of(change)}, before:\n{old}\nafter:\n{new}\n"
        added |= {line.strip() for line in new.split("\n")} - {line.strip() for line in old.split("\n")}
    written = endpoint.ask(_WRITE.format(changes=changes, request=record["messages"][1]["content"])) or ""
    if not _FIT.fullmatch(written) or any(len(line) > 8 and line in written for line in added):
        return None  # not a request, or one that gives the solution away
    if (
        not (endpoint.ask(_CHECK.format(changes=changes, request=written)) or "no")
        .lower()
        .lstrip('*_" ')
        .startswith("yes")
    ):
        return None
    system, user, *rest = record["messages"]
    messages, source = [system, {**user, "content": written}, *rest], {**record["source"], "request": "model"}
    return make_record(record["language"], messages, record["tools"], source)
