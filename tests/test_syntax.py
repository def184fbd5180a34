"""Definitions, tokens and errors as tree-sitter sees them, in five languages and in one that nobody thought of."""

import pytest
from code_samples import SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from specialists.code import grammars, syntax
from specialists.config import Problem
from specialists.synthetic.mutations import mutations

RUST, TS, PYTHON, RUBY, SWIFT = SAMPLES


DOC = "Adds a book to the shelf."
MORE = f"{DOC}\n\nBooks without a title are refused."
PARTS = [  # grammar, function with the types around it, how its body starts and ends, its doc comment
    (RUST, "add", "if book.title", "len() - 1)", MORE),
    (TS, "add", "if (!book", "length - 1", DOC),
    (TS, "twice", "const next", "max(next, count)", "Doubles a number."),
    (PYTHON, "add", "if not book", "len(shelf.books) - 1", "Add a book to the shelf.\n\n:param book: what to add"),
    (PYTHON, "Library.long", "if self.closed:", "== True])", ""),
    (RUBY, "Shelf.add", "raise Argument", "length - 1", MORE),
    (RUBY, "Shelf.self.long", "return nil", "quiet: true)", ""),
    (SWIFT, "add", "guard !book", "count - 1", f"{DOC}\n\n- Parameter book: what to add"),
    (SWIFT, "Library.long", "let label", "limit: 3)", "The first long book."),
]


@pytest.mark.parametrize(("grammar", "name", "starts", "ends", "doc"), PARTS)
def test_the_parts_of_a_function(grammar, name, starts, ends, doc) -> None:
    source = SAMPLES[grammar].encode()
    function = {item.qualified: item for item in syntax.functions(grammar, source)}[name]
    body = source[slice(*function.body)].decode()
    assert (body[: len(starts)], body[-len(ends) :], function.doc) == (starts, ends, doc)


TOKENS = [
    (RUST, "fn f() { a(1); }", "fn f()\n{\n    a( 1 ); // call\n}", True),
    (TS, "f({a: 1})", "f({ a: 1 }) /* c */", True),
    (PYTHON, "if a:\n    b()\n    c()\n", "if a:\n  b()  # now\n  c()\n", True),
    (PYTHON, "if a:\n    b()\n    c()\n", "if a:\n    b()\nc()\n", False),
    (RUBY, "x = ['a',2]\n", 'x = [ "a", 2 ] # two\n', True),
    (RUBY, "x = 'a\\n'\n", 'x = "a\\n"\n', False),
    (RUST, "fn f() { a('a') }", 'fn f() { a("a") }', False),
    (RUBY, "a -b\n", "a\n-b\n", False),
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
    assert expected != f"{TS}:tsx" or syntax.error_nodes(expected, b"const a = <div>{b}</div>\n") == 0


@pytest.mark.parametrize("grammar", ["tree_sitter_nothing", "json"])
def test_a_grammar_that_is_not_there_is_named_by_its_key(grammar) -> None:
    with pytest.raises(Problem, match=rf"grammar = '{grammar}'.*pip install"):
        grammars.parser(grammar)


def test_a_grammar_that_nobody_thought_of_is_read_by_the_names_of_its_nodes(monkeypatch) -> None:
    monkeypatch.delitem(grammars.GRAMMARS, SWIFT)
    source = SAMPLES[SWIFT].encode()
    assert "add" in [item.qualified for item in syntax.functions(SWIFT, source)]


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
    made = mutations(grammar, source)
    assert len({mutation.apply(source) for _function, mutation in made} - {source}) == len(made)
    assert all(f.body[0] <= mutation.start < mutation.end <= f.body[1] for f, mutation in made)
