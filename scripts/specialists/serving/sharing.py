"""One GPU for serving and training: the running vLLM is stopped while a run needs the memory, and always comes back.

It is stopped and started again by the owner's own commands. A small process of its own starts it when ours is gone,
however it went: it waits for the end of a pipe that only we hold, so that an exception, a signal and kill -9 are the
same to it. Where that died too, with the machine, a file says that a server was stopped, and the next run starts it
afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from specialists.adapters import AdapterFolder
from specialists.cli import say
from specialists.config import Config, Problem
from specialists.server import served_models

STOP_SECONDS = 120  # for a stopped server to let go of its port
START_SECONDS = 3600  # for a started one to answer; the real base is read from disk first

_STARTER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which the command would inherit
print(flush=True)
sys.stdin.read()
code = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
if not code:
    os.unlink(sys.argv[1])
sys.exit(code)
"""


@contextlib.contextmanager
def gpu(config: Config) -> Iterator[None]:
    """The GPU's memory for the length of the body, unless `serving.while_training` is "keep"; one run at a time.

    The body must not leave a model behind in a variable that lives on: the server needs the memory again.
    Raises Problem when the server does not stop, and when it does not start again.
    """
    if config.serving.while_training == "keep":
        yield
        return
    place = AdapterFolder(config.paths.adapters / ".gpu")
    stopped = place.path / "server-stopped"
    with place.lock():
        running = served_models(config) is not None
        if not running and not stopped.exists():
            yield
            return
        stopped.write_text("a server ran here; the next run starts it again\n", encoding="utf-8")
        with _starter(config, stopped) as starter:
            try:
                if running:
                    _stop(config)
            except Problem:
                starter.kill()
                stopped.unlink()
                raise
            try:
                yield
            finally:
                _free_memory()
                starter.communicate()  # ends its stdin
                if starter.returncode:
                    command = shlex.join(config.serving.start)
                    raise Problem(f"the server does not start again: `{command}` (serving.start) failed")
    _wait(config, True, START_SECONDS, "was started again and does not answer")


def _starter(config: Config, stopped: Path) -> subprocess.Popen:
    """A process that starts the server and removes the file `stopped` once its stdin ends; it is ready."""
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(stopped), *config.serving.start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if starter.stdout:
        starter.stdout.read(1)
    return starter


def _stop(config: Config) -> None:
    command = shlex.join(config.serving.stop)
    try:
        done = subprocess.run(
            config.serving.stop, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Problem(f"serving.stop: `{command}` cannot be run: {error.strerror}") from None
    if done.returncode:
        raise Problem(f"serving.stop: `{command}` ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    _wait(config, False, STOP_SECONDS, f"still answers after `{command}`")
    say("the server is stopped until this is done")


def _wait(config: Config, running: bool, seconds: float, otherwise: str) -> None:
    """Wait until the server runs, or runs no more. Raises Problem, "the server …", when it takes longer."""
    deadline = time.monotonic() + seconds
    while (served_models(config) is not None) != running:
        if time.monotonic() > deadline:
            raise Problem(f"the server {otherwise} ({seconds:g} s)")
        time.sleep(0.2)


def _free_memory() -> None:
    """Give the GPU's memory back that nothing holds any more."""
    gc.collect()
    if "torch" in sys.modules and (cuda := sys.modules["torch"].cuda).is_available():
        cuda.empty_cache()
