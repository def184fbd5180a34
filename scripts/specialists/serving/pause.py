"""Pausing the server: the running vLLM is stopped while a run needs the GPU's memory, and always comes back.

A shell of its own starts it with the owner's command when our process ends, however that happens: it waits for the end
of a pipe that only we hold, so that an exception, a signal and kill -9 are the same.
"""

import contextlib
import gc
import shlex
import subprocess
import sys
from collections.abc import Iterator

from specialists.adapters import AdapterFolder
from specialists.cli import say
from specialists.config import Config, Language, Problem
from specialists.gpus import visible_gpus
from specialists.server import served_models, wait
from specialists.serving.card import training_bytes

STOP_SECONDS = 120  # for a stopped server to let go of its port
START_SECONDS = 3600  # for a started one to answer; the real base is read from disk first
_AT_THE_END = ["sh", "-c", 'trap : TERM; cat; exec "$@" </dev/null', "sh"]  # where a group is ended, it still starts


@contextlib.contextmanager
def gpu(config: Config, language: Language) -> Iterator[None]:
    """The GPU's memory for the length of the body, as `serving.while_training` says; one run at a time.

    The body must not leave a model behind in a variable that lives on: the server needs the memory again.
    Raises Problem when the server does not stop, and when it does not start again."""
    auto, gpus = config.serving.while_training == "auto", visible_gpus()
    if config.serving.while_training == "keep" or (auto and not gpus):
        yield
        return
    start, quiet = config.serving.start, subprocess.DEVNULL
    with AdapterFolder(config.paths.adapters / ".gpu").lock():
        if (auto and training_bytes(config, language) <= gpus[0][1]) or served_models(config) is None:
            yield
            return
        with subprocess.Popen(
            [*_AT_THE_END, *start], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
        ) as starter:
            try:
                subprocess.run(config.serving.stop, stdin=subprocess.DEVNULL, check=True)
                if not wait(config, False, STOP_SECONDS):
                    raise Problem(f"the server still answers ({STOP_SECONDS} s)")
            except (OSError, subprocess.CalledProcessError, Problem) as error:
                starter.kill()
                raise Problem(f"the server is not stopped, serving.stop failed: {error}") from None
            say("the server is stopped until this is done")
            try:
                yield
            finally:
                gc.collect()
                if torch := sys.modules.get("torch"):  # give the memory back that nothing holds any more
                    torch.cuda.empty_cache()
                starter.communicate()  # ends its input
                if starter.returncode:
                    raise Problem(f"the server does not start again: `{shlex.join(start)}` (serving.start) failed")
        if not wait(config, True, START_SECONDS):
            raise Problem(f"the server was started again and does not answer ({START_SECONDS} s)")
