"""The augment step on small repositories: what is made of them, that it is exact, and that nothing else is."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from code_samples import FILES, GRAMMARS, SAMPLES
from conftest import ROOT
from specialists.agent import TOOLS, system_prompt
from specialists.code import syntax
from specialists.code.edits import replay
from specialists.config import load_config
from specialists.synthetic import phrases
from specialists.synthetic.operators import OPERATORS
from specialists.synthetic.tasks import FUNCTION_LINES, LARGEST

augment = importlib.import_module("augment")
NAMES = ("least", "most", "count", "width", "depth", "offset", "height", "length", "total", "index")
CANARY = "ghp_" + "4kQ9zX2mB7vN1sD8fG6hJ3lW5pR0tY4uE9aC"


def make_repository(path: Path, files: dict[str, str | bytes], time: int = 1_780_000_000) -> Path:
    """A repository with one commit of these files."""
    path.mkdir(parents=True)
    identity = {"NAME": "Me", "EMAIL": "me@example.org", "DATE": f"{time} +0000"}
    environment = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in identity.items()}

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", path, *arguments], check=True, capture_output=True, env=os.environ | environment)

    git("init", "-q", "-b", "main")
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    if files:
        git("add", "-A")
        git("commit", "-q", "-m", "All of it")
    return path


def run(
    config_file: Path, language: str, *repositories: Path, code: int = 0, more: tuple[str, ...] = ()
) -> tuple[list[dict], dict]:
    """The rows and the summary of one run."""
    output = config_file.parent / "out" / f"{language}.jsonl"
    arguments = ["--config", str(config_file), "--json", "--language", language, "--output", str(output)]
    arguments += [part for path in repositories for part in ("--repository", str(path))] + list(more)
    result = CliRunner().invoke(augment.main, arguments)
    assert result.exit_code == code, result.output
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    return rows, json.loads(output.with_suffix(".summary.json").read_text())


def wanting(config_file: Path, wanted: int, **keys: str) -> Path:
    text = config_file.read_text().replace(
        "min_examples = 3\nmax_examples = 50", f"min_examples = {wanted}\nmax_examples = {wanted * 2}"
    )
    for key, value in keys.items():
        text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
    config_file.write_text(text)
    return config_file


def many_functions(number: int) -> str:
    """A Ruby file with so many different functions, all with comments."""
    functions = [
        f"  # Gives the {NAMES[n % 10]} of number {n} to the caller.\n"
        f"  def {NAMES[n % 10]}_{n}(one, two)\n    return {n} if one.{NAMES[n % 10]} == two\n"
        f"    one.push(two, {n})\n    one.take(two) + {n}\n  end\n"
        for n in range(number)
    ]
    return "class Many\n" + "\n".join(functions) + "end\n"


def shown(record: dict) -> str:
    """The file that the agent read, where it read all of it."""
    lines = next(m["content"] for m in record["messages"] if m["role"] == "tool").split("<content>\n")[1].split("\n")
    return "".join(f"{line.split(': ', 1)[1]}\n" for line in lines if re.match(r"\d+: ", line))


@pytest.fixture(params=FILES)
def made(request, config_file: Path, tmp_path: Path) -> tuple[str, list[dict], dict]:
    """Language, rows and summary of a repository with the sample of that language."""
    language = request.param
    path = make_repository(tmp_path / "shelf", {FILES[language]: SAMPLES[GRAMMARS[language]]})
    return language, *run(wanting(config_file, 12), language, path)


def test_the_edit_gives_the_real_file_byte_for_byte(made) -> None:
    language, rows, _ = made
    real = SAMPLES[GRAMMARS[language]]
    assert len(rows) >= 6
    for row in rows:
        broken = shown(row)
        assert broken != real
        assert replay(row["messages"], {FILES[language]: broken}) == {FILES[language]: real}
        assert syntax.error_nodes(GRAMMARS[language], broken.encode()) == 0


def test_tools_of_the_installed_opencode_are_taken(config_file: Path, tmp_path: Path) -> None:
    path = make_repository(tmp_path / "shelf", {FILES["python"]: SAMPLES[GRAMMARS["python"]]})
    tools = [*TOOLS, {"type": "function", "function": {"name": "lsp", "parameters": {"type": "object"}}}]
    (config_file.parent / "data").mkdir()
    (config_file.parent / "data" / "opencode-tools.json").write_text(json.dumps({"tools": tools}))
    rows, _ = run(wanting(config_file, 3), "python", path)
    assert rows and all(row["tools"] == tools for row in rows)


def test_rows_are_an_agent_at_work(made, config_file) -> None:
    language, rows, _ = made
    for row in rows:
        messages = row["messages"]
        roles = " ".join(m["role"] for m in messages)
        assert roles == "system user assistant tool assistant tool assistant"
        assert messages[0]["content"] == system_prompt(load_config(config_file).language(language))
        names = [call["function"]["name"] for m in messages for call in m.get("tool_calls", ())]
        assert names == ["read", "edit"] and row["tools"] == TOOLS
        request, closing = messages[1]["content"], messages[-1]["content"]
        assert FILES[language] in request and 10 < len(closing) < 250
        assert not re.search(r"[{}]", request.replace("`", "")) or "{" in SAMPLES[GRAMMARS[language]]


def test_where_a_row_comes_from(made) -> None:
    language, rows, summary = made
    for row in rows:
        source = row["source"]
        assert source["kind"] == "synthetic" and source["verified"] == "parses"
        assert (source["repository"], source["path"], source["time"]) == (
            "shelf",
            FILES[language],
            "2026-05-28T20:26:40Z",
        )
        assert len(source["commit"]) == len(source["blob"]) == 40
        assert source["operator"] in {*OPERATORS, "implement"} and source["task"] in ("implement", "fix")
        assert source["function"].split(".")[-1] in row["messages"][1]["content"]
    assert summary["examples"] == len(rows) and summary["problems"] == []
    assert summary["step"] == "augment" and summary["language"] == language
    assert summary["operators"] == dict(sorted(Counter(row["source"]["operator"] for row in rows).items()))
    assert summary["kinds"] == {task: sum(r["source"]["task"] == task for r in rows) for task in ("implement", "fix")}
    assert min(summary["kinds"].values()) >= 1 and summary["funnel"]["examples"] == len(rows)


def test_a_stub_leaves_signature_and_comment_and_the_edit_writes_the_body(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(4)})
    rows, _ = run(wanting(config_file, 50), "ruby", path)
    (first, *_) = [row for row in rows if row["source"]["task"] == "implement"]
    name = first["source"]["function"].split(".")[1]
    broken = shown(first)
    assert f"  def {name}(one, two)\n    raise NotImplementedError\n  end\n" in broken
    assert broken.count("# Gives the") == 4
    number = int(name.split("_")[1])
    assert f"Gives the {NAMES[number]} of number {number} to the caller." in first["messages"][1]["content"]


def test_never_more_than_the_lower_bound(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(40)})
    rows, summary = run(wanting(config_file, 7), "ruby", path)
    assert len(rows) == 7 == summary["examples"]


def test_no_template_covers_more_than_a_twentieth(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(60)})
    rows, summary = run(wanting(config_file, 100), "ruby", path)
    frames = Counter(row["source"]["template"] for row in rows)
    assert len(rows) == 100 and max(frames.values()) <= 5
    assert summary["templates"] == {"used": len(frames), "most": max(frames.values())}
    starts = Counter(re.sub(r"`[^`]*`|\d+", "_", row["messages"][1]["content"]) for row in rows)
    assert max(starts.values()) <= 5
    assert max(Counter(row["source"]["function"] for row in rows).values()) <= 6


def test_the_same_code_gives_the_same_bytes_in_any_order(config_file, tmp_path) -> None:
    one = make_repository(tmp_path / "one", {"a.rb": many_functions(6), "b.rb": SAMPLES["tree_sitter_ruby"]})
    two = make_repository(tmp_path / "two", {"a.rb": many_functions(9)})  # six of them are copies
    wanting(config_file, 20)
    first, _ = run(config_file, "ruby", one, two)
    second, _ = run(config_file, "ruby", two, one)
    assert first == second and len(first) == 20


def test_work_elsewhere_does_not_change_what_is_chosen(config_file, tmp_path) -> None:
    text = many_functions(12)
    one = make_repository(tmp_path / "one" / "shelf", {"a.rb": text})
    two = make_repository(tmp_path / "two" / "shelf", {"a.rb": f"# New.\n\n{text}", "README.md": "New."})
    wanting(config_file, 10)
    chosen = [
        {(r["source"]["function"], r["source"]["operator"]) for r in run(config_file, "ruby", path)[0]}
        for path in (one, two)
    ]
    assert chosen[0] == chosen[1]


BODY = "    one.push(two)\n    one.take(2)\n    one.sort\n"
TOLD = {
    "nothing": ("", False),
    "its name alone": ("  # Adds and sorts.\n", False),
    "where to look": ("  # See the other method, which does it for all of them and then some more.\n", False),
    "enough": ("  # Adds two to one, and gives the first two.\n", True),
}


@pytest.mark.parametrize(("comment", "used"), TOLD.values(), ids=TOLD)
def test_a_body_is_asked_for_where_the_comment_says_what_it_does(comment, used, config_file, tmp_path) -> None:
    text = f"class A\n{comment}  def add_and_sort(one, two)\n{BODY}  end\nend\n"
    rows, _ = run(config_file, "ruby", make_repository(tmp_path / "shelf", {"a.rb": text}))
    assert any(row["source"]["task"] == "implement" for row in rows) is used


def test_what_a_compiler_refuses_is_told_as_such(config_file, tmp_path) -> None:
    body = "    let a = try await load(book{n})\n    shelf.put(a, at: {n})\n"
    functions = [f"  func fill{n}(_ shelf: Shelf) async throws {{\n{body.format(n=n)}  }}\n" for n in range(6)]
    text = "struct A {\n" + "".join(functions) + "}\n"
    path = make_repository(tmp_path / "shelf", {"a.swift": text})
    rows, _ = run(wanting(config_file, 20), "swift", path)
    broken = [row for row in rows if row["source"]["operator"] in ("dropped_try", "dropped_await")]
    assert len({row["source"]["operator"] for row in broken}) == 2
    for row in broken:
        told = "async|wait for" if row["source"]["operator"] == "dropped_await" else "can throw"
        assert re.search(told, row["messages"][1]["content"])
    assert not any("`await" in row["messages"][1]["content"] for row in rows)
    for row in rows:
        assert (row["source"]["template"].split("-")[0] == "build") == (row in broken)


NOT_USED = {
    "a test": ("spec/shelf_spec.rb", many_functions(2)),
    "vendored": ("vendor/shelf.rb", many_functions(2)),
    "generated": ("lib/shelf.rb", "# @generated by a tool. DO NOT EDIT\n" + many_functions(2)),
    "carriage returns": ("lib/shelf.rb", many_functions(2).replace("\n", "\r\n")),
    "bad encoding": ("lib/shelf.rb", b"# \xff\n" + many_functions(2).encode()),
    "a long line": ("lib/shelf.rb", f"# {'x' * 1001}\n" + many_functions(2)),
    "too large": ("lib/shelf.rb", "# x\n" * (LARGEST // 4) + many_functions(2)),
    "a template": ("app/views/shelf.html.erb", many_functions(2)),
    "another language": ("lib/shelf.py", SAMPLES["tree_sitter_python"]),
    "long functions": ("lib/shelf.rb", "def f(a, b)\n" + "  a.take(1)\n" * FUNCTION_LINES[1] + "end\n"),
    "short functions": ("lib/shelf.rb", "def f(a) = a.first < 3\n"),
    "nothing in functions": ("lib/shelf.rb", "A = 1 < 2\nputs A if A == 3\n"),
    "a test by its name": ("lib/shelf.rb", "def test_it(a)\n  a.take(1) == 2\n  a.put(1)\n  a.x\nend\n"),
}


@pytest.mark.parametrize("case", NOT_USED)
def test_what_is_not_used(case, config_file, tmp_path) -> None:
    path, text = NOT_USED[case]
    repository = make_repository(tmp_path / "shelf", {path: text})
    rows, _ = run(config_file, "ruby", repository)
    assert rows == []


def test_attributes_of_the_tree_are_honoured(config_file, tmp_path) -> None:
    files = {"a.rb": many_functions(2), ".gitattributes": "a.rb linguist-generated\n"}
    assert run(config_file, "ruby", make_repository(tmp_path / "shelf", files))[0] == []


def test_an_empty_repository_gives_nothing_and_is_no_mistake(config_file, tmp_path) -> None:
    rows, summary = run(config_file, "ruby", make_repository(tmp_path / "shelf", {}))
    assert rows == [] and summary["problems"] == []


def test_a_repository_that_is_not_there_is_named_and_the_rest_is_done(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"a.rb": many_functions(4)})
    rows, summary = run(config_file, "ruby", tmp_path / "nowhere", path, code=3)
    assert len(rows) == 3
    assert len(summary["problems"]) == 1 and "nowhere" in summary["problems"][0]


def test_repositories_of_the_configuration_are_the_default(config_file, tmp_path) -> None:
    make_repository(tmp_path / "src" / "one", {"a.rb": many_functions(4)})
    text = config_file.read_text().replace(
        'adapter = "build-ruby"', f'adapter = "build-ruby"\nrepositories = ["{tmp_path}/src/*", "{tmp_path}/gone"]'
    )
    config_file.write_text(text)
    result = CliRunner().invoke(augment.main, ["--config", str(config_file), "--language", "ruby"])
    assert result.exit_code == 3 and "gone" in result.output
    assert len((tmp_path / "data" / "synthetic" / "ruby.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("language", "keys", "message"),
    [
        ("cobol", {}, "no language 'cobol'"),
        ("ruby", {"grammar": '"tree_sitter_nothing"'}, "pip install tree-sitter-nothing"),
        ("ruby", {"grammar": None}, "languages.ruby.grammar: missing"),
    ],
)
def test_the_owners_mistakes_are_told(language, keys, message, config_file, tmp_path) -> None:
    text = config_file.read_text()
    for key, value in keys.items():
        text = re.sub(rf"(?m)^{key} = .*\n", f"{key} = {value}\n" if value else "", text)
    config_file.write_text(text)
    result = CliRunner().invoke(augment.main, ["--config", str(config_file), "--language", language])
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


def test_a_row_that_does_not_fit_is_left_out(config_file, tmp_path) -> None:
    config_file.write_text(config_file.read_text() + "\n[training]\nmax_length = 64\n")
    rows, summary = run(config_file, "ruby", make_repository(tmp_path / "shelf", {"a.rb": many_functions(4)}))
    assert rows == [] and summary["funnel"]["lost"]["too long"] > 0


def test_secrets_never_reach_a_row(config_file, tmp_path) -> None:
    secret = (
        f'  # Signs in to the service.\n  def sign_in(one)\n    one.token = "{CANARY}"\n    one.first(3) == 2\n  end\n'
    )
    text = many_functions(2).replace("class Many\n", f"class Many\n{secret}\n")
    path = make_repository(tmp_path / "shelf", {"a.rb": text})
    rows, summary = run(wanting(config_file, 40), "ruby", path)
    assert rows and CANARY not in json.dumps(rows) and CANARY not in json.dumps(summary)
    assert summary["funnel"]["lost"]["secret in target"] >= 1


DOCS = [
    ("Adds one new book. Then more.", "Adds one new book."),
    ("adds a book to the shelf", "Adds a book to the shelf."),
    ("Adds a\nbook to the shelf:\n\n  x", "Adds a book to the shelf."),
    ("https://example.org/1\nAdds a book to it.", "Adds a book to it."),
    ("Adds a book to it.\n:param x: y", "Adds a book to it."),
    ("- Parameter x: y", ""),
    ("@param x y", ""),
    ("==== Parameters", ""),
    ("TODO", ""),
    ("See the other one for details.", ""),
    ("POST /books/of/the/shelf", ""),
    ("Sees a book on the shelf.", "Sees a book on the shelf."),
    ("x" * 300, ""),
    ("", ""),
]


def test_a_request_for_a_body_tells_more_of_the_comment() -> None:
    doc = "Adds a book. Counts it too. Then more\nof this sentence that goes on. And a last one."
    assert phrases.opening(doc, 3, 60) == "Adds a book. Counts it too."
    assert phrases.opening(doc, 3, 80) == "Adds a book. Counts it too. Then more of this sentence that goes on."


@pytest.mark.parametrize(("doc", "sentence"), DOCS)
def test_the_sentence_that_stands_for_a_comment(doc, sentence) -> None:
    assert phrases.opening(doc) == sentence


@pytest.mark.parametrize("frames", [phrases.FIX, phrases.FIX_KNOWN, phrases.FIX_BUILD, phrases.IMPLEMENT])
def test_every_frame_names_function_and_file(frames) -> None:
    assert len(set(frames)) == len(frames)
    for frame in frames:
        assert "{f}" in frame and "{p}" in frame and ("{s}" in frame or "{d}" in frame), frame


def test_there_are_enough_frames_without_a_comment() -> None:
    assert min(len(phrases.FIX), len(phrases.IMPLEMENT)) >= 20


def test_the_script_runs_on_its_own(config_file, tmp_path) -> None:
    path = make_repository(tmp_path / "shelf", {"Sources/Shelf.swift": SAMPLES["tree_sitter_swift"]})
    script = [sys.executable, ROOT / "scripts" / "augment.py", "--config", config_file, "--json", "--language", "swift"]
    done = subprocess.run([*script, "--repository", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["examples"] == 3 and "examples" in done.stderr
