"""The owner's opencode configuration with our provider and agents in it, and without them again.

Only our own keys change, in the form of opencode 1.18, which 2.x reads too; comments, order, indentation and everything
else keep their bytes. Beside the file lies `<file>.bak`, the file as it was before we were put in; in our own data
folder `opencode.json` says which files those are.
"""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from specialists.adapters import adapter_folder
from specialists.agent import system_prompt
from specialists.cli import say
from specialists.config import Config, Language, Problem
from specialists.records import read_json, write_if_changed
from specialists.server import base_url
from specialists.serving import jsonc
from specialists.sessions.database import overview
from specialists.tables import SERVED_BASE

SCHEMA = "https://opencode.ai/config.json"  # opencode rewrites a file that does not name it
PROVIDER = "vllm"
OURS = ("provider", PROVIDER)
NPM = "@ai-sdk/openai-compatible"
NAMES = ("config.json", "opencode.json", "opencode.jsonc")  # what is read in one folder; the last one wins
RECORD = "opencode.json"  # in our data folder: file -> the specialists.toml that put us there
FRONT_MATTER = re.compile(r"---\r?\n(.*?)^---[ \t]*$(.*)", re.S | re.M)
SECONDS = 120  # for one request to the server through opencode


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
        Setting((*OURS, "npm"), NPM),
        Setting((*OURS, "name"), "vLLM", default=True),
        Setting((*OURS, "options", "baseURL"), f"{base_url(config)}/v1"),
        # where opencode finds the key, in its own notation; the key itself never stands in its configuration
        Setting((*OURS, "options", "apiKey"), f"{{file:{key_file}}}" if key_file else "{env:VLLM_API_KEY}", True),
        *_model(config, SERVED_BASE, "Base", major := major_version(config)),
    ]
    for language in config.languages.values():
        name, agent = language.adapter, ("agent", language.adapter)
        promoted = adapter_folder(config, language).current is not None
        model = _model(config, name, f"{language.title} specialist", major)
        wanted += model if promoted else [Setting((*OURS, "models", name), None)]
        wanted += [
            Setting((*agent, "description"), description(language), default=True),
            Setting((*agent, "mode"), "all", default=True),  # both `opencode run --agent` and delegation
            Setting((*agent, "model"), f"{PROVIDER}/{name if promoted else SERVED_BASE}"),  # the base stands in for it
            Setting((*agent, "prompt"), system_prompt(language)),
        ]
    return wanted


def _model(config: Config, name: str, title: str, major: int) -> list[Setting]:
    path, output, start = (*OURS, "models", name), config.serving.output_tokens, compaction_start(config)
    # 1.x compacts from context - output on (seen in 1.18.33), 2.x from context less the greatest of output, 16,000 and
    # a tenth of context (read in 2.0.26; less 20,000 seen in an earlier one: sooner)
    context = start + (output if major < 2 else max(output, 16_000, start // 9))
    return [
        Setting((*path, "name"), title, default=True),
        Setting((*path, "tool_call"), True),
        # without it 1.x drops an agent's own temperature; 2.x sends none
        Setting((*path, "temperature"), True if major < 2 else None, default=True),
        Setting((*path, "limit"), {"context": context, "output": output}),
    ]


def compaction_start(config: Config) -> int:
    """The tokens from which opencode is to compact a session, so that its next request fits the server.

    Beside the answer an eighth stays free: 1.x looks before the last tools have answered, 2.x estimates their tokens.
    """
    served = config.serving.max_model_len
    return max(served - served // 8 - config.serving.output_tokens, 0)


def major_version(config: Config) -> int:
    """That of the newest opencode which `doit tools` asked or which made the newest session; 1 where none is known."""
    captured = read_json(config.tools_file)
    versions = ["1", str(captured.get("version")) if isinstance(captured, dict) else ""]
    for path in filter(Path.is_file, config.databases()):
        with contextlib.suppress(Problem):  # the doctor's look at the history says what is wrong with it
            versions.append(overview(path)[2])
    return max(int(found[0]) for version in versions if (found := re.match(r"\d+", version)))


def description(language: Language) -> str:
    """What the primary agent reads when it delegates."""
    title, files = language.title, ", ".join([*(f"*{each}" for each in language.extensions), *language.files[:1]])
    return f"Writes, changes, fixes and tests {title} code ({files}). Delegate every task in a {title} project to it."


class ConfigFile:
    """A configuration on disk: a symlink is followed, line ends, permissions and a byte order mark are kept."""

    def __init__(self, named: Path):
        self.path = Path(os.path.realpath(named))
        self.backup = self.path.with_name(f"{self.path.name}.bak")

    def read(self) -> str | None:
        """The text; None when there is no such file."""
        return _read(self.path)

    def document(self, backup: bool = False) -> Any:
        """What the file, or the one before us, says; an empty object when there is none. Raises Problem with place."""
        path = self.backup if backup else self.path
        return _checked(path, jsonc.loads, _read(path) or "")

    def merged(self, wanted: list[Setting]) -> str:
        """The text with our settings. Raises Problem naming file, line and column."""
        return _checked(self.path, merge, self.read() or "", wanted)

    def unmerged(self, wanted: list[Setting]) -> str | None:
        """The text without our settings; None when there is then no reason for the file."""
        self.document(backup=True)
        text = self.read()
        return None if text is None else _checked(self.path, without, text, _read(self.backup), wanted)

    def write(self, text: str | None, ours: bool = True) -> None:
        """Put a text in place, or no file. With `ours` in it the backup is kept before, without it is not needed.

        Both have the permissions of the configuration, which may hold keys. Raises Problem when it is read-only."""
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


def config_files(named: Path) -> list[ConfigFile]:
    """The file named and those beside it that win over it; the last one is the one to write."""
    named = named.expanduser()
    later = NAMES[NAMES.index(named.name) + 1 :] if named.name in NAMES else ()
    return [ConfigFile(named), *(ConfigFile(path) for path in map(named.with_name, later) if path.exists())]


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


def follow(config: Config) -> list[str]:
    """Bring agents in line with what is promoted now, where this very specialists.toml put them; returns problems."""
    file = config_files(config.opencode.config)[-1]
    if not is_ours(config, file):
        return []
    try:
        if (merged := file.merged(settings(config))) != file.read():
            file.write(merged)
            say(f"{file.path}: agents follow what is promoted")
    except Problem as problem:
        return [f"agents do not follow what is promoted: {problem}; correct the file, then run doit opencode"]
    return []


def layers(config: Config, project: Path | None = None) -> list[tuple[Path, Any]]:
    """The files that opencode 1.18.33 reads, with what they say; the last one wins. Raises Problem for a broken one."""
    own, projects = config.opencode.config.expanduser().parent, [project, project / ".opencode"] if project else []
    files = [own / name for name in dict.fromkeys((*NAMES, config.opencode.config.name))]
    files += [Path(named)] if (named := os.environ.get("OPENCODE_CONFIG")) else []
    files += [place / name for place in projects for name in NAMES[1:]]
    folders = [place / kind for place in (own, *projects[1:]) for kind in ("agent", "agents")]
    found = [(file.path, file.document()) for file in map(ConfigFile, files) if file.path.is_file()]
    agents = [(folder, path) for folder in folders for path in sorted(folder.glob("**/*.md"))]
    return found + [(path, _written_agent(folder, path)) for folder, path in agents]


def look(found: list[tuple[Path, Any]], path: tuple[str, ...]) -> tuple[Any, Path | None]:
    """The value that counts for opencode, and the file that it is from; (None, None) where no file has it."""
    for file, says in reversed(found):
        there, value = jsonc.get(says, path)
        if there:
            return value, file
    return None, None


def _written_agent(folder: Path, path: Path) -> dict[str, Any]:
    """An agent of a Markdown file: keys between lines of dashes, then its prompt; the file's path is its name."""
    text = _read(path) or ""
    head, body = found.groups() if (found := FRONT_MATTER.match(text)) else ("", text)
    # line by line, as opencode also reads what is no YAML as a whole (`description: a: b`)
    keys = {key: yaml.safe_load(value) for key, value in re.findall(r"^(model|mode|disabled?):(.*)$", head, re.M)}
    return {"agent": {path.relative_to(folder).with_suffix("").as_posix(): {**keys, "prompt": body.strip()}}}


def not_used(config: Config, wanted: list[Setting], project: Path | None = None) -> list[str]:
    """What opencode will not use of what we put into its configuration: the file that has its way, its key, and why."""
    found, written = layers(config, project), config_files(config.opencode.config)[-1].path
    agents = [language.adapter for language in config.languages.values()]
    differing = [each for each in wanted if not each.default and look(found, each.path)[0] != each.value]
    wrong = [(each.path, "differs") for each in differing if look(found, each.path)[1] not in (None, written)]
    natives = [("providers", PROVIDER), *(("agents", name) for name in agents)]
    wrong += [(path, "is what opencode 2 takes instead of ours") for path in natives if look(found, path)[1]]
    switches = [("agent", name, key) for name in agents for key in ("disable", "disabled")]
    wrong += [(path, "turns the agent off") for path in switches if look(found, path)[0]]
    for key, loads in (("enabled_providers", True), ("disabled_providers", False)):
        names = look(found, (key,))[0]
        if isinstance(names, list) and (PROVIDER in names) != loads:
            wrong.append(((key,), f"keeps opencode from loading {PROVIDER}"))
    return [f"{look(found, path)[1]}: {'.'.join(path)} {why}" for path, why in wrong]


def refuse_other_provider(config: Config, named: Path) -> None:
    """Raises Problem where our provider's name stands for another server, in a file into which we did not put it."""
    ours = f"{base_url(config)}/v1"
    for other in map(ConfigFile, (named, *map(named.with_name, NAMES))):
        provider = jsonc.get(other.document(), OURS)[1]
        provider = provider if isinstance(provider, dict) else {}
        url = str(jsonc.get(provider, ("options", "baseURL"))[1] or provider.get("api") or ours).rstrip("/")
        same = url.replace("localhost", "127.0.0.1") == ours and provider.get("npm", NPM) == NPM
        if not same and (not is_ours(config, other) or jsonc.get(other.document(backup=True), OURS)[0]):
            says = f"{other.path}: provider.{PROVIDER} is another server's ({url}, ours is {ours}): nothing is "
            says += "changed; give it another name there, or take out what another specialists.toml put: --remove"
            raise Problem(says)


def model_asked(config: Config, *arguments: str) -> str:
    """The model that answers `opencode run` with these arguments, by one real request. Raises Problem.
    opencode names it in the line `> agent · model`. The session is not kept in the owner's history."""
    command = ["opencode", "run", *(["--standalone"] if major_version(config) > 1 else []), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        own = {"XDG_DATA_HOME": folder, "XDG_STATE_HOME": folder, "PWD": folder, "OPENCODE_DISABLE_AUTOUPDATE": "1"}
        named = {"OPENCODE_CONFIG": str(config_files(config.opencode.config)[-1].path)}
        options: dict[str, Any] = {"cwd": folder, "env": {**named, **os.environ, **own}, "timeout": SECONDS}
        options |= {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False}
        try:
            done = subprocess.run([*command, "Answer OK."], **options)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Problem(f"{' '.join(command)}: {error}") from None
    if done.returncode or not (asked := re.search(r"^> \S+ · (\S+)", done.stderr + done.stdout, re.M)):
        raise Problem(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return asked[1]


def is_ours(config: Config, one: ConfigFile) -> bool:
    """Whether `doit opencode` put us into this file with this very specialists.toml; a copy of it did not."""
    return one.backup.exists() and (read_json(config.paths.data / RECORD) or {}).get(str(one.path)) == str(config.path)


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
    there. Raises json.JSONDecodeError."""
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
