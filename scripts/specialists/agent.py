"""The agent as training and opencode both know it: its prompt, its tools, what they answer, the head of its chats.

The forms of the answers were read off requests of the real opencode 1.18.33; the schemas are opencode's own names,
types and required keys without the prose, which costs some 500 tokens instead of 5,500. Those of opencode 2 are of its
branch v2 at 2092350cf; how it words calls and answers is in tools.py.
"""

import re
import zlib
from typing import Any

from specialists.chat import Chat, Estimate, token_counter
from specialists.config import Config, Language
from specialists.records import Record, canonical, read_json


def system_prompt(language: Language) -> str:
    """The system prompt of a specialist: in every training row, and in the opencode agent that is configured."""
    return (
        f"You are {language.adapter}, a coding agent specialised in {language.title}. You work in the user's project "
        "through tools. Read code before you change it, make the smallest edit that does what was asked, follow the "
        "style of the surrounding code, and check your work with the project's own tools. Answer briefly."
    )


def _tool(name: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    given = {**required, **(optional or {})}
    properties = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in given.items()}
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


_TODO = {"content": {"type": "string"}, "status": {"type": "string"}, "priority": {"type": "string"}}

TOOLS: list[dict[str, Any]] = [
    _tool("bash", {"command": "string"}, {"timeout": "integer", "workdir": "string"}),
    _tool("edit", {"filePath": "string", "oldString": "string", "newString": "string"}, {"replaceAll": "boolean"}),
    _tool("glob", {"pattern": "string"}, {"path": "string"}),
    _tool("grep", {"pattern": "string"}, {"path": "string", "include": "string"}),
    _tool("read", {"filePath": "string"}, {"offset": "integer", "limit": "integer"}),
    _tool("skill", {"name": "string"}),
    _tool("task", {"description": "string", "prompt": "string", "subagent_type": "string"}, {"task_id": "string"}),
    _tool("todowrite", {"todos": {"type": "array", "items": {"type": "object", "properties": _TODO}}}),
    _tool("webfetch", {"url": "string"}, {"format": "string", "timeout": "number"}),
    _tool("write", {"content": "string", "filePath": "string"}),
]
"""opencode 1.18's tools for a primary agent."""

TOOLS_2: list[dict[str, Any]] = [
    _tool("edit", {"path": "string", "oldString": "string", "newString": "string"}, {"replaceAll": "boolean"}),
    _tool("execute", {"code": "string"}),
    _tool("glob", {"pattern": "string"}, {"path": "string", "limit": "integer"}),
    _tool("grep", {"pattern": "string"}, {"path": "string", "include": "string", "limit": "integer"}),
    _tool("question", {"questions": {"type": "array", "items": {"type": "object"}}}),
    _tool("read", {"path": "string"}, {"offset": "integer", "limit": "integer"}),
    _tool("shell", {"command": "string"}, {"workdir": "string", "timeout": "integer", "background": "boolean"}),
    _tool("skill", {"id": "string"}),
    _tool("subagent", {"agent": "string", "description": "string", "prompt": "string"}, {"background": "boolean"}),
    _tool("webfetch", {"url": "string"}, {"format": "string", "timeout": "number"}),
    _tool("websearch", {"query": "string"}),
    _tool("write", {"path": "string", "content": "string"}),
]
"""opencode 2's."""

HOME = "/home/user"  # the home folder in rows and in the sandbox: `~` is none to tools, nor within quotes
ROOT = f"{HOME}/project"  # where every project lies in rows, and the folder that their heads name
NEW_CODE = {"edit": "newString", "write": "content"}  # the argument of a tool that holds the code it writes

EDIT_DONE = "Edit applied successfully."
WRITE_DONE = "Wrote file successfully."
FILE_SHOWN = ("<path>", "Read file ")  # what an answer starts with that shows a file: 1.18's, 2's
CLEARED = "[Old tool result content cleared]"  # what stands for outputs of long ago
_LINE_NUMBER = re.compile(r"^\d+: ?", re.M)


def path_of(arguments: dict[str, Any]) -> str:
    """The file that a call reads, edits or writes, if it does."""
    return str(arguments.get("filePath") or arguments.get("path") or "")


def in_project(text: str) -> str:
    """A path or a command with paths from the project's folder."""
    return text.replace(f"{ROOT}/", "").replace(ROOT, ".")


def without_line_numbers(text: str) -> str:
    """What `read` answered, as the file has it."""
    return _LINE_NUMBER.sub("", text)


def read_result(path: str, text: str) -> str:
    """What opencode's `read` answers for a file's whole text."""
    lines = text.removesuffix("\n").split("\n") if text else []  # behind the last line feed there is no line
    shown = "\n".join(f"{number}: {line}" for number, line in enumerate(lines, 1))
    tail = f"End of file - total {len(lines)} lines"
    return f"<path>{path}</path>\n<type>file</type>\n<content>\n{shown}\n\n({tail})\n</content>"


def compact(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool of a request with names, types and required keys only."""
    function = tool["function"]
    return {"type": "function", "function": {"name": function["name"], "parameters": _bare(function["parameters"])}}


def _bare(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    keys = [key for key in ("type", "properties", "required", "items", "enum") if key in schema]
    bare = {key: _bare(schema[key]) if key == "items" else schema[key] for key in keys}
    if isinstance(bare.get("properties"), dict):
        bare["properties"] = {name: _bare(value) for name, value in bare["properties"].items()}
    return bare


def captured(config: Config) -> dict[str, Any]:
    """What `doit tools` captured of the installed opencode; empty before it ran."""
    found = read_json(config.tools_file)
    return found if isinstance(found, dict) and found.get("tools") else {}


def sent(language: Language, capture: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """System prompt and tools as the specialist of a language is sent them, for rows all under one root and date."""
    prompt = f"{system_prompt(language)}{capture.get('system', '')}"
    return prompt.replace("{adapter}", language.adapter), capture.get("described") or capture.get("tools") or []


def with_head(record: Record, language: Language, capture: dict[str, Any], share: float) -> Record:
    """A row as it is trained on: with the whole head where its id falls into `share`, else with the compact one:
    the agent's prompt, its folder, and the tools without prose."""
    prompt, tools = f"{system_prompt(language)}\nWorking directory: {ROOT}", record["tools"]
    if capture and zlib.crc32(record["id"].encode()) < share * 2**32:
        prompt, described = sent(language, capture)
        whole = {canonical(compact(tool)): tool for tool in described}
        tools = [whole.get(canonical(compact(tool)), tool) for tool in tools]
    said = [message for message in record["messages"] if message["role"] != "system"]
    return {**record, "messages": [{"role": "system", "content": prompt}, *said], "tools": tools}


def sent_tokens(config: Config, language: Language) -> int:
    """Tokens that opencode sends the specialist of a language before the user's first word; few where none is known."""
    return head_tokens(token_counter(config.base.model, config.base.revision), *sent(language, captured(config)))


def head_tokens(chat: Chat | Estimate, system: str, tools: list[dict[str, Any]]) -> int:
    """Tokens of a conversation before the user's first word."""
    return chat.count([{"role": "system", "content": system}, {"role": "user", "content": ""}], tools)
