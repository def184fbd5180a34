"""Repositories of every form, read through the shim; what is broken is named and passed over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import git_repositories as repositories
import pytest
from git_repositories import HISTORY, ME, Made, git, loose
from specialists.commits import layout as git_layout
from specialists.commits.git import GitSource
from specialists.commits.layout import Unreadable, owner_emails
from specialists.commits.streams import MAX_BLOB, is_blob


def shas(folder: Path) -> list[str]:
    with GitSource(folder) as source:
        return [commit.sha for commit in source.commits()]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file after every commit, by the commit's title and the path."""
    with GitSource(folder) as source:
        chosen = [(commit, commit.changes) for commit in source.commits()]
        return {
            f"{commit.message.decode().split(chr(10))[0]}: {change.path}": found.blobs.get(change.after)
            for (commit, changes), found in zip(chosen, source.read(chosen), strict=True)
            for change in changes
        }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repositories.make(tmp_path_factory.mktemp("plain") / "sums", HISTORY, checkout=True)


def clone(*arguments: str) -> Callable[[Path, Path], Path]:
    def form(plain: Path, folder: Path) -> Path:
        git(folder, "clone", "-q", *arguments, f"file://{plain}", "copy")
        return folder / "copy"

    return form


def worktree(plain: Path, folder: Path) -> Path:
    git(folder, "clone", "-q", str(plain), "main")
    git(folder / "main", "worktree", "add", "-q", "--detach", "../linked", "main")
    return folder / "linked"


def worktree_of_bare(plain: Path, folder: Path) -> Path:
    git(folder, "clone", "-q", "--bare", str(plain), "main.git")
    git(folder / "main.git", "worktree", "add", "-q", "../linked", "main")
    return folder / "linked"


def borrowing(plain: Path, folder: Path) -> Path:
    """A borrows from B, B from the plain one, by relative paths: git would not follow these from another repository."""
    git(folder, "clone", "-q", "--shared", str(plain), "b")
    git(folder, "clone", "-q", "--shared", "b", "a")
    relative = os.path.relpath(plain / ".git" / "objects", folder / "b" / ".git" / "objects")
    for name, path in (("a", "../../../b/.git/objects"), ("b", relative)):
        (folder / name / ".git" / "objects" / "info" / "alternates").write_text(f'# comment\n"{path}"\n')
    return folder / "a"


def submodule(plain: Path, folder: Path) -> Path:
    git(folder, "init", "-q", "outer")
    git(folder / "outer", "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(plain), "inner")
    return folder / "outer" / "inner"


FORMS = {
    "clone": clone(),
    "bare": clone("--bare"),
    "worktree": worktree,
    "worktree of a bare one": worktree_of_bare,
    "submodule": submodule,
    "nested alternates": borrowing,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_repository(form: str, plain: Path, tmp_path: Path) -> None:
    folder = FORMS[form](plain, tmp_path)
    assert shas(folder) == git(plain, "log", "--format=%H").split()
    assert contents(folder) == contents(plain)
    assert contents(folder)["Support products with a factor: factor.py"] == b"FACTOR = 3\n"


def test_commits_are_what_git_says(plain: Path) -> None:
    with GitSource(plain) as source:
        newest, _second, root = source.commits()
    assert (newest.sha, newest.parents) == (repositories.head(plain), (repositories.head(plain, "HEAD~1"),))
    assert (newest.email, newest.author, newest.author_time) == (ME, "Me", repositories.START + 7200)
    assert newest.message == b"Support products with a factor"
    assert [(change.status, change.path) for change in newest.changes] == [("A", "factor.py"), ("M", "sums.py")]
    assert [change.status for change in root.changes] == ["A", "A"]
    assert root.parents == ()


def test_hunks_are_what_changed(plain: Path) -> None:
    with GitSource(plain) as source:
        chosen = [(commit, commit.changes) for commit in source.commits()]
        found = [
            [contents.hunks(change) for change in changes]
            for (_commit, changes), contents in zip(chosen, source.read(chosen), strict=True)
        ]
    assert found == [[((0, 0, 0, 1),), ((9, 10, 9, 10),)], [((5, 6, 5, 6),)], [((0, 0, 0, 1),), ((0, 0, 0, 10),)]]


def test_detached_and_unborn(plain: Path, tmp_path: Path) -> None:
    copy = clone()(plain, tmp_path)
    git(copy, "checkout", "-q", "--detach", "HEAD~1")
    assert shas(copy) == git(plain, "log", "--format=%H", "HEAD~1").split()
    empty = repositories.make(tmp_path / "empty", [])
    with GitSource(empty) as source:
        assert (source.head, list(source.commits()), source.tree()) == (None, [], {})


def test_packed_and_symbolic_references(plain: Path, tmp_path: Path) -> None:
    copy = clone()(plain, tmp_path)
    git(copy, "pack-refs", "--all")
    assert not (copy / ".git" / "refs" / "heads" / "main").exists()
    assert len(shas(copy)) == 3
    git(copy, "symbolic-ref", "refs/heads/other", "refs/heads/main")
    git(copy, "symbolic-ref", "HEAD", "refs/heads/other")
    assert len(shas(copy)) == 3


def test_sha256(tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "long", HISTORY, form="sha256")
    assert [len(sha) for sha in shas(folder)] == [64, 64, 64]
    assert contents(folder)["Support products with a factor: factor.py"] == b"FACTOR = 3\n"


def test_shallow_edge_is_known(plain: Path, tmp_path: Path) -> None:
    copy = clone("--depth=2")(plain, tmp_path)
    with GitSource(copy) as source:
        assert [commit.sha in source.shallow for commit in source.commits()] == [False, True]


def test_partial_clone_lacks_contents_quietly(plain: Path, tmp_path: Path) -> None:
    git(plain, "config", "uploadpack.allowFilter", "true")
    copy = clone("--filter=blob:none", "--bare")(plain, tmp_path)
    assert len(shas(copy)) == 3
    assert set(contents(copy).values()) == {None}


def test_other_users_repository(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    assert git(plain, "log", check=False, env=foreign) == "", "a plain git refuses"
    clean = git_layout.environment
    monkeypatch.setattr("specialists.commits.git.environment", lambda home: clean(home) | foreign)
    assert len(shas(plain)) == 3


def test_odd_names_and_messages(tmp_path: Path) -> None:
    commits = [
        Made(
            "Add odd names\n\n:100644 100644 a b M\n", {"ä b.py": "x = 1\n", '"q\\".py': "y = 2\n", "new\nline": "z\n"}
        ),
        Made("Text\n\n" + "0" * 40, {"ä b.py": "x = 2\n"}),
        Made("", {"ä b.py": "x = 3\n"}, name="Some\tOne <x", email="A@Example.ORG"),
        Made("Empty commit", {}),
    ]
    folder = tmp_path / "odd"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for commit in commits:
        for path, content in commit.files.items():
            (folder / path).write_text(content)
        git(folder, "add", "-A")
        git(
            folder,
            "-c",
            f"user.email={commit.email}",
            "commit",
            "-q",
            "--allow-empty",
            "--allow-empty-message",
            "-m",
            commit.message,
        )
    with GitSource(folder) as source:
        chosen = [(commit, commit.changes) for commit in source.commits()]
        read = list(source.read(chosen))
        assert set(source.tree()) == {"ä b.py", '"q\\".py', "new\nline"}
    assert [len(changes) for _commit, changes in chosen] == [0, 1, 1, 3]
    assert [len(found.headers) for found in read] == [0, 1, 1, 3]
    assert {change.path for change in chosen[3][1]} == {"ä b.py", '"q\\".py', "new\nline"}


def test_mailmap_is_read_as_data(tmp_path: Path) -> None:
    mailmap = Made("Add names", {".mailmap": f"Me <{ME}> <old@example.org>\n", "a.py": "a = 1\n"})
    folder = repositories.make(
        tmp_path / "mapped", [Made("Add b", {"b.py": "b = 1\n"}, email="Old@Example.org"), mailmap]
    )
    with GitSource(folder) as source:
        assert [(commit.email, commit.mapped_email) for commit in source.commits()] == [
            (ME, ME),
            ("old@example.org", ME),
        ]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=["empty", "nonsense", "missing"])
def test_corrupt_blob_is_passed_over(damage: bytes | None, tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "broken", HISTORY)
    whole = contents(folder)
    broken = "Fix the sum of one number: sums.py"
    path = loose(folder, "HEAD~1:sums.py")
    path.unlink() if damage is None else path.write_bytes(damage)
    assert contents(folder) == {**whole, broken: None}
    with GitSource(folder) as source:
        chosen = [(commit, commit.changes) for commit in source.commits()]
        hunks = [len(found.headers) for found in source.read(chosen)]
    assert hunks == [0, 0, 2], "the diffs on both sides of it are gone, the third is there"


def test_content_of_another_object_is_not_taken(tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "forged", HISTORY)
    loose(folder, "HEAD~1:sums.py").write_bytes(loose(folder, "HEAD:factor.py").read_bytes())
    with GitSource(folder) as source:
        sums, factor = repositories.head(folder, "HEAD~1:sums.py"), repositories.head(folder, "HEAD:factor.py")
        assert list(source.blobs([sums, factor])) == [None, b"FACTOR = 3\n"]
    assert not is_blob(sums, contents(folder)["Fix the sum of one number: sums.py"])


def test_history_that_breaks_off_is_named(tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "cut", HISTORY)
    loose(folder, "HEAD~2").unlink()
    with GitSource(folder) as source:
        assert len(list(source.commits())) <= 2
        assert "history cannot be read any further" in source.problems[0] and str(folder) in source.problems[0]
    loose(folder, "HEAD").unlink()
    with GitSource(folder) as source, pytest.raises(Unreadable, match="history cannot be read"):
        list(source.commits())


def test_large_blob_is_not_held(tmp_path: Path) -> None:
    files = {"large.py": "x" * (MAX_BLOB + 1), "small.py": "x = 1\n"}
    folder = repositories.make(tmp_path / "large", [Made("Add both", files)])
    assert contents(folder) == {"Add both: large.py": None, "Add both: small.py": b"x = 1\n"}


def test_large_blob_is_not_compared(tmp_path: Path) -> None:
    history = [Made("Add it", {"a.py": "x\n"}), Made("Grow it", {"a.py": "x\n" * (MAX_BLOB // 2 + 1), "b.py": "y\n"})]
    with GitSource(repositories.make(tmp_path / "large", history)) as source:
        chosen = [(commit, commit.changes) for commit in source.commits()]
        read = list(source.read(chosen))
    found = [
        (change.path, len(one.hunks(change)))
        for (_, changes), one in zip(chosen, read, strict=True)
        for change in changes
    ]
    assert found == [("a.py", 0), ("b.py", 1), ("a.py", 1)]


def test_part_by_part_and_one_process_at_a_time(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(plain)
    monkeypatch.setattr("specialists.commits.git.PART", 2)
    started: list[subprocess.Popen] = []
    start = GitSource.start

    def watched(self: GitSource, *arguments: Any) -> subprocess.Popen:
        assert all(one.returncode is not None for one in started), "two would take twice the memory"
        started.append(start(self, *arguments))
        return started[-1]

    monkeypatch.setattr(GitSource, "start", watched)
    assert contents(plain) == whole
    assert len(started) == 5, "history; hunks and blobs of two commits, then of the third"


BROKEN: dict[str, Callable[[Path], object]] = {
    "no folder": lambda folder: None,
    "a file": lambda folder: folder.write_text("x"),
    "an empty folder": lambda folder: folder.mkdir(),
    "an empty .git": lambda folder: (folder / ".git").mkdir(parents=True),
    "a .git file of something else": lambda folder: (folder.mkdir(), (folder / ".git").write_text("x")),
    "a .git file to nowhere": lambda folder: (folder.mkdir(), (folder / ".git").write_text("gitdir: ../gone")),
    "a .git that is a FIFO": lambda folder: (folder.mkdir(), os.mkfifo(folder / ".git")),
    "HEAD that is no reference": lambda folder: made(folder, "HEAD", "nonsense"),
    "HEAD that leads away": lambda folder: made(folder, "HEAD", "ref: ../../etc/passwd"),
    "HEAD that leads away below refs": lambda folder: made(folder, "HEAD", "ref: refs/../../x"),
    "HEAD in circles": lambda folder: made(folder, "refs/heads/main", "ref: refs/heads/main"),
    "a reference that is a FIFO": lambda folder: fifo(folder, "refs/heads/main"),
    "packed references that are a FIFO": lambda folder: fifo(folder, "packed-refs", "ref: refs/heads/none"),
    "alternates that are a FIFO": lambda folder: fifo(folder, "objects/info/alternates"),
    "a pack that is a FIFO": lambda folder: fifo(folder, "objects/pack/pack-1.idx"),
    "a pack without end": lambda folder: (
        made(folder, "HEAD", None) and os.symlink("/dev/zero", folder / ".git/objects/pack/pack-1.idx")
    ),
    "references in tables": lambda folder: made(folder, "HEAD", "ref: refs/heads/.invalid"),
}


def made(folder: Path, name: str, content: str | None) -> Path:
    repositories.make(folder, HISTORY[:1])
    if content is not None:
        (folder / ".git" / name).write_text(content)
    return folder


def fifo(folder: Path, name: str, head: str | None = None) -> None:
    path = made(folder, "HEAD", head) / ".git" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("what", BROKEN)
def test_broken_repository_is_named(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    BROKEN[what](folder)
    with pytest.raises(Unreadable, match="broken"):
        GitSource(folder)


def test_owner_emails(tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "mine", [])
    assert owner_emails(folder) == []
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text("[user]\n\temail = Home@Example.org\n")
    assert owner_emails(folder) == ["home@example.org"]
    git(folder, "config", "user.email", "here@example.org")
    assert owner_emails(folder) == ["here@example.org", "home@example.org"]
    assert owner_emails(tmp_path / "nowhere") == ["home@example.org"]
