"""The pipeline: tasks and what they depend on, nothing else. `doit list` says what there is.

    doit                everything that is not up to date, in the order below; for cron
    doit train:rust     one adapter, with what it needs
    doit serve          one vLLM with every promoted adapter

Every step is a script of its own under scripts/. What was built from what stands in the manifests that the steps
write; doit's own state only saves work.
"""

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

from specialists import adapters, pipeline  # noqa: E402
from specialists.config import Problem, load_config  # noqa: E402
from specialists.pipeline import unchanged  # noqa: E402
from specialists.sources import database_state, file_state, repository_state  # noqa: E402

try:
    CONFIG = load_config()
except Problem as problem:
    sys.exit(str(problem))

DATA = CONFIG.paths.data
DOIT_CONFIG = {
    "default_tasks": ["extract", "mine", "augment", "assemble", "train", "evaluate", "promote", "report", "check"],
    "backend": "sqlite3",
    "dep_file": str(CONFIG.path.parent / ".doit.sqlite"),
    "continue": True,
    "verbosity": 2,
}
signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped by systemd, doit still saves what it finished


def script(name: str, *arguments: str | Path) -> list:
    """The action that runs a script."""
    return [(pipeline.run, [pipeline.command(CONFIG, name, *arguments)])]


def code(name: str, *modules: str) -> list[str]:
    """The script and the modules whose change makes a data step run again."""
    return [str(ROOT / "scripts" / f"{part}.py") for part in (name, *(f"specialists/{module}" for module in modules))]


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
        databases.append(file_state(DATA / "opencode-tools.json"))
        return databases, CONFIG.opencode, CONFIG.secrets, [*map(reading, CONFIG.languages.values())], base()

    return {
        "actions": script("extract-training-data"),
        "file_dep": code("extract-training-data", *EXTRACTING),
        "targets": [examples("sessions", name) for name in CONFIG.languages],
        "uptodate": [unchanged(describe)],
    }


EXTRACTING = ("opencode_db", "opencode_chat", "opencode_tools", "project_paths", "shell", "evidence", "windows",
              "extraction", "spool", "session_cache", "secrets")  # fmt: skip
MINING = ("git_source", "syntax", "edits", "commit_filter", "secrets")
AUGMENTING = ("git_source", "commit_filter", "syntax", "edits", "code_kinds", "operators", "mutations", "phrases",
              "synthetic", "secrets")  # fmt: skip


def from_repositories(language, kind: str, name: str, modules: tuple[str, ...]) -> dict:
    def describe():
        states = {str(path): repository_state(path) for path in CONFIG.repositories(language.name)}
        settings = CONFIG.owner, CONFIG.mining, CONFIG.secrets
        return states, language.repositories, reading(language), settings, base()

    return {
        "name": language.name,
        "actions": script(name, "--language", language.name),
        "file_dep": code(name, *modules),
        "targets": [examples(kind, language.name)],
        "uptodate": [unchanged(describe)],
    }


def task_mine():
    """Read the git history of a language's repositories: examples from the owner's commits."""
    for language in CONFIG.languages.values():
        yield from_repositories(language, "commits", "mine-repos", MINING)


def task_augment():
    """Make synthetic pairs from the owner's own code, for languages that ask for them."""
    yield {"name": None, "doc": task_augment.__doc__}
    for language in CONFIG.languages.values():
        if language.synthetic:
            yield from_repositories(language, "synthetic", "augment", AUGMENTING)


def task_assemble():
    """Join a language's examples: deduplicated, split by time, within the wanted bounds."""
    for name, language in CONFIG.languages.items():
        sources = ["sessions", "commits", *(["synthetic"] if language.synthetic else [])]
        settings = CONFIG.assembly, language.wanted
        yield {
            "name": name,
            "actions": script("assemble", "--language", name),
            "file_dep": [*(examples(source, name) for source in sources), *code("assemble", "dataset", "neighbours")],
            "targets": [examples("train", name), examples("heldout", name)],
            "uptodate": [unchanged(lambda settings=settings: settings)],
        }


def task_train():
    """Train a language's adapter when its examples or its training parameters changed."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": script("train", "--language", name),
            "file_dep": [examples("train", name)],
            "uptodate": [lambda task, values, language=language: adapters.is_trained(CONFIG, language)],
        }


def task_evaluate():
    """Measure a new adapter against the base on held-out work: promote, hold or block."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": script("evaluate", "--language", name),
            "file_dep": [examples("heldout", name)],
            "task_dep": [f"train:{name}"],
            "uptodate": [lambda task, values, language=language: adapters.is_evaluated(CONFIG, language)],
        }


def task_promote():
    """Act on the verdict: a promoted adapter is served from now on, otherwise nothing changes."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": script("promote", "--language", name),
            "task_dep": [f"evaluate:{name}"],
            "uptodate": [lambda task, values, language=language: adapters.is_decided(CONFIG, language)],
        }


def task_report():
    """Write reports/index.html, the page that shows what the nights produced."""

    def describe():
        written = [*DATA.glob("*/*.json"), *CONFIG.paths.adapters.glob("*/[!.]*/*.json")]
        written += [*CONFIG.paths.adapters.glob("*/*.jsonl"), CONFIG.paths.reports / "answers.json"]
        return [*map(str, CONFIG.findings)], [(str(path), file_state(path)) for path in sorted(written)]

    template = str(ROOT / "scripts" / "specialists" / "report.html.jinja")
    return {
        "actions": script("report"),
        "file_dep": [*code("report", "report", "figures", "status"), template],
        "task_dep": ["promote"],
        "targets": [CONFIG.paths.reports / "index.html"],
        "uptodate": [unchanged(describe)],
    }


def task_check():
    """Say everything that is wrong or missing: configuration, database, repositories, rows that were skipped."""
    return {"actions": [(pipeline.check, [CONFIG])], "uptodate": [lambda task, values: not pipeline.problems(CONFIG)]}


def task_serve():
    """Serve the base and every promoted adapter from one vLLM; this process becomes vLLM."""
    command = pipeline.command(CONFIG, "serve")
    return {"actions": [(os.execv, [command[0], command])], "uptodate": [False]}


def task_ask():
    """Ask every promoted adapter one question and show who answered."""
    return {"actions": script("ask"), "uptodate": [False]}


def task_status():
    """Show examples against wanted, what is stale and why, what is promoted and served."""
    return {"actions": script("status"), "uptodate": [False]}


def task_opencode():
    """Put provider, models and agents into the owner's opencode configuration."""
    return {"actions": script("configure-opencode"), "uptodate": [False]}


def task_tools():
    """Store the tool schemas of the installed opencode; extract shows them to the model from then on."""
    return {"actions": script("capture-tools"), "uptodate": [False]}


def task_check_secrets():
    """Look for secrets in everything that was built; fails when one is found."""
    return {"basename": "check-secrets", "actions": script("check-secrets"), "uptodate": [False]}


def task_unlearn():
    """Take work back: `doit unlearn --session ID --commit SHA --repository NAME`; rows and versions go."""

    def unlearn(**named: list[str]):
        options = [part for name, values in named.items() for value in values for part in (f"--{name}", value)]
        return pipeline.run(pipeline.command(CONFIG, "unlearn", *options))

    params = [{"name": name, "long": name, "type": list, "default": []} for name in ("session", "commit", "repository")]
    return {"actions": [unlearn], "params": params, "uptodate": [False]}


def task_demo():
    """Run the whole pipeline on an embedded default: tiny base model, made-up history and repositories."""
    return {"actions": [(pipeline.run, [[sys.executable, str(ROOT / "demo" / "run.py")]])], "uptodate": [False]}


def task_test():
    """Run the tests on all cores."""
    command = [sys.executable, "-m", "pytest", "-n", "auto"]
    return {"actions": [(pipeline.run, [command])], "uptodate": [False]}
