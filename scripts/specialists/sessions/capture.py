"""The installed opencode, run once against a scripted model on the loopback: to see what it sends, and what it stores.

Nothing of the owner's is touched: home, configuration and data folders lie in a folder that the caller names, and no
request leaves the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from specialists.config import Problem
from specialists.records import write_json

MODEL = "scripted"
SECONDS = 120  # one run; the first one of an installation unpacks itself


class ScriptedModel:
    """An OpenAI-compatible server on 127.0.0.1 that answers with a script and keeps the requests.

    An answer is (text, calls), a call (name, arguments); requests without tools (titles) get a fixed line, and when the
    script is over the answer is "Done.".
    """

    def __init__(self, answers: Iterable[tuple[str, list[tuple[str, dict[str, Any]]]]] = ()):
        self.requests: list[dict[str, Any]] = []  # bodies of the requests that had tools, in order
        self._answers = iter(answers)
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for chunk in owner.answer(body):
                    self.wfile.write(f"data: {chunk}\n\n".encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> Iterator[str]:
        """The stream that answers one request."""
        text, calls = "A title", list[tuple[str, dict[str, Any]]]()
        if body.get("tools"):
            with self._lock:
                self.requests.append(body)
                text, calls = next(self._answers, ("Done.", []))
                number = len(self.requests)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": text}]
        for index, (name, arguments) in enumerate(calls):
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"index": index, "id": f"call_{number}_{index}", "type": "function", "function": function}
            deltas.append({"tool_calls": [call]})
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"})
        for choice in choices:
            yield json.dumps({"id": "a", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]})
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        yield json.dumps({"id": "a", "object": "chat.completion.chunk", "model": MODEL, "choices": [], "usage": usage})
        yield "[DONE]"

    @contextmanager
    def serving(self) -> Iterator[ScriptedModel]:
        """Answers as long as the block lasts."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def prepare(home: Path, model_url: str) -> dict[str, str]:
    """Make `home` a place where opencode runs offline with one model, at `model_url`; returns the environment."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": model_url, "apiKey": "EMPTY"},
        "models": {MODEL: {"tool_call": True, "limit": {"context": 32768, "output": 4096}}},
    }
    name = f"local/{MODEL}"
    config = {"model": name, "small_model": name, "provider": {"local": provider}, "share": "disabled"}
    file = home / "opencode.json"  # in its folder for configurations opencode would start an `npm install`
    write_json(file, {"$schema": "https://opencode.ai/config.json", **config})
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

    Raises Problem when it is not there, fails, or takes longer than SECONDS.
    """
    variables = {**prepare(home, model_url), "PWD": str(project)}
    try:
        done = subprocess.run(
            [program, "run", *prompt],
            cwd=project,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except OSError as error:
        raise Problem(f"{program}: {error.strerror}; install opencode, or name it with --program") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"{program} run: no end within {SECONDS} s") from None
    if done.returncode:
        raise Problem(f"{program} run: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return home / "data" / "opencode" / "opencode.db"
