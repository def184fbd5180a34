"""The pipeline as its owner runs it: a real history, a real (tiny) base, real trainings, and kills in between."""

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import tiny_models
from conftest import ROOT
from git_repositories import Made, make
from opencode_rows import START, History, bash, edit, text
from test_training import weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIG = """
[owner]
emails = ["me@example.org"]
[base]
model = "./base"
dtype = "float32"
[opencode]
databases = ["./opencode.db"]
[training]
max_steps = 2
learning_rate = 1e-2
gradient_accumulation = 1
optimizer = "adamw_torch"
quantization = "none"
gradient_checkpointing = false
max_length = 4096
[serving]
port = 9
"""
for NAME, ENDING, COMMAND in (("rust", ".rs", "cargo"), ("python", ".py", "pytest")):
    CONFIG += f'[languages.{NAME}]\nadapter = "build-{NAME}"\nextensions = ["{ENDING}"]\ncommands = ["{COMMAND}"]\n'
    CONFIG += "min_examples = 2\nmax_examples = 20\n"
WORK = {"rust": ("src/lib.rs", "fn {}() {{}}", "cargo test"), "python": ("app.py", "def {}(): pass", "pytest -q")}


def add_session(history: History, language: str, number: int) -> None:
    """One session: a request, an edit and a test run in a language."""
    path, code, command = WORK[language]
    session = history.session(f"ses_{language}_{number}")
    asked = history.user(session, f"Please name the {language} function number {number} better")
    old, new = code.format(f"old_{number}"), code.format(f"better_name_of_{number}")
    history.assistant(session, asked, edit(f"/home/kim/src/demo/{path}", old, new), finish="tool-calls")
    history.assistant(session, asked, bash(command, "ok"), finish="tool-calls")
    history.assistant(session, asked, text(f"It is better_name_of_{number} now."))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, a base model and a history of six sessions a language; nothing built yet."""
    folder = tmp_path_factory.mktemp("pipeline")
    tiny_models.save_base(folder / "base", "qwen3")
    history = History(folder / "opencode.db")
    for language in WORK:
        for number in range(6):
            add_session(history, language, number)
    (folder / "specialists.toml").write_text(CONFIG)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "SPECIALISTS_CONFIG": str(folder / "specialists.toml"), "OMP_NUM_THREADS": "1"}


def doit(folder: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "doit", *arguments]
    return subprocess.run(command, env=environment(folder), cwd=cwd, capture_output=True, text=True, check=False)


def copy_of(pipeline: Path, folder: Path) -> Path:
    """The same inputs at another place, with nothing built."""
    folder.mkdir(exist_ok=True)
    (folder / "base").symlink_to(pipeline / "base")
    (folder / "opencode.db").write_bytes((pipeline / "opencode.db").read_bytes())
    (folder / "specialists.toml").write_text(CONFIG)
    return folder


def change(folder: Path, old: str, new: str) -> None:
    config = folder / "specialists.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))


def versions(folder: Path, adapter: str) -> list[Path]:
    return sorted(path.parent for path in (folder / "adapters" / adapter).glob("2*/manifest.json"))


def test_a_nightly_run_after_another(pipeline: Path, tmp_path: Path) -> None:
    folder = copy_of(pipeline, tmp_path)
    change(folder, "[serving]", '[training.python]\nlauncher = ["false"]\n[serving]')
    first = doit(folder)
    assert first.returncode != 0 and "Traceback" not in first.stdout + first.stderr
    assert "false ended with exit code 1" in first.stderr and "unmet" not in first.stdout.lower()
    last = "python failed: train ended with exit code 1; correct what it reports above, then do `doit train:python`"
    assert first.stdout.splitlines()[-2] == last, "before the line of doctor, which says that a step failed"
    assert [len(versions(folder, f"build-{language}")) for language in WORK] == [1, 0]
    assert "never trained" in (folder / "reports" / "index.html").read_text(), "the report is written all the same"

    change(folder, 'launcher = ["false"]', "")
    fixed = doit(folder)
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert [len(versions(folder, f"build-{language}")) for language in WORK] == [1, 1]
    assert "never trained" not in (folder / "reports" / "index.html").read_text()

    for arguments, cwd in (((), ROOT), (("-k",), ROOT / "docs")):
        idle = doit(folder, *arguments, cwd=cwd)
        assert (idle.returncode, idle.stdout + idle.stderr) == (0, "")

    later = History(folder / "opencode.db", schema="")
    later.numbers, later.clock = count(1000), count(START + 10**9, 1000)
    add_session(later, "rust", 7)
    before = weights(versions(folder, "build-python")[0])
    grown = doit(folder)
    assert grown.returncode == 0, grown.stdout + grown.stderr
    assert [len(versions(folder, f"build-{language}")) for language in WORK] == [2, 1]
    assert weights(versions(folder, "build-python")[0]) == before
    assert "build-python" not in grown.stdout + grown.stderr

    (folder / ".doit.sqlite").unlink()  # doit's state is never trusted alone: without it nothing is trained again
    assert doit(folder, "train").returncode == 0
    assert [len(versions(folder, f"build-{language}")) for language in WORK] == [2, 1]
    assert doit(folder, "train:rust").stdout == "train:rust: nothing to do; `doit status` says why\n"


CANARIES = ["ghp_" + "4kQ9zX2mB7vN1sD8fG6hJ3lW5pR0tY4uE9aC", "AKIA" + "Q3EGRXVLTMNP7ZKD", "hunter-Zq8" + "Lw2Vx9Kd"]


def test_canaries_of_the_history_and_of_commits_reach_nothing(pipeline: Path, tmp_path: Path) -> None:
    folder = copy_of(pipeline, tmp_path)
    token, key, password = CANARIES
    history = History(folder / "opencode.db", schema="")
    history.numbers, history.clock = count(1000), count(START + 10**9, 1000)
    root = "/home/kim/src/demo"
    turns = [
        (f"Use {token} to log in", "ok", "a", "b", "x.py"),  # what the owner typed
        ("Show the environment", f"AWS_ACCESS_KEY_ID={key}\n", "a", "b", "x.py"),  # what a command printed
        ("Set the password", "ok", "pass", f'password = "{password}"', "x.py"),  # what the model wrote
        ("Name a file", "ok", "a", "b", f"{token}.py"),
    ]
    for number, (request, output, old, new, path) in enumerate(turns):
        session = history.session(f"ses_canary_{number}", title=f"about {token}")
        asked = history.user(session, request)
        for part in (edit(f"{root}/{path}", old, new), bash("cat .env && pytest", output)):
            history.assistant(session, asked, part, finish="tool-calls")
        history.assistant(session, asked, text(f"Done, see {key}."))
    functions = "".join(f"def work_{number}(x):\n    return x + {number}\n\n\n" for number in range(4))
    changes = {
        "Add the work": functions,
        f"Rotate the token {token} and return less": functions.replace("x + 1", "x - 1"),
        "Connect with the password in it": functions.replace("x + 1", f'connect(x, password="{password}")'),
        "Return the second one subtracted": functions.replace("x + 1", "x - 11"),
    }
    commits = [Made(title, {"app.py": code}) for title, code in changes.items()]
    make(folder / "repo", [*commits, Made("Put the login in a file", {f"{key}.py": functions})])
    change(folder, 'commands = ["pytest"]', 'commands = ["pytest"]\nrepositories = ["./repo"]\nsynthetic = true')
    change(folder, 'extensions = [".py"]', 'extensions = [".py"]\ngrammar = "tree_sitter_python"')
    done = doit(folder, "train:python", "report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all((folder / f"data/{kind}/python.jsonl").stat().st_size for kind in ("sessions", "commits"))
    files = [path for name in ("data", "adapters", "reports") for path in (folder / name).rglob("*") if path.is_file()]
    texts = [*(path.read_bytes() for path in files), (done.stdout + done.stderr).encode()]
    assert not [canary for canary in CANARIES for content in texts if canary.encode() in content]
    check = [sys.executable, str(ROOT / "scripts" / "check-secrets.py"), "--config", str(folder / "specialists.toml")]
    assert subprocess.run(check, check=False).returncode == 0
    (folder / "data" / "planted.txt").write_text(f"token = {token}")
    assert subprocess.run(check, check=False).returncode != 0


def test_two_at_once_train_an_adapter_once(pipeline: Path, tmp_path: Path) -> None:
    folder = copy_of(pipeline, tmp_path)
    assert doit(folder, "assemble:rust").returncode == 0
    command = [sys.executable, "-m", "doit", "train:rust"]
    both = [subprocess.Popen(command, env=environment(folder), cwd=ROOT) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    assert len(versions(folder, "build-rust")) == 1


def test_mistakes_of_the_configuration_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "specialists.toml").write_text(CONFIG.replace('emails = ["me@example.org"]', "emails = 5\nmail = 1"))
    done = doit(tmp_path, "list")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "owner.emails: expected" in done.stderr and "owner.mail: unknown key" in done.stderr


def test_what_is_missing_ends_the_run_and_the_rest_goes_on(pipeline: Path, tmp_path: Path) -> None:
    folder = copy_of(pipeline, tmp_path)
    (folder / "opencode.db").unlink()
    change(folder, 'commands = ["cargo"]', 'repositories = ["./gone"]')
    done = doit(folder, "assemble", "doctor", "--offline")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "languages.rust.repositories" in done.stderr and "opencode.databases" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("doctor failed:")
    assert (folder / "data/train/python.jsonl").read_bytes() == b""


def test_a_rollback_asks_for_a_language(tmp_path: Path) -> None:
    (tmp_path / "specialists.toml").write_text(CONFIG)
    done = doit(tmp_path, "rollback")
    assert done.returncode != 0 and "doit rollback:rust, doit rollback:python" in done.stdout
    assert "nothing was promoted yet" not in done.stderr, "it tried"
