"""The vLLM command line, and the warning when others can reach it. The real vLLM: test_served.py."""

import contextlib
import importlib
import os
import shlex
import socket
import threading
import time
from pathlib import Path

import pytest
from built_pipeline import files
from conftest import invoke
from servers import answering, models_answer
from specialists.client import request_json
from specialists.config import Problem, load_config
from specialists.server import api_key, load_adapter, served_models
from specialists.serving.command import exposure, vllm_command


def with_serving(config_file: Path, text: str) -> Path:
    config_file.write_text(config_file.read_text() + f"\n[serving]\n{text}\n")
    return config_file


def test_the_flags(config_file) -> None:
    config = load_config(with_serving(config_file, 'extra = ["--tensor-parallel-size", "2"]\nmodel = "x-AWQ"'))
    command = vllm_command(config, {"build-rust": Path("/a/build-rust/1")})
    line = shlex.join(command)
    assert (
        "specialists/serving/vllm_server.py --model x-AWQ --served-model-name base --host 127.0.0.1 --port 8000 "
        "--max-model-len 131072 --tool-call-parser qwen3_coder --max-lora-rank 16 --max-loras 7 --max-cpu-loras 7 "
        "--enable-auto-tool-choice --enable-lora --lora-target-modules"
    ) in line
    assert command[1] == "-P" and line.endswith("--lora-modules build-rust=/a/build-rust/1 --tensor-parallel-size 2")
    targets = command[command.index("--lora-target-modules") + 1 :]
    assert {"q_proj", "gate_proj", "in_proj_qkvz"} <= set(targets)
    assert not {"experts", "lm_head"} & set(targets)
    assert "--lora-modules" not in vllm_command(config, {})


HOSTS = [("127.0.0.1", None, None), ("0.0.0.0", None, "no API key is set"), ("192.0.2.1", "k", "guards /v1 only")]


@pytest.mark.parametrize(("host", "key", "warns"), HOSTS)
def test_a_wider_address_is_warned_of(config_file, monkeypatch, host, key, warns) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("VLLM_API_KEY", key)
    warning = exposure(load_config(with_serving(config_file, f'host = "{host}"')))
    assert warning is None if warns is None else warns in warning


def test_a_missing_base_is_reported_and_never_fetched(config_file, monkeypatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_arguments: pytest.fail("vLLM was started"))
    config = with_serving(config_file, "port = 9")
    config.write_text(config.read_text().replace('model = "./base"', 'model = "some/where"'))
    result = invoke("serve", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "some/where: no tokenizer_config.json; download it first (hf download some/where)" in result.stderr


def test_a_dry_run_prints_what_a_shell_can_run_and_what_is_left_out(config_file, tmp_path) -> None:
    config = with_serving(config_file, 'extra = ["--chat-template", "a b.jinja"]\nenv = {X = "1 2"}')
    version = tmp_path / "adapters" / "build-rust" / "1"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text("{}")
    files(version)
    (version.parent / "current").symlink_to("1")
    done = invoke("serve", config, "--dry-run")
    words = shlex.split(done.stdout)
    assert "X=1 2" in words and words[-1] == "a b.jinja" and "--lora-modules" not in words
    assert (done.exit_code, "build-rust: left out" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("status", "models", "expected"),
    [
        (200, ["base", "build-rust", ".candidate"], ["base", "build-rust"]),
        (200, ["other"], "answered by another server"),
        (401, [], "another server, or one with another API key, answers: .*401"),
    ],
)
def test_who_answers_on_the_port(config_file, status, models, expected) -> None:
    with answering(lambda _path, _body: (status, models_answer(dict.fromkeys(models, ""))[1])) as port:
        config = load_config(with_serving(config_file, f"port = {port}"))
        if isinstance(expected, str):
            with pytest.raises(Problem, match=expected):
                served_models(config)
        else:
            assert [*served_models(config)] == expected
    assert served_models(config) is None, "no server is no error"


def test_a_key_that_no_header_can_hold_is_said_and_not_shown() -> None:
    with pytest.raises(Problem, match=r"^http://127.0.0.1:9/: no request can be made of this URL and key: [ \w]+\?$"):
        request_json("http://127.0.0.1:9/", key="sk-1\n2")


def test_nothing_is_tried_in_a_server_of_another_base(config_file) -> None:
    with answering(lambda _path, _body: models_answer({"base": "Org/Other"})) as port:
        config = load_config(with_serving(config_file, f"port = {port}"))
        with pytest.raises(Problem, match=r"serves the base Org/Other, specialists.toml names .*/base: start it again"):
            load_adapter(config, "build-rust", Path("/1"))


OK = b"HTTP/1.1 200 OK\r\n"
NO_VLLM = {  # name: (what is sent first, what is sent again and again, what is said)
    "silent": (b"", b"", "timed out|no whole answer in 0.5 s"),
    "dripping": (OK + b"Content-Length: 1000000\r\n\r\n", b" ", "no whole answer in 0.5 s"),
    "dripping in its head": (OK + b"X: ", b"a", "no whole answer in 0.5 s"),
    "endless": (OK + b"\r\n", b" " * 65536, "no whole answer in 0.5 s|answered by another server"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", None, "no HTTP answers there: SSH-2.0"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", None, "another server.*302"),
    "HTML": (OK + b"\r\n<html>", None, "answered by another server"),
    "a list that is none": (OK + b'\r\n{"data": {"id": 1}}', None, "answered by another server"),
    "no list of models": (OK + b'\r\n{"data": [1, {}]}', None, "answered by another server"),
}


@pytest.mark.parametrize(("first", "again", "says"), NO_VLLM.values(), ids=NO_VLLM)
def test_what_is_no_vllm_is_said_in_time(config_file, first, again, says) -> None:
    def answer() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as asker:
            asker.recv(65536)
            asker.sendall(first)
            while again is not None:
                asker.sendall(again)
                time.sleep(0.02 if len(again) < 2 else 0)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, daemon=True).start()
        config = load_config(with_serving(config_file, f"port = {listening.getsockname()[1]}"))
        started = time.monotonic()
        with pytest.raises(Problem, match=says):
            served_models(config, timeout=0.5)
        assert time.monotonic() - started < 3


def test_the_key_comes_from_the_environment_or_from_a_file_of_ones_own(config_file, tmp_path, monkeypatch) -> None:
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


CALL = {"name": "read", "arguments": "{}"}


@pytest.mark.parametrize(
    ("status", "model", "message", "code", "shown"),
    [
        (200, "build-rust", {"content": "It parses\n tides."}, 0, "build-rust   text  It parses tides."),
        (200, "build-rust", {"tool_calls": [{"function": CALL}]}, 0, "tool call  read {}"),
        (200, "base", {"content": "Hello"}, 1, "build-rust: base answered instead"),
        (400, "build-rust", {}, 1, "build-rust: the running server fails: "),
    ],
)
def test_asking_shows_who_answered(config_file, monkeypatch, status, model, message, code, shown) -> None:
    ask = importlib.import_module("ask")
    monkeypatch.setattr(ask, "verify", lambda _config: ({}, []))
    monkeypatch.setattr(ask, "promoted_versions", lambda _config: {"rust": "1"})

    def answer(path: str, _body: bytes) -> tuple[int, object]:
        chat = {"model": model, "choices": [{"message": message}]}
        return models_answer({"base": ""}) if "models" in path else (status, chat)

    with answering(answer) as port:
        done = invoke("ask", with_serving(config_file, f"port = {port}"))
    assert done.exit_code == code and shown in done.stderr, done.stderr
