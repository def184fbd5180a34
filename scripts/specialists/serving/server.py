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
from specialists.serving.lora import check_adapter
from specialists.training.targets import ROLES

CANDIDATE = ".candidate"  # the name under which a version is tried before it is promoted; no agent asks for it


class Refused(Problem):
    """The running server looked at an adapter and does not want it."""


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
    slots = len(config.languages) + 2  # all adapters, those that come while it runs too; a candidate; the base
    command = [
        sys.executable,
        "-P",
        str(Path(__file__).with_name("vllm_server.py")),  # vLLM's api_server
        "--model",
        serving.model or config.base.model,
        "--served-model-name",
        serving.name,
        "--host",
        serving.host,
        "--port",
        str(serving.port),
        "--max-model-len",
        str(serving.max_model_len),
        "--tensor-parallel-size",
        str(serving.tensor_parallel_size),
        "--enable-auto-tool-choice",
        "--tool-call-parser",
        serving.tool_call_parser,
        "--enable-lora",
        "--max-lora-rank",
        str(serving.max_lora_rank),
        "--max-loras",
        str(slots),
        "--max-cpu-loras",
        str(slots),
        "--lora-target-modules",
        *sorted({leaf for _place, leaves in ROLES.values() for leaf in leaves}),
    ]
    if config.base.revision and not serving.model:
        command += ["--revision", config.base.revision]
    if adapters:
        command += ["--lora-modules", *(f"{name}={path}" for name, path in adapters.items())]
    if serving.while_training == "sleep":
        command.append("--enable-sleep-mode")
    return [*command, *serving.extra]


def vllm_environment(config: Config) -> dict[str, str]:
    """What the vLLM process needs in its environment besides what is there; the API key stays where it is."""
    sleep = {"VLLM_SERVER_DEV_MODE": "1"} if config.serving.while_training == "sleep" else {}  # offers /sleep
    return {"VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", **sleep, **config.serving.env}


def api_key(config: Config) -> str | None:
    """The key that the server asks for: $VLLM_API_KEY, else the content of serving.api_key_file, else none.

    Raises Problem for a file that is not there, is empty, or can be read by others.
    """
    path = config.serving.api_key_file
    if key := os.environ.get("VLLM_API_KEY"):
        return key
    if path is None:
        return None
    try:
        if others := path.stat().st_mode & 0o077:
            raise Problem(f"{path}: others can read the API key (mode bits {others:03o}); chmod 600 it")
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path}: serving.api_key_file cannot be read: {error}") from None
    if not key:
        raise Problem(f"{path}: serving.api_key_file is empty")
    return key


def exposure(config: Config) -> str | None:
    """A warning when others can reach the server; None on loopback."""
    if config.serving.host in LOOPBACK:
        return None
    key = "the API key guards /v1 only" if api_key(config) else "no API key is set"
    return (
        f"serving.host {config.serving.host}: everyone who reaches this address can use the model and load adapters "
        f"({key}; /invocations, /tokenize and /metrics stay open)"
    )


def base_url(config: Config) -> str:
    """Where a client on this machine finds the server."""
    host = "127.0.0.1" if config.serving.host in ("0.0.0.0", "::") else config.serving.host
    return f"http://{host}:{config.serving.port}"


def served_models(config: Config, timeout: float = 1.0) -> list[str] | None:
    """Names that the running server answers to, but the candidate's; None when no server runs there.

    Raises Problem when something runs there that does not serve this base model.
    """
    folders = served_folders(config, timeout)
    return None if folders is None else list(folders)


def served_folders(config: Config, timeout: float = 1.0) -> dict[str, str] | None:
    """Name -> folder that it was loaded from, of everything that the running server answers to; as served_models."""
    try:
        answer = request(config, "/v1/models", timeout=timeout)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    models = answer.get("data", []) if isinstance(answer, dict) else []
    folders = {model.get("id"): model.get("root") or "" for model in models}
    if config.serving.name not in folders:
        raise Problem(f"{base_url(config)} is answered by another server (models: {', '.join(folders) or 'none'})")
    folders.pop(CANDIDATE, None)
    return folders


def load_adapter(config: Config, name: str, version: Path) -> None:
    """Have the running server answer `name` with this version; requests in flight finish with the old one.

    Raises Refused when the server does not take it; it then goes on serving what it had. Problem when it is not there.
    """
    body = {"lora_name": name, "lora_path": str(version), "load_inplace": True}
    try:
        request(config, "/v1/load_lora_adapter", body, timeout=60)
    except urllib.error.HTTPError as error:
        reason = " ".join(error.read(300).decode(errors="replace").split())
        raise Refused(f"{name}: the running server refuses {version.name}: {error.code} {reason}") from None
    except OSError as error:
        raise Problem(f"{name}: the running server does not answer: {error}") from None


def unload_adapter(config: Config, name: str) -> None:
    """Have the running server forget an adapter; requests in flight finish. One that it does not have is no problem.

    vLLM 0.32 forgets the name only: the weights keep their slot until it is needed.
    """
    try:
        request(config, "/v1/unload_lora_adapter", {"lora_name": name}, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise Problem(f"{name}: the running server does not unload it: {error.code}") from None
    except OSError as error:
        raise Problem(f"{name}: the running server does not answer: {error}") from None


def prompt_logprobs(config: Config, model: str, tokens: list[int]) -> list[float]:
    """Natural-log probability of each token but the first, given those before it, as the running server computes it.

    Raises Problem when it does not answer.
    """
    body = {"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    entries = _complete(config, body)["prompt_logprobs"][1:]
    return [entry[str(token)]["logprob"] for token, entry in zip(tokens[1:], entries, strict=True)]


def complete(config: Config, model: str, tokens: list[int], limit: int) -> tuple[str, bool]:
    """The running server's greedy continuation of a prompt by at most `limit` tokens, and whether it came to an end."""
    body = {"model": model, "prompt": tokens, "max_tokens": limit, "temperature": 0, "skip_special_tokens": False}
    choice = _complete(config, body)
    return choice["text"], choice["finish_reason"] != "length"


def _complete(config: Config, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return request(config, "/v1/completions", body, timeout=600)["choices"][0]
    except urllib.error.HTTPError as error:
        reason = " ".join(error.read(300).decode(errors="replace").split())
        raise Problem(f"{body['model']}: the running server fails: {error.code} {reason}") from None
    except OSError as error:
        raise Problem(f"{body['model']}: the running server does not answer: {error}") from None


def request(config: Config, path: str, body: dict[str, Any] | None = None, timeout: float = 10) -> Any:
    """JSON of a GET, or of a POST when there is a body; an answer that is no JSON is returned as None."""
    headers = {"Content-Type": "application/json"}
    if key := api_key(config):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(base_url(config) + path, data=data, headers=headers)
    with urllib.request.urlopen(asked, timeout=timeout) as response:
        try:
            return json.loads(response.read())
        except ValueError:
            return None
