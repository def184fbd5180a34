"""Templates as models are shipped with them (TRL's copies): what vLLM is told, and what is learned if one can think."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specialists.chat import Chat, decoded
from specialists.config import Problem
from specialists.families import vllm_options
from specialists.records import is_target, make_record, tool_call
from test_chat import CHATML, TOOLS

NO_THINKING = {"enable_thinking": False, "preserve_thinking": True}


def shipped(name: str) -> Chat:
    path = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates" / f"{name}.jinja"
    return Chat(path.read_text(), "{}", {"eos_token": "<|im_end|>", "bos_token": ""})


OPTIONS = {  # template -> parser of calls, of thoughts
    **dict.fromkeys(("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8"), ("qwen3_coder", "qwen3")),
    **{"qwen3": ("hermes", "qwen3"), "qwen3_instruct_2507": ("hermes", None), "qwen2_5": ("hermes", None)},
    **{"llama3_1": ("llama3_json", None), "gptoss": ("openai", None)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_vllm_is_told_what_the_template_writes(name: str) -> None:
    parser, thoughts = OPTIONS[name]
    found = vllm_options(shipped(name), None)
    assert (found["--tool-call-parser"], found.get("--reasoning-parser")) == (parser, thoughts)
    assert ("--default-chat-template-kwargs" in found) == (thoughts is not None)
    assert vllm_options(shipped(name), "mine")["--tool-call-parser"] == "mine"


def test_a_form_that_is_not_known() -> None:
    mistral = CHATML.replace("<call>", "[TOOL_CALLS]")
    assert vllm_options(Chat(mistral, "{}", {"eos_token": "</s>"}), None) == {"--tool-call-parser": "mistral"}
    with pytest.raises(Problem, match=r"unknown: name vLLM's in serving\.tool_call_parser"):
        vllm_options(Chat(CHATML, "{}", {"eos_token": "</s>"}), None)


TEXT = st.text("ab <>\n", max_size=5).map(str.strip)
STEPS = st.lists(st.tuples(TEXT, TEXT, st.sampled_from([0, 1])), max_size=3)


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8", "nemotron_3_nano"])
@given(questions=st.lists(STEPS, min_size=1, max_size=3))
@settings(max_examples=12)
def test_every_turn_is_learned_after_the_prompt_that_it_is_served_with(name: str, questions: list[list]) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages: list[dict] = [{"role": "system", "content": "be brief"}]
    for steps in questions:
        messages.append({"role": "user", "content": "q"})
        for text, value, weight in steps:
            call = tool_call(0, "edit", {"filePath": value})
            messages.append({"role": "assistant", "content": text, "weight": weight, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": "call_0", "content": "done"})
        messages.append({"role": "assistant", "content": "end", "weight": 1})
    chat, learned = shipped(name), []
    for part in chat.parts(make_record("rust", messages, TOOLS, {})):
        text, spans = chat.targets(part)
        for index, (start, end) in spans.items():
            options = {"chat_template": chat.template, "tools": TOOLS, "add_generation_prompt": True, **NO_THINKING}
            prompts, _ = render_jinja_template(conversations=[decoded(messages[:index])], **options, **chat.special)
            assert text[:start] == prompts[0]
            assert re.fullmatch(
                rf"{re.escape(messages[index]['content'])}\s*(<tool_call>.*</tool_call>\s*)?<\|im_end\|>",
                text[start:end],
                re.S,
            )
            learned.append(index)
    assert sorted(learned) == [index for index, message in enumerate(messages) if is_target(message)]


def test_a_base_that_always_thinks() -> None:
    row = make_record(
        "rust", [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1}], [], {}
    )
    with pytest.raises(Problem, match="always asks for thoughts, and rows hold none: use another base"):
        shipped("deepseek_r1_distill").encode(row)
