"""specialists.toml, read into typed frozen dataclasses.

Every mistake in the file is found in one reading and reported with file, key and what was expected. A mistake in the
table of one language takes that language out; one anywhere else stops everything, as it would touch every adapter.
dodo.py imports this module at each start: it stays light (no click, no torch).
"""

import contextlib
import difflib
import glob
import hashlib
import json
import os
import re
import subprocess
import tomllib
import typing
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from specialists import tables
from specialists.tables import SERVED_BASE, Assembly, Base, Evaluation, Language, Serving, Training

PARTIAL = 3  # a step's exit code: finished, but something was named and skipped
ROOT_CONFIG = Path(__file__).resolve().parents[2] / "specialists.toml"


class Problem(Exception):
    """A mistake of the owner's, or a state of his machine, in words he can act on; never a traceback."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong in the configuration, or missing on the machine that it describes."""

    key: str  # dotted, e.g. "languages.rust.min_examples"
    message: str
    language: str | None = None  # the only language it touches; None: all of them
    fatal: bool = True  # False: the rest of that language can still go on (a missing repository)

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


@dataclass(frozen=True)
class Config:
    path: Path
    paths: tables.Paths
    owner: tables.Owner
    base: Base
    opencode: tables.Opencode
    secrets: tables.Secrets
    assembly: Assembly
    endpoint: tables.Endpoint
    rollouts: tables.Rollouts
    evaluation: Evaluation
    serving: Serving
    languages: dict[str, Language]
    findings: tuple[Finding, ...] = ()  # what is wrong without stopping everything

    def language(self, name: str) -> Language:
        """The language of that name; raises Problem when there is none, or when its table has a mistake."""
        if name in self.languages:
            return self.languages[name]
        broken = [f"{self.path}: {finding}" for finding in self.findings if finding.language == name and finding.fatal]
        raise Problem("\n".join(broken) or f"{self.path}: no language {name!r}; there are {', '.join(self.languages)}")

    def repositories(self, name: str) -> list[Path]:
        """Existing repositories of a language, patterns expanded, each once, in the order of the configuration."""
        found = (path for pattern in self.languages[name].repositories for path in expand_repositories(pattern))
        return [path for path in dict.fromkeys(found) if not named_by(self.owner.exclude, f"repository {path.name}")]

    def missing_repositories(self, name: str) -> list[str]:
        """Findings about repositories of a language that are not there, as `doit doctor` shows them."""
        where = f"languages.{name}.repositories"
        return [f"{self.path}: {finding}" for finding in self.findings if finding.key == where]

    def rows(self, folder: str, language: str) -> Path:
        """Where the rows of a language lie: sessions, commits, synthetic, others; train, heldout."""
        return self.paths.data / folder / f"{language}.jsonl"

    @property
    def tools_file(self) -> Path:
        """What `doit tools` saw of the installed opencode."""
        return self.paths.data / "opencode-tools.json"

    def databases(self) -> list[Path]:
        """opencode histories to read, whether they exist or not."""
        return list(self.opencode.databases) or default_histories()


def named_by(entries: Iterable[str], name: str) -> bool:
    """Whether an entry of `[owner] exclude` means that work: a repository by all of its name, others by a start."""
    return any(name == entry or (name.startswith(entry) and not entry.startswith("repository ")) for entry in entries)


def owner_emails(config: Config) -> tuple[str, ...]:
    """Whose commits are mined: `[owner] emails`, else git's `user.email` of the owner; empty where neither is set."""
    emails = list(config.owner.emails)
    command = ["git", "config", "--global", "--includes", "--get-all", "user.email"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # without git there is nothing to mine either
        emails = emails or subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.split()
    return tuple(email.lower() for email in emails)


def default_histories() -> list[Path]:
    """$OPENCODE_DB, else every history in opencode's folder: one database per channel, JSON files of before 1.2."""
    if named := os.environ.get("OPENCODE_DB"):
        return [Path(named).expanduser()]
    folder = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "opencode"
    databases = (path for path in sorted(folder.glob("opencode*.db")) if path.is_file() and path.stat().st_size)
    return [*databases, *(path.parent for path in folder.glob("storage/session"))] or [folder / "opencode.db"]


def expand_repositories(pattern: str) -> list[Path]:
    """The repositories that a path or shell pattern of the configuration means, sorted; found without running git: a
    work tree, a worktree with a `.git` file, a bare repository. What exists as it is written is no pattern."""
    named = os.path.expanduser(pattern)
    paths = [named] if os.path.exists(named) else sorted(glob.glob(named))  # Path's raise where one may not look
    bare = {path for path in paths if os.path.isfile(f"{path}/HEAD") and os.path.isdir(f"{path}/objects")}
    return [Path(path).absolute() for path in paths if path in bare or os.path.exists(f"{path}/.git")]


def fingerprint(*parts: Any) -> str:
    """A short hash over configuration sections (dataclasses) and plain values, stable from run to run."""
    text = json.dumps(parts, sort_keys=True, default=lambda part: vars(part) if is_dataclass(part) else str(part))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_config(named: str | os.PathLike | None = None) -> Config:
    """The configuration named, else $SPECIALISTS_CONFIG, else specialists.toml. Raises Problem with every mistake."""
    path = Path(named or os.environ.get("SPECIALISTS_CONFIG") or ROOT_CONFIG).expanduser().absolute()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Problem(f"{path}: cannot be read as TOML: {error}") from None
    return _Reader(path, document).config()


SECTIONS: dict[str, Any] = {name: kind for name, kind in typing.get_type_hints(Config).items() if is_dataclass(kind)}


class _Reader:
    """One reading of one TOML document; collects findings instead of stopping at the first."""

    def __init__(self, path: Path, document: dict[str, Any]):
        self.path, self.document = path, document
        self.findings: list[Finding] = []

    def config(self) -> Config:
        known = [*SECTIONS, "training", "languages"]
        for name in self.document.keys() - set(known):
            self._complain(name, f"unknown table{_suggest(name, known)}")
        sections = {name: self._table(name, kind, self.document.get(name, {})) for name, kind in SECTIONS.items()}
        if sections["base"].model.startswith((".", "~")):
            model = str(_resolve(Path(sections["base"].model), self.path.parent))
            sections["base"] = replace(sections["base"], model=model)
        languages = self._languages()
        self._check(languages, sections["serving"].max_lora_rank)
        if any(finding.fatal and finding.language is None for finding in self.findings):
            raise Problem("\n".join(f"{self.path}: {finding}" for finding in self.findings))
        broken = {finding.language for finding in self.findings if finding.fatal}
        languages = {name: language for name, language in languages.items() if name not in broken}
        config = Config(path=self.path, **sections, languages=languages, findings=tuple(self.findings))
        return replace(config, findings=(*self.findings, *_missing(config)))

    def _languages(self) -> dict[str, Language]:
        tables = self.document.get("languages", {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()) or not tables:
            self._complain("languages", "expected at least one table [languages.NAME]")
            return {}
        given = self.document.get("training", {})
        general = given.items() if isinstance(given, dict) else ()
        overrides = {name: value for name, value in general if isinstance(value, dict)}
        for name in overrides.keys() - tables.keys():
            self._complain(f"training.{name}", f"no such language{_suggest(name, list(tables))}")
        training = self._table("training", Training, given, aside=overrides)
        languages = {}
        for name, table in tables.items():
            if not re.fullmatch(r"\w[\w.+#-]*", name):  # it names files, tasks and an option's value
                self._complain(f"languages.{name!r}", "letters, digits, _ . + # - only, and a letter first", name)
            language = self._table(f"languages.{name}", Language, table, name)
            mine = self._table(f"training.{name}", Training, overrides.get(name, {}), name, over=training)
            folder = self.path.parent  # from which a pattern that starts with a dot is meant
            patterns = tuple(str(_resolve(Path(p), folder)) if p[:1] == "." else p for p in language.repositories)
            named = {"name": name, "title": language.title or name, "training": mine}
            languages[name] = replace(language, **named, repositories=patterns)
        return languages

    def _table(self, where: str, kind: type, table: Any, language: str | None = None, aside=(), over=None) -> Any:
        """One table, without the keys `aside`, as its dataclass; what it does not give is from `over`, or a default."""
        if not isinstance(table, dict):
            self._complain(where, f"expected a table, got {table!r}", language)
            table = {}
        types, values = typing.get_type_hints(kind), dict[str, Any]()
        keys = {item.name: item for item in fields(kind) if item.metadata}
        for name in (name for name in table if name not in aside):
            try:
                if name not in keys:
                    raise ValueError(f"unknown key{_suggest(name, list(keys))}")
                values[name] = _convert(table[name], types[name], keys[name].metadata, self.path.parent)
            except ValueError as error:
                self._complain(f"{where}.{name}", str(error), language)
        if over:
            return replace(over, **values)
        for name, item in keys.items():
            if item.default is MISSING and item.default_factory is MISSING:
                if name not in table:
                    self._complain(f"{where}.{name}", "missing", language)
                values.setdefault(name, () if "tuple" in str(item.type) else "")
            elif name not in values and isinstance(item.default, Path):
                values[name] = _resolve(item.default, self.path.parent)
        return kind(**values)

    def _check(self, languages: dict[str, Language], highest: int) -> None:
        """What no table tells alone: limits of two keys, adapters' names."""
        first: dict[str, str] = {}
        reported = {finding.key for finding in self.findings}
        for name, language in languages.items():
            least, most, rank = language.min_examples, language.max_examples, language.training.r
            if least > most:
                self._complain(f"languages.{name}.min_examples", f"{least} is above max_examples, {most}", name)
            if rank > highest:
                message = f"rank {rank} is above serving.max_lora_rank {highest}: vLLM would refuse it"
                self._complain(f"training.{name}.r", message, name)
            adapter = language.adapter
            if (key := f"languages.{name}.adapter") in reported:
                continue
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", adapter):
                self._complain(key, f"{adapter!r}: letters, digits, - _ . only, and neither - nor . first", name)
            if adapter == SERVED_BASE:
                self._complain(key, f"{adapter!r} is the base model's name in requests", name)
            if (other := first.setdefault(adapter, name)) != name:  # neither goes on with the other one's versions
                self._complain(f"languages.{other}.adapter", f"{adapter!r} is the adapter of {name} too", other)
                self._complain(key, f"{adapter!r} is the adapter of {other} too", name)

    def _complain(self, where: str, message: str, language: str | None = None) -> None:
        self.findings.append(Finding(where, message, language))


def _missing(config: Config) -> list[Finding]:
    """Databases and repositories that the configuration names and the machine does not have."""
    gone = [path for path in config.databases() if not path.exists()]
    findings = [Finding("opencode.databases", f"{path}: no opencode history there", fatal=False) for path in gone]
    for name, language in config.languages.items():
        for pattern in language.repositories:
            if not expand_repositories(pattern):
                what = "no git repository there" if os.path.exists(os.path.expanduser(pattern)) else "not there"
                findings.append(Finding(f"languages.{name}.repositories", f"{pattern}: {what}", name, fatal=False))
    return findings


def _suggest(name: str, known: list[str]) -> str:
    if name == "wanted":  # until 1.1
        return "; use min_examples and max_examples instead"
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _resolve(path: Path, folder: Path) -> Path:
    return Path(os.path.normpath(folder / os.path.expanduser(path)))


def _convert(value: Any, kind: Any, metadata: Any, folder: Path) -> Any:
    """One TOML value as the type of its field. Raises ValueError saying what was expected."""
    args = typing.get_args(kind)
    if type(None) in args:
        kind, args = next(arg for arg in args if arg is not type(None)), ()
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, got {value!r}")
        items = tuple(_convert(item, args[0], metadata, folder) for item in value)
        form, shown = metadata.get("form", (None, ""))
        if wrong := [repr(item) for item in items if form and not re.fullmatch(form, item)]:
            raise ValueError(f"expected {shown}, got {', '.join(wrong)}")
        if "" in items:
            raise ValueError("an entry is empty")
        for pattern in items if metadata.get("regex") else ():
            try:
                re.compile(f"(?:{pattern})")  # as one of several
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return items
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise ValueError(f"expected a table of strings, got {value!r}")
        return value
    if kind is Path and isinstance(value, str):
        return _resolve(Path(value), folder)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {_NAMES[kind]}, got {value!r}")
    if value not in metadata.get("choices", [value]):
        raise ValueError(f"expected one of {', '.join(map(str, metadata['choices']))}, got {value!r}")
    if "least" in metadata and not metadata["least"] <= value <= metadata.get("most", 1e15):  # nor nan, nor inf
        most = f" and at most {metadata['most']}" if "most" in metadata else ""
        raise ValueError(f"expected at least {metadata['least']}{most}, got {value!r}")
    return value


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
