"""One GPU for serving and training: the running vLLM sleeps while a run needs the memory, and always wakes again.

vLLM's sleep mode (level 1) moves the weights to the CPU's memory and lets go of the cache; the process and its loaded
adapters stay. A little process of its own wakes it when ours is gone, however it went: it waits for the end of a pipe
that only we hold, so that an exception, a signal and kill -9 are the same to it.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import urllib.error
from collections.abc import Iterator

from specialists.cli import say
from specialists.config import Config, Problem
from specialists.server import base_url, request, served_models

_WAKE = """
import signal, sys, urllib.request
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
sys.stdin.read()
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="POST"), timeout=600).read()
"""


@contextlib.contextmanager
def gpu(config: Config) -> Iterator[None]:
    """The GPU's memory for the length of the body, where `serving.while_training` is "sleep" and a server runs.

    The body must not leave a model behind in a variable that lives on: waking needs the memory again.
    Raises Problem when the server cannot sleep, and when it does not wake.
    """
    if config.serving.while_training == "keep" or served_models(config) is None:
        yield
        return
    waker = subprocess.Popen(
        [sys.executable, "-c", _WAKE, f"{base_url(config)}/wake_up"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with waker:
        waker.stdout.read(1)  # it waits now
        try:
            request(config, "/sleep?level=1", {}, timeout=600)
        except urllib.error.HTTPError as error:
            waker.kill()
            raise Problem(
                f"the running server cannot sleep ({error.code}); restart it: it was started before "
                'serving.while_training = "sleep", or runs on a CPU'
            ) from None
        say("the server sleeps until this is done")
        try:
            yield
        finally:
            _let_go()
            waker.stdin.close()
            if waker.wait():
                raise Problem(f"the server does not wake; try `curl -X POST {base_url(config)}/wake_up`, or restart it")


def _let_go() -> None:
    """Give the GPU's memory back that nothing holds any more."""
    gc.collect()
    if "torch" in sys.modules and (cuda := sys.modules["torch"].cuda).is_available():
        cuda.empty_cache()
