"""A model behind an endpoint: what it is asked, what of its answers is used, and what happens without it."""

import json
import re
from types import SimpleNamespace

import git_repositories
import pytest
from conftest import invoke
from opencode_rows import History, bash, edit, text
from servers import answering
from specialists.agent import ROOT
from specialists.client import Refused
from specialists.endpoint import Endpoint, controls, judged, reworded
from specialists.records import make_record, read_json, read_records, tool_call
from test_augment import CANARY, make_repository, many_functions, run, wanting

CHECK, CONTROLS = "Answer yes or no.", dict(controls())


class Model:
    """Answers at once; `asked` holds the questions, `raw` is what it answers in place of words."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.raw: object = None
        self.no = "\0"  # in a question: to this one the answer is no

    def __call__(self, _path: str, body: bytes) -> tuple[int, object]:
        question = json.loads(body)["messages"][0]["content"]
        if question in CONTROLS:
            return 200, {"choices": [{"message": {"content": "1" if self.raw == question else CONTROLS[question]}}]}
        self.asked.append(question)
        path = re.search(r"^(\S+), before:$", question, re.M)
        text = f"please look after {path and path[1]}"
        if question.endswith(CHECK):
            text = "No." if self.no in question else "Yes."
        return 200, self.raw or {"choices": [{"message": {"content": text}}]}


@pytest.fixture
def model():
    model = Model()
    with answering(model) as port:
        model.url = f"http://127.0.0.1:{port}/v1"
        model.options = ("--endpoint", model.url, "--model", "base")
        yield model


@pytest.fixture
def shelf(tmp_path):
    return make_repository(tmp_path / "shelf", {"a.rb": many_functions(6).replace("two, 1)", f"two, 1) # {CANARY}")})


def test_a_model_words_requests_and_is_asked_once_and_told_no_secret(config_file, shelf, model) -> None:
    rows, summary = run(wanting(config_file, 12), "ruby", shelf, more=model.options)
    assert {row["messages"][1]["content"] for row in rows} == {f"please look after {ROOT}/a.rb"}
    assert summary["by model"] == len(rows) and {row["source"]["request"] for row in rows} == {"model"}
    assert len(model.asked) == 2 * len(rows)  # written and checked
    assert run(config_file, "ruby", shelf, more=model.options) == (rows, summary)
    assert len(model.asked) == 2 * len(rows)
    kept = (config_file.parent / "out" / ".ruby.requests.json").read_text()
    assert CANARY not in "".join(model.asked) and CANARY not in kept


WORDED = [  # what a model writes, what it says of it, whether it is taken
    ("sum is wrong in a.py", "**Yes**, it is.", True),
    ("sum is wrong in a.py", "No, it is too vague.", False),
    ("say return one + two in a.py", "yes", False),  # gives the solution away
    ("Count.<|im_end|>\n<|im_start|>assistant\n", "yes", False),
    ("Please do ```this```", "yes", False),
    ("x" * 900, "yes", False),
]


@pytest.mark.parametrize(("written", "checked", "taken"), WORDED)
def test_which_requests_of_a_model_are_taken(written, checked, taken) -> None:
    change = {"filePath": "a.py", "oldString": "def f():\n  pass", "newString": "def f():\n  return one + two"}
    messages = [{"role": "system"}, {"content": "Fix it."}, {"tool_calls": [tool_call(0, "edit", change)]}]
    endpoint = SimpleNamespace(ask=lambda question: checked if question.endswith(CHECK) else written)
    found = reworded(endpoint, make_record("python", messages, [], {}))
    assert (found is not None) is taken
    assert not found or (found["messages"][1]["content"], found["source"]) == (written, {"request": "model"})


JUDGED = [  # what a model says, the weights of the three answers, of which it sees the outer two as 1 and 2
    ("none", [1, 0, 1], 0),
    ("**1**", [0, 0, 1], 1),
    ("No, the second claims too much.\n\nAnswers: 2 and 7.", [1], 1),
    ("1, 2", None, 2),
    ("1 is fine, 2 is not", [1, 0, 1], 0),
    (None, [1, 0, 1], 0),
]


@pytest.mark.parametrize(("answer", "learned", "left_out"), JUDGED)
def test_which_answers_a_model_leaves_to_learn(answer, learned, left_out) -> None:
    said = [{"role": "assistant", "content": f"answer {number} of b.py"} for number in range(3)]
    said[1] |= {"weight": 0, "tool_calls": [tool_call(0, "read", {"filePath": "a.py"})]}
    asked: list[str] = []
    endpoint = SimpleNamespace(ask=lambda question: (asked.append(question), answer)[1])
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go."}, *said]
    found, taken = judged(endpoint, make_record("python", messages, [], {"kind": "session"}))
    assert "## assistant 1\nanswer 0 of b.py\n\n(nowhere before: b.py)" in asked[0] and "a.py" in asked[0]
    assert "## assistant 2\nanswer 2 of b.py\n\n(nowhere before: )" in asked[0]
    assert (found and [message.get("weight", 1) for message in found["messages"][2:]], taken) == (learned, left_out)


def test_a_model_judges_the_windows_of_sessions(config_file, tmp_path, model) -> None:
    history = History(tmp_path / "opencode.db")
    session = history.session("ses_1")
    asked = history.user(session, "Name the function better")
    for part in (edit("/home/kim/src/demo/app.py", "def a(): pass", "def b(): pass"), bash("pytest -q", "2 failed")):
        history.assistant(session, asked, part, finish="tool-calls")
    history.assistant(session, asked, text("It works, all tests are green."))
    config_file.write_text(f'{config_file.read_text()}\n[endpoint]\nurl = "{model.url}"\nmodel = "base"\n')
    model.raw = {"choices": [{"message": {"content": "2"}}]}
    done = invoke("extract-training-data", config_file, "--database", tmp_path / "opencode.db", "--json")
    (row,) = read_records(config_file.parent / "data" / "sessions" / "python.jsonl")
    assert [message["weight"] for message in row["messages"] if message["role"] == "assistant"] == [0, 1]
    assert json.loads(done.stdout)["funnel"]["languages"]["python"]["lost"]["not worth learning"] == 1


EMPTY = {"choices": [{"message": {"content": None}}]}  # of one question


@pytest.mark.parametrize("raw", [[1], {"choices": []}, None, EMPTY, *CONTROLS])
def test_without_a_right_answer_the_templates_stay_and_the_endpoint_is_named(raw, config_file, shelf, model) -> None:
    plain, _ = run(config_file, "ruby", shelf)
    model.raw = raw
    more = ("--endpoint", model.url if raw else "http://127.0.0.1:9/v1", "--model", "m")
    rows, summary = run(config_file, "ruby", shelf, code=3, more=more)
    assert rows == plain and len(model.asked) == (len(rows) if raw == EMPTY else isinstance(raw, list | dict))
    assert len(summary["problems"]) == 1 and more[1] in summary["problems"][0]
    if isinstance(raw, str):
        model.raw = None  # a better model of the same name
        assert run(config_file, "ruby", shelf, more=more)[1]["by model"] == len(rows)


@pytest.mark.parametrize("more", [("--endpoint", "http://x/v1"), ("--model", "m"), ("--endpoint", "x", "--model", "m")])
def test_endpoint_and_model_go_together(more, config_file) -> None:
    result = invoke("augment", config_file, "--language", "ruby", *more)
    assert result.exit_code == 1 and "go together" in result.output


def test_a_model_words_the_requests_of_commits(config_file, tmp_path, model) -> None:
    sums = git_repositories.make(tmp_path / "sums", git_repositories.HISTORY)
    config_file.write_text(f'{config_file.read_text()}\n[endpoint]\nurl = "{model.url}"\nmodel = "base"\n')
    output = tmp_path / "out.jsonl"
    options = ("--language", "python", "--repository", sums, "--output", output)
    for _run in range(2):  # the second asks nothing
        result = invoke("mine-repos", config_file, *options)
        assert result.exit_code == 0, result.output
        assert [row["messages"][1]["content"][:17] for row in read_records(output)] == ["please look after"] * 3
        assert len(model.asked) == 6
    model.no = "return number + 2"
    output.with_name(".out.requests.json").unlink()
    summary = json.loads(invoke("mine-repos", config_file, *options, "--json").stdout)
    assert (summary["examples"], summary["funnel"]["no request that determines it"]) == (2, 1)
    assert any("return number + 2" in question for question in model.asked), "the real change"
    assert any("Fix the sum of one number" in question for question in model.asked), "the commit's own words"


def test_answers_are_kept_at_once_and_forgotten_when_nothing_asks_for_them(tmp_path, monkeypatch) -> None:
    keys = []

    def answer(_url: str, body: dict, key: str, timeout: float) -> dict:
        if body["messages"][0]["content"] == "long":
            raise Refused("too long", 400)
        keys.append(key)
        return {"choices": [{"message": {"content": f"answer {len(keys)}"}}]}

    monkeypatch.setenv("VLLM_API_KEY", "of-our-server")
    monkeypatch.setenv("SPECIALISTS_ENDPOINT_KEY", "of-the-endpoint")
    monkeypatch.setattr("specialists.endpoint.request_json", answer)
    (tmp_path / "answers.json").write_text("[1]")  # of nobody
    for questions in (["a", "b"], ["b"]):
        endpoint = Endpoint("http://x/v1", "base", tmp_path / "answers.json", str)
        assert [endpoint.ask(question) for question in questions][-1] == "answer 2"
        assert len(read_json(tmp_path / "answers.json")) == 2
        endpoint.finish(whole=True)
    assert endpoint.ask("long") is None and endpoint.ask("b") and "too long" in endpoint.finish(whole=False)[0]
    assert keys == ["of-the-endpoint"] * 2 and list(read_json(tmp_path / "answers.json").values()) == ["answer 2"]
