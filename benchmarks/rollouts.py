"""How many of a repository's newest commits can be done again: judged by their tests, or by their lines alone.

    python benchmarks/rollouts.py python ~/src/click --read-only ~/.pyenv -- python3 -m pytest -q

Everybody's commits count. Nothing is written into the repository; its tests run in the sandbox.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from specialists.cli import table
from specialists.commits.filter import CommitFilter, is_test
from specialists.commits.git import open_repository
from specialists.commits.mining import Miner
from specialists.config import Problem, load_config
from specialists.rollouts.sandbox import check_programs
from specialists.rollouts.verify import Task, Verifier


@click.command()
@click.argument("language")
@click.argument("repository", type=click.Path(path_type=Path))
@click.option("--read-only", multiple=True, help="As [rollouts] read_only.")
@click.option("--newest", default=50, show_default=True, help="Commits to look at, merges aside.")
@click.argument("test", nargs=-1)
def main(language: str, repository: Path, read_only: tuple[str, ...], newest: int, test: tuple[str, ...]) -> None:
    """Count the tasks among the newest commits, and what the others lack."""
    check_programs()
    config = load_config()
    config = dataclasses.replace(config, rollouts=dataclasses.replace(config.rollouts, enabled=True))
    chosen = dataclasses.replace(config.language(language), test=test)
    with open_repository(repository) as source:
        commits = [commit for commit in source.commits() if len(commit.parents) == 1][:newest]
        rules = CommitFilter(source, {commit.email for commit in commits}, chosen.extensions)
        left_out = Counter[str]()
        shas = {commit.sha for commit in commits if rules.candidate(commit)}
        left_out.update(rules.lost)
    miner = Miner(config, chosen)
    miner.mine(repository, {commit.email for commit in commits})
    miner.finish(10**6)
    rows = [{**row["source"], "request": row["messages"][1]["content"]} for row in miner.records]
    tasks = [task for task in (*rows, *miner.tasks) if task["commit"] in shas]
    left_out["not shown exactly, or the like"] = len(shas) - len(tasks)
    hard, took = Counter[str](), []
    store_of = importlib.import_module("rollout").store
    for one in sorted(tasks, key=lambda task: task["time"], reverse=True):
        task = Task(repository, one["commit"], one["time"], one["request"])
        began = time.monotonic()
        try:
            with store_of(repository) as store, tempfile.TemporaryDirectory() as folder:
                verifier = Verifier(task, chosen, task.shown(read_only), store, Path(folder), is_test)
                why = verifier.examine()["why"] or "judged by tests"
        except Problem as problem:
            why = f"cannot be checked out: {problem}"
        hard[why] += 1
        took += [time.monotonic() - began] if "no test" not in why else []
        click.echo(f"{task.commit[:10]} {why}: {task.request.splitlines()[0][:80]}", err=True)
    found: dict[str, object] = {"commits": len(commits), "tasks": len(tasks), **dict(hard.most_common())}
    found |= {f"left out: {why}": number for why, number in left_out.most_common()}
    found["seconds to examine one with tests"] = round(sum(took) / len(took)) if took else "none"
    click.echo(table([[what, number] for what, number in found.items()], [repository.name, "of the newest"]))


if __name__ == "__main__":
    main()
