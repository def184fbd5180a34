"""The one HTTP client: JSON to and from a server that speaks OpenAI's API, be it our vLLM or an endpoint.

No redirect is followed, so that a key goes to the server that it is meant for and to no other; what is on this machine
is asked without a proxy. Whatever answers, an answer ends in time and in size.
"""

import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from specialists.config import Problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST = 64 << 20  # bytes of an answer that are read; log-probabilities of a long row take some


class Unreachable(Problem):
    """Nothing answers there."""


class Refused(Problem):
    """The server answers, and with an error; `status` is its HTTP status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None  # urllib then raises the redirect as the HTTPError that it is


def request_json(url: str, body: Any = None, *, key: str | None = None, timeout: float = 10) -> Any:
    """The JSON that a GET, or a POST of `body` as JSON, is answered with; None for an answer that is no JSON.

    `key` is sent as a bearer token; `timeout` is for the whole answer, in seconds.
    Raises Unreachable, Refused, and Problem for what is late or speaks no HTTP, each with the URL."""
    content: Future[bytes] = Future()

    def ask() -> None:
        try:
            with open_json(url, body, key, timeout) as response:
                content.set_result(response.read(LARGEST))
        except BaseException as error:
            content.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # a socket's own timeout begins anew with each byte
    try:
        answer = content.result(timeout)
    except TimeoutError:
        raise Problem(f"{url}: no whole answer in {timeout:g} s") from None
    with suppress(ValueError, RecursionError):
        return json.loads(answer)
    return None


@contextmanager
def open_json(url: str, body: Any, key: str | None, timeout: float) -> Iterator[http.client.HTTPResponse]:
    """The answer of request_json, to be read piece by piece; raises what that raises, also while it is read."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        local = urllib.parse.urlsplit(url).hostname in LOOPBACK
        opener = urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if local else []))
        with opener.open(urllib.request.Request(url, data, headers), timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        reason = " ".join(error.read(300).decode(errors="replace").split())
        raise Refused(f"{url}: {error.code} {reason}".rstrip(), error.code) from None
    except ValueError:  # its text may hold the key
        raise Problem(f"{url}: no request can be made of this URL and key: is a character wrong?") from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        cause = getattr(error, "reason", None) or error
        no_http = isinstance(cause, http.client.HTTPException) and not isinstance(cause, ConnectionError)
        says = f"{url}: {'no HTTP answers there: ' * no_http}{cause}"
        raise (Problem if no_http or isinstance(cause, TimeoutError) else Unreachable)(says) from None
