"""The augment step on small repositories: what is made of them, that it is exact, and that nothing else is."""

import json
import re
from pathlib import Path

import git_repositories
import pytest
from code_samples import FILES, GRAMMARS, SAMPLES
from conftest import invoke
from specialists.agent import TOOLS, system_prompt
from specialists.code import syntax
from specialists.code.edits import replay
from specialists.config import load_config
from specialists.records import read_records, write_json
from specialists.synthetic.tasks import PER_FUNCTION

NAMES = ("least", "most", "count", "width", "depth", "offset", "height", "length", "total", "index")
CANARY = "ghp_" + "4kQ9zX2mB7vN1sD8fG6hJ3lW5pR0tY4uE9aC"


def make_repository(path: Path, files: dict[str, str | bytes]) -> Path:
    return git_repositories.make(path, [git_repositories.Made("All of it", dict(files))] if files else [])


def run(config_file: Path, language: str, *repositories: Path, code: int = 0, more: tuple[str, ...] = ()):
    """The rows and the summary of one run."""
    output = config_file.parent / "out" / f"{language}.jsonl"
    named = [part for path in repositories for part in ("--repository", path)]
    result = invoke("augment", config_file, "--language", language, "--output", output, *named, *more)
    assert result.exit_code == code, result.output
    return [*read_records(output)], json.loads(output.with_suffix(".summary.json").read_text())


def wanting(config_file: Path, wanted: int) -> Path:
    text = config_file.read_text().replace("max_examples = 50", "max_examples = 400")
    config_file.write_text(text.replace("min_examples = 3\n", f"min_examples = {wanted}\n"))
    return config_file


def many_functions(number: int) -> str:
    """A Ruby file with so many different functions, all with comments."""
    functions = [
        f"  # Gives the {NAMES[n % 10]} of number {n} to the caller, who asked for it.\n"
        f"  def {NAMES[n % 10]}_{n}(one, two)\n    return {n} if one.{NAMES[n % 10]} == two\n"
        f"    one.push(two, {n})\n    one.take(two) + {n}\n  end\n"
        for n in range(number)
    ]
    return "class Many\n" + "\n".join(functions) + "end\n"


def shown(row: dict) -> str:
    """The file that the agent read, where it read all of it."""
    lines = next(m["content"] for m in row["messages"] if m["role"] == "tool").split("<content>\n")[1].split("\n")
    return "".join(f"{line.split(': ', 1)[1]}\n" for line in lines if re.match(r"\d+: ", line))


@pytest.mark.parametrize("language", FILES)
def test_rows_are_an_agent_that_edits_the_real_code_back_in(language, config_file, tmp_path) -> None:
    real, grammar = SAMPLES[GRAMMARS[language]], GRAMMARS[language]
    path = make_repository(tmp_path / "shelf", {FILES[language]: real})
    tools = [*TOOLS, {"type": "function", "function": {"name": "lsp", "parameters": {"type": "object"}}}]
    write_json(config_file.parent / "data" / "opencode-tools.json", {"tools": tools})
    rows, summary = run(wanting(config_file, 12), language, path)
    assert len(rows) == summary["examples"] >= 3 and summary["problems"] == []
    for row in rows:
        broken, messages, source = shown(row), row["messages"], row["source"]
        assert broken != real and syntax.error_nodes(grammar, broken.encode()) == 0
        assert replay(messages, {FILES[language]: broken}) == {FILES[language]: real}
        assert " ".join(m["role"] for m in messages) == "system user assistant tool assistant tool assistant"
        assert messages[0]["content"] == system_prompt(load_config(config_file).language(language))
        assert row["tools"] == tools and FILES[language] in messages[1]["content"]
        assert not re.search(":param|Parameter|what to add|\n\n|  ", messages[1]["content"].split("```")[0])
        assert source["function"].split(".")[-1] in messages[1]["content"]
        assert source.items() >= {"kind": "synthetic", "verified": "parses", "repository": "shelf"}.items()
        assert source["time"] == "2025-06-15T15:06:40Z" and len(source["commit"]) == 40
        assert (source["task"] == "implement") == (source["operator"] == "implement")
    assert summary["kinds"]["fix"] == sum(row["source"]["task"] == "fix" for row in rows) >= 2


def test_a_request_says_where_and_what_for_and_nothing_of_the_mistake(config_file, tmp_path) -> None:
    rows, _ = run(wanting(config_file, 50), "ruby", make_repository(tmp_path / "shelf", {"a.rb": many_functions(12)}))
    requests = [row["messages"][1]["content"] for row in rows]
    for request, row in zip(requests, rows, strict=True):
        number = int(row["source"]["function"].split("_")[1])
        assert f"Gives the {NAMES[number % 10]} of number {number} to the caller" in request
        assert not re.search(r"==|!=|\bif\b|unless|condition|comparison|test|regression|build", request)
    assert len({request.split("`")[0] for request in requests}) >= 4


def test_of_a_body_to_write_the_whole_file_is_read(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(40)})  # 240 lines
    rows, _ = run(wanting(config_file, 200), "ruby", path)
    bodies = [row for row in rows if row["source"]["task"] == "implement"]
    assert len(bodies) == 40 and len({row["source"]["function"] for row in bodies}) == 40
    for row in bodies:
        name = row["source"]["function"].split(".")[1]
        assert f"  def {name}(one, two)\n    raise NotImplementedError\n  end\n" in shown(row)
        assert shown(row).count("# Gives the") == 40


BODY = "    one.push(two)\n    one.take(2)\n    one.sort\n"
OTHERS = "class B\n  def put(a)\n    a.x\n    a.y\n  end\nend\n"
ENOUGH = "  # Adds two to one, and gives the first two.\n"
ASKED = {  # comment and body of the only function in its file
    "enough": (ENOUGH, BODY, True),
    "no comment": ("", BODY, False),
    "too little": ("  # Adds and sorts.\n", BODY, False),
    "only where to look": ("  # See the other method, which does it for all of them.\n", BODY, False),
    "a name of another file": (ENOUGH, BODY + "    one.put(2)\n", False),
    "a constant": (ENOUGH, BODY + "    one * FACTOR\n", False),
    "a symbol": (ENOUGH, BODY + "    one[:left]\n", False),
    "long messages": (ENOUGH, BODY + f"    one << '{'m' * 90}'\n", False),
}


@pytest.mark.parametrize(("comment", "body", "asked"), ASKED.values(), ids=ASKED)
def test_a_body_is_asked_for_where_the_row_shows_what_it_needs(comment, body, asked, config_file, tmp_path) -> None:
    text = f"class A\n{comment}  def add_and_sort(one, two)\n{body}  end\nend\n"
    rows, _ = run(config_file, "ruby", make_repository(tmp_path / "shelf", {"a.rb": text, "b.rb": OTHERS}))
    assert any(row["source"]["task"] == "implement" for row in rows) is asked


def test_documented_functions_come_first_and_none_is_taken_too_often(config_file, tmp_path) -> None:
    plain = "def plain(a)\n  return 1 if a == 2\n  return 3 if a == 4\n  a.x && a.y\nend\n"
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(2), "b.rb": plain})
    few, _ = run(wanting(config_file, 4), "ruby", path)
    assert len(few) == 4 and all(row["source"]["path"] == "a.rb" for row in few)
    config_file.write_text(config_file.read_text().replace("min_examples = 4\n", "min_examples = 40\n"))
    rows, _ = run(config_file, "ruby", path)
    assert [row["source"]["path"] for row in rows].count("b.rb") == PER_FUNCTION


def test_the_same_code_gives_the_same_bytes_in_any_order_and_copies_count_once(config_file, tmp_path) -> None:
    one = make_repository(tmp_path / "one", {"a.rb": many_functions(6), "b.rb": SAMPLES["tree_sitter_ruby"]})
    two = make_repository(tmp_path / "two", {"a.rb": many_functions(9)})  # six of them are copies
    wanting(config_file, 20)
    first, _ = run(config_file, "ruby", one, two)
    assert run(config_file, "ruby", two, one)[0] == first and len(first) == 20
    bodies = [row["source"]["function"] for row in first if row["source"]["task"] == "implement"]
    assert len(bodies) == len(set(bodies)) >= 6


NOT_USED = {
    "a test": ("spec/shelf_spec.rb", many_functions(2)),
    "an example": ("examples/shelf.rb", many_functions(2)),
    "a tutorial": ("Sources/Shelf.docc/Code/shelf.rb", many_functions(2)),
    "generated": ("lib/shelf.rb", "# @generated by a tool. DO NOT EDIT\n" + many_functions(2)),
    "carriage returns": ("lib/shelf.rb", many_functions(2).replace("\n", "\r\n")),
    "bad encoding": ("lib/shelf.rb", b"# \xff\n" + many_functions(2).encode()),
    "a template": ("app/views/shelf.html.erb", many_functions(2)),
    "long functions": ("lib/shelf.rb", "def f(a, b)\n" + "  a.take(1) if b\n" * 100 + "end\n"),
    "names that stand for two": ("lib/shelf.rb", "class A\n  def f(a)\n    a == 1\n  end\nend\n" * 2),
    "a test by its name": ("lib/shelf.rb", "def test_it(a)\n  a.take(1) == 2\n  a.put(1)\n  a.x\nend\n"),
}


@pytest.mark.parametrize(("path", "text"), NOT_USED.values(), ids=NOT_USED)
def test_what_is_not_used(path, text, config_file, tmp_path) -> None:
    assert run(config_file, "ruby", make_repository(tmp_path / "shelf", {path: text}))[0] == []


def test_repositories_that_are_empty_or_not_there(config_file, tmp_path) -> None:
    empty = make_repository(tmp_path / "empty", {})
    path = make_repository(tmp_path / "src" / "shelf", {"a.rb": many_functions(4)})
    rows, summary = run(config_file, "ruby", empty, tmp_path / "nowhere", path, code=3)
    assert len(rows) == 3 and len(summary["problems"]) == 1 and "nowhere" in summary["problems"][0]
    default = f'adapter = "build-ruby"\nrepositories = ["{tmp_path}/src/*", "{tmp_path}/gone"]'
    config_file.write_text(config_file.read_text().replace('adapter = "build-ruby"', default))
    rows, summary = run(config_file, "ruby", code=3)
    assert len(rows) == 3 and "gone" in summary["problems"][0]


CONFIGURED = [("", "languages.ruby.grammar: missing")]
CONFIGURED += [('grammar = "tree_sitter_nothing"\n', "pip install tree-sitter-nothing")]


@pytest.mark.parametrize(("grammar", "message"), CONFIGURED)
def test_mistakes_of_the_configuration_are_named(grammar, message, config_file) -> None:
    config_file.write_text(config_file.read_text().replace('grammar = "tree_sitter_ruby"\n', grammar))
    result = invoke("augment", config_file, "--language", "ruby")
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


def test_what_does_not_fit_or_holds_a_secret_is_left_out_and_counted(config_file, tmp_path) -> None:
    secret = f'  # Signs in.\n  def sign_in(one)\n    one.token = "{CANARY}" if one == 2\n    one.x\n  end\n\n'
    text = many_functions(2).replace("class Many\n", f"class Many\n{secret}")
    path = make_repository(tmp_path / "shelf", {"a.rb": text})
    rows, summary = run(wanting(config_file, 40), "ruby", path)
    assert rows and CANARY not in json.dumps(rows) and CANARY not in json.dumps(summary)
    assert summary["funnel"]["lost"]["secret in target"] >= 1
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_length = 64\n")
    rows, summary = run(config_file, "ruby", path)
    assert not rows and summary["funnel"]["lost"]["too long"] > 0
