"""Secrets and personal data: found, replaced by fakes that stay, kept out of targets; look-alikes left alone."""

import base64
import json
import random
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import secret_corpus
from hypothesis import example, given, settings
from hypothesis import strategies as st
from specialists.agent import TOOLS
from specialists.config import load_config
from specialists.records import make_record, record_id, tool_call
from specialists.secrets import PERSONAL, SECRET, Rules, find, redact, scrub
from specialists.secrets.values import is_password, is_token, name_kind

SECRETS, LOOK_ALIKES = secret_corpus.secrets(), secret_corpus.look_alikes()
TOKEN = "ghp" + "_" + secret_corpus.Maker(5)(36)
PASSWORD = "Wr7" + "kQz2m" + "Bx9"
KEY = "\n".join(secret_corpus.Maker(6).pem())


def remains(secret: str, text: str) -> bool:
    """Whether any six characters of a secret still stand in a text."""
    return any(secret[at : at + 6] in text for at in range(len(secret) - 5))


def test_at_least_97_of_100_secrets_are_found_whole_once_and_never_shown() -> None:
    assert len(SECRETS) >= 200 and len({sample.kind for sample in SECRETS}) >= 60
    missed = []
    for sample in SECRETS:
        once, findings = redact(sample.text, Rules())
        assert findings and redact(once, Rules()) == (once, []), sample.kind
        assert not remains(sample.secret, repr(findings)), sample.kind
        missed += [sample] if remains(sample.secret, once) else []
    assert len(missed) <= 0.03 * len(SECRETS), missed
    assert {sample.kind for sample in SECRETS if sample not in missed} == {sample.kind for sample in SECRETS}


def test_at_most_2_of_100_look_alikes_are_taken_for_secrets() -> None:
    assert len(LOOK_ALIKES) >= 200
    alarms = [(line, finds) for line in LOOK_ALIKES if (finds := find(line, Rules()))]
    assert len(alarms) <= 0.02 * len(LOOK_ALIKES), alarms


def test_one_file_in_two_hundred_of_real_code_alarms_at_most() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    files = random.Random(1).sample(sorted([*folder.glob("*.py"), *folder.glob("[ehjlmuwx]*/*.py")]), 200)
    sources = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    alarms = [path for path, text in sources.items() if any(item.category == SECRET for item in find(text, Rules()))]
    assert len(alarms) <= 1, alarms


ANY_TEXT = st.text(st.characters(codec=None), max_size=12)
PIECES = [sample.text for sample in SECRETS] + LOOK_ALIKES
GLUE = ["", " ", "\n", '"', "'", "=", ": ", "@", "/", ",", "\\n", "password=", 'token: "', "://a:", "\n- ", "}"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(GLUE), ANY_TEXT), max_size=7))
@example(["password=", "://a:", "password=", PIECES[0]])
def test_whatever_stands_side_by_side_the_second_time_changes_nothing(pieces: list[str]) -> None:
    text = "".join(pieces)
    once, findings = redact(text, Rules())
    assert redact(once, Rules()) == (once, []), text
    assert findings or once == text


@pytest.mark.parametrize("text", [TOKEN, f"DB_PASSWORD={PASSWORD}\nDEBUG=false\n" * 3], ids=["token", "env file"])
@pytest.mark.parametrize(
    "encode",
    [
        base64.b64encode,
        lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
        base64.encodebytes,
        lambda data: base64.b64encode(base64.b64encode(data)),
        lambda data: base64.b64encode(data.decode().encode("utf-16-le")),
        lambda data: data.hex().encode(),
    ],
    ids=["base64", "in a url", "over lines", "twice", "powershell", "hexadecimal"],
)
def test_what_is_encoded_is_looked_into(encode: Callable[[bytes], bytes], text: str) -> None:
    hidden = encode(text.encode()).decode()
    once, findings = redact(f"x = {hidden}", Rules())
    assert findings and not remains(hidden[8:-4], once) and redact(once, Rules()) == (once, [])
    harmless = encode(b"DEBUG=false, and nothing else that anybody would hide").decode()
    assert redact(f"x = {harmless}", Rules()) == (f"x = {harmless}", [])


@pytest.mark.parametrize(
    ("prefix", "body"),
    [(prefix, body) for _kind, prefix, body in secret_corpus.PREFIXED if prefix and "/" not in prefix][::5],
)
def test_a_vendors_prefix_stays(prefix: str, body: str) -> None:
    secret = prefix + secret_corpus.Maker(9).body(body)
    once, _findings = redact(f'key("{secret}")', Rules())
    assert once.startswith(f'key("{prefix}') and once != f'key("{secret}")' and len(once) == len(secret) + 7


def test_a_hexadecimal_secret_stays_hexadecimal() -> None:
    secret = secret_corpus.Maker(2)(40, secret_corpus.HEX)
    once, _findings = redact(f"api_key={secret}", Rules())
    assert set(once.removeprefix("api_key=")) <= set(secret_corpus.HEX)


WHOLE = [  # a text, what of it is found
    (f'Authorization: Bearer {TOKEN}, password="{TOKEN}"', [TOKEN, TOKEN]),
    (f"https://kim:{TOKEN}@github.com/a/b", [TOKEN]),
    (f'api_key = "kim:{TOKEN}"', [f"kim:{TOKEN}"]),
]


@pytest.mark.parametrize(("text", "found"), WHOLE)
def test_overlapping_finds_are_one_and_a_prefix_stays_in_it(text: str, found: list[str]) -> None:
    assert [text[item.start : item.end] for item in find(text, Rules())] == found
    once, _findings = redact(text, Rules())
    assert once.count("ghp_") == len(found) and TOKEN not in once


def test_escapes_survive_in_a_key_inside_a_string() -> None:
    block = f"-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n"
    once, findings = redact(json.dumps({"key": block}), Rules())
    read = json.loads(once)["key"]
    assert read.count("\n") == block.count("\n") and read.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert {finding.kind for finding in findings} == {"private key"}
    assert not any(line in read for line in KEY.split("\n"))


def test_the_data_of_a_kubernetes_secret() -> None:
    first, second = secret_corpus.Maker(8).base64(12), secret_corpus.Maker(9).base64(18)
    manifest = f"apiVersion: v1\ndata:\n  db: {first}\nkind: Secret\nmetadata:\n  namespace: frontend\n  name: app\n"
    numbered = f"1: kind: Secret\n2: data:\n3:   db: {first}\n4:   mq: {second}\n5: type: Opaque\n"
    for text in (manifest, numbered):
        once, findings = redact(text, Rules())
        assert findings and first not in once and second not in once
        assert "frontend" in once or "Opaque" in once
        assert redact(text.replace("Secret", "ConfigMap"), Rules()) == (text.replace("Secret", "ConfigMap"), [])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("password", "password DB_PASSWORD dbPassword2 smtp_pass"),
        ("token", "apiKey X-Api-Key clientSecret GITHUB_TOKEN authtoken aws_secret_access_key openai_key _authToken"),
        (None, "password_hash token_type apiKeyId public_key primary_key csrf_token compass tokenizer key monkey"),
    ],
)
def test_names_that_tell_of_a_secret(kind: str | None, names: str) -> None:
    assert {name: name_kind(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


NO_VALUES = "hunter2 changeme123 P@ssw0rd! my-secret-token ${X} <key> xxxxxxxx user.password 1.2.3.4567 /run/secret1"


@pytest.mark.parametrize("value", NO_VALUES.split())
def test_values_that_are_no_secret(value: str) -> None:
    assert not is_password(value) and not is_token(value)


PERSONAL_TEXTS = [
    ("Author: Kim <kim.lee@nordwind.de>", "kim.lee@nordwind.de"),
    ("cd /home/kimlee/src/app", "kimlee"),
    ("/Users/kimlee/Library/x", "kimlee"),
    (r"C:\Users\kimlee\app", "kimlee"),
    (r'"C:\\Users\\kimlee\\app"', "kimlee"),
    ("call +49 170 2938475 today", "2938475"),
    ("(415) 736-2210 is the office", "736-2210"),
    ('"phone": "01702938475"', "2938475"),
    ("Tel. 030/901820-47, mornings", "901820"),
    ("le 06 12 84 57 78", "84 57"),
    ("file:///home/kimlee#L7", "kimlee"),
    ("?path=%2Fhome%2Fkimlee%2Fsrc", "kimlee"),
    ("file:///c%3A/Users/kimlee/app", "kimlee"),
    (r"C:\Users\Kim Lee\app", "Lee"),
    (r"\\wsl$\Ubuntu\home\kimlee\x", "kimlee"),
]
NOT_PERSONAL = """
git@github.com:a/b.git|user@example.com|noreply@anthropic.dev|root@localhost|a@2x.png|pkg@1.2.3|@types/node@20.1.2
/home/user/app|/Users/runner/work|/home/runner/work/x|x = a@b.mean()|@@ -12,7 +12,9 @@|1234567890|+1 202 555 0143
2026-03-01 10:00|192.168.178.201|12345678+kim@users.noreply.github.com|555-0100|i+1 234 567|kim@example.org
1-800-555-0199|src\\home\\widgets\\a.ts|GET /Users/search?x=1|00000010: 0612 3456 7890
0a 06 12 34 56 78|0644 root 1234567|02-03-2026
"""


@pytest.mark.parametrize(("text", "private"), PERSONAL_TEXTS)
def test_personal_data_is_replaced_as_its_own_class(text: str, private: str) -> None:
    once, findings = redact(text, Rules())
    assert private not in once
    assert [finding.category for finding in findings] == [PERSONAL]
    assert redact(once, Rules()) == (once, [])


@pytest.mark.parametrize("text", re.split(r"[|\n]", NOT_PERSONAL.strip()))
def test_what_looks_personal_and_is_not(text: str) -> None:
    assert redact(text, Rules()) == (text, [])


def test_hosts_of_the_owner_are_replaced_where_a_host_is_meant() -> None:
    rules = Rules(hosts=("sin", "nas.nordwind.de", "192.168.178.*", "*.nordwind.lan"))
    for address in ("http://192.168.178.20:8080/", "db1.nordwind.lan:22"):
        once, findings = redact(address, rules)
        assert once != address and len(findings) == 1 and redact(once, rules) == (once, [])
    assert redact("192.168.179.20 nordwind.lan", rules)[1] == []
    once, findings = redact("ssh kim@sin; Math.sin(x); http://sin:8000/; sin.local; NAS.nordwind.de/x; sinus", rules)
    assert "Math.sin(x)" in once and "sinus" in once and "nordwind" not in once.lower()
    assert len(findings) == 4 and {finding.kind for finding in findings} == {"host name"}
    assert redact(once, rules) == (once, [])


def test_own_patterns_and_exceptions(config_file: Path) -> None:
    config_file.write_text(
        config_file.read_text() + "\n[secrets]\nextra = ['CASE-(\\d{8})', 'Bluebird\\w*']\nallow = ['^ghp_']\n"
    )
    rules = load_config(config_file).secrets
    once, findings = redact(f"CASE-84736251 Bluebird7 {TOKEN}", rules)
    assert "84736251" not in once and once.startswith("CASE-") and "Bluebird" not in once and TOKEN in once
    assert [finding.kind for finding in findings] == ["own pattern", "own pattern"]
    assert TOKEN not in redact(TOKEN, Rules())[0]


def chat(user: str = "go", result: str = "done", context: str = "", **target) -> dict:
    """A record: request, a failed step (context), a call (target), its result, a last word (target)."""
    arguments = target.get("arguments", {"command": "ls"})
    call = tool_call(0, "bash", {"command": context})
    messages = [
        {"role": "system", "content": "You are build-rust, kim@nordwind.de."},
        {"role": "user", "content": user},
        {"role": "assistant", "content": context, "weight": 0, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": "failed"},
        {"role": "assistant", "content": target.get("content", ""), "tool_calls": [tool_call(1, "bash", arguments)]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
        {"role": "assistant", "content": target.get("last", "Done.")},
    ]
    if "reasoning" in target:
        messages[4]["reasoning_content"] = target["reasoning"]
    source = {"kind": "session", "time": "2026-01-01T00:00:00Z"}
    source |= {"title": target.get("title", "x"), "path": target.get("path", "a.rs")}
    return make_record("rust", messages, TOOLS, source)


IN_TARGETS = [
    {"content": f"I use {TOKEN}."},
    {"last": f"The key is {TOKEN}"},
    {"reasoning": f"so {TOKEN} is it"},
    {"arguments": {"command": f"curl -H 'Authorization: Bearer {TOKEN}' x"}},
    {"arguments": {"todos": [{"content": {"deep": f"use {TOKEN}"}}]}},
    {"arguments": {"env": {"DB_PASSWORD": PASSWORD}}},
    {"arguments": {"command": f"mysql -u root -p{PASSWORD} shop"}},
    {"arguments": {TOKEN: 1}},
    {"arguments": {"password": PASSWORD.replace("k", 'k"')}},
    {"arguments": {"content": f"-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----"}},
    {"user": f'password = "{PASSWORD}"', "last": f"I put {PASSWORD} there."},
    {"result": f"DB_PASSWORD={PASSWORD}", "arguments": {"command": f"connect {PASSWORD}"}},
    {"path": f"keys/{TOKEN}.txt", "arguments": {"filePath": f"keys/{TOKEN}.txt"}},
]


@pytest.mark.parametrize("places", IN_TARGETS)
def test_a_secret_in_a_target_drops_the_row(places: dict) -> None:
    record, findings = scrub(chat(**places), Rules())
    assert record is None
    assert [finding.category for finding in findings] == [SECRET] * len(findings) and findings


IN_CONTEXT = [
    {"user": f"use {TOKEN}"},
    {"result": f"TOKEN={TOKEN}"},
    {"context": f"curl -H 'Authorization: Bearer {TOKEN}' x"},
    {"title": f"Fix {TOKEN}"},
    {"path": f"keys/{TOKEN}.txt"},
]


@pytest.mark.parametrize("places", IN_CONTEXT)
def test_a_secret_in_context_is_replaced_throughout(places: dict) -> None:
    before = chat(**places)
    after, findings = scrub(before, Rules())
    assert after is not None and TOKEN not in json.dumps(after)
    fake = redact(TOKEN, Rules())[0]
    assert json.dumps(after) == json.dumps(before).replace(TOKEN, fake).replace(before["id"], after["id"])
    assert after["id"] == record_id("rust", after["messages"], after["tools"])
    assert [finding.kind for finding in findings] == ["github token"]
    assert scrub(after, Rules()) == (after, [])


def _basic(password: str, user: str = "kim") -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


STRANGE = PASSWORD + "/+@" + "x8"  # differs in a URL
COPIES = {
    "as it is": (f"DB_PASSWORD={PASSWORD}", f"connected with {PASSWORD} ok", PASSWORD),
    "base64 of a login": (f"password={PASSWORD}", f"header: {_basic(PASSWORD)}", _basic(PASSWORD)[6:-4]),
    "within base64": (f"password={PASSWORD}", _basic(PASSWORD + "\nu=x", "kimlee"), _basic(PASSWORD, "kimlee")[11:-4]),
    "base64 alone": (f"token = '{KEY[:40]}'", base64.b64encode(KEY[:40].encode()).decode(), "X" * 9),
    "in a url": (f'password = "{STRANGE}"', f"at shop/{quote(STRANGE, safe='')}", quote(STRANGE, safe="")),
    "from a url": (f"postgres://kim:{quote(STRANGE, safe='')}@db.dev/x", f"used {STRANGE} there", STRANGE),
    "from a login": (f"Authorization: Basic {_basic(PASSWORD)}", f"used {PASSWORD} there", PASSWORD),
}


@pytest.mark.parametrize(("shown", "copied", "secret"), COPIES.values(), ids=COPIES)
def test_copies_of_a_secret_in_another_form_go_too(shown: str, copied: str, secret: str) -> None:
    assert find(copied, Rules()) == []
    after, _findings = scrub(chat(user=shown, result=copied), Rules())
    assert after is not None and after["messages"][5]["content"] != copied
    assert not remains(secret, json.dumps(after)), after["messages"][5]["content"]
    assert scrub(after, Rules()) == (after, [])
    assert scrub(chat(user=shown, last=copied), Rules())[0] is None


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SECRETS), st.sampled_from(["user", "result", "context", "title", "path", "last"]), st.booleans())
def test_a_secret_shown_once_grows_back_nowhere(sample: secret_corpus.Sample, place: str, spoils: bool) -> None:
    texts = (sample.text[item.start : item.end] for item in find(sample.text, Rules()))
    shown = {text for text in texts if len(text) >= 12}
    bare = {place: "\n".join(sorted(shown))} | ({"content": sample.text} if spoils else {})
    others = {key: value for key, value in bare.items() if key != "user"}
    after, findings = scrub(chat(user=sample.text, **others), Rules())
    if spoils or (place == "last" and shown):
        assert after is None or not findings
    else:
        assert after is not None and scrub(after, Rules()) == (after, [])
        if any(sample.secret in text for text in shown):
            assert not remains(sample.secret, json.dumps(after))


def test_personal_data_is_replaced_in_targets_too_and_the_same_way() -> None:
    before = chat(
        user="mail kim@nordwind.de",
        last="Mailed kim@nordwind.de.",
        arguments={"command": "ls /home/kimlee/x"},
        result="/home/kimlee/x/a",
        path="/home/kimlee/x",
    )
    after, findings = scrub(before, Rules())
    assert after is not None
    mailed = after["messages"][1]["content"].removeprefix("mail ")
    assert after["messages"][6]["content"] == f"Mailed {mailed}." and mailed.endswith("@example.com")
    arguments = json.loads(after["messages"][4]["tool_calls"][0]["function"]["arguments"])
    assert "kimlee" not in json.dumps(after) and arguments == {"command": f"ls {after['source']['path']}"}
    assert {finding.category for finding in findings} == {PERSONAL}
    assert after["messages"][0] == before["messages"][0] and after["tools"] == before["tools"]


def test_a_row_without_finds_is_the_same_row() -> None:
    before = chat(user="commit " + "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3")
    assert scrub(before, Rules()) == (before, [])


def test_arguments_that_are_no_json_are_a_text() -> None:
    before = chat()
    before["messages"][2]["tool_calls"][0]["function"]["arguments"] = '{"command": "TOKEN=' + TOKEN
    after, _findings = scrub(before, Rules())
    assert after is not None and TOKEN not in json.dumps(after)
