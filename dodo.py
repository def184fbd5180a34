"""The pipeline: tasks and what they depend on, nothing else. `doit list` says what there is.

    doit                everything that is not up to date, in the order below; for cron
    doit train:rust     one adapter, with what it needs
    doit serve          one vLLM with every promoted adapter

Every step is a script of its own under scripts/. What was built from what stands in the manifests that the steps
write; doit's own state only saves work.
"""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

from specialists import adapters, pipeline
from specialists.config import Problem, load_config, owner_emails
from specialists.pipeline import Unchanged, keys
from specialists.sources import code, database_state, example_files, file_state, repository_state

try:
    CONFIG = load_config()
except Problem as problem:
    sys.exit(str(problem))

DATA = CONFIG.paths.data
DEFAULT = ["extract", "mine", "augment", "assemble", "train", "evaluate", "promote", "report", "check"]
DOIT_CONFIG = {
    "default_tasks": DEFAULT,
    "backend": "sqlite3",
    "dep_file": str(CONFIG.path.parent / ".doit.sqlite"),
    "continue": True,
    "verbosity": 2,
}
signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # doit still saves what it finished


def script(name: str, *arguments: str | Path) -> list:
    """The action that runs a script."""
    return [(pipeline.run, [pipeline.command(CONFIG, name, *arguments)])]


def reading(language) -> dict:
    """What of a language decides its examples; training parameters but the length limit do not."""
    where = f"languages.{language.name}"
    mine = {name: value for name, value in keys(language, where).items() if name != f"{where}.training"}
    return {**mine, f"training.{language.name}.max_length": language.training.max_length}


def base() -> str:
    return adapters.base_fingerprint(CONFIG.base.model, CONFIG.base.revision)


def task_extract():
    """Read the opencode history: examples of every language from its sessions."""

    def describe():
        databases = {str(path): database_state(path) for path in CONFIG.databases()}
        tools = {"data/opencode-tools.json": file_state(CONFIG.tools_file)}
        settings = {**keys(CONFIG.opencode, "opencode"), **keys(CONFIG.secrets, "secrets")}
        settings["owner.exclude"] = CONFIG.owner.exclude
        for language in CONFIG.languages.values():
            settings |= reading(language)
        return {**databases, **tools, **settings, "the base model": base()}

    return {
        "actions": script("extract-training-data"),
        "file_dep": code("extract-training-data"),
        "targets": [CONFIG.rows("sessions", name) for name in CONFIG.languages],
        "uptodate": [Unchanged(describe)],
    }


def from_repositories(language, folder: str, name: str) -> dict:
    def describe():
        states = {str(path): repository_state(path) for path in CONFIG.repositories(language.name)}
        settings = {**keys(CONFIG.owner, "owner"), "owner.emails": owner_emails(CONFIG)}
        settings |= {**keys(CONFIG.secrets, "secrets"), **keys(CONFIG.endpoint, "endpoint"), **reading(language)}
        grammar = {f"grammar {language.grammar}": bool(find_spec((language.grammar or "sys").partition(":")[0]))}
        tools = {"data/opencode-tools.json": file_state(CONFIG.tools_file)}
        return {**states, **tools, **settings, **grammar, "the base model": base()}

    return {
        "name": language.name,
        "actions": script(name, "--language", language.name),
        "file_dep": code(name),
        "targets": [CONFIG.rows(folder, language.name)],
        "uptodate": [Unchanged(describe)],
    }


def task_mine():
    """Read the git history of a language's repositories: examples from the owner's commits."""
    for language in CONFIG.languages.values():
        yield from_repositories(language, "commits", "mine-repos")


def task_augment():
    """Make synthetic pairs from the owner's own code, for languages that ask for them."""
    yield {"name": None, "doc": task_augment.__doc__}
    for language in CONFIG.languages.values():
        if language.synthetic:
            yield from_repositories(language, "synthetic", "augment")


def task_assemble():
    """Join a language's examples: deduplicated, split by time, between min_examples and max_examples."""
    for name, language in CONFIG.languages.items():
        settings = {**keys(CONFIG.assembly, "assembly"), f"languages.{name}.max_examples": language.max_examples}
        settings["owner.exclude"] = CONFIG.owner.exclude
        settings[f"languages.{name}.min_examples"] = language.min_examples
        yield {
            "name": name,
            "actions": script("assemble", "--language", name),
            "file_dep": [*example_files(CONFIG, language).values(), *code("assemble")],
            "targets": [CONFIG.rows("train", name), CONFIG.rows("heldout", name)],
            "uptodate": [Unchanged(settings.copy)],
        }


def task_train():
    """Train a language's adapter when its examples or its training parameters changed."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": script("train", "--language", name),
            "file_dep": [CONFIG.rows("train", name)],
            "uptodate": [lambda task, values, language=language: adapters.is_trained(CONFIG, language)],
        }


def task_evaluate():
    """Measure a new adapter against the base on held-out work: promote, hold or block."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": script("evaluate", "--language", name),
            "file_dep": [CONFIG.rows("heldout", name)],
            "task_dep": [f"train:{name}"],
            "uptodate": [lambda task, values, language=language: adapters.is_evaluated(CONFIG, language)],
        }


def task_promote():
    """Act on the verdict: a promoted adapter is served from now on, otherwise nothing changes."""
    for name, language in CONFIG.languages.items():
        yield {
            "name": name,
            "actions": [(pipeline.run_with_options, [pipeline.command(CONFIG, "promote", "--language", name)])],
            "params": options("force", "reason"),
            "task_dep": [f"evaluate:{name}"],
            "uptodate": [lambda task, values, language=language: decided(task, language)],
        }


def options(*names: str, kind: type = str) -> list[dict]:
    """Options of a task that are handed to its script; with `kind=list` each can be given several times."""
    return [{"name": name, "long": name, "type": kind, "default": kind()} for name in names]


def decided(task, language) -> bool:
    """Whether there is nothing to do for a promotion: no verdict to act on, nothing forced."""
    return not any((task.options or {}).values()) and adapters.is_decided(CONFIG, language)


def task_rollback():
    """Serve what was served before: `doit rollback:rust --reason TEXT`; a second time takes it back."""
    yield {"name": None, "doc": task_rollback.__doc__}
    for name in CONFIG.languages:
        command = pipeline.command(CONFIG, "rollback", "--language", name)
        yield {
            "name": name,
            "actions": [(pipeline.run_with_options, [command])],
            "params": options("reason"),
            "uptodate": [False],
        }


def task_prune():
    """Remove old versions of all adapters but the last ones and those in use."""
    return {"actions": script("prune"), "uptodate": [False]}


def task_report():
    """Write reports/index.html, the page that shows what the nights produced."""

    def describe():
        written = [*DATA.glob("*/*.json"), *CONFIG.paths.adapters.glob("*/[!.]*/*.json")]
        written += [*CONFIG.paths.adapters.glob("*/*.jsonl"), CONFIG.paths.reports / "answers.json"]
        return {"problems": [*map(str, CONFIG.findings)], **{str(path): file_state(path) for path in sorted(written)}}

    template = str(ROOT / "scripts" / "specialists" / "serving" / "report.html.jinja")
    return {
        "actions": script("report"),
        "file_dep": [*code("report"), template],
        "task_dep": ["promote"],
        "targets": [CONFIG.paths.reports / "index.html"],
        "uptodate": [Unchanged(describe)],
    }


def task_check():
    """Say everything that is wrong or missing: configuration, database, repositories, rows that were skipped."""
    return {"actions": [(pipeline.check, [CONFIG])], "uptodate": [lambda task, values: not pipeline.problems(CONFIG)]}


def task_serve():
    """Serve the base and every promoted adapter from one vLLM; this process becomes vLLM."""
    return {"actions": [(pipeline.become, [pipeline.command(CONFIG, "serve")])], "uptodate": [False]}


def task_ask():
    """Ask every promoted adapter one question and show who answered."""
    return {"actions": script("ask"), "uptodate": [False]}


def task_status():
    """Show examples against wanted, what is stale and why, what is promoted and served."""
    return {"actions": script("status"), "uptodate": [False]}


def task_show_mask():
    """Show a row as the model is trained on it: doit show-mask ROW-ID."""

    def show(row):
        return pipeline.run(pipeline.command(CONFIG, "show-mask", *row))

    return {"basename": "show-mask", "actions": [show], "pos_arg": "row", "uptodate": [False]}


def task_why():
    """Say what makes a task run, and what a training will cost: `doit why train:rust`; no name: all tasks."""

    def why(names: list[str]):
        from specialists.reporting import why

        asked = names or DEFAULT
        return pipeline.tell(lambda: why.why(CONFIG, pipeline.reasons(globals(), asked), asked))

    return {"actions": [why], "pos_arg": "names", "uptodate": [False]}


def task_doctor():
    """Check everything that has to work, a line each, with what to do where it does not."""
    return {"actions": script("doctor"), "uptodate": [False]}


def task_opencode():
    """Put provider, models and agents into the owner's opencode configuration."""
    return {"actions": script("configure-opencode"), "uptodate": [False]}


def task_tools():
    """Store the tool schemas of the installed opencode; extract shows them to the model from then on."""
    return {"actions": script("capture-tools"), "uptodate": [False]}


def task_check_secrets():
    """Look for secrets in everything that was built; fails when one is found."""
    return {"basename": "check-secrets", "actions": script("check-secrets"), "uptodate": [False]}


def task_demo():
    """Run the whole pipeline on an embedded default: tiny base model, made-up history and repositories."""
    return {"actions": [(pipeline.run, [[sys.executable, str(ROOT / "demo" / "run.py")]])], "uptodate": [False]}


def task_test():
    """Run the tests on all cores."""
    command = [sys.executable, "-m", "pytest", "-n", "auto"]
    return {"actions": [(pipeline.run, [command])], "uptodate": [False]}
