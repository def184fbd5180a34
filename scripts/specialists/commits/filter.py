"""Which commits, and which files of them, can be examples: all that is known before a blob is read, with a reason."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from specialists.commits.git import REGULAR, Change, Commit, GitSource
from specialists.commits.message import Intent, LeftOut, understand

MAX_FILES = 5  # of a commit; one that changes more is left out
DAY = 24 * 60 * 60  # seconds

_BOT = re.compile(r"(?i)\[bot\]|\bbot@|[ -]bot$|\b(?:dependabot|renovate|snyk|pre-commit-ci|github-actions|weblate)\b")
_UNFINISHED = re.compile(r"(?i)(?:fixup|squash|amend)! |\W*(?:wip|work in progress)\b")
_REVERT = re.compile(  # of a commit; "Revert selection when escape is pressed" is of something else
    r"(?i)(?:\w+(?:\([^)]*\))?!?:\s*)?(?:revert|reapply|reland|re-apply|back ?out)(?:s|ed|ing)?"
    r"(?::| +(?:['\"“#]|[0-9a-f]{7,64}\b|\w+(?:\([^)]*\))?!?: "
    r"|(?:\S+ ){0,3}(?:commits?|changes?|changesets?|patch|prs?|merge|refactor\w*|state)\b))"
)
_REVERTED_SHA = re.compile(r"(?i)(?:reverts?|reverting) (?:commit )?([0-9a-f]{7,64})\b")

_LEFT_OUT = {
    "conflict markers": r"\A\.jjconflict-",  # how Jujutsu keeps both sides of a conflict in git
    "lock file": r"(?i)\.lock(?:b|file)?$|\.resolved$"
    r"|(?:^|/)(?:package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|go\.sum)$",
    "build output": r"(?:^|/)(?:[\w-]+[-_])?dist/",  # what a build makes of the files beside it
    "vendored": r"(?i)(?:^|/)(?:vendor|vendored|third[_-]party|node_modules|bower_components|\.yarn|pods|carthage"
    r"|site-packages)/",
    "generated": r"(?i)(?:\.min\.(?:js|css|mjs)|\.bundle\.js|\.map|\.pb\.(?:go|rs|swift)|_pb2(?:_grpc)?\.pyi?"
    r"|\.generated\.\w+|\.g\.dart|\.snap|\.pbxproj|\.xcscheme|\.ipynb|\.svg|\.po|\.pot|\.csv|\.tsv)$"
    r"|(?:^|/)__snapshots__/|(?:^|/)db/schema\.rb$",
    "changelog": r"(?i)(?:^|/)(?:change-?log|changes|history|news|releases?|release[_-]?notes)(?:\.\w+)?$"
    r"|(?:^|/)(?:newsfragments|\.changeset|changes|changelogs?(?:\.d)?)/",
}
_TEST = re.compile(
    r"(?:^|/)(?:[Tt]ests?|[Ss]pecs?|__tests__|e2e|testing|testsuite|[^/]*Tests|testdata|fixtures|benches)/"
    r"|(?:^|/)(?:test_[^/]*|conftest|[^/]*_test|[^/]*_spec|[^/]*[._-](?:test|spec)|[^/]*(?:Tests?|Specs?))\.\w+$"
)
DOCS = re.compile(r"(?i)\.(?:md|mdx|rst|txt|adoc|markdown|html?)$|(?:^|/)docs?/")

ENCODING, DELETES, CONFLICT = "bad encoding", "deletes or moves files", "conflict markers"
ASIDE = ("lock file", "build output", "changelog", "mode only")
"""What the rest of a commit is whole without; without any other file the commit goes."""


def is_test(path: str) -> bool:
    return _TEST.search(path) is not None


class Candidate(NamedTuple):
    """A commit that is worth reading, with the changes that are."""

    commit: Commit
    changes: list[Change]
    intent: Intent
    later: dict[str, str]  # path -> blob of the newest version that was committed within a day


class CommitFilter:
    """Chooses among the commits of one repository, which come newest first; `others`: so many of everybody else's."""

    def __init__(self, source: GitSource, emails: Iterable[str], extensions: Iterable[str], others: int = 0):
        self.source, self.others = source, others
        self.emails = {email.lower() for email in emails}
        self.extensions = tuple(extensions)
        self.lost: Counter[str] = Counter()  # commits by reason
        self.files: Counter[str] = Counter()  # files left out of commits that are candidates, by reason
        self.path_reason = lru_cache(maxsize=1 << 16)(self._path_reason)  # the same paths come again and again
        self._reverted: set[str] = set()  # ids, whole or the first digits
        self._versions: dict[str, list[tuple[int, str]]] = defaultdict(list)  # of a path in a day: time, blob

    def candidate(self, commit: Commit) -> Candidate | None:
        """The candidate that a commit is; None when it is left out, which is counted."""
        for change in (change for change in commit.changes if change.status != "D"):
            newer = [one for one in self._versions[change.path] if one[0] <= commit.commit_time + DAY]
            self._versions[change.path] = [*newer, (commit.commit_time, change.after)]
        try:
            return self._candidate(commit)
        except LeftOut as reason:
            self.lost[str(reason)] += 1
            return None

    def _candidate(self, commit: Commit) -> Candidate:
        if len(commit.parents) > 1:
            raise LeftOut("merge")
        message = commit.message.decode("utf-8", "replace")
        title = message.lstrip().split("\n", 1)[0].strip()
        reverted = commit.sha.startswith((*self._reverted,))
        if _REVERT.match(title) or _REVERTED_SHA.search(title) or "This reverts commit " in message:
            self._reverted.update([] if reverted else map(str.lower, _REVERTED_SHA.findall(message)))
            raise LeftOut("revert")
        reasons = {
            "edge of a shallow clone": commit.sha in self.source.shallow,
            "bot": _BOT.search(commit.email) or _BOT.search(commit.author),
            "somebody else's": self.emails.isdisjoint({commit.email, commit.mapped_email}) == (not self.others),
            "reverted later": reverted,
            "fixup, squash or WIP": _UNFINISHED.match(title),
        }
        if reason := next((reason for reason, holds in reasons.items() if holds), None):
            raise LeftOut(reason)
        changes = self._changes(commit.changes)
        if "\ufffd" in message:
            raise LeftOut(ENCODING)
        intent, aside = understand(message), {self.file_reason(change) for change in commit.changes}
        if any(re.search(each.replace(" ", "[ -]?"), intent.request, re.I) for each in ASIDE if each in aside):
            raise LeftOut("asks for what is passed over")
        later = {change.path: self._versions[change.path][0][1] for change in changes}
        return Candidate(commit, changes, intent, later)

    def _changes(self, changes: list[Change]) -> list[Change]:
        """The changes to show, own language first, tests and texts last."""
        if not any(change.path.endswith(self.extensions) for change in changes):
            raise LeftOut("no file of the language")
        reasons = [self.file_reason(change) for change in changes]
        lost = Counter(reason for reason in reasons if reason)
        shown = [change for change, reason in zip(changes, reasons, strict=True) if not reason]
        kept = [change for change in shown if change.status != "D"]
        own = [change for change in kept if change.path.endswith(self.extensions)]
        if len(kept) < len(shown):
            raise LeftOut(DELETES)
        if needed := [reason for reason in lost if reason not in ASIDE or not own]:
            raise LeftOut(needed[0])
        if len(kept) > MAX_FILES:
            raise LeftOut("too many files")
        self.files.update(lost)
        return sorted(kept, key=lambda c: (bool(DOCS.search(c.path)), is_test(c.path), c not in own, c.path))

    def file_reason(self, change: Change) -> str | None:
        """Why a file cannot be part of an example, as far as its metadata tells."""
        if not {change.before_mode, change.after_mode} <= {"000000", *REGULAR}:
            return "submodule or symbolic link"
        return "mode only" if change.before == change.after else self.path_reason(change.path)

    def _path_reason(self, path: str) -> str | None:
        if not path.isprintable():  # surrogates are not, which stand for bytes that are no UTF-8
            return ENCODING
        reason = next((reason for reason, pattern in _LEFT_OUT.items() if re.search(pattern, path)), None)
        return None if reason == "changelog" and path.endswith(self.extensions) else reason
