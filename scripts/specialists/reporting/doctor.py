"""`doit doctor`: everything that has to work between the history and an answer in opencode, a line each.

Only looks: nothing is written, loaded or, but for `--ask`, started. A check that cannot be made says so and fails.
"""

from datetime import UTC, datetime
from pathlib import Path

from specialists.adapters import adapter_folder, evaluation_of, manifest_of, promoted_versions
from specialists.agent import captured as captures
from specialists.agent import sent_tokens
from specialists.chat import token_counter
from specialists.cli import size
from specialists.config import Config
from specialists.gpus import visible_gpus
from specialists.reporting.checks import OFFLINE, Check, fail, made, note, ok
from specialists.reporting.prompt_match import prompt_match
from specialists.reporting.status import server_state
from specialists.serving import jsonc
from specialists.serving import opencode_config as wiring
from specialists.serving.card import serving_fit, training_fit
from specialists.serving.lora import served_chat
from specialists.sessions.database import overview
from specialists.tables import SERVED_BASE

LATE = 8  # days without a run after which it is mentioned


def diagnose(config: Config, offline: bool = False, ask: bool = False) -> list[Check]:
    """Every check, in the order of what depends on what; `offline`: but those of a server, `ask`: asks opencode too."""
    online = (gpu, chat_template, server, adapters_served, opencode, agents, sent_prompt, context, last_run)
    return made(config, [*OFFLINE, *(() if offline else online), *((asked,) if ask else ())])


def gpu(config: Config) -> list[Check]:
    """The GPUs, and whether they hold what is served and what is trained."""
    if not (gpus := visible_gpus()):
        return [note("none seen (nvidia-smi)", "trains and serves on the CPU, which is for small models")]
    fits = filter(None, (serving_fit(config), training_fit(config)))
    found = [ok("\n".join(f"{name}: {size(free)} of {size(total)} free" for name, free, total in gpus))]
    return [*found, *(fail(says, fix) if fix else ok(says) for says, fix in fits)]


def chat_template(config: Config) -> Check:
    """Chat template and tokenizer that are served against those that the promoted adapters were trained with."""
    current = {language.adapter: adapter_folder(config, language).current for language in config.languages.values()}
    trained = {name: manifest_of(path).get("base", {}).get("template") for name, path in current.items() if path}
    if not trained:
        return ok("no adapter is promoted yet")
    served = served_chat(config).fingerprint
    if other := [f"{adapter} ({known})" for adapter, known in trained.items() if known and known != served]:
        says = f"{', '.join(other)} trained with another template or tokenizer than is served ({served})"
        return fail(says, "put the base's files back, or train anew: `doit`")
    return ok(f"{served}, as {len(trained)} promoted adapters were trained with")


def server(config: Config) -> Check:
    """What answers at the configured address."""
    state = server_state(config)
    if state["problem"]:
        return fail(state["problem"], "change serving.port, or stop what runs there")
    if state["models"] is None:
        return (fail if promoted_versions(config) else note)(f"none at {state['url']}", "doit serve")
    return ok(f"{state['url']}: {', '.join(state['models'])}")


def adapters_served(config: Config) -> list[Check]:
    """Whether each promoted version is the one that is served."""
    if (served := server_state(config)["models"]) is None:
        return [note("not known without a server", "doit serve")]
    wrong = []
    for language in config.languages.values():
        current, where = adapter_folder(config, language).current, served.get(language.adapter)
        if (Path(where).resolve() if where else None) != current:
            answers, promoted = Path(where).name if where else "the base", current.name if current else "no version"
            wrong.append(f"{language.adapter}: {answers} answers, {promoted} is promoted")
    fix = "start `doit serve` again; it says why it leaves an adapter out"
    return [fail(says, fix) for says in wrong] or [ok("every promoted version answers, and nothing else")]


def opencode(config: Config) -> Check:
    """Whether opencode will use what `doit opencode` puts into its configuration, and do so in the mined projects."""
    named = config.opencode.config.expanduser()
    file = wiring.config_files(named)[-1]
    if file.read() is None:
        return note(f"{file.path}: no such file", "doit opencode")
    wiring.refuse_other_provider(config, named)
    wanted = wiring.settings(config)
    refused, what = wiring.not_used(config, wanted), "provider, models or agents are not up to date"
    stale = [f"{file.path}: {what}"] if file.merged(wanted) != file.read() else []
    if refused or stale:
        take = "take the keys named out of those files; then " if refused else ""
        return fail("\n".join([*refused, *stale]), f"{take}doit opencode")
    projects = {path for name in config.languages for path in config.repositories(name)}
    wrong = [line for path in sorted(projects) for line in wiring.not_used(config, wanted, path)]
    if not wiring.is_ours(config, file):
        wrong.append(f"{file.path}: promotions do not change it, as this configuration did not put it there")
    if wrong:
        return note("\n".join(wrong), "take the keys named out of those files; doit opencode makes agents follow")
    return ok(f"{file.path}: up to date")


def agents(config: Config) -> Check:
    """Agents in opencode whose model nothing answers, with the reason."""
    found = wiring.layers(config)
    names = sorted({name for _file, says in found for name in jsonc.get(says, ("agent",))[1] or {}})
    models = {name: str(wiring.look(found, ("agent", name, "model"))[0]).partition("/") for name in names}
    ours = {agent: model for agent, (provider, _slash, model) in models.items() if provider == wiring.PROVIDER}
    folders = {each.adapter: adapter_folder(config, each) for each in config.languages.values()}
    promoted = {adapter for adapter, folder in folders.items() if folder.current}
    answered = server_state(config)["models"] or {SERVED_BASE, *promoted}
    reasons = []
    for agent, model in ours.items():
        why = f"no language of {config.path.name} has it"
        if model in folders:
            verdict = evaluation_of(folders[model].latest).get("verdict")
            why = "promoted, not served" if model in promoted else f"no version is promoted (verdict: {verdict})"
        reasons += [] if model in answered else [f"agent {agent}: nothing answers to {model}: {why}"]
    if reasons:
        return fail("\n".join(reasons), "doit opencode, then doit serve; or take the agent out")
    if without := folders.keys() - set(names):
        says = f"{', '.join(sorted(without))}: no such agent in opencode; it would silently take its default agent"
        return note(says, "doit opencode")
    return ok(", ".join(f"{agent} by {model}" for agent, model in ours.items()))


def asked(config: Config) -> list[Check]:
    """Which model answers each promoted language's agent in the installed opencode, by real requests."""
    found = []
    for name in (each.adapter for each in config.languages.values() if adapter_folder(config, each).current):
        agent = ("--agent", name)
        forms = (agent, (*agent, "--model", f"{wiring.PROVIDER}/{name}"))
        models = [wiring.model_asked(config, *form) for form in forms]
        says = "\n".join(f"opencode run {' '.join(form)}: {model}" for form, model in zip(forms, models, strict=True))
        state = ok if models == [name, name] else note if models[1] == name else fail
        found.append(state(says, "" if state is ok else "use the form that is answered by the agent's own model"))
    return found or [note("no adapter is promoted yet", "doit")]


def sent_prompt(config: Config) -> list[Check]:
    """Prompt and tools that the rows were trained on against a captured request of the installed opencode."""
    if not (captured := captures(config)):
        return [note("not captured: rows show the tools of 1.18, or of 2 where the history is its", "doit tools")]
    version = captured.get("version")
    newest = max((overview(path)[1:] for path in config.databases() if path.is_file()), default=(0, None))[1]
    if newest and newest != version:
        return [note(f"captured from opencode {version}; your newest session is of {newest}", "doit tools")]
    chat = token_counter(config.base.model, config.base.revision)
    found = []
    for language in config.languages.values():
        words, gap = prompt_match(config, language, captured, chat)
        says = f"opencode {version} to {language.adapter}: {words}"
        fix = "doit makes the rows with what is captured and trains on them; assembly.whole_heads: in how many"
        found += [note(says, fix) if gap else ok(says)] if words else []
    return found or [ok(f"opencode {version}, {len(captured['tools'])} tools; no rows to compare with")]


def context(config: Config) -> Check:
    """Whether rows as long as trained on, and opencode's own words with an answer, fit into what is served."""
    served, languages = config.serving.max_model_len, config.languages.values()
    first = max((sent_tokens(config, language) for language in languages), default=0)
    longest = first + max((language.training.max_length for language in languages), default=0)
    if longest > served:
        says = f"rows may have {longest:,} tokens (training.max_length after their head), the server takes {served:,}"
        return fail(says, f"serving.max_model_len = {longest}, or shorter rows")
    needs, start = config.serving.output_tokens + first, wiring.compaction_start(config)
    says = f"opencode's prompt and an answer take {needs:,} tokens of {served:,}; rows up to {longest:,}; "
    says += f"a session is compacted from {start:,} on"
    return fail(says, "raise serving.max_model_len, or lower serving.output_tokens") if first >= start else ok(says)


def last_run(config: Config) -> Check:
    """When a step last left something behind."""
    left = [path for folder in (config.paths.data, config.paths.adapters) for path in folder.glob("*/*.json*")]
    if not left:
        return note("nothing was built yet", "doit")
    time = datetime.fromtimestamp(max(path.stat().st_mtime for path in left), UTC)
    days = (datetime.now(UTC) - time).days
    says = f"{time:%Y-%m-%d %H:%M} UTC" + (f", {days} days ago" if days else "")
    if days >= LATE:
        return note(says, "does cron or a systemd timer start doit (README)? Its mail, or `journalctl --user`, says")
    return ok(says)


def as_text(found: list[Check]) -> str:
    """The page: each check with what to do below it."""
    width = max((len(check.name) for check in found), default=0)
    lines = []
    for check in found:
        mark = {"ok": "ok  ", "note": "note", "fail": "FAIL"}[check.state]
        lines.append(f"{mark}  {check.name:{width}}  " + check.says.replace("\n", f"\n      {'':{width}}  "))
        lines += [f"      {'':{width}}  -> {check.fix}"] if check.fix else []
    failed = sum(check.state == "fail" for check in found)
    return "\n".join([*lines, f"\n{failed} to fix." if failed else "\nNothing to fix."])
