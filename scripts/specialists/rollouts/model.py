"""The model as a rollout reaches it: through one Unix socket, by one name, with a key that stays outside."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from specialists.client import Refused, open_json
from specialists.config import Problem

STEPS = 100  # requests of one rollout; more is a loop
REPEATS = 4  # times that the same calls may stand behind one another
LARGEST = 32 << 20  # bytes of a request
_REFUSALS = (400, 413, 422)  # of this request, too long most often; others would refuse any
PATIENCE = 600.0  # seconds without a word from the server


class ModelSocket:
    """Hands chat completions on to `url`/chat/completions, as `model` and with `seed`.

    `ended` says why the rollout is to end ("loop"; "down": the server fails), `failure` what the last error was."""

    def __init__(self, url: str, model: str, key: str | None, seed: int):
        self.url, self.key, self.fixed = f"{url}/chat/completions", key, {"model": model, "seed": seed}
        self.steps, self.ended, self.failure = 0, "", ""

    @contextmanager
    def listening(self, path: Path) -> Iterator[None]:
        """Answers on the socket `path`, of at most 100 characters, as long as the block lasts."""
        socket = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                if not self.path.endswith("/chat/completions") or length > LARGEST:
                    return self.send_error(404)
                # the rollout has been ended; or somebody else than opencode asks, who knows what
                with suppress(ConnectionError, ValueError, LookupError, TypeError, AttributeError):
                    socket.hand_on(json.loads(self.rfile.read(length)), self)

            def log_message(self, *_: Any) -> None:
                pass

        with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
            server.daemon_threads, server.block_on_close = True, False  # an answer under way is of no use any more
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()

    def hand_on(self, body: dict[str, Any], handler: BaseHTTPRequestHandler) -> None:
        """Ask the server, and pass on what it answers as it comes; the same calls again and again end the rollout."""
        self.steps += bool(body.get("tools"))  # titles have none
        answers = [message for message in body.get("messages", ()) if message["role"] == "assistant"]
        calls = [[call["function"] for call in answer.get("tool_calls") or ()] for answer in answers[-REPEATS:]]
        if self.steps > STEPS or (len(calls) == REPEATS and calls[0] and all(some == calls[0] for some in calls)):
            self.ended = "loop"
        try:
            with open_json(self.url, {**body, **self.fixed}, self.key, PATIENCE) as answer:
                handler.send_response(200)
                handler.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                handler.end_headers()
                while chunk := answer.read1(1 << 16):
                    with suppress(ConnectionError):  # what open_json raises is the server's
                        handler.wfile.write(chunk)
            self.failure = ""
        except Problem as problem:
            status = problem.status if isinstance(problem, Refused) else 502
            self.failure, self.ended = str(problem), self.ended or ("" if status in _REFUSALS else "down")
            handler.send_error(status)
