"""The demo's base model: its chat template, its tokenizer, and what it is trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import make_base
import pytest
from conftest import ROOT
from specialists.agent import TOOLS
from specialists.chat import Chat, decoded
from specialists.records import make_record, tool_call


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat.load(str(ROOT / "demo" / "base"))


SOURCE = {"kind": "session", "time": "2026-01-01T00:00:00Z"}
CALLS = [
    tool_call(0, "read", {"filePath": "a.py", "limit": 3}),
    tool_call(1, "bash", {"command": "ls\n"}),
    tool_call(2, "edit", {"filePath": "a.py", "oldString": "1", "newString": "", "replaceAll": True}),
]
TALK = [
    {"role": "system", "content": "You are a coding agent."},
    {"role": "user", "content": "Fix it."},
    {"role": "assistant", "content": "Let me look.", "weight": 1, "tool_calls": CALLS[:2]},
    {"role": "tool", "tool_call_id": "call_0", "content": "x = 1"},
    {"role": "tool", "tool_call_id": "call_1", "content": "a.py"},
    {"role": "assistant", "content": "", "weight": 1, "tool_calls": CALLS[2:]},
    {"role": "tool", "tool_call_id": "call_2", "content": "Edit applied successfully."},
    {"role": "assistant", "content": "Done.", "weight": 1},
    {"role": "user", "content": "Thanks."},
]


def test_the_template_keeps_prefixes(chat: Chat) -> None:
    text, spans = chat.spans(make_record("python", TALK, TOOLS, SOURCE))
    assert [text[start:end].endswith("<|im_end|>") for start, end in spans] == [True] * 3
    assert text[slice(*spans[2])] == "Done.<|im_end|>"
    for count in range(2, len(TALK)):
        if TALK[count - 1]["role"] != "tool" or TALK[count]["role"] != "tool":
            assert text.startswith(chat.render(decoded(TALK[:count]), TOOLS)), count


def test_calls_and_results_have_the_form_that_the_parser_reads(chat: Chat) -> None:
    text, spans = chat.spans(make_record("python", TALK, TOOLS, SOURCE))
    assert text[slice(*spans[0])] == (
        "Let me look.\n<tool_call>\n<function=read>\n<parameter=filePath>\na.py\n</parameter>\n<parameter=limit>\n3\n"
        "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=bash>\n<parameter=command>\nls\n\n</parameter>\n"
        "</function>\n</tool_call><|im_end|>"
    )
    assert "<parameter=newString>\n\n</parameter>\n<parameter=replaceAll>\ntrue\n</parameter>" in text[slice(*spans[1])]
    assert (
        "<|im_start|>user\n<tool_response>\nx = 1\n</tool_response>\n<tool_response>\na.py\n</tool_response><|im_end|>"
    ) in text


def test_tools_are_listed_alike_with_and_without_a_system_prompt_and_server_defaults(chat: Chat) -> None:
    """A server adds empty descriptions to the schemas that it was sent."""
    unset = {"name": None, "description": None, "strict": None}
    served = [{**tool, "function": {**unset, **tool["function"]}} for tool in TOOLS]
    text = chat.render(decoded(TALK[:2]), TOOLS)
    assert chat.render(decoded(TALK[:2]), served) == text
    listed = text[text.index("<tools>") : text.index("</tools>")]
    assert listed in chat.render(decoded(TALK[1:2]), TOOLS)
    shown = [json.loads(line) for line in listed.splitlines()[1:]]
    assert shown == [tool["function"] for tool in TOOLS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "base"
    shutil.copytree(make_base.BASE, folder)
    make_base.build(folder, steps=3, vocabulary=1024, threads=1)
    return folder


@pytest.mark.slow
def test_a_base_is_whole(base: Path) -> None:
    chat = Chat.load(str(base))
    encoded = chat.encode(make_record("python", TALK, TOOLS, SOURCE))
    assert encoded.supervised > 10
    for mark in make_base.MARKS:
        assert chat.tokenizer.encode(f"a{mark}b").tokens.count(mark) == 1
    text = "def café():\n    return 'ä🙂'\t\n"
    assert chat.tokenizer.decode(chat.tokenizer.encode(text).ids) == text
    settings = json.loads((base / "generation_config.json").read_text())
    assert chat.tokenizer.token_to_id("<|im_end|>") in settings["eos_token_id"]


@pytest.mark.slow
def test_transformers_renders_and_tokenizes_alike(base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, chat = AutoTokenizer.from_pretrained(base), Chat.load(str(base))
    text = tokenizer.apply_chat_template(decoded(TALK), tools=TOOLS, tokenize=False)
    assert text == chat.render(decoded(TALK), TOOLS)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == chat.tokenizer.encode(text).ids
    model = AutoModelForCausalLM.from_pretrained(base)
    assert model.config.model_type == "qwen3" and model.get_input_embeddings().num_embeddings == len(tokenizer)
