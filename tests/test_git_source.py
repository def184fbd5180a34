"""Repositories of every form, read through the shim; what is broken is named and passed over."""

import os
from collections.abc import Callable
from pathlib import Path

import git_repositories as repositories
import pytest
from git_repositories import HISTORY, ME, Made, git, loose
from specialists.commits.git import MAX_BLOB, Commit, Unreadable, environment, open_repository

FACTOR, SUMS = "Support products with a factor: factor.py", "Fix the sum of one number: sums.py"


def commits(folder: Path) -> list[Commit]:
    with open_repository(folder) as source:
        return list(source.commits())


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file after every commit, by the commit's title and the path."""
    with open_repository(folder) as source:
        changes = [(commit, change) for commit in source.commits() for change in commit.changes]
        found = source.blobs(change.after for _commit, change in changes)
        titles = [f"{commit.message.decode().split(chr(10))[0]}: {change.path}" for commit, change in changes]
        return dict(zip(titles, found, strict=True))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repositories.make(tmp_path_factory.mktemp("plain") / "sums", HISTORY, checkout=True)


def clone(*arguments: str) -> Callable[[Path, Path], Path]:
    def form(plain: Path, folder: Path) -> Path:
        git(folder, "clone", "-q", *arguments, f"file://{plain}", "copy")
        return folder / "copy"

    return form


def worktree(plain: Path, folder: Path, *bare: str) -> Path:
    git(folder, "clone", "-q", *bare, str(plain), "main")
    git(folder / "main", "worktree", "add", "-q", "--detach", "../linked", "main")
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


def packed(plain: Path, folder: Path) -> Path:
    """Only packed references, and a HEAD that means a reference to another."""
    copy = clone()(plain, folder)
    git(copy, "symbolic-ref", "refs/heads/other", "refs/heads/main")
    git(copy, "symbolic-ref", "HEAD", "refs/heads/other")
    git(copy, "pack-refs", "--all")
    assert not (copy / ".git" / "refs" / "heads" / "main").exists()
    return copy


FORMS = {
    "clone": clone(),
    "bare": clone("--bare"),
    "worktree": worktree,
    "worktree of a bare one": lambda plain, folder: worktree(plain, folder, "--bare"),
    "submodule": submodule,
    "nested alternates": borrowing,
    "packed references": packed,
    "a name to quote": lambda plain, folder: clone()(plain, folder).rename(folder / 'ä "b\\n\n'),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_repository(form: str, plain: Path, tmp_path: Path) -> None:
    folder = FORMS[form](plain, tmp_path)
    assert (commits(folder), contents(folder)) == (commits(plain), contents(plain))
    assert contents(folder)[FACTOR] == b"FACTOR = 3\n"


def test_commits_are_what_git_says(plain: Path) -> None:
    newest, second, root = commits(plain)
    assert [newest.sha, second.sha, root.sha] == git(plain, "log", "--format=%H").split()
    assert (newest.email, newest.author, newest.author_time) == (ME, "Me", repositories.START + 7200)
    assert newest.message == b"Support products with a factor"
    assert [(change.status, change.path) for change in newest.changes] == [("A", "factor.py"), ("M", "sums.py")]
    assert ([change.status for change in root.changes], root.parents, newest.parents) == (["A"] * 2, (), (second.sha,))


def test_detached_unborn_and_sha256(plain: Path, tmp_path: Path) -> None:
    copy = clone()(plain, tmp_path)
    git(copy, "checkout", "-q", "--detach", "HEAD~1")
    assert commits(copy) == commits(plain)[1:]
    with open_repository(repositories.make(tmp_path / "empty", [])) as source:
        assert (source.head, list(source.commits()), source.tree) == (None, [], {})
    folder = repositories.make(tmp_path / "long", HISTORY, form="sha256")
    assert [len(commit.sha) for commit in commits(folder)] == [64, 64, 64]
    assert contents(folder)[FACTOR] == b"FACTOR = 3\n"


def test_shallow_edge_is_known_and_a_partial_clone_lacks_contents(plain: Path, tmp_path: Path) -> None:
    with open_repository(clone("--depth=2")(plain, tmp_path)) as source:
        assert [commit.sha in source.shallow for commit in source.commits()] == [False, True]
    git(plain, "config", "uploadpack.allowFilter", "true")
    (tmp_path / "partial").mkdir()
    copy = clone("--filter=blob:none", "--bare")(plain, tmp_path / "partial")
    assert len(commits(copy)) == 3
    assert set(contents(copy).values()) == {None}


def test_other_users_repository(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    assert git(plain, "log", check=False, env=foreign) == "", "a plain git refuses"
    monkeypatch.setattr("specialists.commits.git.environment", lambda home: environment(home) | foreign)
    assert len(commits(plain)) == 3


def test_odd_names_and_messages(tmp_path: Path) -> None:
    first = {"ä b.py": "x = 1\n", '"q\\".py': "y = 2\n", "new\nline": "z\n"}
    made = [
        Made("Add odd names\n\n:100644 100644 a b M\n", first),
        Made("Text\n\n" + "0" * 40, {"ä b.py": "x = 2\n"}),
        Made("", {"ä b.py": "x = 3\n"}, email="A@Example.ORG"),
        Made("Empty commit", {}),
    ]
    folder = repositories.make(tmp_path / "odd", [])
    for commit in made:
        for path, content in commit.files.items():
            (folder / path).write_text(content)
        git(folder, "add", "-A")
        identity, empty = ["-c", f"user.email={commit.email}"], ["--allow-empty", "--allow-empty-message"]
        git(folder, *identity, "commit", "-q", *empty, "-m", commit.message)
    with open_repository(folder) as source:
        found = list(source.commits())
        assert set(source.tree) == set(first)
    assert [len(commit.changes) for commit in found] == [0, 1, 1, 3]
    assert {change.path for change in found[3].changes} == set(first)
    assert [contents(folder)[f"{title}: ä b.py"] for title in ("", "Text")] == [b"x = 3\n", b"x = 2\n"]


def test_mailmap_is_read_as_data(tmp_path: Path) -> None:
    mailmap = Made("Add names", {".mailmap": f"Me <{ME}> <old@example.org>\n", "a.py": "a = 1\n"})
    made = [Made("Add b", {"b.py": "b = 1\n"}, email="Old@Example.org"), mailmap]
    found = commits(repositories.make(tmp_path / "mapped", made))
    assert [(commit.email, commit.mapped_email) for commit in found] == [(ME, ME), ("old@example.org", ME)]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None, "another object"])
def test_corrupt_blob_is_passed_over(damage: bytes | str | None, tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "broken", HISTORY)
    whole = contents(folder)
    path = loose(folder, "HEAD~1:sums.py")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(loose(folder, "HEAD:factor.py").read_bytes() if isinstance(damage, str) else damage)
    assert contents(folder) == {**whole, SUMS: None}


def test_history_that_breaks_off_is_named(tmp_path: Path) -> None:
    folder = repositories.make(tmp_path / "cut", HISTORY)
    loose(folder, "HEAD~2").unlink()
    with open_repository(folder) as source:
        assert len(list(source.commits())) == 1
        assert f"{folder}: history cannot be read to its end: " in source.problems[0]
    loose(folder, "HEAD").unlink()
    with pytest.raises(Unreadable, match="history cannot be read"):
        commits(folder)


def test_large_blob_is_not_held(tmp_path: Path) -> None:
    files = {"large.py": "x" * (MAX_BLOB + 1), "least.py": "x" * MAX_BLOB, "small.py": "x = 1\n"}
    folder = repositories.make(tmp_path / "large", [Made("Add", files)])
    found = {path: content and len(content) for path, content in contents(folder).items()}
    assert found == {"Add: large.py": None, "Add: least.py": MAX_BLOB, "Add: small.py": 6}


def made(folder: Path, name: str, content: str | None) -> Path:
    repositories.make(folder, HISTORY[:1])
    if content is not None:
        (folder / ".git" / name).write_text(content)
    return folder


def fifo(folder: Path, name: str) -> None:
    path = made(folder, "HEAD", None) / ".git" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


BROKEN: dict[str, Callable[[Path], object]] = {
    "no folder": lambda folder: None,
    "a file": lambda folder: folder.write_text("x"),
    "an empty folder": lambda folder: folder.mkdir(),
    "a .git file to nowhere": lambda folder: (folder.mkdir(), (folder / ".git").write_text("gitdir: ../gone")),
    "a .git that is a FIFO": lambda folder: (folder.mkdir(), os.mkfifo(folder / ".git")),
    "HEAD that is no reference": lambda folder: made(folder, "HEAD", "nonsense"),
    "HEAD that leads away": lambda folder: made(folder, "HEAD", "ref: refs/../../x"),
    "HEAD in circles": lambda folder: made(folder, "refs/heads/main", "ref: refs/heads/main"),
    "HEAD that is a FIFO": lambda folder: fifo(folder, "HEAD"),
    "a reference that is a FIFO": lambda folder: fifo(folder, "refs/heads/main"),
    "a pack that is a FIFO": lambda folder: fifo(folder, "objects/pack/pack-1.idx"),
    "a pack without end": lambda folder: os.symlink("/dev/zero", made(folder, "x", "") / ".git/objects/pack/p.idx"),
    "references in tables": lambda folder: made(folder, "HEAD", "ref: refs/heads/.invalid"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_repository_is_named(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specialists.commits.git.LIMIT", 2)
    folder = tmp_path / "broken"
    BROKEN[what](folder)
    with pytest.raises(Unreadable, match="broken"), open_repository(folder):
        pass
