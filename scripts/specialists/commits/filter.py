"""Which commits, and which files of them, can be examples: everything that is known before a blob is read.

Each thing that is left out is counted under one reason, so that the report shows where the commits went.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from specialists.commits.git import REGULAR, SUBMODULE, SYMLINK, Change, Commit, GitSource
from specialists.commits.message import Intent, NoIntent, understand


class _Changed(Protocol):
    @property
    def path(self) -> str: ...


T = TypeVar("T", bound=_Changed)

_BOT = re.compile(
    r"\[bot\]|\b(?:dependabot|renovate|greenkeeper|snyk|pre-commit-ci|github-actions|semantic-release|imgbot|mergify|"
    r"bors|homu|allcontributors|weblate|crowdin|pyup)\b|\bbot@",
    re.I,
)
_UNFINISHED = re.compile(
    r"(?:fixup|squash|amend)! |\W*(?:wip|work in progress)\b|(?:on|index on|untracked files on) \S+: ", re.I
)
_REVERT = re.compile(
    r"(?:\w+(?:\([^)]*\))?!?:\s*)?(?:revert|reapply|reland|re-apply|back ?out)(?:s|ed|ing)?\b[: ]", re.I
)
_REVERTED_SHA = re.compile(r"(?:reverts?|reverting) (?:commit )?([0-9a-f]{7,64})\b", re.I)
_REVERTED_TITLE = re.compile(r"revert(?:s|ed)?:? ['\"“](.+)['\"”]", re.I)
_NUMBER = re.compile(r"\s*\(#\d+\)")

_REGULAR = frozenset(REGULAR)
_LOCKS = frozenset(
    """
    cargo.lock package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock poetry.lock
    uv.lock pdm.lock pipfile.lock gemfile.lock package.resolved podfile.lock cartfile.resolved composer.lock go.sum
    flake.lock mix.lock pubspec.lock gradle.lockfile
    """.split()
)
_VENDORED = frozenset(
    """
    vendor vendored third_party third-party node_modules bower_components dist .yarn pods carthage site-packages
    """.split()
)
_GENERATED = re.compile(
    r"(?:\.min\.(?:js|css|mjs)|\.bundle\.js|\.map|\.pb\.(?:go|rs|swift)|_pb2(?:_grpc)?\.pyi?|\.generated\.\w+|\.g\.dart"
    r"|\.snap|\.pbxproj|\.xcscheme|\.ipynb|\.svg|\.po|\.pot|\.csv|\.tsv)$|(?:^|/)__snapshots__/|(?:^|/)db/schema\.rb$",
    re.I,
)
_CHANGELOG = re.compile(
    r"(?:^|/)(?:change-?log|changes|history|news|releases?|release[_-]?notes)(?:\.\w+)?$"
    r"|(?:^|/)(?:newsfragments|\.changeset|changelog\.d)/",
    re.I,
)
_TEST = re.compile(
    r"(?:^|/)(?:[Tt]ests?|[Ss]pecs?|__tests__|e2e|testing|testdata|fixtures|benches)/|(?:^|/)(?:test_[^/]*|conftest|[^/]*_test|"
    r"[^/]*_spec|[^/]*[._-](?:test|spec)|[^/]*Tests?)\.\w+$"
)
_SPEAKS_OF_THEM = re.compile(
    r"\b(?:docs?|document\w*|readme|guides?|examples?|tutorial|changelog|tests?|specs?)\b", re.I
)
_DOCS = re.compile(r"\.(?:md|mdx|rst|txt|adoc|markdown|html?)$|(?:^|/)docs?/", re.I)

MERGE, SHALLOW, BOT, OTHERS = "merge", "edge of a shallow clone", "bot", "somebody else's"
REVERT, REVERTED, UNFINISHED, ENCODING = "revert", "reverted later", "fixup, squash or WIP", "bad encoding"
SUBMODULES, LINKS = "submodule", "symbolic link"
NO_FILE, DELETES, MOVES, TOO_MANY = "no file of the language", "deletes files", "moves files", "too many files"


class LeftOut(Exception):
    """A commit that is no example; the text is the reason, as it is counted."""


@lru_cache(maxsize=1 << 16)
def is_test(path: str) -> bool:
    return _TEST.search(path) is not None


@lru_cache(maxsize=1 << 16)
def is_docs(path: str) -> bool:
    return _DOCS.search(path) is not None


def smaller(changes: list[T], message: str) -> list[list[T]]:
    """All, then without texts, then without tests too: what a commit is cut down to where it is too much, unless texts
    or tests are what its message speaks of."""
    if _SPEAKS_OF_THEM.search(message.strip().split("\n", 1)[0]):
        return [changes]
    code = [change for change in changes if not is_docs(change.path)]
    return [changes, code, [change for change in code if not is_test(change.path)]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A commit that is worth reading, with the changes that are."""

    commit: Commit
    changes: list[Change]
    intent: Intent


class CommitFilter:
    """Judges the commits of one repository, newest first."""

    def __init__(self, source: GitSource, emails: Iterable[str], extensions: Iterable[str], max_files: int):
        self.source, self.max_files = source, max_files
        self.emails = {email.lower() for email in emails}
        self.extensions = tuple(extensions)
        self.attributes = Attributes(source)
        self.lost: Counter[str] = Counter()  # commits by reason
        self.files: Counter[str] = Counter()  # files left out of commits that are candidates, by reason
        self.path_reason = lru_cache(maxsize=1 << 16)(self._path_reason)  # the same paths come again and again
        self._reverted: set[str] = set()  # ids, whole or the first digits
        self._reverted_titles: Counter[str] = Counter()

    def candidate(self, commit: Commit) -> Candidate | None:
        """The candidate that a commit is; None when it is left out, which is counted."""
        try:
            return self._judge(commit)
        except (LeftOut, NoIntent) as reason:
            self.lost[str(reason)] += 1
            return None

    def _judge(self, commit: Commit) -> Candidate:
        if len(commit.parents) > 1:
            raise LeftOut(MERGE)
        title = commit.message.lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        undone = self._is_reverted(commit.sha, title)
        if _REVERT.match(title) or _REVERTED_SHA.search(title):
            if not undone:
                self._remember_reverted(title, commit.message.decode("utf-8", "replace"))
            raise LeftOut(REVERT)
        if commit.sha in self.source.shallow:
            raise LeftOut(SHALLOW)
        if _BOT.search(commit.email) or _BOT.search(commit.author):
            raise LeftOut(BOT)
        if not {commit.email, commit.mapped_email} & self.emails:
            raise LeftOut(OTHERS)
        if undone:
            raise LeftOut(REVERTED)
        if _UNFINISHED.match(title):
            raise LeftOut(UNFINISHED)
        changes = self._changes(commit.changes, title)
        try:
            message = commit.message.decode("utf-8")
        except UnicodeDecodeError:
            raise LeftOut(ENCODING) from None
        return Candidate(commit, changes, understand(message))

    def _changes(self, changes: list[Change], title: str) -> list[Change]:
        """The changes that can be shown, own language first, tests and texts last."""
        if not any(change.path.endswith(self.extensions) for change in changes):
            raise LeftOut(NO_FILE)
        kept: list[Change] = []
        lost: Counter[str] = Counter()
        deleted: set[str] = set()
        for change in changes:
            if reason := self.file_reason(change):
                lost[reason] += 1
            elif change.status == "D":
                deleted.add(change.before)
            else:
                kept.append(change)
        own = [change for change in kept if change.path.endswith(self.extensions)]
        added = {change.after for change in kept if change.status == "A"}
        if deleted:
            raise LeftOut(MOVES if deleted & added or (own and not any(c.status == "M" for c in own)) else DELETES)
        if not own:
            raise LeftOut(lost.most_common(1)[0][0])
        fitting = next((some for some in smaller(kept, title) if len(some) <= self.max_files), [])
        if not any(change in own for change in fitting):
            raise LeftOut(TOO_MANY)
        self.files.update(lost)
        return sorted(
            fitting, key=lambda c: (is_docs(c.path), is_test(c.path), not c.path.endswith(self.extensions), c.path)
        )

    def file_reason(self, change: Change) -> str | None:
        """Why a file cannot be part of an example, as far as its metadata tells."""
        modes = {change.before_mode, change.after_mode} - {"000000"}
        if not modes <= _REGULAR:
            return SUBMODULES if SUBMODULE in modes else LINKS if SYMLINK in modes else "no regular file"
        if change.before == change.after:
            return "mode only"
        return self.path_reason(change.path)

    def _path_reason(self, path: str) -> str | None:
        *folders, name = path.lower().split("/")
        if not path.isprintable() or any("\ud800" <= character <= "\udfff" for character in path):
            return ENCODING
        if name in _LOCKS or name.endswith(".lock"):
            return "lock file"
        if not _VENDORED.isdisjoint(folders) or self.attributes.has(path, "vendored"):
            return "vendored"
        if _GENERATED.search(path) or self.attributes.has(path, "generated"):
            return "generated"
        if _CHANGELOG.search(path) and not path.endswith(self.extensions):
            return "changelog"
        return None

    def _remember_reverted(self, title: str, message: str) -> None:
        found = _REVERTED_SHA.findall(message)
        self._reverted.update(found)
        if not found and (match := _REVERTED_TITLE.search(title)):
            self._reverted_titles[_NUMBER.sub("", match[1])] += 1

    def _is_reverted(self, sha: str, title: str) -> bool:
        title = _NUMBER.sub("", title)
        if self._reverted_titles[title] > 0:
            self._reverted_titles[title] -= 1
            return True
        return any(sha[:length] in self._reverted for length in (40, 64, *range(7, 13)))


class Attributes:
    """`linguist-generated` and `linguist-vendored` of the .gitattributes files in HEAD, read as data."""

    NAMES = {"linguist-generated": "generated", "linguist-vendored": "vendored"}  # noqa: RUF012

    def __init__(self, source: GitSource):
        tree = source.tree()
        files = sorted(
            (path for path in tree if PurePosixPath(path).name == ".gitattributes"), key=lambda p: p.count("/")
        )
        self._rules: list[tuple[re.Pattern, str, bool]] = []
        for path, content in zip(files, source.blobs([tree[path][1] for path in files]), strict=True):
            if tree[path][0] in REGULAR and content:
                self._read(path.removesuffix(".gitattributes"), content.decode("utf-8", "replace"))

    def _read(self, folder: str, text: str) -> None:
        for line in text.splitlines():
            pattern, *attributes = line.split() or [""]
            for attribute in attributes:
                name, _, value = attribute.lstrip("-!").partition("=")
                if name in self.NAMES and pattern[:1] not in ("#", "[", "!"):
                    on = attribute[0] not in "-!" and value.lower() not in ("false", "0")
                    self._rules.append((_glob(folder, pattern.strip('"')), self.NAMES[name], on))

    def has(self, path: str, name: str) -> bool:
        """Whether the last rule for a path that speaks about it says so."""
        matching = [on for pattern, about, on in self._rules if about == name and pattern.fullmatch(path)]
        return bool(matching) and matching[-1]


def _glob(folder: str, pattern: str) -> re.Pattern:
    """A pattern of a .gitattributes file in `folder` as a regular expression over paths."""
    anywhere = "/" not in pattern.rstrip("/")
    parts = []
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]*\]|.", pattern.lstrip("/"), re.S):
        parts.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece) or re.escape(piece))
    return re.compile(re.escape(folder) + ("(?:.*/)?" if anywhere else "") + "".join(parts), re.S)
