"""What commit messages are understood to ask for."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specialists.commits.message import RELEASE, VAGUE, LeftOut, understand

SAME = """
    Pluralise regular English nouns; Release the lock before waiting; Bump the retry limit to five
    Update the parser to print its version; Forget cached tokens on logout; Snapshot the registry before every write
    Load PR comments lazily; Set default timeout to 1.5; Increase buffer size from 4k to 8k
    --no-ignore implies --no-ignore-parent; Address all hosts by name
    varint: refuse encodings longer than ten bytes; UTF-8: reject lone surrogates; Update the parser to print dates
    Bind `this` in every constructor"""
SUBJECTS = [
    *((subject.strip(), None, "other") for subject in SAME.strip().replace("\n", ";").split(";")),
    # subject, request without its full stop, kind
    ("Handling of empty lines", None, "fix"),
    ("Remove the --stop option", None, "refactor"),
    ("add a flag for hidden files", "Add a flag for hidden files", "feature"),
    ("ignore/types: add lilypond", None, "feature"),
    ("Fixed bad import of sys. This fixes #12", "Fixed bad import of sys", "fix"),
    ("fix(parser)!: handle empty input (#12)", "Handle empty input (parser)", "fix"),
    ("feat: dark mode for the editor", "Dark mode for the editor", "feature"),
    ("feat!(pages): make the manifest required", "Make the manifest required (pages)", "feature"),
    ("unknown(parser): explain the cache key", "Explain the cache key (parser)", "other"),
    ("PROJ-123: Fix the parser of dates", "Fix the parser of dates", "fix"),
    ("[PROJ-123] Fix the parser of dates", "Fix the parser of dates", "fix"),
    ("[Fix #12] Show the version of each plug-in", "Show the version of each plug-in", "other"),
    ("Exit with status 1 [#33 status:resolved]", "Exit with status 1", "other"),
    ("db.close() method of pools, closes #504", "db.close() method of pools", "other"),
    ("Restore the test from #12 that was lost", "Restore the test that was lost", "fix"),
    ("🐛 Stop at the first match [skip ci]", "Stop at the first match", "other"),
    ("Use the commit's time instead\nof the author's", "Use the commit's time instead of the author's", "other"),
    ("Store the port of the server\nadd changelog", "Store the port of the server", "other"),
    ("Store the port of the server. Bump version.", "Store the port of the server", "other"),
    ("Add a changelog generator to it", "Add a changelog generator to it", "feature"),
    ("Wait for the hook, props @ann-b. :smile:", "Wait for the hook", "other"),
    ("Name the host that is logged. /cc #12", "Name the host that is logged", "other"),
    ("Improve messages\n\nName the file in each one.", "Improve messages.\n\nName the file in each one", "other"),
    ("Fix reading of files (#12)\n\n* fix reading\n\n* address the review", "Fix reading of files", "fix"),
    ("Read files in small pieces\nCo-authored-by: A <a@example.org>", "Read files in small pieces", "other"),
]


@pytest.mark.parametrize(("subject", "request_text", "kind"), SUBJECTS, ids=[row[0][:30] for row in SUBJECTS])
def test_subjects(subject: str, request_text: str | None, kind: str) -> None:
    intent = understand(subject)
    assert (intent.request, intent.kind) == (f"{request_text or subject}.", kind)


NOTHING = {
    VAGUE: """
        oops; fix tests; Fixes #12; Do this; Add a test for #12; More work on the parser; Address review comments
        Apply suggestions from code review; Fix last commit; Run cargo fmt
        Unify help parameter after last pull; Initial commit; Fix the failing tests again; typo in the docs
        Apply updated pre-commit hooks; Update lib/thor/options.rb; Really fix the parser now
        Update the help text; Further consolidation in the parser; Content-length header fixes; Merge commit from fork
        Skip these tests for now; Main code tidy-ups; Set the header in more cases; Nicer now, let's try it
        A colon is better here; Make it so that my own tests pass
        Refactor it all, add changelog; feat(types): improve the handler""",
    RELEASE: """
        v1.2.3; grep-matcher-0.1.7; Bump the version; Release 1.2; Prepare for 1.3.1; Update serde from 1.0.1 to 1.0.2
        chore(deps): update eslint to v9; Update all dependencies
        v6.5.0 - Sky's Version; Upgrade the code to the latest Rust""",
}


@pytest.mark.parametrize("reason", NOTHING)
def test_asks_for_nothing(reason: str) -> None:
    for subject in NOTHING[reason].strip().replace("\n", ";").split(";"):
        with pytest.raises(LeftOut, match=f"^{reason}$"):
            understand(subject.strip())


LOST = "It lost the last line of a file."
CODE = "```\n# a\n\nout\n```"
CLAUDE = "🤖 Generated with [Claude Code](https://claude.com/claude-code)"
BODIES = [
    ("It lost the last\nline of a file.", LOST),
    (f"{LOST}\n\nSigned-off-by: A <a@example.org>\n[b: a note of mine]", LOST),
    (f"{LOST}\n\nNote: a trailer as well\nCc: b@example.org", LOST),
    (f"{LOST}\n\n{CLAUDE}\n\nCo-Authored-By: Claude <a@example.org>\nClaude-Session: https://claude.example/s1", LOST),
    (f"{LOST}\n\nCo-authored-by: A <a@example.org>\n\n---\nMade with [tool](https://tool.example)", LOST),
    (f"Link to the run: https://tool.example/1\nRequested by: A <a@example.org>\n\n{LOST}", LOST),
    ("The list was\ngenerated by the parser and\nread twice.", "The list was generated by the parser and read twice."),
    (f"Summary:\n{LOST}\n\nTest Plan:\nbuck test\n\nit ran\n\nReviewed By: a\n\nDifferential Revision: D1", LOST),
    (f"## Summary\n{LOST}\n\n## Test plan\n- [x] one more line is read\n\n{CLAUDE}", LOST),
    (f"**What**\n{LOST}\n\n**How was it tested?**\nBy hand, on one machine.", LOST),
    (f"{LOST}\n\nBUG=chromium:12345\nTEST=io_unittests\nR=a@example.org", LOST),
    (f"{LOST}\n<!-- a hint of the template for the author -->", LOST),
    (f"{LOST}\n\n# Conflicts:\n#\tCHANGES.rst", LOST),
    (f"{LOST} See #12 for more. It was never read.", f"{LOST} It was never read."),
    ("It lost the last line of a file (fixes #12).", LOST),
    (f"{LOST} It did so since 4b108df3ab99. Also shipping as 0.5", LOST),
    (f"{LOST} So:\n\n    $ tool\n\n\tno\n\nand on.", f"{LOST} So:\n\n    $ tool\n\n\tno\n\nand on."),
    (f"{LOST}\n\n{'    $ tool' * 200}", LOST),
    (f"{LOST} Like this:\n\n{CODE}\n\nSee #12.\n\n## Test\nx", f"{LOST} Like this:\n\n{CODE}"),
    ("- one more line is read\n- and kept as it is", "- one more line is read\n- and kept as it is"),
    ("Closes #1, closes #2", ""),
    ("Too short.", ""),
    ("It was wrong all the time. " * 60, ""),
]


@pytest.mark.parametrize(("body", "kept"), BODIES)
def test_body_is_used_where_it_says_more(body: str, kept: str) -> None:
    first, _, rest = understand(f"Fix reading of files\n\n{body}").request.partition("\n\n")
    assert (first, rest) == ("Fix reading of files.", kept)


@given(st.text(alphabet=st.sampled_from("fix(a): #1\n-* `.…A\u200d🐛éß\t"), max_size=80) | st.text(max_size=80))
def test_any_message_is_understood_or_not(message: str) -> None:
    try:
        intent = understand(message)
    except LeftOut as reason:
        assert str(reason) in (RELEASE, VAGUE)
    else:
        assert intent.request


@given(st.sampled_from([row[0] for row in SUBJECTS]))
def test_a_request_asks_for_itself(subject: str) -> None:
    """What was understood is understood the same way again, so that nothing is stripped that is not decoration."""
    request = understand(subject).request
    assert understand(request).request == request


@pytest.mark.parametrize("part", "to |a/|(|#1, |fix: |\n|- |https://|`|x: y\n|** |```\n|x\n\n    y\n".split("|"))
def test_long_messages_take_no_time(part: str) -> None:
    with contextlib.suppress(LeftOut):
        understand(part * 20_000)
