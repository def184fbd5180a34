"""Definitions, tokens and errors as tree-sitter sees them, in five languages and in one that nobody thought of."""

from __future__ import annotations

import pytest
from code_samples import SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from specialists.code import grammars, syntax
from specialists.config import Problem

RUST, TS, PYTHON, RUBY, SWIFT = SAMPLES


def line_of(grammar: str, text: str) -> int:
    """1-based number of the one line that holds a text."""
    found = [number for number, line in enumerate(SAMPLES[grammar].split("\n"), 1) if text in line]
    assert len(found) == 1, found
    return found[0]


def around(grammar: str, first: str, last: str | None = None) -> tuple[str, str] | None:
    """First and last line of what stands around some lines of a sample."""
    first_line, last_line = line_of(grammar, first), line_of(grammar, last or first)
    found = syntax.enclosing(grammar, SAMPLES[grammar].encode(), first_line, last_line)
    lines = SAMPLES[grammar].split("\n")
    return found and (lines[found[0] - 1].strip(), lines[found[1] - 1].strip())


ENCLOSING = [
    (RUST, "shelf.check(&book)", None, ("/// Adds a book to the shelf.", "}")),
    (RUST, "shelf.check(&book)", "impl Shelf", None),
    (TS, "await load(", None, ("/** Adds a book to the shelf. */", "}")),
    (TS, "const next", None, ("/** Doubles a number. */", "}")),
    (PYTHON, "shelf.count += 1", None, ("# About adding.", "return len(shelf.books) - 1")),
    (PYTHON, "@cached", None, ("# About adding.", "return len(shelf.books) - 1")),
    (PYTHON, "All shelves.", None, ("class Library:", "return self.pick(label)")),
    (RUBY, "@count += 1", None, ("# Adds a book to the shelf.", "end")),
    (RUBY, "class Shelf", None, ("# A shelf of books.", "end")),
    (SWIFT, "shelf.seen", None, ("/// Adds a book to the shelf.", "}")),
]


@pytest.mark.parametrize(("grammar", "first", "last", "expected"), ENCLOSING)
def test_the_smallest_definition_around_lines(grammar, first, last, expected) -> None:
    assert around(grammar, first, last) == expected


FUNCTIONS = {
    RUST: ["add", "Shelf.long"],
    TS: ["add", "Library.long", "twice"],
    PYTHON: ["add", "Library.long"],
    RUBY: ["Shelf.add", "Shelf.self.long", "Shelf.hidden"],
    SWIFT: ["add", "Library.long"],
}


PARTS = [  # grammar, which function, how its body starts and ends, its doc comment
    (RUST, 0, "if book.title", "len() - 1)", "Adds a book to the shelf.\n\nBooks without a title are refused."),
    (TS, 0, "if (!book", "length - 1", "Adds a book to the shelf."),
    (TS, 2, "const next", "max(next, count)", "Doubles a number."),
    (PYTHON, 0, "if not book.title:", "len(shelf.books) - 1", "Add a book to the shelf.\n\n:param book: what to add"),
    (PYTHON, 1, "if self.closed:", "self.pick(label)", ""),
    (RUBY, 0, "raise Argument", "length - 1", "Adds a book to the shelf.\n\nBooks without a title are refused."),
    (SWIFT, 0, "guard !book", "count - 1", "Adds a book to the shelf.\n\n- Parameter book: what to add"),
    (SWIFT, 1, "let label", "limit: 3)", "The first long book."),
]


@pytest.mark.parametrize(("grammar", "number", "starts", "ends", "doc"), PARTS)
def test_the_parts_of_a_function(grammar, number, starts, ends, doc) -> None:
    source = SAMPLES[grammar].encode()
    functions = syntax.functions(grammar, source)
    function = functions[number]
    assert [item.qualified for item in functions] == FUNCTIONS[grammar]
    body = source[slice(*function.body)].decode()
    assert (body[: len(starts)], body[-len(ends) :], function.doc) == (starts, ends, doc)


TOKENS = [
    (RUST, "fn f() { a(1); }", "fn f()\n{\n    a( 1 ); // call\n}", True),
    (TS, "f({a: 1})", "f({ a: 1 }) /* c */", True),
    (PYTHON, "if a:\n    b()\n    c()\n", "if a:\n  b()  # now\n  c()\n", True),
    (PYTHON, "if a:\n    b()\n    c()\n", "if a:\n    b()\nc()\n", False),
    (RUBY, "x = [1,2]\n", "x = [ 1, 2 ] # two\n", True),
    (RUBY, "a -b\n", "a\n-b\n", False),
    (SWIFT, "let x = f(1,2)\n", "let x = f(1, 2) // two\n", True),
]


@pytest.mark.parametrize(("grammar", "one", "two", "same"), TOKENS)
def test_tokens_are_equal_when_only_the_form_differs(grammar, one, two, same) -> None:
    equal = syntax.leaf_tokens(grammar, one.encode()) == syntax.leaf_tokens(grammar, two.encode())
    assert equal is same


@pytest.mark.parametrize("grammar", SAMPLES)
def test_samples_have_no_errors_and_half_of_one_has(grammar) -> None:
    source = SAMPLES[grammar].encode()
    assert syntax.error_nodes(grammar, source) == 0
    assert syntax.error_nodes(grammar, source[: source.index(b"(") + 1]) > 0


DIALECTS = [(TS, "b.tsx", f"{TS}:tsx"), (TS, "b.mts", TS), (RUBY, "a.html.erb", None), (None, "a.rs", None)]


@pytest.mark.parametrize(("grammar", "path", "expected"), DIALECTS)
def test_the_dialect_of_a_file(grammar, path, expected) -> None:
    assert grammars.dialect(grammar, path) == expected


def test_the_dialect_matters() -> None:
    source = b"const a = () => <div>{b}</div>\n"
    assert syntax.error_nodes(f"{TS}:tsx", source) == 0 < syntax.error_nodes(TS, source)


@pytest.mark.parametrize("grammar", ["tree_sitter_nothing", "json"])
def test_a_grammar_that_is_not_there_is_named_by_its_key(grammar) -> None:
    with pytest.raises(Problem, match=rf"grammar = '{grammar}'.*pip install"):
        grammars.parser(grammar)


def test_a_grammar_that_nobody_thought_of_is_read_by_the_names_of_its_nodes(monkeypatch) -> None:
    monkeypatch.delitem(grammars.GRAMMARS, SWIFT)
    source = SAMPLES[SWIFT].encode()
    names = [item.qualified for item in syntax.functions(SWIFT, source)]
    assert "add" in names
    line = line_of(SWIFT, "shelf.seen")
    assert syntax.enclosing(SWIFT, source, line, line) is not None


DOCS = [
    (["/// One.", "/// Two."], "One.\nTwo."),
    (["/**\n * One.\n *\n * - two\n */"], "One.\n\n- two"),
    (["# One.", "# rubocop:disable X", "# two", "#   code"], "One.\ntwo\n  code"),
    (['"""One.\n\n    Two.\n    """'], "One.\n\nTwo."),
    (["# frozen_string_literal: true"], ""),
    ([], ""),
]


@pytest.mark.parametrize(("comments", "text"), DOCS)
def test_what_a_comment_says(comments, text) -> None:
    assert syntax.clean_doc(comments) == text


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_bytes_are_read_and_spans_lie_within_each_other(grammar, data) -> None:
    sample = SAMPLES[grammar].encode()
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(sample)), st.integers(0, len(sample)))))
    source = sample[:start] + data.draw(st.binary(max_size=20)) + sample[end:]
    syntax.error_nodes(grammar, source)
    syntax.leaf_tokens(grammar, source)
    for item in syntax.functions(grammar, source):
        assert 0 <= item.body[0] <= len(source) and item.body[1] <= len(source)
        found = syntax.enclosing(grammar, source, *item.lines)
        assert found and item.lines[0] <= found[0] and found[1] <= item.lines[1]
