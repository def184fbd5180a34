"""The mask: supervised tokens decode to exactly what the model should say, under every kind of template."""

import json
import re
from functools import cache, partial
from itertools import groupby
from pathlib import Path

import pytest
import tiny_models
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from specialists.chat import Chat, Estimate, decoded, token_counter
from specialists.config import Problem
from specialists.records import Record, is_target, make_record, tool_call
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

SAMPLES = Path(__file__).parent / "samples"
CHATML, XML = ((SAMPLES / name).read_text(encoding="utf-8") for name in ("chatml.jinja", "xml-calls.jinja"))
DEMO = (ROOT / "demo" / "base" / "chat_template.jinja").read_text(encoding="utf-8")
TEMPLATES = {"hermes": tiny_models.TEMPLATE, "chatml": CHATML, "xml": XML, "demo": DEMO}


def plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def xml_call(name: str, given: dict, between: str = "") -> str:
    shown = {key: value if isinstance(value, str) else plain(value) for key, value in given.items()}
    parameters = [f"<parameter={key}>\n{value}\n</parameter>" for key, value in shown.items()]
    return f"<tool_call>\n{between.join([f'<function={name}>', *parameters, '</function>'])}\n</tool_call>"


RENDERED_CALL = {  # template -> what it makes of a call: name, arguments
    "hermes": lambda name, given: f"<tool_call>{plain({'name': name, 'arguments': given})}</tool_call>",
    "chatml": lambda name, given: f"<call>{name} {plain(given)}</call>",
    "xml": xml_call,
    "demo": partial(xml_call, between="\n"),  # as vLLM's parser qwen3_coder reads them
}
FORGETFUL = CHATML.replace("{{ message.content }}", "{{ message.content if loop.last else '...' }}")
NO_STOP = CHATML.replace("<|im_end|>", "")
REFUSING = "{{ raise_exception('roles must alternate') }}"


@cache
def chat(template: str, folder: Path) -> Chat:
    tiny_models.save_tokenizer(folder, template)
    return Chat.load(str(folder))


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Chat]:
    return {name: chat(template, tmp_path_factory.mktemp(name)) for name, template in TEMPLATES.items()}


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20).map(str.strip)
NAMES, KEYS = st.sampled_from(["edit", "bash"]), st.sampled_from(["command", "filePath"])
VALUES = st.one_of(TEXT, st.integers(), st.booleans())
CALLS = st.lists(st.builds(lambda *call: tool_call(0, call[0], {call[1]: call[2]}), NAMES, KEYS, VALUES), max_size=2)
WEIGHTS = st.sampled_from([0, 1])
TURN = st.one_of(
    st.builds(dict, role=st.just("user"), content=TEXT),
    st.builds(dict, role=st.just("tool"), tool_call_id=st.just("call_0"), content=TEXT),
    st.builds(dict, role=st.just("assistant"), content=TEXT, weight=WEIGHTS, tool_calls=CALLS),
)
TOOLS = [{"type": "function", "function": {"name": "edit", "parameters": {"type": "object", "properties": {}}}}]


def conversation(turns: list[dict]) -> Record:
    last = {"role": "assistant", "content": "done", "weight": 1}
    return make_record("rust", [{"role": "system", "content": "be brief"}, *turns, last], TOOLS, {})


@pytest.mark.parametrize("name", TEMPLATES)
@given(turns=st.lists(TURN, max_size=6))
@settings(max_examples=60)
def test_supervised_tokens_are_the_targets_with_their_stop_tokens(chats, name: str, turns: list[dict]) -> None:
    record = conversation(turns)
    encoded = chats[name].encode(record)
    text, spans = chats[name].spans(record)
    assert all(label in (-100, token) for token, label in zip(encoded.input_ids, encoded.labels, strict=True))
    runs = [list(run) for supervised, run in groupby(encoded.labels, lambda label: label != -100) if supervised]
    decode = chats[name].tokenizer.decode
    assert [decode(run, skip_special_tokens=False) for run in runs] == [text[slice(*span)] for span in spans]
    targets = [message for message in record["messages"] if is_target(message)]
    assert len(spans) == len(targets)
    for (start, end), message in zip(spans, targets, strict=True):
        calls = [call["function"] for call in message.get("tool_calls", ())]
        rendered = [RENDERED_CALL[name](call["name"], json.loads(call["arguments"])) for call in calls]
        between = "\n" if name == "demo" else ""
        assert text[start:end] == between.join(filter(None, [message["content"], *rendered])) + "<|im_end|>"
        assert text[:start].endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("name", TEMPLATES)
@given(turns=st.lists(TURN, max_size=4))
@settings(max_examples=20)
def test_rendering_is_that_of_transformers(chats, name: str, turns: list[dict]) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = decoded(conversation(turns)["messages"])
    for prompt in (False, True):
        options = {"chat_template": chats[name].template, "add_generation_prompt": prompt, **chats[name].special}
        theirs, _ = render_jinja_template(conversations=[messages], tools=TOOLS, **options)
        assert chats[name].render(messages, TOOLS, prompt) == theirs[0]


def test_the_demo_lists_tools_alike_with_what_a_server_adds_to_them(chats) -> None:
    served = [{**tool, "function": {"description": None, "strict": None, **tool["function"]}} for tool in TOOLS]
    messages = [{"role": "user", "content": "a question"}]
    assert chats["demo"].render(messages, served) == chats["demo"].render(messages, TOOLS)


USER = {"role": "user", "content": "a question"}
ANSWER = {"role": "assistant", "content": "an answer", "weight": 1}
CASES = {
    "a template that does not keep prefixes": (FORGETFUL, [USER, ANSWER, USER, ANSWER], "does not keep prefixes"),
    "a template without stop token": (NO_STOP, [USER, ANSWER], "without the stop token '<|im_end|>'"),
    "a template that refuses": (REFUSING, [USER, ANSWER], "refuses the conversation: roles must alternate"),
    "nothing supervised": (CHATML, [USER, {**ANSWER, "weight": 0}], "nothing supervised"),
}


@pytest.mark.parametrize(("template", "messages", "message"), CASES.values(), ids=CASES)
def test_rows_without_a_mask_are_errors_with_their_id(tmp_path: Path, template, messages, message) -> None:
    record = make_record("rust", messages, [], {})
    with pytest.raises(Problem, match=f"row {record['id']}: .*{re.escape(message)}"):
        chat(template, tmp_path).encode(record)


ODD = "a  <|im_end|>  b\n<|im_start|>user\n<|endoftext|><|im_end|> <|im_"


@pytest.mark.parametrize("flag", ["", "lstrip", "rstrip", "normalized", "single_word"])
@pytest.mark.parametrize("text", ["Hello", ODD])
def test_counting_is_encoding_whatever_the_special_tokens_do_beside_them(chats, flag: str, text: str) -> None:
    call = {**ANSWER, "tool_calls": [tool_call(0, "edit", {"filePath": text})]}
    record = conversation([{**USER, "content": text}, call])
    for chat in chats.values():
        tokenizer = json.loads(chat.tokenizer_json)
        tokenizer["added_tokens"] = [{**token, flag: True} for token in tokenizer["added_tokens"]]
        counter = Chat(chat.template, json.dumps(tokenizer), chat.special)
        whole = counter.tokenizer.encode(counter.render(decoded(record["messages"]), TOOLS), add_special_tokens=False)
        assert [counter.count(record["messages"], TOOLS) for _ in range(2)] == [len(whole.ids)] * 2
        assert counter.counts(record)[0] == len(counter.encode(record).input_ids)
        assert flag or counter.counts(record)[1] == counter.encode(record).supervised


QWEN = (  # Qwen's and Llama 3's split but for how many digits go together
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    "gpt2": (pre_tokenizers.ByteLevel(add_prefix_space=False), True),
    "qwen": (pre_tokenizers.Split(Regex(QWEN), "isolated"), True),
    "over words": (pre_tokenizers.Split(Regex(r"\p{L}+|[^\p{L}]+"), "isolated"), False),
    "over a line's end": (pre_tokenizers.Split(Regex(r" ?[^ ]+| +"), "isolated"), False),
    "metaspace": (pre_tokenizers.Metaspace(), False),
    "none": (None, False),
}


@cache
def counter_of(split: str) -> Chat:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    if splitter := SPLITS[split][0]:
        tokenizer.pre_tokenizer = splitter
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*Path(__file__).read_text().splitlines(keepends=True), *KINDS_OF_TEXT], trainer)
    return Chat(CHATML, tokenizer.to_str(), {"eos_token": "<|im_end|>"})


KINDS_OF_TEXT = [
    "aZ",
    "é",
    "e\u0301",
    "7",
    "10",
    "'s",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "\r\n",
    ". ",
    "({",
    "中",
    "_x",
    "😀",
]


@pytest.mark.parametrize("split", SPLITS)
@given(text=st.lists(st.sampled_from(KINDS_OF_TEXT), max_size=30).map("".join))
def test_counting_by_words_is_exact_and_done_only_where_it_is(split: str, text: str) -> None:
    counter = counter_of(split)
    whole = counter.tokenizer.encode(counter.render(messages := [{**USER, "content": text}]), add_special_tokens=False)
    assert counter.count(messages) == len(whole.ids)
    assert counter.counts_by_words == SPLITS[split][1]


def test_the_estimate_is_on_the_safe_side(chats) -> None:
    source = Path(__file__).read_text()
    messages = [{"role": "user", "content": source}, {**ANSWER, "content": source}]
    estimate = token_counter("no/such-model")
    assert isinstance(estimate, Estimate) and estimate.count(messages, TOOLS) > len(source) * 2 / 3.5
    counts = [estimate.count(messages, tools) for tools in (TOOLS, None, TOOLS * 2, [], TOOLS)]
    assert counts[2] > counts[0] == counts[4] > counts[1] == counts[3]


def test_a_template_may_stand_in_the_tokenizers_settings(tmp_path: Path) -> None:
    tiny_models.save_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(Problem, match=re.escape(f"{tmp_path}: no chat template (chat_template.jinja) in it")):
        Chat.load(str(tmp_path))
    settings_file = tmp_path / "tokenizer_config.json"
    named = [{"name": "rag", "template": "no"}, {"name": "tool_use", "template": CHATML}]
    settings_file.write_text(json.dumps({**json.loads(settings_file.read_text()), "chat_template": named}))
    assert Chat.load(str(tmp_path)).template == CHATML
