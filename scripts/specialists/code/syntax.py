"""Source code through tree-sitter: definitions and where they stand, tokens, what does not parse.

Lines are 1-based and inclusive, spans are half-open ranges of bytes; what nodes mean is in code.grammars.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from inspect import cleandoc
from typing import NamedTuple

from tree_sitter import Node, Tree

from specialists.code.grammars import Grammar, grammar_of, matches, parser

Span = tuple[int, int]
_STRING, _QUOTED = re.compile("string|heredoc|regex"), re.compile(rb"^'([^\\#\"]*)'$")


class SourceFile(NamedTuple):
    """A file of a repository at HEAD, and where it is from: what commits reads and synthetic makes rows of."""

    repository: str
    commit: str
    time: str  # of the commit, ISO 8601 in UTC
    path: str
    text: str


class Function(NamedTuple):
    """A function or method with a body."""

    name: str
    qualified: str  # with the names of the types around it, joined by dots
    body: Span  # its statements without braces, a Python docstring and outer white space
    doc: str  # doc comment without its markers, "" for none
    lines: Span  # 1-based, inclusive, with doc comment, attributes and decorators


@lru_cache(maxsize=8)
def parse(grammar: str, source: bytes) -> Tree:
    """The tree of a whole file; the last few are kept."""
    return parser(grammar).parse(source)


def error_nodes(grammar: str, source: bytes) -> int:
    """How many places do not parse: error nodes and tokens that the parser had to make up."""
    root = parse(grammar, source).root_node
    return sum(node.is_error or node.is_missing for node in walk(root, lambda node: not node.has_error))


def broken_share(grammar: str, source: bytes) -> float:
    """The share of a file's bytes, 0 to 1, that the parser skipped: much where the file is of another language."""
    skipped, stack = 0, [parse(grammar, source).root_node]
    while stack:
        node = stack.pop()
        if node.is_error:
            skipped += node.end_byte - node.start_byte
        elif node.has_error:
            stack += node.children
    return skipped / max(1, len(source.strip()))


def leaf_tokens(grammar: str, source: bytes) -> list[bytes]:
    """A file's tokens without comments, each inner node closed by its type: equal lists differ in formatting only."""
    table, tokens = grammar_of(grammar), []
    stack: list[Node | bytes] = [parse(grammar, source).root_node]
    while stack:
        node = stack.pop()
        if isinstance(node, bytes):
            tokens.append(node)
        elif node.is_error:  # what it skipped is in none of its children
            tokens += (node.text or b"").split()
        elif node.children and not _STRING.search(node.type):  # a string is one token
            stack += [node.type.encode()] if node.is_named else []
            stack += reversed([child for child in node.children if not table.is_comment(child)])
        elif text := node.text:
            following = node.next_sibling.type if node.next_sibling else ""
            if node.type != ";" and not (node.type == "," and following in (")", "]", "}", ">")):
                tokens += [node.type.encode(), _QUOTED.sub(rb'"\1"', text)]  # 'x' as "x"
    return tokens


def functions(grammar: str, source: bytes) -> list[Function]:
    """Every function with a body, in the order of the file, nested ones too."""
    table, nodes = grammar_of(grammar), walk(parse(grammar, source).root_node)
    return [_function(table, node, source) for node in nodes if table.is_function(node)]


def defined(grammar: str, source: bytes) -> frozenset[str]:
    """Names of the functions and types that a file defines."""
    table = grammar_of(grammar)
    return frozenset(_name(node) for node in walk(parse(grammar, source).root_node) if table.is_definition(node))


def walk(node: Node, is_left_out: Callable[[Node], object] = lambda node: False) -> Iterator[Node]:
    """A node and all below it, in the order of the file, without what is left out and all below that."""
    stack = [node]
    while stack:
        if not is_left_out(node := stack.pop()):
            yield node
            stack += reversed(node.children)


def _above(node: Node) -> Node | None:
    """The sibling before a node; before the first of a body without braces, the one before the body."""
    while node.prev_sibling is None and node.parent is not None and node.parent.start_byte == node.start_byte:
        node = node.parent
    return node.prev_sibling


def _belongs(table: Grammar, above: Node, node: Node) -> bool:
    """Whether a comment or attribute stands right above, alone on its lines."""
    if not table.is_lead(above):
        return False
    before = _above(above)
    alone = before is None or _end_line(before) < above.start_point.row or not before.is_named
    return alone and node.start_point.row - _end_line(above) <= 1


def _end_line(node: Node) -> int:
    """0-based; a node that ends with a line break (Rust's doc comments) ends on the line before."""
    return max(node.start_point.row, node.end_point.row - (node.end_point.column == 0))


def _function(table: Grammar, node: Node, source: bytes) -> Function:
    outer = node
    while outer.parent is not None and matches(table.wrappers, outer.parent.type):
        outer = outer.parent
    first, comments = outer, list[Node]()
    while (above := _above(first)) is not None and _belongs(table, above, first):
        first, comments = above, [above, *comments] if table.is_comment(above) else comments
    body = table.body_of(node) or node  # is_function: there is one
    start, end = _inner(node, body, source)
    if (docstring := _docstring(body)) is not None:
        comments, start = [docstring], docstring.end_byte
    names, parent = [_name(node)], node.parent
    while parent is not None:
        names += [_name(parent)] if table.is_definition(parent) else []
        parent = parent.parent
    return Function(
        name=names[0],
        qualified=".".join(names[::-1]),
        body=(end - len(source[start:end].lstrip()), start + len(source[start:end].rstrip())),
        doc=clean_doc([(comment.text or b"").decode("utf-8", "replace") for comment in comments]),
        lines=(first.start_point.row + 1, _end_line(outer) + 1),
    )


def _inner(node: Node, body: Node, source: bytes) -> Span:
    """A body's statements with the comments among them, without braces."""
    start, end = body.start_byte, body.end_byte
    if source[start : start + 1] == b"{" and source[end - 1 : end] == b"}":
        return start + 1, end - 1
    # the comments above the first statement are no part of the node
    head = node.child_by_field_name("parameters") or node.child_by_field_name("name") or node
    line_end = source.find(b"\n", head.end_byte, start)
    return start if line_end < 0 else line_end, node.children[-1].start_byte if node.children[-1].type == "end" else end


def _docstring(body: Node) -> Node | None:
    """A string that is a body's first statement, where that is how a language documents (Python)."""
    first = body.named_children[0] if body.type == "block" and body.named_children else None
    shape = [first.type, *(child.type for child in first.named_children)] if first is not None else []
    return first if shape == ["expression_statement", "string"] else None


def _name(node: Node) -> str:
    """A definition's name; an implementation is called by its type, Ruby's `class << self` is called self."""
    named = next((child for child in node.children if child.type in ("init", "deinit", "subscript")), None)
    named = named or next(filter(None, map(node.child_by_field_name, ("name", "type", "value"))), None)
    return (named.text or b"").decode("utf-8", "replace") if named is not None else ""


_MARKERS = re.compile(
    r"""^\s*(///?!?|/\*\*?!?|\*(?!/)|\#+(?!\{)|--)?\s?|\s*\*/\s*$|^\s*[rRuU]?(\"{3}|'{3})|(\"{3}|'{3})\s*$"""
)
_DIRECTIVE = re.compile(r"(?i)^\W*(eslint|@?ts-|prettier|rubocop:|:nodoc:|swiftlint:|MARK:|frozen_string|encoding)")


def clean_doc(comments: list[str]) -> str:
    """Comments as the text that they carry: no markers, no common indent, no directives to tools."""
    lines = [_MARKERS.sub("", line).rstrip() for comment in comments for line in comment.strip().split("\n")]
    return cleandoc("\n".join(line for line in lines if not _DIRECTIVE.match(line)))
