"""The installed opencode, run against a model server on the loopback: to see what it sends, and what it stores.

Nothing of the owner's is touched: all its folders lie in one that the caller names. No request leaves the machine.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from specialists.config import Problem
from specialists.records import write_json

MODEL = "recorder"
SCHEMA = "https://opencode.ai/config.json"
SECONDS = 120  # one run; the first one of an installation unpacks itself


class _Handler(BaseHTTPRequestHandler):
    server: "RecordingModel"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("tools"):
            self.server.requests.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        deltas = self.server.deltas(body)
        end = "tool_calls" if "tool_calls" in deltas[-1] else "stop"
        for delta, reason in [*((delta, None) for delta in deltas), ({}, end)]:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            chunk = {"id": "a", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


class RecordingModel(ThreadingHTTPServer):
    """An OpenAI-compatible server on 127.0.0.1 that keeps the requests and answers each with "Done."."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []  # bodies of the requests that had tools, in order; titles have none
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def deltas(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The answer to a request, in pieces."""
        return [{"role": "assistant", "content": "Done."}]

    @contextmanager
    def serving(self) -> Iterator["RecordingModel"]:
        """Answers as long as the block lasts."""
        with self:
            threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield self
            finally:
                self.shutdown()


def prepare(home: Path, model_url: str) -> dict[str, str]:
    """Make `home` a place where opencode runs offline with one model, at `model_url`; returns the environment."""
    models = {MODEL: {"tool_call": True, "limit": {"context": 32768, "output": 4096}}}
    options = {"baseURL": model_url, "apiKey": "EMPTY"}
    providers = {"local": {"npm": "@ai-sdk/openai-compatible", "options": options, "models": models}}
    config = {"$schema": SCHEMA, "model": f"local/{MODEL}", "small_model": f"local/{MODEL}", "provider": providers}
    file = home / "opencode.json"  # in its folder for configurations opencode would start an `npm install`
    write_json(file, {**config, "share": "disabled"})
    off = ("AUTOUPDATE", "MODELS_FETCH", "SHARE", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "OPENCODE_CONFIG": str(file),
        **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE", "STATE")},
        **{f"OPENCODE_DISABLE_{what}": "1" for what in off},
    }


def run_opencode(program: str, home: Path, project: Path, model_url: str, *prompt: str) -> Path:
    """`opencode run` in a project folder, with everything of its own under `home`; returns its database.
    Raises Problem when it is not there, fails, or takes longer than SECONDS. No process of it is left behind."""
    options = {"cwd": project, "env": {**prepare(home, model_url), "PWD": str(project)}}
    until = time.monotonic() + SECONDS
    # 2.x would wait for the owner's background service where one runs
    alone = ["--standalone"] * ("--standalone" in _run([program, "run", "--help"], home, until, options)[1])
    code, output = _run([program, "run", *alone, *prompt], home, until, options)
    if code:
        raise Problem(f"{program} run: exit code {code}: {output.strip()[-500:]}")
    folder = home / "data" / "opencode"
    return max(folder.glob("opencode*.db"), key=lambda path: path.stat().st_mtime, default=folder / "opencode.db")


def _run(command: list[str], home: Path, until: float, options: dict[str, Any]) -> tuple[int, str]:
    """A command's exit code and what it printed. Raises Problem when it cannot start, or has not ended by `until`."""
    with tempfile.TemporaryFile() as output:  # no pipe, which a process that is left could hold open
        options |= {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "start_new_session": True}
        try:
            process = subprocess.Popen(command, **options)
        except OSError as error:
            raise Problem(f"{command[0]}: {error.strerror}; install opencode, or name it with --program") from None
        try:
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Problem(f"{command[0]} run: no end within {SECONDS} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for folder in Path("/proc").glob("[0-9]*"):  # on Linux also who left the group, known by its HOME
                with suppress(OSError):
                    if f"HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                        os.kill(int(folder.name), signal.SIGKILL)
        output.seek(0)
        return code, output.read().decode("utf-8", "replace")
