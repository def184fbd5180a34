"""Fakes that stand for secrets: same length, same shape, the same for the same secret, and recognisable as ours.

Letters and digits are replaced by others of their kind; everything else stays. The first three come from a hash of the
secret, every further one follows from the three before it. So any piece of a fake proves itself, wherever it is found,
and nothing has to be remembered to leave it alone the second time.
"""

import hashlib
import math
import re
import string
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

# A backslash and what belongs to it is one thing and stays; a lone letter or digit goes.
_PIECE = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\.|[^\W_]", re.DOTALL)
_SEED = 3
_MODES = [  # letter or digit -> those that may stand for it
    {char: alphabet for alphabet in mode for char in alphabet}
    for mode in (
        (string.digits, "abcdef"),  # hexadecimal
        (string.digits, "ABCDEF"),
        ("234567", string.ascii_uppercase),  # base 32
        (string.digits, string.ascii_lowercase, string.ascii_uppercase),
    )
]
_KNOWN = [frozenset(mode) for mode in _MODES]
_NARROW = 12  # letters and digits from which on a narrower alphabet is taken to be meant
_LOOKED_AT = 400  # characters that tell enough of a long text
_PROOF_WHOLE, _PROOF_PART = 9.0, 24.0  # bits that make a whole string, or a part of it, a fake
_MOST_BITS = math.log2(26)  # that a letter proves

LEAST = 6
"""Letters and digits that a secret needs for its fake to prove itself."""
SECRET, PERSONAL = "secret", "personal"


class SecretFinding(NamedTuple):
    """Something found; never the thing itself."""

    kind: str
    category: str  # SECRET or PERSONAL
    masked: str  # the vendor's prefix and the length: `ghp_…(40)`


class Find(NamedTuple):  # a dataclass takes five times as long to make
    """A span of a text to be replaced: [start, end), without what is kept in it (a vendor's prefix)."""

    start: int
    end: int
    kind: str
    category: str = SECRET
    keep: tuple[tuple[int, int], ...] = ()
    ours: bool = False  # a fake already

    def finding(self, text: str) -> SecretFinding:
        """What may be shown of it."""
        shown = "".join(text[start:end] for start, end in self.keep[:1])
        return SecretFinding(self.kind, self.category, f"{shown}…({self.end - self.start})")


def slots(text: str) -> list[int]:
    """Positions of the letters and digits that a fake would replace."""
    if "\\" not in text:
        return [place for place, char in enumerate(text) if char.isalnum()]
    return [piece.start() for piece in _PIECE.finditer(text) if piece.end() - piece.start() == 1]


def fake(secret: str, keep: Sequence[tuple[int, int]] = ()) -> str:
    """The stand-in for a secret. `keep`: [start, end) of what stays, such as a vendor's prefix."""
    result = list(secret)
    kept = {place for start, end in keep for place in range(start, end)}
    places = [place for place in slots(secret) if place not in kept]
    chars = "".join(map(secret.__getitem__, places))
    # the narrowest alphabets that hold all of a long string
    mode = next((mode for mode in _modes(chars) if len(chars) >= _NARROW), _MODES[-1])
    digest = _digest("fake", secret)
    made = ""
    for number, (place, char) in enumerate(zip(places, chars, strict=True)):
        alphabet = mode.get(char, string.ascii_lowercase)
        made += alphabet[digest[number] % len(alphabet)] if number < _SEED else _next(made[-_SEED:], alphabet)
        result[place] = made[-1]
    return "".join(result)


def is_fake(text: str) -> bool:
    """Whether the text is a fake of ours, part of one, or has a long part of one in it."""
    text = text[:_LOOKED_AT]
    chars = "".join(map(text.__getitem__, slots(text)) if "\\" in text else filter(str.isalnum, text))
    return any(_proves(chars, mode) for mode in _modes(chars))


def _modes(chars: str) -> list[dict[str, str]]:
    """The alphabets that hold all of them, the narrowest first."""
    return [mode for mode, known in zip(_MODES, _KNOWN, strict=True) if known.issuperset(chars)]


def number(text: str) -> str:
    """Four digits that stand for a text, for fakes that are written in words (`user4711`)."""
    return str(int.from_bytes(_digest("number", text)[:8], "big"))[-4:]


def _proves(chars: str, mode: dict[str, str]) -> bool:
    run, whole = 0.0, len(chars) > _SEED
    for index in range(_SEED, len(chars)):
        alphabet = mode[chars[index]]
        if chars[index] == _next(chars[index - _SEED : index], alphabet):
            run += math.log2(len(alphabet))
            if run >= _PROOF_PART:
                return True
        else:
            run, whole = 0.0, False
            if (len(chars) - index) * _MOST_BITS < _PROOF_PART:
                break
    return whole and run >= _PROOF_WHOLE


@lru_cache(maxsize=1 << 16)
def _next(before: str, alphabet: str) -> str:
    """The letter after three others: a shift of the first, so that different fakes do not run into each other."""
    return alphabet[(ord(before[0]) + _shift(before[1:])) % len(alphabet)]


@cache
def _shift(pair: str) -> int:
    return int.from_bytes(_digest("shift", pair)[:4], "big")


def _digest(use: str, text: str) -> bytes:
    return hashlib.sha256(f"{use}:{text}".encode("utf-8", "surrogatepass")).digest()
