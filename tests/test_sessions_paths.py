"""No home folder, no user name, nothing outside the project by its absolute path; and nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specialists.agent import ROOT, in_project
from specialists.sessions.paths import ProjectPaths

PROJECT = "/home/kim/src/demo"


TEXTS = [
    (f"{PROJECT}/src/lib.rs:3", "src/lib.rs:3"),
    (f"cd {PROJECT} && ls", "cd . && ls"),
    (f"file://{PROJECT}/a b", "file://a b"),
    (f'{{"path": "{PROJECT}"}}', '{"path": "."}'),
    (f"{PROJECT}-old/x and {PROJECT}2", "/home/user/src/demo-old/x and /home/user/src/demo2"),
    ("/home/kim/.cargo/bin and /home/kim", "/home/user/.cargo/bin and /home/user"),
    ("/home/kimberly/x", "/home/kimberly/x"),
    ("drwx kim kim 4096", "drwx user user 4096"),
    ("akimbo kimono", "akimbo kimono"),
    ("the route /home/index stays", "the route /home/index stays"),
    ("", ""),
]


@pytest.mark.parametrize(
    ("directory", "root", "text", "expected"),
    [
        *((PROJECT, "", *case) for case in TEXTS),
        ("/home/kim/m/web", "/home/kim/m", "/home/kim/m/core/a.rs /home/kim/m/web/b.ts", "../core/a.rs b.ts"),
        ("/Users/kim/app", "", "/Users/kim/app/A.swift /Users/kim/Library", "A.swift /home/user/Library"),
        ("/root/app", "", "/root/app/a.py /root/.bashrc", "a.py /home/user/.bashrc"),
        ("/home/kim", "", "/home/kim/notes.md", "/home/user/notes.md"),
        ("/home/build/x", "", "build build/x /home/build/x/y", "build build/x y"),  # a name that says nothing
        (r"C:\Users\Kim Doe\p", "", r"C:\Users\Kim Doe\p\a.py c:/users C:/Users/Kim Doe", r"a.py c:/users /home/user"),
        (r"C:\Users\Kim Doe\app", "", r'{"p":"C:\\Users\\Kim Doe\\app\\a"} /c/Users/Kim\ Doe/app', '{"p":"a"} .'),
        ("/mnt/c/Users/Kim D/p", "", r"file:///C:/Users/Kim%20D/p/a \\wsl$\U\home\Kim D\x", "file:///a /home/user/x"),
        ("//wsl.localhost/Ubuntu/home/kim/app", "", "/home/kim/app/a.py /home/kim/b", "a.py /home/user/b"),
        (r"D:\work\app", "", r"D:\work\app\src\a.py /mnt/d/work/app/b d:\work\apple", r"src\a.py b d:\work\apple"),
        ("/home/kim/p", "", "-I/mnt/x/home/kim/p/inc /private/home/kim /home/kim2/p", "-Iinc /home/user /home/kim2/p"),
        ("/net/server/home/kim/app", "", "/home/kim/app/a.py /export/home/kim/.rc", "a.py /home/user/.rc"),
        ("/home/kim/wt/fix", "/home/kim/src/demo", "/home/kim/wt/fix/a /home/kim/src/demo/b", "a b"),
        ("/srv/app/", "", "/srv/app/a.rb /srv/other", "a.rb /srv/other"),
        ("/", "/", "/etc/passwd", "/etc/passwd"),
        ("", "", "/etc/passwd", "/etc/passwd"),
    ],
)
def test_folders(directory: str, root: str, text: str, expected: str) -> None:
    assert in_project(ProjectPaths(directory, root).text(text)) == expected


@pytest.mark.parametrize(
    ("directory", "others", "text", "expected"),
    [
        ("/home/kim/new/a", [("/home/kim/old/a", "/home/kim/old")], "/home/kim/old/a/x /home/kim/old/b", "x ../b"),
        ("/home/kim/m/web", [("/home/kim/m", "")], "/home/kim/m/core /home/kim/m/web/a", "../core a"),
        ("/home/kim/m", [("/home/kim/m/web", "")], "/home/kim/m/web/a", "web/a"),
        ("/srv/app", [("/home/robin/app", ""), ("/Users/kim/app", "")], "/home/robin/app/a kim robin", "a user user"),
    ],
)
def test_a_session_in_several_folders(directory: str, others: list[tuple[str, str]], text: str, expected: str) -> None:
    assert in_project(ProjectPaths(directory, "", others).text(text)) == expected


def test_a_project_elsewhere_hides_the_home_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/robin")
    assert ProjectPaths("/srv/app").text("/home/robin/.npm robin /srv/app/x") == f"/home/user/.npm user {ROOT}/x"


def test_values_and_names() -> None:
    paths = ProjectPaths(PROJECT)
    value = {"a": [f"{PROJECT}/x", 1, None], "b": {"c": PROJECT}}
    assert paths.value(value) == {"a": [f"{ROOT}/x", 1, None], "b": {"c": ROOT}}
    assert (paths.project, ProjectPaths("/home/kim").project) == ("demo", "~")


@given(st.lists(st.sampled_from([PROJECT, "/home/kim", "kim", "/", " ", "\n", "src", ".rs", ":", '"']), max_size=12))
def test_nothing_of_the_owner_is_left(pieces: list[str]) -> None:
    text = ProjectPaths(PROJECT).text(" ".join(pieces))
    assert "/home/kim" not in text and "kim" not in text.split()
