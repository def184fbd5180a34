"""JSON with comments and trailing commas, changed in place: what is not touched keeps its bytes.

The parser keeps where every value stands; `set_value` and `delete` cut and paste by these positions and return the new
text. Accepted is what opencode's own reader accepts: // and /* */ comments, trailing commas, a byte order mark. Where a
key stands twice the last one counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_SPACE = re.compile(r"(?:[\ufeff \t\r\n]|//[^\r\n]*|/\*.*?\*/)*", re.S)
_STRING = re.compile(r'"(?:[^"\\\r\n]|\\.)*"')
_SCALAR = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_DEPTH = 200


class SyntaxFault(ValueError):
    """Text that is not JSON with comments; the message begins with line and column."""

    def __init__(self, text: str, offset: int, message: str):
        line = text.count("\n", 0, offset) + 1
        column = offset - (text.rfind("\n", 0, offset) + 1) + 1
        super().__init__(f"line {line}, column {column}: {message}")


@dataclass
class Node:
    """A value and where it stands: text[start:end]."""

    start: int
    end: int = 0
    value: Any = None  # as Python has it
    members: list[Member] = field(default_factory=list)  # of an object

    def member(self, key: str) -> Member | None:
        """The member that counts for a key."""
        return next((member for member in reversed(self.members) if member.key == key), None)


@dataclass
class Member:
    """A key and its value; `comma` is where the comma after it stands, if there is one."""

    key: str
    start: int
    node: Node
    comma: int | None = None


def parse(text: str) -> Node:
    """The whole document. Raises SyntaxFault."""
    parser = _Parser(text)
    node = parser.value(parser.space(0), 0)
    rest = parser.space(node.end)
    if rest != len(text):
        raise SyntaxFault(text, rest, f"expected the end of the file, found {text[rest]!r}")
    return node


class _Parser:
    def __init__(self, text: str):
        self.text = text

    def space(self, offset: int) -> int:
        """Where white space and comments end."""
        space = _SPACE.match(self.text, offset)
        offset = space.end() if space else offset
        if self.text.startswith("/*", offset):
            raise SyntaxFault(self.text, offset, "this comment is never closed")
        return offset

    def fault(self, offset: int, expected: str) -> SyntaxFault:
        found = repr(self.text[offset]) if offset < len(self.text) else "the end of the file"
        return SyntaxFault(self.text, offset, f"expected {expected}, found {found}")

    def value(self, offset: int, depth: int) -> Node:
        if depth > _DEPTH:
            raise SyntaxFault(self.text, offset, "nested too deeply")
        first = self.text[offset : offset + 1]
        if first == "{":
            return self.items(offset, "}", depth)
        if first == "[":
            return self.items(offset, "]", depth)
        match = (_STRING if first == '"' else _SCALAR).match(self.text, offset)
        if not match:
            raise self.fault(offset, "the end of this string" if first == '"' else "a value")
        return Node(offset, match.end(), self.plain(match.group(), offset))

    def plain(self, token: str, offset: int) -> Any:
        try:
            return json.loads(token, strict=False)
        except ValueError as error:
            raise SyntaxFault(self.text, offset, str(error)) from None

    def items(self, offset: int, close: str, depth: int) -> Node:
        """An object or an array, from its bracket on."""
        node = Node(offset)
        values = []
        offset = self.space(offset + 1)
        while not self.text.startswith(close, offset):
            item = self.member(offset, depth) if close == "}" else Member("", offset, self.value(offset, depth + 1))
            node.members.append(item)
            values.append(item.node.value)
            offset = self.space(item.node.end)
            if self.text.startswith(",", offset):
                item.comma = offset
                offset = self.space(offset + 1)
            elif not self.text.startswith(close, offset):
                raise self.fault(offset, f"',' or {close!r}")
        node.end = offset + 1
        if close == "}":
            node.value = {member.key: member.node.value for member in node.members}
        else:
            node.value, node.members = values, []
        return node

    def member(self, offset: int, depth: int) -> Member:
        match = _STRING.match(self.text, offset)
        if not match:
            raise self.fault(offset, "a key in double quotes")
        colon = self.space(match.end())
        if not self.text.startswith(":", colon):
            raise self.fault(colon, "':'")
        return Member(self.plain(match.group(), offset), offset, self.value(self.space(colon + 1), depth + 1))


def get(document: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    """Whether a plain document has a value at a path, and the value."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False, None
        document = document[key]
    return True, document


def set_value(text: str, path: tuple[str, ...], value: Any) -> str:
    """The text with this value at this path; objects on the way are made. Raises SyntaxFault when one is no object."""
    node = parse(text)
    for depth, key in enumerate(path):
        if not isinstance(node.value, dict):
            where = ".".join(path[:depth])
            raise SyntaxFault(text, node.start, f"{where or 'the file'}: expected an object, found {node.value!r:.40}")
        member = node.member(key)
        if member is None:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _insert(text, node, key, value)
        node = member.node
    if json.dumps(node.value) == json.dumps(value):
        return text
    return text[: node.start] + _dump(text, value, _line_indent(text, node.start)) + text[node.end :]


def delete(text: str, path: tuple[str, ...]) -> str:
    """The text without the member at this path, and without its comma and the white space before it."""
    while True:
        parent = parse(text)
        for key in path[:-1]:
            member = parent.member(key)
            if member is None:
                return text
            parent = member.node
        member = parent.member(path[-1])
        if member is None:
            return text
        text = _cut(text, parent, member)


def _cut(text: str, parent: Node, member: Member) -> str:
    start = len(text[: member.start].rstrip(" \t\r\n"))
    end = member.node.end if member.comma is None else member.comma + 1
    if "//" in _line_of(text, start) and text[end:].lstrip(" \t")[:1] not in ("\r", "\n"):
        start = member.start  # a line comment must not swallow what follows
    index = parent.members.index(member)
    text = text[:start] + text[end:]
    comma = parent.members[index - 1].comma if index else None
    if member.comma is None and comma is not None:  # it stood between the two
        text = text[:comma] + text[comma + 1 :]
    return text


def _insert(text: str, parent: Node, key: str, value: Any) -> str:
    """A new last member on a line of its own, after everything that stands in the object."""
    close = parent.end - 1
    content = len(text[:close].rstrip(" \t\r\n"))
    last = parent.members[-1] if parent.members else None
    outer = _line_indent(text, parent.start)
    alone = last is not None and not _line_of(text, last.start).strip()
    indent = _line_indent(text, last.start) if last and alone else outer + _unit(text)
    new = f"{_newline(text)}{indent}{json.dumps(key, ensure_ascii=False)}: {_dump(text, value, indent)}"
    if last and last.comma is not None:
        new += ","
    tail = text[content:]
    if "\n" not in text[content:close]:
        tail = _newline(text) + outer + text[close:]
    head = text[:content]
    if last and last.comma is None:
        head = head[: last.node.end] + "," + head[last.node.end :]
    return head + new + tail


def _dump(text: str, value: Any, indent: str) -> str:
    lines = json.dumps(value, ensure_ascii=False, indent=_unit(text)).split("\n")
    return f"{_newline(text)}{indent}".join(lines)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _unit(text: str) -> str:
    """One level of indentation: that of the first indented line which begins a key, else two spaces."""
    match = re.search(r'^([ \t]+)"', text, re.M)
    return match.group(1) if match else "  "


def _line_indent(text: str, offset: int) -> str:
    """The white space that the line of this position begins with."""
    line = _line_of(text, offset)
    return line[: len(line) - len(line.lstrip(" \t"))]


def _line_of(text: str, offset: int) -> str:
    """What stands on the line before this position."""
    return text[text.rfind("\n", 0, offset) + 1 : offset]
