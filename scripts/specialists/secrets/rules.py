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


class Rule(NamedTuple):
    """A regular expression tried where `anchor` stands, from `back` characters before it on.

    The group `secret` is what is replaced (without it: the whole match); `prefix` stays.
    """

    kind: str
    anchor: str
    regex: str
    back: int = 0


# what follows a vendor's prefix, and its least length: the vendors' tokens and their prefixes
_VENDORS = {
    (ALNUM, 10): "stripe key: sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_",
    (ALNUM, 14): "razorpay key: rzp_live_",
    (ALNUM, 16): "alibaba access key id: LTAI",
    (ALNUM, 22): "fireworks key: fw_",
    (ALNUM, 28): "render key: rnd_; adafruit key: aio_",
    (ALNUM, 32): (
        "bitbucket app password: ATBB; crates.io token: cio; tencent secret id: AKID; infracost key: ico-; "
        "adobe secret: p8e-; model api key: sk-"
    ),
    (ALNUM, 34): "hugging face token: hf_; hugging face organisation token: api_org_",
    (ALNUM, 36): (
        "github token: ghp_ gho_ ghu_ ghs_ ghr_; npm token: npm_; netlify token: nfp_; deno deploy token: ddp_; "
        "prefect key: pnu_"
    ),
    (ALNUM, 38): "clickhouse key: 4b1d",
    (ALNUM, 40): (
        "buildkite token: bkua_; sonarqube token: sqp_ squ_ sqa_; vercel token: vcp_; model session: sess-; "
        "runpod key: rpa_; perplexity key: pplx-; cerebras key: csk-; linear key: lin_api_; notion token: ntn_; "
        "posthog key: phx_"
    ),
    (ALNUM, 43): "notion token: secret_",
    (ALNUM, 48): "groq key: gsk_",
    (ALNUM, 54): "easypost key: EZAK EZTK",
    (ALNUM, 59): "artifactory token: cmVmd",
    (ALNUM, 60): "trello token: ATTA; clojars token: CLOJARS_; artifactory key: AKCp; jina key: jina_",
    (ALNUM, 70): "x.ai key: xai-",
    (ALNUM, 100): "facebook token: EAA; bitcoin key: xprv",
    (LOWER, 40): "neon key: napi_",
    (LOWER, 43): "nuget key: oy2",
    (LOWER, 58): "honeycomb key: hcaik_",
    (LOWER, 60): "readme key: rdme_",
    (UPPER, 27): "new relic key: NRAK-",
    (UPPER, 58): "age secret key: AGE-SECRET-KEY-1",
    (BASE32, 16): "aws access key id: AKIA ASIA ABIA ACCA",
    (HEX, 19): "new relic browser key: NRJS-",
    (HEX, 32): "databricks token: dapi; firecrawl key: fc-; mailgun key: key-",
    (HEX, 40): "pulumi token: pul-; supabase token: sbp_",
    (HEX, 48): "rubygems key: rubygems_; elevenlabs key: sk_",
    (HEX, 60): "openrouter key: sk-or-v1-",
    (HEX, 64): (
        "digitalocean token: dop_v1_; digitalocean oauth token: doo_v1_; digitalocean refresh token: dor_v1_; "
        "linear token: lin_oauth_; sentry token: sntryu_"
    ),
    (WORD, 20): "gitlab runner token: GR1348941",
    (WORD, 22): "square token: sq0atp- EAAA",
    (WORD, 24): "tailscale key: tskey-; vault token: hvs.; vault recovery token: hvr.; supabase secret key: sb_secret_",
    (WORD, 27): "docker hub token: dckr_pat_ dckr_oat_",
    (WORD, 28): "google client secret: GOCSPX-; tavily key: tvly-",
    (WORD, 32): "dbt token: dbtc_",
    (WORD, 35): "google api key: AIza; yandex key: AQVN",
    (WORD, 36): "heroku key: HRKU-; figma token: figd_",
    (WORD, 37): "replicate token: r8_",
    (WORD, 40): (
        "google refresh token: 1//0; fly.io token: fo1_; openai project key: sk-proj-; "
        "openai service key: sk-svcacct-; openai admin key: sk-admin-; together key: tgp_v1_; square secret: sq0csp-"
    ),
    (WORD, 43): "openshift token: sha256~; contentful token: CFPAT-",
    (WORD, 48): "scalingo token: tk-us-",
    (WORD, 50): "pypi token: pypi-AgEIcHlwaS5vcmc pypi-AgENdGVzdC5weXBpLm9yZw; yandex token: y0_",
    (WORD, 60): "anthropic key: sk-ant-; nvidia key: nvapi-",
    (WORD, 100): "vault batch token: hvb.; dropbox token: sl.",
    ("[A-Z0-9-]", 32): "1password secret key: A3-",
    ("[A-Za-z0-9%+/-]", 40): "slack cookie: xoxd-",
    ("[A-Za-z0-9+/=]", 60): "aws bedrock key: bedrock-api-key-",
    ("[A-Za-z0-9+/=]", 100): "aws bedrock key: ABSK",
    ("[A-Za-z0-9+/=_-]", 80): "fly.io token: fm2_ fm1r_ fm1a_",
    ("[A-Za-z0-9+/=_]", 60): "sentry token: sntrys_",
    ("[A-Za-z0-9+/]", 24): "webhook signing secret: whsec_",
    ("[A-Za-z0-9+/]", 32): "grafana token: glc_",
    ("[A-Za-z0-9+/_-]", 200): "1password token: ops_eyJ",
    ("[A-Za-z0-9-]", 10): "slack token: xoxa- xoxc- xoxr- xoxs-",
    ("[A-Za-z0-9-]", 20): "slack app token: xapp-",
    ("[A-Za-z0-9-]", 24): "slack bot token: xoxb-; slack user token: xoxp-",
    ("[A-Za-z0-9-]", 32): "new relic insert key: NRII-",
    ("[A-Za-z0-9-]", 70): "brevo key: xkeysib-",
    ("[A-Za-z0-9.-]", 60): "slack token: xoxe. xoxe-",
    ("[A-Za-z0-9.]", 40): "doppler token: dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.",
    ("[A-Za-z0-9.]", 80): "dynatrace token: dt0c01. dt0s16.",
    ("[A-Za-z0-9_.+/=-]", 60): "authress key: authress_",
    ("[A-Za-z0-9_.-]", 18): (
        "gitlab token: glpat- gldt- glrt- glptt- glcbt- glft- glimt- glagent- gloas- glsoat- glffct- glwt-"
    ),
    ("[A-Za-z0-9_.-]", 30): "google access token: ya29.",
    ("[A-Za-z0-9_.-]", 60): "harness token: pat. sat.; mapbox secret token: sk.eyJ",
    ("[A-Za-z0-9_.=-]", 32): (
        "planetscale token: pscale_tkn_; planetscale password: pscale_pw_; planetscale oauth token: pscale_oauth_"
    ),
    ("[A-Za-z0-9_.=-]", 40): "typeform token: tfp_",
    ("[A-Za-z0-9_.=-]", 60): "sendgrid key: SG.",
    ("[A-Za-z0-9_=-]", 60): "frame.io token: fio-u-",
    ("[A-Za-z0-9_=-]", 100): "atlassian token: ATATT3; atlassian access token: ATCTT3",
    ("[A-Za-z0-9_]", 40): "circleci token: CCIPAT_; wandb key: wandb_v1_; grafana service token: glsa_",
    ("[A-Za-z0-9_]", 50): "pinecone key: pcsk_",
    ("[A-Za-z0-9_]", 60): "github fine-grained token: github_pat_",
    ("[A-Za-z]", 34): "hugging face token: hf_",
    ("[a-f0-9-]", 36): "langfuse key: sk-lf-; plaid token: access-production- access-development-",
    ("[a-f0-9-]", 58): "postman key: PMAK-",
    ("[a-f0-9-]", 100): "cloudflare origin key: v1.0-",
    ("[a-f0-9_]", 40): "langsmith key: lsv2_pt_ lsv2_sk_",
    ("[a-fA-F0-9]", 32): "shopify token: shpat_ shpca_ shppa_ shpss_",
    ("[a-fA-F0-9]", 40): "sourcegraph token: sgp_local_; shippo token: shippo_live_ shippo_test_",
    ("[a-fA-F0-9_]", 40): "sourcegraph token: sgp_",
    ("[a-z0-9$]", 40): "paypal token: access_token$production$",
    (r"(?:(?:[a-z]{2,6}_)?(?=[A-Za-z]*(?:\d+[A-Za-z]+){3})[A-Za-z0-9]{20,}+)", 1): (
        "api key: sk_ rk_ live_ secret_ token_ apikey_ api_key_"
    ),
    (r"(?:(?:live|test)_[\w=-]{43})", 1): "duffel token: duffel_",
    (r"(?:(?:na|eu)\d-[a-f0-9-]{36})", 1): "hubspot token: pat-",
    ("(?:-[A-Za-z0-9]{12,}|_TEST-[A-Za-z0-9]{12,}|-X)", 1): "flutterwave key: FLWSECK",
    (r"(?:[A-Za-z0-9]{14}\.[a-f0-9]{64})", 1): "airtable token: pat",
    ("(?:[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}+)", 1): "resend key: re_",
    ("(?:[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12})", 1): "launchdarkly key: sdk-",
    ("(?:[aps]at_[A-Za-z0-9]{16})", 1): "settlemint token: sm_",
    ("(?:[au][fd]-[a-f0-9]{64})", 1): "intra42 secret: s-s4t2",
    (r"(?:\d{5,9}_[A-Z0-9]{32})", 1): "clickup token: pk_",
}
_TOKENS = [
    Rule(kind, prefix, rf"{_START}(?P<prefix>{re.escape(prefix)}){alphabet}{{{least},}}={{0,2}}(?!\w)")
    for (alphabet, least), vendors in _VENDORS.items()
    for kind, prefixes in (vendor.split(": ") for vendor in vendors.split("; "))
    for prefix in prefixes.split()
]

_FORMS = [
    Rule(
        "slack webhook",
        "hooks.slack.com/",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[\w/+]{40,})",
    ),
    Rule("zapier webhook", "hooks.zapier.com/", r"hooks\.zapier\.com/hooks/catch/(?P<secret>\d+/[a-z0-9]{6,})"),
    Rule("facebook app token", "|", r"(?<=\d{15})\|(?P<secret>[\w-]{27})(?![\w-])"),
    Rule("facebook app token", "%7C", r"(?<=\d{15})%7C(?P<secret>[\w-]{27})(?![\w-])"),
    Rule("salesforce session", "!AQ", r"(?<!\w)00D[A-Za-z0-9]{12,15}!AQ[\w.]{80,}", back=18),
    Rule("twitch token", "oauth:", r"(?<!\w)oauth:(?P<secret>[a-z0-9]{30})(?!\w)"),
    Rule("discord webhook", "/api/webhooks/", r"(?<=.com)/api/webhooks/(?P<secret>\d{17,20}/[\w-]{60,})"),
    Rule("octopus key", "API-", r"(?<![\w-])(?P<prefix>API-)[A-Z0-9]{26}(?!\w)"),
    Rule("vault legacy token", "s.", r"(?<![\w.])(?P<prefix>s\.)(?=\D*\d\D*\d)[A-Za-z0-9]{24}(?!\w)"),
    Rule("twilio api key", "SK", r"(?<!\w)(?P<prefix>SK)[a-fA-F0-9]{32}(?!\w)"),
    Rule("maxmind key", "_mmk", r"(?<!\w)[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk", back=36),
    Rule(
        "authress key",
        ".acc",
        r"(?<!\w)(?:sc|ext|scauth)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[\w+/=-]{30,}",
        back=45,
    ),
    Rule("grafana key", "eyJrIjoi", r"(?<!\w)(?P<prefix>eyJrIjoi)[A-Za-z0-9+/]{70,}={0,3}"),
    Rule("json web token", "eyJ", r"(?<![A-Za-z0-9_-])(?P<prefix>eyJ)[\w-]{10,}\.[\w-]{10,}\.[\w-]{16,}"),
    Rule("openai key", "T3BlbkFJ", r"(?<!\w)(?P<prefix>sk-)[\w-]{20,}T3BlbkFJ[\w-]{20,}", back=90),
    Rule("azure client secret", "Q~", r"(?<![\w~.-])[\w~.]{3}\dQ~[\w~.-]{31,34}(?![\w~-])", back=4),
    Rule("azure service key", "JQQJ99", r"(?<!\w)[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,26}", back=52),
    Rule("telegram bot token", ":AA", r"(?<![\w:])\d{8,10}:AA[\w-]{32,34}(?![\w-])", back=10),
    Rule("terraform cloud token", ".atlasv1.", r"(?<!\w)[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,}", back=14),
    Rule("mailchimp key", "-us", r"(?<!\w)[a-f0-9]{32}-us\d{1,2}(?!\w)", back=32),
    Rule("dropbox token", "AAAAAAAAAA", r"(?<!\w)[a-z0-9]{11}AAAAAAAAAA[\w=-]{43}", back=11),
    Rule("firebase server key", ":APA91b", r"(?<!\w)[\w-]{11,}:APA91b[\w-]{100,}", back=40),
    *(
        Rule("discord bot token", start + third, r"(?<![\w.-])[\w-]{24,28}\.[\w-]{6}\.[\w-]{27,38}(?![\w.-])")
        for start in ("MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT")
        for third in "AEIMQUYcgk"  # base64 of a number
    ),
    Rule("azure signature", "sig=", r"(?<=[?&;])sig=(?P<secret>[A-Za-z0-9%+/_-]{40,}={0,2})"),
    Rule("presigned url signature", "X-Amz-Signature=", r"X-Amz-Signature=(?P<secret>[a-f0-9]{64})"),
    Rule("teams webhook", ".webhook.office.com/", r"\.webhook\.office\.com/(?P<secret>[\w@/-]{70,})"),
]

_RULES = [*_TOKENS, *_FORMS]
_BY_ANCHOR: dict[str, list[int]] = {}
for _number, _rule in enumerate(_RULES):
    _BY_ANCHOR.setdefault(_rule.anchor, []).append(_number)
ANCHORS = frozenset(_BY_ANCHOR)


def possible(spots: Spots) -> list[Rule]:
    """The rules whose anchors stand in a text, in the order in which they are written down here."""
    return [_RULES[number] for number in sorted(n for anchor in spots for n in _BY_ANCHOR.get(anchor, ()))]


@cache
def compiled(rule: Rule) -> re.Pattern[str]:
    """A rule's expression, compiled when its anchor was first seen."""
    return re.compile(rule.regex, re.ASCII)
