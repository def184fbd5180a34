"""The pipeline: tasks and what they depend on, nothing else. `doit list` says what there is.

    doit                everything that is not up to date, in the order below; for cron
    doit train:rust     one adapter, with what it needs
    doit serve          one vLLM with every promoted adapter

Every step is a script of its own under scripts/. What was built from what stands in the manifests that the steps
write; doit's own state only saves work.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from doit.exceptions import TaskFailed

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

from specialists import adapters  # noqa: E402
from specialists.config import Problem, fingerprint, load_config  # noqa: E402
from specialists.sources import database_state, file_state, repository_state  # noqa: E402

try:
    CONFIG = load_config()
except Problem as problem:
    sys.exit(str(problem))

DATA = CONFIG.paths.data
PARTIAL = 3  # a step's exit code: finished, something was named and skipped; `check` reports it
DOIT_CONFIG = {
    "default_tasks": [
        "extract", "mine", "augment", "assemble", "train", "evaluate", "promote", "report", "check",
    ],
    "backend": "sqlite3",
    "dep_file": str(CONFIG.path.parent / ".doit.sqlite"),
    "continue": True,
    "verbosity": 2,
}  # fmt: skip


def step(name: str, *arguments: str | Path) -> list:
    """The action that runs a script of ours; the script says itself what went wrong."""
    script = ROOT / "scripts" / f"{name}.py"
    return [(run, [[sys.executable, str(script), "--config", str(CONFIG.path), *map(str, arguments)]])]


def run(command: list[str]) -> bool | TaskFailed:
    code = subprocess.run(command, check=False).returncode
    return code in (0, PARTIAL) or TaskFailed(f"{Path(command[1]).name} ended with exit code {code}", report=False)


def unchanged(describe):
    """Up to date while what `describe()` returns is what it was when the task last succeeded."""

    def uptodate(task, values):
        now = fingerprint(describe())
        task.value_savers.append(lambda: {"described": now})
        return values.get("described") == now

    return uptodate


def code(*names: str) -> list[str]:
    """The scripts and modules whose change makes a data step run again."""
    return [str(ROOT / "scripts" / name) for name in names]


def examples(kind: str, language: str) -> Path:
    return DATA / kind / f"{language}.jsonl"


def reading(language) -> dict:
    """What of a language decides its examples; training parameters but the length limit do not."""
    return {**vars(language), "training": language.training.max_length}


def base() -> str:
    return adapters.base_fingerprint(CONFIG.base.model, CONFIG.base.revision)


def task_extract():
    """Read the opencode history: examples of every language from its sessions."""

    def describe():
        databases = [database_state(path) for path in CONFIG.databases()]
        return databases, CONFIG.opencode, [reading(language) for language in CONFIG.languages.values()], base()

    return {
        "actions": step("extract-training-data"),
        "file_dep": code("extract-training-data.py", "specialists/opencode_db.py", "specialists/opencode_chat.py",
                         "specialists/evidence.py", "specialists/windows.py", "specialists/secrets.py"),
        "targets": [examples("sessions", name) for name in CONFIG.languages],
        "uptodate": [unchanged(describe)],
    }  # fmt: skip


def from_repositories(language, target: Path, script: str, *modules: str) -> dict:
    def describe():
        states = {str(path): repository_state(path) for path in CONFIG.repositories(language.name)}
        return states, language.repositories, reading(language), CONFIG.owner, CONFIG.mining, base()

    return {
        "name": language.name,
        "actions": step(script, "--language", language.name),
        "file_dep": code(f"{script}.py", "specialists/git_source.py", "specialists/edits.py",
                         "specialists/syntax.py", "specialists/secrets.py", *modules),
        "targets": [target],
        "uptodate": [unchanged(describe)],
    }  # fmt: skip


def task_mine():
    """Read the git history of a language's repositories: examples from the owner's commits."""
    for name, language in CONFIG.languages.items():
        yield from_repositories(language, examples("commits", name), "mine-repos", "specialists/commit_filter.py")


def task_augment():
    """Make synthetic pairs from the owner's own code, for languages that ask for them."""
    yield {"name": None, "doc": task_augment.__doc__}
    for name, language in CONFIG.languages.items():
        if language.synthetic:
            modules = ("specialists/mutations.py", "specialists/synthetic.py")
            yield from_repositories(language, examples("synthetic", name), "augment", *modules)


def task_assemble():
    """Join a language's examples: deduplicated, split by time, within the wanted bounds."""
    for name, language in CONFIG.languages.items():
        sources = ["sessions", "commits", *(["synthetic"] if language.synthetic else [])]
        wanted = (CONFIG.assembly, language.wanted, language.synthetic)
        yield {
            "name": name,
            "actions": step("assemble", "--language", name),
            "file_dep": [
                *(examples(source, name) for source in sources),
                *code("assemble.py", "specialists/dataset.py"),
            ],
            "targets": [examples("train", name), examples("heldout", name)],
            "uptodate": [unchanged(lambda wanted=wanted: wanted)],
        }


def task_train():
    """Train a language's adapter when its examples or its training parameters changed."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": step("train", "--language", name),
            "file_dep": [examples("train", name)],
            "uptodate": [lambda task, values, language=language: adapters.is_trained(CONFIG, language)],
        }


def task_evaluate():
    """Measure a new adapter against the base on held-out work: promote, hold or block."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": step("evaluate", "--language", name),
            "file_dep": [examples("heldout", name)],
            "task_dep": [f"train:{name}"],
            "uptodate": [lambda task, values, language=language: adapters.is_evaluated(CONFIG, language)],
        }


def task_promote():
    """Act on the verdict: a promoted adapter is served from now on, otherwise nothing changes."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": step("promote", "--language", name),
            "task_dep": [f"evaluate:{name}"],
            "uptodate": [lambda task, values, language=language: adapters.is_decided(CONFIG, language)],
        }


def task_report():
    """Write reports/index.html, the page that shows what the nights produced."""

    def describe():
        folders = (DATA, CONFIG.paths.adapters, CONFIG.paths.reports)
        files = [path for folder in folders for path in sorted(folder.glob("**/*.json*")) if ".building" not in str(path)]
        return [(str(path), file_state(path)) for path in files if path.name != "status.json"]

    return {
        "actions": step("report"),
        "file_dep": code("report.py", "specialists/report.py", "specialists/status.py"),
        "task_dep": ["promote"],
        "targets": [CONFIG.paths.reports / "index.html"],
        "uptodate": [unchanged(describe)],
    }


def task_check():
    """Say everything that is wrong or missing: configuration, database, repositories, rows that were skipped."""
    return {"actions": [check], "uptodate": [lambda task, values: not problems()]}


def problems() -> list[str]:
    found = [f"{CONFIG.path}: {finding}" for finding in CONFIG.findings]
    for path in sorted(DATA.glob("*/*summary.json")):
        found += json.loads(path.read_text()).get("problems", [])
    return list(dict.fromkeys(found))


def check() -> bool | TaskFailed:
    found = problems()
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return not found or TaskFailed(f"{len(found)} problems", report=False)


def task_serve():
    """Serve the base and every promoted adapter from one vLLM; this process becomes vLLM."""

    def serve():
        (_run, (command,)), = step("serve")
        os.execv(command[0], command)

    return {"actions": [serve], "uptodate": [False]}


def task_ask():
    """Ask every promoted adapter one question and show who answered."""
    return {"actions": step("ask"), "uptodate": [False]}


def task_status():
    """Show examples against wanted, what is stale and why, what is promoted and served."""
    return {"actions": step("status"), "uptodate": [False]}


def task_opencode():
    """Put provider, models and agents into the owner's opencode configuration."""
    return {"actions": step("configure-opencode"), "uptodate": [False]}


def task_check_secrets():
    """Look for secrets in everything that was built; fails when one is found."""
    return {"basename": "check-secrets", "actions": step("check-secrets"), "uptodate": [False]}


def task_demo():
    """Run the whole pipeline on an embedded default: tiny base model, made-up history and repositories."""
    return {"actions": [(run, [[sys.executable, str(ROOT / "demo" / "run.py")]])], "uptodate": [False]}


def task_test():
    """Run the tests on all cores."""
    return {"actions": [(run, [[sys.executable, "-m", "pytest", "-n", "auto"]])], "uptodate": [False]}
