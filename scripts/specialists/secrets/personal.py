"""Personal data in texts: e-mail addresses, user names in home paths, phone numbers, hosts that the owner named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from specialists.secrets import fakes
from specialists.secrets.fakes import PERSONAL, Find
from specialists.secrets.literals import Spots

EMAIL, USER, PHONE, HOST = "e-mail address", "user name", "phone number", "host name"

_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.){1,6}([A-Za-z]{2,12}))(?![\w@-])(?!\.\w|\()",
    re.ASCII,
)
_MAILBOX = re.compile(r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}\Z", re.ASCII)
_TOP_DOMAINS = """
    com org net edu gov mil int info biz name pro io dev app ai me tech cloud online site shop store blog xyz email
    systems software digital agency studio design media team group company solutions services network works world live
    life today family berlin london hamburg wien koeln
""".split()
_NOT_COUNTRIES = "py rb ts js rs sh md so cc hh ps pl mo vi my mm st id".split()
_NOBODY = re.compile(
    r"@(?:.*\.)?(?:example\.\w+(?:\.\w+)?|test\.\w+|localhost|domain\.\w+|email\.com|mail\.com|foo\.\w+|bar\.\w+"
    r"|users\.noreply\.github\.com|company\.com|yourcompany\.com|acme\.\w+)$"
    r"|^(?:git|no-reply|donotreply|do-not-reply|svn|hg|user\d{4})@|\[bot\]@|noreply",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"://[^\s/@]*:?\Z")
_HOME = re.compile(
    r"(?:/home/|/Users/|(?<![A-Za-z])[A-Za-z]:(?:\\{1,4}|/)Users(?:\\{1,4}|/))(?P<name>[A-Za-z_][\w.-]*)(?=[/\\\s\"'`:;,)\]}>]|$)"
)
ANCHORS = ("@",)
FOLDED_ANCHORS = ("/home/", "/users/", "\\users")
_NO_PERSON = re.compile(
    r"(?:user|username|your[\w.-]*|me|you|name|runner|ubuntu|debian|root|vagrant|node|app|appuser|admin|shared|public"
    r"|default|guest|git|vscode|codespace|circleci|travis|jenkins|gitpod|docker|linuxbrew|builder|build|ci|dev|developer"
    r"|deploy|test|tester|foo|bar|someone|somebody|example|all users|ec2-user|pi|coder|work|workspace|sandbox|nobody"
    r"|xxx+|\.{2,}|user\d{4}|index|page|main|new|list|create|edit|login|profile|settings|dir|home)(?:\.\w+)?",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w+.,:/=-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,8}){1,4}"
    r"|\+[1-9]\d{9,13}|\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]\d{4}|[2-9]\d{2}-[2-9]\d{2}-\d{4})(?![\w:/%-])(?!\.\d)"
)
_PHONE_PLUS, _PHONE_END = re.compile(r"\+[1-9][\d ().-]{8}"), re.compile(r"-\d{4}(?!\d)")  # a literal first: fast
_COUNTRY = re.compile(r"^\+\d{1,2}")  # stays
_FICTION = re.compile(r"555[ .-]?01\d\d|123[ .-]?456|1234567|(\d)\1{5}|555[ .-]?555|555[ .-]?1234")


def find(text: str, exact: Spots, folded: Spots, hosts: tuple[str, ...]) -> Iterator[Find]:
    """What is personal in a text; where ANCHORS and, in any case, FOLDED_ANCHORS stand."""
    for at in exact.get("@", ()):
        before = _MAILBOX.search(text, max(0, at - 64), at)
        if before and (match := _EMAIL.match(text, before.start())):
            top = match[2].lower()
            known = top in _TOP_DOMAINS or (len(top) == 2 and top not in _NOT_COUNTRIES)
            in_url = _IN_URL.search(text, max(0, match.start() - 100), match.start())  # scheme://user:PASSWORD@HOST
            if known and not in_url and not _NOBODY.search(match[0]):
                yield Find(*match.span(), EMAIL, PERSONAL)
    for match in _HOME.finditer(text) if not folded.keys().isdisjoint(FOLDED_ANCHORS) else ():
        if not _NO_PERSON.fullmatch(match["name"].rstrip(".")):
            yield Find(*match.span("name"), USER, PERSONAL)
    for match in _PHONE.finditer(text) if _PHONE_PLUS.search(text) or _PHONE_END.search(text) else ():
        digits = re.sub(r"\D", "", match[0])
        if 10 <= len(digits) <= 15 and not _FICTION.search(match[0]) and not fakes.is_fake(_COUNTRY.sub("", match[0])):
            yield Find(*match.span(), PHONE, PERSONAL)
    for match in _hosts(hosts).finditer(text) if hosts else ():
        yield Find(*match.span(), HOST, PERSONAL)


@cache
def _hosts(hosts: tuple[str, ...]) -> re.Pattern[str]:
    """Names with a dot count wherever they stand; a bare one (`sin`) only where a host is meant, not a function."""
    whole = [rf"(?<![\w.-]){re.escape(host)}(?![\w-])(?!\.\w)" for host in hosts if "." in host]
    bare = "|".join(re.escape(host) for host in hosts if "." not in host)
    if bare:
        whole.append(rf"(?:(?<=@)|(?<=//)|(?<=ssh )|(?<=Host )|(?<=HostName ))(?:{bare})(?![\w-])")
        whole.append(rf"(?<![\w.-])(?:{bare})(?=\.(?:local|lan|home|internal|fritz\.box)\b|:\d{{2,5}}\b|:[/~])")
    return re.compile("|".join(whole), re.IGNORECASE)


def fake(kind: str, value: str) -> str:
    """The stand-in: an address at example.com, a user or host of that number, a phone number of the same shape."""
    if kind == PHONE:
        return fakes.fake(value, [match.span() for match in _COUNTRY.finditer(value)])
    number = fakes.number(value.lower())
    if kind == EMAIL:
        return f"user{number}@example.com"
    if kind == HOST:
        return f"host{number}.example.net" if "." in value else f"host{number}"
    return f"user{number}"
