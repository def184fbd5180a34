"""A client for the vLLM that serves the base and the adapters: what it serves, swapping adapters, asking for text."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from specialists.chat import IGNORED
from specialists.client import Refused, Unreachable, request_json
from specialists.config import Config, Problem
from specialists.tables import SERVED_BASE

CANDIDATE = ".candidate"  # the name under which a version is tried before it is promoted; no agent asks for it


def base_url(config: Config) -> str:
    """Where a client on this machine finds the server."""
    host = "127.0.0.1" if config.serving.host in ("0.0.0.0", "::") else config.serving.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.serving.port}"


def api_key(config: Config) -> str | None:
    """The key: $VLLM_API_KEY, else what serving.api_key_file holds, else none. Raises Problem for a bad file."""
    path = config.serving.api_key_file
    if (key := os.environ.get("VLLM_API_KEY")) or path is None:
        return key or None
    try:
        if others := path.stat().st_mode & 0o077:
            raise Problem(f"{path}: others can read the API key (mode bits {others:03o}); chmod 600 it")
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path}: serving.api_key_file cannot be read: {error}") from None
    if not key:
        raise Problem(f"{path}: serving.api_key_file is empty")
    return key


def served_models(config: Config, timeout: float = 3.0) -> dict[str, str] | None:
    """Name -> folder that it was loaded from, of all that the running server answers to but the candidate.

    None when no server runs there. Raises Problem when one does not answer in `timeout` seconds or has another base."""
    try:
        answer = _request(config, "/v1/models", timeout=timeout)
    except Unreachable:
        return None
    except Refused as refused:
        raise Problem(f"another server, or one with another API key, answers: {refused}") from None
    models = answer.get("data") if isinstance(answer, dict) else None
    listed = [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
    folders = {str(model.get("id")): str(model.get("root") or "") for model in listed}
    if SERVED_BASE not in folders:
        names = ", ".join([*folders][:9]) or "none"
        raise Problem(f"{base_url(config)} is answered by another server (models: {names})")
    folders.pop(CANDIDATE, None)
    return folders


def wait(config: Config, running: bool, seconds: float, ended: Callable[[], bool] = lambda: False) -> bool:
    """Wait until a server runs, or runs no more; False when that takes longer, or when there is none and it `ended`."""
    deadline = time.monotonic() + seconds
    while (served_models(config) is not None) != running:
        if ended() or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def load_adapter(config: Config, name: str, version: Path) -> None:
    """Have the running server answer `name` with this version; requests in flight finish with the old one.

    Raises Refused when the server does not take it; it then goes on serving what it had. Unreachable when none runs,
    Problem when it was started with another base, which says nothing about the version."""
    base, wanted = (served_models(config) or {}).get(SERVED_BASE), config.serving.model or config.base.model
    if base and base != wanted:
        raise Problem(f"{base_url(config)} serves the base {base}, {config.path.name} names {wanted}: start it again")
    body = {"lora_name": name, "lora_path": str(version), "load_inplace": True}
    try:
        _request(config, "/v1/load_lora_adapter", body, timeout=60)
    except Refused as refused:
        raise Refused(f"{name}: the running server refuses {version.name}: {refused}", refused.status) from None


def unload_adapter(config: Config, name: str) -> None:
    """Have the running server forget an adapter; requests in flight finish. One that it does not have is no problem."""
    try:
        _request(config, "/v1/unload_lora_adapter", {"lora_name": name}, timeout=60)
    except Refused as refused:
        if refused.status != 404:
            raise


def supervised_losses(config: Config, model: str, tokens: list[int], labels: list[int]) -> list[float]:
    """Negative log-likelihood (nats) of each token that has a label, as a model of the running server has it."""
    choice = _ask(config, "completions", model, 1, prompt=tokens, prompt_logprobs=0)["choices"][0]
    entries = zip(tokens[1:], labels[1:], choice["prompt_logprobs"][1:], strict=True)  # the first token has none
    return [-entry[str(token)]["logprob"] for token, label, entry in entries if label != IGNORED]


def complete(config: Config, model: str, tokens: list[int], limit: int) -> tuple[str, bool]:
    """The running server's greedy continuation of a prompt by at most `limit` tokens, and whether it came to an end."""
    choice = _ask(config, "completions", model, limit, prompt=tokens, skip_special_tokens=False)["choices"][0]
    return choice["text"], choice["finish_reason"] != "length"


def chat(config: Config, model: str, messages: list[Any], tools: list[Any], limit: int) -> dict[str, Any]:
    """The running server's greedy answer to a chat by at most `limit` tokens, as OpenAI's API has it."""
    return _ask(config, "chat/completions", model, limit, messages=messages, tools=tools)


def _ask(config: Config, path: str, model: str, limit: int, **body: Any) -> dict[str, Any]:
    body |= {"model": model, "max_tokens": limit, "temperature": 0}
    try:
        return _request(config, f"/v1/{path}", body, timeout=600)
    except Refused as refused:  # no verdict on an adapter, which Refused is when it comes from load_adapter
        raise Problem(f"{model}: the running server fails: {refused}") from None


def _request(config: Config, path: str, body: Any = None, timeout: float = 10) -> Any:
    return request_json(base_url(config) + path, body, key=api_key(config), timeout=timeout)
