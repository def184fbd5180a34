"""What holds for the whole house: floors, heavy imports, help texts, the length of files and functions."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
PACKAGE = ROOT / "scripts" / "specialists"
MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
FLOORS = {  # a room may use rooms below its floor; modules in no room are the ground
    "secrets": 1,
    "code": 1,
    **dict.fromkeys(["sessions", "commits", "synthetic", "dataset", "training", "rollouts"], 2),
    **dict.fromkeys(["serving", "evaluation"], 3),
    "reporting": 4,
}
TRAINERS = {"torch", "transformers", "peft", "trl", "vllm"}
HEAVY = TRAINERS | set("datasets numpy tokenizers rensa openai jinja2 huggingface_hub safetensors".split())


def room(name: str) -> str:
    """The room of a module, as dotted below `specialists`; empty on the ground floor."""
    return name.partition(".")[0] if name.partition(".")[0] in FLOORS else ""


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def ours(path: Path) -> set[str]:
    """Modules of the package that a module imports."""
    names = {name.removeprefix("specialists.") for name in imports(path)}
    return {known for name in names for known in (name, f"{name}.__init__") if known in MODULES}


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a script uses, directly or through others."""
    seen: set[str] = set()
    waiting = ours(path)
    while waiting:
        seen |= waiting
        waiting = {needed for name in waiting for needed in ours(MODULES[name])} - seen
    return {room(name) for name in seen} - {""}


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


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_room_uses_itself_and_floors_below(name: str) -> None:
    own, used = room(name), {module: room(module) for module in ours(MODULES[name])}
    assert not [module for module, other in used.items() if other != own and FLOORS.get(other, 0) >= FLOORS.get(own, 0)]


def test_only_training_and_what_is_above_it_see_torch() -> None:
    for name, path in MODULES.items():
        if FLOORS.get(room(name), 0) < 3 and room(name) != "training":
            assert not {module.partition(".")[0] for module in imports(path)} & TRAINERS, name


def test_no_circles() -> None:
    known = {name: {n for n in ours(path) if "__init__" not in n} for name, path in MODULES.items()}
    while leaves := {name for name, needs in known.items() if not needs}:
        known = {name: needs - leaves for name, needs in known.items() if name not in leaves}
    assert not known


def test_dodo_loads_the_ground_floor_only_and_nothing_heavy() -> None:
    program = "import sys, dodo; print(*sorted(name for name in sys.modules))"
    environment = {**os.environ, "SPECIALISTS_CONFIG": str(ROOT / "specialists.toml")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & (HEAVY | {"click"})
    assert not [name for name in loaded if name.startswith("specialists.") and name.count(".") > 1]


def test_files_and_functions_stay_short() -> None:
    files = [*ROOT.glob("*.py"), *ROOT.glob("scripts/**/*.py"), *ROOT.glob("demo/*.py"), *ROOT.glob("benchmarks/*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    tests = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*.py")}
    assert {path.name: lines for path, text in (texts | tests).items() if (lines := text.count("\n")) > 400} == {}
    nodes = [(path.name, node) for path, text in texts.items() for node in ast.walk(ast.parse(text))]
    functions = [(name, node) for name, node in nodes if isinstance(node, ast.FunctionDef)]
    assert [(name, node.name) for name, node in functions if node.end_lineno - node.lineno >= 60] == []
