"""How a base model writes a tool call, and what vLLM has to be told to read it: one table, by what the template writes.

A base belongs to a family because of the form of one rendered call, not because of its name: Qwen3 writes calls
otherwise than Qwen3-Coder. The parsers are those of vLLM 0.32 (`vllm/tool_parsers`, `vllm/reasoning`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from specialists.chat import NO_THINKING, Chat
from specialists.config import Problem


@dataclass(frozen=True)
class Family:
    """A form of tool calls; `call` and `begun` are regular expressions."""

    parser: str  # vLLM's --tool-call-parser
    call: str  # how the template writes a call of the tool `probe`
    begun: str  # what a model has written that began a call, whether it parses or not
    reasoning: str | None = None  # vLLM's --reasoning-parser, where thinking can be switched


FAMILIES = (
    Family("qwen3_coder", r"<function=probe>", r"<tool_call|<function=", "qwen3"),  # Qwen3-Coder, Qwen3.5 and later
    Family("hermes", r'<tool_call>\s*\{"name": ?"probe"', r"<tool_call", "qwen3"),  # Qwen2.5, Qwen3
    Family("mistral", r"\[TOOL_CALLS\]", r"\[TOOL_CALLS\]"),
    Family("openai", r"to=functions\.probe", r"to=functions\."),  # gpt-oss; vLLM sets its reasoning parser itself
    Family("llama3_json", r'\{"name": ?"probe", ?"parameters"', r'<\|python_tag\|>|^\s*\{"name"'),  # Llama 3
)
_CALL = {"name": "probe", "arguments": {"key": "value"}}
_CALLS = [{"id": "a1b2c3d4e", "type": "function", "function": _CALL}]  # nine letters and digits: Mistral takes no other
_ASKED: list[dict] = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": _CALLS}]


def vllm_options(chat: Chat, parser: str | None) -> dict[str, str]:
    """What vLLM has to be told of calls and thoughts; a parser that the owner names goes before the table's.

    Raises Problem where the template's form of calls is not in the table and no parser is named.
    """
    try:
        text = chat.render(_ASKED)
    except Problem:  # it takes no calls
        text = ""
    known = next((family for family in FAMILIES if re.search(family.call, text)), None)
    if not (name := parser or (known.parser if known else None)):
        raise Problem("the chat template's form of tool calls is unknown: name vLLM's in serving.tool_call_parser")
    options = {"--tool-call-parser": name}
    if "enable_thinking" in chat.template:
        options |= {"--default-chat-template-kwargs": json.dumps(NO_THINKING)}
        options |= {"--reasoning-parser": known.reasoning} if known and known.reasoning else {}
    return options
