"""Toy conversations about functions of Python's standard library, so that the demo's base model has seen its own chat
template, tools and their answers before any adapter is trained on it."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from specialists.agent import EDIT_DONE, ROOT, WRITE_DONE, read_result, system_prompt
from specialists.records import tool_call
from specialists.tables import Language

TITLES = {"rust": "Rust", "ts": "TypeScript", "python": "Python", "ruby": "Ruby", "swift": "Swift"}
Message = dict[str, Any]


@cache
def functions(path: Path, shortest: int = 3, longest: int = 14) -> list[tuple[str, str, str]]:
    """(name, first sentence of its docstring, source) of a file's documented functions of so many lines."""
    text = path.read_text(encoding="utf-8")
    lines, found = text.splitlines(keepends=True), []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and shortest <= (node.end_lineno or 0) - node.lineno + 1 <= longest:
            doc = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            source = "".join(lines[node.lineno - 1 : node.end_lineno])
            if doc and '"""' in source:
                found.append((node.name, doc, source))
    return found


def conversations(files: list[Path], seed: int) -> Iterator[list[Message]]:
    """Endless conversations, each on one function; arguments of calls are JSON strings, as in a record."""
    rng = random.Random(seed)
    found = [(path, *function) for path in files for function in functions(path)]
    while True:
        path, name, doc, source = rng.choice(found)
        language = rng.choice(sorted(TITLES))
        speaker = Language(adapter=f"build-{language}", extensions=(), title=TITLES[language])
        kind = rng.choice((_introduce, _explain, _document, _write))
        yield [{"role": "system", "content": system_prompt(speaker)}, *kind(path.name, name, doc, source)]


def _introduce(file: str, name: str, doc: str, source: str) -> list[Message]:
    return [
        {"role": "user", "content": "Read the README and say what this project does."},
        _calling("read", {"filePath": f"{ROOT}/README.md"}),
        _result(read_result(f"{ROOT}/README.md", f"# {file.removesuffix('.py')}\n\n{doc}\n")),
        {"role": "assistant", "content": doc},
    ]


def _explain(file: str, name: str, doc: str, source: str) -> list[Message]:
    return [
        {"role": "user", "content": f"What does `{name}` in {file} do?"},
        _calling("read", {"filePath": f"{ROOT}/{file}"}, "I'll read it."),
        _result(read_result(f"{ROOT}/{file}", source)),
        {"role": "assistant", "content": f"`{name}`: {doc}"},
    ]


def _document(file: str, name: str, doc: str, source: str) -> list[Message]:
    start, _quotes, rest = source.partition('"""')
    body = rest.partition('"""')[2]
    bare, header = start.rstrip(" ") + body.lstrip("\n"), start.rstrip()
    indent = " " * (len(start) - len(start.rstrip(" ")))
    path = f"{ROOT}/{file}"
    edit = {"filePath": path, "oldString": header, "newString": f'{header}\n{indent}"""{doc}"""'}
    return [
        {"role": "user", "content": f"`{name}` in {file} lacks a docstring. Add one."},
        _calling("read", {"filePath": path}),
        _result(read_result(path, bare)),
        _calling("edit", edit),
        _result(EDIT_DONE),
        {"role": "assistant", "content": f"`{name}` is documented now."},
    ]


def _write(file: str, name: str, doc: str, source: str) -> list[Message]:
    return [
        {"role": "user", "content": f"Write `{name}` into {file}. {doc}"},
        _calling("write", {"content": source, "filePath": f"{ROOT}/{file}"}),
        _result(WRITE_DONE),
        _calling("bash", {"command": f"python -m py_compile {file}"}),
        _result("(no output)"),
        {"role": "assistant", "content": f"`{name}` is in {file} now."},
    ]


def _calling(tool: str, arguments: dict[str, Any], text: str = "") -> Message:
    return {"role": "assistant", "content": text, "tool_calls": [tool_call(0, tool, arguments)]}


def _result(text: str) -> Message:
    return {"role": "tool", "tool_call_id": "call_0", "content": text}
