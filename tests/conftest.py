"""What every test shares: the owner's own state out of reach, a configuration to play with, sample data where it is."""

import importlib
import os
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

settings.register_profile("ours", deadline=None, derandomize=True)  # a busy machine is no failure; same cases each time
settings.load_profile("ours")

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch: threads of several tests wait for each other
for number in (signal.SIGHUP, signal.SIGINT):  # what nohup or a shell's background ignores, children would inherit
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: some tests wait for servers and child processes."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups first, the walk through README among them, then what is slow: no core is to wait for one at the end."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("xdist_group", "slow")])


@pytest.fixture(autouse=True)
def no_owner_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home, git identity and opencode's folders point into a temporary folder: no test reads or touches the owner's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "OPENCODE_DB", "SPECIALISTS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def invoke(script: str, config: Path, *arguments: object) -> Result:
    """A script's command, run in this process under a configuration."""
    main = importlib.import_module(script).main
    return CliRunner().invoke(main, ["--config", str(config), *map(str, arguments)])


@pytest.fixture(scope="session")
def shared_samples() -> Path:
    """Databases and requests of the real opencode, kept outside the repository."""
    folder = ROOT.parent / "shared" / "opencode"
    if not folder.is_dir():
        pytest.skip("samples of the real opencode are not here")
    return folder


LANGUAGES = {
    "rust": ("Rust", [".rs"], ["Cargo.toml"], ["cargo", "rustc"], [r"error\[E\d{4}\]", "test result: (ok|FAILED)"]),
    "ts": ("TypeScript", [".ts", ".tsx"], ["tsconfig.json", "package.json"], ["tsc", "npm", "npx"], [r"error TS\d{4}"]),
    "python": ("Python", [".py"], ["pyproject.toml"], ["python", "python3", "pip", "pytest"], [r"Traceback \("]),
    "ruby": ("Ruby", [".rb"], ["Gemfile"], ["ruby", "bundle", "rake"], [r"\d+ runs, \d+ assertions"]),
    "swift": ("Swift", [".swift"], ["Package.swift"], ["swift", "xcodebuild"], ["Build complete!"]),
}
GRAMMARS = {"ts": "typescript"}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A configuration of five languages whose paths all lie in the test's own folder; tests append to it."""
    path = tmp_path / "specialists.toml"
    lines = ['[owner]\nemails = ["me@example.org"]\n\n[base]\nmodel = "./base"']
    lines.append('[opencode]\ndatabases = ["./opencode.db"]')
    for name, (title, extensions, files, commands, output) in LANGUAGES.items():
        synthetic = "true" if name in ("ruby", "swift") else "false"
        lines.append(
            f'[languages.{name}]\nadapter = "build-{name}"\ntitle = "{title}"\nextensions = {extensions}\n'
            f"files = {files}\ncommands = {commands}\noutput = {output!r}\n"
            f'grammar = "tree_sitter_{GRAMMARS.get(name, name)}"\nsynthetic = {synthetic}\n'
            "min_examples = 3\nmax_examples = 50"
        )
    path.write_text("\n\n".join(lines).replace("\\\\", "\\") + "\n", encoding="utf-8")
    return path
