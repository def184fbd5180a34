"""What holds for the whole house: every script answers --help at once, the floors hold, the README knows every task."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py"))
PACKAGE = ROOT / "scripts" / "specialists"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.stem not in ("__init__", "pipeline")
}
HEAVY = set(
    """
    torch transformers peft trl datasets numpy tokenizers tree_sitter rensa openai jinja2 huggingface_hub safetensors
    vllm
""".split()
)


def imported(path: Path) -> set[str]:
    """Modules of ours that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "specialists":
            dotted = node.module.split(".")[1:]
            names = [".".join([*dotted, alias.name]) for alias in node.names]
            found |= {".".join(dotted)} & MODULES.keys() or set(names) & MODULES.keys()
    return found


def floor(name: str) -> str:
    return name.split(".")[0] if "." in name else "ground"


def third_party(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_answers_help_without_heavy_imports(script: Path) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{str(script)!r}, '--help']\n"
        f"sys.path.insert(0, {str(script.parent)!r})\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"finally: sys.stderr.write(' '.join(sorted({HEAVY!r} & sys.modules.keys())))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    options = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("-")]
    assert "--config" in done.stdout and "--json" in done.stdout
    assert all(len(option.split(None, 1)) == 2 for option in options)


FLOORS = {
    **dict.fromkeys(["secrets", "code"], 1),
    **dict.fromkeys(["data", "training", "learning", "sessions", "commits", "synthetic", "dataset"], 2),
    **dict.fromkeys(["serving", "evaluation"], 3),
    "reporting": 4,
    "ground": 0,
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_only_from_their_floor_and_below(name: str) -> None:
    above = [module for module in imported(MODULES[name]) if FLOORS[floor(module)] > FLOORS[floor(name)]]
    assert above == []


def test_dodo_and_what_it_is_made_of_import_nothing_heavy() -> None:
    light = {"config", "sources", "adapters", "reporting.why"}  # the last one in a function
    assert imported(PACKAGE / "pipeline.py") | imported(ROOT / "dodo.py") <= light


def test_only_training_and_what_is_above_it_see_torch() -> None:
    for name, path in MODULES.items():
        if FLOORS[floor(name)] < 3 and floor(name) not in ("training", "learning"):
            assert not third_party(path) & {"torch", "transformers", "peft", "trl", "vllm"}, name


def test_no_circles() -> None:
    known = {name: imported(path) & MODULES.keys() for name, path in MODULES.items()}
    while leaves := {name for name, needs in known.items() if not needs}:
        known = {name: needs - leaves for name, needs in known.items() if name not in leaves}
    assert not known


def test_files_and_functions_stay_short() -> None:
    files = [*ROOT.glob("*.py"), *ROOT.glob("scripts/**/*.py"), *ROOT.glob("demo/*.py"), *ROOT.glob("benchmarks/*.py")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    tests = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*.py")}
    assert {name: lines for name, text in (texts | tests).items() if (lines := len(text.splitlines())) > 400} == {}
    functions = [
        (name, node)
        for name, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    ]
    long = [(name, node.name) for name, node in functions if node.end_lineno - node.lineno >= 60]
    assert long == []


def test_every_task_has_a_sentence_and_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for node in ast.parse((ROOT / "dodo.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("task_"):
            task = node.name.removeprefix("task_").replace("_", "-")
            assert (ast.get_docstring(node) or "").endswith("."), task
            assert task in readme, task


@pytest.mark.xdist_group("house")
def test_tests_that_share_a_server_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 and pytest-xdist 3.8 lose a test's group without a word: everything shared was then made twice."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        assert request.node.nodeid.endswith("@house")
