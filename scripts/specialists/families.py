"""How a base model writes a tool call, what vLLM has to be told to read it, and what it would read otherwise.

A base belongs to a family because of the form of one rendered call, not because of its name: Qwen3 writes calls
otherwise than Qwen3-Coder. The parsers are those of vLLM 0.32 (`vllm/tool_parsers`, `vllm/reasoning`).
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from specialists.chat import NO_THINKING, Chat, Estimate
from specialists.config import Problem
from specialists.records import Record, canonical, is_target, make_record


@dataclass(frozen=True)
class Family:
    """A form of tool calls; `call`, `begun` and `marks` are regular expressions."""

    parser: str  # vLLM's --tool-call-parser
    call: str  # how the template writes a call of the tool `probe`
    begun: str  # what a model has written that began a call, whether it parses or not
    marks: str  # what the parsers take for a part of their form wherever it stands, in the middle of an argument too
    reasoning: str | None = None  # vLLM's --reasoning-parser, where thinking can be switched


_XML = r"</?(?:tool_call|function|parameter)[=>]|</?think>"
_JSON = r"</?tool_call>|</?think>"
_HEADER = r'<\|python_tag\|>|^\s*\{"name"'

FAMILIES = (
    Family("qwen3_coder", r"<function=probe>", r"<tool_call|<function=", _XML, "qwen3"),  # Qwen3-Coder, from Qwen3.5 on
    Family("hermes", r'<tool_call>\s*\{"name": ?"probe"', r"<tool_call", _JSON, "qwen3"),  # Qwen2.5, Qwen3
    Family("mistral", r"\[TOOL_CALLS\]", r"\[TOOL_CALLS\]", r"\[(?:TOOL_CALLS|ARGS|CALL_ID)\]"),
    Family("openai", r"to=functions\.probe", r"to=functions\.", r"to=functions\."),  # gpt-oss; vLLM knows its thoughts
    Family("llama3_json", r'\{"name": ?"probe", ?"parameters"', _HEADER, _HEADER),  # Llama 3
)
_SPECIAL = r"<\|[^|<>\s]{1,40}\|>"  # where the tokenizer is not on this machine
_CALL = {"name": "probe", "arguments": {"key": "value"}}
_CALLS = [{"id": "a1b2c3d4e", "type": "function", "function": _CALL}]  # nine letters and digits: Mistral takes no other
_ASKED: list[dict] = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": _CALLS}]


def family_of(chat: Chat) -> Family | None:
    """The family that a template's calls are of; None for one that is not in the table, or takes no calls."""
    try:
        text = chat.render(_ASKED)
    except Problem:
        return None
    return next((family for family in FAMILIES if re.search(family.call, text)), None)


class Sayable:
    """What the served model can say, by its tokenizer and family; by all families while the base is not here."""

    def __init__(self, base: Chat | Estimate):
        known = family_of(base) if isinstance(base, Chat) else None
        special = "|".join(map(re.escape, base.special_tokens)) if isinstance(base, Chat) else _SPECIAL
        marks = "|".join(family.marks for family in ([known] if known else FAMILIES))
        self._special = re.compile(special)
        self._stopped = lru_cache(maxsize=1024)(re.compile(f"{special}|{marks}").search)  # windows repeat messages

    def can_say(self, message: dict[str, Any]) -> bool:
        """Whether a turn comes back from the server as it is: it stops at special tokens, and parses what is left."""
        calls = (call["function"]["arguments"] for call in message.get("tool_calls") or ())
        return not any(map(self._stopped, (message.get("content") or "", *calls)))

    def __call__(self, record: Record) -> Record:
        """The record with targets that cannot be said as context, and with no text that becomes a special token."""
        if all(map(self.can_say, record["messages"])) and not self._special.search(canonical(record["tools"])):
            return record
        messages = [m if self.can_say(m) or not is_target(m) else {**m, "weight": 0} for m in record["messages"]]
        # a zero-width space behind the first character: still to be read, but no token any more
        text = canonical([messages, record["tools"]])
        messages, tools = json.loads(self._special.sub(lambda token: f"{token[0][0]}\u200b{token[0][1:]}", text))
        return make_record(record["language"], messages, tools, record["source"])


def vllm_options(chat: Chat, parser: str | None) -> dict[str, str]:
    """What vLLM has to be told of calls and thoughts; a parser that the owner names goes before the table's.
    Raises Problem where the template's form of calls is not in the table and no parser is named."""
    known = family_of(chat)
    if not (name := parser or (known.parser if known else None)):
        raise Problem("the chat template's form of tool calls is unknown: name vLLM's in serving.tool_call_parser")
    options = {"--tool-call-parser": name}
    if "enable_thinking" in chat.template:
        options |= {"--default-chat-template-kwargs": json.dumps(NO_THINKING)}
        options |= {"--reasoning-parser": known.reasoning} if known and known.reasoning else {}
    return options
