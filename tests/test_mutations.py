"""Mistakes put into real functions: what is changed in each language, and what is left alone."""

import pytest
from code_samples import SAMPLES
from specialists.code import syntax
from specialists.synthetic.mutations import mutations

RUST, TS, PYTHON, RUBY, SWIFT = SAMPLES
IN_FUNCTION = {
    RUST: "fn f(a: u32, b: u32) -> u32 {{\n    first();\n    {}\n    last()\n}}\n",
    TS: "async function f(a, b) {{\n  first()\n  {}\n  return last\n}}\n",
    PYTHON: "async def f(a, b):\n    first()\n    {}\n    return last\n",
    RUBY: "def f(a, b)\n  first\n  {}\n  last\nend\n",
    SWIFT: "func f(a: Int, b: Int) async throws -> Int {{\n  first()\n  {}\n  return 1\n}}\n",
}
CHANGES = [
    (RUST, "if a < b { g(); }", "comparison", "if a > b { g(); }"),
    (RUST, "if a.is_empty() { g(); }", "condition", "if !a.is_empty() { g(); }"),
    (TS, "if (a === b) g()", "comparison", "if (a !== b) g()"),
    (TS, "const c = a.ok || b.ok", "logic", "const c = a.ok && b.ok"),
    (TS, "const c = a ? b : d", "condition", "const c = !a ? b : d"),
    (PYTHON, "x = a >= b", "comparison", "x = a <= b"),
    (PYTHON, "x = a * b", "arithmetic", "x = a / b"),
    (PYTHON, "x = a > 1 or b", "logic", "x = a > 1 and b"),
    (PYTHON, "if not a: g()", "condition", "if a: g()"),
    (RUBY, "g unless a", "condition", "g unless !a"),
    (RUBY, "if a then g else h end", "condition", "if !a then g else h end"),
    (SWIFT, "guard !a.isEmpty else { return 2 }", "condition", "guard a.isEmpty else { return 2 }"),
]
LEFT_ALONE = [
    (RUST, "if a == a { g(); }"),  # the same either way
    (RUST, "if let Some(c) = a { g(); }"),
    (RUST, "debug!(a == b);"),
    (TS, "console.log(a == b)"),  # what only reports
    (PYTHON, "x = 1  # a == b"),
    (RUBY, "raise Oops, (a == b)"),
    (SWIFT, "let c = Bare<Value>.self"),  # no comparison, whatever the grammar says
    (SWIFT, "let c = try? load(a)"),
]


def changes(grammar: str, statement: str) -> set[tuple[str, str]]:
    """(kind, statement with the mistake) for one statement in the middle of a function."""
    source = IN_FUNCTION[grammar].format(statement).encode()
    head, tail = IN_FUNCTION[grammar].format("\0").encode().split(b"\0")
    found = [mutation for _function, mutation in mutations(grammar, source)]
    return {(m.kind, m.apply(source).removeprefix(head).removesuffix(tail).decode()) for m in found}


@pytest.mark.parametrize(("grammar", "statement", "kind", "wrong"), CHANGES)
def test_what_becomes_of_a_statement(grammar, statement, kind, wrong) -> None:
    assert (kind, wrong) in changes(grammar, statement)
    made = IN_FUNCTION[grammar].format(wrong).encode()
    assert syntax.error_nodes(grammar, made) == 0


@pytest.mark.parametrize(("grammar", "statement"), LEFT_ALONE)
def test_what_is_left_alone(grammar, statement) -> None:
    assert changes(grammar, statement) == set()


def test_a_mistake_belongs_to_the_smallest_function_around_it() -> None:
    source = b"def outer(a):\n    def inner(b):\n        return b < 1\n    return inner(a)\n"
    assert [function.name for function, _mutation in mutations(PYTHON, source)] == ["inner"]
