"""The checks of `doit doctor` that need no server: versions, programs, disk, configuration, inputs, base model.

`doit` without a task ends with them, so they load nothing: an idle run stays one.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from specialists.adapters import adapter_folder, manifest_of, not_served, too_few, train_summary, trained_on_another
from specialists.chat import Chat, model_folder
from specialists.cli import size
from specialists.config import ROOT_CONFIG, Config, Problem, owner_emails
from specialists.gpus import visible_gpus
from specialists.records import read_json
from specialists.serving.lora import served_model
from specialists.sessions.database import overview
from specialists.weights import weight_files

REQUIREMENTS = ROOT_CONFIG.with_name("requirements.txt")
NF4 = 0.27  # of the base in 16 bits: Qwen3-Coder-Next takes 40 of 148 GiB
KERNELS = ("fla-core", "flash-linear-attention")  # without them the base trains several times slower
DISK = 2 << 30  # bytes that a nightly run wants free: checkpoints of one training and the rows of all languages


@dataclass(frozen=True)
class Check:
    """What a check found. `note`: worth knowing, nothing is broken; `fix`: what to do, for a note or a failure."""

    state: Literal["ok", "note", "fail"]
    says: str
    fix: str = ""
    name: str = ""  # the function's, given by `made`


ok, note, fail = (partial(Check, state) for state in ("ok", "note", "fail"))


def versions(config: Config) -> Check:
    """The libraries against requirements.txt; those that a GPU alone can use, where there is one."""
    pip = f"pip install -r {REQUIREMENTS} (requirements-cpu.txt where there is no GPU)"
    pinned = re.findall(r"^([\w-]+)==(\S+)$", REQUIREMENTS.read_text(), re.M)
    found = [(name, installed(name) or installed(f"{name}-cpu"), wanted) for name, wanted in pinned]
    if not trains_with_kernels(config):
        found = [each for each in found if each[0] not in KERNELS]
    if missing := [name for name, version, _wanted in found if version is None]:
        return fail(f"not installed: {', '.join(missing)}", pip)
    if other := [f"{name} {version} (tested with {wanted})" for name, version, wanted in found if version != wanted]:
        return note(", ".join(other), pip)
    return ok(f"{len(found)} libraries as pinned")


def trains_with_kernels(config: Config) -> bool:
    """Whether there is a GPU and the base has Gated DeltaNet (Qwen3-Next, Qwen3.5), by its own configuration."""
    folder = model_folder(config.base.model, config.base.revision)
    settings = (read_json(folder / "config.json") if folder else None) or {}
    return "linear_num_value_heads" in settings.get("text_config", settings) and bool(visible_gpus())


def installed(library: str) -> str | None:
    """Its version without the build's local part; None when it is not here."""
    here = metadata.distributions(name=library)  # whose `version` parses all of a text: a fifth of an idle `doit`
    texts = (found.read_text("METADATA") or found.read_text("PKG-INFO") or "" for found in here)
    return next((found[1] for text in texts if (found := re.search(r"(?m)^Version: *([^\s+]+)", text))), None)


def tools(config: Config) -> Check:
    """git, opencode, and the grammars that the languages name."""
    if not shutil.which("git"):
        return fail("no git: repositories cannot be mined", "install git")
    grammars = {each.title: each.grammar.partition(":")[0] for each in config.languages.values() if each.grammar}
    if missing := [f"{title}: {grammar}" for title, grammar in grammars.items() if not util.find_spec(grammar)]:
        return fail(
            f"no grammar for {', '.join(missing)}", "is it spelled right? Else pip install the package of that name"
        )
    if not shutil.which("opencode"):
        return note("git and grammars are here; no opencode on this PATH", "doctor cannot look at it")
    return ok("git, opencode, grammars")


def disk(config: Config) -> list[Check]:
    """Each file system: room for rows and adapters, and for what is not there yet of the base in its copies."""
    wanted = [(config.paths.data, "rows and adapters", DISK), (config.paths.adapters, "rows and adapters", DISK)]
    prepared = config.base.prepared
    for model, revision in models(config):
        files, whole = weight_files(folder) if (folder := model_folder(model, revision)) else ([], 0)
        if folder and (missing := whole - sum(file.stat().st_size for file in files if file.is_file())):
            wanted.append((folder, model, missing))
        if prepared and whole and model == config.base.model and not list(prepared.glob("nf4-*")):
            wanted.append((prepared, "the base in 4 bits, kept where twice its size is free", round(2 * NF4 * whole)))
    places: dict[int, tuple[Path, dict[str, int]]] = {}
    for path, what, count in wanted:
        place = next(each for each in (path, *path.parents) if each.exists())
        places.setdefault(place.stat().st_dev, (place, {}))[1][what] = count
    unknown = "".join(f", and {one} of unknown size" for one, at in models(config) if not model_folder(one, at))
    found = []
    for place, needs in places.values():
        free, terms = shutil.disk_usage(place).free, ", ".join(f"{what} {size(needs[what])}" for what in needs)
        says = f"{place}: {size(free)} free, still to be written: {terms}{unknown}"
        room = free >= sum(needs.values())
        found.append(ok(says) if room else fail(says, "make room; old versions go with `doit prune`"))
    return found


def models(config: Config) -> list[tuple[str, str | None]]:
    """Name and revision of the base, and of its served copy where that is another."""
    return list(dict.fromkeys([(config.base.model, config.base.revision), served_model(config)]))


def configuration(config: Config) -> Check:
    """Mistakes that take a language out."""
    if mistakes := [str(finding) for finding in config.findings if finding.fatal]:
        return fail("\n".join(mistakes), f"correct {config.path}")
    return ok(f"{config.path}: {', '.join(config.languages)}")


def history(config: Config) -> list[Check]:
    """Each database of opencode: there, readable, and how much is in it."""
    return [_database(path, fail if config.opencode.databases else note) for path in config.databases()]


def _database(path: Path, missing: Callable[[str, str], Check]) -> Check:
    if not path.exists():
        return missing(f"opencode.databases: {path}: no opencode history there", "name yours in [opencode] databases")
    if path.is_dir():
        return ok(f"{path}: a folder")
    try:
        sessions, _time, version = overview(path)
    except Problem as problem:
        return fail(str(problem), "is it the right file, and may you read it? Does opencode open it?")
    return ok(f"{path}: {sessions} sessions, the newest of opencode {version or '?'}")


def owner(config: Config) -> Check:
    """Whose commits are mined."""
    if emails := ", ".join(owner_emails(config)):
        return ok(f"commits of {emails}")
    says = "[owner] emails is empty, and git config --global user.email is not set"
    mined = any(language.repositories for language in config.languages.values())
    return (fail if mined else note)(f"{says}{': nothing is mined' * mined}", "set it, or name yours in [owner] emails")


def repositories(config: Config) -> Check:
    """Repositories that the languages name."""
    number = len({path for name in config.languages for path in config.repositories(name)})
    if missing := [str(finding) for finding in config.findings if not finding.fatal and finding.language]:
        return fail("\n".join([f"{number} to mine", *missing]), "correct the paths; what they gave before is kept")
    return ok(f"{number} to mine")


def examples(config: Config) -> Check:
    """Languages that are not trained, as they have fewer examples than their owner asks for."""
    reasons = {language.title: too_few(config, language) for language in config.languages.values()}
    if few := [f"{title}: {reason}" for title, reason in reasons.items() if reason]:
        return note("\n".join(few), "name more databases or repositories, set synthetic = true, or lower min_examples")
    if not any(train_summary(config, language) for language in config.languages.values()):
        return note("none yet", "doit")
    return ok("no language has fewer than its min_examples")


def unusable(config: Config) -> Check:
    """Versions that are never served, as they are damaged or were trained on what `[owner] exclude` names."""
    if lines := not_served(config):
        return note("\n".join(lines), "`doit` goes back to the one before, or trains anew; `doit prune` removes them")
    return ok("no version is damaged or was trained on excluded work")


def left_out(config: Config) -> Check:
    """What the steps had to leave out when they last ran; what the configuration names has a check of its own."""
    findings = {f"{config.path}: {finding}" for finding in config.findings}
    if problems := [problem for problem in skipped(config) if problem not in findings]:
        return fail("\n".join(problems), "docs/troubleshooting.md has the messages; the step's next run looks again")
    return ok("nothing, when the steps last ran")


def skipped(config: Config) -> list[str]:
    """What the steps had to leave out when they last ran, each once; of languages that there still are."""
    found: list[str] = []
    for path in sorted(config.paths.data.glob("*/*summary.json")):
        if path.name == "summary.json" or path.name.removesuffix(".summary.json") in config.languages:
            summary = read_json(path)
            found += [f"{path}: cannot be read"] if summary is None else summary.get("problems", [])
    return list(dict.fromkeys(found))


def base_model(config: Config) -> Check:
    """Tokenizer, template and all weights of the base and of the copy that is served; which adapters are of another."""
    newest = {each.adapter: adapter_folder(config, each).latest for each in config.languages.values()}
    stale = {name: other for name, version in newest.items() if (other := trained_on_another(version, config))}
    shown = [f"{name} is of {other} and is not served on {config.base.model}" for name, other in stale.items()]
    for model, revision in models(config):
        fix = f"hf download {model}, or name its folder in specialists.toml"
        folder = model_folder(model, revision)
        if folder is None:
            return fail("\n".join([*shown, f"{model}: not on this machine"]), fix)
        try:
            Chat.load(model, revision)
        except Problem as problem:
            return fail(str(problem), fix)
        shards, _bytes = weight_files(folder)
        absent = [shard for shard in shards if not shard.is_file()]
        if absent or not shards:
            what = f"{len(absent)} of {len(shards)} weight files are missing" if absent else "no weights"
            return fail(f"{model}: {what}", fix)
        shown.append(f"{model}: {len(shards)} weight files")
    if not stale:
        return ok("; ".join(shown))
    hours = sum(manifest_of(newest[name]).get("seconds", 0) for name in stale) / 3600
    again = f"`doit` trains {len(stale)} anew ({hours:.1f} h on the old base); then start the server again"
    return note("\n".join(shown), again)


def sandbox(config: Config) -> list[Check]:
    """Whether rollouts can run here, where they are to."""
    if not config.rollouts.enabled:
        return []
    from specialists.rollouts.sandbox import check_programs

    check_programs()
    return [ok("rollouts run in bubblewrap")]


OFFLINE = (
    *(versions, tools, disk, configuration, history, owner, repositories, examples, unusable, left_out, base_model),
    sandbox,
)


def made(config: Config, looks: Iterable[Callable[[Config], Check | list[Check]]] = OFFLINE) -> list[Check]:
    """What checks found, each with its name; one that falls over fails."""
    found: list[Check] = []
    for look in looks:
        try:
            seen = look(config)
        except Exception as error:  # a doctor that falls over helps nobody
            problem = error if isinstance(error, Problem) else f"cannot be looked at: {type(error).__name__}: {error}"
            seen = fail(str(problem), "fix what it names")
        name = look.__name__.replace("_", " ")
        found += [replace(check, name=name) for check in (seen if isinstance(seen, list) else [seen])]
    return found
