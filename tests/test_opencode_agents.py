"""The real opencode with the configuration made for it: which model answers which agent, and with which prompt."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from built_pipeline import built, write
from conftest import invoke
from opencode_model import ScriptedModel
from specialists.agent import TOOLS, system_prompt
from specialists.config import Config, load_config
from specialists.serving.opencode_config import layers, look
from specialists.sessions.capture import SECONDS, prepare
from test_opencode_real import opencode  # noqa: F401  (a fixture)
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


@pytest.fixture
def ask(request: pytest.FixtureRequest, config: Config, model: ScriptedModel, tmp_path: Path) -> Callable[..., str]:
    """`opencode run` with the configuration made for it, where opencode itself looks for it; gives what it prints."""
    program, home = request.getfixturevalue("opencode"), tmp_path / "home"
    variables = {**prepare(home, model.url), "PWD": str(home / "project"), "VLLM_API_KEY": "key"}
    target = home / "config" / "opencode" / "opencode.jsonc"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(OWNERS)
    result = invoke("configure-opencode", config.path, "--output", target)
    assert result.exit_code == 0, result.output
    merged = target.read_bytes()
    (home / "project").mkdir()

    def run(*arguments: str) -> str:
        options = {"cwd": home / "project", "env": variables, "stdin": subprocess.DEVNULL, "timeout": SECONDS}
        with model.serving():
            done = subprocess.run([program, "run", *arguments], capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stderr
        assert target.read_bytes() == merged, "opencode leaves the file alone"
        return done.stdout

    return run


NAMED = {"build-rust": "build-rust", "build-ts": "base", "build-ts --model vllm/build-rust": "build-rust"}


@pytest.mark.parametrize("words", NAMED)
def test_who_answers_an_agent(ask, config, model, words) -> None:
    """Its adapter, or the base, or the model that is named."""
    agent, answered_by = words.split()[0], NAMED[words]
    ask("--agent", *words.split(), "hello")
    (request,) = model.requests
    assert (request["model"], request["max_tokens"]) == (answered_by, config.serving.output_tokens)
    system = next(message["content"] for message in request["messages"] if message["role"] == "system")
    assert system.startswith(system_prompt(config.language(agent.removeprefix("build-"))))
    assert {tool["function"]["name"] for tool in request["tools"]} == {tool["function"]["name"] for tool in TOOLS}
    assert request.get("temperature") == (0.3 if agent == "build-rust" else None), "the owner's own key counts"


def agents(names: str, model: str) -> dict:
    return {"agent": {name: {"model": model} for name in names}}


FILES = {  # later files win over earlier ones
    "config/opencode/config.json": {**agents("abcdefgh", "p/1"), "enabled_providers": ["x"]},
    "config/opencode/opencode.json": {**agents("bcdefgh", "p/2"), "enabled_providers": ["y"]},
    "config/opencode/opencode.jsonc": '{"agent": {"c": {"model": "p/3"}}, "username": {env:NUMBER}} // mine',
    "opencode.json": agents("defgh", "p/4"),  # what OPENCODE_CONFIG names
    "project/opencode.json": agents("efgh", "p/5"),
    "project/.opencode/opencode.jsonc": {"agent": {"h": {"model": "p/6"}}},
    "config/opencode/agent/f.md": "---\ndescription: a: b\nmodel: p/7 # mine\n---\nBody\n",
    "config/opencode/agents/deep/i.md": "Body\n",
    "project/.opencode/agents/g.md": "---\nmodel: p/8\ndisable: true\n---\n",
}


def test_files_win_over_each_other_as_in_the_program(request, config_file, tmp_path, monkeypatch) -> None:
    program, home = request.getfixturevalue("opencode"), tmp_path / "home"
    variables = {**prepare(home, "http://127.0.0.1:9"), "PWD": str(home / "project"), "NUMBER": '"7"'}
    for name, content in FILES.items():
        write(home / name, content)
    done = subprocess.run([program, "debug", "config"], cwd=home / "project", env=variables, capture_output=True)
    seen = json.loads(done.stdout)
    where = f'[opencode]\nconfig = "{home}/config/opencode/opencode.json"'
    config_file.write_text(config_file.read_text().replace("[opencode]", where))
    monkeypatch.setenv("OPENCODE_CONFIG", variables["OPENCODE_CONFIG"])
    found = layers(load_config(config_file), home / "project")
    keys = {(name, key) for name in (*"abcdefgh", "deep/i") for key in ("model", "prompt", "disable")}
    for name, key in keys:
        assert look(found, ("agent", name, key))[0] == seen["agent"][name].get(key), (name, key)
    assert look(found, ("enabled_providers",))[0] == seen["enabled_providers"] and seen["username"] == "7"


def test_the_primary_agent_delegates_to_a_specialist(ask, model) -> None:
    call = {"description": "Halve", "prompt": "Halve it in Rust", "subagent_type": "build-rust"}
    model.answers = iter([("", [("task", call)]), ("Halved.", []), ("All done.", [])])
    printed = ask("--agent", "build", "--model", "vllm/base", "halve it")
    assert [request["model"] for request in model.requests] == ["base", "build-rust", "base"]
    task = next(tool["function"] for tool in model.requests[0]["tools"] if tool["function"]["name"] == "task")
    assert "build-rust: Writes, changes, fixes and tests Rust code" in task["description"]
    assert "Halved." in str(model.requests[2]["messages"][-1])
    assert "All done." in printed
