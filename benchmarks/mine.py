"""How much CPU does mining git cost, against `git log -p` and PyDriller, in one run on the same repositories?

    python benchmarks/mine.py                                   a made repository of 20,000 commits
    python benchmarks/mine.py ~/src/ripgrep=.rs ~/src/click=.py   real ones, each with the language's extension

The job: message, before and after of every text file of every commit that is no merge. `one language` reads what the
filter leaves of the three busiest authors and compares the lines; `examples` goes all the way to the rows. CPU is
user and system time of a process of its own with all its children. Memory is the most that any of them took, mapped
packs included, and the most that all took at once, what they share counted once (proportional set size, looked at
every 20 ms; Linux); of that, what is no file (anonymous), as pages of packs are given back when others need the
memory. PyDriller is timed on the newest --sample commits and scaled, because it takes long; where it is not installed
(`pip install pydriller`), it is left out. What is quick runs five times, and the best counts.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from specialists.commits.git import REGULAR, Change, GitSource, environment, open_repository

NOISE = ["wip", "fix tests", "Bump the version to 1.2", "Address review comments", "The parser", "oops", "More work"]
WORDS = "parser reader writer cache value list table when empty missing large first second".split()
GRAMMARS = {".rs": "rust", ".ts": "typescript", ".py": "python", ".rb": "ruby", ".swift": "swift"}


def both(change: Change) -> list[str]:
    """The ids of a file before and after."""
    return [sha for sha in (change.before, change.after) if sha.strip("0")]


def every_text_file(source: GitSource) -> int:
    """Reads everything; returns bytes."""
    changes = (change for commit in source.commits() for change in commit.changes)
    ids = [sha for c in changes if c.before_mode in REGULAR or c.after_mode in REGULAR for sha in both(c)]
    return sum(len(blob or b"") for blob in source.blobs(ids))


def one_language(source: GitSource, extension: str, emails: list[str]) -> int:
    """Reads what is left of one language, and finds the lines that changed; returns commits."""
    from specialists.code.edits import line_hunks
    from specialists.commits.filter import CommitFilter

    rules = CommitFilter(source, emails, [extension])
    chosen = [found for commit in source.commits() if (found := rules.candidate(commit))]
    blobs = source.blobs(sha for item in chosen for change in item.changes for sha in both(change))
    for change in (change for item in chosen for change in item.changes):
        texts = [(next(blobs) or b"").decode("utf-8", "replace") for _ in both(change)]
        if len(texts) == 2:
            line_hunks(*texts)
    return len(chosen)


def examples(source: GitSource, extension: str, emails: list[str]) -> int:
    """Mines one language; returns examples."""
    from specialists.commits.mining import Miner
    from specialists.config import load_config

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "specialists.toml"
        path.write_text(
            f'[languages.it]\nadapter = "it"\nextensions = ["{extension}"]\n'
            f'grammar = "tree_sitter_{GRAMMARS[extension]}"\nrepositories = []\n'
        )
        config = load_config(path)
        miner = Miner(config, config.language("it"))
        miner.mine(source.path, emails)
        miner.finish(500)
        return len(miner.records)


def authors(source: GitSource) -> list[str]:
    """The three busiest authors, from metadata alone."""
    count = Counter(commit.mapped_email for commit in source.commits() if "[bot]" not in commit.email)
    return [email for email, _ in count.most_common(3)]


def log_p(source: GitSource) -> int:
    """`git log -p` through the same shim, its output thrown away."""
    command = ["git", "--no-pager", f"--git-dir={source.shim}", "log", "-p", "--no-merges", source.head or ""]
    subprocess.run(command, env=environment(source.shim), stdout=subprocess.DEVNULL, check=True)
    return 0


def pydriller(source: GitSource, sample: int) -> int:
    """The same job by PyDriller on the newest commits; returns how many."""
    from pydriller import Git

    repository, done = Git(str(source.shim)), 0
    for commit in source.commits():
        if len(commit.parents) < 2 and commit.changes and done < sample:
            for file in repository.get_commit(commit.sha).modified_files:
                _ = (file.diff, file.content, file.content_before)
            done += 1
    return done


JOBS = {
    "log -p": lambda source, extension, emails, sample: log_p(source),
    "everything": lambda source, extension, emails, sample: every_text_file(source),
    "one language": lambda source, extension, emails, sample: one_language(source, extension, emails),
    "examples": lambda source, extension, emails, sample: examples(source, extension, emails),
    "pydriller": lambda source, extension, emails, sample: pydriller(source, sample),
}


QUICK = ("log -p", "everything", "one language", "examples")
ROUNDS = 5


def measure(job: str, path: Path, extension: str, sample: int) -> dict:
    """One job in a process of its own."""
    command = [sys.executable, __file__, str(path) + "=" + extension, "--job", job, "--sample", str(sample)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    together = held = 0
    while process.poll() is None:
        sizes = [proportional_size(one) for one in family(process.pid)]
        together, held = max(together, sum(all_ for all_, _ in sizes)), max(held, sum(own for _, own in sizes))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{job} failed on {path}")
    found = json.loads(process.communicate()[0].splitlines()[-1])
    return {**found, "together": together // 1024, "held": held // 1024}


def family(process: int) -> list[int]:
    """A process and those that it started, and so on; only itself where there is no /proc."""
    try:
        threads = Path(f"/proc/{process}/task").iterdir()
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        children = []
    return [process, *(one for child in children for one in family(child))]


def proportional_size(process: int) -> tuple[int, int]:
    """Proportional set size in KiB, and what of it is anonymous; 0 for a process that has ended, or without /proc."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return sizes.get("Pss:", 0), sizes.get("Pss_Anon:", 0)


def run(job: str, path: Path, extension: str, sample: int) -> None:
    with open_repository(path) as source:
        emails = authors(source)
        started = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        result = JOBS[job](source, extension, emails, sample)
        ended = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(started, ended, strict=True))
    memory = max(usage.ru_maxrss // 1024 for usage in ended)
    print(json.dumps({"cpu": cpu, "memory": memory, "result": result}))


def make(folder: Path, commits: int) -> Path:
    """A made repository in the shape of real ones: 240 files of 90 to 750 lines in 24 folders, half of them Python; one
    to five files and one to four places in a commit, every tenth with a lock file; five authors, of whose messages four
    in ten say nothing."""
    if (folder / "HEAD").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
    chance = random.Random(1)
    files: dict[str, list[str]] = {}
    names = [f"src/part{n % 24}/module{n}.{chance.choice(['py', 'py', 'rs', 'md'])}" for n in range(240)]
    lock = [f"package-{n} 1.0.{n}\n" for n in range(2000)]
    process = subprocess.Popen(["git", f"--git-dir={folder}", "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert process.stdin
    for number in range(commits):
        message = chance.choice(NOISE) if chance.random() < 0.4 else f"Fix the {' '.join(chance.choices(WORDS, k=4))}"
        who = f"Author {number % 5} <author{number % 5}@example.org> {1_600_000_000 + 600 * number} +0000"
        changed = {}
        for name in chance.sample(names, chance.choice([1, 1, 2, 2, 3, 5])):
            lines = files.setdefault(name, [function(name, n) for n in range(chance.randrange(30, 250))])
            for _ in range(chance.randrange(1, 5)):
                lines[chance.randrange(len(lines))] = function(f"changed{number}", chance.randrange(99))
            if len(lines) < 250:
                lines.insert(chance.randrange(len(lines)), function(f"new{number}", chance.randrange(99)))
            changed[name] = "".join(lines)
        if number % 10 == 0:
            start = chance.randrange(1900)
            lock[start : start + 50] = [f"package-{n} 1.{number}.{n}\n" for n in range(50)]
            changed["poetry.lock"] = "".join(lock)
        write = process.stdin.write
        write(f"commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata {len(message)}\n{message}\n".encode())
        for name, content in changed.items():
            write(f"M 100644 inline {name}\ndata {len(content)}\n{content}\n".encode())
    process.stdin.close()
    if process.wait():
        sys.exit("git fast-import failed")
    subprocess.run(["git", f"--git-dir={folder}", "repack", "-adfq"], check=True)  # as a clone would come
    return folder


def function(name: str, number: int) -> str:
    """Three lines of code."""
    return f"def {name.rsplit('/', 1)[-1].split('.')[0]}_{number}(value):\n    return value * {number} + {number}\n\n"


@click.command()
@click.argument("repositories", nargs=-1, metavar="[PATH=EXTENSION]...")
@click.option("--commits", default=20_000, show_default=True, help="Of the made repository.")
@click.option("--sample", default=200, show_default=True, help="Commits for PyDriller.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the made repository is kept.")
@click.option("--job", type=click.Choice(list(JOBS)), hidden=True)
def main(repositories: tuple[str, ...], commits: int, sample: int, folder: Path | None, job: str | None) -> None:
    """CPU seconds and peak memory of reading repositories."""
    named = [
        (Path(path).expanduser().absolute(), extension)
        for path, _, extension in (r.partition("=") for r in repositories)
    ]
    if job:
        run(job, *named[0], sample)
        return
    kept = folder or Path(tempfile.gettempdir()) / f"benchmark-mine-{commits}"
    if not named:
        started = time.monotonic()
        named = [(make(kept, commits), ".py")]
        print(f"made {commits} commits in {time.monotonic() - started:.0f} s: {kept}")
    jobs = [job for job in JOBS if job != "pydriller" or importlib.util.find_spec("pydriller")]
    for path, extension in named:
        with open_repository(path) as source:
            count = sum(bool(commit.changes) for commit in source.commits())
        print(f"\n{path} ({count} commits, {extension})")
        found = {name: measure(name, path, extension, sample) for name in jobs}
        for _ in range(ROUNDS - 1):  # all in turn, so that a busy machine disturbs all alike
            for name in QUICK:
                found[name] = min(found[name], measure(name, path, extension, sample), key=lambda one: one["cpu"])
        for name, one in found.items():
            cpu = one["cpu"] * count / max(1, one["result"]) if name == "pydriller" else one["cpu"]
            ratio = f"{cpu / found['log -p']['cpu']:6.2f}x"
            memory = f"{one['memory']:4} MB, together {one['together']:4} MB, anonymous {one['held']:4} MB"
            print(f"  {name:14} {cpu:8.2f} s CPU  {ratio}  {memory}  result {one['result']}")


if __name__ == "__main__":
    main()
