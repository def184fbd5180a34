"""Four kinds of small mistakes put into real functions, as splices of bytes that leave all else untouched.

They are found by tokens and fields that the grammars share, and are such that a reader of the function can find them.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tree_sitter import Node

from specialists.code import syntax
from specialists.code.syntax import Function


class Mutation(NamedTuple):
    """The bytes start..end of a file become `new`."""

    kind: str
    start: int
    end: int
    new: bytes

    def apply(self, source: bytes) -> bytes:
        """The file with the mistake in it."""
        return source[: self.start] + self.new + source[self.end :]


_OPERATORS = {b"==": b"!=", b"===": b"!==", b"<": b">", b"<=": b">=", b"&&": b"||", b"and": b"or"}
_OPERATORS |= {b"+": b"-", b"*": b"/", b"+=": b"-="}
_OPERATORS |= {new: old for old, new in _OPERATORS.items()}
_ATOM = rb"(?!(?:true|false|True|1)\b)[\w@$.:?!&]+(?:\([^()\n]*\))?[\w.?!]*"  # a condition that binds tighter than `!`
_REPORTS = re.compile(  # calls in which a mistake would not show
    rb"([\w.@$&?!]*\.)?(log\w*|debug\w*|info|warn\w*|trace|print\w*|puts|p|echo|assert\w*|expect|raise|panic|fatalError"
    rb"|precondition\w*|format|inspect|attr_\w+|private\w*|public\w*|protected)[?!]?[ (]"
)


def mutations(grammar: str, source: bytes) -> list[tuple[Function, Mutation]]:
    """Every mistake that could be made in a file, with the smallest function around it; some may not parse."""
    functions = sorted(syntax.functions(grammar, source), key=lambda function: function.body[1] - function.body[0])
    nodes = syntax.walk(syntax.parse(grammar, source).root_node, _shows_no_mistake)
    made = (m for node in nodes for m in (*_operators(node, source), *_conditions(node, grammar)))
    around = ((next((f for f in functions if f.body[0] <= m.start and m.end <= f.body[1]), None), m) for m in made)
    return [(function, mutation) for function, mutation in around if function]


def _shows_no_mistake(node: Node) -> bool:
    """Whether it is a comment, a call that only reports, or an error that is raised."""
    reports = "call" in node.type and _REPORTS.match(node.text or b"")
    return bool(reports or re.search("comment|macro_invocation|throw_|raise_|assert_", node.type))


def _operators(token: Node, source: bytes) -> Iterator[Mutation]:
    """Comparisons the wrong way round, `and` for `or`, plus for minus."""
    left, right, text = token.prev_sibling, token.next_sibling, token.text or b""
    if text in _OPERATORS and left is not None and right is not None and left.text != right.text:
        start, end = token.start_byte, token.end_byte
        if source[start - 1 : start] == source[end : end + 1] == b" ":  # not `Bare<Value>.self`
            kind = "logic" if re.match(rb"[&|ao]", text) else "arithmetic" if text[0] in b"+-*/" else "comparison"
            yield Mutation(kind, start, end, _OPERATORS[text])


def _conditions(node: Node, grammar: str) -> Iterator[Mutation]:
    """A condition that is negated, or is not any more."""
    found = [child for index, child in enumerate(node.children) if node.field_name_for_child(index) == "condition"]
    if len(found) != 1:
        return
    inner = found[0].named_children if found[0].type == "parenthesized_expression" else ()
    condition = next(iter(inner), found[0])
    text, start, end = condition.text or b"", condition.start_byte, condition.end_byte
    if negated := re.fullmatch(rb"(?:!|not )(" + _ATOM + rb")", text):
        yield Mutation("condition", start, end, negated[1])
    elif re.fullmatch(_ATOM, text):
        yield Mutation("condition", start, end, (b"not " if grammar == "tree_sitter_python" else b"!") + text)
