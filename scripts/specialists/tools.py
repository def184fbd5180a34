"""Tool calls of every version of opencode in the words of 1.18, in which everything here thinks, and in those of 2.

Tools and arguments get their present names, `apply_patch` becomes `edit` and `write` calls where that is exact,
arguments that are gone (a command's `description`) are left out. Names, arguments, refusals and answers change
together. The forms were read off requests of both real programs (2: branch v2 at 2092350cf).
"""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from posixpath import join
from typing import Any

from specialists.agent import CLEARED, EDIT_DONE, ROOT, TOOLS, TOOLS_2, WRITE_DONE, captured, in_project, read_result
from specialists.config import Config
from specialists.records import canonical

PRESENT = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
NAMES_2 = {"bash": "shell", "task": "subagent", "apply_patch": "patch"}  # of opencode 2
ONLY_2 = {"bash": {"background"}, "task": {"background"}, "glob": {"limit"}, "grep": {"limit"}}  # its own arguments
RENAMED = {new: old for old, new in NAMES_2.items()} | {"todo_write": "todowrite", "web_fetch": "webfetch"}
RENAMED_KEYS = {"path": "filePath", "file_path": "filePath", "old_string": "oldString", "new_string": "newString"}
RENAMED_KEYS |= {"agent": "subagent_type", "id": "name"}
RETIRED = frozenset({"list", "todoread", "apply_patch", "multiedit", "batch", "invalid"})  # no present form
_REFUSED = re.compile(  # the first is 1.18's, the others 2's too
    "was called with invalid arguments|^Unknown tool: |^Invalid tool input: |^Tool call arguments were malformed"
)

_EXIT_CODE = re.compile(r"\n*Command exited with code \d+\.\Z")
_READ_LINE = re.compile(r"(\d+): ?(.*)")
_JSON_TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
_KEYS = {"filePath": "path", "subagent_type": "agent"}
_ONLY_1 = (RETIRED | {"todowrite"}) - {"apply_patch"}
_FILE = "<path>{path}</path>\n<type>file</type>\n<content>\n{first}: {rest}\n\n(%s)\n</content>{after}"
_SHOWN = "Read file {path}, lines {first}-{last}\n{first}: {rest}"
_MORE = f"{_SHOWN}\n[Output truncated. Continue reading with offset: {{next}}]"
_FORMS = {  # of answers: 1.18's, 2's; the first that fits counts
    "read": [
        (_FILE % "Showing lines {first}-{last}. Use offset={next} to continue.", f"{_MORE}{{after}}"),
        (_FILE % "Showing lines {first}-{last} of {total}. Use offset={next} to continue.", f"{_MORE}{{after}}"),
        (_FILE % "End of file - total {last} lines", f"{_SHOWN}{{after}}"),
        (
            "<path>{path}</path>\n<type>directory</type>\n<entries>\n{rest}\n\n({last} entries)\n</entries>",
            "Read directory {path}, entries 1-{last}\n{rest}",
        ),
    ],
    "edit": [
        ("Edit applied successfully.{after}", "Edited {path} ({number} replacement){after}"),
        ("Edit applied successfully.", "Edited {path} ({number} replacements)"),
        (
            "Could not find oldString in the file. It must match exactly, including whitespace, indentation, and line "
            "endings.",
            "Could not find oldString in {path}. It must match exactly, including whitespace and indentation.",
        ),
        (
            "Found multiple matches for oldString. Provide more surrounding context to make the match unique.",
            "Found {number} matches for oldString, but expected exactly one. Add more surrounding context to make "
            "oldString unique, or set replaceAll to true to replace every occurrence.",
        ),
    ],
    "write": [
        ("Wrote file successfully.{after}", "Created file successfully: {path}{after}"),
        ("Wrote file successfully.", "Wrote file successfully: {path}"),
    ],
    "bash": [
        ("{rest}", f"{{rest}}\n{exited}") for exited in ("Command exited with code {exit}.", "Exited with code {exit}")
    ],
    "task": [('<task id="{id}" state="completed">\n<task_result>\n{rest}\n</task_result>\n</task>', "{rest}")],
}


@dataclass(frozen=True)
class Call:
    """One tool call with its result as the model saw it."""

    name: str
    arguments: dict[str, Any]
    output: str
    failed: bool = False
    exit: int | None = None  # of a command
    sent: str | None = None  # the result in opencode 2's words, where it was one of its

    @property
    def refused(self) -> bool:
        """Whether its form was wrong: an unknown tool, or other arguments."""
        return self.failed and bool(_REFUSED.search(self.output[:400]))

    @property
    def path(self) -> str:
        """The file that the call reads, edits or writes, if it does; from the project's folder where it lies in it."""
        return in_project(str(self.arguments.get("filePath") or ""))

    @property
    def command(self) -> str:
        """The command line that the call runs, if it does."""
        return in_project(str(self.arguments.get("command", ""))) if self.name == "bash" else ""


@dataclass
class Files:
    """What is known of files' contents from a session's own reads, edits and writes; a command makes it all stale."""

    texts: dict[str, str] = field(default_factory=dict)

    def after(self, call: Call) -> None:
        """Take in a call in present form."""
        path = call.path
        if call.name == "bash":
            self.texts.clear()
        elif call.failed:
            self.texts.pop(path, None)
        elif call.name == "read":
            body = call.output.partition("<content>")[2].partition("</content>")[0]
            if "(End of file" in body and not {"offset", "limit"} & call.arguments.keys():
                lines = filter(None, map(_READ_LINE.match, body.split("\n")))
                self.texts[path] = "".join(f"{line[2]}\n" for line in lines)
        elif call.name == "write":
            self.texts[path] = str(call.arguments.get("content", ""))
        elif call.name == "edit" and path in self.texts:
            old, new = str(call.arguments.get("oldString", "")), str(call.arguments.get("newString", ""))
            times = -1 if call.arguments.get("replaceAll") else 1
            if old and old in self.texts[path]:
                self.texts[path] = self.texts[path].replace(old, new, times)
            else:  # matched loosely by opencode: the text is not known any more
                del self.texts[path]


def present_calls(call: Call, files: Files) -> list[Call] | None:
    """A call in present form, a patch as several; None: it has no exact present form."""
    if call.refused:  # because of the words that it is in
        return [call]
    name = RENAMED.get(call.name, call.name)
    if name == "apply_patch" and not call.failed:
        return _from_patch(call, files)
    if name in RETIRED:
        return None
    schema = PRESENT.get(name)
    if schema is None:  # a tool of a plugin or an MCP server: it is what it is
        return [replace(call, name=name)]
    known = schema["properties"].keys() | ONLY_2.get(name, set())
    named = {key if key in known else RENAMED_KEYS.get(key, ""): value for key, value in call.arguments.items()}
    arguments = {key: value for key, value in named.items() if key in known}
    if name == "todowrite" and isinstance(arguments.get("todos"), list):
        keys = schema["properties"]["todos"]["items"]["properties"]
        todos = [todo for todo in arguments["todos"] if isinstance(todo, dict)]
        arguments["todos"] = [{key: value for key, value in todo.items() if key in keys} for todo in todos]
    if not call.failed and not set(schema["required"]) <= set(arguments):
        return None
    return [replace(call, name=name, arguments=arguments)]


def present_output(name: str, arguments: dict[str, Any], structured: dict[str, Any], output: str) -> str:
    """A result of the v2 engine as 1.18's other engine words it. `output`: as it was; `structured`: its parts."""
    if name in ("edit", "write"):
        return EDIT_DONE if name == "edit" else WRITE_DONE
    if name in ("bash", "shell"):
        return _EXIT_CODE.sub("", output)
    text = structured.get("content")
    if name != "read" or not isinstance(text, str):
        return output
    path, first = str(arguments.get("path") or ""), structured.get("offset") or 1
    if first == 1 and not structured.get("truncated"):
        return read_result(path, text)
    lines = [f"{number}: {line}" for number, line in enumerate(text.split("\n"), first)]
    rest = f"Use offset={structured['next']} to continue." if structured.get("next") else "End of file."
    body = "\n".join([*lines, "", f"(Showing lines {first}-{first + len(lines) - 1}. {rest})"])
    return f"<path>{path}</path>\n<type>file</type>\n<content>\n{body}\n</content>"


def _from_patch(call: Call, files: Files) -> list[Call] | None:
    """A patch as edits whose `oldString` stands exactly once in the file as it then was, and writes of new files."""
    sections = _sections(str(call.arguments.get("patchText", "")))
    if not sections:
        return None
    calls: list[Call] = []
    texts = dict(files.texts)
    for kind, path, hunks in sections:
        if kind == "Add" and len(hunks) == 1:
            texts[path] = hunks[0][1]
            calls.append(Call("write", {"content": texts[path], "filePath": join(ROOT, path)}, WRITE_DONE))
            continue
        if kind != "Update" or path not in texts or not hunks:
            return None
        for old, new in [(old, new) for old, new in hunks if old != new]:
            if not old or texts[path].count(old) != 1:
                return None
            texts[path] = texts[path].replace(old, new)
            calls.append(Call("edit", {"filePath": join(ROOT, path), "oldString": old, "newString": new}, EDIT_DONE))
    return calls or None


def _sections(patch: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(Add, Update or Delete, path, [(old, new), …]) of a patch; empty when something in it is not simple."""
    before, *parts = re.split(r"^\*\*\* (Add|Update|Delete) File: (.+)\n", f"{patch.strip()}\n", flags=re.M)
    sections = []
    for kind, path, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        hunks = []
        for hunk in filter(None, re.split(r"^(?:@@|\*\*\* End).*\n", body, flags=re.M)):
            lines = hunk.split("\n")[:-1]
            if any(line.startswith("*** ") for line in lines):  # a rename
                return []
            old, new = ("\n".join(line[1:] for line in lines if not line.startswith(other)) for other in "+-")
            hunks.append((old, new + "\n" * (kind == "Add")))
        sections.append((kind, in_project(path.strip()), hunks))
    return sections if before in ("", "*** Begin Patch\n") else []


def is_2(tools: list[dict[str, Any]]) -> bool:
    """Whether these are the tools of opencode 2."""
    return any(tool["function"]["name"] == "shell" for tool in tools)


def answer(output: str, name: str, to_2: bool, **known: Any) -> str:
    """What the other opencode answers to a call of `name`, if it has other words; `known`: what its form may name."""
    for forms in _FORMS.get(RENAMED.get(name, name), ()):
        said, wanted = forms if to_2 else forms[::-1]
        if (match := _pattern(said).fullmatch(output)) and output != CLEARED:
            with suppress(KeyError):  # a form that names what is not known
                return wanted.format_map(known | match.groupdict())
    return output


@cache
def _pattern(form: str) -> re.Pattern[str]:
    kinds = {"rest": ".*?", "path": r"[^\n]*?", "id": r"\w*", "after": r"(?:\n\n(?:<system-reminder>|LSP ).*)?"}
    first, *parts = re.split(r"\{(\w+)\}", form)
    pattern, seen = re.escape(first), set[str]()
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{kinds.get(name, r'-?[0-9]+')})"
        pattern += re.escape(text)
        seen.add(name)
    return re.compile(pattern, re.S)


def in_words_of(tools: list[dict[str, Any]], call: Call) -> Call | None:
    """A call in the words of the opencode that has these tools (refused: as it was); None: it has no such call."""
    to_2, of_2 = is_2(tools), call.sent is not None
    if call.refused:
        return replace(call, output=call.sent or call.output) if to_2 == of_2 else None
    if not to_2:
        if call.name == "execute" or call.arguments.get("background"):
            return None
        gone = ONLY_2.get(call.name, set())
        return replace(call, arguments={key: value for key, value in call.arguments.items() if key not in gone})
    if call.name in _ONLY_1 or "task_id" in call.arguments:
        return None
    keys = {"name": "id"} if call.name == "skill" else _KEYS if call.name in PRESENT else {}
    output = call.sent or ""
    if not of_2:
        known = {"path": call.path, "number": 2 if call.failed else 1}
        output = answer(call.output, call.name, True, **known, **({} if call.exit is None else {"exit": call.exit}))
        if call.failed and call.exit is None:
            output = canonical({"error": {"type": "tool.execution", "message": output}, "content": []})
    arguments = {keys.get(key, key): value for key, value in call.arguments.items()}
    return replace(call, name=NAMES_2.get(call.name, call.name), arguments=arguments, output=output)


def known_tools(config: Config, histories: Iterable[Path] = ()) -> list[dict[str, Any]]:
    """The tools of a primary agent, which say in whose words rows are: those that `doit tools` captured from the
    installed opencode, else those of the newest generation in the histories, by default all of the configuration.

    A tool whose arguments are named otherwise than in the calls that come out of here keeps its schema of then."""
    asked = captured(config).get("tools")
    of_2 = is_2(asked) if asked else any(map(_holds_opencode_2, histories or config.databases()))
    ours = {tool["function"]["name"]: tool for tool in (TOOLS_2 if of_2 else TOOLS)}
    chosen = []
    for tool in asked or ours.values():
        name, known = tool["function"]["name"], tool["function"]["parameters"].get("properties", {})
        required = ours[name]["function"]["parameters"]["required"] if name in ours else ()
        chosen.append(tool if set(required) <= set(known) else ours[name])
    return chosen


def _holds_opencode_2(history: Path) -> bool:
    """Whether there are sessions of opencode 2 in a history; it takes over all older ones."""
    for file in sorted(history.glob("opencode*.db")) if history.is_dir() else [history]:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as opened:
            if opened.execute("SELECT 1 FROM session_v2 LIMIT 1").fetchone():
                return True
    return False


def infer_schemas(calls: list[Call]) -> list[dict[str, Any]]:
    """Compact schemas of tools that opencode itself does not have, from the calls of them that worked."""
    seen: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        if RENAMED.get(call.name, call.name) not in PRESENT.keys() | RETIRED and not call.failed:
            seen.setdefault(call.name, []).append(call.arguments)
    schemas = []
    for name, arguments in sorted(seen.items()):
        first = {key: value for one in reversed(arguments) for key, value in one.items()}
        properties = {key: {"type": _JSON_TYPES.get(type(first[key]), "null")} for one in arguments for key in one}
        required = [key for key in properties if all(key in one for one in arguments)]
        parameters = {"type": "object", "properties": properties, "required": required}
        schemas.append({"type": "function", "function": {"name": name, "parameters": parameters}})
    return schemas
