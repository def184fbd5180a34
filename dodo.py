"""The pipeline: tasks and what they depend on, nothing else. `doit list` names them.

    doit                everything that is not up to date, in the order below; for cron
    doit train:rust     one adapter, with what it needs

Every step is a script under scripts/. The manifests say what was built from what; doit's own state only saves work.
"""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from doit.exceptions import InvalidDodoFile, TaskFailed
from doit.task import Task
from doit.tools import config_changed

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

from specialists import adapters, pipeline
from specialists.agent import captured
from specialists.config import Problem, fingerprint, load_config, owner_emails
from specialists.pipeline import code, database_state, example_files, file_state, option, repository_state, without
from specialists.tables import Training
from specialists.tools import known_tools

try:
    CONFIG = load_config()
except Problem as problem:
    raise InvalidDodoFile(str(problem)) from None

LANGUAGES = CONFIG.languages
STEPS = f"extract mine augment {'rollout' * CONFIG.rollouts.enabled} assemble train evaluate promote report".split()
DOIT_CONFIG = {"default_tasks": [*STEPS, "doctor", "--offline"], **pipeline.settings(CONFIG.path.parent)}


def script(name: str, *arguments: str, failure: Path | None = None) -> list:
    """The action that runs a script."""
    return [(pipeline.run, [pipeline.command(CONFIG, name, *arguments), failure])]


def step(name: str, language, **more) -> dict:
    """The sub-task of a language: its script, and what makes it run."""
    failure = CONFIG.paths.data / f"failed-{name}" / f"{language.name}.summary.json"
    return {"name": language.name, "actions": script(name, "--language", language.name, failure=failure), **more}


def reading(language, **unused: int) -> list:
    """What decides a language's examples, but for keys that a step does not use; of its training the length limit."""
    limit = Training(max_length=language.training.max_length)
    base = adapters.base_fingerprint(CONFIG.base.model, CONFIG.base.revision)
    return [replace(language, training=limit, **unused), base, CONFIG.owner, CONFIG.secrets, known_tools(CONFIG)]


def task_extract():
    """Read the opencode history: examples of every language from its sessions."""
    inputs = [CONFIG.opencode, CONFIG.endpoint, *map(database_state, CONFIG.databases())]
    inputs += [reading(language, min_examples=0, max_examples=0) for language in LANGUAGES.values()]
    return {
        "actions": script("extract-training-data", failure=CONFIG.paths.data / "failed-extract" / "summary.json"),
        "file_dep": code("extract-training-data", "sessions", "secrets"),
        "targets": [CONFIG.rows("sessions", name) for name in LANGUAGES],
        "params": [option("accept-loss", bool)],
        "uptodate": [config_changed(fingerprint(*inputs)), without("accept-loss")],
    }


def from_repositories(name: str, folder: str, language, **unused: int) -> dict:
    states = {str(path): repository_state(path) for path in CONFIG.repositories(language.name)}
    inputs = [states, owner_emails(CONFIG), CONFIG.endpoint, reading(language, **unused)]
    inputs += [bool(find_spec((language.grammar or "sys").partition(":")[0]))]
    return step(
        name,
        language,
        file_dep=code(name, "commits", "synthetic", "code", "secrets"),
        targets=[CONFIG.rows(folder, language.name)],
        params=[option("accept-loss", bool)] if folder == "commits" else [],
        uptodate=[config_changed(fingerprint(*inputs)), without("accept-loss")],
    )


def task_mine():
    """Read the git history of a language's repositories: examples from the owner's commits."""
    for language in LANGUAGES.values():
        yield from_repositories("mine-repos", "commits", language, min_examples=0)


def task_augment():
    """Make synthetic pairs from the owner's own code, for languages that ask for them."""
    yield {"name": None, "doc": task_augment.__doc__}
    for language in (language for language in LANGUAGES.values() if language.synthetic):
        yield from_repositories("augment", "synthetic", language, max_examples=0)


if CONFIG.rollouts.enabled:

    def task_rollout():
        """Have past commits done again in a sandbox, for examples; --heldout: base against specialist."""
        for name, language in LANGUAGES.items():
            needs = {"file_dep": [CONFIG.rows("commits", name)], "targets": [CONFIG.rows("rollouts", name)]}
            yield step("rollout", language, params=[option("heldout", bool)], uptodate=[False], **needs)


def task_assemble():
    """Join a language's examples: deduplicated, split by time, between min_examples and max_examples."""
    for name, language in LANGUAGES.items():
        train, heldout = (CONFIG.rows(part, name) for part in ("train", "heldout"))
        yield step(
            "assemble",
            language,
            file_dep=[*example_files(CONFIG, language).values(), *code("assemble", "dataset")],
            targets=[train, heldout, heldout.with_suffix(".split.json")],
            uptodate=[config_changed(fingerprint(CONFIG.assembly, captured(CONFIG), reading(language)))],
        )


def task_train():
    """Train a language's adapter when its examples or its training parameters changed."""
    for name, language in LANGUAGES.items():
        rows = [CONFIG.rows("train", name)]
        yield step("train", language, file_dep=rows, uptodate=[lambda of=language: adapters.is_trained(CONFIG, of)])


def task_evaluate():
    """Measure a new adapter against the base on held-out work: promote, hold or block."""
    for name, language in LANGUAGES.items():
        needs = {"file_dep": [CONFIG.rows("heldout", name)], "task_dep": [f"train:{name}"]}
        yield step("evaluate", language, **needs, uptodate=[lambda of=language: adapters.is_evaluated(CONFIG, of)])


def task_promote():
    """Act on the verdict: a promoted adapter is served from now on, otherwise nothing changes."""
    for name, language in LANGUAGES.items():
        decided = [without("force"), lambda of=language: adapters.is_decided(CONFIG, of)]
        needs = {"task_dep": [f"evaluate:{name}"], "uptodate": decided}
        yield step("promote", language, params=[option("force"), option("reason")], **needs)


def task_rollback():
    """Serve what was served before: `doit rollback:rust --reason TEXT`; a second time takes it back."""
    ask = TaskFailed(f"needs a language: {', '.join(f'doit rollback:{name}' for name in LANGUAGES)}")
    yield Task("rollback", [lambda: ask], doc=task_rollback.__doc__)  # no group, which would roll back all of them
    for name in LANGUAGES:
        actions = script("promote", "--language", name, "--back")
        yield Task(f"rollback:{name}", actions, subtask_of="rollback", params=[option("reason")], uptodate=[False])


def task_report():
    """Write reports/index.html, the page that shows where every language stands."""

    def written():
        files = [*CONFIG.paths.data.glob("*/*.json"), *CONFIG.paths.adapters.glob("*/[!.]*/*.json")]
        files += [*CONFIG.paths.adapters.glob("*/*.jsonl"), CONFIG.paths.reports / "answers.json"]
        return {"problems": [*map(str, CONFIG.findings)], **{str(path): file_state(path) for path in sorted(files)}}

    return {  # comes after promote by its place in STEPS alone, so that a language that failed does not hold it up
        "actions": script("report"),
        "file_dep": [*code("report", "reporting"), *map(str, ROOT.glob("scripts/specialists/reporting/*.jinja"))],
        "targets": [CONFIG.paths.reports / "index.html"],
        "uptodate": [pipeline.unchanged(written)],
    }


def task_doctor():
    """Check everything that has to work, and what to do; --offline: what needs no server; --ask: also opencode."""

    def well(task):
        from specialists.reporting import checks

        offline = (task.options or {}).get("offline", False)
        return offline and all(check.state != "fail" for check in checks.made(CONFIG))

    return {"actions": script("doctor"), "params": [option("offline", bool), option("ask", bool)], "uptodate": [well]}


COMMANDS = {  # what runs only when it is asked for
    "serve": ([(pipeline.become, [pipeline.command(CONFIG, "serve")])], "Become a vLLM with every promoted adapter."),
    "status": (script("status"), "Show examples against wanted, what the next doit does and why, what is served."),
    "ask": (script("ask"), "Ask every promoted adapter one question and show who answered."),
    "opencode": (script("configure-opencode"), "Put provider, models and agents into opencode's configuration."),
    "tools": (script("capture-tools"), "Store the tool schemas of the installed opencode, for extract to use."),
    "prune": (script("prune"), "Remove old versions of all adapters but the last ones and those in use."),
    "demo": (pipeline.python(str(ROOT / "demo/run.py")), "Run all on a made-up history; --base smollm2: a real base."),
    "test": (pipeline.python("-m", "pytest", "-n", "auto"), "Run the tests on all cores."),
}


def task_commands():
    """The commands above."""
    for name, (run, doc) in COMMANDS.items():
        params = [option("base")] * (name == "demo")
        yield {"basename": name, "actions": run, "doc": doc, "params": params, "uptodate": [False]}
