"""What was taken back, by whatever spelling; and what looks like it and stays."""

import re
from dataclasses import replace

import pytest
from labelled_turns import bash, grep, read, write
from specialists.agent import EDIT_DONE, read_result
from specialists.sessions.outcome import goes_on, rejects, repeated, unchecked, undone
from specialists.tools import Call


def edit(old: str = "a", new: str = "b", path: str = "src/a.rs") -> Call:
    return Call("edit", {"filePath": path, "oldString": old, "newString": new}, EDIT_DONE)


def seen(text: str, path: str = "src/a.rs") -> Call:
    return Call("read", {"filePath": path}, read_result(path, text))


EDIT, NEW = edit(), write("n.rs", "new\n")
COMMIT, SECOND = (bash("git commit -am x", "[main 1234abc] x"), bash("git commit -am y", "[main (x) 5678def] y"))
TEXT = "one\ntwo\nthree\n"
ALL = """git checkout src/a.rs|git checkout -- .|cd . && git restore src|git reset --hard HEAD|git stash
cd src && git checkout a.rs|git restore --source=HEAD src/a.rs|git checkout '*.rs'|rm src/a.rs|git rm -rf src
sh -c 'git checkout -- .'|jj undo|bash -lc "cd src; git restore a.rs"|timeout 9 git stash push -m x
git -C . -c core.x=y checkout -- src/a.rs|git restore -SW .|git checkout -f|git switch --discard-changes main
git apply -R p|git stash -m "before lunch"|jj restore --from @- src/a.rs|rm -r src
git checkout HEAD .|git reset --hard HEAD~1"""
NONE = """git restore --staged src/a.rs|git checkout -b topic|git checkout src/b.rs|git status # git checkout|ls
git -C ../other reset --hard|git restore -S src/a.rs|git apply --check -R p
cd ../other && git reset --hard|git clean -fd|git rm --cached src/a.rs|git checkout main
cargo test|git reset HEAD~1|git revert HEAD|git show HEAD:src/a.rs > old.rs
echo 'git stash'|git stash list|jj new|jj restore b.rs|rm a.rs|git diff -- src/a.rs > p|git show HEAD -- src/a.rs"""
CASES: list[tuple[list[Call], set[int]]] = [
    *(([EDIT, bash(line)], {0}) for line in re.split(r"[|\n]", ALL)),
    *(([EDIT, bash(line)], set()) for line in re.split(r"[|\n]", NONE)),
    ([EDIT, bash("git checkout .", exit=1)], set()),
    ([EDIT, bash("git commit -am x && git checkout .")], set()),
    ([EDIT, bash("git stash"), bash("cargo test"), bash("git stash pop")], set()),
    ([EDIT, bash("git stash; git stash pop; git stash")], {0}),
    ([NEW, bash("git checkout . && git reset --hard && git stash")], set()),  # not tracked
    *(([NEW, bash(line)], {0}) for line in ("git clean -fdx", "git stash -u", "git add b; git clean -f")),
    ([NEW, bash("git add . && git reset --hard")], {0}),
    ([NEW, bash("git clean -nd; git clean -fd src; git add n.rs; git clean -fd")], set()),
    ([EDIT, COMMIT, edit("c", "d"), bash("git reset --hard HEAD~1")], {0, 2}),
    ([EDIT, COMMIT, edit("c", "d"), SECOND, bash("git revert HEAD~2..HEAD")], {0, 2}),
    ([EDIT, COMMIT, edit("c", "d"), bash("git commit -a --amend"), bash("git reset --hard HEAD^")], {0, 2}),
    # by the texts of files
    ([EDIT, edit("b", "a")], {0}),
    ([EDIT, edit("b", "c")], set()),  # went on from it
    ([EDIT, edit("b", "a"), EDIT], {1}),
    ([edit("x = 1", "x = 2"), edit("y\nx = 2\n", "y\nx = 1\n")], {0}),
    ([seen(TEXT), edit("two\n", "two\nmore\n"), edit("more\nthree", "three")], {1}),
    ([seen(TEXT), edit("two\n", "two\nmore\n"), edit("more\n", "much more\n")], set()),
    ([seen(TEXT), edit("two", "2"), bash("./undo"), seen(TEXT)], {1}),
    ([seen(TEXT), edit("two", "2"), bash("cargo fmt"), seen("one\n  2\nthree\n")], set()),
    ([seen(TEXT), edit("two", "2"), edit("one", "1"), write("src/a.rs", TEXT)], {1, 2}),
    ([seen(TEXT), write("src/a.rs", "1\n2\n"), edit("2", "3")], set()),
    ([NEW, write("n.rs", "other\n\nwords\n")], set()),
    ([NEW, write("n.rs", "")], {0}),
    ([EDIT, bash("git checkout elsewhere src"), seen("b\n")], set()),  # the text knows better
]


@pytest.mark.parametrize(("calls", "expected"), CASES)
def test_what_was_taken_back(calls: list[Call], expected: set[int]) -> None:
    assert undone([[call] for call in calls]) == expected


def wrong(call: Call, *errors: str) -> Call:
    """An edit whose result lists errors in its file."""
    listed = "\n".join(f"ERROR [{line}:7] {error}" for line, error in enumerate(errors, 3))
    head = "LSP errors detected in this file, please fix:\n<diagnostics file='x'>"
    return replace(call, output=f"{call.output}\n\n{head}\n{listed}\n</diagnostics>")


ADD = edit("a", "b\nc\nd")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([EDIT, edit("b", "c")], {0}),
        ([seen(TEXT), edit("two\n", "two\nlog(2)\nlog(3)\n2\n"), edit("two\nlog(2)\nlog(3)\n2", "2")], {1}),
        ([seen(TEXT), edit("two", "2"), bash("cargo fmt"), seen("one\n  2\nthree\n")], set()),
        ([EDIT, write("src/a.rs", "else\n")], {0}),
        ([ADD, edit("c", "e")], set()),
        ([wrong(ADD, "no c"), edit("c", "e")], {0}),  # repaired
        ([wrong(ADD, "no c"), edit("x", "c")], set()),  # completed: its own lines were right
        ([wrong(ADD, "no pytest"), wrong(edit("c", "e"), "no pytest")], set()),  # of no edit of these
        ([wrong(EDIT, "no z"), wrong(edit("x", "q\nr\ns"), "no z"), edit("q", "t")], set()),  # the one before made it
    ],
)
def test_what_a_turn_replaced_itself(calls: list[Call], expected: set[int]) -> None:
    assert undone([[call] for call in calls], in_turn=True) == expected


LOOK, FAILS = read("a.rs", "x"), bash("cargo test", "1 failed", 101)
PASSES, PIPED = bash("cargo test"), bash("cargo test 2>&1 | tail -3", "test result: FAILED. 1 failed")
OTHER, TEST = grep("x", output="a.rs"), FAILS


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([[LOOK]] * 8, {*range(1, 8)}),
        ([[LOOK], [EDIT], [LOOK]], set()),
        ([[LOOK], [OTHER], [LOOK, OTHER]], {2}),
        ([[LOOK], [LOOK, OTHER]], set()),
        ([[LOOK], [read("a.rs", "y")], [LOOK]], {2}),
        ([[TEST], [TEST], [EDIT], [TEST]], {1}),
        ([[TEST], [bash("make")], [TEST], [bash("make")], [TEST]], {3, 4}),  # once each after the other: it may tell
        ([[EDIT], [EDIT], [], []], set()),
    ],
)
def test_what_only_repeats(steps: list[list[Call]], expected: set[int]) -> None:
    assert repeated(steps) == expected


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([EDIT, FAILS, EDIT, PASSES], {0}),  # the repair stays
        ([EDIT, LOOK, EDIT, FAILS, FAILS, EDIT], {0, 2}),
        ([EDIT, bash("cargo fmt"), FAILS], {0}),
        ([EDIT, PASSES, EDIT, FAILS], {2}),
        ([EDIT, PIPED], {0}),
        ([EDIT, bash("cargo test | tail", "0 failed"), bash("grep x", exit=1), bash("cargo test", exit=124)], set()),
        ([FAILS, EDIT], set()),
        ([EDIT, edit(path="src/b.rs"), bash("cargo test", "error: src/b.rs:3:1", 101)], {1}),  # the file that it names
    ],
)
def test_what_a_check_refused(calls: list[Call], expected: set[int]) -> None:
    assert unchecked([[call] for call in calls], {"cargo"}) == expected


REJECTED = """No, that is wrong. Put it back.|no|Nope, use a map|undo|Thanks. Now undo that.|please revert your changes
That was wrong, throw it away|That’s not what I asked for|it still fails|Why does it still fail?|same error as before
The second test still fails: expected 3|ok but it still crashes|this doesn't work|You broke the build|can you undo that?
Not what I wanted|hmm, that's worse|I said no tests|Now it crashes|check again, not fixed|the last fix is not working
Nein, anders|das ist falsch"""
GONE_ON = """no problem, now add a test|no tests needed|No, that's fine|No thanks|No need to undo that|Don't undo that
Undo should restore the cursor too|Now add undo support|Undo, redo and copy share a menu|If it still fails, revert
Tell me if they still fail|Does it still fail?|Fix the message if it's wrong|Explain what was wrong|Wrong keys give 401
Put it back into the queue when a worker dies|We still need the docs|It does not matter, go on|Note that|nein danke"""


def test_what_rejects_the_work_before() -> None:
    lines, own = re.split("[|\n]", f"{REJECTED}|{GONE_ON}"), ["nein", "das ist falsch"]
    assert [line for line in lines if rejects(line, "Done.", own)] == re.split("[|\n]", REJECTED)
    assert not rejects("No.", "Done. Shall I commit?") and rejects("No, it still fails", "Shall I commit?")
    assert goes_on("Please continue.", "Next I write it.") and not goes_on("continue", "Shall I?")
