"""Secrets and personal data: found, and replaced by stable fakes, before a row is first written.

`redact` works on a text, `clean` on a chat, `scrub` on a record: a secret in what the model would learn to write drops
the record, one in its context is replaced throughout; personal data is replaced everywhere, so that what is learned
fits its context.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from specialists.records import Record, canonical, is_target, record_id
from specialists.secrets import fakes, personal, places
from specialists.secrets import rules as secret_rules
from specialists.secrets.fakes import LEAST
from specialists.secrets.literals import Literals, Spots
from specialists.secrets.values import case_changes, copies, is_placeholder, is_secret_value, name_kind

if TYPE_CHECKING:
    from specialists.config import Config

SECRET, PERSONAL = "secret", "personal"
_ROUNDS = 5
_TELLING = {"private key": 16}  # characters from which on a secret is known again without its place


@dataclass(frozen=True)
class SecretFinding:
    """Something found; never the thing itself."""

    kind: str
    category: str  # SECRET or PERSONAL
    masked: str  # the vendor's prefix and the length: `ghp_…(40)`


@dataclass(frozen=True)
class Find:
    """A span of a text to be replaced: [start, end), without what is kept in it (a vendor's prefix)."""

    start: int
    end: int
    kind: str
    category: str = SECRET
    keep: tuple[tuple[int, int], ...] = ()
    ours: bool = False  # a fake already

    def finding(self, text: str) -> SecretFinding:
        shown = "".join(text[start:end] for start, end in self.keep[:1]) if self.category == SECRET else ""
        return SecretFinding(self.kind, self.category, f"{shown}…({self.end - self.start})")


@dataclass(frozen=True)
class Rules:
    """What counts besides the rules of our own: the owner's patterns, exceptions and host names."""

    extra: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> Rules:
        """The rules of a configuration's [secrets]."""
        return cls(config.secrets.extra, config.secrets.allow, config.secrets.hosts)

    @cached_property
    def own(self) -> list[re.Pattern[str]]:
        return [re.compile(pattern) for pattern in self.extra]

    @cached_property
    def allowed(self) -> re.Pattern[str] | None:
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.allow)) if self.allow else None


def redact(text: str, rules: Rules = Rules()) -> tuple[str, list[SecretFinding]]:
    """The text with stable fakes for what is secret or personal, and what that was. Doing it again changes nothing."""
    return _replaced("", text, rules), [item.finding(text) for item in find(text, rules)]


def cleaner(config: Config) -> Callable[[str], str]:
    """`redact` by the owner's rules, for what leaves this machine."""
    rules = Rules.of(config)
    return lambda text: redact(text, rules)[0]


@dataclass(frozen=True)
class Cleaned:
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
    """A chat of any length with fakes for what is secret or personal.

    Decoded tool arguments and the texts of `source` are searched too; the system prompt is ours. What one place of the
    chat shows to be a secret is one wherever it stands, and so are its copies in base64 and in URLs.
    """
    parts = [(index, message) for index, message in enumerate(messages) if message["role"] != "system"]
    parts.append((len(messages), source))
    secrets: dict[str, str] = {}
    findings: dict[SecretFinding, None] = {}
    spoiled, touched = set(), set()
    innocent: set[tuple[str, str]] = set()
    for index, part in parts:
        for key, text in leaves(part):
            if (key, text) in innocent:
                continue
            if not (found := find_in(key, text, rules)):
                innocent.add((key, text))
            for item in found:
                touched.add(index)
                findings.setdefault(item.finding(text))
                if item.category == SECRET:
                    spoiled.add(index)
                    if item.end - item.start >= _TELLING.get(item.kind, LEAST):
                        secret = text[item.start : item.end]
                        secrets[secret] = _fake(text, item)
                        secrets.update((copy, fakes.fake(copy)) for copy in copies(secret))
    if secrets:
        spoiled |= {i for i, part in parts if any(_known(secrets, text) for _key, text in leaves(part))}

    def cleaned(key: str, text: str) -> str:
        text = _replaced(key, text, rules)
        known = _known(secrets, text)
        return known.sub(lambda match: secrets[match[0]], text) if known else text

    changed = {index: _mapped(part, cleaned) for index, part in parts if index in touched | spoiled}
    fresh = [changed.get(index, message) for index, message in enumerate(messages)]
    spoiled.discard(len(messages))
    return Cleaned(fresh, changed.get(len(messages), source), frozenset(spoiled), list(findings))


_EXACT = Literals([*secret_rules.ANCHORS, *places.ANCHORS, *personal.ANCHORS])
_FOLDED = Literals([*places.FOLDED_ANCHORS, *personal.FOLDED_ANCHORS])  # in the text in lower case


def find(text: str, rules: Rules) -> list[Find]:
    """What is to be replaced in a text, in order and without overlaps; what overlapped is one find."""
    return [item for item in _find(text, rules) if not item.ours]


def stand_ins(text: str, rules: Rules) -> list[Find]:
    """The fakes in a text that stand where secrets were, in order."""
    return [item for item in _find(text, rules) if item.ours]


def find_in(key: str, text: str, rules: Rules) -> list[Find]:
    """The same for a text that is the value of a key: `{"password": ...}`."""
    whole = LEAST <= len(text) <= 4096 and is_secret_value(key, text) and not _is_allowed(text, rules)
    if not whole:
        return find(text, rules)
    value = Find(0, len(text), name_kind(key) or "", ours=fakes.is_fake(text))
    return [item for item in _joined([value, *_find(text, rules)]) if not item.ours]


@lru_cache(maxsize=1024)  # the windows of one session repeat its messages
def _find(text: str, rules: Rules) -> tuple[Find, ...]:
    lower = text.lower()
    if len(lower) != len(text):  # a few letters grow (İ); positions have to stay
        lower = "".join(char.lower() if char.isascii() else char for char in text)
    exact, folded = _EXACT.find(text), _FOLDED.find(lower)
    finds = [*_owners(text, rules)]
    if exact or folded:
        finds = [*_shaped(text, exact), *_placed(text, exact, folded), *finds]
    secrets = [item for item in _joined(finds) if item.ours or not _is_allowed(text[item.start : item.end], rules)]
    private = [
        Find(start, end, kind, PERSONAL)
        for start, end, kind in personal.find(text, exact, folded, rules.hosts)
        if not any(item.start < end and start < item.end for item in secrets)
    ]
    private = [item for item in _joined(private) if not _is_allowed(text[item.start : item.end], rules)]
    return tuple(sorted(secrets + private, key=lambda item: item.start))


def _shaped(text: str, exact: Spots) -> Iterator[Find]:
    """Tokens that are known by their shape."""
    for rule in secret_rules.possible(exact):
        pattern = secret_rules.compiled(rule)
        for at in exact[rule.anchor]:
            match = pattern.search(text, max(0, at - rule.back), at + 600) if rule.back else pattern.match(text, at)
            if match and (item := _shape_found(rule.kind, match)):
                yield item


def _shape_found(kind: str, match: re.Match[str]) -> Find | None:
    groups = match.re.groupindex
    start, end = match.span("secret") if "secret" in groups else match.span()
    keep = (match.span("prefix"),) if "prefix" in groups else ()
    body = match.string[keep[0][1] : end] if keep and keep[0][0] == start else match.string[start:end]
    if fakes.is_fake(body):
        return Find(start, end, kind, keep=keep, ours=True)
    random = any(map(str.isdigit, body)) or case_changes(body) > len(body) / 4
    enough = len(fakes.slots(body)) >= LEAST
    return Find(start, end, kind, keep=keep) if random and enough and not is_placeholder(body) else None


def _placed(text: str, exact: Spots, folded: Spots) -> Iterator[Find]:
    """Secrets that are known by where they stand."""
    for start, end, kind, ours in places.placed(text, exact, folded):
        if ours or len(fakes.slots(text[start:end])) >= LEAST:
            yield Find(start, end, kind, ours=ours)


def _owners(text: str, rules: Rules) -> Iterator[Find]:
    """What the owner's own patterns find: their first group, or all of the match."""
    for pattern in rules.own:
        for match in pattern.finditer(text):
            start, end = match.span(1) if pattern.groups and match[1] is not None else match.span()
            if end > start:
                yield Find(start, end, "own pattern", ours=fakes.is_fake(text[start:end]))


def _joined(finds: list[Find]) -> list[Find]:
    """Overlapping finds as one; it is a fake of ours if any of them is."""
    joined: list[Find] = []
    for item in sorted(finds, key=lambda item: (item.start, -item.end, not item.keep)):
        if joined and item.start < joined[-1].end:
            last = joined[-1]
            kind = item.kind if item.keep and not last.keep else last.kind
            joined[-1] = Find(
                last.start, max(last.end, item.end), kind, last.category, last.keep + item.keep, last.ours or item.ours
            )
        else:
            joined.append(item)
    return joined


def _is_allowed(value: str, rules: Rules) -> bool:
    return rules.allowed is not None and bool(rules.allowed.search(value))


def _fake(text: str, item: Find) -> str:
    value = text[item.start : item.end]
    if item.category == PERSONAL:
        return personal.fake(item.kind, value)
    return fakes.fake(value, [(start - item.start, end - item.start) for start, end in item.keep])


def _replaced(key: str, text: str, rules: Rules) -> str:
    """The text that is the value of a key, with fakes. Once does but where a fake changes what stands around it."""
    for _ in range(_ROUNDS):
        finds = find_in(key, text, rules)
        if not finds:
            break
        for item in reversed(finds):
            text = text[: item.start] + _fake(text, item) + text[item.end :]
    return text


def _known(secrets: dict[str, str], text: str) -> re.Pattern[str] | None:
    """Those secrets that stand in the text, as one pattern; the longest first. None: there is none."""
    there = sorted((value for value in secrets if value in text), key=lambda value: (-len(value), value))
    if not there:
        return None
    pattern = re.compile("|".join(map(_anywhere, there)))
    return pattern if pattern.search(text) else None


def _anywhere(value: str) -> str:
    """A secret as a pattern; a short one that could be a word inside a longer one has to stand alone."""
    whole = len(value) >= 12 or case_changes(value) >= 3
    return re.escape(value) if whole else rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])"


def leaves(value: Any) -> list[tuple[str, str]]:
    """Every text in a JSON value with the key it stands under, and every key; `arguments` are decoded."""
    found: list[tuple[str, str]] = []

    def collect(key: str, text: str) -> str:
        found.append((key, text))
        return text

    _mapped(value, collect)
    return found


def _mapped(value: Any, clean: Callable[[str, str], str], key: str = "") -> Any:
    """The same value with every text that `leaves` yields replaced by `clean(key, text)`."""
    if isinstance(value, dict):
        return {clean("", name): _mapped_item(name, item, clean) for name, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, clean, key) for item in value]
    return clean(key, value) if isinstance(value, str) else value


def _mapped_item(name: str, item: Any, clean: Callable[[str, str], str]) -> Any:
    if name == "arguments" and isinstance(item, str) and not isinstance(decoded := _decoded(item), str):
        mapped = _mapped(decoded, clean, name)
        return item if mapped == decoded else canonical(mapped)
    return _mapped(item, clean, name)


def _decoded(arguments: Any) -> Any:
    """Tool arguments as the values that they are; the text itself if it is no JSON object."""
    try:
        decoded = json.loads(arguments)
    except (ValueError, TypeError, RecursionError):
        return arguments
    return decoded if isinstance(decoded, dict | list) else arguments
