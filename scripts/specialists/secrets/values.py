"""What a secret's value and a secret's name look like, as opposed to placeholders, expressions and ordinary names."""

import base64
import math
import re
from functools import cache, lru_cache
from itertools import product
from urllib.parse import quote, quote_plus, unquote

_PLACEHOLDER_WORDS = """
    password passwords passwd passphrase passcode pass pwd pw secrets secret tokens token apikey api keys key access
    auth authorization bearer basic client server private public shared signing encryption database admin administrator
    user username root guest owner login signin account email postgres postgresql mysql mariadb redis rabbitmq mongo
    mongodb localhost string text value values data field name example examples sample dummy fake mock test tests
    testing tester unit demo default change changeme changethis please replace replaceme insert enter provide add put
    todo tbd fixme placeholder none null nil true false undefined redacted hidden masked removed omitted foo bar baz
    qux quux hello world super very really simple strong weak invalid valid wrong correct bad good incorrect right old
    new current previous next other another first second third your yours my mine our the this that here is not a an
    and or of for in with to letmein qwerty qwertz asdf abc abcd abcdef xyz secure safe unsafe insecure unknown missing
    empty blank random development production staging local dev prod stage env environment config app application
    service store some any something anything whatever more less hash hashed salt pepper encrypted decrypted plain raw
    base id code otp pin required optional confirm confirmation repeat again forgot forgotten reset update create
    delete welcome hunter open sesame swordfish rails django
""".split()
_NO_SECRET_LAST = """
    name names type types id ids file files path paths url uri urls endpoint field fields label hint length len size
    count counts limit limits expiry expires expiration expired ttl policy regex regexp pattern prefix suffix header
    headers param params parameter format algorithm alg class manager provider version hash hashes hashed digest dir
    index idx pos kind status error errors message msg strength placeholder mode list map issuer audience scope scopes
    arn ref alias description title span range start end env var at by sha checksum fingerprint time date age lifetime
    text column row required valid function func method handler callback test spec
""".split()
_KEY_OWNERS = """
    api access auth private secret account encryption encrypt signing master admin service session storage license
    deploy webhook hmac app application jwt aes client function subscription integration write ingest instrumentation
    cookie security recovery live priv cipher crypt crypto signature seed root bot sas algolia anthropic azure
    cloudflare cohere datadog deepseek elastic fastly gemini github gitlab google grafana groq heroku hubspot intercom
    mailgun mandrill mapbox mistral netlify newrelic openai pagerduty pinecone sendgrid sentry stripe telegram tenor
    preshared shared twilio vultr wandb
""".split()
_PLACEHOLDERS = re.compile(rf"(?:{'|'.join(_PLACEHOLDER_WORDS)}|x{{2,}}+|y{{2,}}+|z{{2,}}+)+")
_LONGEST = 80  # letters of a placeholder; words that can be read in two ways double the work
_TELLING = re.compile(
    r"example|placeholder|change.?me|replace.?me|redacted|dummy|[-_ ]your|your[-_ ]|your(?:api|token|key|secret|pass)"
    r"|fake[-_]|[-_]fake|here\b|<[a-z]|\.\.\.|\*\*\*|x{6,}|[•…]|1234567890|0123456789|12345678|abcdefgh|abcd1234"
    r"|deadbeef|cafebabe|00000000|11111111|not[-_]a[-_]|(?:^|[-_])(?:insert|sample|mock)[-_]"
)
_EXPRESSION = re.compile(
    r"\$\{|\$\(|\{\{|<%|%\{|#\{|%\(|^\$|^%[A-Za-z_]|^<|^\{|^\[|^@|^&|^\*|^\(|^!|^[)\],;]|\(\)|process\.env|import\.meta"
    r"|os\.environ|getenv|ENV\[|secrets\.|^vault:|^env[.:]|^sha\d+[-:]|^md5:|^https?:|^file:|^data:|^ssh-|^-+$"
    r"|^pk_(?:live|test)_|^(?:\.{0,2}|~|[A-Za-z]:)[/\\]|^[\w.+-]+@[\w-]+\.[\w.]+$|^ref\+|^op://|^arn:|^urn:|^projects/|\$[A-Za-z_]+$"
)
_LEET = str.maketrans("013457@$", "oieastas")
_IDENTIFIER = re.compile(r"[A-Za-z_$]+(?:(?:\.|::|->|/|-|_)[A-Za-z_$]+)*\d{0,2}[?!]?")
_NUMBERED_NAME = re.compile(r"[a-z_]+\d|[v\d][\d.]*|[A-Z_]+_\d+|\w+\(.*|\d+[a-z]{1,2}|\w+(?:\.[a-z]\w+){1,5}")
_WORD_OR_NUMBER = re.compile(r"[a-z]?(?:[A-Z]{0,3}[a-z]{2,})*[A-Z]*\d{0,3}|\d*|v\d+")
_TOKEN_ALPHABET = re.compile(r"[A-Za-z0-9+/=_.~:!@#$%^&*()|-]+")


def is_placeholder(value: str) -> bool:
    """Whether a value stands where a secret would: `<your-key>`, `xxxx`, `changeme`, `P@ssw0rd`, `my-test-token-1`."""
    lower = value.lower()
    if _TELLING.search(lower) or len(set(lower)) <= 3:
        return True
    digits = re.sub(r"\D", "", value)
    if len(digits) > 4 and digits not in "0123456789012345678909876543210987654321":
        return False
    letters = (re.sub("[^a-z]", "", form) for form in (lower, lower.translate(_LEET)))
    words = any(len(form) <= _LONGEST and _PLACEHOLDERS.fullmatch(form) for form in letters)
    return words or not any(map(str.isalpha, value))


@lru_cache(maxsize=1 << 12)
def is_literal(value: str) -> bool:
    """Whether a value is written down, not left open, computed or looked up: no `${TOKEN}`, `env.X`, path or URL."""
    if is_placeholder(value):
        return False
    if not _EXPRESSION.search(value):
        return True
    signs = set(re.findall("[!@#$%^&*(_=+)-]", value))  # so many in a long value without words are no expression's
    return 40 <= len(value) <= 200 and len(signs) >= 6 and not re.search(r"[A-Za-z]{9}|\s", value)


def is_password(value: str) -> bool:
    """Whether what follows a word for password is one, and no name, text or expression."""
    if not 6 <= len(value) <= 200 or not is_literal(value):
        return False
    if not any(map(str.isalpha, value)):
        return len(value) >= 8 and not re.fullmatch(r"[\d.,:/-]*\D[\d.,:/-]*", value)  # a version, a date, an address
    if re.fullmatch("[a-z]{4}(?:-[a-z]{4}){3}", value):  # an app-specific password of an Apple account
        return True
    if any(map(str.isdigit, value)):
        return not _NUMBERED_NAME.fullmatch(value)
    return (not _IDENTIFIER.fullmatch(value) and bool(re.search(r"[!@#$%^&*+=?~]", value))) or is_jumble(value)


def is_token(value: str) -> bool:
    """Whether what follows a word for token or key is random enough for one."""
    if not 12 <= len(value) <= 4096 or not any(map(str.isalpha, value)) or not is_literal(value):
        return False
    if not _TOKEN_ALPHABET.fullmatch(value) or value.count("/") > 1 + len(value) // 20:
        return False
    if not any(map(str.isdigit, value)):
        return len(value) >= 16 and is_jumble(value)
    if all(_WORD_OR_NUMBER.fullmatch(piece) for piece in re.split(r"[-_./:+=]", value)):
        return False
    shares = [value.count(char) / len(value) for char in set(value)]
    entropy = -sum(share * math.log2(share) for share in shares)  # Shannon's, in bits per character
    return entropy >= (2.7 if len(value) < 20 else 3.0)


def is_jumble(value: str) -> bool:
    """Whether letters without digits are no words: their case changes all the time, or many consonants in a row."""
    if not re.fullmatch(r"[A-Za-z!@#$%^&*+=?~_-]+", value):
        return False
    consonants = re.search(r"[bcdfghjklmnpqrstvwxz]{7,}", value.lower())
    return bool(consonants) or (len(value) >= 10 and case_changes(value) >= len(value) / 2.8)


def case_changes(value: str) -> int:
    """How often a lower and an upper case letter stand next to each other; a random mix does so at every second one."""
    return len(re.findall(r"[a-z](?=[A-Z])|[A-Z](?=[a-z])", value))


def login_password(value: str) -> str:
    """The password in base64 of `user:password`, as in HTTP basic authentication and docker's configuration, or ""."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except ValueError:
        return ""
    user, _colon, password = decoded.partition(":")
    return password if len(password) >= 4 and user.isprintable() and not is_placeholder(password) else ""


def copies(secret: str) -> set[str]:
    """Other forms of a secret, too short ones aside: as in a URL, in base64 (alone or within a text), and back."""
    data = secret.encode("utf-8", "replace")
    found = {quote(secret, safe=""), quote_plus(secret), unquote(secret), login_password(secret)}
    # a byte begins at one of three places in base64; what depends on the bytes around it is left away
    for encode, shift in product((base64.b64encode, base64.urlsafe_b64encode), range(3)):
        first, last = (0, 2, 3)[shift], (shift + len(data)) * 8 // 6
        found.add(encode(b" " * shift + data).decode()[first:last])
    return {copy for copy in found if len(copy) >= 8 and copy != secret}


_HARMLESS = {"public", "pub", "csrf", "xsrf", "page", "continuation", "cancellation", "cursor"}
_PASSWORD_WORD = re.compile("pass(?:wor[dt]|wd|phrase)|(?:store|key)pass|^(?:pwd|passcode|psk|requirepass|masterauth)$")
_TOKEN_WORD = re.compile(
    "(?:secret|token|(?:api|secret|access|auth|private|account|priv)key)$"
    "|^(?:credentials?|creds?|jwt|bearer|pat|auth|authorization|mnemonic)$"
)
_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@cache
def name_kind(name: str) -> str | None:
    """`password` or `token` when the name of a variable, key, header or flag tells of a secret, else None."""
    words = [word.lower() for word in _PIECES.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or words[-1] in _NO_SECRET_LAST or not _HARMLESS.isdisjoint(words):
        return None
    if name == "--key":
        return "token"
    if words[-1] in ("pass", "pw"):
        return "password"
    for before, word in zip(["", *words], words, strict=False):
        if _PASSWORD_WORD.search(word):
            return "password"
        if _TOKEN_WORD.search(word) or (word in ("key", "keys") and before in _KEY_OWNERS):
            return "token"
    return None


def is_secret_value(name: str, value: str) -> bool:
    """Whether a value that belongs to that name is a secret: `{"password": "..."}`."""
    kind = name_kind(name)
    return is_token(value) or (kind == "password" and is_password(value)) if kind else False
