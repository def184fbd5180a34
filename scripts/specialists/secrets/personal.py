"""Personal data in texts: e-mail addresses, user names in home paths, phone numbers, hosts that the owner named."""

import re
from collections.abc import Iterator
from functools import cache

from specialists.secrets import fakes
from specialists.secrets.fakes import PERSONAL, Find
from specialists.secrets.literals import Rule, Spots, matches

EMAIL, USER, PHONE, HOST = "e-mail address", "user name", "phone number", "host name"

_EMAIL = re.compile(
    r"(?a)(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.){1,6}([A-Za-z]{2,12}))(?![\w@-])(?!\.\w|\()"
)
_MAILBOX = re.compile(r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}\Z", re.ASCII)
_TOP_DOMAINS = """
    com org net edu gov mil int info biz name pro io dev app ai me tech cloud online site shop store blog xyz email
    systems software digital agency studio design media team group company solutions services network works world live
    life today family berlin london hamburg wien koeln
""".split()
_NOT_COUNTRIES = "py rb ts js rs sh md so cc hh ps pl mo vi my mm st id".split()
_NOBODY = re.compile(
    r"(?i)@(?:.*\.)?(?:example\.\w+(?:\.\w+)?|test\.\w+|localhost|domain\.\w+|email\.com|mail\.com|foo\.\w+|bar\.\w+"
    r"|users\.noreply\.github\.com|company\.com|yourcompany\.com|acme\.\w+)$"
    r"|^(?:git|no-reply|donotreply|do-not-reply|svn|hg|user\d{4})@|\[bot\]@|noreply"
)
_IN_URL = re.compile(r"://[^\s/@]*:?\Z")
_BETWEEN = r"(?:\\{1,4}|/|%5[Cc]|%2[Ff])"  # of folders, in a URL too
_HOME = rf"""(?x)(?u:(?:/home/|/Users/|%2[Ff](?:home|Users)%2[Ff]
    |(?<![A-Za-z])[A-Za-z](?:[:$]|%3[Aa]){_BETWEEN}(?:Users|Documents(?:[ ]|%20)and(?:[ ]|%20)Settings){_BETWEEN}
    |\\wsl(?:\$|\.localhost)\\{{1,4}}[\w.-]{{1,40}}\\{{1,4}}home\\{{1,4}})
    (?P<name>[^\W\d][\w.-]*(?:~\d|(?:(?:[ ]|%20)[^\W\d_][\w.-]{{0,30}}){{1,2}}(?=\\))?)
    (?=[/\\\s"'`:;,)\]}}>|<&\#%]|$))"""
_BEFORE = {"\\users": 7, "%5cusers": 7, "%2fusers": 7, "and settings": 20, "and%20settings": 20}  # a drive's letter
_HOMES = [Rule(USER, at, _HOME, _BEFORE.get(at, 0)) for at in ("/home/", "/users/", "%2fhome", "\\wsl", *_BEFORE)]
ANCHORS = ("@",)
_PHONE_NAMES = ("phone", "telefon", "tel", "mobil", "handy", "fax", "whatsapp", "rufnummer", "telefono")
FOLDED_ANCHORS = (*(home.anchor for home in _HOMES), *_PHONE_NAMES)
_NO_PERSON = re.compile(
    r"(?i)(?:user|username|your[\w.-]*|me|you|name|runner|ubuntu|debian|root|vagrant|node|app|appuser|admin|shared|public"
    r"|default|guest|git|vscode|codespace|circleci|travis|jenkins|gitpod|docker|linuxbrew|builder|build|ci|dev|developer"
    r"|deploy|test|tester|foo|bar|someone|somebody|example|all users|ec2-user|pi|coder|work|workspace|sandbox|nobody"
    r"|xxx+|\.{2,}|user\d{4}|index|page|main|new|list|create|edit|login|profile|settings|dir|home)(?:\.\w+)?"
)
_PHONE = re.compile(  # the characters that one begins with go first: what does not is passed over five times as fast
    r"[+(02-9](?<![\w+.,:/=-].)(?:"
    r"(?<=\+)[1-9](?:\d{0,2}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,8}){1,4}|\d{9,13})"
    r"|(?<=\()(?:[2-9]\d{2}\) ?[2-9]\d{2}[ .-]\d{4}|0[1-9]\d{1,3}\) ?\d{3,4}[ -]?\d{3,5})"
    r"|(?<=[2-9])\d{2}([.-])[2-9]\d{2}\1\d{4}"
    r"|(?<=0)0(?<![\da-f]{4} 00)[1-9]\d{0,2} \d{2,4} \d{3,8}(?: \d{2,4}){0,3}(?! [\da-f]{4}\b)"
    r"|(?<=0)1[5-7]\d[ /-]\d{7,8}"
    r"|(?<=0)[1-9](?<![\da-f]{2} 0.)([ .])\d\d(?:\2\d\d){3}(?! ?[\da-f]{2}\b))(?![\w:/%-])(?!\.\d)"
)
_PHONE_NAMED = re.compile(  # national, behind a word for it
    r"(?i)[a-z]{0,12}(?:[_-]?(?:number|nummer|no|nr))?[.\"']{0,2}[ ]?[:=]?[ ]?[\"']?"
    r"(?P<number>\(?0[1-9][\d ()/.-]{6,16}\d)(?!\w)"
)
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
    for _home, match in matches(_HOMES, folded, text):
        if not _NO_PERSON.fullmatch(match["name"].rstrip(".")):
            yield Find(*match.span("name"), USER, PERSONAL)
    phones = (match.span() for match in _PHONE.finditer(text))
    named = (_PHONE_NAMED.match(text, at + len(name)) for name in _PHONE_NAMES for at in folded.get(name, ()))
    for start, end in (*phones, *(match.span("number") for match in named if match)):
        number = text[start:end]
        digits = re.sub(r"\D", "", number)
        least = 9 if digits[0] == "0" else 10
        if least <= len(digits) <= 15 and not _FICTION.search(number) and not fakes.is_fake(_COUNTRY.sub("", number)):
            yield Find(start, end, PHONE, PERSONAL)
    for match in _hosts(hosts).finditer(text) if hosts else ():
        yield Find(*match.span(), HOST, PERSONAL)


@cache
def _hosts(hosts: tuple[str, ...]) -> re.Pattern[str]:
    """Names with a dot count wherever they stand (`*.nordwind.lan`: all in it), bare ones where a host is meant."""
    names = [re.escape(host).replace(r"\*", r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}") for host in hosts if "." in host]
    whole = [rf"(?<![\w.-]){name}(?![\w-])(?!\.\w)" for name in names]
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
    if kind == HOST and re.fullmatch(r"[\d.]+", value):
        return f"192.0.2.{int(number) % 254 + 1}"  # for documentation: RFC 5737
    if kind == HOST:
        return f"host{number}.example.net" if "." in value else f"host{number}"
    return f"user{number}@example.com" if kind == EMAIL else f"user{number}"
