"""Made-up secrets in realistic lines, and what looks like secrets and is none, both from a seed.

Nothing here is a credential, and no file holds one as a literal: prefixes and bodies meet only at run time.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LOWER_ALNUM = string.ascii_lowercase + string.digits
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"
URL_SAFE = ALNUM + "-_"
SEED_WORDS = """
    orbit velvet canyon drift magnet pupil quantum ribbon saddle tunnel walnut cactus
""".split()


def lines(name: str) -> list[str]:
    """The lines of a file in samples/, with `\\n` for a line end and `\\\\` for a backslash inside one."""
    text = (Path(__file__).parent / "samples" / name).read_text(encoding="utf-8")
    return [re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], line) for line in text.splitlines()]


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

    def pem(self, lines: int = 6) -> list[str]:
        return ["MII" + self(61, ALNUM + "+/"), *(self(64, ALNUM + "+/") for _ in range(lines)), self(22, ALNUM) + "=="]


# --- tokens with a vendor's prefix: (kind, prefix, body) --------------------------------------------------------------

PREFIXED: list[tuple[str, str, Callable[[Maker], str]]] = [
    ("github", "ghp_", lambda m: m(36)),
    ("github", "gho_", lambda m: m(36)),
    ("github", "ghs_", lambda m: m(36)),
    ("github fine-grained", "github_pat_", lambda m: m(22) + "_" + m(59)),
    ("gitlab", "glpat-", lambda m: m(20, URL_SAFE)),
    ("gitlab deploy", "gldt-", lambda m: m(20, URL_SAFE)),
    ("gitlab runner", "glrt-", lambda m: m(20, URL_SAFE)),
    ("gitlab trigger", "glptt-", lambda m: m(40, HEX)),
    ("bitbucket", "ATBB", lambda m: m(32)),
    ("atlassian", "ATATT3", lambda m: m(186, URL_SAFE)),
    ("buildkite", "bkua_", lambda m: m(40, LOWER_ALNUM)),
    ("sonarqube", "sqp_", lambda m: m(40, HEX)),
    ("sourcegraph", "sgp_", lambda m: m(40, HEX)),
    ("postman", "PMAK-", lambda m: m(24, HEX) + "-" + m(34, HEX)),
    ("npm", "npm_", lambda m: m(36)),
    ("pypi", "pypi-AgEIcHlwaS5vcmc", lambda m: m(120, URL_SAFE)),
    ("rubygems", "rubygems_", lambda m: m(48, HEX)),
    ("crates.io", "cio", lambda m: m(32)),
    ("nuget", "oy2", lambda m: m(43, LOWER_ALNUM)),
    ("clojars", "CLOJARS_", lambda m: m(60, HEX)),
    ("docker hub", "dckr_pat_", lambda m: m(27, URL_SAFE)),
    ("artifactory", "AKCp", lambda m: m(69)),
    ("aws id", "AKIA", lambda m: m(16, BASE32)),
    ("aws id", "ASIA", lambda m: m(16, BASE32)),
    ("google api", "AIza", lambda m: m(35, URL_SAFE)),
    ("google client", "GOCSPX-", lambda m: m(28, URL_SAFE)),
    ("google access", "ya29.", lambda m: m(120, URL_SAFE)),
    ("google refresh", "1//0", lambda m: m(60, URL_SAFE)),
    ("digitalocean", "dop_v1_", lambda m: m(64, HEX)),
    ("alibaba", "LTAI", lambda m: m(20)),
    ("tencent", "AKID", lambda m: m(32)),
    ("netlify", "nfp_", lambda m: m(36)),
    ("fly.io", "fo1_", lambda m: m(43, URL_SAFE)),
    ("openshift", "sha256~", lambda m: m(43, URL_SAFE)),
    ("tailscale", "tskey-auth-", lambda m: m(11) + "-" + m(32)),
    ("pulumi", "pul-", lambda m: m(40, HEX)),
    ("vault", "hvs.", lambda m: m(90, URL_SAFE)),
    ("doppler", "dp.pt.", lambda m: m(43)),
    ("age", "AGE-SECRET-KEY-1", lambda m: m(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L")),
    ("planetscale", "pscale_tkn_", lambda m: m(43, URL_SAFE)),
    ("supabase", "sbp_", lambda m: m(40, HEX)),
    ("databricks", "dapi", lambda m: m(32, HEX)),
    ("airtable", "pat", lambda m: m(14) + "." + m(64, HEX)),
    ("anthropic", "sk-ant-api03-", lambda m: m(93, URL_SAFE) + "AA"),
    ("openai project", "sk-proj-", lambda m: m(120, URL_SAFE)),
    ("openai", "sk-", lambda m: m(48)),
    ("openrouter", "sk-or-v1-", lambda m: m(64, HEX)),
    ("groq", "gsk_", lambda m: m(52)),
    ("x.ai", "xai-", lambda m: m(80)),
    ("perplexity", "pplx-", lambda m: m(48)),
    ("replicate", "r8_", lambda m: m(37)),
    ("hugging face", "hf_", lambda m: m(34, string.ascii_letters + "17")),
    ("nvidia", "nvapi-", lambda m: m(64, URL_SAFE)),
    ("langsmith", "lsv2_pt_", lambda m: m(32, HEX) + "_" + m(10, HEX)),
    ("pinecone", "pcsk_", lambda m: m(6) + "_" + m(63)),
    ("stripe", "sk_live_", lambda m: m(24)),
    ("stripe", "rk_live_", lambda m: m(99)),
    ("stripe", "sk_test_", lambda m: m(24)),
    ("webhook signing", "whsec_", lambda m: m(32)),
    ("shopify", "shpat_", lambda m: m(32, HEX)),
    ("square", "sq0csp-", lambda m: m(43, URL_SAFE)),
    ("flutterwave", "FLWSECK-", lambda m: m(32, HEX) + "-X"),
    ("razorpay", "rzp_live_", lambda m: m(14)),
    ("easypost", "EZAK", lambda m: m(54)),
    ("slack", "xoxb-", lambda m: f"{m.digits(12)}-{m.digits(13)}-{m(24)}"),
    ("slack", "xoxp-", lambda m: f"{m.digits(11)}-{m.digits(11)}-{m.digits(12)}-{m(32, HEX)}"),
    ("slack app", "xapp-", lambda m: f"1-A{m(10, string.ascii_uppercase + string.digits)}-{m.digits(13)}-{m(64, HEX)}"),
    ("slack", "xoxb-", lambda m: f"{m.digits(10)}-{m(18)}"),
    ("slack", "xoxa-", lambda m: "2-" + m(12)),
    ("slack", "xoxc-", lambda m: f"{m.digits(12)}-{m.digits(12)}-{m.digits(12)}-{m(64, HEX)}"),
    ("facebook", "EAA", lambda m: m(120)),
    ("facebook app", "361874920571836|", lambda m: m(27, URL_SAFE)),
    ("hubspot", "pat-", lambda m: "na1-" + m.uuid()),
    ("jina", "jina_", lambda m: m(60)),
    ("runpod", "rpa_", lambda m: m(44)),
    ("clickup", "pk_", lambda m: m.digits(8) + "_" + m(32, string.ascii_uppercase + string.digits)),
    ("salesforce", "", lambda m: f"00D{m(12)}!AQ{m(90)}"),
    ("bitcoin", "xprv", lambda m: m(107)),
    ("slack webhook", "https://hooks.slack.com/services/", lambda m: f"T{m(8, BASE32)}/B{m(8, BASE32)}/{m(24)}"),
    ("discord webhook", "https://discord.com/api/webhooks/", lambda m: f"{m.digits(18)}/{m(68, URL_SAFE)}"),
    ("sendgrid", "SG.", lambda m: m(22, URL_SAFE) + "." + m(43, URL_SAFE)),
    ("mailgun", "key-", lambda m: m(32, HEX)),
    ("brevo", "xkeysib-", lambda m: m(64, HEX) + "-" + m(16)),
    ("twilio", "SK", lambda m: m(32, HEX)),
    ("linear", "lin_api_", lambda m: m(40)),
    ("notion", "ntn_", lambda m: m.digits(11) + m(35)),
    ("figma", "figd_", lambda m: m(40, URL_SAFE)),
    ("contentful", "CFPAT-", lambda m: m(43, URL_SAFE)),
    ("typeform", "tfp_", lambda m: m(59, URL_SAFE)),
    ("mapbox", "sk.eyJ", lambda m: m(80) + "." + m(22)),
    ("new relic", "NRAK-", lambda m: m(27, string.ascii_uppercase + string.digits)),
    ("grafana", "glsa_", lambda m: m(32) + "_" + m(8, HEX)),
    ("sentry", "sntryu_", lambda m: m(64, HEX)),
    ("dynatrace", "dt0c01.", lambda m: m(24, BASE32) + "." + m(64, BASE32)),
    ("posthog", "phx_", lambda m: m(43)),
    ("1password", "ops_eyJ", lambda m: m(250, ALNUM)),
    ("json web token", "eyJ", lambda m: m(34) + ".eyJ" + m(70) + "." + m(43, URL_SAFE)),
    ("telegram", "", lambda m: m.digits(10) + ":AA" + m(33, URL_SAFE)),
    ("mailchimp", "", lambda m: m(32, HEX) + "-us" + str(m.random.randint(1, 21))),
    ("terraform cloud", "", lambda m: m(14) + ".atlasv1." + m(67)),
    ("azure client", "", lambda m: m(3) + "8Q~" + m(34)),
    ("discord bot", "", lambda m: "MT" + m(1, "AEIMQUYcgk") + m(23) + "." + m(6) + "." + m(38)),
]

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


# --- secrets that only their place makes one: (kind, line with {}, body); passwords in samples/password-places.txt ----

KEY_PLACES: list[tuple[str, str, Callable[[Maker], str]]] = [
    ("aws secret key", "aws_secret_access_key = {}", lambda m: m(40, ALNUM + "/+")),
    ("aws secret key", 'AWS_SECRET_ACCESS_KEY="{}"', lambda m: m(40, ALNUM + "/+")),
    ("aws session token", "AWS_SESSION_TOKEN={}", lambda m: m(300, ALNUM + "/+")),
    (
        "azure storage",
        "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={};EndpointSuffix=core.windows.net",
        lambda m: m.base64(64),
    ),
    (
        "azure bus",
        "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}",
        lambda m: m.base64(32),
    ),
    (
        "azure signature",
        "https://shop.blob.core.windows.net/a/b?sv=2024-11-04&se=2026-01-01&sr=b&sp=r&sig={}",
        lambda m: m(43) + "%3D",
    ),
    ("datadog", "DD_API_KEY={}", lambda m: m(32, HEX)),
    ("datadog", 'api_key: "{}"', lambda m: m(32, HEX)),
    ("cloudflare", 'CLOUDFLARE_API_TOKEN="{}"', lambda m: m(40, URL_SAFE)),
    ("heroku", "HEROKU_API_KEY={}", lambda m: m.uuid()),
    ("twilio auth", 'auth_token = "{}"', lambda m: m(32, HEX)),
    ("rails master key", "RAILS_MASTER_KEY={}", lambda m: m(32, HEX)),
    ("secret key base", "  secret_key_base: {}", lambda m: m(128, HEX)),
    ("django", "SECRET_KEY = 'django-{}'", lambda m: m(50, LOWER_ALNUM + "@#%^&*(-_=+")),
    ("jwt secret", 'JWT_SECRET="{}"', lambda m: m(44, ALNUM + "+/")),
    ("npmrc", "//registry.npmjs.org/:_authToken={}", lambda m: m.uuid()),
    ("npmrc", "//npm.company.dev/:_auth={}", lambda m: base64.b64encode(f"kim:{m(14)}".encode()).decode()),
    ("basic header", "Authorization: Basic {}", lambda m: base64.b64encode(f"kim:{m(14)}".encode()).decode()),
    ("basic header", '-H "authorization: basic {}"', lambda m: base64.b64encode(f"svc:{m(20)}".encode()).decode()),
    ("bearer header", 'curl -H "Authorization: Bearer {}" https://x.dev', lambda m: m(40)),
    ("token header", "headers: {{ Authorization: `Token {}` }}", lambda m: m(40, HEX)),
    ("key header", "X-Api-Key: {}", lambda m: m(40)),
    ("key header", "'x-api-key': '{}',", lambda m: m(32)),
    ("private token header", 'curl --header "PRIVATE-TOKEN: {}" https://git.dev', lambda m: m(20)),
    (
        "docker config",
        '{{"auths": {{"registry.dev": {{"auth": "{}"}}}}}}',
        lambda m: base64.b64encode(f"kim:{m(16)}".encode()).decode(),
    ),
    ("cookie", "Cookie: theme=dark; session_id={}; lang=de", lambda m: m(40)),
    ("client secret", 'client_secret: "{}"', lambda m: m(36, URL_SAFE)),
    ("client secret", "&client_id=app&client_secret={}", lambda m: m(36)),
    ("flag", "tool --api-key {} run", lambda m: m(32)),
    ("flag", "deploy --token={}", lambda m: m(40, HEX)),
    ("url token", "git remote set-url origin https://{}@git.company.dev/team/app.git", lambda m: m(40, HEX)),
    ("ethereum", 'PRIVATE_KEY="0x{}"', lambda m: m(64, HEX)),
    ("wandb", "WANDB_API_KEY={}", lambda m: m(40, HEX)),
    ("swift key", 'let apiKey = "{}"', lambda m: m(32)),
    ("rust key", 'const API_KEY: &str = "{}";', lambda m: m(32)),
    ("ruby key", "config.api_key = '{}'", lambda m: m(32, HEX)),
    ("ts key", "  secretKey: '{}',", lambda m: m(40)),
    ("python key", 'API_KEY: Final[str] = "{}"', lambda m: m(40)),
    ("appsettings", '"ApiSecret": "{}"', lambda m: m(40)),
    ("service account id", '"private_key_id": "{}",', lambda m: m(40, HEX)),
    (
        "kubernetes secret",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\ndata:\n  db: {}\n",
        lambda m: m.base64(18),
    ),
    ("shadow", "kim:$6${}:19000:0:99999:7:::", lambda m: m(16) + "$" + m(86, ALNUM + "./")),
    ("terraform", 'variable "token" {{}}\ntoken = "{}"', lambda m: m(40)),
    ("vapid", "VAPID_PRIVATE_KEY={}", lambda m: m(43, URL_SAFE)),
    ("asana", "Authorization: Bearer 2/{}", lambda m: f"{m.digits(16)}/{m.digits(16)}:{m(32, HEX)}"),
    ("fastly", "Fastly-Key: {}", lambda m: m(32, URL_SAFE)),
    ("twitch", "PASS oauth:{}", lambda m: m(30, LOWER_ALNUM)),
    ("pgpass", "db.dev:5432:shop:kim:{}", lambda m: m(16)),
    ("htpasswd", "htpasswd -b -c .htpasswd kim {}", lambda m: m(14)),
    ("keytool", "keytool -storepass {} -keystore a.jks", lambda m: m(12)),
    ("keychain", 'security unlock-keychain -p "{}" build.keychain', lambda m: m(14)),
    ("gem login", "BUNDLE_GEMS__NORDWIND__DEV=kim:{}", lambda m: m(20)),
    ("apple", "--apple-id kim --password {}", lambda m: "-".join(m(4, string.ascii_lowercase) for _ in "1234")),
    ("mnemonic", 'MNEMONIC="{}"', lambda m: " ".join(m.random.sample(SEED_WORDS, 12))),
    ("escaped", r'{{"out": "logged in\nghp_{}\n"}}', lambda m: m(36)),
    ("in a url", "https://x.dev/cb?next=%2Fa%3Ftoken%3Dghp_{}", lambda m: m(36)),
    ("coloured", "\x1b[32mghp_{}\x1b[0m", lambda m: m(36)),
    ("account credentials", 'credentials = "{}"', lambda m: m(40)),
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
            secret = body(maker)
            samples.append(Sample(kind, LINES[(number * 7 + turn) % len(LINES)].format(prefix + secret), secret))
        for row in lines("password-places.txt"):
            kind, _, line = row.partition(" | ")
            samples.append(Sample(kind, line.replace("{}", secret := maker.password()), secret))
        samples += [Sample(kind, line.format(secret := body(maker)), secret) for kind, line, body in KEY_PLACES]
    return samples + private_keys(maker)


# --- look-alikes ------------------------------------------------------------------------------------------------------


def look_alikes(seed: int = 1) -> list[str]:
    """Lines in which nothing is secret."""
    maker = Maker(seed)
    sha = lambda: maker(40, HEX)  # noqa: E731
    made = [
        *(
            line.format(sha())
            for line in (
                "commit {}",
                "index {}..",
                "  resolved git+ssh://git@github.com/a/b.git#{}",
                'rev = "{}"',
                "git checkout {}",
                "uses: actions/checkout@{}",
                "Merge commit '{}'",
                '"commit": "{}",',
                "  sha: {}",
                "HEAD is now at {}",
            )
        ),
        *(
            line.format(maker.uuid())
            for line in (
                "id: {}",
                '"uuid": "{}"',
                "PROJECT_ID={}",
                "session {} started",
                "request_id={}",
                '<Project Guid="{{{}}}">',
                "DEVELOPMENT_TEAM = {};",
                "trace {}",
            )
        ),
        *(f'"integrity": "sha512-{maker.base64(64)}"' for _ in range(6)),
        *(f"    --hash=sha256:{maker(64, HEX)} \\" for _ in range(4)),
        *(f'checksum = "{maker(64, HEX)}"' for _ in range(4)),
        *(f"{maker(64, HEX)}  dist/app-1.2.tar.gz" for _ in range(2)),
        *(f"image: registry.dev/app@sha256:{maker(64, HEX)}" for _ in range(2)),
        *(f"h1:{maker.base64(32)}" for _ in range(2)),
        *(f'ETag: "{maker(32, HEX)}"' for _ in range(2)),
        f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{maker(43, ALNUM)} kim",
        f"ssh-rsa AAAAB3NzaC1yc2E{maker(350, ALNUM + '+/')} kim",
        f"data:image/png;base64,iVBORw0KGgo{maker.base64(90)}",
        "-----BEGIN CERTIFICATE-----\n" + "\n".join(maker.pem()) + "\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\n" + "\n".join(maker.pem(3)) + "\n-----END PUBLIC KEY-----",
        f"//# sourceMappingURL=data:application/json;base64,{maker.base64(120)}",
        f"pk_live_{maker(24)}",
        f"pk_test_{maker(24)}",
        f"phc_{maker(43)}",
        f"ses_{maker(26)}",
        f"msg_{maker(26)}",
        f"prt_{maker(26)}",
        f"cus_{maker(14)}",
        f"pi_{maker(24)}",
        f"AC{maker(32, HEX)}",
        f"chunk-{maker(8, HEX)}.js",
        f"main.{maker(20, HEX)}.css",
        f"0000000000000000 T _ZN{maker(30)}",
        f"color: #{maker(6, HEX)};",
        f"snapshot {sha()}",
        f"ghcr.io/owner/app:sha-{maker(7, HEX)}",
        f"go.sum h1:{maker.base64(32)}=",
    ]
    return lines("look-alikes.txt") + made
