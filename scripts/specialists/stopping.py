"""What ends a process from outside: Ctrl-C, a service manager, a terminal that is closed."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave(number: int, _frame: Any) -> None:
    """The handler that ends a process as an exception does, so that temporary folders and child processes end too.

    More signals change nothing: a service manager, doit and a terminal may each send one, and what is saved is whole.
    """
    for each in SIGNALS:
        signal.signal(each, lambda *_: None)  # one that comes now is no "Signal 15 ignored due to race condition"
    sys.exit(128 + number)


@contextmanager
def handled(handler: Callable[[int, Any], Any] = leave) -> Iterator[None]:
    """Handle the signals, but for those that nohup has ignored, while the body runs."""
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)
