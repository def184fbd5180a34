"""`doit demo`: the whole pipeline on an embedded default, with the dodo.py, scripts and code paths of the real one.

    python demo/run.py                    on the tiny base model in demo/base
    python demo/run.py --base smollm2     on a real one, out of a wheel

Makes, once, an opencode history and git repositories under demo/out/; then runs `doit` with demo/specialists.toml, asks
each promoted adapter a question through a real vLLM, and shows what came out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

DEMO = Path(__file__).resolve().parent
ROOT = DEMO.parent
OUT = DEMO / "out"
sys.path[:0] = [str(DEMO), str(ROOT / "scripts")]

import make_history
import make_repositories
import questions
import smollm2
from ask import running_server
from specialists.adapters import adapter_folder, evaluation_of, manifest_of, promoted_versions, train_summary
from specialists.cli import say, table
from specialists.config import Config, Language, Problem, load_config
from specialists.records import read_json
from specialists.stopping import handled
from specialists.tables import SERVED_BASE

MINUTES = {"toy": "two", "smollm2": "nine"}


@click.command()
@click.option("--base", type=click.Choice([*MINUTES]), default="toy", show_default=True, help="What is trained on.")
def main(base: str) -> None:
    """Run the whole pipeline on a made-up history."""
    started = time.monotonic()
    try:
        with handled():
            told = run(base)
    except Problem as problem:
        sys.exit(str(problem))
    say(f"\n{told}\n\nDone in {time.monotonic() - started:.0f} s.")


def run(base: str) -> str:
    """Run the demo on a base; returns what to show at the end."""
    toy = base == "toy"
    out = OUT if toy else OUT / base
    path = DEMO / "specialists.toml" if toy else smollm2.prepare(out)
    if not (out / "data").exists():
        say(f"demo: some {MINUTES[base]} minutes on two cores that have nothing else to do")
    make_history.make(out)
    make_repositories.make(out)
    threads = "1" if toy else "2"  # two languages are trained side by side, or one alone
    os.environ.update({"SPECIALISTS_CONFIG": str(path), "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"})
    doit("-n", "2", "promote")
    config = load_config(path)
    for language in config.languages.values():
        if version := held(config, language):
            say(f"demo: {language.name} is held, as it should be; promoted by force, so that it answers")
            doit("-s", f"promote:{language.name}", "--force", version, "--reason", REASON)
    promoted, asked = promoted_versions(config), out / "questions.txt"
    if (read_json(config.paths.reports / "answers.json") or {}).get("promoted") != promoted:
        with running_server(config):
            if promoted and not toy:
                asked.write_text(questions.ask(config, config.languages[smollm2.LANGUAGE]), encoding="utf-8")
            doit("ask")
    doit()  # what is left: the report, and what of doctor fails
    spoken = f"{asked.read_text(encoding='utf-8')}\n\n" if asked.is_file() else ""
    return f"{spoken}{summary(config)}\n\n{NEXT.format(out=out.relative_to(ROOT), config=path.relative_to(ROOT))}"


REASON = "a demo: so small a base learns style and no skill, and something has to answer"


def held(config: Config, language: Language) -> str | None:
    """The newest version, where the gate holds it and the base would answer: so small a base learns no skill."""
    folder = adapter_folder(config, language)
    new = folder.latest if folder.latest != folder.current else None
    return new.name if new and evaluation_of(new).get("verdict") == "hold" else None


def doit(*arguments: str) -> None:
    """The pipeline itself, as its owner runs it. Where it fails the demo ends, and where the demo is to end it does."""
    command = [sys.executable, "-m", "doit", "-f", str(ROOT / "dodo.py"), "-d", str(ROOT), *arguments]
    with subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # and leaving the block waits: steps may first save what they have
            raise
    if code:
        sys.exit(code)


def summary(config: Config) -> str:
    """The table at the end: per language what went in, what came out, which model answers."""
    answers = (read_json(config.paths.reports / "answers.json") or {}).get("answers", [])
    answered = {answer["model"] for answer in answers}
    rows = [row(config, language, language.adapter in answered) for language in config.languages.values()]
    header = ["language", "sessions", "commits", "synthetic", "held out", "changed lines", "95 % interval", "verdict"]
    return table(rows, [*header, "answers"])


def row(config: Config, language: Language, answered: bool) -> list:
    """One language's line of the table."""
    counts = train_summary(config, language)
    train, heldout = counts.get("train", {}), counts.get("heldout", {})
    sources = [train.get(kind, 0) for kind in ("session", "commit", "synthetic")]
    folder = adapter_folder(config, language)
    evaluation = evaluation_of(folder.latest)
    loss = evaluation.get("style")
    change = f"{loss['base']:.2f} -> {loss['adapter']:.2f}" if loss else "-"
    interval = f"{loss['interval'][0]:+.2f} to {loss['interval'][1]:+.2f}" if loss else "-"
    serves = language.adapter if answered else SERVED_BASE
    version = manifest_of(folder.current).get("version")
    verdict = evaluation.get("verdict", "not trained")
    answers = serves if version else "the base"
    return [language.title, *sources, sum(heldout.values()), change, interval, verdict, answers]


NEXT = """\
Look at it:      open {out}/reports/index.html
Serve it:        SPECIALISTS_CONFIG={config} doit serve
See the state:   SPECIALISTS_CONFIG={config} doit status
Your own turn:   edit specialists.toml, then doit doctor"""


if __name__ == "__main__":
    main()
