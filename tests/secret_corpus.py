"""Made-up secrets in realistic lines, and what looks like secrets and is none, both from a seed.

Nothing here is a credential, and no file holds one as a literal: prefixes and bodies meet only at run time.
"""

import base64
import json
import random
import re
import string
import uuid
from pathlib import Path
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
ALPHABETS = {
    "": ALNUM,
    "hex": HEX,
    "url": ALNUM + "-_",
    "base32": string.ascii_uppercase + "234567",
    "base64": ALNUM + "+/",
    "crypt": ALNUM + "./",
    "bech32": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    "lower": string.ascii_lowercase + string.digits,
    "upper": string.ascii_uppercase + string.digits,
    "letters": string.ascii_lowercase,
    "case": string.ascii_letters + "17",
    "third": "AEIMQUYcgk",  # of a Discord token: base64 of a number
    "django": string.ascii_lowercase + string.digits + "@#%^&*(-_=+",
}
SEED_WORDS = """
    orbit velvet canyon drift magnet pupil quantum ribbon saddle tunnel walnut cactus
""".split()


def lines(name: str) -> list[str]:
    """The lines of a file in samples/; `\\n` stands for a line end, `\\e` for an escape, `\\\\` for a backslash."""
    text = (Path(__file__).parent / "samples" / name).read_text(encoding="utf-8")
    signs = {"n": "\n", "e": "\x1b"}
    return [re.sub(r"\\(.)", lambda match: signs.get(match[1], match[1]), line) for line in text.splitlines()]


def table(name: str) -> list[tuple[str, str, str]]:
    """The rows of a file in samples/: kind, prefix or line, and the template of a secret (Maker.body)."""
    rows = []
    for line in lines(name):
        kind, _, rest = line.partition(" | ")
        where, _, body = rest.rpartition(" | ")
        rows.append((kind, where, body))
    return rows


class Sample(NamedTuple):
    kind: str
    text: str
    secret: str  # what must not remain: the secret without its prefix


class Maker:
    """Random bodies of secrets; the same seed makes the same ones."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def __call__(self, length: int, alphabet: str = ALNUM) -> str:
        """A random string with a digit and a letter in it; no special character at its ends."""
        while True:
            body = "".join(self.random.choices(alphabet, k=length))
            ends = body[0].isalnum() and body[-1].isalnum()
            if ends and (length < 6 or (any(map(str.isdigit, body)) and any(map(str.isalpha, body)))):
                return body

    def digits(self, length: int) -> str:
        return self.random.choice("123456789") + "".join(self.random.choices(string.digits, k=length - 1))

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def base64(self, length: int) -> str:
        return base64.b64encode(self.random.randbytes(length)).decode()

    def password(self) -> str:
        """As people make them, or as their password managers do."""
        words = ["Falcon", "winter", "Tram", "violet", "Gecko", "harbor", "Quartz", "maple", "Tundra", "copper"]
        styles = [
            lambda: self.random.choice(words) + self.random.choice("!#%+") + self.digits(3) + self.random.choice(words),
            lambda: self(self.random.randint(9, 16)),
            lambda: self(12, ALNUM + "!#%*+-_.?"),
            lambda: self.random.choice(words).lower() + self.digits(4),
            lambda: "-".join(self(6, ALNUM) for _ in range(3)),
        ]
        return self.random.choice(styles)()

    def body(self, template: str) -> str:
        """A template filled in: <36>, <40 hex>, <12 digits>, <32 bytes>, <14 login>, <12 words>, <6 pem>, <uuid>."""
        return re.sub(r"<(\w+) ?(\w*)>", lambda part: self._part(*part.groups()), template)

    def _part(self, length: str, kind: str) -> str:
        if length == "uuid":
            return self.uuid()
        count = int(length)
        special = {
            "digits": self.digits,
            "bytes": self.base64,
            "login": lambda count: base64.b64encode(f"kim:{self(count)}".encode()).decode(),
            "pem": lambda count: "\n".join(self.pem(count)),
            "words": lambda count: " ".join(self.random.sample(SEED_WORDS, count)),
        }
        return special[kind](count) if kind in special else self(count, ALPHABETS[kind])

    def pem(self, lines: int = 6) -> list[str]:
        return ["MII" + self(61, ALNUM + "+/"), *(self(64, ALNUM + "+/") for _ in range(lines)), self(22, ALNUM) + "=="]


PREFIXED = table("token-prefixes.txt")
LINES = [
    "{}",
    'const client = new Client("{}");',
    "export SERVICE_TOKEN={}",
    "  api_token: {}",
    '{{"token": "{}", "retries": 3}}',
    "Authorization: Bearer {}",
    'let token: &str = "{}";',
    "client = Client(token='{}', timeout=30)",
    "+    puts api.login('{}')",
    "12: TOKEN={}",
    "2026-03-01T10:00:00Z INFO using credentials {} for upload",
    'echo "{}" | tool login --stdin',
    "Here is the key I got from them: {}. Please use it.",
    r"{{\"env\": {{\"KEY\": \"{}\"}}}}",
    'let key = String("{}")  // rotate me',
    "- `{}`",
    "tool --key {} sync",
    "https://api.service.dev/v1/items?access_token={}&page=2",
]


def private_keys(maker: Maker) -> list[Sample]:
    """PEM blocks: on lines, numbered, escaped once and twice, cut off, and in JSON."""
    samples = []
    for kind in ("RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY", "PGP PRIVATE KEY BLOCK"):
        body = maker.pem()
        head, tail = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
        block = [head, *body, tail]
        escaped = json.dumps("\n".join(block))
        forms = {
            "plain": "\n".join(block),
            "numbered": "\n".join(f"{number}: {line}" for number, line in enumerate(block, 1)),
            "escaped": f'"private_key": {escaped},',
            "twice": json.dumps(escaped),
            "cut": "\n".join(block[:4]),
            "diff": "\n".join("+" + line for line in block),
        }
        samples += [Sample(f"{kind.lower()} {name}", text, body[1]) for name, text in forms.items()]
    return samples


def secrets(seed: int = 1, rounds: int = 2) -> list[Sample]:
    """Samples of every kind, `rounds` times, each in another line."""
    maker = Maker(seed)
    samples = []
    for turn in range(rounds):
        for number, (kind, prefix, body) in enumerate(PREFIXED):
            secret = maker.body(body)
            samples.append(Sample(kind, LINES[(number * 7 + turn) % len(LINES)].format(prefix + secret), secret))
        for row in lines("password-places.txt"):
            kind, _, line = row.partition(" | ")
            samples.append(Sample(kind, line.replace("{}", secret := maker.password()), secret))
        for kind, line, body in table("key-places.txt"):
            samples.append(Sample(kind, maker.body(line).replace("@@", secret := maker.body(body)), secret))
    return samples + private_keys(maker)


def look_alikes(seed: int = 1) -> list[str]:
    """Lines in which nothing is secret: as they are, and templates filled in."""
    return lines("look-alikes.txt") + list(map(Maker(seed).body, lines("look-alikes-made.txt")))
