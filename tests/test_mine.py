"""mine-repos.py: from repositories to examples that replay."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import git_repositories as repositories
import pytest
from click.testing import CliRunner, Result
from git_repositories import HISTORY, ME, Made, git, loose, module
from specialists.agent import TOOLS
from specialists.code import edits
from specialists.commits.mining import Example, choose
from specialists.records import read_records, write_json

mine_repos = importlib.import_module("mine-repos")
NEWEST = str(HISTORY[2].files["sums.py"])
LONG = "".join(f"def f{n}():\n    first = {n}\n    return first\n\n\n" for n in range(80))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return repositories.make(tmp_path / "src" / "sums", HISTORY)


@pytest.fixture
def configured(config_file: Path, tmp_path: Path) -> Path:
    """The configuration with `src/*` as Python's repositories."""
    text = config_file.read_text()
    mark = '[languages.python]\nadapter = "build-python"\n'
    assert mark in text
    config_file.write_text(text.replace(mark, f'{mark}repositories = ["{tmp_path}/src/*"]\n'))
    return config_file


def run(config: Path, *arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(mine_repos.main, ["--config", str(config), *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def rows(config: Path, language: str = "python") -> list[dict]:
    return list(read_records(config.parent / "data" / "commits" / f"{language}.jsonl"))


def summary(config: Path) -> dict:
    return json.loads((config.parent / "data" / "commits" / "python.summary.json").read_text())


def requests(config: Path) -> list[str]:
    return [row["messages"][1]["content"] for row in rows(config)]


def files_at(folder: Path, name: str, paths: list[str]) -> dict[str, str]:
    """Some files of a commit, those that it has, as they are."""
    shown = {path: subprocess.run(["git", "show", f"{name}:{path}"], cwd=folder, capture_output=True) for path in paths}
    return {path: done.stdout.decode() for path, done in shown.items() if done.returncode == 0}


def test_examples_of_a_repository(configured: Path, repository: Path) -> None:
    tools = [*TOOLS, {"type": "function", "function": {"name": "lsp", "parameters": {"type": "object"}}}]
    write_json(configured.parent / "data" / "opencode-tools.json", {"tools": tools})
    run(configured, "--language", "python")
    assert requests(configured) == [f"{commit.message}." for commit in HISTORY]
    fix = rows(configured)[1]
    roles = " ".join(message["role"] for message in fix["messages"])
    assert roles == "system user assistant tool assistant tool assistant"
    assert (fix["messages"][-1]["content"], fix["tools"]) == ("Done.", tools)
    sha = git(repository, "rev-parse", "HEAD~1")
    origin = {"kind": "commit", "time": "2025-06-15T16:06:40Z", "repository": "sums", "commit": sha, "coauthors": 0}
    files = {"path": "sums.py", "paths": ["sums.py"], "blobs": [git(repository, "rev-parse", f"{sha}:sums.py")]}
    worth = {"verified": "replayed", "type": "fix", "files": 1, "lines": 2, "tests": False, "survives": 1.0}
    assert fix["source"] == origin | files | worth
    found = summary(configured)
    assert (found["step"], found["examples"], found["problems"]) == ("mine", 3, [])
    assert found["funnel"] == {"commits": 3, "examples": 3}
    assert found["repositories"] == [{"path": str(repository), "name": "sums", "examples": 3}]


def test_every_example_replays(configured: Path, tmp_path: Path) -> None:
    """Before, read with git itself, becomes after, byte for byte, by the calls alone."""
    odd = [
        Made("Add many functions to use", {"long.py": LONG}),
        Made("Rename two functions far apart", {"long.py": LONG.replace("f3()", "g3()").replace("f77()", "g77()")}),
        Made("Drop the last line end of it", {"long.py": LONG[:200].rstrip()}),
        Made("Add a text in another script", {"ünï cödé.py": "name = 'zażółć'\n\n\n\n", "a b/c.py": "x = 1"}),
        Made("Add two copies of a module", {"one/a.py": LONG[:900], "two/a.py": LONG[:900], "e.py": "", "f.py": "x\n"}),
        Made("Change both copies of the module", {f"{name}/a.py": LONG[60:900] + "x = 1\n" for name in ("one", "two")}),
        Made("Fill the module that was empty", {"e.py": "e = 1\n"}),
    ]
    folder = repositories.make(tmp_path / "src" / "odd", [*HISTORY, *odd])
    run(configured, "--language", "python")
    assert len(rows(configured)) == 10
    for row in rows(configured):
        commit, paths = row["source"]["commit"], row["source"]["paths"]
        assert edits.replay(row["messages"], files_at(folder, f"{commit}~1", paths)) == files_at(folder, commit, paths)


def test_nothing_new_changes_nothing(configured: Path, repository: Path) -> None:
    run(configured, "--language", "python")
    output = configured.parent / "data" / "commits" / "python.jsonl"
    before = output.read_bytes(), output.stat().st_mtime_ns
    run(configured, "--language", "python")
    assert (output.read_bytes(), output.stat().st_mtime_ns) == before
    more = [Made("Triple the second number", {"sums.py": module("Sums", 3, " * 3")})]
    repositories.add(repository, more, repositories.START + 99999, fresh=False)
    run(configured, "--language", "python")
    assert requests(configured)[3:] == ["Triple the second number."]


def test_rewritten_history_takes_its_examples_along(configured: Path, repository: Path) -> None:
    run(configured, "--language", "python")
    git(repository, "update-ref", "refs/heads/main", "HEAD~1")
    run(configured, "--language", "python")
    assert requests(configured) == ["Add a module for sums.", "Fix the sum of one number."]
    again = [dataclasses.replace(HISTORY[2], message="Support products with any factor")]
    repositories.add(repository, again, repositories.START + 99999, fresh=False)
    run(configured, "--language", "python")
    assert requests(configured)[2:] == ["Support products with any factor."], "the same change in other words"


def test_what_cannot_be_read_keeps_its_rows(configured: Path, repository: Path, tmp_path: Path) -> None:
    other = repositories.make(tmp_path / "src" / "other", [Made("Add another module here", {"o.py": module("Other")})])
    configured.write_text(configured.read_text().replace("/src/*", "/src/sums").replace('sums"]', f'sums", "{other}"]'))
    run(configured, "--language", "python")
    first = loose(repository, "HEAD~2")
    first.rename(tmp_path / "first")
    assert "history cannot be read to its end" in run(configured, "--language", "python", code=3).stderr
    assert len(rows(configured)) == 4
    (repository / ".git" / "HEAD").write_text("nonsense")
    assert f"{repository}: fatal: not a git" in run(configured, "--language", "python", code=3).stderr
    assert (len(rows(configured)), summary(configured)["kept"]) == (4, 3)
    repository.rename(repository.parent / "away")
    result = run(configured, "--language", "python", "--json", code=3)
    assert "languages.python.repositories" in json.loads(result.stdout)["problems"][0]
    assert len(rows(configured)) == 4
    configured.write_text(configured.read_text().replace(f'"{repository}", ', ""))
    run(configured, "--language", "python")
    assert len(rows(configured)) == 1, "what is no longer named is gone"


def test_an_excluded_commit_stays_away(configured: Path, repository: Path) -> None:
    run(configured, "--language", "python")
    sha = git(repository, "rev-parse", "HEAD~1")
    configured.write_text(configured.read_text().replace("[owner]", f'[owner]\nexclude = ["commit {sha[:9]}"]'))
    run(configured, "--language", "python")
    assert [row["source"]["commit"] == sha for row in rows(configured)] == [False, False]
    assert summary(configured)["funnel"]["excluded by the owner"] == 1


@pytest.mark.parametrize(
    ("commit", "reason"),
    [
        (Made("Add the table of numbers", {"t.py": "x = [" + "1, " * 400 + "]\n"}), "minified or data"),
        (Made("Add the generated interface", {"t.py": "# Code generated by tool. DO NOT EDIT.\nx = 1\n"}), "generated"),
        (Made("Add the second module", {"t.py": b"x = 1\0\n"}), "binary"),
        (Made("Add the second module", {"t.py": b"x = '\xff'\n"}), "bad encoding"),
        (Made("Add the second module", {"t.py": "x = 1\r\ny = 2\r\n"}), "carriage returns"),
        (Made("Reformat what is in it", {"sums.py": NEWEST.replace(" + ", "   +  ")}), "formatting only"),
        (Made("Use other line ends in it", {"sums.py": NEWEST.replace("\n", "\r\n")}), "formatting only"),
        (Made("Add all the functions", {"t.py": LONG * 20}), "too long"),
        (Made("Add the second module", {"t.py": "x = 1\n", "t.rs": "fn main() {}\n" * 9}), "mostly another language"),
        (Made("Add the key of the shop", {"t.py": f"key = 'AKIA{'QRSTUVWXYZ234567'}'\n"}), "secret in target"),
        (Made("Add an empty module here", {"t.py": ""}), "empty file"),
        (Made("Take everything out of it", {"sums.py": "\n"}), "deletes or moves files"),
        (Made("Add a package of two files", {"p/__init__.py": "", "p/a.py": "x = 1\n"}), None),
        (Made("Use another separator there", {"s.py": 'SEPARATOR = "one; two\\n"\n'}), None),
        (Made("Increment it in any case", {"f.py": "def f(x):\n    if x:\n        x = 2\n    x += 1\n"}), None),
    ],
)
def test_reasons_that_contents_give(commit: Made, reason: str | None, configured: Path, tmp_path: Path) -> None:
    indented = "def f(x):\n    if x:\n        x = 2\n        x += 1\n"
    more = Made("oops", {"s.py": 'SEPARATOR = "one, two\\n"\n', "f.py": indented})
    repositories.make(tmp_path / "src" / "sums", [*HISTORY, more, commit])
    run(configured, "--language", "python")
    lost = {name: count for name, count in summary(configured)["funnel"].items() if name not in ("commits", "examples")}
    assert lost == {"message says too little": 1, **({reason: 1} if reason else {})}
    assert len(rows(configured)) == (4 if reason is None else 3)


def test_personal_data_is_replaced_in_context_and_target_alike(configured: Path, tmp_path: Path) -> None:
    before = "".join(f"AUTHOR_{n} = 'someone{n}@private-place.net'\n" for n in range(40))
    after = before.replace("AUTHOR_3 =", "WRITER_3 =")
    made = [Made("Add the authors of it all", {"a.py": before}), Made("Change the name of the third", {"a.py": after})]
    repositories.make(tmp_path / "src" / "a", made)
    run(configured, "--language", "python")
    text = (configured.parent / "data" / "commits" / "python.jsonl").read_text()
    assert len(rows(configured)) == 2 and "private-place" not in text and "WRITER_3" in text


@pytest.mark.parametrize("lost", ["rewritten", "emptied", "gone"])
def test_a_repository_that_collapses_keeps_its_rows_until_the_owner_accepts_it(
    configured: Path, repository: Path, tmp_path: Path, lost: str
) -> None:
    repositories.make(tmp_path / "src" / "other", [Made("Add another module here", {"o.py": module("Other")})])
    run(configured, "--language", "python")
    shutil.rmtree(repository)
    if lost != "gone":
        made = [Made("Add something else instead", {"e.py": module("Else")})]
        repositories.make(repository, made if lost == "rewritten" else [])
    new = lost == "rewritten"
    for _night in range(2):
        result = run(configured, "--language", "python", code=3)
        assert "repository sums: 3 of 3 commits that gave examples are gone" in result.stderr or new
        assert "doit mine:python --accept-loss" in result.stderr and len(rows(configured)) == 4 + new
    run(configured, "--language", "python", "--accept-loss")
    assert len(rows(configured)) == 1 + new


def test_same_change_twice_counts_once(configured: Path, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "src" / "copy")  # the same commits
    picked = [HISTORY[0], dataclasses.replace(HISTORY[1], message="Fix the sum, once more picked", email=ME)]
    repositories.make(tmp_path / "src" / "picked", [Made("oops", {"x.py": "x = 1\n"}), *picked])
    run(configured, "--language", "python")
    lost = {"same change as another commit": 5, "message says too little": 1}
    assert summary(configured)["funnel"] == {"commits": 9, **lost, "examples": 3}


def test_authors(configured: Path, repository: Path) -> None:
    run(configured, "--language", "python", "--author", "you@example.org")
    assert rows(configured) == []
    run(configured, "--language", "python")
    configured.write_text(configured.read_text().replace('emails = ["me@example.org"]', ""))
    result = run(configured, "--language", "python", code=3)
    assert "[owner] emails is empty, and git config user.email is not set" in result.stderr
    assert (summary(configured)["kept"], len(rows(configured))) == (3, 3)
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(f"[user]\n\temail = {ME.upper()}\n")
    run(configured, "--language", "python")
    assert (summary(configured)["kept"], len(rows(configured))) == (0, 3)


def test_options_and_errors(configured: Path, repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere" / "out.jsonl"
    result = run(configured, "--language", "python", "--repository", repository, "--output", output, "--json")
    assert json.loads(result.stdout)["examples"] == len(list(read_records(output))) == 3
    assert "not there" in run(configured, "--language", "python", "--repository", tmp_path / "none", code=3).stderr
    (tmp_path / "file").write_text("")
    run(configured, "--language", "python", "--output", tmp_path / "file" / "out.jsonl", code=1)


def test_survival_and_tests_are_noted_and_what_does_not_fit_goes_without_texts_and_tests(
    configured: Path, tmp_path: Path
) -> None:
    made = [
        Made("Add two values to use", {"a.py": "first = 1\nsecond = 2\n"}),
        Made("Add a function with its test", {"b.py": "def b():\n    pass\n", "tests/test_b.py": "import b\n"}),
        Made("Replace the second value", {"a.py": "first = 1\nthird = 3\n"}),
        Made("Add one value to use", {"c.py": "x = 1\n", "tests/test_c.py": LONG * 20, "docs/c.md": "words " * 9}),
    ]
    repositories.make(tmp_path / "src" / "a", made)
    run(configured, "--language", "python")
    found = [(row["source"]["survives"], row["source"]["tests"], row["source"]["files"]) for row in rows(configured)]
    assert found == [(0.5, False, 1), (1.0, True, 2), (1.0, False, 1), (1.0, False, 1)]


def test_choice_prefers_new_surviving_tested_and_spreads() -> None:
    def row(number: int, repository: str = "a", **options) -> Example:
        source = {"commit": f"{number:040x}", "repository": repository, "time": f"{number:04}"}
        return Example(b"", {**source, "tests": False, "survives": 1.0, **options}, {}, words=5)

    def times(chosen: list[Example]) -> set[int]:
        return {int(item.source["time"]) for item in chosen}

    many = [row(number) for number in range(10)]
    assert choose(many, 20) == many
    assert times(choose(many, 3)) == {7, 8, 9}
    assert times(choose([*many[:9], row(9, survives=0.0)], 2)) == {7, 8}
    assert times(choose([row(0, tests=True), *many[1:]], 6)) == {0, 5, 6, 7, 8, 9}
    spread = [*(row(number, "b") for number in range(10)), *(row(number + 100) for number in range(10))]
    assert {item.source["repository"] for item in choose(spread, 10)} == {"a", "b"}
