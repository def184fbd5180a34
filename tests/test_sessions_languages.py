"""The language of turns."""

import pytest
from labelled_turns import SESSIONS, bash, edit, read, turn
from specialists.config import load_config
from specialists.sessions.chat import Turn
from specialists.sessions.languages import LanguageClassifier
from specialists.tables import Language


@pytest.fixture(scope="module")
def classifier() -> LanguageClassifier:
    """With the languages as the product ships them."""
    return LanguageClassifier(load_config(None).languages.values())


def test_labelled_turns(classifier: LanguageClassifier) -> None:
    """Right in all of a set labelled by hand."""
    misses = {}
    for name, session in SESSIONS.items():
        results = classifier.classify([found for _label, found in session])
        for (label, found), result in zip(session, results, strict=True):
            if "+".join(sorted(result.languages)) != label:
                misses[f"{name}: {found.request}"] = f"{result.languages} for {label!r}, {result.scores}"
    assert misses == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cargo test -q", {("rust", "command", "cargo test")}),
        ("cd x && RUSTFLAGS=-g sudo cargo build | tee log", {("rust", "command", "cargo build")}),
        ("bundle exec rake test", {("ruby", "command", "bundle exec")}),
        ("bin/rails test", {("ruby", "command", "bin/rails test")}),
        ("sed -i s/a/b/ src/x.rs", {("rust", "edit", "src/x.rs")}),
        ("sed -n 1,5p src/x.rs", set()),
        ("cat > a.py <<EOF\ncargo test\nEOF\nls", {("python", "edit", "a.py")}),
        ("echo 'npm test' # swift build", set()),
        ("git commit -m 'cargo test'", set()),
        ("/usr/local/bin/cargo test", {("rust", "command", "/usr/local/bin/cargo test")}),
    ],
)
def test_commands(classifier: LanguageClassifier, line: str, expected: set[tuple[str, str, str]]) -> None:
    found = {(item.language, item.kind, item.detail) for item in classifier.evidence(turn("", bash(line)))}
    assert found == expected


def test_another_language_is_another_table(classifier: LanguageClassifier) -> None:
    """Go turns from "other" into a language of its own, and the others stay what they were."""
    go = Language(adapter="build-go", extensions=(".go",), files=("go.mod",), commands=("go",), name="go", title="Go")
    wider = LanguageClassifier([*classifier.languages, go])
    turns = [turn("add a handler", edit("main.go"), bash("go test ./...")), turn("and", edit("a.rs"))]
    assert [result.languages for result in wider.classify(turns)] == [("go",), ("rust",)]
    assert classifier.classify(turns[:1])[0].languages == ()


READ_AND_EDIT = [read("src/lib.rs"), edit("src/lib.rs")]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            turn("look at src/lib.rs", *READ_AND_EDIT),
            [(10, "rust", "edit"), (2, "rust", "named by the user"), (2, "rust", "read")],
        ),
        (turn("package.json", read("package.json"), edit("package.json")), [(2, "ts", "edit")]),  # a manifest: once
        (turn("", bash("npm ci; npm test")), [(4, "ts", "command")] * 2),
        (turn("x" * 20_000), []),
        (turn("", bash("make", "x" * 5_000_000)), []),  # a pattern such as \S+\.rb would try every start in it
    ],
)
def test_evidence_is_explained_heaviest_first(classifier: LanguageClassifier, found: Turn, expected: list) -> None:
    assert [(item.weight, item.language, item.kind) for item in classifier.evidence(found)] == expected
