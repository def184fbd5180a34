"""What secrets look like: tokens with a vendor's prefix, and forms that have no prefix but an unmistakable part.

The formats are facts from the vendors' documentation and from public rule sets. A search starts at a literal (the
prefix, the anchor), because finding a literal costs a hundredth of what a regular expression costs at every position.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from specialists.secrets.literals import Spots

ALNUM, HEX, WORD = "[A-Za-z0-9]", "[a-f0-9]", "[A-Za-z0-9_-]"
LOWER, UPPER, BASE32 = "[a-z0-9]", "[A-Z0-9]", "[A-Z2-7]"
_START = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt])|(?<=%3[Dd])|(?<=\x1b\[[0-9]m)|(?<=\x1b\[[0-9][0-9]m))"  # of a word


class Token(NamedTuple):
    """A vendor's prefix and the alphabet and least length of what follows it."""

    kind: str
    prefix: str
    alphabet: str
    least: int

    @property
    def anchor(self) -> str:
        return self.prefix

    @property
    def back(self) -> int:
        return 0

    @property
    def regex(self) -> str:
        return rf"{_START}(?P<prefix>{re.escape(self.prefix)}){self.alphabet}{{{self.least},}}={{0,2}}(?!\w)"


class Form(NamedTuple):
    """A regular expression tried where `anchor` stands, from `back` characters before it on.

    The group `secret` is what is replaced (without it: the whole match); `prefix` stays.
    """

    kind: str
    anchor: str
    regex: str
    back: int = 0


TOKENS = [
    # source hosting and continuous integration
    *(Token("github token", prefix, ALNUM, 36) for prefix in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    Token("github fine-grained token", "github_pat_", "[A-Za-z0-9_]", 60),
    *(
        Token("gitlab token", f"gl{name}-", "[A-Za-z0-9_.-]", 18)
        for name in ("pat", "dt", "rt", "ptt", "cbt", "ft", "imt", "agent", "oas", "soat", "ffct", "wt")
    ),
    Token("gitlab runner token", "GR1348941", WORD, 20),
    Token("bitbucket app password", "ATBB", ALNUM, 32),
    Token("atlassian token", "ATATT3", "[A-Za-z0-9_=-]", 100),
    Token("atlassian access token", "ATCTT3", "[A-Za-z0-9_=-]", 100),
    Token("trello token", "ATTA", ALNUM, 60),
    Token("circleci token", "CCIPAT_", "[A-Za-z0-9_]", 40),
    Token("buildkite token", "bkua_", ALNUM, 40),
    Token("sourcegraph token", "sgp_", "[a-fA-F0-9_]", 40),
    Token("sourcegraph token", "sgp_local_", "[a-fA-F0-9]", 40),
    Token("harness token", "pat.", "[A-Za-z0-9_.-]", 60),
    Token("harness token", "sat.", "[A-Za-z0-9_.-]", 60),
    Token("sonarqube token", "sqp_", ALNUM, 40),
    Token("sonarqube token", "squ_", ALNUM, 40),
    Token("sonarqube token", "sqa_", ALNUM, 40),
    Token("postman key", "PMAK-", "[a-f0-9-]", 58),
    # package registries
    Token("npm token", "npm_", ALNUM, 36),
    Token("pypi token", "pypi-AgEIcHlwaS5vcmc", WORD, 50),
    Token("pypi token", "pypi-AgENdGVzdC5weXBpLm9yZw", WORD, 50),
    Token("rubygems key", "rubygems_", HEX, 48),
    Token("crates.io token", "cio", ALNUM, 32),
    Token("nuget key", "oy2", LOWER, 43),
    Token("clojars token", "CLOJARS_", ALNUM, 60),
    Token("docker hub token", "dckr_pat_", WORD, 27),
    Token("docker hub token", "dckr_oat_", WORD, 27),
    Token("artifactory key", "AKCp", ALNUM, 60),
    Token("artifactory token", "cmVmd", ALNUM, 59),
    # clouds and hosting
    *(Token("aws access key id", prefix, BASE32, 16) for prefix in ("AKIA", "ASIA", "ABIA", "ACCA")),
    Token("aws bedrock key", "ABSK", "[A-Za-z0-9+/=]", 100),
    Token("google api key", "AIza", WORD, 35),
    Token("google client secret", "GOCSPX-", WORD, 28),
    Token("google access token", "ya29.", "[A-Za-z0-9_.-]", 30),
    Token("google refresh token", "1//0", WORD, 40),
    Token("digitalocean token", "dop_v1_", HEX, 64),
    Token("digitalocean oauth token", "doo_v1_", HEX, 64),
    Token("digitalocean refresh token", "dor_v1_", HEX, 64),
    Token("hubspot token", "pat-", r"(?:(?:na|eu)\d-[a-f0-9-]{36})", 1),
    Token("heroku key", "HRKU-", WORD, 36),
    Token("alibaba access key id", "LTAI", ALNUM, 16),
    Token("tencent secret id", "AKID", ALNUM, 32),
    Token("yandex key", "AQVN", WORD, 35),
    Token("yandex token", "y0_", WORD, 50),
    *(Token("fly.io token", prefix, "[A-Za-z0-9+/=_-]", 80) for prefix in ("fm2_", "fm1r_", "fm1a_")),
    Token("fly.io token", "fo1_", WORD, 40),
    Token("netlify token", "nfp_", ALNUM, 36),
    Token("vercel token", "vcp_", ALNUM, 40),
    Token("render key", "rnd_", ALNUM, 28),
    Token("deno deploy token", "ddp_", ALNUM, 36),
    Token("cloudflare origin key", "v1.0-", "[a-f0-9-]", 100),
    Token("scalingo token", "tk-us-", WORD, 48),
    Token("openshift token", "sha256~", WORD, 43),
    Token("tailscale key", "tskey-", WORD, 24),
    Token("pulumi token", "pul-", HEX, 40),
    Token("infracost key", "ico-", ALNUM, 32),
    Token("vault token", "hvs.", WORD, 24),
    Token("vault batch token", "hvb.", WORD, 100),
    Token("vault recovery token", "hvr.", WORD, 24),
    *(Token("doppler token", f"dp.{name}.", "[A-Za-z0-9.]", 40) for name in ("pt", "st", "ct", "sa", "scim", "audit")),
    Token("1password secret key", "A3-", "[A-Z0-9-]", 32),
    Token("adobe secret", "p8e-", ALNUM, 32),
    Token("authress key", "authress_", "[A-Za-z0-9_.+/=-]", 60),
    Token("settlemint token", "sm_", r"(?:[aps]at_[A-Za-z0-9]{16})", 1),
    Token("intra42 secret", "s-s4t2", r"(?:[au][fd]-[a-f0-9]{64})", 1),
    Token("clickhouse key", "4b1d", ALNUM, 38),
    Token("aws bedrock key", "bedrock-api-key-", "[A-Za-z0-9+/=]", 60),
    Token("duffel token", "duffel_", r"(?:(?:live|test)_[\w=-]{43})", 1),
    Token("1password token", "ops_eyJ", "[A-Za-z0-9+/_-]", 200),
    Token("age secret key", "AGE-SECRET-KEY-1", UPPER, 58),
    # data
    Token("planetscale token", "pscale_tkn_", "[A-Za-z0-9_.=-]", 32),
    Token("planetscale password", "pscale_pw_", "[A-Za-z0-9_.=-]", 32),
    Token("planetscale oauth token", "pscale_oauth_", "[A-Za-z0-9_.=-]", 32),
    Token("supabase token", "sbp_", HEX, 40),
    Token("supabase secret key", "sb_secret_", WORD, 24),
    Token("neon key", "napi_", LOWER, 40),
    Token("databricks token", "dapi", HEX, 32),
    Token("prefect key", "pnu_", ALNUM, 36),
    Token("dbt token", "dbtc_", WORD, 32),
    Token("airtable token", "pat", r"(?:[A-Za-z0-9]{14}\.[a-f0-9]{64})", 1),
    # models
    Token("anthropic key", "sk-ant-", WORD, 60),
    Token("openai project key", "sk-proj-", WORD, 40),
    Token("openai service key", "sk-svcacct-", WORD, 40),
    Token("openai admin key", "sk-admin-", WORD, 40),
    Token("openrouter key", "sk-or-v1-", HEX, 60),
    Token("langfuse key", "sk-lf-", "[a-f0-9-]", 36),
    Token("model api key", "sk-", ALNUM, 32),
    Token("model session", "sess-", ALNUM, 40),
    Token("jina key", "jina_", ALNUM, 60),
    Token("runpod key", "rpa_", ALNUM, 40),
    Token("groq key", "gsk_", ALNUM, 48),
    Token("x.ai key", "xai-", ALNUM, 70),
    Token("perplexity key", "pplx-", ALNUM, 40),
    Token("replicate token", "r8_", WORD, 37),
    Token("hugging face token", "hf_", "[A-Za-z]", 34),
    Token("hugging face token", "hf_", ALNUM, 34),
    Token("hugging face organisation token", "api_org_", ALNUM, 34),
    Token("together key", "tgp_v1_", WORD, 40),
    Token("fireworks key", "fw_", ALNUM, 22),
    Token("nvidia key", "nvapi-", WORD, 60),
    Token("cerebras key", "csk-", ALNUM, 40),
    Token("tavily key", "tvly-", WORD, 28),
    Token("langsmith key", "lsv2_pt_", "[a-f0-9_]", 40),
    Token("langsmith key", "lsv2_sk_", "[a-f0-9_]", 40),
    Token("pinecone key", "pcsk_", "[A-Za-z0-9_]", 50),
    Token("elevenlabs key", "sk_", HEX, 48),
    Token("firecrawl key", "fc-", HEX, 32),
    Token("wandb key", "wandb_v1_", "[A-Za-z0-9_]", 40),
    # payment and trade
    *(Token("stripe key", f"{kind}_{mode}_", ALNUM, 10) for kind in ("sk", "rk") for mode in ("live", "test", "prod")),
    Token("webhook signing secret", "whsec_", "[A-Za-z0-9+/]", 24),
    *(Token("shopify token", prefix, "[a-fA-F0-9]", 32) for prefix in ("shpat_", "shpca_", "shppa_", "shpss_")),
    Token("square token", "sq0atp-", WORD, 22),
    Token("square secret", "sq0csp-", WORD, 40),
    Token("square token", "EAAA", WORD, 22),
    Token("paypal token", "access_token$production$", "[a-z0-9$]", 40),
    Token("flutterwave key", "FLWSECK", "(?:-[A-Za-z0-9]{12,}|_TEST-[A-Za-z0-9]{12,}|-X)", 1),
    Token("razorpay key", "rzp_live_", ALNUM, 14),
    Token("easypost key", "EZAK", ALNUM, 54),
    Token("easypost key", "EZTK", ALNUM, 54),
    Token("shippo token", "shippo_live_", "[a-fA-F0-9]", 40),
    Token("shippo token", "shippo_test_", "[a-fA-F0-9]", 40),
    Token("plaid token", "access-production-", "[a-f0-9-]", 36),
    Token("plaid token", "access-development-", "[a-f0-9-]", 36),
    # messages and mail
    Token("slack bot token", "xoxb-", "[A-Za-z0-9-]", 24),
    Token("slack user token", "xoxp-", "[A-Za-z0-9-]", 24),
    *(Token("slack token", prefix, "[A-Za-z0-9-]", 10) for prefix in ("xoxa-", "xoxc-", "xoxr-", "xoxs-")),
    Token("slack token", "xoxe.", "[A-Za-z0-9.-]", 60),
    Token("slack token", "xoxe-", "[A-Za-z0-9.-]", 60),
    Token("slack cookie", "xoxd-", "[A-Za-z0-9%+/-]", 40),
    Token("slack app token", "xapp-", "[A-Za-z0-9-]", 20),
    Token("sendgrid key", "SG.", "[A-Za-z0-9_.=-]", 60),
    Token("mailgun key", "key-", HEX, 32),
    Token("brevo key", "xkeysib-", "[A-Za-z0-9-]", 70),
    Token("resend key", "re_", r"(?:[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}+)", 1),
    # work and design
    Token("linear key", "lin_api_", ALNUM, 40),
    Token("linear token", "lin_oauth_", HEX, 64),
    Token("notion token", "ntn_", ALNUM, 40),
    Token("notion token", "secret_", ALNUM, 43),
    Token("figma token", "figd_", WORD, 36),
    Token("contentful token", "CFPAT-", WORD, 43),
    Token("typeform token", "tfp_", "[A-Za-z0-9_.=-]", 40),
    Token("readme key", "rdme_", LOWER, 60),
    Token("frame.io token", "fio-u-", "[A-Za-z0-9_=-]", 60),
    Token("dropbox token", "sl.", WORD, 100),
    Token("facebook token", "EAA", ALNUM, 100),
    Token("mapbox secret token", "sk.eyJ", "[A-Za-z0-9_.-]", 60),
    # monitoring
    Token("new relic key", "NRAK-", UPPER, 27),
    Token("new relic insert key", "NRII-", "[A-Za-z0-9-]", 32),
    Token("new relic browser key", "NRJS-", HEX, 19),
    Token("grafana token", "glc_", "[A-Za-z0-9+/]", 32),
    Token("grafana service token", "glsa_", "[A-Za-z0-9_]", 40),
    Token("sentry token", "sntrys_", "[A-Za-z0-9+/=_]", 60),
    Token("sentry token", "sntryu_", HEX, 64),
    Token("honeycomb key", "hcaik_", LOWER, 58),
    Token("dynatrace token", "dt0c01.", "[A-Za-z0-9.]", 80),
    Token("dynatrace token", "dt0s16.", "[A-Za-z0-9.]", 80),
    Token("posthog key", "phx_", ALNUM, 40),
    Token("launchdarkly key", "sdk-", r"(?:[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12})", 1),
    Token("adafruit key", "aio_", ALNUM, 28),
    # any vendor's: a telling prefix, perhaps another word, letters and digits at random
    *(
        Token("api key", prefix, r"(?:(?:[a-z]{2,6}_)?(?=[A-Za-z]*(?:\d+[A-Za-z]+){3})[A-Za-z0-9]{20,}+)", 1)
        for prefix in ("sk_", "rk_", "live_", "secret_", "token_", "apikey_", "api_key_")
    ),
    Token("clickup token", "pk_", r"(?:\d{5,9}_[A-Z0-9]{32})", 1),
    Token("bitcoin key", "xprv", ALNUM, 100),
]

FORMS = [
    Form(
        "slack webhook",
        "hooks.slack.com/",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[\w/+]{40,})",
    ),
    Form("zapier webhook", "hooks.zapier.com/", r"hooks\.zapier\.com/hooks/catch/(?P<secret>\d+/[a-z0-9]{6,})"),
    Form("facebook app token", "|", r"(?<=\d{15})\|(?P<secret>[\w-]{27})(?![\w-])"),
    Form("facebook app token", "%7C", r"(?<=\d{15})%7C(?P<secret>[\w-]{27})(?![\w-])"),
    Form("salesforce session", "!AQ", r"(?<!\w)00D[A-Za-z0-9]{12,15}!AQ[\w.]{80,}", back=18),
    Form("twitch token", "oauth:", r"(?<!\w)oauth:(?P<secret>[a-z0-9]{30})(?!\w)"),
    Form("discord webhook", "/api/webhooks/", r"(?<=.com)/api/webhooks/(?P<secret>\d{17,20}/[\w-]{60,})"),
    Form("octopus key", "API-", r"(?<![\w-])(?P<prefix>API-)[A-Z0-9]{26}(?!\w)"),
    Form("vault legacy token", "s.", r"(?<![\w.])(?P<prefix>s\.)(?=\D*\d\D*\d)[A-Za-z0-9]{24}(?!\w)"),
    Form("twilio api key", "SK", r"(?<!\w)(?P<prefix>SK)[a-fA-F0-9]{32}(?!\w)"),
    Form("maxmind key", "_mmk", r"(?<!\w)[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk", back=36),
    Form(
        "authress key",
        ".acc",
        r"(?<!\w)(?:sc|ext|scauth)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[\w+/=-]{30,}",
        back=45,
    ),
    Form("grafana key", "eyJrIjoi", r"(?<!\w)(?P<prefix>eyJrIjoi)[A-Za-z0-9+/]{70,}={0,3}"),
    Form("json web token", "eyJ", r"(?<![A-Za-z0-9_-])(?P<prefix>eyJ)[\w-]{10,}\.[\w-]{10,}\.[\w-]{16,}"),
    Form("openai key", "T3BlbkFJ", r"(?<!\w)(?P<prefix>sk-)[\w-]{20,}T3BlbkFJ[\w-]{20,}", back=90),
    Form("azure client secret", "Q~", r"(?<![\w~.-])[\w~.]{3}\dQ~[\w~.-]{31,34}(?![\w~-])", back=4),
    Form("azure service key", "JQQJ99", r"(?<!\w)[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,26}", back=52),
    Form("telegram bot token", ":AA", r"(?<![\w:])\d{8,10}:AA[\w-]{32,34}(?![\w-])", back=10),
    Form("terraform cloud token", ".atlasv1.", r"(?<!\w)[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,}", back=14),
    Form("mailchimp key", "-us", r"(?<!\w)[a-f0-9]{32}-us\d{1,2}(?!\w)", back=32),
    Form("dropbox token", "AAAAAAAAAA", r"(?<!\w)[a-z0-9]{11}AAAAAAAAAA[\w=-]{43}", back=11),
    Form("firebase server key", ":APA91b", r"(?<!\w)[\w-]{11,}:APA91b[\w-]{100,}", back=40),
    *(
        Form("discord bot token", start + third, r"(?<![\w.-])[\w-]{24,28}\.[\w-]{6}\.[\w-]{27,38}(?![\w.-])")
        for start in ("MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT")
        for third in "AEIMQUYcgk"  # base64 of a number
    ),
    Form("azure signature", "sig=", r"(?<=[?&;])sig=(?P<secret>[A-Za-z0-9%+/_-]{40,}={0,2})"),
    Form("presigned url signature", "X-Amz-Signature=", r"X-Amz-Signature=(?P<secret>[a-f0-9]{64})"),
    Form("teams webhook", ".webhook.office.com/", r"\.webhook\.office\.com/(?P<secret>[\w@/-]{70,})"),
]

_RULES: list[Token | Form] = [*TOKENS, *FORMS]
_BY_ANCHOR: dict[str, list[int]] = {}
for _number, _rule in enumerate(_RULES):
    _BY_ANCHOR.setdefault(_rule.anchor, []).append(_number)
ANCHORS = frozenset(_BY_ANCHOR)


def possible(spots: Spots) -> list[Token | Form]:
    """The rules whose anchors stand in a text, in the order in which they are written down here."""
    return [_RULES[number] for number in sorted(n for anchor in spots for n in _BY_ANCHOR.get(anchor, ()))]


@cache
def compiled(rule: Token | Form) -> re.Pattern[str]:
    """A rule's expression, compiled when its anchor was first seen."""
    return re.compile(rule.regex, re.ASCII)
