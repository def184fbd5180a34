"""README as somebody follows it: a fresh checkout, the demo, every command of the documents, an answer in opencode."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from servers import started
from specialists.config import load_config
from specialists.serving import jsonc
from specialists.sessions.capture import SECONDS, prepare
from test_documented import commands, words_of
from test_opencode_real import opencode as program  # noqa: F401  (a fixture)
from test_served import free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("readme"), pytest.mark.timeout(1800)]

BUILT = {"out", "data", "adapters", "reports", "__pycache__"}
GO = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "adding-a-language.md").read_text(encoding="utf-8"), re.S)[1]
# run by other tests or by .ci/run, or somebody else's
NOT_HERE = (
    "doit demo",
    "doit test",
    "doit serve",
    "doit tools",
    "python3 -m venv",
    "pip ",
    "hf ",
    "pytest ",
    "mypy",
    "ruff ",
    "opencode ",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files at another place, as a clone has them; nothing built."""
    folder = tmp_path_factory.mktemp("readme") / "coding-specialists"

    def left_out(place: str, names: list[str]) -> set[str]:
        built = BUILT if Path(place) in (ROOT, ROOT / "demo") else ("__pycache__",)
        return {name for name in names if name in built or name.startswith(".")}

    shutil.copytree(ROOT, folder, ignore=left_out)
    config = folder / "demo" / "specialists.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("port = 8017", f"port = {free_port()}"))
    return folder


def doit(checkout: Path, *words: str) -> subprocess.CompletedProcess:
    return run(checkout, [sys.executable, "-m", "doit", *words])


def run(checkout: Path, command: list[str]) -> subprocess.CompletedProcess:
    """A command in the checkout, under the demo's configuration."""
    variables = {**os.environ, "SPECIALISTS_CONFIG": "demo/specialists.toml", "PYTHONUNBUFFERED": "1"}
    return subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo(checkout: Path) -> subprocess.CompletedProcess:
    """`doit demo` in it."""
    return doit(checkout, "demo")


def test_the_demo_ends_as_readme_shows(demo: subprocess.CompletedProcess, checkout: Path) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    said = re.findall(r"^(\w+) +\d+ +\d+ +\d+ +\d+ .* (promote|hold|block) +(\S.*)$", demo.stderr, re.M)
    assert said == re.findall(
        r"^(\w+) +\d+ +\d+ +\d+ +\d+ .* (promote|hold|block) +(\S.*)$", (ROOT / "README.md").read_text(), re.M
    )
    again = doit(checkout, "demo")
    assert again.returncode == 0 and "train:" not in again.stdout, again.stdout


@pytest.fixture(scope="module")
def real(demo: subprocess.CompletedProcess, checkout: Path) -> dict[str, str]:
    """What stands in the documents -> what there is in the demo; Go is a language of its configuration."""
    config = checkout / "demo" / "specialists.toml"
    config.write_text(config.read_text(encoding="utf-8") + GO)
    rows = [json.loads(line) for line in (checkout / "demo/out/data/train/rust.jsonl").open(encoding="utf-8")]
    row = next(row for row in rows if row["source"]["kind"] == "session")
    version = os.readlink(checkout / "demo/out/adapters/build-rust/latest")
    return {
        "1a2b3c4d": row["id"],
        "ROW-ID": row["id"],
        "ses_2062af4d80": row["source"]["session"],
        "TEXT": "tried it",
        "VERSION": version,
        "ID": row["source"]["session"],
        "~/src/tengu": "demo/out/repositories/tidegauge",
        ".venv/bin/python": sys.executable,
    }


# command -> how it ends and what it says
ENDS = {
    "doit doctor": (1, "no grammar for Go: tree_sitter_go"),
    "doit check": (1, "languages.go.repositories: ~/src/*-go: not there"),
    "doit train:go": (0, "build-go: no examples, nothing to train"),
    "python scripts/configure-opencode.py --check": (0, "up to date"),  # README had it merged
}
COMMANDS = [command for _document, command in commands() if not " ".join(words_of(command)).startswith(NOT_HERE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_documents_runs(command: str, real: dict[str, str], checkout: Path) -> None:
    words = [real.get(word, word) for word in shlex.split(command)]
    if words[0].endswith("doit"):
        words[:1] = [sys.executable, "-m", "doit"]
    done = run(checkout, words)
    told = done.stdout + done.stderr
    code, said = ENDS.get(" ".join(words_of(command)), (0, ""))
    assert (done.returncode, said in told, "Traceback" in told) == (code, True, False), told


@pytest.fixture(scope="module")
def server(demo: subprocess.CompletedProcess, checkout: Path) -> Iterator[Path]:
    """`doit serve` with what the demo promoted; gives its log."""
    log = checkout / "server.log"
    variables = {**os.environ, "SPECIALISTS_CONFIG": "demo/specialists.toml"}
    config = load_config(checkout / "demo" / "specialists.toml")
    with started([sys.executable, "-m", "doit", "serve"], config, log, cwd=checkout, env=variables):
        yield log


def test_a_specialist_of_the_demo_answers_in_opencode(
    server: Path,
    checkout: Path,
    program: str,  # noqa: F811
) -> None:
    configuration = checkout / "demo" / "out" / "opencode.json"
    text = configuration.read_text(encoding="utf-8") if configuration.exists() else "{}"
    configuration.write_text(jsonc.set_value(text, ("agent", "build-python", "steps"), 2), encoding="utf-8")  # no more
    assert doit(checkout, "opencode").returncode == 0
    answered = doit(checkout, "ask")
    assert answered.returncode == 0 and "build-python" in answered.stdout + answered.stderr
    home = checkout / "home"
    variables = {**prepare(home, ""), "OPENCODE_CONFIG": str(configuration)}
    start = len(server.read_text())
    done = subprocess.run(
        [program, "run", "--agent", "build-python", "Add a total to the ledger"],
        check=False,
        cwd=checkout / "demo/out/repositories/ledgerlines",
        stdin=subprocess.DEVNULL,
        env=variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    assert '"POST /v1/chat/completions HTTP/1.1" 200' in server.read_text()[start:]
