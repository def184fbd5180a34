"""The one vLLM that serves the base and every promoted adapter: its command line.

With vLLM 0.32 (docs/serving.md) `--max-loras` defaults to 1, one unloadable entry in `--lora-modules` kills the server,
and on CPU kernels a base request is answered by the last adapter's slot unless there is one more slot than adapters.
"""

import sys
from contextlib import suppress
from pathlib import Path

from specialists.adapters import adapter_folder, not_served
from specialists.client import LOOPBACK
from specialists.config import Config, Problem
from specialists.families import FAMILIES, vllm_options
from specialists.server import api_key
from specialists.serving.lora import check_adapter, served_chat, served_model
from specialists.tables import SERVED_BASE
from specialists.training.targets import ROLES


def served_adapters(config: Config) -> tuple[dict[str, Path], list[str]]:
    """The current version of every adapter that vLLM can load, by name, and what is wrong with the others."""
    current = {each.adapter: adapter_folder(config, each).current for each in config.languages.values()}
    faults = {name: check_adapter(version, config) for name, version in current.items() if version}
    adapters = {name: version for name, version in current.items() if version and not faults[name]}
    left_out = [f"{name}: left out: {'; '.join(wrong)}" for name, wrong in faults.items() if wrong]
    return adapters, left_out + not_served(config)


def vllm_command(config: Config, adapters: dict[str, Path]) -> list[str]:
    """The vLLM command line that serves these adapters on the base model."""
    serving, (model, revision) = config.serving, served_model(config)
    parsers = {"--tool-call-parser": serving.tool_call_parser or FAMILIES[0].parser}
    with suppress(Problem):  # a base that is not here (a dry run) is taken for Qwen3-Coder
        parsers = vllm_options(served_chat(config), serving.tool_call_parser)
    slots = len(config.languages) + 2  # all adapters, those that come while it runs too; a candidate; the base
    options = {
        "--model": model,
        **({"--revision": revision} if revision else {}),
        "--served-model-name": SERVED_BASE,
        "--host": serving.host,
        "--port": serving.port,
        "--max-model-len": serving.max_model_len,
        **parsers,
        "--max-lora-rank": serving.max_lora_rank,
        "--max-loras": slots,
        "--max-cpu-loras": slots,
    }
    targets = sorted({leaf for _place, leaves in ROLES.values() for leaf in leaves})
    modules = [f"{name}={path}" for name, path in adapters.items()]
    return [
        *(sys.executable, "-P", str(Path(__file__).with_name("vllm_server.py"))),  # vLLM's api_server
        *(str(part) for option in options.items() for part in option),
        *("--enable-auto-tool-choice", "--enable-lora", "--lora-target-modules", *targets),
        *(["--lora-modules", *modules] if modules else []),
        *serving.extra,
    ]


def exposure(config: Config) -> str | None:
    """A warning when others can reach the server; None on loopback."""
    if config.serving.host in LOOPBACK:
        return None
    key = "the API key guards /v1 only" if api_key(config) else "no API key is set"
    what = f"serving.host {config.serving.host}: everyone who reaches this address can use the model and load adapters"
    return f"{what} ({key}; /invocations, /tokenize and /metrics stay open)"
