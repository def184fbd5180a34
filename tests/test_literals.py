"""Many literals in one pass: the same places as looking for each alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specialists.secrets import Rules, find
from specialists.secrets import places as secret_places
from specialists.secrets import rules as secret_rules
from specialists.secrets.literals import Literals

LITERALS = ["a", "ab", "abc", "bc", "aa", "aaa", "ä", "|", "B", "-----BEGIN"]


def places(text: str, literal: str) -> list[int]:
    found, at = [], text.find(literal)
    while at >= 0:
        found.append(at)
        at = text.find(literal, at + len(literal))
    return found


@given(st.text(alphabet="abcä|-BEGIN😀\ud800İ", max_size=60))
def test_each_literal_is_found_where_it_stands_whatever_stands_around_it(text: str) -> None:
    assert Literals(LITERALS).find(text) == {item: places(text, item) for item in LITERALS if item in text}


@pytest.mark.parametrize("end", ["", "_x", "=", "-"])
def test_a_long_run_behind_any_anchor_is_read_once(end: str) -> None:
    for anchor in sorted(secret_rules.ANCHORS | secret_places.FOLDED_ANCHORS):  # one that backtracks would not end
        find(anchor + "aB3x9Zq7" * 100 + end, Rules())
        find(anchor + "a" * 800 + end, Rules())
