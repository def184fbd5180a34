"""What hides a secret from a search by its characters: look-alikes, broken lines, base64 and hexadecimal."""

import base64
import re
from collections.abc import Iterator, Sequence

# Characters without a width, and a line end behind a backslash within a word.
_HIDING = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]|\\\\(?<=[^\\s\\\\]\\\\)\r?\n(?=\\S)")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # forms of ASCII
_RUN = re.compile(  # the lines that follow one of full length belong to it
    r"[A-Za-z0-9+/_-]{24,}+(?:(?<=[A-Za-z0-9+/]{60})\r?\n[ \t]{0,20}[A-Za-z0-9+/]{1,76}+(?==*[\s\"']|=*\Z))*+={0,2}"
)


def plain(text: str) -> tuple[str, Sequence[int]]:
    """The text with nothing hiding in it, and where each of its characters stands in `text`."""
    if text.isascii() and "\\\n" not in text and "\\\r" not in text:  # most are, and it is seen ten times as fast
        return text, range(len(text))
    places: Sequence[int] = range(len(text))
    if hiding := {place for match in _HIDING.finditer(text) for place in range(*match.span())}:
        places = [place for place in places if place not in hiding]
        text = "".join(text[place] for place in places)
    return text.translate(_FULL_WIDTH), places


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """Runs of base64 (also for URLs, over lines) and hexadecimal that encode a text: start, end, that text."""
    for run in _RUN.finditer(text):
        value = "".join(run[0].split())
        for decode in (bytes.fromhex, _from_base64):
            try:
                inner = decode(value).replace(b"\0", b"").decode()  # UTF-16 is ASCII and zeros
            except ValueError:
                continue
            if "".join(inner.split()).isprintable():
                yield *run.span(), inner
                break


def _from_base64(value: str) -> bytes:
    value = value.rstrip("=").replace("-", "+").replace("_", "/")
    value = value[: len(value) - (len(value) % 4 == 1)]  # cut off by a tool
    return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
