"""What the node types of the grammars mean to a mutation, and the words that decide whether one is worth making.

The types of all grammars stand side by side, for their names do not clash; a grammar that nobody thought of is served
by the names that it shares with these.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

LONGEST = 60  # characters of code that a sentence can hold


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


BINARY = _set(
    "binary_expression binary binary_operator boolean_operator comparison_operator comparison_expression "
    "equality_expression additive_expression multiplicative_expression conjunction_expression infix_expression "
    "disjunction_expression nil_coalescing_expression"
)
_LOOSE = frozenset({"conjunction_expression", "disjunction_expression"})
ASSIGNMENTS = _set(
    "assignment assignment_expression augmented_assignment augmented_assignment_expression compound_assignment_expr "
    "operator_assignment assignment_statement"
)
CONDITIONALS = _set(
    "if_expression if_statement elif_clause elsif if unless if_modifier unless_modifier guard_statement"
)
TERNARIES = frozenset({"ternary_expression", "conditional_expression", "conditional"})
NEGATIONS = frozenset({"unary_expression", "unary", "not_operator", "prefix_expression"})
CALLS = frozenset({"call_expression", "call", "method_invocation"})
ARGUMENTS = frozenset({"arguments", "argument_list", "value_arguments"})
MEMBERS = _set(
    "member_expression field_expression attribute navigation_expression selector_expression scoped_identifier"
)
NAMES = frozenset({"identifier", "simple_identifier", "instance_variable", "self", "this", "self_expression"})
INTEGERS = frozenset({"integer_literal", "number", "integer", "int_literal"})
BOOLEANS = frozenset({"boolean_literal", "true", "false"})
RANGES = frozenset({"range_expression", "range"})
INDEXES = frozenset({"index_expression", "subscript_expression", "subscript", "element_reference", "slice"})
RETURNS = frozenset({"return_statement", "return", "control_transfer_statement"})
AWAITS = frozenset({"await_expression", "await"})
BODIES = _set(
    "block statement_block statement_list body_statement then else do statements block_body function_body"
)  # nodes whose children are statements
LABELLED = frozenset({"keyword_argument", "pair", "value_argument", "field_initializer", *ASSIGNMENTS})

BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
EQUALITY = {
    "==": "!=",
    "!=": "==",
    "===": "!==",
    "!==": "===",
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
}
LOGIC = {"&&": "||", "||": "&&", "and": "or", "or": "and"}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "+=": "-=", "-=": "+="}
RANGE_ENDS = {"..": "..=", "..=": "..", "..<": "...", "...": "..<"}
RUBY_RANGE_ENDS = {"..": "...", "...": ".."}
_SIBLINGS = _set(
    "first/last min/max start_with?/end_with? starts_with/ends_with startsWith/endsWith hasPrefix/hasSuffix "
    "startswith/endswith any?/all? any/all some/every push/unshift is_some/is_none is_ok/is_err upcase/downcase "
    "toUpperCase/toLowerCase uppercased/lowercased upper/lower to_uppercase/to_lowercase trimStart/trimEnd "
    "lstrip/rstrip trim_start/trim_end floor/ceil prefix/suffix dropFirst/dropLast min_by/max_by select/reject "
    "keys/values present?/blank? is_file/is_dir isFile/isDirectory file?/directory? width/height "
    "startIndex/endIndex lowerBound/upperBound indexOf/lastIndexOf index/rindex shift/pop removeFirst/removeLast "
    "pop_front/pop_back push_front/push_back find/rfind split/rsplit ljust/rjust increment/decrement "
    "includes_start/includes_end leading/trailing before/after "
)
SIBLINGS = dict(pair.split("/") for pair in sorted(_SIBLINGS))
SIBLINGS.update({wrong: right for right, wrong in SIBLINGS.items()})
COUNTING = _set(  # calls whose numbers count elements
    "range slice substring substr first last take skip drop dropFirst dropLast prefix suffix step_by nth limit at "
    "charAt repeat times sample islice index offsetBy"
)
SYMMETRIC = re.compile(  # calls to which the order of two arguments does not matter, or that take a list of things
    r"(min|max|add|equals?|is_?[eE]qual\w*|eq|ne|assert\w*|XCT\w+|expect|union|intersection|gcd|hypot|isclose|zip|"
    r"print\w*|puts|p|push|append|concat|merge|log|format|require\w*|include|extend|attr_\w+|private\w*|public|"
    r"protected|delegate|alias_method|defaults?|exclude|permit|swap\w*|cmp|println|eprintln|dbg|vec|join)[?!]?$"
)
TALK = re.compile(  # calls that only report: a change in them is a change of words
    r"(log\w*|debug\w*|info|warn\w*|trace|print\w*|eprint\w*|puts|p|pp|echo|console|assert\w*|XCT\w+|expect|panic|"
    r"fatalError|precondition\w*|preconditionFailure|raise|abort|format|inspect|NSLog|os_log)!?$"
)
NUMERIC = re.compile(
    r"\d|len\b|length|size|count|index|offset|width|height|depth|total|sum|start|end|pos|line|col|pad|indent|"
    r"distance|level|column|row|max|min|step|time|delay|rate|price|amount|score|weight|ratio|\b[ijknxy]\b",
    re.I,
)
EXIT = re.compile(r"(return|throw|raise|continue|break|next|fail)\b")
QUESTION = re.compile(r"[<>=!]=|[<>!]|\w\?(?!\.)|\b(not|in|is)\b|\b(is|has|are|can)[A-Z_]|[sS]With\(|contains|includes")
VERSION = re.compile(r"version|semver|_v\d|copyright|magic", re.I)


def code(node: Node | None) -> str:
    """A node's text on one line; "" when it is too long to be spoken of."""
    text = " ".join(node.text.decode("utf-8", "replace").split()) if node is not None and node.text else ""
    return text if len(text) <= LONGEST and "`" not in text else ""


def callee(call: Node | None) -> str:
    """The last name of what is called; "" for nothing."""
    if call is None:
        return ""
    function = call.child_by_field_name("function") or call.child_by_field_name("method")
    function = function or (call.named_children[0] if call.named_children else None)
    names = re.findall(r"[\w$]+[?!]?", code(function))
    return names[-1] if names else ""


def text_of(node: Node | None) -> str:
    return node.text.decode("utf-8", "replace") if node is not None and node.text else ""


def left_operand(node: Node, token: Node) -> str:
    """Swift's grammar binds `a >= b && c` as `a >= (b && c)`; the operand of `&&` is `a >= b`."""
    around = node.parent
    loose = node.type in _LOOSE and around is not None and around.type in BINARY - _LOOSE
    if around is not None and (loose or around.type == "infix_expression"):
        text = (around.text or b"")[: token.start_byte - around.start_byte].decode("utf-8", "replace")
        return " ".join(text.split()) if len(text) <= LONGEST else ""
    return code(token.prev_sibling)


def first_operand(node: Node, right: Node | None) -> Node | None:
    """The operand of `>=` in it is `b`."""
    while right is not None and right.child_by_field_name("lhs") is not None:
        if node.type != "infix_expression" and (node.type in _LOOSE or right.type not in _LOOSE):
            break
        right = right.child_by_field_name("lhs")
    return right


def condition_of(node: Node) -> Node | None:
    """The one condition of an if, unless or guard that binds nothing."""
    if node.type not in CONDITIONALS:
        return None
    found = [child for index, child in enumerate(node.children) if node.field_name_for_child(index) == "condition"]
    if len(found) != 1 or found[0].type in ("let_condition", "let_chain", "availability_condition", "named_expression"):
        return None
    condition = found[0]
    if condition.type == "parenthesized_expression" and len(condition.named_children) == 1:
        condition = condition.named_children[0]
    return condition


def negated_part(condition: Node) -> Node | None:
    """What is negated, of a condition that is a negation."""
    negation = condition.type in NEGATIONS and text_of(condition.children[0]) in ("!", "not")
    return condition.named_children[-1] if negation else None


def is_ruby(node: Node) -> bool:
    return node.type in ("if", "unless", "if_modifier", "unless_modifier")


def has_modifier(node: Node) -> bool:
    return node.parent is not None and node.parent.type in ("if_modifier", "unless_modifier")


def only_statement(body: Node | None) -> Node | None:
    """The statement of a body that has just one."""
    while body is not None and body.type in BODIES | {"expression_statement"}:
        inner = [child for child in body.named_children if "comment" not in child.type]
        body = inner[0] if len(inner) == 1 else None
    return body


def asks(node: Node, operands: str) -> bool:
    """Whether `a && b` asks a question; otherwise it chooses a value, as in `name || "default"`."""
    if QUESTION.search(operands):
        return True
    while node.parent is not None and node.parent.type in BINARY | NEGATIONS | {"parenthesized_expression"}:
        node = node.parent
    return node.parent is not None and node.parent.child_by_field_name("condition") == node


def is_spaced(token: Node) -> bool:
    before, after = token.prev_sibling, token.next_sibling
    return (
        before is not None
        and after is not None
        and before.end_byte < token.start_byte
        and (token.end_byte < after.start_byte)
    )


def ancestor(node: Node, steps: int) -> Node | None:
    """The node so many levels above."""
    above: Node | None = node
    for _ in range(steps):
        above = above.parent if above is not None else None
    return above


def root_of(node: Node) -> Node:
    while node.parent is not None:
        node = node.parent
    return node


def line_of(node: Node) -> str:
    text, row = root_of(node).text or b"", node.start_point.row
    return text.split(b"\n")[row].decode("utf-8", "replace")
