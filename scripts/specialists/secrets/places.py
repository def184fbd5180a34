"""Where secrets stand that have no shape of their own: after a telling name, in URLs, headers, flags, key files."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, pairwise

from specialists.secrets.fakes import LEAST, Find, is_fake, slots
from specialists.secrets.literals import Rule, Spots, matches, rows
from specialists.secrets.values import is_literal, is_password, is_secret_value, is_token, login_password, name_kind

LIST, _MOST = "list of secrets", 2_000  # in one text; so many teach nothing, and what follows goes, for time
Candidates = Iterator[tuple[re.Match[str], str | int, str, Callable[[str], object]]]


def placed(text: str, exact: Spots, folded: Spots) -> Iterator[Find]:
    """Every secret that its place gives away. `exact`: where ANCHORS stand; `folded`: FOLDED_ANCHORS, in any case."""
    yield from _private_keys(text, exact)
    tables = ((counts, matches(places, folded, text)) for counts, places in _PLACES.items())
    at_places = ((match, "secret", place.kind, counts) for counts, found in tables for place, match in found)
    number, rest = 0, len(text)
    for match, group, kind, is_secret in chain(_assigned(text, folded), _kubernetes(text, exact), at_places):
        start, end = match.span(group)
        ours = start < rest and is_fake(text[start:end])
        if ours or (start < rest and is_secret(text[start:end]) and len(slots(text[start:end])) >= LEAST):
            yield Find(start, end, kind, ours=ours)
            number += not ours
            if number == _MOST and not ours and end < len(text):
                rest = end
                yield Find(end, len(text), LIST)


_NAME_ANCHORS = "pass pwd pw psk secret token key cred auth bearer jwt pat mnemonic".split()
_ASSIGNMENT = re.compile(
    r"""(?x)
    (?P<rest>[A-Za-z0-9_-]{0,30}+)(?:(?:\.|::)(?:new|from|init))?
    (?P<close>\\{0,3}["'`]?\]?)
    (?P<operator>
        [ \t]{0,20}:[ ]?[A-Za-z&][\w<>\[\], |&.'?]{0,40}?[ ]?=(?!=)[ \t]{0,4}           # password: String =
      | [ \t]{0,20}(?:=>|:=|[=!]==?|\?\?=?|\|\|=?|=|:|,|\()[ \t]{0,20}
      | </key>\s{0,40}<string>                                                           # in a property list
      | >(?=[^\s<>]+</)                                                                 # <password>...</
      | [ ]?\{[^{}]{0,300}?\b(?:default|value)[ ]{0,20}=[ ]{0,4}               # variable "x" { default = ...
      | [,\s]{1,80}\\{0,3}["']?[Vv]alue\\{0,3}["']?[ ]?[:=][ ]?                         # name: TOKEN, value: ...
      | [ \t]+(?:is|was)[:]?[ \t]+
      | [ \t]+
    )
    (?:
        (?:[A-Za-z_][\w.:]{0,30}\()?[rbufL@$]{0,2}                                        # String::from("...")
        (?P<quote>\\{0,3}["'`])(?P<quoted>(?:(?!(?P=quote))[^\s\\]|\\(?!["'`])\S){6,4096}+)(?P=quote)
      | (?P<bare>[^\s"'`<>(){}\[\],;\\]{6,4096}+)
    )
    (?P<end>(?<=["'`])|(?=[\s"'`<,;)}\]\\]|\Z))?
    """
)
_MOST_NAMES = 10
_BEFORE = re.compile(r"[A-Za-z0-9_.$-]*+(?: (?:ipa|ssecca|terces|etavirp|htua))?", re.IGNORECASE)  # read backwards
_LINE_START = re.compile(r"(?:^|\n|\\n)(?:\d+: |[ \t+>#-]|export |set |ENV |ARG |setenv |\$env:|env\.)*[\"']?\Z")


def _assigned(text: str, folded: Spots) -> Candidates:
    """Values in code, configuration, headers, flags and prose; of names within one value only the first few."""
    end = names = name_end = 0
    for at in sorted({at for anchor in _NAME_ANCHORS for at in folded.get(anchor, ())}):
        if at >= end:
            names = 0
        elif names >= _MOST_NAMES or at < name_end:
            continue
        if match := _ASSIGNMENT.match(text, at):
            end, names, name_end = max(end, match.end()), names + 1, match.end("rest")
            start = at - next(_BEFORE.finditer(text[max(0, at - 50) : at][::-1])).end()
            group = "quoted" if match["quoted"] else "bare"
            if (kind := name_kind(text[start : match.end("rest")])) and match["end"] is not None:
                yield match, group, kind, partial(_is_assigned, text, start, match)


def _is_assigned(text: str, start: int, match: re.Match[str], value: str) -> bool:
    """Whether an assignment's value is a secret, given how it is written; `start`: where the name begins."""
    name, operator = text[start : match.end("rest")], match["operator"].strip()
    before = text[max(0, start - 2) : start]
    flag = name.startswith("--") or before == "--"
    if operator == "" and not flag:  # ENV API_KEY x, config set user.password x
        mixed = len(value) >= 12 and all(re.search(group, value) for group in ("[a-z]", "[A-Z]", "[0-9]"))
        plain = re.fullmatch(r"[A-Za-z0-9_+!#%*.-]+", value)
        return bool(plain and (mixed or len(value) >= 32)) and is_secret_value(name, value)
    if match["quoted"]:
        return (operator != "," or bool(match["close"])) and is_secret_value(name, value)
    if operator in (",", "(", "==", "===", "!=", "!==", "??", "||") or value.endswith("..."):
        return False
    value = value.rstrip(".,:")
    tight = match["operator"] == "=" and (name.upper() == name or before[-1:] in ("?", "&", ";"))
    if flag or tight or (operator[-1:] == ">" and operator != "=>") or "alue" in operator:
        return is_secret_value(name, value)
    if re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value) and not is_token(value):
        return False
    ended = text[match.end() : match.end() + 1] in ("", "\n", "\r", " ", "\t", '"', "'")
    on_line = operator in ("=", ":") and _LINE_START.search(text, max(0, start - 60), start)
    header = operator == ":" and before[-1:] in ('"', "'") and text[match.end() : match.end() + 1] == before[-1]
    if ended and (on_line or header or match["operator"] == "="):  # an argument of a call ends in a comma or a bracket
        return is_secret_value(name, value)
    kinds = sum(bool(re.search(group, value)) for group in ("[a-z]", "[A-Z]", "[0-9]", "[^A-Za-z0-9_.]"))
    numbered = len(value) >= 10 and value.isalnum() and sum(map(str.isdigit, value)) >= 3
    return (numbered or (kinds >= 3 and len(value) >= 8)) and is_secret_value(name, value)


_MANIFEST, _KEY_END = "kind: Secret", "-----END"
# First bytes of a private key in base64: DER's version behind lengths (RFC 8017 A.1.2, 5208, 5915), OpenSSH's magic.
_KEY_BYTES = "MII MHcCAQEE MHcCAQEB MC4CAQAw MIGHAgEA MIG2AgEA MIGkAgEB MIHcAgEB MIHuAgEA b3BlbnNzaC1rZXktdjEA".split()
_KEY_HEADS = ("-----BEGIN", "Private-Lines:", "$ANSIBLE_VAULT;", *_KEY_BYTES)
ANCHORS = (*_KEY_HEADS, _KEY_END, _MANIFEST)
_KEY_HEAD = re.compile(
    r"-----BEGIN[A-Z0-9 ]{0,30} PRIVATE KEY(?: BLOCK)?-----|Private-Lines: \d+|\$ANSIBLE_VAULT;[\w.;-]+"
    rf"|(?<![A-Za-z0-9+/])(?=MII[A-Za-z0-9+/]{{2}}[AQgw]IBA[AD]|{'|'.join(_KEY_BYTES[1:])})"
)
_BETWEEN_LINES = (  # of a key: escapes, quotes, line numbers, PEM headers
    r"""(?:\s|\\++[nrt]?|["'`+,()|\#*>]|-(?!-)|\d{1,6}[:|][ ]|[A-Z][A-Za-z-]{1,40}:[ ][^\n\\]*)*+"""
)
_PEM_LINE = re.compile(_BETWEEN_LINES + "([A-Za-z0-9+/]+={0,2})")
_HEADLESS = re.compile(
    rf"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{{16,}}+={{0,2}}{_BETWEEN_LINES})++(?:[\w+/]{{1,15}}={{0,2}}{_BETWEEN_LINES})?"
    "(?=-----END[A-Z0-9 ]{0,30} PRIVATE KEY)"
)
_PEM_SHORT, _PEM_LEAST, _LONGEST = 16, 40, 8_000
_MANIFEST_DATA = re.compile(
    r"(?:^|\n)(?:\d+: )?[ \t]*(?:data|stringData):[ \t]*\n((?:(?:\d+: )?[ \t]+[^\s:][^\n:]*:[^\n]*\n?)+)"
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)")
_MANIFEST_VALUE = re.compile(r":[ ]+[\"']?([^\s\"']{8,})[\"']?[ \t]*(?=\n|\Z)")


def _private_keys(text: str, exact: Spots) -> Iterator[Find]:
    """The base64 of key files: on lines, numbered, in a diff, escaped in a string, cut off at either end."""
    heads = (_KEY_HEAD.match(text, at) for anchor in _KEY_HEADS for at in exact.get(anchor, ()))
    starts, end = [head.end() for head in heads if head], 0
    for before, at in pairwise([0, *exact.get(_KEY_END, ())]):
        body = _HEADLESS.search(text, max(before, at - _LONGEST), at + 60)
        starts += [body.start()] if body else []
    for start in sorted(starts):
        if start < end:
            continue
        parts, end = list[tuple[int, int]](), start
        while line := _PEM_LINE.match(text, end):
            last = text.find("-----END", line.end(), line.end() + 20) >= 0
            if not last and (len(line[1]) < _PEM_SHORT or (parts and line[1].isalpha())):
                break
            parts.append(line.span(1))
            end = line.end()
        if sum(end - start for start, end in parts) >= _PEM_LEAST:
            ours = any(is_fake(text[start:end]) for start, end in parts)
            known = [(start, end) for start, end in parts if ours or len(slots(text[start:end])) >= LEAST]
            yield from (Find(start, end, "private key", ours=ours) for start, end in known)


def _kubernetes(text: str, exact: Spots) -> Candidates:
    """Values of a manifest of kind Secret, before and after that line (kubectl sorts keys)."""
    last = 0
    for at in exact.get(_MANIFEST, ()):
        start = max(last, at - _LONGEST, text.rfind("\n---", last, at))
        ends = [text.find(mark, at + 1, at + _LONGEST) for mark in ("\n---", _MANIFEST)]
        last = min([end for end in ends if end >= 0], default=min(len(text), at + _LONGEST))
        for block in _MANIFEST_DATA.finditer(text, start, last):
            for match in _MANIFEST_VALUE.finditer(text, *block.span(1)):
                yield match, 1, "kubernetes secret", lambda one: _BASE64.fullmatch(one) or is_password(one)


# whether the value there is a secret (no test's mnemonic, of few words); kind, anchor (lower case, found in any), regex
_TABLES: dict[Callable[[str], object], str] = {
    lambda value: is_literal(value) and not re.fullmatch(r"[a-z]+\d?", value): r"""
url password  ://  ://[^\s/?#:@"'`<>]{0,64}:(?P<secret>[^\s/"'`<>]{6,200})@(?=[\w\[])(?!(?:[\w-]+\.){0,5}example\.)
url password  jdbc:oracle:  jdbc:oracle:\w{1,10}:[^\s/@:"']{1,64}/(?P<secret>[^\s@/"']{6,200})@
service account key id  private_key_id  private_key_id\\{0,3}["']\s*:\s*\\{0,3}["'](?P<secret>[a-f0-9]{40})
""",
    login_password: r"""
basic authentication  basic  Basic \s*(?P<secret>[A-Za-z0-9+/_-]{8,}={0,2})(?![\w=])
registry login  "auth"  "auth"\s*:\s*"(?P<secret>[A-Za-z0-9+/]{8,}={0,2})"
""",
    is_token: r"""
opencode login  "type"  "type":\s*"(?:api|oauth)",[^{}"]{0,40}"(?:key|refresh)":\s*"<token>
opencode login  "type"  "type":\s*"oauth",[^{}"]{0,40}"refresh":\s*"[^"]{0,400}",[^{}"]{0,40}"access":\s*"<token>
url token  ://  ://(?!(?-i:[0-9a-f]{24})@)(?P<secret>[A-Za-z0-9_-]{20,})@(?=[\w\[])
bearer token  bearer  Bearer \s*<token>
authorization header  authorization
  authorization\\{0,3}["']?\s*[:=,]\s*\\{0,3}["'`]?(?!Basic|Bearer)(?:[\w-]{2,12}\s+)?<token>
jwt secret  jwt.  jwt\.(?:sign|verify|encode|decode)\([^()\n]{1,80}?,\s*["'](?P<secret>[^\s"']{12,200})["']
login token  login  login \s*(?P<secret>[A-Za-z0-9]{32,})\b
cookie  -b  (?<= )-b \s*["']?[\w.-]{0,60}?(?:sess|sid|auth|token)[\w.-]{0,60}=(?P<secret>[\w.~+/=%-]{16,})
cookie  cookie:
  cookie:\s*(?:[\w.-]{1,60}=[^;\s"']*;\s*){0,20}?[\w.-]{0,60}?(?:sess|sid|auth|token|jwt|remember)[\w.-]{0,60}=<token>
client's token  client  client\w{0,20}\(\s*(?:["'][^"'\n]{1,80}["'],\s*)?["'](?P<secret>[A-Za-z0-9]{32,200})["']
codecov token  codecov  codecov[^\n|;&]{0,200}?\s-t\s+(?P<secret>[a-f0-9-]{36})\b
wireguard key  echo  (?<![\w-])echo\s+["']?(?P<secret>[A-Za-z0-9+/]{43}=)["']?\s*\|\s*wg\b
wireguard key  wg gen  wg\ gen(?:key|psk)[^\n]{0,80}\n\s*(?P<secret>[A-Za-z0-9+/]{43}=)
rails master key  master.key  master\.key\b<near>
rails credentials key  credentials/  credentials/\w{1,30}\.key\b<near>
gitlab session  _gitlab_session=  _gitlab_session=(?P<secret>[0-9a-z]{32})
""",
    is_password: r"""
mysql password  mysql  (?<![\w-])mysql(?:dump|admin|import|sh)?\b<options>-p<value>
curl login  curl
  (?<![\w-])curl\b[^\n|;]{0,300}?\s(?:-u|--user|--proxy-user)[ =]?["']?[^\s:"'$]{1,64}:["']?
  (?P<secret>[^\s"'`<>|;$]{6,200})
sshpass password  sshpass  (?<![\w-])sshpass\s+-p\s?<value>
redis password  redis-cli  (?<![\w-])redis-cli\b<options>(?:-a|--pass)\s+<value>
redis password  requirepass  (?<![\w-])requirepass\s+<value>
login password  login  (?<![\w-])login\b<options>(?:-p|--password)[ =]<value>
netrc password  login  login\s+\S{1,100}\s+password\s+<value>
htpasswd password  htpasswd  (?<![\w-])htpasswd(?:\s+-?\w+){0,6}?\s+-\w*b<options><value>(?=\s*(?:[\n|;&>]|\Z))
pgpass password  :5432:  :5432:[\w*-]+:[\w.-]+:(?P<secret>[^\s:]{6,200})
keychain password  -keychain  -keychain<options>-p\s+<value>
login for gems  bundle_  bundle_\w{1,60}?__\w{1,60}+["']?\s?[:=]\s?["']?[^\s:"'$]{1,64}:(?P<secret>[^\s"']{6,200})
openssl password  pass:  (?<!\w)pass:<value>
sql password  identified by  identified\s+(?:with\s+\S+\s+)?by\s+(?:password\s+)?'(?P<secret>[^'\n]{6,200})'
sql password  password '  password\s+'(?P<secret>[^'\n]{6,200})'
mongo password  mongo  (?<![\w-])mongo(?:sh|dump|restore|export|import)?<options>-p\s+<value>
ldap password  ldap  (?<![\w-])ldap(?:search|add|modify|passwd)<options>-w\s+<value>
sqlcmd password  sqlcmd  (?<![\w-])sqlcmd<options>-P\s+<value>
sqlplus password  sqlplus  (?<![\w-])sqlplus\s[^\n|;&]{0,60}?\w+/(?P<secret>[^\s@/"']{6,200})(?=@|\s|\Z)
secure string  convertto-securestring  ConvertTo-SecureString\b[^\n|;&"']{0,100}["'](?P<secret>[^\s"'`$]{6,200})["']
smb password  smbclient  (?<![\w-])smbclient<options>-U\s+[\"']?[^\s%\"']+%<value>
login for a client  auth  auth\w{0,30}\s*=?\s*\(\s*["'][^"'\n]{1,60}["']\s*,\s*["'](?P<secret>[^\s"']{6,200})["']
command's password  -u  (?<= )-u \S+(?: \S+){0,4}? -p <value>
archive password  unzip  (?<![\w-])unzip<options>-P\s?<value>
archive password  7z  (?<![\w-])7z\s<options>-p<value>
sudo password  echo  (?<![\w-])echo \s*["']?(?P<secret>[^\s"'|]{6,200})["']?\s*\|\s*sudo\s+-S
sudo password  sudo -s <<<  sudo -S <<<\s*<value>
""",
    lambda value: len(set(value.split())) > 8: r"""
mnemonic  mnemonic  mnemonic\w{0,30}["']?\s?[:=]\s?["']?(?P<secret>(?:[a-z]{3,8}[ ]){11,23}[a-z]{3,8})
""",
    bool: r"""
password hash  :$  :(?P<secret>\$(?:1|2[aby]|5|6|y|apr1|argon2id?)\$[^\s:\"']{20,})
sidekiq login  contribsys  contribsys__com["']?\s?[:=]\s?["']?(?P<secret>[a-f0-9]{8}:[a-f0-9]{8})\b
sidekiq login  ://  ://(?P<secret>[a-f0-9]{8}:[a-f0-9]{8})@(?:gems|enterprise)\.contribsys\.com
""",
}
_PARTS = {
    "<near>": r".{0,120}?(?<!\w)(?P<secret>[a-f0-9]{32})(?!\w)",
    "<options>": r"[^\n|;&]{0,200}?\s",
    "<token>": r"(?P<secret>[\w.~+/=|:%-]{12,})",
    "<value>": r"""["']?(?P<secret>[^\s"'`<>|;&$]{6,200})""",
}
_PLACES = {
    counts: [
        Rule(kind, anchor, re.sub("<[a-z]+>", lambda part: _PARTS.get(part[0], part[0]), f"(?is){''.join(regex)}"))
        for kind, anchor, *regex in rows(table)
    ]
    for counts, table in _TABLES.items()
}
FOLDED_ANCHORS = frozenset([*_NAME_ANCHORS, *(place.anchor for places in _PLACES.values() for place in places)])
