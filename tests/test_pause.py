"""The server stops while a run needs the GPU, and comes back whatever becomes of the run; a stand-in for vLLM."""

import contextlib
import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, invoke
from servers import free_port
from specialists.config import Config, Problem, load_config
from specialists.server import served_models
from specialists.serving import pause
from specialists.serving.pause import gpu


@contextlib.contextmanager
def killed(config: Config, how: int) -> Iterator[None]:
    """A run that is killed while it has the GPU."""
    program = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from specialists.config import load_config\nfrom specialists.serving.pause import gpu\n"
        f"config = load_config({str(config.path)!r})\nwith gpu(config, config.language('rust')):\n"
        "    print('has it', flush=True); time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with run:
        assert run.stdout.readline() == b"has it\n"
        os.kill(run.pid, how)
        run.wait(30)
        yield


@dataclasses.dataclass
class Service:
    """A server of its own process, with the owner's commands that start and stop it."""

    config: Config

    @property
    def runs(self) -> bool:
        return served_models(self.config) is not None

    def start(self) -> None:
        subprocess.run(self.config.serving.start, check=True)
        assert self.runs_soon()

    def runs_soon(self) -> bool:
        deadline = time.monotonic() + 30
        while not self.runs and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.runs

    def gpu(self, **changes: object) -> contextlib.AbstractContextManager[None]:
        """The GPU for a run on Rust, under a configuration with these keys of [serving]."""
        serving = dataclasses.replace(self.config.serving, **changes)
        return gpu(dataclasses.replace(self.config, serving=serving), self.config.language("rust"))


@pytest.fixture
def service(config_file: Path, tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "models").write_text('{"data": [{"id": "base"}]}')
    server = f"{sys.executable} -m http.server {port} -b 127.0.0.1 -d {tmp_path}"
    start = f"{server} >/dev/null 2>&1 & echo $! >{tmp_path}/pid"
    stop = f"kill -9 $(cat {tmp_path}/pid)"
    commands = f"start = ['sh', '-c', '{start}']\nstop = ['sh', '-c', '{stop}']\n"
    text = f'{config_file.read_text()}\n[serving]\nport = {port}\nwhile_training = "stop"\n{commands}'
    config_file.write_text(text)
    service = Service(load_config(config_file))
    yield service
    subprocess.run(service.config.serving.stop, check=False)


def test_it_is_stopped_and_started_again(service, monkeypatch) -> None:
    with service.gpu():
        pass
    assert not service.runs, "none is started where none was"
    service.start()
    with service.gpu():
        assert not service.runs
    assert service.runs
    with pytest.raises(ZeroDivisionError), service.gpu():
        raise ZeroDivisionError
    assert service.runs_soon()
    with service.gpu(while_training="keep"):
        assert service.runs
    monkeypatch.setattr(pause, "training_bytes", lambda *_: 10 << 30)
    for free, stays in (([], True), ([10 << 30], True), ([9 << 30], False)):
        monkeypatch.setattr(pause, "visible_gpus", lambda free=free: [("H100", each, 80 << 30) for each in free])
        with service.gpu(while_training="auto"):
            assert service.runs == stays


def test_a_training_that_fails_leaves_it_running(service, tmp_path) -> None:
    service.start()
    (tmp_path / "broken.jsonl").write_text("{")
    for language in ("rust", "ts"):
        done = invoke("train", service.config.path, "--train", tmp_path / "broken.jsonl", "--language", language)
        assert done.exit_code == 1 and "the server is stopped until this is done" in done.stderr, done.stderr
        assert "broken.jsonl" in done.stderr and service.runs_soon()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_started_again_when_the_run_is_killed(service, how) -> None:
    service.start()
    with killed(service.config, how):
        assert service.runs_soon()


@pytest.mark.parametrize(
    ("changes", "message", "runs"),
    [
        ({"stop": ["false"]}, r"serving\.stop failed: Command '\['false'\]'", True),
        ({"stop": ["nowhere"]}, r"serving\.stop failed: .*'nowhere'", True),
        ({"start": ["false"]}, r"does not start again: `false` \(serving\.start\) failed", False),
    ],
)
def test_commands_that_fail_are_named(service, changes, message, runs) -> None:
    service.start()
    with pytest.raises(Problem, match=message), service.gpu(**changes):
        pass
    assert service.runs == runs


def test_a_second_run_waits_for_the_first(service) -> None:
    lock = service.config.paths.adapters / ".gpu" / ".lock"
    with service.gpu(), lock.open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
