"""Have the agent do your past commits again.

Each starts from the commit before, in a sandbox without network, with the request that `mine` found for it. Runs
that come to what you wrote become examples. Takes [rollouts] minutes at most; goes on where it stopped.

\b
    python scripts/rollout.py --language rust
    python scripts/rollout.py --language rust --heldout
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import click
from specialists.adapters import EVALUATION, ROLLOUTS, AdapterFolder, adapter_folder, base_fingerprint, evaluation_of
from specialists.cli import command, duration, finish, language_option, progress, say, table
from specialists.commits.filter import is_test
from specialists.commits.git import environment, open_repository
from specialists.config import Config, Language, Problem
from specialists.dataset.assembly import read_split
from specialists.endpoint import KEY
from specialists.exclusion import Exclusion
from specialists.records import Record, cluster_of, read_json, read_records, temporary_folder, write_json, write_records
from specialists.rollouts.runs import PORT, STREAMS, Round, Solver
from specialists.rollouts.sandbox import check_programs
from specialists.rollouts.store import Store
from specialists.rollouts.verify import Task
from specialists.server import CANDIDATE, api_key, base_url, load_adapter, served_models
from specialists.serving import jsonc
from specialists.serving.opencode_config import PROVIDER, merge, settings
from specialists.tables import SERVED_BASE

MOST = 2  # kept runs of a task that become rows
GUESS = 300.0  # seconds of a run, before there is one to go by
MEANS = ("passed", "recall", "precision", "steps", "tokens", "failed calls", "seconds")  # of runs


@command
@language_option
@click.option("--heldout", is_flag=True, help="Base, newest version and the one before it at held-out tasks.")
@click.option("--program", default="opencode", show_default=True, help="The opencode to run.")
def main(config: Config, as_json: bool, language: str, heldout: bool, program: str) -> None:
    chosen, output = config.language(language), config.rows("rollouts", language)
    summary: dict[str, Any] = {"step": "rollout", "language": language}
    candidate = AdapterFolder(config.paths.adapters / CANDIDATE).lock() if heldout else nullcontext()
    with AdapterFolder(config.paths.data / "rollouts" / language).lock(), candidate:  # nobody else may load another
        try:
            work = round_of(config, chosen, program, heldout)
        except Problem as problem:
            if heldout or not config.rollouts.enabled:
                raise
            if not output.exists():  # assembly goes on without
                write_records(output, [])
            return finish(summary, as_json, [str(problem)])
        _announce(work)
        problems, results = work.do(progress), work.results()
        runs = {s.name: [result for result in results if result["version"] == s.version] for s in work.solvers}
        models = {name: means(some) for name, some in runs.items()}
        tasks = {(result["repository"], result["commit"]): result["hard"] for result in results}
        counts = {"ended": Counter(result["ended"] for result in results), "judged by tests": Counter(tasks.values())}
        summary |= {"tasks": len(tasks), "models": models, "funnel": {name: dict(n) for name, n in counts.items()}}
        if heldout and (version := adapter_folder(config, chosen).latest):
            write_json(version / EVALUATION, {**evaluation_of(version), "rollouts": {"tasks": len(tasks), **models}})
            write_json(version / ROLLOUTS, _side_by_side(runs))
        else:
            rows = _rows(config, chosen, results, problems)
            write_records(output, rows)
            summary["examples"] = len(rows)
            write_json(output.with_suffix(".summary.json"), {**summary, "problems": problems})
    say(table([[name, *scores.values()] for name, scores in models.items()], ["model", "runs", "with tests", *MEANS]))
    for name, reasons in counts.items():
        say(f"{name}: {', '.join(f'{number} {reason}' for reason, number in reasons.most_common()) or 'none'}")
    finish(summary, as_json, problems)


def round_of(config: Config, language: Language, program: str, heldout: bool) -> Round:
    """What there is to do, on one side of the split that assembly made. Raises Problem where something is missing."""
    check_programs()
    if not (found := shutil.which(Path(program).expanduser())):
        raise Problem(f"{program}: not there; install opencode, or name it with --program")
    tasks, solvers = _tasks(config, language, "heldout" if heldout else "train"), _solvers(config, language, heldout)
    opencode = Path(os.path.realpath(found)), _configuration(config, language)
    return Round(config, language, tasks, solvers, *opencode, store, is_test)


def _tasks(config: Config, language: Language, part: str) -> list[Task]:
    """The commits that `mine` found a request for; those too long for an example are not split: from the oldest
    held-out commit on they are held out. Raises Problem before the first assembly."""
    split = read_split(config.rows("heldout", language.name).with_suffix(".split.json"))
    if not split:
        raise Problem(f"{language.name}: nothing says yet which commits are held out; doit assemble:{language.name}")
    repositories = {path.name: path for path in config.repositories(language.name)}
    commits, exclusion = config.rows("commits", language.name), Exclusion(config)
    rows = list(read_records(commits))
    chosen = [row for row in rows if cluster_of(row) in split[part]]
    found = [{**row["source"], "request": row["messages"][1]["content"]} for row in chosen]
    since = min((row["source"]["time"] for row in rows if cluster_of(row) in split["heldout"]), default="9")
    longer = (read_json(commits.with_suffix(".summary.json")) or {}).get("tasks", [])
    found += [task for task in longer if (task["time"] >= since) == (part == "heldout")]
    wanted = [task for task in found if task["repository"] in repositories and not exclusion.covers(task)]
    return [Task(repositories[one["repository"]], one["commit"], one["time"], one["request"]) for one in wanted]


@contextmanager
def store(repository: Path) -> Iterator[Store]:
    """The trees of a repository's commits."""
    with open_repository(repository) as source:
        yield Store(source.shim, environment(source.shim))


def _solvers(config: Config, language: Language, heldout: bool) -> list[Solver]:
    """Who does the tasks. Raises Problem when no server runs, or there is no such model."""
    endpoint, folder, url = config.endpoint, adapter_folder(config, language), f"{base_url(config)}/v1"
    if config.rollouts.model == "endpoint" and not heldout:
        if not endpoint.url or not endpoint.model:
            raise Problem("rollouts.model is endpoint, and [endpoint] names no url and model")
        say(f"what the agent reads of your repositories goes to {endpoint.url}")
        where = endpoint.url.rstrip("/")
        return [Solver("endpoint", f"{where} {endpoint.model}", where, endpoint.model, os.environ.get(KEY))]
    if (models := served_models(config)) is None:
        raise Problem(f"{base_url(config)}: no server runs there; doit serve")
    key, version = api_key(config), folder.latest if heldout else folder.current
    served = base_fingerprint(config.serving.model or config.base.model, config.base.revision)
    base = Solver("base", served, url, SERVED_BASE, key)
    if config.rollouts.model == "base" and not heldout:
        return [base]
    if not version or (heldout and not evaluation_of(version)):
        raise Problem(f"{language.adapter}: no version that is {'evaluated' if heldout else 'promoted'}")
    if not heldout:
        return [Solver("adapter", version.name, url, language.adapter, key)]
    load_adapter(config, CANDIDATE, version)
    solvers, incumbent = [base, Solver("adapter", version.name, url, CANDIDATE, key)], folder.incumbent(version)
    if incumbent and models.get(language.adapter) == str(incumbent):
        solvers.append(Solver("incumbent", incumbent.name, url, language.adapter, key))
    return solvers


def _configuration(config: Config, language: Language) -> str:
    """opencode's, with the agent that `doit opencode` configures, whoever answers; the sandbox is what it may do."""
    document, name = jsonc.loads(merge("", settings(config))), language.adapter
    provider, model = document["provider"][PROVIDER], f"{PROVIDER}/{name}"
    provider["options"] = {"baseURL": f"http://127.0.0.1:{PORT}/v1", "apiKey": "EMPTY"}
    provider["models"] = {name: provider["models"][SERVED_BASE]}
    agents = {agent: {**says, "model": model} for agent, says in document["agent"].items()}
    own = {"agent": agents, "model": model, "small_model": model, "permission": {"*": "allow"}, "share": "disabled"}
    return json.dumps({**document, **own})


def _announce(work: Round) -> None:
    """What it will cost, by the runs that are there."""
    missing = sum(len(work.missing(task)) for task in work.tasks)
    done = work.results()
    each, by = (mean(run["seconds"] for run in done), f"as the {len(done)} before") if done else (GUESS, "a guess")
    by += f", with {missing * mean(run['tokens'] for run in done):,.0f} tokens in all" if done else ""
    time = f"{duration(each)} each ({by}), {STREAMS} at a time: {duration(missing * each / STREAMS)}"
    say(f"{missing} runs of {len(work.tasks)} tasks to do, {time}; at most {work.config.rollouts.minutes} min now")


def _rows(config: Config, language: Language, results: list[dict[str, Any]], problems: list[str]) -> list[Record]:
    """The rows of kept runs, as extract makes them of sessions; of a task the shortest runs. Adds to the problems."""
    from specialists.sessions.extraction import Extractor, read_histories

    config = replace(config, opencode=replace(config.opencode, agents=("*",)))
    taken, sources = Counter[str](), {}
    with temporary_folder("rollout-rows-") as folder:
        extractor = Extractor(config, [language.name], folder)
        for result in sorted((r for r in results if r["kept"]), key=lambda r: (r["steps"], r["run"])):
            taken[result["commit"]] += 1
            for session in read_histories([result["folder"] / "opencode.db"], extractor.problems):
                if taken[result["commit"]] <= MOST:
                    about = ("time", "repository", "commit", "recall", "precision", "passed", "model", "version")
                    sources[session.id] = {"kind": "rollout", **{name: result[name] for name in about}}
                    extractor.add(session)
        extractor.finish()
        problems += extractor.problems
        rows = [*read_records(Path(folder, f"{language.name}.jsonl"))]
    return [{**row, "source": sources[row["source"]["session"]]} for row in rows]


def _side_by_side(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Tasks with what the first run of each model made of them: {"request", "runs": {model: scores and "diff"}}."""
    tasks: dict[tuple[str, str], dict[str, Any]] = {}
    for model, result in ((model, result) for model, some in runs.items() for result in some if result["run"] == 0):
        task = tasks.setdefault((result["repository"], result["commit"]), {"request": result["request"], "runs": {}})
        diff = (result["folder"] / "changes.diff").read_text(encoding="utf-8")
        task["runs"][model] = {name: result[name] for name in ("ended", "passed", "recall", "steps")} | {"diff": diff}
    return [*tasks.values()]


def means(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over runs, None where there is nothing to go by: passed is known of the "hard" tasks, those with tests."""
    judged = {(result["repository"], result["commit"]) for result in results if result["hard"] == "yes"}
    found: dict[str, Any] = {"runs": len(results), "hard": len(judged)}
    for name in MEANS:
        some = [float(result[name] or 0) for result in results if name != "passed" or result["hard"] == "yes"]
        found[name] = round(mean(some), 3) if some else None
    return found


if __name__ == "__main__":
    main()
