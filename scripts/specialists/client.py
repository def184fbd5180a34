"""The one HTTP client: JSON to and from a server that speaks OpenAI's API, be it our vLLM or an endpoint.

No redirect is followed, so that a key goes to the server that it is meant for and to no other; what is on this machine
is asked without a proxy.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from specialists.config import Problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Unreachable(Problem):
    """Nothing answers there, or not in time (`late`)."""

    def __init__(self, message: str, late: bool = False):
        super().__init__(message)
        self.late = late


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

    `key` is sent as a bearer token; `timeout` is in seconds. Raises Unreachable and Refused, both with the URL.
    """
    with open_json(url, body, key, timeout) as response:
        content = response.read()
    try:
        return json.loads(content)
    except ValueError:
        return None


@contextmanager
def open_json(url: str, body: Any, key: str | None, timeout: float) -> Iterator[http.client.HTTPResponse]:
    """The answer of request_json, to be read piece by piece; raises what that raises, also while it is read."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    local = urllib.parse.urlsplit(url).hostname in LOOPBACK
    opener = urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if local else []))
    try:
        with opener.open(urllib.request.Request(url, data, headers), timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        reason = " ".join(error.read(300).decode(errors="replace").split())
        raise Refused(f"{url}: {error.code} {reason}".rstrip(), error.code) from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        cause = getattr(error, "reason", None) or error
        raise Unreachable(f"{url}: {cause}", isinstance(cause, TimeoutError)) from None
