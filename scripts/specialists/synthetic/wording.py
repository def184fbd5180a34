"""Requests without a model: where something is wanted, and what the function is for by its own comment.

They say nothing of what a mistake was, and claim nothing that nobody looked at.
"""

import re

from specialists.code.syntax import Function

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
