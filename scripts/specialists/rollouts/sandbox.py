"""A sandbox for what a model writes and runs: bubblewrap, with no network and nothing of the owner's.

The system is read-only, the home folder empty, only named folders can be written. Limits are kept by looking from
outside: RLIMIT_NPROC does not hold for root, a JavaScript engine reserves more than RLIMIT_AS, few users own a cgroup.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from specialists.agent import HOME
from specialists.config import Problem

PROCESSES, MEMORY, DISK, OUTPUT = 512, 8 << 30, 8 << 30, 32 << 20  # of one command; disk: of what it can write; bytes
LOOK = 0.5  # seconds between two looks
# bwrap asks to die with its parent only once it runs: it does not even begin where that was killed before
_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
_ALONE = "--unshare-all --die-with-parent --new-session --clearenv --proc /proc --dev /dev"
_IN_MEMORY = f"--size {1 << 30} --tmpfs /tmp --size {1 << 30} --tmpfs /dev/shm --remount-ro /dev --dir {HOME}"


class Ended(NamedTuple):
    """How a command ended: the limit that it broke, or "" and its exit code; what it printed."""

    limit: str
    code: int
    output: str


def check_programs() -> None:
    """Raises Problem when the sandbox cannot work here, with what to do."""
    if missing := [name for name in ("bwrap", "socat", "prlimit", "setpriv", "ps") if not shutil.which(name)]:
        raise Problem(f"rollouts need {', '.join(missing)}: apt-get install bubblewrap socat util-linux procps")
    if (done := run(["true"], {}, {}, "/", 60)).code:
        why = (done.output.strip() or f"exit code {done.code}").splitlines()[-1]
        raise Problem(f"{why}; bubblewrap needs unprivileged user name spaces (sysctl user.max_user_namespaces)")


def run(
    command: Iterable[str],
    writable: Mapping[str, Path],
    read_only: Mapping[str, Path],
    folder: str,
    seconds: float,
    stop: Callable[[], str] = lambda: "",
    **environment: str,
) -> Ended:
    """Run a command inside, in `folder`, until it ends, breaks a limit, or `stop()` gives a reason; it never runs on.
    `writable`, `read_only`: path inside -> path outside."""
    mounts: list[tuple[str, ...]] = [("--ro-bind-try", path, path) for path in _SYSTEM]
    mounts += [("--bind", str(outside), inside) for inside, outside in writable.items()]
    mounts += [("--ro-bind", str(outside), inside) for inside, outside in read_only.items()]
    programs = [f"{inside}/bin" for inside, outside in read_only.items() if (outside / "bin").is_dir()]
    path = ":".join([*programs, "/usr/local/bin", "/usr/bin", "/bin"])
    variables = {"HOME": HOME, "PATH": path, "PWD": folder, "LANG": "C.UTF-8", **environment}
    mounts += [("--setenv", *item) for item in variables.items()]
    mounts += [("--remount-ro", "/"), ("--chdir", folder)]
    options = [*_ALONE.split(), *_IN_MEMORY.split(), *(part for mount in mounts for part in mount)]
    limits = ["prlimit", "--core=0", f"--fsize={DISK}", f"--nproc={4 * PROCESSES}", "--"]
    words = [*_WITH_PARENT, str(os.getpid()), "bwrap", *options, *limits, *command]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            limit = _watch(process, [*writable.values()], seconds, output.fileno(), stop)
        finally:
            process.kill()  # and with it, by the kernel, all that is in its process name space
            process.wait()
        output.seek(0)
        return Ended(limit, process.returncode, output.read(OUTPUT).decode("utf-8", "replace"))


def _watch(process: subprocess.Popen, folders: list[Path], seconds: float, output: int, stop: Callable) -> str:
    """Wait for the end of a process, or for a reason to end it."""
    end, disk, look_again = time.monotonic() + seconds, 0, 0.0
    while True:
        try:
            process.wait(LOOK)
            return ""
        except subprocess.TimeoutExpired:
            processes, memory = _held(process.pid)
        if folders and (began := time.monotonic()) > look_again:  # a large folder takes a while
            disk = sum(int(line.split()[0]) for line in _said("du", "-sB1", "--", *map(str, folders)))
            look_again = time.monotonic() + max(2.0, 10 * (time.monotonic() - began))
        broken = {"time": time.monotonic() > end, "processes": processes > PROCESSES, "memory": memory > MEMORY}
        broken |= {"disk": disk > DISK, "output": os.fstat(output).st_size > OUTPUT}
        if reason := stop() or next((name for name, holds in broken.items() if holds), ""):
            return reason


def _held(root: int) -> tuple[int, int]:
    """How many processes descend from one, and the memory (resident, bytes) that they hold."""
    rows = [tuple(map(int, line.split())) for line in _said("ps", "-e", "-o", "pid=,ppid=,rss=")]
    inside = {root}
    while more := {pid for pid, parent, _memory in rows if parent in inside} - inside:
        inside |= more
    return len(inside) - 1, 1024 * sum(memory for pid, _parent, memory in rows if pid in inside)


def _said(*command: str) -> list[str]:
    """Lines that a command prints, whatever became of what it looked at meanwhile."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def unlock(folder: Path) -> None:
    """Make all in a folder readable again; links are not followed."""
    _said("chmod", "-R", "u+rwX", "--", str(folder))


def remove(path: Path) -> None:
    """Remove a folder, file or link that something inside wrote, whatever permissions it has left there."""
    # a bwrap that is killed between its start and its child's leaves that one waiting
    _said("pkill", "-KILL", "--full", "--", f"bwrap .*{re.escape(str(path))}/")
    if path.is_dir() and not path.is_symlink():
        unlock(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
