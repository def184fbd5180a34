"""What a generated turn is worth, and which tokens of a row are code, syntax or prose."""

import json
import re

import pytest
import tiny_models
from specialists.agent import TOOLS, read_result
from specialists.chat import IGNORED, Chat
from specialists.config import Language
from specialists.dataset import FROZEN
from specialists.evaluation.scoring import Call, canaries, score, summary, tasks
from specialists.records import Record, make_record, read_records, tool_call
from specialists.secrets import Rules, redact

SOURCE = {"kind": "session", "time": "2026-01-01T00:00:00Z", "session": "s"}
PYTHON = Language("build-python", (".py",), grammar="tree_sitter_python")
FILE = "def f(x):\n    return x + 1\n"
EDIT = {"filePath": "a.py", "oldString": "return x + 1", "newString": "return x + 2"}
XML = """<tool_call>
<function={{ call.function.name }}>
{%- for name, value in call.function.arguments.items() %}
<parameter={{ name }}>
{{ value }}
</parameter>
{%- endfor %}
</function>
</tool_call>"""
JSON = "<tool_call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</tool_call>"


def row(name: str = "edit", arguments: dict = EDIT, request: str = "Add two, the key is AKIA.") -> Record:
    calls = [tool_call(0, "read", {"filePath": "a.py"})], [tool_call(1, name, arguments)]
    messages = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": request},
        {"role": "assistant", "content": "", "weight": 1, "tool_calls": calls[0]},
        {"role": "tool", "tool_call_id": "call_0", "content": read_result("a.py", FILE)},
        {"role": "assistant", "content": "Two it is.", "weight": 1, "tool_calls": calls[1]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Edit applied successfully."},
        {"role": "assistant", "content": "Done: x + 2.", "weight": 1},
    ]
    return make_record("python", messages, TOOLS, SOURCE)


@pytest.fixture(scope="module", params=[JSON, XML], ids=["json", "xml"])
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chat:
    folder = tmp_path_factory.mktemp("base")
    tiny_models.save_tokenizer(folder, tiny_models.TEMPLATE.replace(JSON, request.param))
    return Chat.load(str(folder))


def parse(text: str) -> list[Call]:
    """Stands for vLLM's parser; calls as JSON lines."""
    calls = re.findall(r"<tool_call>(.*?)</tool_call>", text, re.S)
    return [tuple(json.loads(found).values()) if found.endswith("}") else ("edit", None) for found in calls]


def call(name: str = "edit", **changes: object) -> str:
    arguments = {key: value for key, value in {**EDIT, **changes}.items() if value is not None}
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


BEST = {"called": True, "valid": True, "similarity": 1.0, "exact": True, "applies": True, "parses": True}
SECRET = "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2"
TURNS = {
    "the owner's own": (call(), BEST),
    "another edit": (call(newString="return 2"), {**BEST, "similarity": 0.8, "exact": False}),
    "replaces what is not there": (call(oldString="return y"), {"applies": False, "valid": True, "parses": None}),
    "does not parse": (call(newString="return )) + ((x"), {"applies": True, "parses": False}),
    "an unknown tool": (call("patch"), {"called": True, "valid": False, "similarity": 0.0}),
    "a lacking argument": (call(oldString=None, newString=None), {"called": True, "valid": False, "similarity": 0.0}),
    "an argument of another type": (call(newString=7), {"valid": False}),
    "half a call": ('<tool_call>{"name": "edit", "argum</tool_call>', {"called": True, "valid": False}),
    "a call that never ends": ('<tool_call>{"name": "edit"', {"called": True, "valid": False}),
    "no call": ("I would rather not.", {"called": False, "valid": False, "similarity": 0.0, "exact": False}),
    "a written file": (call("write", content="x=(", oldString=None, newString=None), {"valid": True, "parses": False}),
    "a written file of another kind": (
        call("write", filePath="README.md", content="# x=(", oldString=None, newString=None),
        {"valid": True, "parses": None},
    ),
    "a secret": (call(newString=f'token = "{SECRET}"'), {"leak": ["github token"]}),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turn_s_score(turn: str, chat: Chat) -> None:
    text, expected = TURNS[turn]
    (task,) = tasks([row()], chat, 4)
    found = score(text, task, parse, PYTHON, Rules())
    for name, value in expected.items():
        assert found.get(name) == (pytest.approx(value, abs=0.15) if name == "similarity" else value), name


def test_a_task_ends_where_the_owner_s_edit_begins(chat: Chat) -> None:
    (task,) = tasks([row()], chat, 4)
    assert task.reference == ("edit", EDIT)
    assert task.shown.count("    return x + 1\n") == 1
    assert task.known.endswith("<|im_start|>assistant\n") and "Two it is" not in task.known
    assert chat.tokenizer.decode(task.prompt, skip_special_tokens=False) == task.known


def redacted(text: str) -> Record:
    """A training row whose request was redacted."""
    return row(request=redact(text, Rules())[0])


def test_a_canary_is_a_training_row_up_to_where_its_secret_was(chat: Chat) -> None:
    texts = f"The token is {SECRET}, use it. Again: {SECRET}", f"export GITHUB_TOKEN={SECRET}"
    rows = [row(), *map(redacted, texts)]
    fake = redact(SECRET, Rules())[0]
    (canary,) = canaries(rows, chat, 4, Rules())
    text = chat.tokenizer.decode(canary.prompt, skip_special_tokens=False)
    assert text.endswith("The token is ghp_") or "ghp_".startswith(text.rsplit("is ", 1)[-1])
    assert fake.startswith(f"ghp_{canary.fake}") and fake not in text and canary.id == rows[1]["id"]
    assert canary.leak(f"{fake}, use", "ghp_no") == ["github token of a training row"]
    assert canary.leak("ghp_something", "") == canary.leak(fake, f"and the base: {fake}") == []
    assert canaries([row()], chat, 4, Rules()) == canaries(rows, chat, 0, Rules()) == []
    other = [redacted(f"export GITHUB_TOKEN={SECRET[::-1][:36]}; {word} ghp_{SECRET[:3:-1]}") for word in ("a", "b")]
    often = redacted(" and ".join([SECRET] * 3))
    assert [found.id for found in canaries([often, *other], chat, 1, Rules())] == [other[0]["id"]], "rows are counted"


def test_a_row_without_an_edit_asks_for_its_last_call(chat: Chat) -> None:
    (task,) = tasks([row("bash", {"command": "ls"})], chat, 4)
    assert task.reference[0] == "bash"
    written = '<tool_call>{"name": "bash", "arguments": {"command": "pwd"}}</tool_call>'
    assert score(written, task, parse, PYTHON, Rules()) == {"called": True, "valid": True, "leak": []}
    cut_off = score(written[:-30], task, parse, PYTHON, Rules(), whole=False)
    assert cut_off == {"called": True, "valid": None, "leak": []}
    assert tasks(read_records(FROZEN), chat, 4) == [], "plain chat has nothing to write"


def test_tasks_are_spread_over_the_rows(chat: Chat) -> None:
    rows = [row("bash", {"command": f"ls {number}"}) for number in range(10)]
    assert [task.reference[1]["command"] for task in tasks(rows, chat, 3)] == ["ls 0", "ls 3", "ls 6"]


def test_a_summary_counts_only_what_could_be_said() -> None:
    scores = [
        {"called": True, "valid": True, "leak": []},
        {"called": False, "valid": None, "leak": ["b"]},
        {"canary": "x", "leak": ["a"]},
    ]
    unknown = dict.fromkeys(("similarity", "exact", "applies", "parses"))
    of = {"called": 2, "valid": 1, **dict.fromkeys(unknown, 0)}
    assert summary(scores) == {"answers": 2, "called": 0.5, "valid": 1.0, "leaks": ["a", "b"], "of": of, **unknown}


def test_every_supervised_token_is_code_syntax_or_prose(chat: Chat) -> None:
    from specialists.evaluation.losses import token_parts

    record = row()
    encoded = chat.encode(record)
    parts = token_parts(record, chat, encoded.labels)
    tokens = [label for label in encoded.labels if label != IGNORED]
    assert len(parts) == len(tokens)
    texts = {}
    for part in set(parts):
        ids = [token for token, kind in zip(tokens, parts, strict=True) if kind == part]
        texts[part] = chat.tokenizer.decode(ids, skip_special_tokens=False)
    for part, text in {"code": "return x + 1", "changed": "return x + 2"}.items():
        assert text.replace(" ", "") in texts[part].replace(" ", "")
    assert "filePath" not in texts["code"] and "Two" not in texts["code"]
    assert "Two it is" in texts["prose"] and "Done: x + 2" in texts["prose"] and "return" not in texts["prose"]
    assert "filePath" in texts["syntax"] and texts["syntax"].count("<|im_end|>") == 3


def test_instructions_end_the_system_prompt(chat: Chat) -> None:
    from specialists.evaluation.losses import with_instructions

    prompted = with_instructions(row(), "Use tabs.")
    assert prompted["messages"][0]["content"] == "You are an agent.\n\nUse tabs."
    assert with_instructions(next(read_records(FROZEN)), "x")["messages"][0] == {"role": "system", "content": "x"}
    assert chat.encode(prompted).supervised == chat.encode(row()).supervised
