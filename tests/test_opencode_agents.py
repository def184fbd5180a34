"""The real opencode with the configuration made for it: which model answers which agent, and with which prompt."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

import pytest
from built_pipeline import built
from click.testing import CliRunner
from opencode_model import ScriptedModel
from specialists.agent import TOOLS, system_prompt
from specialists.config import Config, load_config
from specialists.sessions.capture import SECONDS, prepare
from test_opencode_real import opencode as program  # noqa: F401  (a fixture)
from test_server import with_serving

pytestmark = pytest.mark.slow

OWNERS = '{\n  // mine\n  "theme": "system", // stays\n  "agent": {"build-rust": {"temperature": 0.3,},},\n}\n'


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def config(config_file: Path, model: ScriptedModel) -> Config:
    """Rust promoted, TypeScript not; the server is the scripted model."""
    port = model.url.rpartition(":")[2].removesuffix("/v1")
    built(with_serving(config_file, f"port = {port}"))
    return load_config(config_file)


def ask(opencode: str, config: Config, model: ScriptedModel, home: Path, *arguments: str) -> str:
    """`opencode run` with the configuration made for it, where opencode itself looks for it; what it prints."""
    variables = {**prepare(home, model.url), "PWD": str(home / "project"), "VLLM_API_KEY": "key"}
    target = home / "config" / "opencode" / "opencode.jsonc"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(OWNERS)
    script = importlib.import_module("configure-opencode")
    result = CliRunner().invoke(script.main, ["--config", str(config.path), "--output", str(target)])
    assert result.exit_code == 0, result.output
    merged = target.read_bytes()
    project = home / "project"
    project.mkdir()
    with model.serving():
        done = subprocess.run(
            [opencode, "run", *arguments],
            cwd=project,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == merged, "opencode leaves the file alone"
    return done.stdout


def system_of(request: dict) -> str:
    return next(message["content"] for message in request["messages"] if message["role"] == "system")


@pytest.mark.parametrize(("agent", "answered_by"), [("build-rust", "build-rust"), ("build-ts", "base")])
def test_an_agent_is_answered_by_its_adapter_or_the_base(
    program: str,  # noqa: F811
    config: Config,
    model: ScriptedModel,
    tmp_path: Path,
    agent: str,
    answered_by: str,
) -> None:
    ask(program, config, model, tmp_path / "home", "--agent", agent, "hello")
    (request,) = model.requests
    assert request["model"] == answered_by
    assert request["max_tokens"] == config.serving.output_tokens
    assert system_of(request).startswith(system_prompt(config.language(agent.removeprefix("build-"))))
    assert {tool["function"]["name"] for tool in request["tools"]} == {tool["function"]["name"] for tool in TOOLS}
    assert request.get("temperature") == (0.3 if agent == "build-rust" else None), "the owner's own key counts"


def test_the_primary_agent_delegates_to_a_specialist(
    program: str,  # noqa: F811
    config: Config,
    model: ScriptedModel,
    tmp_path: Path,
) -> None:
    call = {"description": "Halve", "prompt": "Halve it in Rust", "subagent_type": "build-rust"}
    model.answers = iter([("", [("task", call)]), ("Halved.", []), ("All done.", [])])
    printed = ask(program, config, model, tmp_path / "home", "--agent", "build", "--model", "vllm/base", "halve it")
    assert [request["model"] for request in model.requests] == ["base", "build-rust", "base"]
    task = next(tool["function"] for tool in model.requests[0]["tools"] if tool["function"]["name"] == "task")
    assert "build-rust: Writes, changes, fixes and tests Rust code" in task["description"]
    assert "Halved." in str(model.requests[2]["messages"][-1])
    assert "All done." in printed
