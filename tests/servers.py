"""Servers for tests: a vLLM of ours for a while, and one in this process with given answers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from conftest import ROOT
from specialists.config import Config
from specialists.server import served_models

SERVE = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--config"]
PATIENCE = 400  # seconds for a vLLM to start on a busy machine


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def started(command: list[str], config: Config, log: Path, **options: Any) -> Iterator[subprocess.Popen]:
    """A process that serves a configuration, from its first answer on; `options` are Popen's."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options)
    try:
        deadline = time.monotonic() + PATIENCE
        while served_models(config) is None:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@contextlib.contextmanager
def answering(answer: Callable[[str, bytes], tuple[int, Any]]) -> Iterator[int]:
    """The port of a server on the loopback; `answer(path, body)` gives a status and a value to send as JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = answer(self.path, body)
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def models_answer(names: dict[str, str]) -> tuple[int, Any]:
    """What vLLM answers to /v1/models: names, each with the folder that it was loaded from."""
    return 200, {"data": [{"id": name, "root": root} for name, root in names.items()]}
