"""Regular expressions that are tried only where a literal stands, and literals, hundreds of them found in one pass.

An Aho-Corasick automaton reads some 300 MB a second, however many literals; a regular expression of them 10 MB.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property, partial
from typing import NamedTuple

Spots = dict[str, list[int]]
"""The literals that stand in a text and where; occurrences of the same literal do not overlap."""


class Rule(NamedTuple):
    """A regular expression tried where `anchor` stands, from `back` characters before it on.
    The group `secret` is what is replaced (without it: the whole match); `prefix` stays."""

    kind: str
    anchor: str
    regex: str
    back: int = 0


def rows(table: str) -> Iterator[list[str]]:
    """The rows of a table: fields two spaces apart; a line that begins with two spaces belongs to the one before."""
    return (re.split(r"\n?  ", row) for row in re.split(r"\n(?! )", table.strip("\n")))


def matches(rules: Iterable[Rule], spots: Spots, text: str) -> Iterator[tuple[Rule, re.Match[str]]]:
    """Where rules match, in the order of the rules; an anchor within a match of its rule is not looked at again."""
    for rule in (rule for rule in rules if rule.anchor in spots):
        end = 0
        for at in spots[rule.anchor]:
            if at < end:
                continue
            pattern = _compiled(rule.regex)
            if rule.back:
                match, end = pattern.search(text, max(0, at - rule.back), at + 600), at + 300
            else:
                match = pattern.match(text, at)
            if match:
                end = match.end()
                yield rule, match


_compiled = cache(partial(re.compile, flags=re.ASCII))


class Literals:
    """A set of literals to look for. Case counts."""

    def __init__(self, literals: Iterable[str]):
        self._literals = sorted(set(literals))

    def find(self, text: str) -> Spots:
        """Those that stand in the text, with their positions in order. Finds that overlap each other all count."""
        text = text.encode("utf-8", "replace").decode()  # a question mark for a lone surrogate keeps the positions
        spots: Spots = {}
        for number, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            known = spots.setdefault(self._literals[number], [])
            if not known or start - known[-1] >= end - start:
                known.append(start)
        return spots

    @cached_property
    def _automaton(self):
        from ahocorasick_rs import AhoCorasick, Implementation

        few = len(self._literals) < 1000  # the fastest automaton takes a kilobyte a character
        return AhoCorasick(self._literals, implementation=Implementation.DFA if few else None)
