"""The owner's opencode configuration with our provider and agents in it, and without them again.

Only our own keys change; comments, order, indentation and everything else keep their bytes. Beside the file lies
`<file>.bak`, which is always the file as it would be without us: what `--remove` gives back. The keys are those that
opencode 1.18 reads (`provider`, `agent`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.adapters import adapter_folder
from specialists.agent import system_prompt
from specialists.cli import say
from specialists.config import Config, Language, Problem
from specialists.records import replace_file
from specialists.server import base_url
from specialists.serving import jsonc

SCHEMA = "https://opencode.ai/config.json"  # opencode rewrites a file that does not name it
PROVIDER = "vllm"


@dataclass(frozen=True)
class Setting:
    """One key of ours: its path, its value (None: it must not be there), and whether the owner's own value stays."""

    path: tuple[str, ...]
    value: Any
    default: bool = False


def settings(config: Config) -> list[Setting]:
    """Everything that opencode needs to know about the server, the promoted adapters and the agents."""
    provider = ("provider", PROVIDER)
    wanted = [
        Setting(("$schema",), SCHEMA, default=True),
        Setting((*provider, "npm"), "@ai-sdk/openai-compatible"),
        Setting((*provider, "name"), "vLLM", default=True),
        Setting((*provider, "options", "baseURL"), f"{base_url(config)}/v1"),
        Setting((*provider, "options", "apiKey"), _api_key(config), default=True),
        *_model(config, config.serving.name, "Base"),
    ]
    for language in config.languages.values():
        if adapter_folder(config, language).current:
            wanted += _model(config, language.adapter, f"{language.title} specialist")
        else:
            wanted.append(Setting((*provider, "models", language.adapter), None))
    for language in config.languages.values():
        wanted += _agent(config, language)
    return wanted


def follow(config: Config) -> list[str]:
    """Bring agents that are in the owner's configuration in line with what is promoted now; returns problems.

    A configuration into which `doit opencode` never put us stays as it is.
    """
    file = ConfigFile(config.opencode.config.expanduser())
    try:
        text, wanted = file.read(), settings(config)
        if text is None or PROVIDER not in _table(text, "provider") or not _agents_of(config) & _table(text, "agent"):
            return []
        if (merged := file.merged(wanted)) != text:
            file.write(merged, wanted)
            say(f"{file.path}: agents follow what is promoted")
    except (Problem, jsonc.SyntaxFault) as problem:
        return [f"{file.path}: agents do not follow what is promoted: {problem}; mend it, then run doit opencode"]
    return []


def _agents_of(config: Config) -> set[str]:
    return {language.adapter for language in config.languages.values()}


def _table(text: str, name: str) -> set[str]:
    """The keys of an object at the top of a configuration; none where it is no object."""
    _there, table = jsonc.get(jsonc.parse(text).value if not _blank(text) else {}, (name,))
    return set(table) if isinstance(table, dict) else set()


def _api_key(config: Config) -> str:
    """Where opencode finds the key, in its own notation; the key itself never stands in its configuration."""
    path = config.serving.api_key_file
    return f"{{file:{path}}}" if path else "{env:VLLM_API_KEY}"


def _model(config: Config, name: str, title: str) -> list[Setting]:
    path = ("provider", PROVIDER, "models", name)
    limit = {"context": config.serving.max_model_len, "output": config.serving.output_tokens}
    return [
        Setting((*path, "name"), title, default=True),
        Setting((*path, "tool_call"), True),
        Setting((*path, "temperature"), True, default=True),  # else opencode drops an agent's own temperature
        Setting((*path, "limit"), limit),
    ]


def _agent(config: Config, language: Language) -> list[Setting]:
    """An agent of the adapter's name; the base stands in for an adapter that is not promoted."""
    path = ("agent", language.adapter)
    model = language.adapter if adapter_folder(config, language).current else config.serving.name
    files = ", ".join(dict.fromkeys([*(f"*{extension}" for extension in language.extensions), *language.files[:1]]))
    description = (
        f"Writes, changes, fixes and tests {language.title} code ({files}). "
        f"Delegate every task in a {language.title} project to it."
    )
    return [
        Setting((*path, "description"), description, default=True),
        Setting((*path, "mode"), "all", default=True),  # both `opencode run --agent` and delegation
        Setting((*path, "model"), f"{PROVIDER}/{model}"),
        Setting((*path, "prompt"), system_prompt(language)),
    ]


def merge(text: str, wanted: list[Setting]) -> str:
    """The text of a configuration with our settings in it. Raises jsonc.SyntaxFault."""
    if _blank(text):
        text = "{}\n"
    for setting in wanted:
        there, _value = jsonc.get(jsonc.parse(text).value, setting.path)
        if setting.value is None:
            text = jsonc.delete(text, setting.path)
        elif not (there and setting.default):
            text = jsonc.set_value(text, setting.path, setting.value)
    return text


def without(text: str, original: str | None, wanted: list[Setting]) -> str | None:
    """The text without our settings: what the owner had at their places, as `original` says, stands there again.

    Gives the original byte for byte unless something else was changed since; without an original, None when there was
    nothing but ours. Raises jsonc.SyntaxFault.
    """
    had = jsonc.parse(original).value if original and not _blank(original) else {}
    wanted = [setting for setting in wanted if not (setting.default and jsonc.get(had, setting.path)[0])]
    if original is not None and _alike(_stripped(text, wanted), _stripped(merge(original, wanted), wanted)):
        return original
    if original is None and jsonc.parse(_stripped(text, wanted)).value == {}:
        return None
    for setting in wanted:
        there, value = jsonc.get(had, setting.path)
        text = jsonc.set_value(text, setting.path, value) if there else jsonc.delete(text, setting.path)
    return _pruned(text, wanted, had)


def _stripped(text: str, wanted: list[Setting]) -> str:
    for setting in wanted:
        text = jsonc.delete(text, setting.path)
    return _pruned(text, wanted, {})


def _pruned(text: str, wanted: list[Setting], keep: dict[str, Any]) -> str:
    """The text without the objects that hold nothing now but held settings of ours, where `keep` has none there."""
    parents = {setting.path[:depth] for setting in wanted for depth in range(1, len(setting.path))}
    for path in sorted(parents, key=lambda path: (-len(path), path)):
        if jsonc.get(jsonc.parse(text).value, path) == (True, {}) and not jsonc.get(keep, path)[0]:
            text = jsonc.delete(text, path)
    return text


def _blank(text: str) -> bool:
    return not text.strip("\ufeff \t\r\n")


def _alike(first: str, second: str) -> bool:
    return "".join(first.split()) == "".join(second.split())


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

    def original(self) -> str | None:
        """The text as it was without us; empty when there was no file; None when no backup says."""
        text = _read(self.backup)
        try:
            if text and not _blank(text):
                jsonc.parse(text)
        except jsonc.SyntaxFault as fault:
            raise Problem(f"{self.backup}: {fault}; mend it or delete it") from None
        return text

    def merged(self, wanted: list[Setting]) -> str:
        """The text with our settings. Raises Problem naming file, line and column."""
        return self._checked(merge, self.read() or "", wanted)

    def unmerged(self, wanted: list[Setting]) -> str | None:
        """The text without our settings; None when there is then no reason for the file."""
        text = self.read()
        return None if text is None else self._checked(without, text, self.original(), wanted) or None

    def write(self, text: str, wanted: list[Setting]) -> None:
        """Put a merged text in place, the backup first. Raises Problem when the file must not or cannot be written."""
        before, known = self.read(), self.original()
        if before is not None:
            self._refuse_read_only()
        if before is None or known is None:
            self._replace(self.backup, before or "")
        else:
            self._replace(self.backup, self._checked(without, before, known, wanted) or "")
        self._replace(self.path, text)

    def restore(self, text: str | None) -> None:
        """Put a text without our settings in place; the backup has done its work."""
        self._refuse_read_only()
        if text is None:
            self.path.unlink()
        else:
            self._replace(self.path, text)
        self.backup.unlink(missing_ok=True)

    def _checked(self, function: Callable, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except jsonc.SyntaxFault as fault:
            raise Problem(f"{self.path}: {fault}") from None

    def _refuse_read_only(self) -> None:
        if not self.path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            raise Problem(
                f"{self.path}: is read-only; make it writable (chmod u+w), or name another file with --output"
            )

    def _replace(self, path: Path, text: str) -> None:
        """With the permissions of the configuration, which may hold keys."""
        mode = stat.S_IMODE(self.path.stat().st_mode) if self.path.exists() else 0o600
        if not replace_file(path, lambda file: file.write(text.encode("utf-8")), mode):
            path.chmod(mode)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path}: cannot be read: {error}") from None
