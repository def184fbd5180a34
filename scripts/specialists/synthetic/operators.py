"""The mistakes that people make, one operator each: what in a node of a syntax tree could have been written wrongly.

An operator looks at one node and offers splices of bytes, with the pieces of code that a request may speak of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from specialists.synthetic import code_kinds as kinds

if TYPE_CHECKING:
    from tree_sitter import Node

Words = dict[str, str]


@dataclass(frozen=True)
class Mutation:
    """One mistake: the bytes start..end of a file become `new`."""

    operator: str
    start: int
    end: int
    new: bytes
    words: Words = field(default_factory=dict, hash=False)

    def apply(self, source: bytes) -> bytes:
        """The file with the mistake in it."""
        return source[: self.start] + self.new + source[self.end :]


Operator = Callable[["Node"], Iterator[Mutation]]
OPERATORS: dict[str, Operator] = {}


def operator(function: Operator) -> Operator:
    OPERATORS[function.__name__] = function
    return function


def _infix(
    node: Node, table: dict[str, str], types: frozenset[str] = kinds.BINARY
) -> Iterator[tuple[Node, str, str, str]]:
    """Operator tokens of a node that stand in a table, with its replacement and both operands."""
    if node.type not in types:
        return
    for token in node.children:
        text = kinds.text_of(token)
        if text in table and (not token.is_named or token.type == "custom_operator"):
            left, right = kinds.left_operand(node, token), kinds.code(kinds.first_operand(node, token.next_sibling))
            if left and right and left != right:
                yield token, table[text], left, right


@operator
def boundary(node: Node) -> Iterator[Mutation]:
    for token, new, left, right in _infix(node, kinds.BOUNDARY):
        if not kinds.is_spaced(token):  # `Bare<Value>.self`, which Swift's grammar takes for two comparisons
            continue
        words = {"left": left, "right": right, "real": kinds.text_of(token), "wrong": new}
        yield _replaced("boundary", token, new, words)


@operator
def equality(node: Node) -> Iterator[Mutation]:
    for token, new, left, right in _infix(node, kinds.EQUALITY):
        if kinds.text_of(token) == "===" and node.type == "binary":  # Ruby's case equality has no opposite
            continue
        yield _replaced(
            "equality", token, new, {"left": left, "right": right, "real": kinds.text_of(token), "wrong": new}
        )


@operator
def logic(node: Node) -> Iterator[Mutation]:
    for token, new, left, right in _infix(node, kinds.LOGIC):
        both = kinds.text_of(token) in ("&&", "and")
        words = {"left": left, "right": right, "both": "yes" if both else ""}
        words["role"] = "test" if kinds.asks(node, left + " " + right) else "value"
        yield _replaced("logic", token, new, words)


@operator
def arithmetic(node: Node) -> Iterator[Mutation]:
    for token, new, left, right in _infix(node, kinds.ARITHMETIC, kinds.BINARY | kinds.ASSIGNMENTS):
        numeric = kinds.NUMERIC.search(left) and kinds.NUMERIC.search(right)
        if numeric and not re.search(r"[\"'\[]", left + right) and right not in ("0", "1" if new in "*/" else "0"):
            yield _replaced(
                "arithmetic", token, new, {"left": left, "right": right, "real": kinds.text_of(token), "wrong": new}
            )


@operator
def off_by_one(node: Node) -> Iterator[Mutation]:
    text, parent = kinds.text_of(node), node.parent
    if (
        node.type not in kinds.INTEGERS
        or not re.fullmatch(r"\d{1,2}", text)
        or parent is None
        or kinds.VERSION.search(kinds.line_of(node))
    ):
        return
    sign = next((kinds.text_of(child) for child in parent.children if not child.is_named), "")
    counted = parent.type in kinds.BINARY | kinds.RANGES | kinds.INDEXES and not (
        sign in ("*", "/", "%", "**", "??", "<<", ">>", "&", "|", "^", *kinds.LOGIC) or kinds.code(parent) == ""
    )
    counted = counted or (parent.type in kinds.ARGUMENTS and kinds.callee(parent.parent) in kinds.COUNTING)
    place = parent.parent if parent.type in kinds.ARGUMENTS else parent
    if parent.type == "value_argument":  # Swift: in value_arguments, in a call_suffix, in a call
        place = kinds.ancestor(parent, 3)
        counted = kinds.text_of(parent.parent).startswith("[") or kinds.callee(place) in kinds.COUNTING
    if not counted or place is None:
        return
    near = next((kinds.code(child) for child in place.named_children if child != node and kinds.code(child)), "")
    up = text == "0" or (text == "1" and sign in ("+", "-")) or len(near) % 2
    new = str(int(text) + (1 if up else -1))
    if re.search(r"[A-Za-z_]", near):
        yield _replaced("off_by_one", node, new, {"near": near, "real": text, "wrong": new})


@operator
def swapped_arguments(node: Node) -> Iterator[Mutation]:
    if node.type not in kinds.ARGUMENTS or node.parent is None:
        return
    call = node.parent if node.parent.type in kinds.CALLS else node.parent.parent
    called = kinds.callee(call) if call is not None and call.type in kinds.CALLS else ""
    if not called or kinds.SYMMETRIC.match(called):
        return
    values = []  # and whether each has a label, as in Swift
    for child in node.named_children:
        wrapped = child.type == "value_argument"
        value = child.child_by_field_name("value") if wrapped else child
        values.append((value, wrapped and child.child_by_field_name("name") is not None))
    for (one, first), (two, second) in pairwise(values):
        if one is None or two is None or one.type != two.type or one.type not in kinds.NAMES | kinds.MEMBERS:
            continue
        a, b = kinds.code(one), kinds.code(two)
        if a and b and a != b and first == second:
            yield _swapped("swapped_arguments", node, one, two, {"a": a, "b": b, "call": called})
            return


@operator
def negated_condition(node: Node) -> Iterator[Mutation]:
    condition = kinds.condition_of(node)
    if condition is None:
        return
    words, keyword = {"condition": kinds.code(condition)}, node.children[0]
    inner = kinds.negated_part(condition)
    modifier = next(
        (child for child in node.children if kinds.text_of(child) in ("if", "unless") and not child.is_named), None
    )
    if inner is not None:
        words = {"condition": kinds.code(inner), "real": "negated"}
        if words["condition"]:
            yield _replaced("negated_condition", condition, kinds.text_of(inner), words)
    elif modifier is not None and kinds.is_ruby(node) and node.child_by_field_name("alternative") is None:
        words["real"] = "negated" if kinds.text_of(modifier) == "unless" else "plain"
        if words["condition"] and condition.type not in kinds.ASSIGNMENTS:
            yield _replaced(
                "negated_condition", modifier, "if" if kinds.text_of(modifier) == "unless" else "unless", words
            )
    elif words["condition"] and condition.type in kinds.NAMES | kinds.MEMBERS | kinds.CALLS:
        no = "not " if kinds.text_of(keyword) in ("if", "elif") and kinds.text_of(node.child(2)) == ":" else "!"
        words["real"] = "plain"
        yield _replaced("negated_condition", condition, no + kinds.text_of(condition), words)


@operator
def dropped_guard(node: Node) -> Iterator[Mutation]:
    condition, statement = kinds.condition_of(node), node
    if (
        condition is None
        or node.type in ("elsif", "elif_clause")
        or node.child_by_field_name("alternative") is not None
    ):
        return
    if any(kinds.text_of(child) == "else" for child in node.children) and node.type != "guard_statement":
        return
    body = node.child_by_field_name("consequence") or node.child_by_field_name("body")
    body = body or next((child for child in node.named_children if child.type == "statements"), None)
    leave = kinds.only_statement(body)
    if node.parent is not None and node.parent.type == "expression_statement":
        statement = node.parent
    keyword = next(
        (kinds.text_of(child) for child in node.children if kinds.text_of(child) in ("unless", "guard")), "if"
    )
    if leave is not None and kinds.EXIT.match(kinds.text_of(leave)) and kinds.code(condition) and kinds.code(leave):
        words = {"condition": kinds.code(condition), "exit": kinds.code(leave).rstrip(";"), "keyword": keyword}
        yield from _removed("dropped_guard", statement, words)


@operator
def dropped_return(node: Node) -> Iterator[Mutation]:
    if node.type not in kinds.RETURNS or not kinds.text_of(node).startswith("return ") or kinds.has_modifier(node):
        return
    value = node.named_children[-1] if node.named_children else None
    if node.type == "control_transfer_statement" or (node.type == "return" and node.next_named_sibling is None):
        return  # Swift and Ruby return the last value anyway
    if value is not None and value.type == "argument_list" and len(value.named_children) == 1:
        value = value.named_children[0]
    if value is not None and value.type in kinds.CALLS | kinds.AWAITS | kinds.NAMES and kinds.code(value):
        yield Mutation("dropped_return", node.start_byte, value.start_byte, b"", {"value": kinds.code(value)})


@operator
def dropped_try(node: Node) -> Iterator[Mutation]:
    """Rust's `?`, Swift's `try`."""
    if node.type != "try_expression":
        return
    last, tried = node.children[-1], node.named_children[-1]
    call = tried.named_children[-1] if tried.type in kinds.AWAITS and tried.named_children else tried
    words = {"call": kinds.callee(call) if call.type in kinds.CALLS else kinds.code(call)}
    words["silent"] = "yes" if node.parent is not None and node.parent.type == "expression_statement" else ""
    if words["call"] and kinds.text_of(last) == "?":
        yield _replaced("dropped_try", last, "", words)
    elif words["call"] and kinds.text_of(node.children[0]) == "try":
        words["silent"] = ""
        yield Mutation("dropped_try", node.start_byte, tried.start_byte, b"", {**words, "keyword": "try"})


@operator
def dropped_await(node: Node) -> Iterator[Mutation]:
    if node.type not in kinds.AWAITS or not node.named_children:
        return
    awaited = node.named_children[-1]
    call = kinds.callee(awaited) if awaited.type in kinds.CALLS else kinds.code(awaited)
    if call:
        if awaited.start_byte == node.start_byte:  # Rust: postfix
            yield Mutation("dropped_await", awaited.end_byte, node.end_byte, b"", {"call": call})
        else:
            yield Mutation("dropped_await", node.start_byte, awaited.start_byte, b"", {"call": call})


@operator
def range_end(node: Node) -> Iterator[Mutation]:
    if node.type not in kinds.RANGES or len(node.children) != 3:
        return
    token, table = node.children[1], kinds.RUBY_RANGE_ENDS if node.type == "range" else kinds.RANGE_ENDS
    new, start, end = table.get(kinds.text_of(token)), kinds.code(node.children[0]), kinds.code(node.children[2])
    if new and start and end and not re.search(r"(\.|::)(max|min|MAX|MIN)$", end):  # one of billions
        more = {"..=": True, "...": True, "..<": False}.get(new, False)  # "..": one less in Rust, one more in Ruby
        more = not more if node.type == "range" else more
        end = "the last one" if end == "-1" else f"`{end}`"
        yield _replaced("range_end", token, new, {"start": start, "end": end, "more": "yes" if more else ""})


@operator
def safe_navigation(node: Node) -> Iterator[Mutation]:
    """Ruby's `&.`, TypeScript's `?.`, Swift's `a?.b`, which becomes the `a!.b` that crashes."""
    for child in node.children if node.type in kinds.MEMBERS | kinds.CALLS else ():
        text, receiver = kinds.text_of(child), kinds.code(node.children[0])
        member = kinds.code(child.next_sibling).lstrip(".") if child.next_sibling is not None else ""
        if text in ("&.", "?.") and receiver and member:
            yield _replaced("safe_navigation", child, ".", {"receiver": receiver, "member": member})
        elif text == "?" and node.type == "navigation_expression" and receiver and member:
            yield _replaced("safe_navigation", child, "!", {"receiver": receiver, "member": member})


@operator
def fallback(node: Node) -> Iterator[Mutation]:
    """`a ?? b` as `a || b` where both are known, and `a ||= b` as `a = b`."""
    table = {"??": "||"} if node.type == "binary_expression" else {}
    for token, new, left, right in _infix(node, table or {"||=": "=", "??=": "="}, kinds.BINARY | kinds.ASSIGNMENTS):
        if right in ("nil", "null", "undefined", "false"):  # falsy either way
            continue
        words = {"left": left, "right": right, "real": kinds.text_of(token), "kind": "default" if table else "kept"}
        yield _replaced("fallback", token, new, words)


@operator
def dropped_statement(node: Node) -> Iterator[Mutation]:
    """A call for its effect, or an assignment to something that outlives the function."""
    parent = node.parent
    if (
        parent is None
        or parent.type not in kinds.BODIES
        or len(parent.named_children) < 2
        or node.next_named_sibling is None
    ):
        return
    inner = node.named_children[0] if node.type == "expression_statement" and node.named_children else node
    inner = (
        inner.named_children[-1] if inner.type in kinds.AWAITS | {"try_expression"} and inner.named_children else inner
    )
    text = kinds.code(inner)
    if inner.type in kinds.CALLS and not re.match(r"(super|yield|defer|private|public|protected)\b", text):
        words = {"statement": text, "call": kinds.callee(inner)}
    elif inner.type in kinds.ASSIGNMENTS and re.match(r"(self|this|@|\w+)[.@\w\[]*\w[.\[@]|@\w", text):
        words = {"statement": text, "target": kinds.code(inner.children[0])}
    else:
        return
    if text and "{" not in text and " do " not in text:
        yield from _removed("dropped_statement", node, words)


@operator
def boolean(node: Node) -> Iterator[Mutation]:
    text, parent = kinds.text_of(node), node.parent
    if node.type not in kinds.BOOLEANS or parent is None or text not in ("true", "false", "True", "False"):
        return
    new = {"true": "false", "false": "true", "True": "False", "False": "True"}[text]
    holder = parent.parent if parent.type == "argument_list" and parent.parent is not None else parent
    if holder.type in kinds.RETURNS:
        yield _replaced("boolean", node, new, {"label": "", "real": text, "wrong": new})
    elif (
        parent.type in kinds.LABELLED
        and parent.children[0] != node
        and (label := kinds.code(parent.children[0]).rstrip(":"))
    ):
        yield _replaced("boolean", node, new, {"label": label, "real": text, "wrong": new})


@operator
def swapped_branches(node: Node) -> Iterator[Mutation]:
    if node.type not in kinds.TERNARIES or len(node.named_children) != 3:
        return
    one, two = node.named_children[1:]
    condition = node.named_children[0]
    if node.type == "conditional_expression" and kinds.text_of(node.child(1)) == "if":  # Python: a if condition else b
        one, condition = condition, one
    if kinds.code(one) and kinds.code(two) and kinds.code(condition) and kinds.text_of(one) != kinds.text_of(two):
        first, last = sorted((one, two), key=lambda item: item.start_byte)
        words = {"condition": kinds.code(condition), "a": kinds.code(one), "b": kinds.code(two)}
        yield _swapped("swapped_branches", node, first, last, words)


@operator
def sibling_name(node: Node) -> Iterator[Mutation]:
    """`first` for `last`, `any?` for `all?`: the neighbour of the method that was meant."""
    text, parent = kinds.text_of(node), node.parent
    if "identifier" not in node.type or text not in kinds.SIBLINGS or parent is None:
        return
    member = parent.type in kinds.MEMBERS | {"navigation_suffix"} and parent.children[-1] == node
    if member or parent.child_by_field_name("method") == node or parent.child_by_field_name("function") == node:
        whole = parent.parent if parent.type == "navigation_suffix" else parent
        receiver = kinds.code(whole.children[0]) if whole is not None and whole.children[0] != node else ""
        words = {"real": text, "wrong": kinds.SIBLINGS[text], "receiver": receiver}
        yield _replaced("sibling_name", node, kinds.SIBLINGS[text], words)


def _replaced(name: str, node: Node, new: str, words: Words) -> Mutation:
    return Mutation(name, node.start_byte, node.end_byte, new.encode(), words)


def _swapped(name: str, around: Node, first: Node, last: Node, words: Words) -> Mutation:
    between = (around.text or b"")[first.end_byte - around.start_byte : last.start_byte - around.start_byte]
    new = (last.text or b"") + between + (first.text or b"")
    return Mutation(name, first.start_byte, last.end_byte, new, words)


def _removed(name: str, statement: Node, words: Words) -> Iterator[Mutation]:
    """The lines of a statement taken out, where nothing else stands on them."""
    text, origin = kinds.root_of(statement).text or b"", kinds.root_of(statement).start_byte
    start, end = statement.start_byte - origin, statement.end_byte - origin
    first, last = text.rfind(b"\n", 0, start) + 1, text.find(b"\n", end)
    if last >= 0 and not text[first:start].strip() and text[end:last].strip() in (b"", b";"):
        if text[:first].endswith(b"\n\n") and text[last + 1 :].startswith(b"\n"):
            last += 1  # of the empty lines around it, one goes too
        yield Mutation(name, first + origin, last + 1 + origin, b"", words)
