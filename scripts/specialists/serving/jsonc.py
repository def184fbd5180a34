"""JSON with comments and trailing commas, changed in place: what is not touched keeps its bytes.

Comments and trailing commas are overwritten with spaces, and a bare `{env:NAME}` or `{file:PATH}`, which opencode puts
in before it parses, with a string of its length: every offset stays, Python's own reader finds where values end, and
the original is cut and pasted. Of a key that stands twice the last counts. What cannot be read is a JSONDecodeError.
"""

import json
import re
from typing import Any, NamedTuple

_STRING = r'"(?:[^"\\]|\\.)*"'
_PLACEHOLDER = r'\{(?:env|file):[^}"\\\r\n]+\}'
_COMMENT = re.compile(rf"({_STRING})|{_PLACEHOLDER}|\ufeff|//[^\r\n]*|/\*.*?\*/", re.S)
_TRAILING_COMMA = re.compile(rf"({_STRING}|[\[{{,:]\s*,)|,(?=\s*[}}\]])", re.S)
_KEY = re.compile(rf"\s*({_STRING})\s*:\s*", re.S)
_COMMA = re.compile(r"\s*,")
_EMPTY = "\ufeff \t\r\n"


class _Member(NamedTuple):
    """A key and its value, and where they stand."""

    key: str
    start: int
    value_start: int
    end: int
    comma: int | None  # where the comma after it stands, if there is one


def loads(text: str) -> Any:
    """What a text says; an empty object where it says nothing. Raises json.JSONDecodeError."""
    return json.loads(_plain(text)) if text.strip(_EMPTY) else {}


def get(document: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    """Whether a document has a value at a path, and the value."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False, None
        document = document[key]
    return True, document


def set_value(text: str, path: tuple[str, ...], value: Any) -> str:
    """The text with this value at this path; objects on the way are made. Raises as `loads` does."""
    if json.dumps(get(loads(text), path)) == json.dumps((True, value)):
        return text
    text = text if text.strip(_EMPTY) else "{}\n"
    depth, start, members = _deepest(text, path)
    if text[start] != "{":
        raise json.JSONDecodeError(f"{'.'.join(path[:depth]) or 'the file'}: expected an object", text, start)
    member = next((member for member in reversed(members) if member.key == path[depth]), None)
    if member:
        new = _dump(text, value, _line_indent(text, member.value_start))
        return text[: member.value_start] + new + text[member.end :]
    for missing in reversed(path[depth + 1 :]):
        value = {missing: value}
    # a new last member on a line of its own, after everything that stands in the object
    close = json.JSONDecoder().raw_decode(_plain(text), start)[1] - 1
    last, outer, (newline, unit) = members[-1] if members else None, _line_indent(text, start), _style(text)
    head = text[:close].rstrip(" \t\r\n")
    tail = text[len(head) :] if "\n" in text[len(head) : close] else newline + outer + text[close:]
    if last and last.comma is None:
        head = head[: last.end] + "," + head[last.end :]
    new = f"{json.dumps(path[depth], ensure_ascii=False)}: {_dump(text, value, outer + unit)}"
    return head + newline + outer + unit + new + ("," if last and last.comma is not None else "") + tail


def delete(text: str, path: tuple[str, ...]) -> str:
    """The text without the member at this path, and without its comma and the white space before it."""
    while get(loads(text), path)[0]:
        members = _deepest(text, path)[2]
        number = max(number for number, member in enumerate(members) if member.key == path[-1])
        member, comma = members[number], members[number - 1].comma if number else None
        start = len(text[: member.start].rstrip(" \t\r\n"))
        end = member.end if member.comma is None else member.comma + 1
        if "//" in text[text.rfind("\n", 0, start) + 1 : start] and text[end:].lstrip(" \t")[:1] not in ("\r", "\n"):
            start = member.start  # a line comment must not swallow what follows
        text = text[:start] + text[end:]
        if member.comma is None and comma is not None:  # it stood between the two
            text = text[:comma] + text[comma + 1 :]
    return text


def _plain(text: str) -> str:
    """The text with spaces in place of comments and of trailing commas."""
    return _TRAILING_COMMA.sub(_replaced, _COMMENT.sub(_replaced, text))


def _replaced(match: re.Match[str]) -> str:
    if match[1] or match[0].startswith("{"):
        return match[1] or f'"{match[0][1:-1]}"'
    return re.sub(r"[^\r\n]", " ", match[0])


def _deepest(text: str, path: tuple[str, ...]) -> tuple[int, int, list[_Member]]:
    """Follow a path but for its last key as far as it is there: how many keys, where that value begins, its members."""
    plain, with_commas = _plain(text), _COMMENT.sub(_replaced, text)
    start = len(plain) - len(plain.lstrip())
    for depth, name in enumerate(path):
        members, position = list[_Member](), start + 1
        while plain[start] == "{" and (key := _KEY.match(plain, position)):  # a value that is no object has none
            _value, end = json.JSONDecoder().raw_decode(plain, key.end())
            comma = found.end() - 1 if (found := _COMMA.match(with_commas, end)) else None
            members.append(_Member(json.loads(key[1]), key.start(1), key.end(), end, comma))
            position = end if comma is None else comma + 1
        inner = [member.value_start for member in members if member.key == name]
        if not inner or depth == len(path) - 1:
            break
        start = inner[-1]
    return depth, start, members


def _dump(text: str, value: Any, indent: str) -> str:
    newline, unit = _style(text)
    return json.dumps(value, ensure_ascii=False, indent=unit).replace("\n", newline + indent)


def _style(text: str) -> tuple[str, str]:
    """The line end, and one level of indentation: that of the first indented line with a key, else two spaces."""
    unit = re.search(r'^([ \t]+)"', text, re.M)
    return "\r\n" if "\r\n" in text else "\n", unit[1] if unit else "  "


def _line_indent(text: str, offset: int) -> str:
    """The white space that the line of this position begins with."""
    return re.findall(r"^[ \t]*", text[text.rfind("\n", 0, offset) + 1 : offset])[0]
