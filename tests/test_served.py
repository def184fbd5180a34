"""The real vLLM on the CPU: who is served, swaps under load, what is refused, the effect check. One server for all."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import tiny_models
from click.testing import Result
from conftest import invoke
from safetensors.numpy import load_file, save_file
from servers import SERVE, free_port, started
from specialists import adapters
from specialists.adapters import AdapterFolder, adapter_folder, last_decision, make_current
from specialists.client import Refused, request_json
from specialists.config import Config, Evaluation, load_config
from specialists.dataset import FROZEN
from specialists.records import read_records, write_json, write_records
from specialists.reporting.doctor import diagnose
from specialists.server import api_key, base_url, load_adapter, served_models, unload_adapter
from specialists.serving import effect, promotion
from test_opencode_real import opencode  # noqa: F401
from test_rollouts import owner, programs, rollout  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]  # one worker, so one server

SERVER = """
[base]
model = "{base}"
dtype = "float32"

[serving]
port = {port}
max_model_len = 40960
output_tokens = 16
# a prompt with a seed that is read in parts ends vLLM's CPU engine ("CPU Generator does not use offset")
extra = ["--enforce-eager", "--dtype", "float32", "--max-num-seqs", "24", "--max-num-batched-tokens", "40960"]

[evaluation]
generate = 0

[serving.env]
VLLM_CPU_KVCACHE_SPACE = "1"
VLLM_CPU_OMP_THREADS_BIND = "nobind"
OMP_NUM_THREADS = "1"
HF_HUB_OFFLINE = "1"

"""
KEY = "k-7Jd93mQpX2vTn5"
LANGUAGE = '[languages.{name}]\nadapter = "build-{name}"\nextensions = [".{name}"]\n'


@dataclass
class Served:
    """A running server: its configuration, the process, its log."""

    config: Config
    process: subprocess.Popen
    log: Path

    def folder(self, language: str) -> AdapterFolder:
        return adapter_folder(self.config, self.config.language(language))

    def version(self, language: str, name: str, seed: int, verdict: str = "promote") -> Path:
        """A new version, trained and evaluated, as `latest`."""
        folder = self.folder(language)
        path = tiny_models.save_adapter(folder.path / name, Path(self.config.base.model), seed)
        write_json(path / "evaluation.json", {"verdict": verdict, "reason": "made up"})
        folder.point("latest", path)
        return path

    def losses(self, model: str) -> list[float]:
        texts = effect.probes(self.config, self.config.language("rust"), Path("none"))
        return [effect.loss(self.config, model, text) for text in texts]

    def promote(self, language: str, *options: str) -> Result:
        return invoke("promote", self.config.path, "--language", language, *options)


def raise_rank(version: Path) -> None:
    """Give a version a rank over --max-lora-rank, which vLLM refuses."""
    settings = version / "adapter_config.json"
    write_json(settings, {**json.loads(settings.read_text()), "r": 512})


def differ(first: list, second: list) -> float:
    """The largest difference of two lists of losses."""
    return float(abs(numpy.subtract(first, second)).max())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """serve.py with Rust and TypeScript promoted, Python promoted and broken, Ruby waiting for it."""
    root = tmp_path_factory.mktemp("served")
    # vLLM's CPU attention takes no smaller heads
    base = tiny_models.save_base(root / "base", head_dim=32, max_position_embeddings=40960)
    languages = "\n".join(LANGUAGE.format(name=name) for name in ("rust", "ts", "python", "ruby"))
    (root / "key").write_text(KEY)
    (root / "key").chmod(0o600)
    text = SERVER.format(base=base, port=free_port()).replace("[serving]", '[serving]\napi_key_file = "./key"')
    (root / "specialists.toml").write_text(text + languages)
    config = load_config(root / "specialists.toml")
    server = Served(config, None, root / "server.log")
    for seed, name in enumerate(("rust", "ts", "python")):
        make_current(server.folder(name), server.version(name, "v1", seed))
    raise_rank(server.folder("python").path / "v1")
    write_records(heldout := config.rows("heldout", "ruby"), tiny_models.rows(6))
    inputs = adapters.evaluation_inputs(config, None, heldout)
    waits = {"verdict": "wait", "measured_on": "training base", "inputs": inputs}
    write_json(server.version("ruby", "waits", 4) / "evaluation.json", waits)
    command, environment = [*SERVE, str(config.path)], {**os.environ, "HOME": str(root)}
    with started(command, config, server.log, env=environment) as server.process:
        yield server


def test_what_is_promoted_is_served_and_tried_and_a_broken_one_is_left_out(served: Served) -> None:
    assert [*served_models(served.config)] == ["base", "build-rust", "build-ts"]
    assert "build-python: left out" in served.log.read_text()
    deadline = time.monotonic() + 120
    while "build-python: rolled back" not in served.log.read_text():  # said at the end by the process beside it
        assert time.monotonic() < deadline, served.log.read_text()[-2000:]
        time.sleep(0.2)
    checks = {check.name: check for check in diagnose(served.config)}
    for name in ("base model", "server", "adapters served"):
        assert checks[name].state == "ok", checks[name]
    for name in ("rust", "ts"):
        found = json.loads((served.folder(name).current / effect.EFFECT).read_text())
        assert found["faults"] == [] and differ(found["served"]["adapter"], found["served"]["base"]) > 0.03
        assert differ(found["served"]["beside"], found["served"]["base"]) < 1e-3
    assert served.folder("python").current is None
    found = json.loads((served.folder("ruby").latest / "evaluation.json").read_text())
    assert (found["measured_on"], found["rows"], len(found["served"]["frozen"])) == ("served", 6, 24)
    assert last_decision(served.folder("ruby"))["verdict"] == found["verdict"] != "wait"


@contextlib.contextmanager
def streams(config: Config, model: str, count: int = 6) -> Iterator[list[Future[bool]]]:
    """Streaming requests that go on while the body runs; yields whether each of them came to its end."""
    import openai

    client = openai.OpenAI(base_url=f"{base_url(config)}/v1", api_key=api_key(config), max_retries=0, timeout=120)
    begun = threading.Barrier(count + 1, timeout=60)
    options = {"model": model, "max_tokens": 150, "stream": True, "extra_body": {"ignore_eos": True}}

    def one(number: int) -> bool:
        parts = client.completions.create(prompt=f"def f{number}(", **options)
        next(parts)
        begun.wait()
        return [reason for part in parts if (reason := part.choices[0].finish_reason)] == ["length"]

    with ThreadPoolExecutor(count) as pool:
        ended = [pool.submit(one, number) for number in range(count)]
        begun.wait()
        yield ended


def test_a_new_version_is_swapped_in_while_requests_are_in_flight(served: Served) -> None:
    before = served.losses("build-rust")
    first, second = served.folder("rust").current, served.version("rust", "v2", 12)
    with streams(served.config, "build-rust") as ended:
        done = served.promote("rust")
    assert done.exit_code == 0, done.output
    assert all(stream.result() for stream in ended)
    folder = served.folder("rust")
    assert (folder.current, folder.previous) == (second, first)
    after = served.losses("build-rust")
    assert differ(after, before) > 0.03 < differ(before, served.losses("build-ts"))
    assert [*served_models(served.config)] == ["base", "build-rust", "build-ts"], "the candidate's name is nobody's"
    assert invoke("promote", served.config.path, "--language", "rust", "--back").exit_code == 0
    assert served.losses("build-rust") == pytest.approx(before, abs=1e-4)
    assert folder.current == first


def test_a_swapped_adapter_is_read_once(served: Served) -> None:
    """vLLM alone reads it again for every token, and dies when it is gone (vllm issue 33791)."""
    version = served.version("ts", "swapped", 13)
    load_adapter(served.config, "build-ts", version)
    before = served.losses("build-ts")
    hidden = version.rename(version.with_name("hidden"))
    assert served.losses("build-ts") == pytest.approx(before, abs=1e-4)
    hidden.rename(version)
    load_adapter(served.config, "build-ts", served.folder("ts").current)


def test_unloading_and_swapping_for_months_costs_no_slot(served: Served) -> None:
    """Once all slots are taken, CPU kernels answer base requests with the last one's adapter."""
    alone, version = served.losses("base"), served.folder("ts").current
    for _time in range(10):
        unload_adapter(served.config, "build-ts")
        load_adapter(served.config, "build-ts", version)
    for seed in range(20):
        load_adapter(served.config, "build-ts", served.version("ts", f"swap-{seed}", 20 + seed))
    load_adapter(served.config, "build-ts", version)
    with ThreadPoolExecutor(6) as pool:
        names = ["build-rust", "build-ts", "base"] * 3
        beside = [losses for name, losses in zip(names, pool.map(served.losses, names), strict=True) if name == "base"]
    assert differ(beside, [alone] * 3) < 1e-3
    with streams(served.config, "build-ts", 3) as ended:
        unload_adapter(served.config, "build-ts")
    assert all(stream.result() for stream in ended)
    load_adapter(served.config, "build-ts", version)


def test_the_key_is_in_no_log_and_in_no_command_line(served: Served) -> None:
    command_lines = subprocess.run(["ps", "-e", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "vllm_server.py" in command_lines and KEY not in command_lines
    assert KEY not in served.log.read_text()
    with pytest.raises(Refused, match="401"):
        request_json(f"{base_url(served.config)}/v1/models")


def test_a_version_without_an_effect_is_blocked_and_nothing_changes(served: Served) -> None:
    """vLLM takes it without a word."""
    before, current = served.losses("build-ts"), served.folder("ts").current
    version = served.version("ts", "no-effect", 5)
    weights = load_file(version / "adapter_model.safetensors")
    scaled = {name: weight * numpy.float32(1e-9) for name, weight in weights.items()}
    save_file(scaled, version / "adapter_model.safetensors")
    done = served.promote("ts")
    assert done.exit_code == 0 and "answers as the base does" in done.output, done.output
    assert last_decision(served.folder("ts"))["verdict"] == "block"
    assert served.folder("ts").current == current
    assert served.losses("build-ts") == pytest.approx(before, abs=1e-4)
    assert served.promote("ts", "--force", version.name, "--reason", "x").exit_code == 1


def test_a_version_that_the_server_refuses_puts_everything_back(served: Served, monkeypatch) -> None:
    """The checks before are taken away, as if they had missed something; vLLM itself refuses it."""
    monkeypatch.setattr(promotion, "check_adapter", lambda *_: [])
    before, current = served.losses("build-ts"), served.folder("ts").current
    raise_rank(served.version("ts", "refused", 6))
    assert "the running server refuses refused" in served.promote("ts").output
    monkeypatch.setattr(promotion.effect, "check_effect", lambda *_: [])
    assert "the running server refuses refused" in served.promote("ts").output
    assert served.folder("ts").current == current
    assert served.losses("build-ts") == pytest.approx(before, abs=1e-4)


def test_an_adapter_that_answers_otherwise_than_through_peft_is_refused(served: Served) -> None:
    """The same weights under another alpha: as a server that mis-applies them."""
    from specialists.evaluation.losses import EvaluatedModels

    rows = [*read_records(FROZEN)]
    version = served.version("ruby", "v1", 7)
    language = served.config.language("ruby")
    write_records(served.config.paths.data / "heldout" / "ruby.jsonl", rows)
    settings = dataclasses.replace(language.training, quantization="none")
    measurements = EvaluatedModels(served.config.base, settings, {"adapter": version}).measure(rows)
    write_json(version / "evaluation.json", {"measurements": measurements})
    assert effect.check_effect(served.config, language, version) == []
    settings = json.loads((version / "adapter_config.json").read_text())
    (version / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 4}))
    other = version.rename(version.with_name("v2"))
    assert "applies it wrongly" in effect.check_effect(served.config, language, other)[0]


def test_what_the_server_measures_is_what_peft_measures(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base, candidate and incumbent, through prompt_logprobs and through PEFT; then turns that the server writes."""
    from specialists.evaluation import losses
    from specialists.evaluation.losses import EvaluatedModels, ServedModels

    config = dataclasses.replace(served.config, evaluation=Evaluation(generate=3))
    language, rows = config.language("ts"), tiny_models.rows(6)
    versions = {"adapter": served.version("ts", "measured", 8), "incumbent": served.folder("ts").current}
    models = ServedModels(config, language, versions)
    found = models.measure(rows, [{"prompt": "Use tabs."}] * 6)
    settings = dataclasses.replace(language.training, quantization="none")
    expected = EvaluatedModels(config.base, settings, versions).measure(rows, [{"prompt": "Use tabs."}] * 6)
    for row, wanted in zip(found, expected, strict=True):
        assert {*row["nll"]} == {"base", "adapter", "incumbent", "prompt"} and {*row["parts"]} == {*wanted["parts"]}
        assert row["nll"] == pytest.approx(wanted["nll"], abs=1e-3 * row["tokens"])
        effect = abs(row["nll"]["adapter"] - row["nll"]["base"]) / row["tokens"]
        assert effect > 0.01, "else any adapter would pass"
    monkeypatch.setattr(losses, "vllm_parser", lambda *_: lambda _text: [])
    monkeypatch.setattr(losses, "TURN_TOKENS", 5)
    scores = losses.generate(config, language, models, rows)
    assert {model: len(answers) for model, answers in scores.items()} == {"adapter": 3, "base": 3}


def test_a_base_that_can_do_nothing_does_no_task(
    served: Served,
    config_file: Path,
    opencode: str,  # noqa: F811
    programs: None,  # noqa: F811
) -> None:
    """Through the real opencode in its sandbox."""
    port, key = served.config.serving.port, served.config.serving.api_key_file
    table = f'\n[serving]\nport = {port}\nmax_model_len = 40960\noutput_tokens = 16\napi_key_file = "{key}"\n'
    config_file.write_text(config_file.read_text().replace("./base", served.config.base.model) + table)
    owner(config_file, "http://127.0.0.1:9/v1", ("solver",), who="base")
    summary = rollout(config_file, "--program", opencode)
    assert (summary["examples"], summary["funnel"]["ended"]) == (0, {"gave up": 1})
    assert summary["models"]["base"]["steps"] > 0 == summary["models"]["base"]["recall"]
    assert not any(KEY.encode() in path.read_bytes() for path in config_file.parent.rglob("*.*") if path.is_file())


def test_the_server_ends_on_sigterm(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert served_models(served.config) is None
