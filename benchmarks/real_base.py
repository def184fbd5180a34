"""The laboratory: adapters of a small pretrained base on real repositories, by the product's own scripts.

    .venv/bin/pip install --no-deps -r requirements-lab.txt
    python benchmarks/real_base.py --out lab ~/src/hono=ts ~/src/click,~/src/httpx=python

SmolLM2-135M-Instruct learns the best commits of each repository's busiest authors ("real"), and the same commits with
their code shuffled between the requests ("form-only": no skill in it, so it must not be promoted); base, rivals and
adapter are measured on the same held-out commits, and so is the adapter of the repositories before ("another's"), which
must not be better. `--arm` asks for others: "given" (the code stands in the request: a skill for certain),
"all-learned" (reads and closings too), "chance" (as many commits, not the best ones), and with another learning rate or
another seed, of the training and of the shuffle: `--arm real,lr=1e-3 --arm form-only,seed=2`. `--arm another's,seed=2`
takes that adapter, and `--arm instructions` measures "real" once more, beside the base with the repository's own
instructions for agents or contributors in its prompt. `--arm real,heads=0.25` puts what opencode sends before a request
into that share of the training rows and into all held-out ones, as the product does (some four times as long). With
`--history opencode.db`, of sessions in these repositories, `--arm sessions --arm commits --arm both` train on as many
rows of either kind, or half of each, and are measured on both. What is done is not done again: kill it and start anew.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT / "scripts"), str(ROOT / "benchmarks"), str(ROOT / "demo")]

from controls import all_learned, answer_given, form_only
from smollm2 import TEMPLATE, make_base
from specialists.adapters import AdapterFolder, evaluation_of
from specialists.cli import duration, table
from specialists.records import cluster_of, read_records, write_records

REAL, FORM, OTHER, GIVEN, CHANCE, INSTRUCTIONS = "real", "form-only", "another's", "given", "chance", "instructions"
ROWS = {
    REAL: lambda rows: rows,
    FORM: form_only,
    OTHER: lambda rows: rows,
    GIVEN: answer_given,
    CHANCE: lambda rows: rows,
    INSTRUCTIONS: lambda rows: rows,
    "all-learned": all_learned,
}
KINDS = {"sessions": ["session"], "commits": ["commit"], "both": ["session", "commit"]}
CONFIG = """
[owner]
emails = {emails}
[opencode]
databases = {databases}
[base]
model = "{base}"
dtype = "float32"
[assembly]
heldout_clusters = {heldout}
whole_heads = {heads}
[training]
quantization = "none"
optimizer = "adamw_torch"
max_length = {tokens}
learning_rate = {lr}
r = 16
alpha = 32
epochs = {epochs}
gradient_accumulation = 2
gradient_checkpointing = {checkpointing}
[evaluation]
generate = 0
{instructions}
[languages.{language}]
repositories = {repositories}
min_examples = 1
max_examples = {examples}
"""


def busiest_authors(repository: Path, number: int = 8) -> list[str]:
    """E-mails of who made most of a repository's commits: one person's are seldom enough at these lengths."""
    command = ["git", "-C", str(repository), "shortlog", "-sne", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.rpartition("<")[2].rstrip(">") for line in done.stdout.splitlines()[:number]]


def instructions(repository: Path) -> str:
    """What a repository tells who works on it: its AGENTS.md, CLAUDE.md or guide for contributors."""
    names = ["AGENTS.md", "CLAUDE.md", *(f"{folder}CONTRIBUTING.md" for folder in ("", "docs/", ".github/"))]
    for name in [*names, ".github/CONTRIBUTING.markdown", "docs/contributing.md"]:
        command = ["git", "-C", str(repository), "show", f"HEAD:{name}"]
        if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode == 0:
            return done.stdout
    sys.exit(f"{repository}: no instructions for agents or contributors")


SEEDED = """
import runpy, sys
sys.path.insert(0, {scripts!r})
from specialists.training import trainer
trainer.SEED = {seed}
runpy.run_path(sys.argv[1], run_name=sys.argv.pop(0) and "__main__")
"""


def run(script: str, config: Path, language: str, *options: str, seed: str = "1") -> None:
    """One of the product's scripts, as doit runs it; with a seed other than 1, a training with that seed."""
    seeded = SEEDED.format(scripts=str(ROOT / "scripts"), seed=int(seed))
    command = [sys.executable, *(["-c", seeded] if seed != "1" else []), str(ROOT / "scripts" / script)]
    command += ["--config", str(config), *(["--language", language] if language else [])]
    environment = {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", **os.environ}
    if subprocess.run([*command, *options], env=environment, check=False).returncode:
        sys.exit(f"{script} failed: {config}")


def configure(folder: Path, repositories: list[Path], language: str, **sizes: Any) -> Path:
    """specialists.toml of one arm: the owner's table of that language, small sizes."""
    known = tomllib.loads((ROOT / "specialists.toml").read_text())["languages"][language]
    text = CONFIG.format(
        base=folder.parents[1] / "base",
        repositories=json.dumps(list(map(str, repositories))),
        language=language,
        emails=json.dumps(sorted({email for repository in repositories for email in busiest_authors(repository)})),
        examples=sizes["rows"] + sizes["heldout"],
        **sizes,
    )
    own = {key: value for key, value in known.items() if f"\n{key} = " not in text and key != "synthetic"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items() if not isinstance(value, dict)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "specialists.toml"
    path.write_text("\n".join([text.rstrip(), *lines, ""]))
    return path


def arm(out: Path, name: str, repositories: list[Path], language: str, other: Path, **sizes: Any) -> dict[str, Any]:
    """Train and evaluate one adapter, or take that of `other`, a folder like `out`; returns its evaluation."""
    kind, _, settings = name.partition(",")
    sizes |= {"lr": "5e-4", "seed": "1", **dict(pair.split("=") for pair in settings.split(",") if pair)}
    served = kind == REAL and "heads" in sizes
    sizes |= {
        "heads": sizes.get("heads", "0.25"),
        "checkpointing": str(served).lower(),
        "instructions": "",
        "databases": "[]",
    }
    if kind == INSTRUCTIONS:
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "AGENTS.md").write_text(instructions(repositories[0]))
        sizes["instructions"] = f'instructions = "{out / name / "AGENTS.md"}"'
    if kind == CHANCE:
        sizes["rows"] = 9999
    elif kind != REAL:  # with another one's code a row may be longer
        sizes["tokens"] *= 2
    config, data = configure(out / name, repositories, language, **sizes), out / name / "data"
    parts = {part: data / part / f"{language}.jsonl" for part in ("train", "heldout")}
    if name == REAL or served:
        if not parts["heldout"].is_file():
            if served:
                run("capture-tools.py", config, "", "--program", sizes["program"])
            run("mine-repos.py", config, language)
            write_records(data / "sessions" / f"{language}.jsonl", [])
            run("assemble.py", config, language)
    else:
        if kind == CHANCE and not (data / "commits").is_dir():
            run("mine-repos.py", config, language)
        for part, path in parts.items():
            rows = list(read_records(out / REAL / "data" / part / path.name))
            if part == "train" and kind == CHANCE:
                oldest = min(row["source"]["time"] for row in read_records(out / REAL / "data" / "heldout" / path.name))
                pool = [row for row in read_records(data / "commits" / path.name) if row["source"]["time"] < oldest]
                rows = random.Random(sizes["seed"]).sample(pool, len(rows))
            elif part == "train" and sizes["seed"] != "1":  # another shuffle; rows are written in their order
                random.Random(sizes["seed"]).shuffle(rows)
            write_records(path, ROWS[kind](rows) if part == "train" or kind == GIVEN else rows)
        if (others := out / REAL / "data" / "others" / f"{language}.jsonl").is_file():
            write_records(data / "others" / others.name, read_records(others))
    folder = AdapterFolder(out / name / "adapters" / f"build-{language}")
    if kind not in (OTHER, INSTRUCTIONS):
        run("train.py", config, language, "--train", str(parts["train"]), seed=sizes["seed"])
    elif folder.latest is None:
        same = ",".join([REAL, *([settings] if settings else [])])
        (trained,) = (other if kind == OTHER else out).glob(f"{same}/adapters/*/latest")
        shutil.copytree(trained, folder.path / trained.resolve().name, ignore=shutil.ignore_patterns("evaluation.json"))
        folder.point("latest", folder.path / trained.resolve().name)
    if sizes["train_only"]:
        return {}
    run("evaluate.py", config, language)
    return evaluation_of(folder.latest)


def one_kind(out: Path, name: str, repositories: list[Path], language: str, **sizes: Any) -> dict[str, Any]:
    """Train on sessions, commits or both, as many rows; measured on two windows at most of each held-out session, and
    as many commits; returns the evaluation."""
    sizes |= {"lr": "5e-4", "heads": "0", "checkpointing": "false", "instructions": ""}
    sizes["databases"] = json.dumps([str(sizes["history"].expanduser().absolute())])
    everything = configure(out / "rows", repositories, language, **{**sizes, "rows": 9999})
    config, data = configure(out / name, repositories, language, **sizes), out / "rows" / "data"
    if not (data / "train" / f"{language}.jsonl").is_file():
        run("extract-training-data.py", everything, "")
        run("mine-repos.py", everything, language)
        run("assemble.py", everything, language)
    rows = {part: list(read_records(data / part / f"{language}.jsonl")) for part in ("train", "heldout")}
    held, seen = {"session": list[Any](), "commit": list[Any]()}, Counter[str]()
    for row in rows["heldout"]:
        seen[cluster_of(row)] += 1
        if seen[cluster_of(row)] <= 2:
            held[row["source"]["kind"]].append(row)
    number = min(sizes["heldout"] // 2, *map(len, held.values()))
    out_of = {cluster_of(row) for row in rows["heldout"]}  # commits also beyond the share that training gives them
    commits = [row for row in read_records(data / "commits" / f"{language}.jsonl") if cluster_of(row) not in out_of]
    pools = {"session": [row for row in rows["train"] if row["source"]["kind"] == "session"], "commit": commits}
    most = min(sizes["rows"], *map(len, pools.values())) // len(KINDS[name])
    if not most or not number:
        sys.exit(f"{out}: sessions and commits of {sizes['tokens']} tokens at most are too few to compare")
    chosen = [row for kind in KINDS[name] for row in random.Random(1).sample(pools[kind], most)]
    train = out / name / "data" / "train" / f"{language}.jsonl"
    write_records(train, chosen)
    write_records(
        out / name / "data" / "heldout" / f"{language}.jsonl", held["session"][:number] + held["commit"][:number]
    )
    run("train.py", config, language, "--train", str(train))
    if sizes["train_only"]:
        return {}
    run("evaluate.py", config, language)
    return evaluation_of(AdapterFolder(out / name / "adapters" / f"build-{language}").latest)


def rows_of(repository: str, name: str, found: dict[str, Any]) -> list[list[Any]]:
    """What the table shows of an evaluation: base, each rival and the adapter."""
    parts = found.get("parts", {})
    models = [model for model in ("base", "prompt", "examples", "adapter") if model in parts.get("changed", {})]
    shown = []
    for model in models:
        losses = [f"{parts[part][model]:.3f}" if model in parts.get(part, {}) else "-" for part in PARTS]
        shown.append(
            [repository, name, model, *losses, *(_interval(found, what, model) for what in ("style", "own", "skill"))]
        )
    return shown


PARTS = ("changed", "code", "syntax", "prose")


def _interval(found: dict[str, Any], what: str, model: str) -> str:
    if model != "adapter" or not found.get(what):
        return ""
    low, high = found[what]["interval"]
    return f"{found[what]['difference']:+.4f} ({low:+.4f} to {high:+.4f})"


@click.command()
@click.argument("given", nargs=-1, required=True, metavar="REPOSITORY[,REPOSITORY]=LANGUAGE...")
@click.option("--out", type=click.Path(path_type=Path), default=Path("lab"), show_default=True)
@click.option("--rows", default=24, show_default=True, help="Commits to train on.")
@click.option("--heldout", default=14, show_default=True, help="Commits held out.")
@click.option("--tokens", default=1200, show_default=True, help="Longest example.")
@click.option("--epochs", default=1.0, show_default=True)
@click.option("--program", default="opencode", show_default=True, help="The opencode of the arms with heads.")
@click.option("--history", type=click.Path(path_type=Path), help="The opencode.db of the arms of either kind.")
@click.option("--train-only", is_flag=True, help="Leave the measuring to arms.py.")
@click.option("--arm", "wanted", multiple=True, default=(REAL, FORM, OTHER), show_default=True)
def main(given: tuple[str, ...], out: Path, wanted: tuple[str, ...], **sizes: Any) -> None:
    """Every repository's adapters one after the other; then one table."""
    out, started, shown = out.resolve(), time.monotonic(), list[list[Any]]()
    verdicts: list[str] = []
    if not (out / "base" / "config.json").is_file():
        make_base(out / "base", TEMPLATE.read_text(encoding="utf-8"))
    owners = [(paths.split(","), language) for paths, _, language in (owner.rpartition("=") for owner in given)]
    titles = ["+".join(Path(path).name for path in paths) for paths, _language in owners]
    arms = [
        (number, name)
        for name in wanted
        if not name.startswith(OTHER) or len(given) > 1
        for number in range(len(given))
    ]
    for done, (number, name) in enumerate(arms, 1):
        (paths, language), title = owners[number], titles[number]
        repositories = [Path(path).expanduser().absolute() for path in paths]
        if name in KINDS:
            found = one_kind(out / title, name, repositories, language, **sizes)
        else:
            found = arm(out / title, name, repositories, language, out / titles[number - 1], **sizes)
        if found:
            shown += rows_of(title, name, found)
            verdicts.append(f"{title}, {name}: {found['verdict']}: {found['reason']}")
        left = (time.monotonic() - started) / done * (len(arms) - done)
        print(f"{done} of {len(arms)}, about {duration(left)} left", file=sys.stderr)
    print(table(shown, ["repository", "rows", "model", *PARTS, "style", "own", "skill"]))
    print("\n".join(verdicts))


if __name__ == "__main__":
    main()
