"""A model behind an endpoint: what it is asked, what of its answers is used, and what happens without it."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import git_repositories
import pytest
from click.testing import CliRunner
from servers import answering
from specialists.endpoint import Endpoint
from specialists.records import read_json, read_records
from specialists.secrets import Rules
from test_augment import CANARY, augment, make_repository, many_functions, run, wanting


class Model:
    """Answers at once; `asked` holds the questions, `answer` is what it says to one, `judge` when it is to judge."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.judge = "Yes."

    def answer(self, question: str) -> str:
        if question.endswith("Answer yes or no."):
            return self.judge
        name, path = re.search(r"function `(.*?)` and the file (\S+)\. Tell", question).groups()
        return f"please mend {name} in {path}"

    def __call__(self, _path: str, body: bytes) -> tuple[int, object]:
        question = json.loads(body)["messages"][0]["content"]
        self.asked.append(question)
        return 200, {"choices": [{"message": {"content": self.answer(question)}}]}


@pytest.fixture
def endpoint():
    model = Model()
    with answering(model) as port:
        model.url = f"http://127.0.0.1:{port}/v1"
        yield model


def test_a_model_words_the_requests_and_is_asked_once(config_file, tmp_path, endpoint) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(6)})
    rows, summary = run(config_file, "ruby", path, more=("--endpoint", endpoint.url, "--model", "base"))
    assert [row["source"]["template"] for row in rows] == ["model"] * 3 and summary["by model"] == 3
    assert all(row["messages"][1]["content"].startswith("please mend ") for row in rows)
    asked = len(endpoint.asked)
    assert asked == 6  # written and judged
    assert run(config_file, "ruby", path, more=("--endpoint", endpoint.url, "--model", "base")) == (rows, summary)
    assert len(endpoint.asked) == asked


@pytest.mark.parametrize("spoil", ["judge", "names nothing", "too long", "code"])
def test_what_the_model_writes_is_judged(spoil, config_file, tmp_path, endpoint) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(6)})
    plain, _ = run(config_file, "ruby", path)
    write = endpoint.answer
    if spoil == "judge":
        endpoint.judge = "No, it is too vague."
    else:
        spoiled = {"names nothing": "mend it", "too long": "x" * 900, "code": "```"}[spoil]
        endpoint.answer = lambda question: spoiled + (write(question) if spoil != "names nothing" else "")
    rows, summary = run(config_file, "ruby", path, more=("--endpoint", endpoint.url, "--model", "base"))
    assert rows == plain and summary["by model"] == 0


def test_no_secret_is_sent_to_the_endpoint(config_file, tmp_path, endpoint) -> None:
    text = many_functions(3).replace("two, 1)", f"two, 1) # {CANARY}")
    path = make_repository(tmp_path / "shelf", {"a.rb": text})
    run(wanting(config_file, 30), "ruby", path, more=("--endpoint", endpoint.url, "--model", "base"))
    assert endpoint.asked and CANARY not in "".join(endpoint.asked)
    assert CANARY not in (config_file.parent / "out" / ".ruby.requests.json").read_text()


def test_without_an_answer_the_templates_are_used_and_the_endpoint_is_named(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(6)})
    plain, _ = run(config_file, "ruby", path)
    rows, summary = run(config_file, "ruby", path, code=3, more=("--endpoint", "http://127.0.0.1:9/v1", "--model", "m"))
    assert rows == plain
    assert len(summary["problems"]) == 1 and "http://127.0.0.1:9/v1" in summary["problems"][0]


@pytest.mark.parametrize("more", [("--endpoint", "http://x/v1"), ("--model", "m"), ("--endpoint", "x", "--model", "m")])
def test_endpoint_and_model_go_together(more, config_file) -> None:
    result = CliRunner().invoke(augment.main, ["--config", str(config_file), "--language", "ruby", *more])
    assert result.exit_code == 1 and "go together" in result.output


def mine(config: Path, folder: Path, output: Path, code: int = 0) -> tuple[list[dict], dict]:
    arguments = ["--config", str(config), "--language", "python", "--repository", str(folder), "--output", str(output)]
    result = CliRunner().invoke(importlib.import_module("mine-repos").main, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return list(read_records(output)), json.loads(result.stdout)


def asking(config: Path, url: str) -> Path:
    """The configuration with a model that words requests."""
    asking = config.with_name("asking.toml")
    asking.write_text(f'{config.read_text()}\n[endpoint]\nurl = "{url}"\nmodel = "base"\n')
    return asking


def worded(question: str) -> str:
    """What a model could write: terse or detailed, about the file of the change."""
    path = re.search(r"^(?:\+\+\+ b/)?(\w+\.py)$", question, re.M)[1]
    return f"{'mend' if 'one line' in question else 'Please look after'} {path}"


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    return git_repositories.make(tmp_path / "sums", git_repositories.HISTORY)


@pytest.mark.parametrize("form", ["agent", "diff"])
def test_a_model_words_the_requests_of_commits(form, config_file, tmp_path, sums, endpoint) -> None:
    config_file.write_text(config_file.read_text().replace("[base]", f'[mining]\nformat = "{form}"\n\n[base]'))
    plain, summary = mine(config_file, sums, tmp_path / "plain.jsonl")
    assert summary["by model"] == 0 and endpoint.asked == []
    endpoint.answer = lambda question: "Yes." if question.endswith("Answer yes or no.") else worded(question)
    config = asking(config_file, endpoint.url)
    rows, summary = mine(config, sums, tmp_path / "out.jsonl")
    assert summary["by model"] == len(rows) == 3 and len(endpoint.asked) == 6
    styles = {row["source"]["request"]: row["messages"][1]["content"].split()[0] for row in rows}
    assert styles == {"terse": "mend", "detailed": "Please"}
    assert [row["messages"][2:] for row in rows] == [row["messages"][2:] for row in plain]
    assert not {row["id"] for row in rows} & {row["id"] for row in plain}
    questions = "\n".join(endpoint.asked)
    assert "return number + 1\n+    return number + 2" in questions, "the real diff"
    assert "Fix the sum of one number." in questions, "the commit's own words"
    assert mine(config, sums, tmp_path / "out.jsonl") == (rows, summary) and len(endpoint.asked) == 6


def test_of_two_requests_the_one_that_is_enough_is_taken(config_file, tmp_path, sums, endpoint) -> None:
    endpoint.answer = lambda question: (
        worded(question)
        if not question.endswith("Answer yes or no.")
        else ("**Yes**, it is." if "Please" in question else "No.")
    )
    rows, _ = mine(asking(config_file, endpoint.url), sums, tmp_path / "out.jsonl")
    assert [row["source"]["request"] for row in rows] == ["detailed"] * 3
    endpoint.answer = lambda question: "No." if question.endswith("Answer yes or no.") else "mend it"
    (tmp_path / ".out.requests.json").unlink()
    rows, summary = mine(asking(config_file, endpoint.url), sums, tmp_path / "out.jsonl")
    assert rows == mine(config_file, sums, tmp_path / "plain.jsonl")[0] and summary["by model"] == 0


def test_a_request_that_makes_a_row_too_long_is_not_taken(config_file, tmp_path, endpoint) -> None:
    code = "".join(f"value_{n} = {n}\n" for n in range(500))
    folder = git_repositories.make(tmp_path / "big", [git_repositories.Made("Add a table of values", {"a.py": code})])
    config_file.write_text(f"{config_file.read_text()}\n[training.python]\nmax_length = 3960\n")
    assert len(mine(config_file, folder, tmp_path / "plain.jsonl")[0]) == 1
    endpoint.answer = lambda question: "Yes." if question.endswith("Answer yes or no.") else "word " * 150
    rows, summary = mine(asking(config_file, endpoint.url), folder, tmp_path / "out.jsonl")
    assert (len(rows), summary["by model"], len(endpoint.asked)) == (1, 0, 2)


def test_an_endpoint_that_fails_loses_nothing(config_file, tmp_path, sums, endpoint) -> None:
    config, output = asking(config_file, endpoint.url), tmp_path / "out.jsonl"
    answer = endpoint.answer
    endpoint.answer = lambda question: worded(question) if not question.endswith("Answer yes or no.") else "Yes."
    rows, _ = mine(config, sums, output)
    known = (tmp_path / ".out.requests.json").read_bytes()
    git_repositories.add(
        sums,
        [git_repositories.Made("Count the items of a list", {"b.py": "b = 1\n"})],
        git_repositories.START + 99999,
        fresh=False,
    )
    endpoint.answer = lambda question: answer("")  # breaks: no answer at all
    now, summary = mine(config, sums, output, code=3)
    assert len(now) == 4 and {row["id"] for row in rows} < {row["id"] for row in now}, "those that were asked stay"
    assert now[-1]["messages"][1]["content"] == "Count the items of a list."
    assert "own words" in summary["problems"][0] and (tmp_path / ".out.requests.json").read_bytes() == known


def test_answers_are_kept_while_it_goes_on(tmp_path, endpoint, monkeypatch) -> None:
    monkeypatch.setattr("specialists.endpoint.KEPT", 2)
    endpoint.answer = str.upper
    asked = Endpoint(endpoint.url, "base", tmp_path / "answers.json", Rules())
    kept = []
    for question in ("a", "b", "c", "d", "e"):
        asked.ask(question)
        kept.append(len(read_json(tmp_path / "answers.json") or {}))
    assert kept == [0, 2, 2, 4, 4]
