"""README and docs are true: commands and links lead somewhere, messages are real, the walk ends as README shows."""

import importlib
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from doit.loader import load_tasks
from servers import free_port, started
from specialists.agent import system_prompt
from specialists.config import load_config
from specialists.reporting import checks
from specialists.reporting.status import as_text, status
from specialists.serving import jsonc
from specialists.serving.opencode_config import settings
from specialists.sessions.capture import SECONDS, prepare
from test_opencode_real import opencode as program  # noqa: F401  (a fixture)

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```", re.S | re.M)
GO = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "adding-a-language.md").read_text(encoding="utf-8"), re.S)[1]
# programs of others: installing, and what needs a GPU or a person; files that are named in them must be there
OTHERS = set("pip hf rsync python3 pytest mypy ruff opencode systemctl accelerate source export".split())


def commands() -> set[str]:
    """Every command of every shell block, and what README's table of tasks names."""
    found = set()
    for document in DOCUMENTS:
        for block in BLOCK.findall(document.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                found |= set(shlex.join(shlex.split(line, comments=True)).split(" '&&' "))
    for cell in re.findall(r"^\| ((?:`(?!doit )[^`]+`(?:, )?)+) \|", README, re.M):
        found |= {f"doit {task}" for task in re.findall(r"`([^`]+)`", cell)}
    return found - {""}


@pytest.fixture(scope="module")
def tasks() -> dict[str, set[str]]:
    """Task -> its options, under the project's own configuration."""
    dodo = runpy.run_path(str(ROOT / "dodo.py"))
    return {task.name: {option["long"] for option in task.params or ()} for task in load_tasks(dodo)}


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_exists_with_its_options(command: str, tasks: dict[str, set[str]]) -> None:
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    name, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    if name == "python" and arguments[0].startswith("scripts/"):
        main = importlib.import_module(Path(arguments[0]).stem).main
        result = CliRunner().invoke(main, [*arguments[1:], "--help"])  # options that it does not have fail first
        assert result.exit_code == 0 and result.output.startswith("Usage:"), result.output
    elif name == "python":
        assert (ROOT / arguments[0]).is_file()
    elif name == "doit":
        task = next((word for word in arguments if not word.startswith("-")), "list")
        known = set(tasks[task.replace(":go", ":rust")]) if task not in ("list", "info") else set()
        assert {word.removeprefix("--") for word in arguments if word.startswith("--")} <= known
    else:
        assert name in OTHERS, command
        for named in arguments:
            assert not named.endswith((".txt", ".toml", ".yaml")) or (ROOT / named).is_file(), named


def test_readme_knows_every_task_and_each_has_a_sentence(tasks: dict[str, set[str]]) -> None:
    documented = {word.partition(":")[0] for command in commands() for word in shlex.split(command)[1:]}
    public = {name for name in tasks if ":" not in name}
    assert public <= documented | set(re.findall(r"\w+", re.search(r"\| \*\(nothing\)\* \|.*", README)[0]))
    assert len(public) <= 18
    done = subprocess.run([sys.executable, "-m", "doit", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(len(line.split(None, 1)) == 2 for line in done.stdout.splitlines())


SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("**/*.py"))
OF_OTHERS = 'agent "" not found. Falling back to default agent Unexpected server error The model does not exist'
CODE = re.sub(r'"\s*\n\s*f?"', "", SOURCES).replace("`", "") + OF_OTHERS
VARIES = re.compile(r"…|\b[NM1]\b|\bnan\b|python |train |rust\.|build-rust|tokenizer_config.json|, but|`")


@pytest.mark.parametrize(
    "message", re.findall(r"^\| `+([^|]*?)`+ \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)
)
def test_messages_are_those_of_the_code(message: str) -> None:
    parts = [part.strip(" :()|") for part in VARIES.split(message)]
    assert [part for part in parts if len(part) >= 4 and part not in CODE] == []


def test_the_reference_is_up_to_date_and_has_every_key_with_its_default() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    text = generate["reference"]()
    assert generate["TARGET"].read_text(encoding="utf-8") == text, "run `python docs/generate.py`"
    assert "| `port` | a whole number, at least 1, at most 65535 | `8000` | Port. |" in text
    assert '| `quantization` | `nf4` `none` | `"nf4"` | How the frozen base is held. |' in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", line.lower()).strip() for line in re.findall(r"^#+ (.*)$", text, re.M)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:].replace("-", " ") in headings, target
        elif "://" not in target:
            assert (document.parent / target.partition("#")[0]).exists(), target


def test_adding_go_is_adding_a_table(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file.write_text(f"{config_file.read_text()}\n{GO}\n[training.go]\nr = 8\n[serving]\nport = 9\n")
    config = load_config(config_file)
    go = config.language("go")
    assert not [finding for finding in config.findings if finding.fatal]
    assert (go.title, go.adapter, go.training.r, config.language("rust").training.r) == ("Go", "build-go", 8, 16)
    assert system_prompt(go).startswith("You are build-go, a coding agent specialised in Go.")
    assert "Go: build examples: there are none yet" in as_text(status(config))
    wanted = {setting.path: setting.value for setting in settings(config)}
    assert wanted[("agent", "build-go", "model")] == "vllm/base"
    assert "no grammar for Go: tree_sitter_go" in checks.tools(config).says
    monkeypatch.setenv("SPECIALISTS_CONFIG", str(config_file))
    names = {task.name for task in load_tasks(runpy.run_path(str(ROOT / "dodo.py")))}
    assert {"mine:go", "assemble:go", "train:go", "evaluate:go", "promote:go"} <= names and "augment:go" not in names


def checkout(folder: Path) -> Path:
    """The project's files at another place, as a clone has them; nothing built."""

    def left_out(place: str, names: list[str]) -> set[str]:
        built = {"out", "data", "adapters", "reports"} if Path(place) in (ROOT, ROOT / "demo") else set()
        return {name for name in names if name in built or name == "__pycache__" or name.startswith(".")}

    shutil.copytree(ROOT, folder, ignore=left_out)
    config = folder / "demo" / "specialists.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("port = 8017", f"port = {free_port()}"))
    return folder


def doit(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """`doit` in a checkout, under the demo's configuration."""
    variables = {**os.environ, "SPECIALISTS_CONFIG": "demo/specialists.toml", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "doit", *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_told_to_end_the_demo_ends_what_it_started(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "coding-specialists")
    command = [sys.executable, "-m", "doit", "demo"]
    with subprocess.Popen(command, cwd=folder, start_new_session=True, stdout=subprocess.PIPE) as demo:
        inside = ["pgrep", "--session", str(demo.pid)]
        while subprocess.run([*inside, "--full", "scripts/mine"], stdout=subprocess.DEVNULL, check=False).returncode:
            assert demo.poll() is None
        demo.terminate()
        demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGTERM
    assert subprocess.run(inside, stdout=subprocess.DEVNULL, check=False).returncode == 1, "nobody is left"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("readme")
def test_from_a_fresh_checkout_to_an_answer_in_opencode(tmp_path: Path, program: str) -> None:  # noqa: F811
    folder = checkout(tmp_path / "coding-specialists")
    line = r"^(\w+) +\d+ +\d+ +\d+ +\d+ .* (promote|hold|block) +(\S.*)$"
    demo = doit(folder, "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.findall(line, demo.stderr, re.M) == re.findall(line, README, re.M)
    again = doit(folder, "demo")
    assert again.returncode == 0 and "train:" not in again.stdout, again.stdout
    assert (folder / "demo" / "out" / "reports" / "index.html").is_file()
    row = json.loads((folder / "demo/out/data/train/rust.jsonl").open(encoding="utf-8").readline())
    shown = [sys.executable, "scripts/show-mask.py", "--config", "demo/specialists.toml", row["id"]]
    assert "⟦" in subprocess.run(shown, cwd=folder, capture_output=True, text=True, check=True).stdout

    config, log = load_config(folder / "demo" / "specialists.toml"), folder / "server.log"
    variables = {**os.environ, "SPECIALISTS_CONFIG": "demo/specialists.toml"}
    with started([sys.executable, "-m", "doit", "serve"], config, log, cwd=folder, env=variables):
        configuration = config.opencode.config
        text = configuration.read_text(encoding="utf-8") if configuration.exists() else "{}"
        configuration.write_text(jsonc.set_value(text, ("agent", "build-python", "steps"), 2), encoding="utf-8")
        assert doit(folder, "opencode").returncode == 0
        asked = doit(folder, "ask")
        assert asked.returncode == 0 and "build-python" in asked.stdout + asked.stderr
        before = len(log.read_text())
        answer = subprocess.run(
            [program, "run", "--format", "json", "--agent", "build-python", "Add a total to the ledger"],
            check=False,
            cwd=folder / "demo/out/repositories/ledgerlines",
            stdin=subprocess.DEVNULL,
            env={**prepare(folder / "home", ""), "OPENCODE_CONFIG": str(configuration)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        # what so small a model says is chance: a sampled answer may be a call alone, or nothing but its end
        said = [event["part"] for event in map(json.loads, answer.stdout.splitlines()) if "part" in event]
        spoken = any(part.get("tokens", {}).get("output") for part in said)
        assert answer.returncode == 0 and spoken, answer.stdout + answer.stderr
        assert '"POST /v1/chat/completions HTTP/1.1" 200' in log.read_text()[before:]
