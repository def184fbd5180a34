"""Secrets and personal data: found, and replaced by stable fakes, before a row is first written.

`redact` works on a text, `clean` on a chat, `scrub` on a record: a secret in what the model would learn to write drops
the record, one in its context is replaced throughout; personal data is replaced everywhere, learned or not.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from specialists.config import Config, Problem
from specialists.records import Record, canonical, is_target, record_id
from specialists.secrets import fakes, personal, places
from specialists.secrets import rules as secret_rules
from specialists.secrets.fakes import LEAST, PERSONAL, SECRET, Find, SecretFinding
from specialists.secrets.literals import Literals
from specialists.secrets.values import case_changes, copies, is_secret_value, name_kind
from specialists.tables import Secrets as Rules

_ROUNDS, _OF_LIST = 5, 80  # of replacing; characters that stay, as fakes, of what follows many secrets
_LEAST_OF_KEY = 16  # characters from which on a line of a private key is known again elsewhere
# Characters without a width, and a line end behind a backslash within a word.
_HIDING = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]|\\\\(?<=[^\\s\\\\]\\\\)\r?\n(?=\\S)")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # forms of ASCII
_RUN = re.compile(  # the lines that follow one of full length belong to it
    r"[A-Za-z0-9+/_-]{24,}+(?:(?<=[A-Za-z0-9+/]{60})\r?\n[ \t]{0,20}[A-Za-z0-9+/]{1,76}+(?==*[\s\"']|=*\Z))*+={0,2}"
)


def redact(text: str, rules: Rules = Rules()) -> tuple[str, list[SecretFinding]]:
    """The text with stable fakes for what is secret or personal, and what that was. Doing it again changes nothing."""
    return _replaced("", text, rules), [item.finding(text) for item in find(text, rules)]


def cleaner(config: Config) -> Callable[[str], str]:
    """`redact` by the owner's rules, for what leaves this machine."""
    return lambda text: redact(text, config.secrets)[0]


class Cleaned(NamedTuple):
    """Messages and source of a chat without secrets and personal data."""

    messages: list[dict[str, Any]]
    source: dict[str, Any]
    spoiled: frozenset[int]  # indexes of the messages that held a secret
    findings: list[SecretFinding]


def scrub(record: Record, rules: Rules) -> tuple[Record | None, list[SecretFinding]]:
    """The record without secrets and personal data, None if a secret stands in a target; and what was found."""
    cleaned = clean(record["messages"], record["source"], rules)
    if any(is_target(record["messages"][index]) for index in cleaned.spoiled):
        return None, cleaned.findings
    if not cleaned.findings:
        return record, []
    fresh = record_id(record["language"], cleaned.messages, record["tools"])
    return {**record, "id": fresh, "messages": cleaned.messages, "source": cleaned.source}, cleaned.findings


def clean(messages: list[dict[str, Any]], source: dict[str, Any], rules: Rules) -> Cleaned:
    """A chat of any length with fakes for what is secret or personal, but for the system prompt, which is ours.

    What one place of the chat shows to be a secret is one wherever it stands, its copies in base64 and in URLs too."""
    parts = [*messages, source]
    texts = {index: leaves(part) for index, part in enumerate(parts) if part.get("role") != "system"}
    secrets: dict[str, str] = {}
    findings: dict[SecretFinding, None] = {}
    spoiled, touched = set(), set()
    for index, key, text in [(index, *leaf) for index, found in texts.items() for leaf in found]:
        for item in find(text, rules, key):
            touched.add(index)
            findings.setdefault(item.finding(text))
            if item.category == SECRET:
                spoiled.add(index)
                secret, least = text[item.start : item.end], _LEAST_OF_KEY if item.kind == "private key" else LEAST
                if len(secret) >= least and item.kind != places.LIST:
                    secrets[secret] = _fake(text, item)
                    secrets.update((copy, fakes.fake(copy)) for copy in copies(secret))
    elsewhere = _elsewhere(secrets)
    spoiled |= {i for i, found in texts.items() if any(elsewhere(text) != text for _key, text in found)}

    def cleaned(key: str, text: str) -> str:
        return elsewhere(_replaced(key, text, rules))

    fresh = [mapped(part, cleaned) if i in touched | spoiled else part for i, part in enumerate(parts)]
    return Cleaned(fresh[:-1], fresh[-1], frozenset(spoiled - {len(messages)}), list(findings))


_EXACT = Literals([*secret_rules.ANCHORS, *places.ANCHORS, *personal.ANCHORS])
_FOLDED = Literals([*places.FOLDED_ANCHORS, *personal.FOLDED_ANCHORS])  # in the text in lower case


def find(text: str, rules: Rules, key: str = "") -> list[Find]:
    """What is to be replaced in a text, in order, what overlapped as one; `key`: what the text is the value of."""
    found: Iterable[Find] = _find(text, rules)
    if LEAST <= len(text) <= 4096 and is_secret_value(key, text) and not _allowed(text, rules):
        found = _joined([Find(0, len(text), name_kind(key) or "", ours=fakes.is_fake(text)), *found])
    return [item for item in found if not item.ours]


def stand_ins(text: str, rules: Rules) -> list[Find]:
    """The fakes in a text that stand where secrets were, in order."""
    return [item for item in _find(text, rules) if item.ours]


@lru_cache(maxsize=1024)  # the windows of one session repeat its messages
def _find(text: str, rules: Rules) -> tuple[Find, ...]:
    plain, at = _plain(text)
    lower = plain.lower()
    if len(lower) != len(plain):  # a few letters grow (İ); positions have to stay
        lower = "".join(char.lower() if char.isascii() else char for char in plain)
    exact, folded = _EXACT.find(plain), _FOLDED.find(lower)
    finds = [*secret_rules.shaped(plain, exact), *places.placed(plain, exact, folded), *_encoded(plain, rules)]
    finds += personal.find(plain, exact, folded, rules.hosts)
    if plain != text:
        finds = [item._replace(start=at[item.start], end=at[item.end - 1] + 1, keep=()) for item in finds]
    for match in _own(rules.extra, text):
        start, end = match.span(1 if match.re.groups and match[1] is not None else 0)
        finds += [Find(start, end, "own pattern", ours=fakes.is_fake(text[start:end]))] if end > start else []
    return tuple(item for item in _joined(finds) if item.ours or not _allowed(text[item.start : item.end], rules))


def _own(patterns: Iterable[str], text: str) -> Iterator[Any]:
    """Matches of the owner's patterns. Raises Problem for one that takes too long; `re` would not stop."""
    if patterns:
        import regex
    for pattern in patterns:
        try:
            yield from regex.finditer(pattern, text, timeout=1 + 2e-6 * len(text))  # seconds of processor time
        except regex.error as error:  # a form that `re` alone knows
            raise Problem(f"[secrets] extra: {pattern!r}: {error}") from None
        except TimeoutError:
            what = f"[secrets] extra: {pattern!r} takes over 2 s for a MB of text"
            raise Problem(f"{what}; bound its repetitions, {{1,80}} for +, and have none within another") from None


def _allowed(text: str, rules: Rules) -> bool:
    return any(re.search(pattern, text) for pattern in rules.allow)


def _plain(text: str) -> tuple[str, Sequence[int]]:
    """The text with nothing hiding in it, and where each of its characters stands in `text`."""
    if text.isascii() and "\\\n" not in text and "\\\r" not in text:  # most are, and it is seen ten times as fast
        return text, range(len(text))
    kept: Sequence[int] = range(len(text))
    if hiding := {place for match in _HIDING.finditer(text) for place in range(*match.span())}:
        kept = [place for place in kept if place not in hiding]
        text = "".join(text[place] for place in kept)
    return text.translate(_FULL_WIDTH), kept


def _encoded(text: str, rules: Rules) -> Iterator[Find]:
    """Runs of base64 (also for URLs, over lines) and hexadecimal with a secret in the text that they encode."""
    for run in _RUN.finditer(text):
        value = "".join(run[0].split())
        for decode in (bytes.fromhex, _from_base64):
            with suppress(ValueError):
                inner = decode(value).replace(b"\0", b"").decode()  # UTF-16 is ASCII and zeros
                if "".join(inner.split()).isprintable():
                    kinds = [item.kind for item in find(inner, rules) if item.category == SECRET]
                    yield from (Find(*run.span(), kind) for kind in kinds[:1])
                    break


def _from_base64(value: str) -> bytes:
    value = value.rstrip("=").replace("-", "+").replace("_", "/")
    value = value[: len(value) - (len(value) % 4 == 1)]  # cut off by a tool
    return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)


def _joined(finds: Iterable[Find]) -> list[Find]:
    """Overlapping finds as one: a secret if any is one, a fake of ours if any is one."""
    joined: list[Find] = []
    for item in sorted(finds, key=lambda item: (item.start, -item.end, not item.keep)):
        if joined and item.start < (last := joined[-1]).end:
            named = min(last, item, key=lambda one: (one.kind != places.LIST, one.category != SECRET, not one.keep))
            end, ours = max(last.end, item.end), last.ours or item.ours
            joined[-1] = named._replace(start=last.start, end=end, keep=last.keep + item.keep, ours=ours)
        else:
            joined.append(item)
    return joined


def _fake(text: str, item: Find) -> str:
    value = text[item.start : item.end][: _OF_LIST if item.kind == places.LIST else None]
    if item.category == PERSONAL:
        return personal.fake(item.kind, value)
    return fakes.fake(value, [(start - item.start, end - item.start) for start, end in item.keep])


def _replaced(key: str, text: str, rules: Rules) -> str:
    """The text that is the value of a key, with fakes. Once does but where a fake changes what stands around it."""
    for _ in range(_ROUNDS):
        pieces, end = [], 0
        for item in find(text, rules, key):
            pieces += [text[end : item.start], _fake(text, item)]
            end = item.end
        if not end:
            break
        text = "".join([*pieces, text[end:]])
    return text


def _elsewhere(secrets: dict[str, str]) -> Callable[[str], str]:
    """Puts fakes for what other places showed to be secret; what could be part of a word must stand alone."""
    literals = Literals(secrets)

    def replaced(text: str) -> str:
        spots = literals.find(text) if secrets else {}
        pieces, end = [], 0
        for at, length, value in sorted((at, -len(value), value) for value, found in spots.items() for at in found):
            around = text[max(0, at - 1) : at] + text[at - length : at - length + 1]
            alone = len(value) >= 12 or case_changes(value) >= 3 or not re.search("[A-Za-z0-9]", around)
            if at >= end and alone:
                pieces += [text[end:at], secrets[value]]
                end = at - length
        return "".join([*pieces, text[end:]])

    return replaced


def leaves(value: Any, everywhere: bool = False) -> list[tuple[str, str]]:
    """Every key and text in a JSON value, with its key; within JSON in tool `arguments`, or in all texts."""
    found: list[tuple[str, str]] = []

    def collect(key: str, text: str) -> str:
        found.append((key, text))
        return text

    mapped(value, collect, everywhere=everywhere)
    return found


def mapped(value: Any, clean: Callable[[str, str], str], key: str = "", everywhere: bool = False) -> Any:
    """The same value with every text that `leaves` yields replaced by `clean(key, text)`."""
    if isinstance(value, dict):
        return {clean("", name): mapped(item, clean, name, everywhere) for name, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, clean, key, everywhere) for item in value]
    if not isinstance(value, str):
        return value
    if (everywhere or key == "arguments") and (value.lstrip()[:1] + value.rstrip()[-1:]) in ("{}", "[]", '""'):
        try:
            decoded = json.loads(value)
            fresh = mapped(decoded, clean, key, everywhere)
            return value if fresh == decoded else canonical(fresh)
        except (ValueError, RecursionError):
            pass  # no JSON, or deeper than can be followed: a text
    return clean(key, value)
