"""Swapping an adapter in a running vLLM under load: is a request dropped, or answered by an older version?

    python benchmarks/swap.py [--streams 20] [--swaps 10]

Twenty clients stream answers from one adapter without a pause, against a real vLLM with a tiny base model, while ten
new versions are promoted one after the other as `doit promote` does it (checked, tried in the server, swapped in
place), and after each third one a version whose file is cut short is offered too. The first token's log-probability
tells which version answered: it must be the one that was current when the request began, or a later one. Prints
failures and the times of the swap alone and of the whole promotion, as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import servers
import tiny_models
from specialists import server
from specialists.adapters import AdapterFolder, adapter_folder, make_current
from specialists.config import Config, load_config
from specialists.records import write_json
from specialists.serving import promotion

CONFIG = """
[base]
model = "{base}"
dtype = "float32"
[serving]
port = {port}
max_model_len = 1024
extra = ["--enforce-eager", "--dtype", "float32"]
env = {{ VLLM_CPU_KVCACHE_SPACE = "1", VLLM_CPU_OMP_THREADS_BIND = "nobind", OMP_NUM_THREADS = "1" }}
[languages.rust]
adapter = "build-rust"
extensions = [".rs"]
"""
PROMPT = "fn main() {"
SAME = 1e-3  # nats; versions differ by more, the same one in another batch by less


class Load:
    """Clients that ask again and again; `answers` are (first completed swap at the start, log-probability)."""

    def __init__(self, config: Config, streams: int):
        import openai

        self.client = openai.OpenAI(base_url=f"{server.base_url(config)}/v1", api_key="none", max_retries=0)
        self.swapped, self.running = 0, True
        self.answers: list[tuple[int, float]] = []
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._client) for _ in range(streams)]

    def _client(self) -> None:
        while self.running:
            began_at = self.swapped
            try:
                self.answers.append((began_at, self.ask("build-rust")))
            except Exception as error:  # whatever it is, it is a failure of a request
                self.failures.append(repr(error))

    def ask(self, model: str, tokens: int = 32) -> float:
        """Stream one whole answer; returns its first token's log-probability."""
        parts: list[Any] = list(
            self.client.completions.create(
                model=model,
                prompt=PROMPT,
                max_tokens=tokens,
                temperature=0,
                logprobs=0,
                stream=True,
                extra_body={"ignore_eos": True},
            )
        )
        logprobs = [value for part in parts for choice in part.choices for value in choice.logprobs.token_logprobs]
        if len(logprobs) != tokens:
            raise ValueError(f"{len(logprobs)} tokens of {tokens}")
        return logprobs[0]


def swaps(config: Config, folder: AdapterFolder, load: Load, count: int) -> dict[str, Any]:
    """Promote `count` versions under load; returns log-probabilities by version and times in seconds."""
    language, promotions, alone = config.language("rust"), [], []
    plain = server.load_adapter

    def timed(config: Config, name: str, version: Path) -> None:
        begun = time.monotonic()
        plain(config, name, version)
        alone.append(time.monotonic() - begun)

    promotion.load_adapter = timed
    known = [load.ask(language.adapter)]
    for number in range(1, count + 1):
        if number % 3 == 0:
            broken = make(config, folder, f"broken-{number}", seed=number)
            weights = broken / "adapter_model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-100])
            if promotion.decide(config, language)["current"] == broken.name:
                raise SystemExit("a broken version was promoted")
        make(config, folder, f"v{number}", seed=number)
        begun = time.monotonic()
        decision = promotion.decide(config, language)
        promotions.append(time.monotonic() - begun)
        if decision["current"] != f"v{number}":
            raise SystemExit(f"not promoted: {decision}")
        load.swapped = number
        known.append(load.ask(language.adapter))
    return {"known": known, "promotions": promotions, "swaps": alone}


def make(config: Config, folder: AdapterFolder, name: str, seed: int) -> Path:
    """A new version with weights of its own, as trained and evaluated."""
    version = tiny_models.save_adapter(folder.path / name, Path(config.base.model), seed, scale=2.0)
    write_json(version / "evaluation.json", {"verdict": "promote", "reason": "benchmark"})
    folder.point("latest", version)
    return version


def older(answers: list[tuple[int, float]], known: list[float]) -> int:
    """How many requests were answered by no version, or by one that was replaced before they began."""
    return sum(not any(abs(logprob - value) < SAME for value in known[began:]) for began, logprob in answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--swaps", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        base = tiny_models.save_base(root / "base", head_dim=32)
        (root / "specialists.toml").write_text(CONFIG.format(base=base, port=servers.free_port()))
        config = load_config(root / "specialists.toml")
        folder = adapter_folder(config, config.language("rust"))
        make_current(folder, make(config, folder, "v0", seed=0))
        with servers.started([*servers.SERVE, str(config.path)], config, root / "server.log"):
            load = Load(config, options.streams)
            for thread in load.threads:
                thread.start()
            try:
                result = swaps(config, folder, load, options.swaps)
            finally:
                load.running = False
                for thread in load.threads:
                    thread.join()
    closest = min(abs(one - two) for one, two in zip(result["known"], result["known"][1:], strict=False))
    print(
        json.dumps(
            {
                "requests": len(load.answers) + len(load.failures),
                "failed": len(load.failures),
                "answered by an older version": older(load.answers, result["known"]),
                "versions differ by (nats)": round(closest, 4),
                "swap, median s": round(statistics.median(result["swaps"]), 3),
                "swap, longest s": round(max(result["swaps"]), 3),
                "promotion with its checks, median s": round(statistics.median(result["promotions"]), 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
