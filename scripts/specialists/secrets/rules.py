"""What secrets look like: a vendor's prefix or another unmistakable part, as vendors and public rule sets have it."""

import re
from collections.abc import Iterator

from specialists.secrets.fakes import LEAST, Find, is_fake, slots
from specialists.secrets.literals import Rule, Spots, matches, rows
from specialists.secrets.values import case_changes, is_literal

_START = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt])|(?<=%3[Dd])|(?<=\x1b\[[0-9]m)|(?<=\x1b\[[0-9][0-9]m))"  # of a word

# What follows a vendor's prefix: its alphabet; then kind of the token, least length behind the prefix, prefixes
_VENDORS = r"""
[A-Za-z0-9]
  stripe key 10: sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_; razorpay key 14: rzp_live_;
  alibaba access key id 16: LTAI; aws access key id 16: AKIA ASIA ABIA ACCA;
  settlemint token 16: sm_aat_ sm_pat_ sm_sat_; new relic key 19: NRJS-; fireworks key 22: fw_; new relic key 27: NRAK-;
  render key 28: rnd_; adafruit key 28: aio_; bitbucket app password 32: ATBB; crates.io token 32: cio;
  tencent secret id 32: AKID; infracost key 32: ico-; adobe secret 32: p8e-; model api key 32: sk-;
  databricks token 32: dapi; firecrawl key 32: fc-; mailgun key 32: key-; shopify token 32: shpat_ shpca_ shppa_ shpss_;
  hugging face token 34: hf_ api_org_; github token 36: ghp_ gho_ ghu_ ghs_ ghr_; npm token 36: npm_;
  netlify token 36: nfp_; deno deploy token 36: ddp_; prefect key 36: pnu_; clickhouse key 38: 4b1d;
  buildkite token 40: bkua_; sonarqube token 40: sqp_ squ_ sqa_; vercel token 40: vcp_; model session 40: sess-;
  runpod key 40: rpa_; perplexity key 40: pplx-; cerebras key 40: csk-; linear key 40: lin_api_; notion token 40: ntn_;
  posthog key 40: phx_; neon key 40: napi_; pulumi token 40: pul-; supabase token 40: sbp_;
  sourcegraph token 40: sgp_local_; shippo token 40: shippo_live_ shippo_test_; notion token 43: secret_;
  nuget key 43: oy2; groq key 48: gsk_; rubygems key 48: rubygems_; elevenlabs key 48: sk_; easypost key 54: EZAK EZTK;
  honeycomb key 58: hcaik_; age secret key 58: AGE-SECRET-KEY-1; artifactory key 59: cmVmd AKCp; trello token 60: ATTA;
  clojars token 60: CLOJARS_; jina key 60: jina_; readme key 60: rdme_; openrouter key 60: sk-or-v1-;
  digitalocean token 64: dop_v1_ doo_v1_ dor_v1_; linear token 64: lin_oauth_; sentry token 64: sntryu_;
  intra42 secret 64: s-s4t2ud- s-s4t2uf- s-s4t2ad- s-s4t2af-; x.ai key 70: xai-; facebook token 100: EAA;
  bitcoin key 100: xprv
[A-Za-z0-9_-]
  slack token 10: xoxa- xoxc- xoxr- xoxs-; flutterwave key 12: FLWSECK- FLWSECK_TEST-;
  gitlab runner token 20: GR1348941; slack token 20: xapp- xoxb- xoxp-; square token 22: sq0atp- EAAA;
  tailscale key 24: tskey-; vault token 24: hvs. hvr.; supabase secret key 24: sb_secret_;
  docker hub token 27: dckr_pat_ dckr_oat_; google client secret 28: GOCSPX-; tavily key 28: tvly-; dbt token 32: dbtc_;
  new relic key 32: NRII-; 1password secret key 32: A3-; google api key 35: AIza; yandex key 35: AQVN;
  heroku key 36: HRKU-; figma token 36: figd_; langfuse key 36: sk-lf-;
  plaid token 36: access-production- access-development-; hubspot token 36: pat-na1- pat-na2- pat-eu1- pat-ap1-;
  replicate token 37: r8_; google refresh token 40: 1//0; fly.io token 40: fo1_;
  openai key 40: sk-proj- sk-svcacct- sk-admin-; together key 40: tgp_v1_; square token 40: sq0csp-;
  circleci token 40: CCIPAT_; wandb key 40: wandb_v1_; grafana token 40: glsa_; langsmith key 40: lsv2_pt_ lsv2_sk_;
  sourcegraph token 40: sgp_; openshift token 43: sha256~; contentful token 43: CFPAT-;
  duffel token 43: duffel_live_ duffel_test_; scalingo token 48: tk-us-;
  pypi token 50: pypi-AgEIcHlwaS5vcmc pypi-AgENdGVzdC5weXBpLm9yZw; yandex key 50: y0_; pinecone key 50: pcsk_;
  postman key 58: PMAK-; anthropic key 60: sk-ant-; nvidia key 60: nvapi-; github token 60: github_pat_;
  brevo key 70: xkeysib-; discord token 80: mfa.; vault batch token 100: hvb.; dropbox token 100: sl.;
  cloudflare origin key 100: v1.0-
[A-Za-z0-9%+/=_.$-]
  gitlab token 18: glpat- gldt- glrt- glptt- glcbt- glft- glimt- glagent- gloas- glsoat- glffct- glwt-;
  webhook signing secret 24: whsec_; google access token 30: ya29.; grafana token 32: glc_;
  planetscale token 32: pscale_tkn_ pscale_pw_ pscale_oauth_; slack cookie 40: xoxd-;
  doppler token 40: dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.; typeform token 40: tfp_;
  paypal token 40: access_token$production$; aws bedrock key 60: bedrock-api-key-; sentry token 60: sntrys_;
  slack token 60: xoxe. xoxe-; harness token 60: pat. sat.; mapbox secret token 60: sk.eyJ; sendgrid key 60: SG.;
  frame.io token 60: fio-u-; fly.io token 80: fm2_ fm1r_ fm1a_; dynatrace token 80: dt0c01. dt0s16.;
  aws bedrock key 100: ABSK; atlassian token 100: ATATT3 ATCTT3; 1password token 200: ops_eyJ
(?:(?:[a-z]{2,6}_)?(?=[A-Za-z]*(?:\d+[A-Za-z]+){3})[A-Za-z0-9]{20,}+)
  api key 1: sk_ rk_ live_ secret_ token_ apikey_ api_key_
(?:[A-Za-z0-9]{14}\.[a-f0-9]{64})  airtable token 1: pat
(?:[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}+)  resend key 1: re_
(?:[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12})  launchdarkly key 1: sdk-
(?:\d{5,9}_[A-Z0-9]{32})  clickup token 1: pk_
"""
_TOKENS = [
    Rule(kind, prefix, rf"{_START}(?P<prefix>{re.escape(prefix)}){alphabet}{{{least},}}={{0,2}}(?!\w)")
    for alphabet, *vendors in rows(_VENDORS)
    for kind, least, prefixes in re.findall(r"(\w[^:;]*) (\d+): ([^;]+)", " ".join(vendors))
    for prefix in prefixes.split()
]

# kind, anchor, characters before the anchor that belong to it, regular expression
_FORMS = r"""
aws secret access key  AKIA  0  <aws>
aws secret access key  ASIA  0  <aws>
twilio auth token  AC  0  (?<!\w)AC[a-f0-9]{32}\W{1,12}(?P<secret>[a-f0-9]{32})(?!\w)
slack webhook  hooks.slack.com/  0  hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[\w/+]{40,})
zapier webhook  hooks.zapier.com/  0  hooks\.zapier\.com/hooks/catch/(?P<secret>\d+/[a-z0-9]{6,})
facebook app token  |  0  (?<=\d{15})\|(?P<secret>[\w-]{27})(?![\w-])
facebook app token  %7C  0  (?<=\d{15})%7C(?P<secret>[\w-]{27})(?![\w-])
salesforce session  !AQ  18  (?<!\w)00D[A-Za-z0-9]{12,15}!AQ[\w.]{80,}
twitch token  oauth:  0  (?<!\w)oauth:(?P<secret>[a-z0-9]{30})(?!\w)
discord webhook  /api/webhooks/  0  (?<=.com)/api/webhooks/(?P<secret>\d{17,20}/[\w-]{60,})
octopus key  API-  0  (?<![\w-])(?P<prefix>API-)[A-Z0-9]{26}(?!\w)
vault legacy token  s.  0  (?<![\w.])(?P<prefix>s\.)(?=\D*\d\D*\d)[A-Za-z0-9]{24}(?!\w)
twilio api key  SK  0  (?<!\w)(?P<prefix>SK)[a-fA-F0-9]{32}(?!\w)
maxmind key  _mmk  36  (?<!\w)[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk
authress key  .acc  45
  (?<!\w)(?:sc|ext|scauth|authress)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[\w+/=-]{30,}
grafana key  eyJrIjoi  0  (?<!\w)(?P<prefix>eyJrIjoi)[A-Za-z0-9+/]{70,}={0,3}
json web token  eyJ  0  (?<![A-Za-z0-9_-])(?P<prefix>eyJ)[\w-]{10,}\.[\w-]{10,}\.[\w-]{16,}
openai key  T3BlbkFJ  90  (?<!\w)(?P<prefix>sk-)[\w-]{20,}T3BlbkFJ[\w-]{20,}
azure client secret  Q~  4  (?<![\w~.-])[\w~.]{3}\dQ~[\w~.-]{31,34}(?![\w~-])
azure service key  JQQJ99  52  (?<!\w)[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,26}
telegram bot token  :AA  10  (?<![\d:])\d{8,10}:AA[\w-]{32,34}(?![\w-])
terraform cloud token  .atlasv1.  14  (?<!\w)[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,}
mailchimp key  -us  32  (?<!\w)[a-f0-9]{32}-us\d{1,2}(?!\w)
dropbox token  AAAAAAAAAA  11  (?<!\w)[a-z0-9]{11}AAAAAAAAAA[\w=-]{43}
firebase server key  :APA91b  40  (?<!\w)[\w-]{11,}:APA91b[\w-]{100,}
azure signature  sig=  0  (?<=[?&;])sig=(?P<secret>[A-Za-z0-9%+/_-]{40,}={0,2})
presigned url signature  X-Amz-Signature=  0  X-Amz-Signature=(?P<secret>[a-f0-9]{64})
teams webhook  .webhook.office.com/  0  \.webhook\.office\.com/(?P<secret>[\w@/-]{70,})
"""
_AWS = (  # beside the key id, on its line or the next; an upper and a lower case letter: no hash of a commit
    r"(?<!\w)A[KS]IA[A-Z2-7]{16}(?!\w)(?:[^\n]{0,80}\n)??[^\n]{0,80}?(?<![\w/+=-])"
    r"(?=[a-z0-9/+]{0,39}[A-Z])(?=[A-Z0-9/+]{0,39}[a-z])(?P<secret>[A-Za-z0-9/+]{40})(?![\w/+=-])"
)
# base64 of a number
_DISCORD = (start + third for start in "MT Mj Mz ND NT Nj Nz OD OT".split() for third in "AEIMQUYcgk")
_RULES = [
    *_TOKENS,
    *(Rule(kind, at, "".join(regex).replace("<aws>", _AWS), int(back)) for kind, at, back, *regex in rows(_FORMS)),
    *(Rule("discord bot token", at, r"(?<![\w.-])[\w-]{24,28}\.[\w-]{6}\.[\w-]{27,38}(?![\w.-])") for at in _DISCORD),
]
ANCHORS = frozenset(rule.anchor for rule in _RULES)


def shaped(text: str, exact: Spots) -> Iterator[Find]:
    """Tokens that are known by their shape; `exact`: where ANCHORS stand."""
    for rule, match in matches(_RULES, exact, text):
        groups = match.re.groupindex
        start, end = match.span("secret" if "secret" in groups else 0)
        keep = (match.span("prefix"),) if "prefix" in groups else ()
        body = text[match.end("prefix") if keep else start : end]
        ours = is_fake(body)
        random = any(map(str.isdigit, body)) or case_changes(body) > len(body) / 4
        if ours or (random and len(slots(body)) >= LEAST and is_literal(body)):
            yield Find(start, end, rule.kind, keep=keep, ours=ours)
