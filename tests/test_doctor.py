"""The doctor: each thing broken in turn is reported with its fix, nothing is changed, nothing falls over."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_models
from built_pipeline import built, write
from conftest import invoke
from opencode_rows import History
from servers import answering, models_answer
from specialists.adapters import adapter_folder
from specialists.agent import TOOLS, system_prompt, with_head
from specialists.chat import Chat
from specialists.config import Config, load_config
from specialists.records import make_record, read_json, write_records
from specialists.reporting import checks
from specialists.reporting.checks import Check
from specialists.reporting.doctor import diagnose
from test_server import with_serving

NAME = "20261123-091500-1a2b3c4d"


@pytest.fixture
def healthy(config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Rust promoted and in opencode; base, history and template are there; nobody listens on the port."""
    tiny_models.save_tokenizer(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "base" / "config.json").write_text("{}")
    text = f'config = "{tmp_path}/opencode.json"'
    config_file.write_text(config_file.read_text().replace("[opencode]", f"[opencode]\n{text}"))
    config = built(with_serving(config_file, "port = 9"))
    skip(config, '{"problems": []}')
    History(tmp_path / "opencode.db").session("ses_1")
    set_template(config, Chat.load(config.base.model).fingerprint)
    configure(config)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # whatever GPU is here, the base is none that would fit one
    write(tmp_path / "bin" / "opencode", "#!/bin/sh\n")
    (tmp_path / "bin" / "opencode").chmod(0o755)
    return load_config(config_file)


def set_template(config: Config, fingerprint: str) -> None:
    path = adapter_folder(config, config.language("rust")).current / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["base"]["template"] = fingerprint
    path.write_text(json.dumps(manifest))


def configure(config: Config) -> None:
    assert invoke("configure-opencode", config.path).exit_code == 0


def captured(config: Config, **changes: object) -> None:
    """What capture-tools.py leaves: the tools of the rows, with prose."""
    described = [{"type": "function", "function": {**tool["function"], "description": "prose " * 40}} for tool in TOOLS]
    whole = {"version": "1.18.33", "tools": TOOLS, "system": "\nYou are powered by", "described": described, **changes}
    write(config.paths.data / "opencode-tools.json", whole)


def of(config: Config, name: str) -> list[Check]:
    return [check for check in diagnose(config) if check.name == name]


@contextmanager
def serving(config_file: Path, models: dict[str, str]) -> Iterator[Config]:
    """A server that answers to these names, each with the folder that it was loaded from."""
    with answering(lambda _path, _body: models_answer(models)) as port:
        config_file.write_text(config_file.read_text().replace("port = 9\n", f"port = {port}\n"))
        yield load_config(config_file)


def test_a_healthy_pipeline_has_nothing_to_fix_and_is_not_changed(healthy, tmp_path) -> None:
    captured(healthy)
    current = str(adapter_folder(healthy, healthy.language("rust")).current)
    with serving(healthy.path, {"base": "./base", "build-rust": current}) as config:
        configure(config)
        before = {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
        result = invoke("doctor", config.path, "--json")
    assert before == {path: path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()}
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["ok"] and "Nothing to fix." in result.stderr
    states = {check["name"]: check["state"] for check in data["checks"]}
    assert {name for name, state in states.items() if state != "ok"} <= {"gpu", "sent prompt"}


def edit(config: Config, before: str, after: str) -> None:
    config.path.write_text(config.path.read_text().replace(before, after))


def agent(name: str, model: str) -> Callable[[Config], object]:
    """Lets an agent of opencode's name this model of ours."""

    def change(config: Config) -> None:
        settings = json.loads(config.opencode.config.read_text())
        settings["agent"][name] = {"model": f"vllm/{model}"}
        config.opencode.config.write_text(json.dumps(settings))

    return change


def skip(config: Config, summary: str) -> None:
    (config.paths.data / "commits" / "rust.summary.json").write_text(summary)


def unlink(*parts: str) -> Callable[[Config], object]:
    return lambda config: Path(config.path.parent, *parts).unlink()


def text(old: str, new: str) -> Callable[[Config], object]:
    return lambda config: edit(config, old, new)


def beside(path: str, content: str) -> Callable[[Config], object]:
    return lambda config: write(config.path.parent / path, content)


def long_head(config: Config) -> None:
    captured(config, system="word " * 4000)
    edit(config, PORT, f"{PORT}max_model_len = 8192\n")


RUST_AGENT = "---\ndescription: a: b\nmodel: anthropic/x # mine\n---\nBe brief.\n"
TWO = '{"agents": {"build-rust": {"system": "x"}}, "providers": {"vllm": {}}}'
PORT = "port = 9\n"
INDEX = {"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}}
BROKEN: list[tuple[Callable[[Config], object], str, str]] = [  # what is done, the check that fails, its words
    (text("[serving]", "[training.rust]\nr = 7\n[serving]"), "configuration", "training.rust.r: expected one of"),
    (text("tree_sitter_ruby", "tree_sitter_cobol"), "tools", "Ruby: tree_sitter_cobol"),
    (lambda c: c.databases()[0].write_text("not a database"), "history", "cannot be read"),
    (unlink("opencode.db"), "history", "no opencode history there"),
    (text('title = "Ruby"', 'repositories = ["./gone"]'), "repositories", "languages.ruby.repositories: "),
    (
        lambda c: (edit(c, 'emails = ["me@example.org"]', ""), edit(c, 'title = "Ruby"', 'repositories = ["."]')),
        "owner",
        "git config --global user.email is not set: nothing is mined",
    ),
    (lambda c: skip(c, '{"problems": ["tengu: whose commits?"]}'), "left out", "tengu: whose commits?"),
    (lambda c: skip(c, "{"), "left out", "rust.summary.json: cannot be read"),
    (text('"./base"', '"Org/Gone"'), "base model", "Org/Gone: not on this machine"),
    (unlink("base", "tokenizer.json"), "base model", "no tokenizer.json"),
    (unlink("base", "model.safetensors"), "base model", "no weights"),
    (beside("base/model.safetensors.index.json", json.dumps(INDEX)), "base model", "1 of 2 weight files are missing"),
    (lambda c: set_template(c, "f" * 16), "chat template", "build-rust (ffffffffffffffff)"),
    (lambda c: None, "server", "none at http://127.0.0.1:9"),
    (text(PORT, "port = 10\n"), "opencode", "not up to date"),
    (lambda c: c.opencode.config.write_text("{,}"), "opencode", "line 1 column 2"),
    (beside("opencode.jsonc", "{}"), "opencode", "opencode.jsonc: provider, models or agents are not up to date"),
    (beside("config.json", '{"enabled_providers": ["x"]}'), "opencode", "config.json: enabled_providers keeps"),
    (beside("config.json", '{"disabled_providers": ["vllm"]}'), "opencode", "keeps opencode from loading vllm"),
    (beside("config.json", '{"provider": {"vllm": {"api": "http://x"}}}'), "opencode", "is another server's (http://x"),
    (beside("agent/build-rust.md", RUST_AGENT), "opencode", "build-rust.md: agent.build-rust.model differs"),
    (beside("agents/build-rust.md", "Be brief."), "opencode", "build-rust.md: agent.build-rust.prompt differs"),
    (beside("agents/build-ts.md", "---\ndisable: true\n---\n"), "opencode", "build-ts.disable turns the agent off"),
    (beside("config.json", TWO), "opencode", "config.json: agents.build-rust is what opencode 2 takes"),
    (beside("config.json", TWO), "opencode", "config.json: providers.vllm is what opencode 2 takes"),
    (agent("build-ts", "build-ts"), "agents", "build-ts: nothing answers to build-ts: no version is promoted"),
    (agent("mine", "build-cobol"), "agents", "mine: nothing answers to build-cobol: no language of specialists.toml"),
    (text(PORT, f"{PORT}max_model_len = 4096\n"), "context", "rows may have 8,4"),
    (text(PORT, f"{PORT}output_tokens = 131072\n"), "context", "tokens of 131,072; rows up to 8,4"),
    (long_head, "context", "rows may have"),
]
LOCAL = {"tools", "configuration", "history", "owner", "repositories", "left out", "base model"}


@pytest.mark.parametrize(("spoil", "name", "words"), BROKEN)
def test_each_fault_is_reported_with_what_to_do(healthy, spoil, name, words) -> None:
    spoil(healthy)
    result = invoke("doctor", healthy.path)
    assert result.exit_code == 1 and not isinstance(result.exception, Exception), result.output
    found = [check for check in of(load_config(healthy.path), name) if check.state == "fail"]
    assert any(words in check.says for check in found) and all(check.fix for check in found), found
    assert words in result.output and "-> " in result.output
    nightly = invoke("doctor", healthy.path, "--offline")
    assert nightly.exit_code == (name in LOCAL) and (words in nightly.output) == (name in LOCAL), nightly.output
    assert "ok  " not in nightly.output and "note" not in nightly.output


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("opencode.jsonc", '{"agent": {"build-rust": {"model": "a"}}}', "jsonc: agent.build-rust.model differs"),
        (".opencode/agent/build-rust.md", "Be brief.", "build-rust.md: agent.build-rust.prompt differs"),
        ("agents/build-rust.md", "Be brief.", ""),
        ("config.json", '{"agent": {"build-rust": {"disable": true}}}', ""),
    ],
)
def test_what_a_mined_project_overrides_is_named(healthy, path, content, words) -> None:
    project = healthy.path.parent / "tengu"
    (project / ".git").mkdir(parents=True)
    write(project / path, content)
    edit(healthy, 'title = "Ruby"', 'title = "Ruby"\nrepositories = ["./tengu"]')
    (check,) = of(load_config(healthy.path), "opencode")
    assert (check.state, words in check.says) == ("note" if words else "ok", True), check


def test_a_library_is_found_in_both_forms_without_its_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one-1.dist-info/METADATA", "two-1.egg-info/PKG-INFO"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"Metadata-Version: 2.1\nName: {name[:3]}\nVersion: 1.2+cpu\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [checks.installed(name) for name in ("one", "two", "three")] == ["1.2", "1.2", None]


@pytest.mark.parametrize(
    ("model", "code", "state"),
    [("build-rust", 0, "ok"), ("${5:-base}", 0, "note"), ("base", 0, "fail"), ("", 1, "fail")],
)
def test_the_installed_opencode_is_asked_who_answers(healthy, model, code, state) -> None:
    program = f'#!/bin/sh\nmodel="{model}"\necho "> build-rust · ${{model#vllm/}}" >&2\nexit {code}\n'
    write(healthy.path.parent / "bin" / "opencode", program)
    assert invoke("doctor", healthy.path, "--ask").exit_code == 1, "no server runs"
    (check,) = (check for check in diagnose(healthy, ask=True) if check.name == "asked")
    assert check.state == state and "opencode run --agent build-rust" in check.says, check


@pytest.mark.parametrize(
    ("models", "name", "words"),
    [
        ({"base": ""}, "adapters served", f"build-rust: the base answers, {NAME} is promoted"),
        ({"base": "", "build-rust": "/x/2025-0"}, "adapters served", f"build-rust: 2025-0 answers, {NAME} is promoted"),
        ({"base": "", "build-ts": "/x"}, "adapters served", "build-ts: x answers, no version is promoted"),
        ({"base": ""}, "agents", "agent build-rust: nothing answers to build-rust: promoted, not served"),
        ({"other": ""}, "server", "is answered by another server (models: other)"),
    ],
)
def test_what_is_served_against_what_is_promoted(healthy, models, name, words) -> None:
    with serving(healthy.path, models) as config:
        configure(config)
        assert any(check.state == "fail" and words in check.says for check in of(config, name))


def test_before_anything_is_built_it_says_what_to_do_first(config_file) -> None:
    with_serving(config_file, "port = 9")
    edit(load_config(config_file), '[owner]\nemails = ["me@example.org"]', "")
    found = {check.name: check for check in diagnose(load_config(config_file))}
    assert {name for name, check in found.items() if check.state == "fail"} == {"base model", "history"}
    assert found["last run"].fix == "doit" and found["server"].fix == "doit serve"
    assert found["sent prompt"].fix == "doit tools" and found["opencode"].fix == "doit opencode"
    assert "no such agent" in found["agents"].says and "user.email is not set" in found["owner"].says
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text("[user]\nemail = me@example.org\n")
    assert {check.name: check for check in diagnose(load_config(config_file))}["owner"].state == "ok"


def test_a_check_that_falls_over_is_a_failed_check(healthy, monkeypatch) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: 1 / 0)
    (check,) = of(healthy, "disk")
    assert (check.state, check.says) == ("fail", "cannot be looked at: ZeroDivisionError: division by zero")


def with_rows(config: Config, tools: list[dict]) -> None:
    messages = [{"role": "system", "content": system_prompt(config.language("rust"))}, {"role": "user", "content": "x"}]
    source = {"kind": "session", "time": "2026-05-01T10:00:00Z", "session": "ses_1"}
    commit = {"kind": "commit", "time": "2026-05-02T10:00:00Z", "commit": "c", "repository": "r"}
    rows = [make_record("rust", messages, tools, source), make_record("rust", messages[1:], [], commit)]
    capture, shares = read_json(config.tools_file), (1.0, 0.0)
    rows = [with_head(row, config.language("rust"), capture, share) for row, share in zip(rows, shares, strict=True)]
    write_records(config.paths.data / "train" / "rust.jsonl", rows)


def tool(name: str, *arguments: str, required: tuple[str, ...] = ()) -> dict:
    parameters = {"properties": {key: {"type": "string"} for key in arguments}, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}


@pytest.mark.parametrize(
    ("now", "differences"),
    [
        ([tool("read", "path"), tool("edit", "old")], "the same"),
        ([tool("read", "path")], "shown in training but gone: edit"),
        ([tool("read", "path"), tool("edit", "old"), tool("lsp")], "never shown in training: lsp"),
        ([tool("read", "file"), tool("edit", "old", "all")], "changed since: edit, read"),
        ([tool("read", "path", required=("path",)), tool("edit", "old")], "changed since: read"),
    ],
)
def test_tools_of_rows_against_tools_of_opencode(healthy, now, differences) -> None:
    captured(healthy, tools=now, described=now)
    with_rows(healthy, [tool("read", "path"), tool("edit", "old"), tool("db_query", "sql")])
    (check,) = [check for check in of(healthy, "sent prompt") if "build-rust" in check.says]
    assert check.state == ("ok" if differences == "the same" else "note")
    assert check.says.endswith(f"; tools {differences}") and "stand in the training rows: all in " in check.says


def test_a_newer_opencode_than_the_captured_one(healthy, tmp_path) -> None:
    captured(healthy)
    History(tmp_path / "new.db").session("ses_2")
    for path, version, time_ in (("opencode.db", "1.17.0", 1), ("new.db", "1.19.2", 2)):
        with sqlite3.connect(tmp_path / path) as database:
            database.execute("UPDATE session SET version = ?, time_created = ?", [version, time_])
    edit(healthy, '"./opencode.db"', '"./new.db", "./opencode.db"')
    (check,) = of(load_config(healthy.path), "sent prompt")
    assert check.says == "captured from opencode 1.18.33; your newest session is of 1.19.2"


def test_a_full_disk_libraries_that_are_missing_or_others_no_git(healthy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(checks, "DISK", 1 << 60)
    assert checks.disk(healthy)[0].state == "fail"
    monkeypatch.setattr(checks, "REQUIREMENTS", tmp_path / "requirements.txt")
    checks.REQUIREMENTS.write_text("click==0.1\n")
    assert "(tested with 0.1)" in checks.versions(healthy).says and checks.versions(healthy).state == "note"
    checks.REQUIREMENTS.write_text("no-such-library==1\n")
    assert checks.versions(healthy).says == "not installed: no-such-library"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "no git" in checks.tools(healthy).says


@pytest.mark.parametrize(
    ("base", "gpu", "state"),
    [
        ({"text_config": {"linear_num_value_heads": 32}}, True, "fail"),  # Qwen3.5
        ({"linear_num_value_heads": 32}, True, "fail"),  # Qwen3-Next
        ({"linear_num_value_heads": 32}, False, "ok"),
        ({"num_attention_heads": 32}, True, "ok"),
    ],
)
def test_kernels_are_needed_for_linear_attention_on_a_gpu(healthy, base, gpu, state, tmp_path, monkeypatch) -> None:
    write(tmp_path / "base" / "config.json", base)
    monkeypatch.setattr(checks, "visible_gpus", lambda: [("H100", 1, 1)] * gpu)
    monkeypatch.setattr(checks, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(checks, "installed", {"click": "1"}.get)
    checks.REQUIREMENTS.write_text("click==1\nfla-core==1\n")
    check = checks.versions(healthy)
    assert check.state == state
    assert (check.says == "not installed: fla-core") == (state == "fail")


def test_languages_with_few_examples_and_versions_of_excluded_work_are_notes(healthy) -> None:
    assert [of(healthy, name)[0].state for name in ("examples", "unusable")] == ["ok", "ok"]
    write(new := healthy.path.parent / "new" / "specialists.toml", healthy.path.read_text())
    assert of(load_config(new), "examples")[0].says == "none yet"
    path = adapter_folder(healthy, healthy.language("rust")).current / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "clusters": ["ses_1"]}))
    edit(healthy, "[owner]", '[owner]\nexclude = ["ses_1"]')
    edit(healthy, "min_examples = 3\nmax_examples = 50", "min_examples = 46\nmax_examples = 50")
    few, unused = (of(load_config(healthy.path), name)[0] for name in ("examples", "unusable"))
    assert (few.state, unused.state) == ("note", "note") and few.fix and unused.fix
    assert "Rust: not trained: 45 examples are fewer than languages.rust.min_examples = 46" in few.says
    assert unused.says == f"build-rust/{NAME}: never served: trained on ses_1, which owner.exclude names"


def test_a_last_run_of_long_ago(healthy) -> None:
    assert of(healthy, "last run")[0].state == "ok"
    for path in [*healthy.path.parent.glob("**/*.json"), *healthy.path.parent.glob("**/*.jsonl")]:
        os.utime(path, times=(time.time() - 12 * 86400,) * 2)
    (check,) = of(healthy, "last run")
    assert check.state == "note" and check.says.endswith("12 days ago")


def test_another_base_says_what_it_takes(healthy, tmp_path) -> None:
    (tmp_path / "base").rename(tmp_path / "newer")
    edit(healthy, "./base", "./newer")
    (found,) = of(load_config(healthy.path), "base model")
    assert f"build-rust is of {tmp_path}/base and is not served on {tmp_path}/newer" in found.says
    assert (found.state, "trains 3 anew" in found.fix) == ("note", True), found
