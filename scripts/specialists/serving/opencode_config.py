"""The owner's opencode configuration with our provider and agents in it, and without them again.

Only our own keys change, those that opencode 1.18 reads; comments, order, indentation and everything else keep their
bytes. Beside the file lies `<file>.bak`, the file as it was before we were put in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.adapters import adapter_folder
from specialists.agent import system_prompt
from specialists.cli import say
from specialists.config import Config, Language, Problem
from specialists.records import write_if_changed
from specialists.server import base_url
from specialists.serving import jsonc
from specialists.tables import SERVED_BASE

SCHEMA = "https://opencode.ai/config.json"  # opencode rewrites a file that does not name it
PROVIDER = "vllm"
OURS = ("provider", PROVIDER)


@dataclass(frozen=True)
class Setting:
    """One key of ours: its path, its value (None: it must not be there), and whether the owner's own value stays."""

    path: tuple[str, ...]
    value: Any
    default: bool = False


def settings(config: Config) -> list[Setting]:
    """Everything that opencode needs to know about the server, the promoted adapters and the agents."""
    key_file = config.serving.api_key_file
    wanted = [
        Setting(("$schema",), SCHEMA, default=True),
        Setting((*OURS, "npm"), "@ai-sdk/openai-compatible"),
        Setting((*OURS, "name"), "vLLM", default=True),
        Setting((*OURS, "options", "baseURL"), f"{base_url(config)}/v1"),
        # where opencode finds the key, in its own notation; the key itself never stands in its configuration
        Setting((*OURS, "options", "apiKey"), f"{{file:{key_file}}}" if key_file else "{env:VLLM_API_KEY}", True),
        *_model(config, SERVED_BASE, "Base"),
    ]
    for language in config.languages.values():
        name = language.adapter
        promoted = adapter_folder(config, language).current is not None
        model = _model(config, name, f"{language.title} specialist")
        wanted += model if promoted else [Setting((*OURS, "models", name), None)]
        wanted += _agent(language, name if promoted else SERVED_BASE)  # the base stands in for it
    return wanted


def _model(config: Config, name: str, title: str) -> list[Setting]:
    path, serving = (*OURS, "models", name), config.serving
    return [
        Setting((*path, "name"), title, default=True),
        Setting((*path, "tool_call"), True),
        Setting((*path, "temperature"), True, default=True),  # else opencode drops an agent's own temperature
        Setting((*path, "limit"), {"context": serving.max_model_len, "output": serving.output_tokens}),
    ]


def _agent(language: Language, model: str) -> list[Setting]:
    path = ("agent", language.adapter)
    title, files = language.title, ", ".join([*(f"*{each}" for each in language.extensions), *language.files[:1]])
    description = (
        f"Writes, changes, fixes and tests {title} code ({files}). Delegate every task in a {title} project to it."
    )
    return [
        Setting((*path, "description"), description, default=True),
        Setting((*path, "mode"), "all", default=True),  # both `opencode run --agent` and delegation
        Setting((*path, "model"), f"{PROVIDER}/{model}"),
        Setting((*path, "prompt"), system_prompt(language)),
    ]


def follow(config: Config) -> list[str]:
    """Bring agents that are in the owner's configuration in line with what is promoted now; returns problems.

    A configuration into which `doit opencode` never put us stays as it is.
    """
    file = ConfigFile(config.opencode.config.expanduser())
    try:
        document, agents = file.document(), [("agent", language.adapter) for language in config.languages.values()]
        if not jsonc.get(document, OURS)[0] or not any(jsonc.get(document, agent)[0] for agent in agents):
            return []
        if (merged := file.merged(settings(config))) != file.read():
            file.write(merged)
            say(f"{file.path}: agents follow what is promoted")
    except Problem as problem:
        return [f"agents do not follow what is promoted: {problem}; correct the file, then run doit opencode"]
    return []


def merge(text: str, wanted: list[Setting]) -> str:
    """The text of a configuration with our settings in it. Raises json.JSONDecodeError."""
    for setting in wanted:
        if setting.value is None:
            text = jsonc.delete(text, setting.path)
        elif not (setting.default and jsonc.get(jsonc.loads(text), setting.path)[0]):
            text = jsonc.set_value(text, setting.path, setting.value)
    return text


def without(text: str, original: str | None, wanted: list[Setting]) -> str | None:
    """The text without our settings: what the owner had at their places, as `original` says, stands there again.

    Gives the original byte for byte unless something else was changed since; None when nothing is left that was not
    there. Raises json.JSONDecodeError.
    """
    if original and merge(original, wanted) == text:
        return original
    had = jsonc.loads(original or "")
    for setting in wanted:
        there, value = jsonc.get(had, setting.path)
        if not there:
            text = jsonc.delete(text, setting.path)
        elif not setting.default:
            text = jsonc.set_value(text, setting.path, value)
    parents = {setting.path[:depth] for setting in wanted for depth in range(1, len(setting.path))}
    for path in sorted(parents, key=len, reverse=True):
        if jsonc.get(jsonc.loads(text), path) == (True, {}) and not jsonc.get(had, path)[0]:
            text = jsonc.delete(text, path)
    return text if original or jsonc.loads(text) else None


class ConfigFile:
    """A configuration on disk: a symlink is followed, line ends, permissions and a byte order mark are kept."""

    def __init__(self, named: Path):
        comments = named.with_suffix(".jsonc")
        if named.suffix == ".json" and not named.exists() and comments.exists():
            named = comments  # opencode reads either
        self.path = Path(os.path.realpath(named))
        self.backup = self.path.with_name(f"{self.path.name}.bak")

    def read(self) -> str | None:
        """The text; None when there is no such file."""
        return _read(self.path)

    def document(self) -> Any:
        """What the file says; an empty object when there is none. Raises Problem naming file, line and column."""
        return _checked(self.path, jsonc.loads, self.read() or "")

    def merged(self, wanted: list[Setting]) -> str:
        """The text with our settings. Raises Problem naming file, line and column."""
        return _checked(self.path, merge, self.read() or "", wanted)

    def unmerged(self, wanted: list[Setting]) -> str | None:
        """The text without our settings; None when there is then no reason for the file."""
        text, original = self.read(), _read(self.backup)
        _checked(self.backup, jsonc.loads, original or "")
        return None if text is None else _checked(self.path, without, text, original, wanted)

    def write(self, text: str | None, ours: bool = True) -> None:
        """Put a text in place, or no file. With `ours` in it the backup is kept before, without it is not needed.

        Both have the permissions of the configuration, which may hold keys. Raises Problem when it is read-only.
        """
        mode = self.path.stat().st_mode & 0o777 if self.path.exists() else 0o600
        if not mode & 0o222:
            raise Problem(f"{self.path}: is read-only; make it writable (chmod u+w), or name another with --output")
        known = _read(self.backup)
        if known is None or not jsonc.get(self.document(), OURS)[0]:
            known = self.read() or ""
        steps = [(self.backup, known if ours else None), (self.path, text)]  # a kill between them loses nothing
        for path, content in steps if ours else reversed(steps):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                write_if_changed(path, content, mode)


def _checked(path: Path, function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        raise Problem(f"{path}: {error}") from None


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path}: cannot be read: {error}") from None
