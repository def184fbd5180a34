"""Small mistakes put into real functions, as splices of bytes that leave all else untouched.

That a change still parses proves nothing about it; `parses` is all that an example made from it may claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from specialists.code import syntax
from specialists.code.syntax import Function
from specialists.synthetic.code_kinds import CALLS, TALK, callee
from specialists.synthetic.operators import OPERATORS, Mutation

if TYPE_CHECKING:
    from tree_sitter import Node


def mutations(grammar: str, source: bytes) -> list[tuple[Function, Mutation]]:
    """Every mistake that could be made in the functions of a file, each in the smallest function around it.

    Nothing is parsed again here; ask `holds` of the ones you want.
    """
    root, found, taken = syntax.parse(grammar, source).root_node, [], set()
    for function in sorted(syntax.functions(grammar, source), key=lambda item: item.body[1] - item.body[0]):
        start, end = function.body
        around = root.descendant_for_byte_range(start, end)
        first = source.rfind(b"\n", 0, start) + 1  # where whole lines are taken out
        for node in _inside(around, start, end):
            for offer in OPERATORS.values():
                for mutation in offer(node):
                    place = (mutation.start, mutation.end, mutation.new)
                    if place not in taken and first <= mutation.start and mutation.end <= end + 2:
                        taken.add(place)
                        found.append((function, mutation))
    return sorted(found, key=lambda pair: (pair[1].start, pair[1].operator, pair[1].new))


def holds(grammar: str, source: bytes, mutation: Mutation) -> bool:
    """Whether a file with a mistake differs in more than white space, and parses as well as it did."""
    if source[mutation.start : mutation.end].split() == mutation.new.split():
        return False
    return syntax.error_nodes(grammar, mutation.apply(source)) <= syntax.error_nodes(grammar, source)


def _inside(node: Node | None, start: int, end: int) -> Iterator[Node]:
    """The nodes of a body, without what only reports and what states versions."""
    stack = [node] if node is not None else []
    while stack:
        node = stack.pop()
        if node.end_byte <= start or node.start_byte >= end or "comment" in node.type:
            continue
        if node.start_byte >= start and _is_talk(node):
            continue
        if node.is_named and node.start_byte >= start:
            yield node
        stack += reversed(node.children)


def _is_talk(node: Node) -> bool:
    if node.type in CALLS:
        return bool(TALK.match(callee(node)))
    return node.type in ("macro_invocation", "throw_statement", "raise_statement", "assert_statement")
