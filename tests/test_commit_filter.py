"""Which commits are candidates, and under which reason the others are counted."""

from pathlib import Path

import git_repositories as repositories
import pytest
from git_repositories import ME, Made, git, module
from specialists.commits.filter import DOCS, CommitFilter, is_test
from specialists.commits.git import open_repository

BASE = Made("Add the modules of it", {"sums.py": module("Sums"), "other.py": module("Other"), "README.md": "#\n"})
WORDS = "Fix the sum of one number"
CODE = {"sums.py": module("Sums", 5)}
REVERTS = ['Revert "Something else"', "revert: feat: add sums", "Revert the last commit", "Revert 3f2a1b9c5d2e7f"]
REVERTS += ["Back out changeset 12", "Revert the parser refactoring"]
NO_REVERTS = ["Revert selection when escape is pressed", "Revert to the default when the flag is absent"]


def filtered(folder: Path) -> tuple[list, dict[str, int], dict[str, int]]:
    """(paths of each candidate, newest first; commits lost by reason; files lost by reason)"""
    with open_repository(folder) as source:
        rules = CommitFilter(source, [ME], (".py",))
        found = [rules.candidate(commit) for commit in source.commits()]
    return [[change.path for change in item.changes] for item in found if item], dict(rules.lost), dict(rules.files)


@pytest.mark.parametrize(
    ("commit", "reason"),
    [
        (Made(WORDS, CODE, email="ME@Example.ORG"), None),
        (Made(WORDS, CODE, email="you@example.org"), "somebody else's"),
        (Made(WORDS, CODE, name="renovate-bot renovate"), "bot"),
        (Made("fixup! Fix the sum", CODE), "fixup, squash or WIP"),
        (Made("WIP on the sum of numbers", CODE), "fixup, squash or WIP"),
        *((Made(title, CODE), "revert") for title in REVERTS),
        *((Made(title, CODE), None) for title in NO_REVERTS),
        (Made(b"Fix the sum of \xff\xfe numbers", CODE), "bad encoding"),
        (Made("Bump to 1.2.3", CODE), "release or version bump"),
        (Made(WORDS, {"README.md": "# Two\n"}), "no file of the language"),
        (Made(WORDS, {**CODE, "other.py": None}), "deletes or moves files"),
        (Made(WORDS, {"sums.py": None, "moved.py": module("Sums")}), "deletes or moves files"),
        (Made(WORDS, {f"{name}.py": "x = 1\n" for name in "abcdef"}), "too many files"),
        (Made(WORDS, {**CODE, "README.md": "# Two\n", **{f"{name}.lock": "x" for name in "abcdef"}}), None),
        (Made(WORDS, {"sums.py": "other.py"}, mode="120000"), "submodule or symbolic link"),
        (Made(WORDS, {"sums.py": module("Sums")}, mode="100755"), "mode only"),
        (Made(WORDS, {"sub.py": "1" * 40}, mode="160000"), "submodule or symbolic link"),
        (Made(WORDS, {"vendor/lib.py": "x = 1\n"}), "vendored"),
        (Made(WORDS, {"api_pb2.py": "x = 1\n"}), "generated"),
        (Made("Fix the sum and say so in the changelog", {**CODE, "CHANGES.md": "x"}), "asks for what is passed over"),
        (Made("Say how a changelog is made", {**CODE, "changelog/a.py": "x = 1\n"}), None),
        (Made(WORDS, {**CODE, "App.xcodeproj/project.pbxproj": "x"}), "generated"),
        (Made(WORDS, {**CODE, ".jjconflict-base-0/sums.py": "x = 1\n"}), "conflict markers"),
        (Made(WORDS, {**CODE, **{f"docs/{name}.md": "x\n" for name in "abcde"}}), "too many files"),
    ],
)
def test_reasons(commit: Made, reason: str | None, tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "repository", [BASE, commit])
    candidates, lost, _files = filtered(folder)
    assert len(candidates) == (2 if reason is None else 1)
    assert lost == ({} if reason is None else {reason: 1})


def test_files_left_out_of_candidates_are_counted(tmp_path: Path) -> None:
    files = {
        **CODE,
        "uv.lock": "x",
        "deno_dist/sums.py": "x = 1\n",
        "CHANGES.md": "- it\n",
        "tests/test_sums.py": "x = 1\n",
        "docs/a.md": "x\n",
    }
    folder = repositories.make(tmp_path / "repository", [BASE, Made(WORDS, files)])
    candidates, lost, counted = filtered(folder)
    assert candidates[0] == ["sums.py", "tests/test_sums.py", "docs/a.md"]
    assert (lost, counted) == ({}, {"lock file": 1, "build output": 1, "changelog": 1})


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ('Revert "{title}"\n\nThis reverts commit {sha}.', 1),
        ('Revert "{title}"\n\nThis reverts commit {short}.', 1),
        ('revert: "{title} (#7)"', 2),
    ],
)
def test_revert_takes_its_target_along(message: str, left: int, tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "repository", [BASE, Made(WORDS, CODE)])
    sha = git(folder, "rev-parse", "HEAD")
    revert = message.format(title=WORDS, sha=sha, short=sha[:9])
    repositories.add(folder, [Made(revert, {"sums.py": module("Sums")})], repositories.START + 9999, fresh=False)
    candidates, lost, _files = filtered(folder)
    assert len(candidates) == left
    assert lost == {"revert": 1, **({"reverted later": 1} if left == 1 else {})}

    sha = git(folder, "rev-parse", "HEAD")
    again = f'Revert "Revert …"\n\nThis reverts commit {sha}.'
    repositories.add(folder, [Made(again, CODE)], repositories.START + 99999, fresh=False)
    assert filtered(folder)[1] == {"revert": 2}, "a revert that was reverted takes nothing along"


def test_merges_and_shallow_edges(tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "merged", [BASE], checkout=True)
    git(folder, "checkout", "-q", "-b", "side")
    repositories.add(folder, [Made(WORDS, CODE)], repositories.START + 9999, fresh=False)
    git(folder, "checkout", "-q", "-f", "side")
    git(folder, "commit", "-q", "--allow-empty", "-m", "Nothing at all here")
    git(folder, "merge", "-q", "--no-edit", "main")
    assert filtered(folder)[1] == {"merge": 1, "no file of the language": 1}
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{folder}", "shallow", "--branch=main")
    assert filtered(tmp_path / "shallow")[1] == {"edge of a shallow clone": 1}


def test_kinds_of_files() -> None:
    tests = "tests/a.rs a/parser_test.go test_a.py spec/a_spec.rb packages/__tests__/b.spec.ts Tests/A/B.swift".split()
    code, docs = ["src/testing.rs", "src/contest.py"], ["docs/guide.md", "README.rst"]
    assert [path for path in tests + code + docs if is_test(path)] == tests
    assert [path for path in tests + code + docs if DOCS.search(path)] == docs
