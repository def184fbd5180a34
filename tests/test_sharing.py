"""The server sleeps while a run needs the GPU, and wakes whatever becomes of it; a stand-in for vLLM listens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import ROOT
from specialists.config import Config, Problem, load_config
from specialists.server import vllm_command, vllm_environment
from specialists.sharing import gpu


class Handler(BaseHTTPRequestHandler):
    heard: list[str]
    answers: dict[str, int]

    def do_GET(self) -> None:
        self._answer(200, json.dumps({"data": [{"id": "base"}]}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.heard.append(self.path)
        self._answer(self.answers.get(self.path, 200), b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def handler() -> type[Handler]:
    return type("Mine", (Handler,), {"heard": [], "answers": {}})


@pytest.fixture
def port(handler: type[Handler]) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def config_with(config_file: Path, port: int, mode: str = "sleep") -> Config:
    config_file.write_text(config_file.read_text() + f'\n[serving]\nport = {port}\nwhile_training = "{mode}"\n')
    return load_config(config_file)


SLEPT_AND_WOKEN = ["/sleep?level=1", "/wake_up"]


def test_it_sleeps_and_wakes(config_file: Path, port: int, handler: type[Handler]) -> None:
    with gpu(config_with(config_file, port)):
        assert handler.heard == SLEPT_AND_WOKEN[:1]
    assert handler.heard == SLEPT_AND_WOKEN


def test_it_wakes_after_a_failure(config_file: Path, port: int, handler: type[Handler]) -> None:
    with pytest.raises(ZeroDivisionError), gpu(config_with(config_file, port)):
        raise ZeroDivisionError
    assert handler.heard == SLEPT_AND_WOKEN


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_wakes_when_the_run_is_killed(config_file: Path, port: int, handler: type[Handler], how: int) -> None:
    config = config_with(config_file, port)
    program = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from specialists.config import load_config\nfrom specialists.sharing import gpu\n"
        f"with gpu(load_config({str(config.path)!r})):\n    print('slept', flush=True); time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with run:
        assert run.stdout.readline() == b"slept\n"
        os.kill(run.pid, how)
        run.wait(30)
    deadline = time.monotonic() + 30
    while handler.heard != SLEPT_AND_WOKEN and time.monotonic() < deadline:
        time.sleep(0.02)
    assert handler.heard == SLEPT_AND_WOKEN


def test_a_server_that_goes_on_is_left_alone(config_file: Path, port: int, handler: type[Handler]) -> None:
    with gpu(config_with(config_file, port, "keep")):
        pass
    assert handler.heard == []


@pytest.mark.parametrize(
    ("path", "message", "heard"),
    [
        ("/sleep?level=1", r"cannot sleep \(404\); restart it", SLEPT_AND_WOKEN[:1]),
        ("/wake_up", "does not wake; try `curl -X POST http://127.0.0.1:", SLEPT_AND_WOKEN),
    ],
)
def test_a_server_that_cannot(
    config_file: Path, port: int, handler: type[Handler], path: str, message: str, heard: list[str]
) -> None:
    handler.answers[path] = 404
    with pytest.raises(Problem, match=message), gpu(config_with(config_file, port)):
        pass
    assert handler.heard == heard


def test_no_server_and_the_flags_that_it_is_started_with(config_file: Path) -> None:
    config = config_with(config_file, 1)
    with gpu(config):
        pass
    assert vllm_command(config, {})[-1] == "--enable-sleep-mode"
    assert vllm_environment(config)["VLLM_SERVER_DEV_MODE"] == "1"
