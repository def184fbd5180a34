"""Paths of the owner's machine, made relative to the project that a session worked in: no home, no user name."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

# a path ends where no name goes on; "inside" is the slash before a name in it
_END = r"(?:(?P<inside>/)(?=[\w.@~+\[(*-])|(?![\w-]|\.\w))"
_HOME = re.compile(r"(/home|/Users|/var/home)/([^/]+)")
# names that say nothing about anybody, and stand in code all the time
_GENERIC = frozenset(
    """
    root user users admin test dev me app apps build code coder data debian ec2-user git guest home host main node
    opencode owner pi python ruby runner rust src swift ubuntu vagrant vscode work
    """.split()
)


class ProjectPaths:
    """Rewrites texts of one session."""

    def __init__(self, directory: str, root: str = ""):
        """`directory`: where the session ran, absolute; `root`: the project's top where that is another folder."""
        self.directory = directory.rstrip("/")
        match = _HOME.match(directory) or _HOME.match(str(Path.home()))  # a project elsewhere, /tmp or /srv
        self.home = match[0] if match else "/root" if directory.startswith("/root/") else ""
        self.user = match[2] if match and match[2].lower() not in _GENERIC and len(match[2]) > 2 else ""
        top = root.rstrip("/")
        shown = {self.directory: ".", self.home: "~"}  # the same folder: "~"
        if top and self.directory.startswith(f"{top}/"):
            shown.setdefault(top, os.path.relpath(top, self.directory))
        longest_first = sorted(filter(None, shown), key=len, reverse=True)
        # each pattern starts with a literal, which the regex engine finds fast
        self._paths = [(path, shown[path], re.compile(re.escape(path) + _END)) for path in longest_first]
        self._name = re.compile(rf"(?<![A-Za-z0-9]){re.escape(self.user)}(?![A-Za-z0-9])") if self.user else None

    @property
    def project(self) -> str:
        """The project's name: the last part of its folder; "~" for the home folder itself."""
        return "~" if self.directory == self.home else PurePosixPath(self.directory).name

    def text(self, text: str) -> str:
        """A text with the project's paths relative and the home folder as `~`."""
        for path, shown, pattern in self._paths:
            if path in text:
                text = pattern.sub(partial(_shown, shown), text)
        if self._name and self.user in text:
            text = self._name.sub("user", text)
        return text

    def value(self, value: Any) -> Any:
        """The same for every string in a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        return value


def _shown(folder: str, match: re.Match[str]) -> str:
    """What stands for a folder's path: alone its name; before what lies inside, nothing if that is the project."""
    return folder if not match["inside"] else "" if folder == "." else f"{folder}/"
