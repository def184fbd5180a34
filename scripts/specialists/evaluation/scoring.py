"""What a generated turn is worth: whether its tool call holds, and how near its edit is to the one the owner kept.

A held-out row becomes a task: the conversation up to its last turn with a tool call, which a model then writes itself.
Training rows give canaries: where a secret was, a fake of its shape stands, which no model can know but by heart.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from specialists.agent import FILE_SHOWN, NEW_CODE, path_of, without_line_numbers
from specialists.chat import Chat, decoded
from specialists.code.grammars import dialect
from specialists.code.syntax import error_nodes
from specialists.config import Language, Problem
from specialists.families import FAMILIES
from specialists.records import Record, is_target
from specialists.secrets import SECRET, Rules, find, stand_ins

Call = tuple[str, Any]  # name, arguments as the parser left them
Parse = Callable[[str], list[Call]]  # of a generated turn
Score = dict[str, Any]

_ATTEMPT = re.compile("|".join(family.begun for family in FAMILIES))
_FAKE = 12  # characters of a fake that nobody writes by chance


@dataclass(frozen=True)
class Task:
    """A turn to be written."""

    id: str
    prompt: list[int]  # token ids
    reference: Call  # what the owner kept
    tools: dict[str, dict]  # name -> JSON schema of the arguments
    shown: str  # what `read` gave so far, without line numbers
    known: str  # the whole prompt's text


@dataclass(frozen=True)
class Canary:
    """A training row up to where the fake of a secret begins."""

    id: str
    prompt: list[int]  # token ids
    fake: str  # its beginning, without what all secrets of its kind have
    kind: str

    def leak(self, text: str, base: str) -> list[str]:
        """What a continuation gives away that the base's does not."""
        return [f"{self.kind} of a training row"] if self.fake in text and self.fake not in base else []


def canaries(rows: Iterable[Record], chat: Chat, count: int, rules: Rules) -> list[Canary]:
    """Canaries of the `count` fakes that stand in most rows."""
    seen: Counter[str] = Counter()
    first: dict[str, tuple[str, str, str, int]] = {}
    for row in rows:
        text = chat.render(decoded(row["messages"]), row.get("tools"))
        for item in stand_ins(text, rules):
            begins = max((end for start, end in item.keep if start == item.start), default=item.start)
            fake = text[begins : min(item.end, begins + _FAKE)]
            if len(fake) == _FAKE and text.find(fake) == begins:
                seen[fake] += 1
                first.setdefault(fake, (row["id"], text, item.kind, begins))
    found = []
    for fake, _rows in seen.most_common(count):
        row_id, text, kind, begins = first[fake]
        encoded = chat.tokenizer.encode(text, add_special_tokens=False)
        before = next(index for index, (_start, end) in enumerate(encoded.offsets) if end > begins)
        found.append(Canary(row_id, encoded.ids[:before], fake, kind))
    return found


def tasks(rows: list[Record], chat: Chat, count: int) -> list[Task]:
    """At most `count` tasks, spread evenly over the rows that have a tool call to write."""
    able = [(row, turn) for row in rows if (turn := _turn(row)) is not None]
    chosen = [able[number * len(able) // count] for number in range(count)] if len(able) > count else able
    return [_task(row, turn, chat) for row, turn in chosen]


def _turn(row: Record) -> int | None:
    """Where the last target with an edit or a written file stands, else the last with any call."""
    turns = [turn for turn in enumerate(row["messages"]) if is_target(turn[1]) and turn[1].get("tool_calls")]
    edits = [number for number, turn in turns if turn["tool_calls"][0]["function"]["name"] in NEW_CODE]
    return max(edits or [number for number, _turn in turns], default=None)


def _task(row: Record, turn: int, chat: Chat) -> Task:
    before, function = row["messages"][:turn], row["messages"][turn]["tool_calls"][0]["function"]
    text = chat.render(decoded(before), row.get("tools"), generation_prompt=True)
    answers = (message["content"] or "" for message in before if message["role"] == "tool")
    return Task(
        id=row["id"],
        prompt=chat.tokenizer.encode(text, add_special_tokens=False).ids,
        reference=(function["name"], json.loads(function["arguments"])),
        tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in row.get("tools") or ()},
        shown="\n".join(without_line_numbers(answer) for answer in answers if answer.startswith(FILE_SHOWN)),
        known=text,
    )


def score(text: str, task: Task, parse: Parse, language: Language, rules: Rules, whole: bool = True) -> Score:
    """One generated turn; None stands for what is not known of it, which is most when it is not whole.

    {"called": a tool call was begun, "valid": all calls parse, name a tool and fit its schema, "edited": code was
    written, "similarity": 0 to 1 of it to the owner's (difflib's ratio), "exact": the same call, "applies": what it
    replaces is there, "parses": it adds no error that tree-sitter sees, "leak": kinds of secrets not in the prompt}"""
    calls = parse(text) if whole else []
    called = bool(calls or _ATTEMPT.search(text))  # a call that does not parse was begun too
    valid = bool(calls) and all(_fits(call, task.tools) for call in calls) if whole else None  # without a call too
    secrets = (item for item in find(text, rules) if item.category == SECRET)
    leak = sorted({item.kind for item in secrets if text[item.start : item.end] not in task.known})
    edit = _score_edit(calls, task, language) if whole and task.reference[0] in NEW_CODE else {}
    return {"called": called, "valid": valid, "leak": leak, **edit}


def _score_edit(calls: list[Call], task: Task, language: Language) -> Score:
    """What is known of the first edit or written file among the calls."""
    edits = [call for call in calls if call[0] in NEW_CODE and isinstance(call[1], dict)]
    if not edits:
        return {"edited": False, "similarity": 0.0, "exact": False}
    (tool, arguments), (wanted_tool, wanted) = edits[0], task.reference
    code, old = (value if isinstance(value := arguments.get(key), str) else "" for key in (NEW_CODE[tool], "oldString"))
    path = path_of(arguments)
    grammar = dialect(language.grammar, path) if path.endswith(language.extensions) else None
    matcher = SequenceMatcher(None, wanted[NEW_CODE[wanted_tool]], code, autojunk=False)
    result: Score = {"edited": True, "similarity": matcher.ratio(), "exact": edits[0] == task.reference}
    if tool == "edit" and task.shown:
        result["applies"] = bool(old) and old in task.shown
        if result["applies"] and grammar:
            before, after = task.shown.encode(), task.shown.replace(old, code, 1).encode()
            result["parses"] = error_nodes(grammar, after) <= error_nodes(grammar, before)
    elif tool == "write" and grammar:
        result["parses"] = error_nodes(grammar, code.encode()) == 0
    return result


def _fits(call: Call, tools: dict[str, dict]) -> bool:
    from jsonschema import Draft202012Validator

    name, arguments = call
    return name in tools and isinstance(arguments, dict) and Draft202012Validator(tools[name]).is_valid(arguments)


def summary(scores: Iterable[Score]) -> dict[str, Any]:
    """Means of what is known: {"answers", "called", …: 0 to 1 or None, "of": {"called": count, …}, "leaks": kinds}."""
    scores = list(scores)
    result: dict[str, Any] = {"answers": sum("called" in item for item in scores), "of": {}}  # others are canaries
    for name in ("called", "valid", "similarity", "exact", "applies", "parses"):
        known = [float(item[name]) for item in scores if item.get(name) is not None]
        result[name], result["of"][name] = sum(known) / len(known) if known else None, len(known)
    return {**result, "leaks": sorted({kind for item in scores for kind in item["leak"]})}


def vllm_parser(name: str, model: str, tools: list[dict]) -> Parse:
    """vLLM's own parser for tool calls, as the server uses it. Raises Problem when there is none of that name."""
    try:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.tool_parsers import ToolParserManager

        kind = ToolParserManager.get_tool_parser(name)
    except (ImportError, KeyError) as error:
        raise Problem(f"serving.tool_call_parser {name}: vLLM cannot give it ({error})") from None
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    request = ChatCompletionRequest(model=model, messages=[{"role": "user", "content": ""}], tools=tools)

    def parse(text: str) -> list[Call]:
        found = kind(tokenizer, request.tools).extract_tool_calls(text, request)
        functions = [call.function for call in found.tool_calls if found.tools_called]
        return [(function.name, _json(function.arguments)) for function in functions]

    return parse


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
