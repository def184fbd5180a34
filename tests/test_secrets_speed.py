"""The time that the search for secrets takes: it grows with the length of a text alone, whatever its shape."""

import re
import time

import pytest
from specialists.config import Problem
from specialists.secrets import Rules, clean, redact

_PIECES = r"""
://¦password=¦password='x¦eyJ¦-----BEGIN RSA PRIVATE KEY-----\n¦MT¦a@b.¦+1 234 ¦kind: Secret\n¦cookie: a=b; ¦token is ¦x
name: TOKEN, value¦identified by '¦/home/kim/a#.rs\n¦x/home/u#/b¦password=abc#-#x\n¦"token": "x#Y#qwert",\n¦u#@corp#.com
key=¦token:"¦key='key="key=`¦auth¦mnemonic¦bundle___¦cookie: sess¦:AA¦T3BlbkFJ-sk-¦sk-ant-¦\\
-----END PRIVATE KEY-----\n
kind: Secret\ndata:\n     ¦ ¦\t¦\n¦MIIEpAIBAA\n¦AKIAABCDEFGHIJKLMNOP\n¦'¦"¦((¦{"a":¦[¦a\\\n¦password\uff1d
a\u200b¦abcdefghijklmnopqrstuvw ¦AKIAABCDEFGHIJKLMN ¦client(¦mysql -p¦%2Fhome%2Fkim¦tel 0¦0170 ¦//
apikey¦yy¦.¦aB3¦(415) 555-¦"type":"oauth","refresh":"
"""
SHAPES = [shape.encode().decode("unicode_escape") for shape in re.split("[¦\n]", _PIECES.strip())]


@pytest.mark.parametrize("piece", SHAPES)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    def seconds(length: int) -> float:
        text = "".join(piece.replace("#", str(number)) for number in range(length))[:length]
        started = time.process_time()
        redact(text, rules)
        return time.process_time() - started

    rules = Rules(hosts=("sin", "*.nordwind.lan"))
    short, long = (min(map(seconds, lengths)) for lengths in ((8_000, 8_001), (32_000, 32_001)))
    assert long < 9 * max(short, 0.02)  # in the square of the length it would be 16


@pytest.mark.filterwarnings("ignore:Possible nested set")
@pytest.mark.parametrize(("pattern", "says"), [("(a+)+$", "takes over 2 s"), ("[[:foo:]]", "unknown property")])
def test_a_pattern_of_the_owner_that_cannot_be_run_is_named(pattern: str, says: str) -> None:
    with pytest.raises(Problem, match=rf"extra: {re.escape(repr(pattern))}:? {says}"):
        redact("a" * 5_000 + "b", Rules(extra=(pattern,)))


def test_a_chat_of_many_secrets_takes_no_longer_for_each() -> None:
    def seconds(count: int) -> float:
        shown = "".join(f"password=Kq{number}x9{number}Z\n" for number in range(count))
        started = time.process_time()
        clean([{"role": "user", "content": shown}, {"role": "tool", "content": shown}], {}, Rules())
        return time.process_time() - started

    assert seconds(1_600) < 9 * seconds(400)


def test_what_follows_two_thousand_secrets_of_one_text_goes() -> None:
    lines = [f"password=Kq{number}x9{number}Z\n" for number in range(3_000)]
    once, findings = redact("".join(lines) + "and so on")
    assert redact(once) == (once, []) and not any(line.strip() in once for line in lines)
    assert once.count("password=") == len(findings) - 1 == 2_000 and findings[-1].kind == "list of secrets"
