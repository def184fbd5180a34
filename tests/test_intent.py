"""What commit messages are understood to ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specialists.commits.message import NO_VERB, RELEASE, VAGUE, NoIntent, coauthors, understand

UNDERSTOOD = [
    # message, request, closing line, kind
    ("Add a flag for hidden files", "Add a flag for hidden files.", "Added a flag for hidden files.", "feature"),
    ("Fixes parsing of tabs (#12)", "Fix parsing of tabs.", "Fixed parsing of tabs.", "fix"),
    ("Fixed bad import of sys. This fixes #12", "Fix bad import of sys.", "Fixed bad import of sys.", "fix"),
    ("fix(parser)!: handle empty input (#12)", "Handle empty input (parser).", "Handled empty input.", "fix"),
    ("feat: dark mode for the editor", "Add dark mode for the editor.", "Added dark mode for the editor.", "feature"),
    ("fix: wrong offset in tabs", "Fix: wrong offset in tabs.", "Fixed: wrong offset in tabs.", "fix"),
    ("ignore/types: add lilypond", "Add lilypond (ignore/types).", "Added lilypond.", "feature"),
    ("docs: explain the cache key", "Explain the cache key.", "Explained the cache key.", "docs"),
    ("Fix a bug in `get_help`", "Fix a bug in `get_help`.", "Fixed a bug in `get_help`.", "fix"),
    (
        "Fix a bug with edit and None as its text",
        "Fix a bug with edit and None as its text.",
        "Fixed a bug with edit and None as its text.",
        "fix",
    ),
    ("Remove :in_root.", "Remove :in_root.", "Removed :in_root.", "refactor"),
    ("rewriting how groups are read", "Rewrite how groups are read.", "Rewrote how groups are read.", "refactor"),
    ("Also split the parser in two", "Split the parser in two.", "Split the parser in two.", "refactor"),
    ("Document and fix quoting", "Document and fix quoting.", "Documented and fixed quoting.", "docs"),
    (
        "Reverse the list and pick the first name",
        "Reverse the list and pick the first name.",
        "Done: reverse the list and pick the first name.",
        "other",
    ),
    (
        "Don't skip stdout in quiet mode",
        "Don't skip stdout in quiet mode.",
        "Done: don't skip stdout in quiet mode.",
        "other",
    ),
    (
        "Shell delegates should pass their block",
        "Shell delegates should pass their block.",
        "Done: shell delegates should pass their block.",
        "other",
    ),
    (
        "[Fix #12] Show the version of each plug-in",
        "Show the version of each plug-in.",
        "Showed the version of each plug-in.",
        "other",
    ),
    ("Exit with status 1 [#33 status:resolved]", "Exit with status 1.", "Exited with status 1.", "other"),
    (
        "Optimize command now accepts tables",
        "Optimize command now accepts tables.",
        "Done: optimize command now accepts tables.",
        "other",
    ),
    ("🐛 Stop at the first match", "Stop at the first match.", "Stopped at the first match.", "other"),
    (
        "Fix reading of very long na…\n\n…mes in archives",
        "Fix reading of very long names in archives.",
        "Fixed reading of very long names in archives.",
        "fix",
    ),
    (
        "fix: parser does not accept tabs",
        "Fix: parser does not accept tabs.",
        "Fixed: parser does not accept tabs.",
        "fix",
    ),
    (
        "Restore the test from #12 that was lost",
        "Restore the test that was lost.",
        "Restored the test that was lost.",
        "fix",
    ),
    (
        "Added a cache for names and made it faster",
        "Add a cache for names and make it faster.",
        "Done: add a cache for names and make it faster.",
        "feature",
    ),
    (
        "Print locales in the error. This improves #12.",
        "Print locales in the error.",
        "Printed locales in the error.",
        "other",
    ),
    ("Flag to control expansion", "Add flag to control expansion.", "Added flag to control expansion.", "feature"),
    ("db.close() method, closes #504", "Add db.close() method.", "Added db.close() method.", "feature"),
    (
        "Migrate --stop an applied step is now an error",
        "Migrate --stop an applied step is now an error.",
        "Done: migrate --stop an applied step is now an error.",
        "other",
    ),
    ("Remove unused `first_name`", "Remove unused `first_name`.", "Removed unused `first_name`.", "refactor"),
    (
        "Underscores are now replaced by dashes in commands",
        "Underscores are now replaced by dashes in commands.",
        "Done: underscores are now replaced by dashes in commands.",
        "other",
    ),
    ("Keep lines to 79 columns. Grr.", "Keep lines to 79 columns.", "Kept lines to 79 columns.", "other"),
    (
        "Prevent accidental deletion of user files",
        "Prevent accidental deletion of user files.",
        "Prevented accidental deletion of user files.",
        "fix",
    ),
    (
        "Use the time of the commit instead\nof the author's",
        "Use the time of the commit instead of the author's.",
        "Used the time of the commit instead of the author's.",
        "refactor",
    ),
]


@pytest.mark.parametrize(
    ("message", "request_text", "closing", "kind"), UNDERSTOOD, ids=[row[0][:30] for row in UNDERSTOOD]
)
def test_understood(message: str, request_text: str, closing: str, kind: str) -> None:
    intent = understand(message)
    assert (intent.request, intent.closing, intent.kind) == (request_text, closing, kind)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", VAGUE),
        ("oops", VAGUE),
        ("Address review comments", VAGUE),
        ("fix tests", VAGUE),
        ("Fix typo in the docs", VAGUE),
        ("More work on the parser", VAGUE),
        ("Apply updated pre-commit hooks", VAGUE),
        ("Update lib/thor/options.rb", VAGUE),
        ("Really fix the parser now", VAGUE),
        ("Fixes #12", VAGUE),
        ("Reduce unnecessary changes", VAGUE),
        ("Correct fix for progress bars", VAGUE),
        ("Make the choice of a source clearer", VAGUE),
        ("Fix the example i accidentally broke", VAGUE),
        ("Do not change the structure of the code", VAGUE),
        ("Don't refactor variable names unnecessarily", VAGUE),
        ("Fix last broken commit", VAGUE),
        ("Add support for nargs in other places", VAGUE),
        ("Add a test for #12", VAGUE),
        ("Fix the type of the variable again", VAGUE),
        ("Fix a bug in argument handling", VAGUE),
        ("Correct a help option regression", VAGUE),
        ("Fix an issue with custom types on Python 3", VAGUE),
        ("Fix skip condition", VAGUE),
        ("Kill dead function", VAGUE),
        ("Add some discussion context", VAGUE),
        ("Merge now works", VAGUE),
        ("Start a bit of test code", VAGUE),
        ("Change how commands are invoked and make it clearer", VAGUE),
        ("Improve echo and some help texts", VAGUE),
        ("Fix some 3.x problems", VAGUE),
        ("Add two xfails", VAGUE),
        ("Make pypy a bit happier on windows", VAGUE),
        ("Update urllib unquote import", VAGUE),
        ("Unify help parameter after last pull", VAGUE),
        ("Getting default value doesn't perform type cast", NO_VERB),
        ("Touch up the example", VAGUE),
        ("Do this", VAGUE),
        ("v1.2.3", RELEASE),
        ("grep-matcher-0.1.7", RELEASE),
        ("Bump the version", RELEASE),
        ("chore(deps): update eslint to v9", RELEASE),
        ("Update serde from 1.0.1 to 1.0.2", RELEASE),
        ("Prepare for 1.3.1", RELEASE),
        ("The search code is a mess, but here it is", NO_VERB),
        ("Version detection with python -m", NO_VERB),
    ],
)
def test_asks_for_nothing(message: str, reason: str) -> None:
    with pytest.raises(NoIntent, match=f"^{reason}$"):
        understand(message)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("The old one lost\nthe last line.", "The old one lost the last line."),
        ("Closes #1, closes #2\nSigned-off-by: A <a@example.org>", ""),
        ("Co-authored-by: A <a@example.org>", ""),
        ("It lost the last line. See #12 for more. It was never read.", "It lost the last line. It was never read."),
        ("It lost the last line (#12).", "It lost the last line."),
        ("It lost the last line of a file, like this:\n\n    $ tool\n    nothing", ""),
        ("It lost the last line of a file.\n\n```\nout\n```", "It lost the last line of a file."),
        ("It lost the last line.\n\n# Conflicts:\n#\tCHANGES.rst", "It lost the last line."),
        ("- one more line is read\n- and kept as it is", "- one more line is read\n- and kept as it is"),
        ("Too short.", ""),
        ("It was wrong all the time. " * 60, ""),
    ],
)
def test_body_is_used_where_it_says_more(body: str, kept: str) -> None:
    first, _, rest = understand(f"Fix reading of files\n\n{body}").request.partition("\n\n")
    assert (first, rest) == ("Fix reading of files.", kept)


def test_list_of_a_squashed_merge_is_no_body() -> None:
    message = "Fix reading of files (#12)\n\n* fix reading\n\n* address the review of the code\n\n* more tests for it"
    assert understand(message).request == "Fix reading of files."


def test_coauthors_are_counted() -> None:
    assert coauthors("Do it\n\nCo-authored-by: A <a@b>\nCo-Authored-By: C <c@d>\n") == 2


@given(st.text(alphabet=st.sampled_from("fix(a): #1\n-* `.…A\u200d🐛éß\t"), max_size=80) | st.text(max_size=80))
def test_any_message_is_understood_or_not(message: str) -> None:
    try:
        intent = understand(message)
    except NoIntent as reason:
        assert str(reason) in (NO_VERB, RELEASE, VAGUE)
    else:
        assert intent.request and intent.closing and "\n" not in intent.closing


@given(st.sampled_from([row[0] for row in UNDERSTOOD]))
def test_a_request_asks_for_itself(message: str) -> None:
    """What was understood is understood the same way again, so that nothing is stripped that is not decoration."""
    request = understand(message).request
    if "(" not in request and not request.startswith("Fix: "):
        assert understand(request).request == request
