"""`doit demo`: the whole pipeline on an embedded default, with the dodo.py, scripts and code paths of the real one.

    python demo/run.py

Makes, once, an opencode history and git repositories under demo/out/; then runs `doit` with demo/specialists.toml on
the tiny base model in demo/base, asks each promoted adapter a question through a real vLLM, and shows what came out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

DEMO = Path(__file__).resolve().parent
ROOT = DEMO.parent
OUT = DEMO / "out"
CONFIG = DEMO / "specialists.toml"
sys.path[:0] = [str(DEMO), str(ROOT / "scripts")]

import make_history
import make_repositories
from specialists.adapters import adapter_folder, evaluation_of, manifest_of, promoted_versions, train_summary
from specialists.cli import say, table
from specialists.config import Config, Language, load_config
from specialists.records import read_json
from specialists.tables import SERVED_BASE


def main() -> int:
    """Run the demo; returns the exit code."""
    started = time.monotonic()
    if not OUT.exists():
        say("demo: some two minutes on two cores that have nothing else to do; two of the five languages are trained")
    make_history.make(OUT)
    make_repositories.make(OUT)
    if code := doit("-n", "2", "-P", "thread", "promote"):
        return code
    config = load_config(CONFIG)
    for language in config.languages.values():
        if version := held(config, language):
            say(f"demo: {language.name} is held, as it should be; promoted by force, so that it answers")
            if code := doit("-s", f"promote:{language.name}", "--force", version, "--reason", REASON):
                return code
    answers = read_json(config.paths.reports / "answers.json") or {}
    if answers.get("promoted") != promoted_versions(config) and (code := doit("ask")):
        return code
    if code := doit():  # what is left: the report, and what of doctor fails
        return code
    say(f"\n{summary(config)}\n\n{NEXT}\n\nDone in {time.monotonic() - started:.0f} s.")
    return 0


REASON = "a demo: so small a base learns style and no skill, and something has to answer"


def held(config: Config, language: Language) -> str | None:
    """The newest version, where the gate holds it and the base would answer: so small a base learns no skill."""
    folder = adapter_folder(config, language)
    new = folder.latest if folder.latest != folder.current else None
    return new.name if new and evaluation_of(new).get("verdict") == "hold" else None


def doit(*arguments: str) -> int:
    """The pipeline itself, as its owner runs it."""
    environment = {**os.environ, "SPECIALISTS_CONFIG": str(CONFIG), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "doit", "-f", str(ROOT / "dodo.py"), *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


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
Look at it:      open demo/out/reports/index.html
Serve it:        SPECIALISTS_CONFIG=demo/specialists.toml doit serve
See the state:   SPECIALISTS_CONFIG=demo/specialists.toml doit status
Your own turn:   edit specialists.toml, then doit doctor"""


if __name__ == "__main__":
    sys.exit(main())
