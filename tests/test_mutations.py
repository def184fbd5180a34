"""Mistakes put into real functions: what each operator changes, what is left alone, and what can be said of it."""

from __future__ import annotations

import pytest
from code_samples import SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from specialists.code import syntax
from specialists.synthetic import phrases
from specialists.synthetic.mutations import holds, mutations
from specialists.synthetic.operators import OPERATORS, Mutation

RUST, TS, PYTHON, RUBY, SWIFT = SAMPLES

IN_FUNCTION = {
    RUST: "fn f(a: u32, b: u32) -> u32 {{\n    first();\n    {}\n    last()\n}}\n",
    TS: "async function f(a, b) {{\n  first()\n  {}\n  return last\n}}\n",
    PYTHON: "async def f(a, b):\n    first()\n    {}\n    return last\n",
    RUBY: "def f(a, b)\n  first\n  {}\n  last\nend\n",
    SWIFT: "func f(a: Int, b: Int) async throws -> Int {{\n  first()\n  {}\n  return 1\n}}\n",
}


def changes(grammar: str, statement: str) -> set[tuple[str, str]]:
    """(operator, statement with the mistake) for one statement in the middle of a function."""
    source = IN_FUNCTION[grammar].format(statement).encode()
    head, tail = (part.encode() for part in IN_FUNCTION[grammar].replace("{{", "{").replace("}}", "}").split("{}"))
    found = set()
    for _function, mutation in mutations(grammar, source):
        inside = len(head.rstrip(b" ")) <= mutation.start <= len(source) - len(tail)
        if inside and holds(grammar, source, mutation):
            mutant = mutation.apply(source)
            gone = not mutant.startswith(head)
            found.add((mutation.operator, "" if gone else mutant[len(head) : len(mutant) - len(tail)].decode()))
    return found


CHANGES = [
    (RUST, "if a < b { g(); }", "boundary", "if a <= b { g(); }"),
    (RUST, "if a == b { g(); }", "equality", "if a != b { g(); }"),
    (RUST, "let c = a == 1 && b == 2;", "logic", "let c = a == 1 || b == 2;"),
    (RUST, "let end = start + len;", "arithmetic", "let end = start - len;"),
    (RUST, "let c = v[a + 1];", "off_by_one", "let c = v[a + 2];"),
    (RUST, "self.put(a, b);", "swapped_arguments", "self.put(b, a);"),
    (RUST, "if a.is_empty() { g(); }", "negated_condition", "if !a.is_empty() { g(); }"),
    (RUST, "if !ready { g(); }", "negated_condition", "if ready { g(); }"),
    (RUST, "if a == b { return 1; }", "dropped_guard", ""),
    (RUST, "check(a)?;", "dropped_try", "check(a);"),
    (RUST, "load(a).await;", "dropped_await", "load(a);"),
    (RUST, "for i in 0..n { g(i); }", "range_end", "for i in 0..=n { g(i); }"),
    (RUST, "self.seen = true;", "boolean", "self.seen = false;"),
    (RUST, "self.clear();", "dropped_statement", ""),
    (RUST, "let c = v.first();", "sibling_name", "let c = v.last();"),
    (TS, "if (a >= b) g()", "boundary", "if (a > b) g()"),
    (TS, "if (a === b) g()", "equality", "if (a !== b) g()"),
    (TS, "const c = a.ok && b.ok > 1", "logic", "const c = a.ok || b.ok > 1"),
    (TS, "total += 2", "arithmetic", "total -= 2"),
    (TS, "const c = list.slice(1)", "off_by_one", "const c = list.slice(0)"),
    (TS, "put(a, b)", "swapped_arguments", "put(b, a)"),
    (TS, "if (!a.ok) g()", "negated_condition", "if (a.ok) g()"),
    (TS, "if (a) return 3", "dropped_guard", ""),
    (TS, "if (a) { return g(b) } else { h() }", "dropped_return", "if (a) { g(b) } else { h() }"),
    (TS, "await load(a)", "dropped_await", "load(a)"),
    (TS, "const c = a?.size", "safe_navigation", "const c = a.size"),
    (TS, "const c = a ?? b", "fallback", "const c = a || b"),
    (TS, "const c = a ? b : d", "swapped_branches", "const c = a ? d : b"),
    (TS, "this.seen = a", "dropped_statement", ""),
    (TS, "run({ quiet: true })", "boolean", "run({ quiet: false })"),
    (TS, "const c = list.every(g)", "sibling_name", "const c = list.some(g)"),
    (PYTHON, "x = a <= b", "boundary", "x = a < b"),
    (PYTHON, "x = a is not b", "equality", "x = a is b"),
    (PYTHON, "x = a in b", "equality", "x = a not in b"),
    (PYTHON, "x = a > 1 or b > 2", "logic", "x = a > 1 and b > 2"),
    (PYTHON, "x = length - start", "arithmetic", "x = length + start"),
    (PYTHON, "x = range(1, b)", "off_by_one", "x = range(2, b)"),
    (PYTHON, "put(a, b, c=1)", "swapped_arguments", "put(b, a, c=1)"),
    (PYTHON, "x = 1 if a else 2", "swapped_branches", "x = 2 if a else 1"),
    (PYTHON, "if a: g()", "negated_condition", "if not a: g()"),
    (PYTHON, "if a:\n        return None", "dropped_guard", ""),
    (PYTHON, "await load(a)", "dropped_await", "load(a)"),
    (PYTHON, "if a: return load(b)", "dropped_return", "if a: load(b)"),
    (PYTHON, "self.seen = a", "dropped_statement", ""),
    (PYTHON, "run(quiet=True)", "boolean", "run(quiet=False)"),
    (PYTHON, "x = a.startswith(b)", "sibling_name", "x = a.endswith(b)"),
    (RUBY, "x = a > b", "boundary", "x = a >= b"),
    (RUBY, "x = a == b", "equality", "x = a != b"),
    (RUBY, "x = a.empty? || b", "logic", "x = a.empty? && b"),
    (RUBY, "x = size - 1", "arithmetic", "x = size + 1"),
    (RUBY, "x = a[0]", "off_by_one", "x = a[1]"),
    (RUBY, "put a, b", "swapped_arguments", "put b, a"),
    (RUBY, "g unless a", "negated_condition", "g if a"),
    (RUBY, "if a then g end", "negated_condition", "unless a then g end"),
    (RUBY, "return nil if a", "dropped_guard", ""),
    (RUBY, "raise Oops, 'no' unless a", "dropped_guard", ""),
    (RUBY, "x = a[0..2]", "range_end", "x = a[0...2]"),
    (RUBY, "x = a&.name", "safe_navigation", "x = a.name"),
    (RUBY, "@x ||= load", "fallback", "@x = load"),
    (RUBY, "x = a ? b : c", "swapped_branches", "x = a ? c : b"),
    (RUBY, "@seen = a", "dropped_statement", ""),
    (RUBY, "run(quiet: true)", "boolean", "run(quiet: false)"),
    (RUBY, "x = a.any? { |i| i }", "sibling_name", "x = a.all? { |i| i }"),
    (SWIFT, "if a < b { g() }", "boundary", "if a <= b { g() }"),
    (SWIFT, "if a == b { g() }", "equality", "if a != b { g() }"),
    (SWIFT, "let c = a.isEmpty && b.isEmpty", "logic", "let c = a.isEmpty || b.isEmpty"),
    (SWIFT, "let end = start + length", "arithmetic", "let end = start - length"),
    (SWIFT, "let c = v[a + 1]", "off_by_one", "let c = v[a + 2]"),
    (SWIFT, "put(a, b)", "swapped_arguments", "put(b, a)"),
    (SWIFT, "put(a, from: b)", None, "put(b, from: a)"),
    (SWIFT, "put(to: a, from: b)", "swapped_arguments", "put(to: b, from: a)"),
    (SWIFT, "if a.isEmpty { g() }", "negated_condition", "if !a.isEmpty { g() }"),
    (SWIFT, "guard a > b else { return 2 }", "dropped_guard", ""),
    (SWIFT, "guard let c = a else { return 2 }", None, ""),
    (SWIFT, "try check(a)", "dropped_try", "check(a)"),
    (SWIFT, "await load(a)", "dropped_await", "load(a)"),
    (SWIFT, "for i in 0..<n { g(i) }", "range_end", "for i in 0...n { g(i) }"),
    (SWIFT, "a?.run()", "safe_navigation", "a!.run()"),
    (SWIFT, "let c = a ? b : d", "swapped_branches", "let c = a ? d : b"),
    (SWIFT, "self.seen = a", "dropped_statement", ""),
    (SWIFT, "run(quiet: true)", "boolean", "run(quiet: false)"),
    (SWIFT, "let c = v.first", "sibling_name", "let c = v.last"),
]


@pytest.mark.parametrize(("grammar", "statement", "operator", "wrong"), CHANGES)
def test_what_an_operator_makes_of_a_statement(grammar, statement, operator, wrong) -> None:
    found = changes(grammar, statement)
    if operator is None:
        assert wrong not in {text for _operator, text in found}
    else:
        assert (operator, wrong) in found


@pytest.mark.parametrize("grammar", SAMPLES)
def test_every_language_has_at_least_six_operators(grammar) -> None:
    assert len({operator for other, _, operator, _ in CHANGES if other == grammar and operator}) >= 12
    assert len({mutation.operator for _, mutation in mutations(grammar, SAMPLES[grammar].encode())}) >= 6


def test_every_operator_is_shown_here() -> None:
    assert {operator for _, _, operator, _ in CHANGES if operator} == OPERATORS.keys()


WORDS = [  # what a request speaks of
    (
        SWIFT,
        "if a == nil || b?.c == false { g() }",
        {"equality: a, nil", "equality: b?.c, false", "logic: a == nil, b?.c == false"},
    ),
    (SWIFT, "let c = a >= b && x < y", {"boundary: a, b", "boundary: x, y", "logic: a >= b, x < y"}),
    (RUBY, "c = a == 1 || b > 2", {"equality: a, 1", "boundary: b, 2", "logic: a == 1, b > 2"}),
]


@pytest.mark.parametrize(("grammar", "statement", "told"), WORDS)
def test_the_operands_that_a_request_speaks_of(grammar, statement, told) -> None:
    found = [mutation for _, mutation in mutations(grammar, IN_FUNCTION[grammar].format(statement).encode())]
    kinds = ("equality", "boundary", "logic")
    assert {f"{m.operator}: {m.words['left']}, {m.words['right']}" for m in found if m.operator in kinds} == told


LEFT_ALONE = [
    (RUST, "if a == a { g(); }"),  # symmetric operands
    (PYTHON, "x = min(a, b)", "swapped_arguments"),  # symmetric calls
    (PYTHON, "x = 1 if a else 1", "swapped_branches"),
    (TS, "put(a, a)", "swapped_arguments"),
    (PYTHON, "version = parts[2]", "off_by_one"),  # version constants
    (RUBY, "x = VERSION.split(dot)[0]", "off_by_one"),
    (TS, "console.log(a, b)"),  # what only reports
    (PYTHON, "logger.info(a, b)"),
    (RUST, "debug!(a == b);"),
    (SWIFT, "print(a, b)"),
    (RUBY, "@x ||= nil", "fallback"),  # the same either way
    (RUST, "let c = 1 << 20;", "off_by_one"),  # no counting
    (TS, "const c = status === 404", "off_by_one"),
    (PYTHON, 'x = "a" + name', "arithmetic"),  # no numbers
    (RUBY, "x = other == 'a' # a != b", "comment"),
    (SWIFT, "let c = Bare<Value>.self", "boundary"),  # no comparison, whatever the grammar says
    (SWIFT, "if let c = a { g() }", "negated_condition"),
    (SWIFT, "let c = UInt32.random(in: UInt32.min...UInt32.max)", "range_end"),  # nobody would notice
    (SWIFT, "for _ in 0..<16 { g() }", "off_by_one"),
    (RUST, "if let Some(c) = a { return 1; }", "dropped_guard"),
    (PYTHON, "local = a", "dropped_statement"),  # without it the function fails at once
    (RUBY, "return g(a)", "dropped_guard"),
    (SWIFT, "return g(a)", "dropped_return"),  # the last value is returned anyway
]


@pytest.mark.parametrize("case", LEFT_ALONE, ids=lambda case: case[1])
def test_trivial_changes_are_left_out(case) -> None:
    grammar, statement, *operators = case
    found = {operator for operator, _ in changes(grammar, statement)} - {"dropped_statement", "sibling_name"}
    assert not found & set(operators or OPERATORS)


def test_a_change_belongs_to_the_smallest_function_around_it() -> None:
    source = b"def outer(a):\n    def inner(b):\n        return b < 1\n    return inner(a)\n"
    names = {function.name for function, mutation in mutations(PYTHON, source) if mutation.operator == "boundary"}
    assert names == {"inner"}


@pytest.mark.parametrize(
    ("start", "end", "new", "expected"),
    [(6, 7, b"c", True), (6, 7, b"b ", False), (6, 7, b"(", False), (2, 4, b"<", True)],
)
def test_a_change_must_parse_and_be_more_than_white_space(start, end, new, expected) -> None:
    assert holds(PYTHON, b"a <=  b\n", Mutation("any", start, end, new)) is expected


@pytest.mark.parametrize("grammar", SAMPLES)
def test_changes_are_splices_inside_of_a_body_each_of_them_once(grammar) -> None:
    source = SAMPLES[grammar].encode()
    found = mutations(grammar, source)
    assert found == mutations(grammar, source)
    assert len({mutation.apply(source) for _, mutation in found}) == len(found) > 10
    for function, mutation in found:
        assert holds(grammar, source, mutation), mutation
        mutant = mutation.apply(source)
        assert mutant[: mutation.start] == source[: mutation.start]
        assert mutant.endswith(source[mutation.end :])
        line = source.rfind(b"\n", 0, function.body[0]) + 1
        assert line <= mutation.start < mutation.end <= function.body[1] + 1


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case[1])
def test_all_that_breaks_can_be_told_without_its_name(case) -> None:
    grammar, statement, *_ = case
    for _function, mutation in mutations(grammar, IN_FUNCTION[grammar].format(statement).encode()):
        for key in range(6):
            told = phrases.symptom(mutation.operator, mutation.words, grammar, key)
            assert mutation.operator == "off_by_one" or mutation.operator.replace("_", " ") not in told
            assert "{" not in told.replace("`", "") or "{" in statement
            assert "``" not in told
        assert phrases.done(mutation.operator, mutation.words, grammar)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_broken_files_are_no_reason_to_fail(grammar, data) -> None:
    sample = SAMPLES[grammar].encode()
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(sample)), st.integers(0, len(sample)))))
    source = sample[:start] + data.draw(st.binary(max_size=20)) + sample[end:]
    errors = syntax.error_nodes(grammar, source)
    for _function, mutation in mutations(grammar, source)[:20]:
        if holds(grammar, source, mutation):
            assert syntax.error_nodes(grammar, mutation.apply(source)) <= errors
