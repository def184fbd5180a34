"""Calls and results in the words of opencode 2, and back in 1.18's, in which everything here thinks.

What a tool is called, its arguments, refusals and answers change together; a call that the other one does not have has
no words there. The forms were read off requests of both real programs (2: branch v2 at 2092350cf).
"""

import re
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from specialists.agent import CLEARED
from specialists.records import canonical
from specialists.tools import NAMES_2, ONLY_2, PRESENT, RENAMED, RETIRED, Call, is_2

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
    """A call in the words of the opencode that has these tools; None: it has no such call.

    What was refused for its form stands as it was, or has no words in the other's.
    """
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
