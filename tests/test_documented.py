"""Every command in README and docs exists, and runs where it can; messages and examples in them are real."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from labelled_turns import bash, edit, turn
from specialists.agent import system_prompt
from specialists.config import load_config
from specialists.reporting import checks
from specialists.reporting.status import as_text, status
from specialists.serving.opencode_config import settings
from specialists.sessions.languages import LanguageClassifier

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```", re.S | re.M)
# programs of others: installing, and what needs a GPU or a person; what is named in them must be there
OTHERS = tuple(
    """
    pip hf python3 pytest mypy ruff opencode systemctl crontab nvidia-smi accelerate
""".split()
)
TASKS = """
import json, sys
sys.path.insert(0, {root!r})
import dodo
from doit.loader import load_tasks
tasks = load_tasks(vars(dodo))
print(json.dumps({{t.name: [[p["long"] for p in t.params or []], bool(t.pos_arg)] for t in tasks}}))
"""


def commands() -> list[tuple[str, str]]:
    """(document, command) of every line of every shell block and of README's table of tasks, each once."""
    found = {}
    for document in DOCUMENTS:
        for block in BLOCK.findall(document.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                for part in " ".join(shlex.quote(word) for word in shlex.split(line, comments=True)).split(" '&&' "):
                    if part.strip():
                        found.setdefault(part, document.name)
    for cell in re.findall(r"^\| ((?:`(?!doit )[^`]+`(?:, )?)+) \|", DOCUMENTS[0].read_text(encoding="utf-8"), re.M):
        for task in re.findall(r"`([^`]+)`", cell):
            found.setdefault(f".venv/bin/doit {task}", DOCUMENTS[0].name)
    return [(name, part) for part, name in found.items()]


def words_of(command: str) -> list[str]:
    """The words, without variables before them and without the folder of the virtual environment."""
    words = shlex.split(command)
    while "=" in words[0] and not words[0].startswith("-"):
        words.pop(0)
    return [words[0].removeprefix(".venv/bin/"), *words[1:]]


@pytest.fixture(scope="module")
def tasks() -> dict[str, tuple[list[str], bool]]:
    """Task -> its long options, and whether it takes a word."""
    environment = {**os.environ, "SPECIALISTS_CONFIG": str(ROOT / "specialists.toml")}
    command = [sys.executable, "-c", TASKS.format(root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("document", "command"), commands())
def test_every_command_exists_with_its_options(document: str, command: str, tasks: dict) -> None:
    program, *arguments = words_of(command)
    if program == "python" and arguments[0].startswith("scripts/"):
        main = importlib.import_module(Path(arguments[0]).stem).main
        result = CliRunner().invoke(main, [*arguments[1:], "--help"])  # options that it does not have fail first
        assert result.exit_code == 0 and result.output.startswith("Usage:"), result.output
    elif program == "python":
        assert (ROOT / arguments[0]).is_file()
    elif program == "doit":
        check_doit(arguments, tasks)
    else:
        assert program in OTHERS, f"{document}: {command}"
        for named in arguments:
            assert not named.endswith((".txt", ".toml", ".yaml")) or (ROOT / named).is_file(), named


def check_doit(arguments: list[str], tasks: dict) -> None:
    """Tasks, their options and their words are what dodo.py takes."""
    arguments = [word for word in arguments if word not in ("-r", "executed-only")]
    while arguments:
        name = arguments.pop(0)
        if name in ("list", "help", "info"):
            return
        assert name in tasks or name.replace(":go", ":rust") in tasks, name
        options, takes_words = tasks.get(name) or tasks[name.replace(":go", ":rust")]
        while arguments and (arguments[0].startswith("--") or takes_words):
            word = arguments.pop(0)
            if word.startswith("--"):
                assert word.removeprefix("--") in options, f"{name} {word}"
                arguments.pop(0)


HARMLESS = ("list", "status.py", "doctor.py", "check", "serve.py --dry-run", "status", "why extract", "doctor")


@pytest.mark.parametrize("command", HARMLESS)
def test_what_only_looks_runs_on_a_fresh_machine(config_file: Path, command: str) -> None:
    config_file.write_text(config_file.read_text() + "\n[serving]\nport = 9\n")
    script, *options = command.split()
    prefix = [str(ROOT / "scripts" / script)] if script.endswith(".py") else ["-m", "doit", "-f", f"{ROOT}/dodo.py"]
    line = [sys.executable, *prefix, *(options if script.endswith(".py") else command.split())]
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "SPECIALISTS_CONFIG": str(config_file)},
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in ((0,) if "doctor" not in command and command != "check" else (0, 1)), done.stderr
    assert done.stdout + done.stderr


def test_the_commands_of_the_documents_are_found() -> None:
    found = [command for _document, command in commands()]
    assert len(found) > 20 and ".venv/bin/doit opencode" in found
    assert "python3 -m venv .venv" in found and ".venv/bin/doit demo" in found


# messages


FIELDS = re.compile(r"…|\b[NM]\b|\bnan\b|rust\.|build-rust|tokenizer_config.json|, but|`")  # what varies


def sources() -> str:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("**/*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", text).replace("`", "")


@pytest.mark.parametrize(
    "message", re.findall(r"^\| `+([^|]*?)`+ \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)
)
def test_messages_are_those_that_the_code_says(message: str) -> None:
    said = sources() + OPENCODE_AND_VLLM
    for part in FIELDS.split(message):
        part = part.strip(" :()|")
        assert len(part) < 4 or part in said, part


OPENCODE_AND_VLLM = 'agent "" not found. Falling back to default agent Unexpected server error The model does not exist'


# adding a language


@pytest.fixture
def with_go(config_file: Path) -> Path:
    """The configuration with the page's own table in it."""
    page = (ROOT / "docs" / "adding-a-language.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    config_file.write_text(f"{config_file.read_text()}\n{table}\n[training.go]\nr = 8\n[serving]\nport = 9\n")
    return config_file


def test_adding_go_is_adding_a_table(with_go: Path) -> None:
    config = load_config(with_go)
    go = config.language("go")
    assert not [finding for finding in config.findings if finding.fatal]
    assert (
        go.title,
        go.adapter,
        (go.min_examples, go.max_examples),
        go.training.r,
        config.language("rust").training.r,
    ) == ("Go", "build-go", (100, 300), 8, 16)
    assert system_prompt(go).startswith("You are build-go, a coding agent specialised in Go.")
    assert "Go: build examples: there are none yet" in as_text(status(config))
    wanted = {setting.path: setting.value for setting in settings(config)}
    assert (
        wanted[("agent", "build-go", "model")] == "vllm/base" and "*.go" in wanted[("agent", "build-go", "description")]
    )
    assert "no grammar for Go: tree_sitter_go" in checks.tools(config).says


def test_go_has_its_tasks(with_go: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "doit", "-f", str(ROOT / "dodo.py"), "list", "--all", "-q"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "SPECIALISTS_CONFIG": str(with_go)},
    )
    names = done.stdout.split()
    assert {"mine:go", "assemble:go", "train:go", "evaluate:go", "promote:go"} <= set(names)
    assert "augment:go" not in names


def test_work_in_go_is_told_from_work_in_another_language(with_go: Path) -> None:
    classifier = LanguageClassifier(load_config(with_go).languages.values())
    done = [edit("cmd/serve.go"), bash("go test ./...", "ok  \texample.org/serve\t0.1s")]
    (result,) = classifier.classify([turn("Close the listener", *done)])
    assert result.languages == ("go",)
    assert {item.kind for item in result.evidence if item.language == "go"} >= {"edit", "command"}
