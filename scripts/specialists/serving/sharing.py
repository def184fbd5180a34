"""One GPU for serving and training: the running vLLM makes room while a run needs the memory, and always comes back.

Asleep (vLLM's sleep mode, level 1) its weights move to the CPU's memory and the cache goes; the process and its loaded
adapters stay. Stopped, it is ended and started again by the owner's own commands. A little process of its own brings
it back when ours is gone, however it went: it waits for the end of a pipe that only we hold, so that an exception, a
signal and kill -9 are the same to it. Where that died too, with the machine, a file says that a server was stopped,
and the next run starts it afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import shlex
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

from specialists.adapters import AdapterFolder
from specialists.cli import say
from specialists.config import Config, Problem
from specialists.serving.server import base_url, request, served_models

GONE = 120  # seconds for a stopped server to let go of its port
BACK = 3600  # seconds for a started one to answer; the real base is read from disk first

_KEEPER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which the command would inherit
print(flush=True)
sys.stdin.read()
code = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
if not code:
    os.unlink(sys.argv[1])
sys.exit(code)
"""
_WAKE = """
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="POST"), timeout=600).read()
"""


@contextlib.contextmanager
def gpu(config: Config) -> Iterator[None]:
    """The GPU's memory for the length of the body, unless `serving.while_training` is "keep"; one run at a time.

    The body must not leave a model behind in a variable that lives on: the server needs the memory again.
    Raises Problem when the server cannot make room, and when it does not come back.
    """
    if config.serving.while_training == "keep":
        yield
        return
    place = AdapterFolder(config.paths.adapters / ".gpu")
    away = place.path / "server-away"
    with place.lock():
        running = served_models(config) is not None
        if not running and not (away.exists() and config.serving.while_training == "stop"):
            yield
            return
        away.write_text("a server was here; the next run brings it back\n", encoding="utf-8")
        with _keeper(config, away) as keeper:
            try:
                if running:
                    _send_away(config)
            except Problem:
                keeper.kill()
                away.unlink()
                raise
            try:
                yield
            finally:
                _let_go()
                keeper.communicate()  # ends its stdin
                if keeper.returncode:
                    raise Problem(_does_not_come_back(config))
    _wait(config, True, BACK, "was started again and does not answer")


def _keeper(config: Config, away: Path) -> subprocess.Popen:
    """A process that brings the server back and removes the file `away` once its stdin ends; it is ready."""
    wake = [sys.executable, "-c", _WAKE, f"{base_url(config)}/wake_up"]
    command = wake if config.serving.while_training == "sleep" else [*config.serving.start]
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER, str(away), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if keeper.stdout:
        keeper.stdout.read(1)
    return keeper


def _send_away(config: Config) -> None:
    """Have the running server sleep, or stop it. Raises Problem when it cannot."""
    if config.serving.while_training == "sleep":
        try:
            request(config, "/sleep?level=1&mode=wait", {}, timeout=600)
        except urllib.error.HTTPError as error:
            raise Problem(
                f"the running server cannot sleep ({error.code}); restart it: it was started before "
                'serving.while_training = "sleep", or runs on a CPU'
            ) from None
        say("the server sleeps until this is done")
        return
    command = shlex.join(config.serving.stop)
    try:
        done = subprocess.run(
            config.serving.stop, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Problem(f"serving.stop: `{command}` cannot be run: {error.strerror}") from None
    if done.returncode:
        raise Problem(f"serving.stop: `{command}` ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    _wait(config, False, GONE, f"still answers after `{command}`")
    say("the server is stopped until this is done")


def _wait(config: Config, running: bool, patience: float, otherwise: str) -> None:
    """Wait until the server runs, or runs no more. Raises Problem, "the server …", after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (served_models(config) is not None) != running:
        if time.monotonic() > deadline:
            raise Problem(f"the server {otherwise} ({patience:g} s)")
        time.sleep(0.2)


def _does_not_come_back(config: Config) -> str:
    if config.serving.while_training == "sleep":
        return f"the server does not wake; try `curl -X POST {base_url(config)}/wake_up`, or restart it"
    return f"the server does not start again: `{shlex.join(config.serving.start)}` (serving.start) failed"


def _let_go() -> None:
    """Give the GPU's memory back that nothing holds any more."""
    gc.collect()
    if "torch" in sys.modules and (cuda := sys.modules["torch"].cuda).is_available():
        cuda.empty_cache()
