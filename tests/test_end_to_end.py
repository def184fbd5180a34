"""The last metre for real: opencode 1.18.33 against our own vLLM on the CPU, configured by our own scripts."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
import tiny_models
from click.testing import CliRunner
from servers import SERVE, free_port, started
from specialists.adapters import make_current
from specialists.config import load_config
from specialists.reporting import doctor
from specialists.serving import jsonc
from specialists.sessions.capture import SECONDS, prepare
from test_opencode_real import opencode as program  # noqa: F401  (a fixture)
from test_served import LANGUAGE, SERVER, Served

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]

CONTEXT = 40960  # the head that opencode sends is 20,000 tokens to a tokenizer that knows 400
_ASKED = re.compile(r"Received request chatcmpl-\S+:.*?lora_request: (?:None|LoRARequest\((.*?)\))", re.S)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """serve.py with a first version of Rust promoted and TypeScript held; it logs whom each request is for."""
    root = tmp_path_factory.mktemp("served")
    base = tiny_models.save_base(root / "base", "llama", head_dim=32, max_position_embeddings=CONTEXT)
    text = SERVER.format(base=base, port=free_port())
    text = text.replace('"--enforce-eager"', '"--enforce-eager", "--enable-log-requests"')
    text += "".join(LANGUAGE.format(name=name) for name in ("rust", "ts"))
    (root / "specialists.toml").write_text(f'[opencode]\nconfig = "{root}/home/config/opencode/opencode.jsonc"\n{text}')
    server = Served(load_config(root / "specialists.toml"), None, root / "server.log")
    make_current(server.folder("rust"), server.version("rust", "v1", 1))
    server.version("ts", "v1", 2, "hold")
    command, environment = [*SERVE, str(server.config.path)], {**os.environ, "HOME": str(root)}
    with started(command, server.config, server.log, env=environment) as server.process:
        yield server


def configure(served: Served) -> None:
    """The configuration as configure-opencode.py writes it, where opencode itself looks for it."""
    run = CliRunner().invoke(importlib.import_module("configure-opencode").main, ["--config", str(served.config.path)])
    assert run.exit_code == 0, run.output


def run_agent(opencode: str, served: Served, agent: str) -> subprocess.CompletedProcess:
    """`opencode run --agent` in a project, with nothing but that configuration."""
    home = served.config.opencode.config.parents[2]
    project = home / "project"
    project.mkdir(parents=True, exist_ok=True)
    variables = {**prepare(home, ""), "PWD": str(project)}
    del variables["OPENCODE_CONFIG"]
    return subprocess.run(
        [opencode, "run", "--agent", agent, "Halve it"],
        cwd=project,
        env=variables,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def answered_by(opencode: str, served: Served, agent: str) -> set[str]:
    """Folders of the adapters that answered an agent's requests; "" is the base."""
    configure(served)
    start = len(served.log.read_text())
    done = run_agent(opencode, served, agent)
    assert done.returncode == 0, done.stderr
    requests = _ASKED.findall(served.log.read_text()[start:])
    assert requests, served.log.read_text()[start:][-3000:]
    return {found[1] if (found := re.search(r"lora_path='([^']*)'", request)) else "" for request in requests}


def test_the_base_answers_for_a_held_adapter_and_a_promoted_version_from_the_next_request_on(
    program: str,  # noqa: F811
    served: Served,
) -> None:
    assert answered_by(program, served, "build-ts") == {""}
    assert answered_by(program, served, "build-rust") == {str(served.folder("rust").current)}
    second = served.version("rust", "v2", 12)
    promoted = served.promote("rust")
    assert promoted.exit_code == 0 and served.folder("rust").current == second, promoted.output
    assert answered_by(program, served, "build-rust") == {str(second)}


def test_the_doctor_finds_all_of_it_healthy_and_then_an_agent_of_an_adapter_that_is_not_served(
    program: str,  # noqa: F811
    served: Served,
) -> None:
    configure(served)
    found = {check.name: check for check in doctor.diagnose(load_config(served.config.path))}
    for name in ("base model", "chat template", "server", "adapters served", "opencode", "agents", "context"):
        assert found[name].state == "ok", found[name]
    file = served.config.opencode.config
    text = jsonc.set_value(file.read_text(), ("agent", "mine", "model"), "vllm/build-ts")
    file.write_text(jsonc.set_value(text, ("provider", "vllm", "models", "build-ts"), {"tool_call": True}))
    done = run_agent(program, served, "mine")
    assert "The model `build-ts` does not exist" in done.stdout + done.stderr
    (agents,) = (check for check in doctor.diagnose(load_config(served.config.path)) if check.name == "agents")
    assert agents.state == "fail"
    assert "agent mine: nothing answers to build-ts: no version is promoted (verdict: hold)" in agents.says
