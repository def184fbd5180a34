"""Fakes that stand for secrets: same length, same shape, the same for the same secret, and recognisable as ours.

Letters and digits are replaced by others of their kind; everything else stays. The first three come from a hash of the
secret, every further one follows from the three before it. So any piece of a fake proves itself, wherever it is found,
and nothing has to be remembered to leave it alone the second time.
"""

from __future__ import annotations

import hashlib
import math
import re
import string
from collections.abc import Sequence
from functools import cache

# A backslash and what belongs to it is one thing and stays; a lone letter or digit goes.
_PIECE = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\.|[^\W_]", re.DOTALL)
_SEED = 3
_MODES = [
    (string.digits, "abcdef", ""),  # hexadecimal
    (string.digits, "", "ABCDEF"),
    ("234567", "", string.ascii_uppercase),  # base 32
    (string.digits, string.ascii_lowercase, string.ascii_uppercase),
]
_NARROW = 12  # letters and digits from which on a narrower alphabet is taken to be meant
_LOOKED_AT = 400  # characters that tell enough of a long text
_PROOF_WHOLE, _PROOF_PART = 9.0, 24.0  # bits that make a whole string, or a part of it, a fake

LEAST = 6
"""Letters and digits that a secret needs for its fake to prove itself."""


def slots(text: str) -> list[int]:
    """Positions of the letters and digits that a fake would replace."""
    return [piece.start() for piece in _PIECE.finditer(text) if piece.end() - piece.start() == 1]


def fake(secret: str, keep: Sequence[tuple[int, int]] = ()) -> str:
    """The stand-in for a secret. `keep`: [start, end) of what stays, such as a vendor's prefix."""
    result = list(secret)
    places = [place for place in slots(secret) if not any(start <= place < end for start, end in keep)]
    kinds = [_kind(secret[place]) for place in places]
    mode = _mode([secret[place] for place in places])
    digest = hashlib.sha256(b"fake:" + secret.encode("utf-8", "surrogatepass")).digest()
    made = ""
    for number, (place, kind) in enumerate(zip(places, kinds, strict=True)):
        alphabet = mode[kind]
        made += alphabet[digest[number] % len(alphabet)] if number < _SEED else _next(made[-_SEED:], alphabet)
        result[place] = made[-1]
    return "".join(result)


def is_fake(text: str) -> bool:
    """Whether the text is a fake of ours, part of one, or has a long part of one in it."""
    chars = [text[place] for place in slots(text[:_LOOKED_AT])]
    return any(_proves(chars, mode) for mode in _MODES if all(_fits(char, mode) for char in chars))


def number(text: str, digits: int = 4) -> str:
    """Digits that stand for a text, for fakes that are written in words (`user4711`)."""
    return str(int.from_bytes(hashlib.sha256(b"number:" + text.encode("utf-8", "surrogatepass")).digest()[:8], "big"))[
        -digits:
    ]


def _proves(chars: list[str], mode: tuple[str, str, str]) -> bool:
    run, whole = 0.0, len(chars) > _SEED
    for index in range(_SEED, len(chars)):
        alphabet = mode[_kind(chars[index])]
        if chars[index] == _next("".join(chars[index - _SEED : index]), alphabet):
            run += math.log2(len(alphabet))
            if run >= _PROOF_PART:
                return True
        else:
            run, whole = 0.0, False
    return whole and run >= _PROOF_WHOLE


def _next(before: str, alphabet: str) -> str:
    """The letter after three others: a shift of the first, so that different fakes do not run into each other."""
    return alphabet[(ord(before[0]) + _shift(before[1:])) % len(alphabet)]


@cache
def _shift(pair: str) -> int:
    return int.from_bytes(hashlib.sha256(b"shift:" + pair.encode("utf-8", "surrogatepass")).digest()[:4], "big")


def _mode(chars: list[str]) -> tuple[str, str, str]:
    """The narrowest alphabets (digits, lower, upper) that hold all of a long string."""
    fitting = [mode for mode in _MODES if all(_fits(char, mode) for char in chars)]
    return fitting[0] if fitting and len(chars) >= _NARROW else _MODES[-1]


def _kind(char: str) -> int:
    """0 a digit, 2 an upper case letter, 1 any other; letters outside ASCII become lower case ones."""
    return 0 if "0" <= char <= "9" else 2 if "A" <= char <= "Z" else 1


def _fits(char: str, mode: tuple[str, str, str]) -> bool:
    return char in mode[_kind(char)]
