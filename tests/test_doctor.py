"""The doctor: each thing broken in turn is told with its fix, nothing is changed, nothing falls over."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_models
from built_pipeline import built, write
from click.testing import CliRunner
from conftest import ROOT
from opencode_rows import History
from servers import answering, models_answer
from specialists.adapters import adapter_folder
from specialists.agent import TOOLS, system_prompt
from specialists.chat import Chat
from specialists.config import Config, load_config
from specialists.records import make_record, write_records
from specialists.reporting import checks, doctor
from specialists.reporting.checks import Check
from specialists.reporting.parity import parity
from test_server import with_serving

NAME = "20261123-091500-1a2b3c4d"
script = importlib.import_module("doctor")


@pytest.fixture
def well(config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Rust promoted and in opencode; base, history and template are there; nobody listens on the port."""
    tiny_models.save_tokenizer(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "base" / "config.json").write_text("{}")
    text = f'config = "{tmp_path}/opencode.json"'
    config_file.write_text(config_file.read_text().replace("[opencode]", f"[opencode]\n{text}"))
    config = built(with_serving(config_file, "port = 9"))
    history = History(tmp_path / "opencode.db")
    history.session("ses_1")
    set_template(config, Chat.load(config.base.model).fingerprint)
    configure(config)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    program(tmp_path / "bin" / "crontab", "echo '15 3 * * * cd ~/coding-specialists && .venv/bin/doit'")
    program(tmp_path / "bin" / "opencode", "true")
    return load_config(config_file)


def program(path: Path, body: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def set_template(config: Config, fingerprint: str) -> None:
    path = adapter_folder(config, config.language("rust")).current / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["base"]["template"] = fingerprint
    path.write_text(json.dumps(manifest))


def configure(config: Config) -> None:
    main = importlib.import_module("configure-opencode").main
    assert CliRunner().invoke(main, ["--config", str(config.path)]).exit_code == 0


def captured(config: Config, **changes: object) -> None:
    """What capture-tools.py leaves: the tools of the rows, with prose."""
    described = [{"type": "function", "function": {**tool["function"], "description": "prose " * 40}} for tool in TOOLS]
    whole = {"version": "1.18.33", "tools": TOOLS, "system": "\nYou are powered by", "described": described, **changes}
    write(config.paths.data / "opencode-tools.json", whole)


def of(config: Config, name: str) -> list[Check]:
    return [check for check in doctor.diagnose(config) if check.name == name]


def failed(config: Config) -> dict[str, str]:
    return {check.name: check.says for check in doctor.diagnose(config) if check.state == "fail"}


@contextmanager
def serving(config_file: Path, models: dict[str, str]) -> Iterator[Config]:
    """A server that answers to these names, each with the folder that it was loaded from."""
    with answering(lambda _path, _body: models_answer(models)) as port:
        config_file.write_text(config_file.read_text().replace("port = 9\n", f"port = {port}\n"))
        yield load_config(config_file)


def test_a_well_pipeline_has_nothing_to_mend(well: Config, config_file: Path) -> None:
    captured(well)
    current = str(adapter_folder(well, well.language("rust")).current)
    with serving(config_file, {"base": "./base", "build-rust": current}) as config:
        configure(config)
        result = CliRunner().invoke(script.main, ["--config", str(config_file), "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["ok"] and "Nothing to mend." in result.stderr
    states = {check["name"]: check["state"] for check in data["checks"]}
    assert {name for name, state in states.items() if state == "ok"} >= {
        "versions",
        "tools",
        "disk",
        "configuration",
        "history",
        "base model",
        "chat template",
        "server",
        "adapters served",
        "opencode",
        "agents",
        "context",
        "nights",
        "last run",
    }
    assert all(check["fix"] for check in data["checks"] if check["state"] == "fail")


def edit(config: Config, before: str, after: str) -> None:
    config.path.write_text(config.path.read_text().replace(before, after))


def opencode_model(config: Config, agent: str, model: str) -> None:
    path = config.opencode.config
    settings = json.loads(path.read_text())
    settings["agent"][agent] = {"model": model}
    path.write_text(json.dumps(settings))


BROKEN: dict[str, tuple[Callable[[Config], object], str, str]] = {
    "a key out of bounds": (
        lambda c: edit(c, "[serving]", "[training.rust]\nr = 7\n[serving]"),
        "configuration",
        "training.rust.r: expected one of",
    ),
    "no database": (lambda c: c.databases()[0].write_text("not a database, not at all"), "history", "cannot be read"),
    "no base": (lambda c: edit(c, '"./base"', '"Org/Gone"'), "base model", "Org/Gone: not on this machine"),
    "no tokenizer": (lambda c: Path(c.base.model, "tokenizer.json").unlink(), "base model", "no tokenizer.json"),
    "no weights": (lambda c: Path(c.base.model, "model.safetensors").unlink(), "base model", "no weights"),
    "half a download": (
        lambda c: write(
            Path(c.base.model, "model.safetensors.index.json"),
            {"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}},
        ),
        "base model",
        "1 of 2 weight files are missing",
    ),
    "another template": (lambda c: set_template(c, "f" * 16), "chat template", "build-rust (ffffffffffffffff)"),
    "no server": (lambda c: None, "server", "none at http://127.0.0.1:9"),
    "opencode not up to date": (lambda c: edit(c, "port = 9\n", "port = 10\n"), "opencode", "not up to date"),
    "opencode's file is no JSON": (lambda c: c.opencode.config.write_text("{,}"), "opencode", "line 1 column 2"),
    "an agent of an adapter that is held": (
        lambda c: opencode_model(c, "build-ts", "vllm/build-ts"),
        "agents",
        "agent build-ts: build-ts will not be served; no version of it is promoted, its newest version's verdict is "
        "hold",
    ),
    "an agent of nobody": (
        lambda c: opencode_model(c, "mine", "vllm/build-cobol"),
        "agents",
        "agent mine: build-cobol will not be served; no language of specialists.toml has it",
    ),
    "rows longer than served": (
        lambda c: edit(c, "port = 9\n", "port = 9\nmax_model_len = 4096\n"),
        "context",
        "rows may have 8,192 tokens",
    ),
    "no room for an answer": (
        lambda c: edit(c, "port = 9\n", "port = 9\noutput_tokens = 32768\n"),
        "context",
        "take 32,768 tokens of 32,768",
    ),
}


@pytest.mark.parametrize(("spoil", "name", "said"), BROKEN.values(), ids=BROKEN)
def test_each_fault_is_told_with_what_to_do(well: Config, spoil: Callable, name: str, said: str) -> None:
    spoil(well)
    result = CliRunner().invoke(script.main, ["--config", str(well.path)])
    assert result.exit_code == 1 and not isinstance(result.exception, Exception), result.output
    found = [check for check in of(load_config(well.path), name) if check.state == "fail"]
    assert any(said in check.says for check in found), found
    assert all(check.fix for check in found)
    assert said in result.output and "-> " in result.output


@pytest.mark.parametrize(
    ("models", "name", "said"),
    [
        ({"base": ""}, "adapters served", f"build-rust: {NAME} is promoted and not served"),
        ({"base": "", "build-rust": "/x/20250101-0"}, "adapters served", f"20250101-0 answers, {NAME} is promoted"),
        ({"base": "", "build-ts": "/x"}, "adapters served", "build-ts is served and no version of it is promoted"),
        ({"base": ""}, "agents", "agent build-rust: the server does not know build-rust: opencode shows a 404"),
        ({"other": ""}, "server", "is answered by another server (models: other)"),
    ],
)
def test_what_is_served_against_what_is_promoted(
    well: Config, config_file: Path, models: dict[str, str], name: str, said: str
) -> None:
    with serving(config_file, models) as config:
        configure(config)
        assert said in failed(config)[name] or any(said in check.says for check in of(config, name))


def test_an_empty_house_is_told_what_to_do_first(config_file: Path) -> None:
    with_serving(config_file, "port = 9")
    found = {check.name: check for check in doctor.diagnose(load_config(config_file))}
    assert {name for name, check in found.items() if check.state == "fail"} == {"base model"}
    assert found["last run"].fix == "doit" and found["server"].fix == "doit serve"
    assert found["what opencode sends"].fix == "doit tools" and found["opencode"].fix == "doit opencode"
    assert "no such agent" in found["agents"].says


def test_a_check_that_falls_over_is_a_failed_check(well: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "history", lambda config: 1 / 0)
    (check,) = of(well, "history")
    assert (check.state, check.says) == ("fail", "cannot be looked at: ZeroDivisionError: division by zero")


def test_it_changes_nothing_and_is_quick_without_a_server(well: Config, tmp_path: Path) -> None:
    captured(well)
    before = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    command = [sys.executable, str(ROOT / "scripts" / "doctor.py"), "--config", str(well.path), "--json"]
    started = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    spent = os.times()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert not json.loads(done.stdout)["ok"], "nothing is served"
    assert before == {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    processor = spent.children_user + spent.children_system - started.children_user - started.children_system
    assert processor < 2


# what opencode sends


def with_rows(config: Config, tools: list[dict]) -> None:
    messages = [{"role": "system", "content": system_prompt(config.language("rust"))}, {"role": "user", "content": "x"}]
    source = {"kind": "session", "time": "2026-05-01T10:00:00Z", "session": "ses_1"}
    commit = {"kind": "commit", "time": "2026-05-02T10:00:00Z", "commit": "c", "repository": "r"}
    rows = [make_record("rust", messages, tools, source), make_record("rust", messages[1:], [], commit)]
    write_records(config.paths.data / "train" / "rust.jsonl", rows)


def tool(name: str, *arguments: str, required: tuple[str, ...] = ()) -> dict:
    parameters = {
        "type": "object",
        "properties": {key: {"type": "string"} for key in arguments},
        "required": list(required),
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize(
    ("now", "differences"),
    [
        ([tool("read", "path"), tool("edit", "old")], []),
        ([tool("read", "path")], ["shown in training but gone: edit"]),
        ([tool("read", "path"), tool("edit", "old"), tool("lsp")], ["never shown in training: lsp"]),
        ([tool("read", "file"), tool("edit", "old", "all")], ["changed since: edit (+all), read (+file -path)"]),
        (
            [tool("read", "path", required=("path",)), tool("edit", "old")],
            ["changed since: read (path required or not)"],
        ),
    ],
)
def test_tools_of_rows_against_tools_of_opencode(well: Config, now: list[dict], differences: list[str]) -> None:
    with_rows(well, [tool("read", "path"), tool("edit", "old"), tool("db_query", "sql")])
    captured(well, tools=now)
    chat = Chat.load(well.base.model)
    request = json.loads((well.paths.data / "opencode-tools.json").read_text())
    found = parity(well, well.language("rust"), request, chat)
    assert found.differences == differences
    assert 0 < found.trained < found.sent
    assert parity(well, well.language("swift"), request, chat) is None
    checks_ = [check for check in of(well, "what opencode sends") if "build-rust" in check.says]
    assert [check.state for check in checks_] == ["note" if differences else "ok"]
    assert f"{found.sent:,} tokens before the first word, trained on {found.trained:,}" in checks_[0].says


def test_a_newer_opencode_than_the_captured_one(well: Config) -> None:
    captured(well)
    with sqlite3.connect(well.databases()[0]) as database:
        database.execute("UPDATE session SET version = '1.19.2'")
    (check,) = of(well, "what opencode sends")
    assert check.says == "captured from opencode 1.18.33; your newest session is of 1.19.2"
    assert check.fix == "doit tools"


def test_the_newest_session_of_all_histories_tells_which_opencode_is_used(well: Config, tmp_path: Path) -> None:
    captured(well)
    (old,) = well.databases()
    new = History(tmp_path / "new.db")
    new.session("ses_2")
    for path, version, milliseconds in ((old, "1.17.0", 1), (new.path, "1.19.2", 2)):
        with sqlite3.connect(path) as database:
            database.execute(
                "UPDATE session SET version = ?, time_created = ?, time_updated = ?",
                [version, milliseconds, milliseconds],
            )
    edit(well, '"./opencode.db"', '"./new.db", "./opencode.db"')
    (check,) = of(load_config(well.path), "what opencode sends")
    assert check.says.endswith("your newest session is of 1.19.2")


def test_what_opencode_itself_says_must_fit_into_the_context(well: Config) -> None:
    edit(well, "port = 9\n", "port = 9\nmax_model_len = 8192\noutput_tokens = 4096\n")
    assert "context" not in failed(load_config(well.path))
    captured(well, system="word " * 4000)
    assert "opencode's prompt and an answer of 4,096 take" in failed(load_config(well.path))["context"]


# the machine


@pytest.mark.parametrize(
    ("output", "peak", "state", "said"),
    [
        ("NVIDIA H100, 70000, 81559", 3, "ok", "NVIDIA H100, 68 of 80 GiB free"),
        ("NVIDIA H100, 700, 81559", 3, "note", "a training took 3 GiB before"),
        ("A, 1024, 2048\nB, 8192, 8192", 3, "ok", "A, 1 of 2 GiB free; B, 8 of 8 GiB free"),
        ("", 3, "note", "none seen"),
    ],
)
def test_gpus(well: Config, tmp_path: Path, output: str, peak: int, state: str, said: str) -> None:
    program(tmp_path / "bin" / "nvidia-smi", f"printf '{output}'")
    check = checks.gpu(well)
    assert check.state == state and said in check.says


def test_no_room_on_the_disk(well: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DISK", 1 << 60)
    assert checks.disk(well).state == "fail"


def test_libraries_that_are_missing_or_others(well: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checks._installed
    assert checks.versions(well).state == "ok"
    monkeypatch.setattr(checks, "_installed", lambda name: None if name == "trl" else real(name))
    assert (checks.versions(well).state, "not installed: trl" in checks.versions(well).says) == ("fail", True)
    monkeypatch.setattr(checks, "_installed", lambda name: "0.1" if name == "trl" else real(name))
    assert checks.versions(well).state == "note" and "trl 0.1 (tested with" in checks.versions(well).says
    monkeypatch.setattr(checks, "PYTHON", (4, 0))
    assert checks.versions(well).fix == "make .venv with Python 4.0"


def test_tools_that_are_missing(well: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(well, '"tree_sitter_ruby"', '"tree_sitter_cobol"')
    assert "no grammar for Ruby: tree_sitter_cobol" in checks.tools(load_config(well.path)).says
    (tmp_path / "bin" / "opencode").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "no git" in checks.tools(well).says


@pytest.mark.parametrize(
    ("crontab", "units", "state"),
    [
        ("echo '15 3 * * * .venv/bin/doit'", {}, "ok"),
        ("echo '# 15 3 * * * .venv/bin/doit'", {}, "note"),
        ("echo '0 * * * * backup'", {}, "note"),
        ("exit 1", {}, "note"),
        ("sleep 5", {}, "note"),
        ("exit 1", {"a.service": "ExecStart=doit", "timers.target.wants/a.timer": ""}, "ok"),
        ("exit 1", {"a.service": "ExecStart=doit", "a.timer": ""}, "note"),
        ("exit 1", {"a.service": "ExecStart=backup", "timers.target.wants/a.timer": ""}, "note"),
    ],
)
def test_what_starts_the_nights(
    well: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crontab: str, units: dict[str, str], state: str
) -> None:
    program(tmp_path / "bin" / "crontab", crontab)
    monkeypatch.setattr(checks, "_SECONDS", 0.3)
    for name, text in units.items():
        write(Path.home() / ".config" / "systemd" / "user" / name, text)
    assert checks.schedule(well).state == state


def test_a_last_run_of_long_ago(well: Config) -> None:
    assert of(well, "last run")[0].state == "ok"
    for path in [*well.path.parent.glob("**/*.json"), *well.path.parent.glob("**/*.jsonl")]:
        os.utime(path, times=(time.time() - 12 * 86400,) * 2)
    (check,) = of(well, "last run")
    assert check.state == "note" and check.says.endswith("12 days ago")
