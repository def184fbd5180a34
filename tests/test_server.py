"""The vLLM command line, and what is said when others can reach it. The real vLLM: test_served.py."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from servers import answering, models_answer
from specialists.config import Problem, load_config
from specialists.server import api_key, served_models
from specialists.serving.vllm import exposure, vllm_command


def with_serving(config_file: Path, text: str) -> Path:
    config_file.write_text(config_file.read_text() + f"\n[serving]\n{text}\n")
    return config_file


def test_the_plan_s_flags_and_what_they_lacked(config_file: Path) -> None:
    command = vllm_command(load_config(config_file), {"build-rust": Path("/a/build-rust/1")})
    line = shlex.join(command)
    for flags in (
        "-P",
        "specialists/serving/vllm_server.py",
        "--enable-lora",
        "--max-lora-rank 16",
        "--port 8000",
        "--host 127.0.0.1",
        "--max-loras 7",
        "--max-cpu-loras 7",
        "--served-model-name base",
        "--enable-auto-tool-choice",
        "--tool-call-parser qwen3_coder",
        "--lora-modules build-rust=/a/build-rust/1",
    ):
        assert flags in line
    targets = command[command.index("--lora-target-modules") + 1 :]
    assert {"q_proj", "gate_proj", "in_proj_qkvz"} <= set(targets)
    assert not {"experts", "lm_head"} & set(targets)


def test_extra_arguments_come_last(config_file: Path) -> None:
    config = load_config(with_serving(config_file, 'extra = ["--pipeline-parallel-size", "2"]\nmodel = "x-AWQ"'))
    command = vllm_command(config, {})
    assert command[-2:] == ["--pipeline-parallel-size", "2"]
    assert command[command.index("--model") + 1] == "x-AWQ"
    assert "--lora-modules" not in command


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("127.0.0.1", None, None),
        ("::1", None, None),
        ("0.0.0.0", None, "no API key is set"),
        ("192.0.2.1", "k", "guards /v1 only"),
    ],
)
def test_a_wider_address_is_warned_of(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, host: str, key: str | None, said: str | None
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("VLLM_API_KEY", key)
    warning = exposure(load_config(with_serving(config_file, f'host = "{host}"')))
    assert warning is None if said is None else said in warning


def test_a_dry_run_prints_what_a_shell_can_run(config_file: Path) -> None:
    config = with_serving(config_file, 'extra = ["--chat-template", "a b.jinja"]\nenv = {X = "1 2"}')
    script = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--dry-run", "--config", str(config)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    words = shlex.split(done.stdout)
    assert "X=1 2" in words and words[-1] == "a b.jinja"


def test_a_base_that_is_not_here_is_told_and_never_fetched(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_arguments: pytest.fail("vLLM was started"))
    config = with_serving(config_file, "port = 9")
    config.write_text(config.read_text().replace('model = "./base"', 'model = "some/where"'))
    result = CliRunner().invoke(importlib.import_module("serve").main, ["--config", str(config)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "some/where: no tokenizer_config.json; download the base model first" in result.stderr


def test_a_bad_adapter_is_left_out_and_named(config_file: Path, tmp_path: Path) -> None:
    version = tmp_path / "adapters" / "build-rust" / "1"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text("{}")
    (version.parent / "current").symlink_to("1")
    serve = importlib.import_module("serve")
    result = CliRunner().invoke(serve.main, ["--dry-run", "--config", str(config_file)])
    assert result.exit_code == 0
    assert "build-rust: left out" in result.stderr
    assert "--lora-modules" not in result.stdout


@pytest.mark.parametrize(("models", "expected"), [(("base", "build-rust"), ["base", "build-rust"]), (("other",), None)])
def test_who_answers_on_the_port(config_file: Path, models: tuple[str, ...], expected: list[str] | None) -> None:
    with answering(lambda _path, _body: models_answer(dict.fromkeys(models, ""))) as port:
        config = load_config(with_serving(config_file, f"port = {port}"))
        if expected is None:
            with pytest.raises(Problem, match="answered by another server"):
                served_models(config)
        else:
            assert served_models(config) == expected
    assert served_models(config) is None, "no server is no error"


def test_the_key_comes_from_the_environment_or_from_a_file_of_ones_own(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert api_key(load_config(config_file)) is None
    config = load_config(with_serving(config_file, 'api_key_file = "./key"'))
    with pytest.raises(Problem, match=r"key: serving\.api_key_file cannot be read"):
        api_key(config)
    (tmp_path / "key").write_text("of-my-own\n")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Problem, match="others can read the API key"):
        api_key(config)
    (tmp_path / "key").chmod(0o600)
    assert api_key(config) == "of-my-own"
    assert not [part for part in vllm_command(config, {}) if "of-my-own" in part]
    monkeypatch.setenv("VLLM_API_KEY", "another")
    assert api_key(config) == "another"
