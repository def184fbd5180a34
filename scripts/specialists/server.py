"""The one vLLM that serves the base and every promoted adapter: its command line, and a small client for it.

What the flags are for was measured with vLLM 0.32 (docs/serving.md): `--max-loras` defaults to 1, one unloadable
entry in `--lora-modules` kills the server, and on CPU kernels a base request is answered by the last adapter's slot
unless one more slot than adapters is there.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from specialists.adapters import adapter_folder
from specialists.config import Config, Problem
from specialists.lora import check_adapter
from specialists.targets import ROLES

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def served_adapters(config: Config) -> tuple[dict[str, Path], list[str]]:
    """The current version of every adapter that vLLM can load, by name, and what is wrong with the others."""
    adapters, faults = {}, []
    for language in config.languages.values():
        version = adapter_folder(config, language).current
        if version is None:
            continue
        if wrong := check_adapter(version, config):
            faults.append(f"{language.adapter}: left out: {'; '.join(wrong)}")
        else:
            adapters[language.adapter] = version
    return adapters, faults


def vllm_command(config: Config, adapters: dict[str, Path]) -> list[str]:
    """The vLLM command line that serves these adapters on the base model."""
    serving = config.serving
    slots = len(config.languages) + 1  # one for each adapter that may come while it runs, one for the base
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", serving.model or config.base.model,
        "--served-model-name", serving.name,
        "--host", serving.host,
        "--port", str(serving.port),
        "--max-model-len", str(serving.max_model_len),
        "--tensor-parallel-size", str(serving.tensor_parallel_size),
        "--enable-auto-tool-choice",
        "--tool-call-parser", serving.tool_call_parser,
        "--enable-lora",
        "--max-lora-rank", str(serving.max_lora_rank),
        "--max-loras", str(slots),
        "--max-cpu-loras", str(slots),
        "--lora-target-modules", *sorted({leaf for _place, leaves in ROLES.values() for leaf in leaves}),
    ]  # fmt: skip
    if config.base.revision and not serving.model:
        command += ["--revision", config.base.revision]
    if adapters:
        command += ["--lora-modules", *(f"{name}={path}" for name, path in adapters.items())]
    return [*command, *serving.extra]


def vllm_environment(config: Config) -> dict[str, str]:
    """What the vLLM process needs in its environment besides what is there; the API key stays where it is."""
    return {"VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", **config.serving.env}


def exposure(config: Config) -> str | None:
    """A warning when others can reach the server; None on loopback."""
    if config.serving.host in LOOPBACK:
        return None
    key = "VLLM_API_KEY guards /v1 only" if os.environ.get("VLLM_API_KEY") else "no VLLM_API_KEY is set"
    return (
        f"serving.host {config.serving.host}: everyone who reaches this address can use the model and load adapters "
        f"({key}; /invocations, /tokenize and /metrics stay open)"
    )


def base_url(config: Config) -> str:
    """Where a client on this machine finds the server."""
    host = "127.0.0.1" if config.serving.host in ("0.0.0.0", "::") else config.serving.host
    return f"http://{host}:{config.serving.port}"


def served_models(config: Config, timeout: float = 1.0) -> list[str] | None:
    """Names that the running server answers to; None when no server runs there.

    Raises Problem when something runs there that does not serve this base model.
    """
    try:
        answer = _request(config, "/v1/models", timeout=timeout)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    names = [model.get("id") for model in answer.get("data", [])] if isinstance(answer, dict) else []
    if config.serving.name not in names:
        raise Problem(f"{base_url(config)} is answered by another server (models: {', '.join(names) or 'none'})")
    return names


def load_adapter(config: Config, name: str, version: Path) -> None:
    """Have the running server answer `name` with this version; requests in flight finish with the old one.

    Raises Problem when the server refuses it; it then goes on serving what it had.
    """
    body = {"lora_name": name, "lora_path": str(version), "load_inplace": True}
    try:
        _request(config, "/v1/load_lora_adapter", body, timeout=60)
    except urllib.error.HTTPError as error:
        raise Problem(f"{name}: the running server refuses {version.name}: {error.code} {error.read(300)!r}") from None
    except (urllib.error.URLError, TimeoutError) as error:
        raise Problem(f"{name}: the running server does not answer: {error}") from None


def unload_adapter(config: Config, name: str) -> None:
    """Have the running server forget an adapter; requests in flight finish. One that it does not have is no problem."""
    try:
        _request(config, "/v1/unload_lora_adapter", {"lora_name": name}, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise Problem(f"{name}: the running server does not unload it: {error.code}") from None
    except (urllib.error.URLError, TimeoutError) as error:
        raise Problem(f"{name}: the running server does not answer: {error}") from None


def _request(config: Config, path: str, body: dict[str, Any] | None = None, timeout: float = 10) -> Any:
    """JSON of a GET, or of a POST when there is a body; an answer that is no JSON is returned as None."""
    headers = {"Content-Type": "application/json"}
    if api_key := os.environ.get("VLLM_API_KEY"):
        headers["Authorization"] = f"Bearer {api_key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base_url(config) + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        try:
            return json.loads(response.read())
        except ValueError:
            return None
