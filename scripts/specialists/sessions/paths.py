"""Paths of the owner's machine as if every project lay in one stand-in folder: no home, no user name."""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from specialists.agent import HOME, ROOT
from specialists.secrets import mapped

_SLASH = r"(?:/|\\{1,2})"  # Windows' one stands double in JSON
# a path ends where no name goes on; "inside" is the slash before a name in it
_END = rf"(?:(?P<inside>{_SLASH})(?=[\w.@~+\[(*-])|(?![\w-]|\.\w))"
_HOME = re.compile(r"(.*?/(?:home|Users))/([^/]+)")
# what a home lies under: a mount, a drive, a share of WSL, where a link leads; looked for backwards from a home
_UNDER = re.compile(rf"(?:\b[A-Za-z]:)?(?:{_SLASH}[\w.$@-]+)*{_SLASH}\Z")
_UNDER_CHARACTERS = 100
# names that say nothing about anybody, and stand in code all the time
_GENERIC = """
    root user users admin test dev me app apps build code coder data debian ec2-user git guest home host main node
    opencode owner pi python ruby runner rust src swift ubuntu vagrant vscode work
""".split()


class ProjectPaths:
    """Rewrites texts of one session."""

    def __init__(self, directory: str, root: str = "", others: Iterable[tuple[str, str]] = ()):
        """`directory`: where the session ran, absolute; `root`: the project's top where that is another folder.
        `others`: the same of other times of the session, before the project was moved or in a worktree."""
        self.directory, *tops = map(_plain, (directory, root))
        pairs = [(self.directory, *tops), *(tuple(map(_plain, pair)) for pair in others)]
        homes = [match for pair in pairs for folder in pair if (match := _HOME.match(folder))]
        homes = homes or [match for match in [_HOME.match(str(Path.home()))] if match]  # a project in /tmp or /srv
        users = {match[2] for match in homes if match[2].lower() not in _GENERIC and len(match[2]) > 2}
        self.home = homes[0][0] if homes else "/root" if self.directory.startswith("/root/") else ""
        shown = {self.directory: ROOT, self.home: HOME}  # the same folder: HOME
        for folder, top in pairs:
            for place in filter(None, (folder, top)):  # `..` above the project, `.` for what it was elsewhere
                inside = next((one for one in (self.directory, folder) if f"{one}/".startswith(f"{place}/")), place)
                if not place.startswith(f"{self.directory}/"):
                    shown.setdefault(place, ROOT if place == inside else os.path.relpath(place, inside))
        shown |= {match[0]: HOME for match in homes}
        longest_first = sorted(filter(None, shown), key=len, reverse=True)
        self._paths = [(PurePosixPath(path).name, shown[path], _pattern(path)) for path in longest_first]
        names = "|".join(map(_spelled, sorted(users, key=len, reverse=True)))
        self._users = [user.split(" ", 1)[0] for user in users]
        self._name = re.compile(rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])")

    @property
    def project(self) -> str:
        """The project's name: the last part of its folder; "~" for the home folder itself."""
        return "~" if self.directory == self.home else PurePosixPath(self.directory).name

    def text(self, text: str) -> str:
        """A text with the project's folder as ROOT and the home folder as HOME."""
        for name, shown, pattern in self._paths:
            if name.split(" ", 1)[0] in text:
                text = _replaced(text, pattern, shown)
        return self._name.sub("user", text) if any(user in text for user in self._users) else text

    def value(self, value: Any) -> Any:
        """The same for every string in a JSON value, keys too."""
        return mapped(value, lambda _key, text: self.text(text))


def _plain(folder: str) -> str:
    """A folder as Linux has it: `C:\\x` and Git Bash's `/c/x` as WSL's `/mnt/c/x`, `\\\\wsl$\\Ubuntu\\x` as `/x`."""
    folder = re.sub(r"^//wsl(?:\$|\.localhost)/[^/]+", "", folder.replace("\\", "/"), flags=re.I)
    drive = re.match(r"([A-Za-z]):|/([A-Za-z])(?=/)", folder)
    return (f"/mnt/{(drive[1] or drive[2]).lower()}{folder[drive.end() :]}" if drive else folder).rstrip("/")


def _pattern(folder: str) -> re.Pattern[str]:
    """Every spelling of a plain folder, and the end of the path."""
    home, drive = _HOME.match(folder), re.match("/mnt/([a-z])(?=/|$)", folder)
    start, rest = ("(?P<home>home|Users)", folder[len(home[1]) :]) if home else ("", folder)
    if drive and not home:
        start, rest = rf"(?i:\b{drive[1]}:|(?:/mnt)?/{drive[1]}\b)", folder[drive.end() :]
    return re.compile(start + _spelled(rest) + _END)


def _spelled(part: str) -> str:
    """A pattern for part of a path, whose spaces may be escaped."""
    return re.escape(part).replace(r"\ ", r"(?:\\{0,2} |%20)").replace("/", _SLASH)


def _replaced(text: str, pattern: re.Pattern[str], shown: str) -> str:
    """A text with a folder as `shown`."""
    pieces, end = [], 0
    for match in pattern.finditer(text):
        start = match.start()
        if "home" in pattern.groupindex:
            if not (under := _UNDER.search(text[max(start - _UNDER_CHARACTERS, end) : start])):
                continue
            start -= len(under[0])
        pieces += [text[end:start], shown, "/" if match["inside"] and shown.startswith("/") else match["inside"] or ""]
        end = match.end()
    return "".join([*pieces, text[end:]])
