"""opencode's configuration: ours goes in and comes out again, and what is the owner's keeps its bytes."""

import json
from itertools import zip_longest
from pathlib import Path

import pytest
from built_pipeline import built
from click.testing import Result
from conftest import invoke
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from specialists.agent import system_prompt
from specialists.config import load_config
from specialists.serving import jsonc
from specialists.serving.opencode_config import Setting, follow, merge, settings, without
from test_server import with_serving

KEYS = "$schema provider.vllm.npm provider.vllm.models.base.limit agent.a.model agent.a.prompt agent.b.model"
PATHS = [tuple(key.split(".")) for key in KEYS.split()]
WANTED = [Setting(path, {"context": 1} if path[-1] == "limit" else f"our {path[-1]}") for path in PATHS]
WANTED += [Setting(("agent", "a", "description"), "ours", default=True), Setting(("provider", "vllm", "old"), None)]

OWNERS = {
    "nothing": "",
    "trailing commas": '{\n  "theme": "dark",\n  "agent": {"x": {"model": "m",},},\n}\n',
    "comments": '// top\n{ // open\n  /* a */ "theme": "dark" // note\n  // end\n} // after\n',
    "a comment that closes nothing": '{"theme": "dark" // note\n}',
    "tabs": '{\n\t"theme": "dark",\n\t"agent": {\n\t\t"x": {}\n\t}\n}\n',
    "CRLF": '{\r\n  // a\r\n  "theme": "dark"\r\n}\r\n',
    "a byte order mark": '\ufeff{"theme": "dark"}',
    "our provider of another kind": '{"provider": {"vllm": {"npm": "x", "old": 1, "options": {"a": [1, 2]}}}}',
    "our agent with keys of its own": '{"agent": {"a": {"model": "m", "temperature": 0.1, "description": "mine"}}}',
    "ours already": '{"agent": {"a": {"model": "our model"}}, "$schema": "our $schema"}',
    "empty parents": '{"provider": {"vllm": {}}, "agent": {"a": { }}}',
    "placeholders that are no JSON": '{"provider": {"x": {"timeout": {env:MY_TIMEOUT}, "n": {file:~/n}}}} // {env:X}',
    "the same key twice": '{"agent": {"a": {}}, "agent": {"b": {"model": 1}}}',
}


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_what_is_ours_goes_in_and_comes_out_and_the_rest_stays(owner) -> None:
    merged = merge(owner, WANTED)
    before, after = jsonc.loads(owner), jsonc.loads(merged)
    for setting in WANTED[:-2]:
        assert jsonc.get(after, setting.path) == (True, setting.value)
    assert not jsonc.get(after, ("provider", "vllm", "old"))[0]
    assert merge(merged, WANTED) == merged
    assert without(merged, owner, WANTED) == (owner or None)
    assert ("\r\n" in owner) == ("\r\n" in merged) and merged.count("\r\n") in (0, merged.count("\n"))
    for comment in ("// top", "// open", "/* a */", "// note", "// end", "// after", "// a\r\n"):
        assert merged.count(comment) == owner.count(comment)
    assert [key for key in after if key in before] == list(before)
    if "temperature" in owner:
        assert (after["agent"]["a"]["temperature"], after["agent"]["a"]["description"]) == (0.1, "mine")
    if "options" in owner:
        assert after["provider"]["vllm"]["options"] == {"a": [1, 2]}


def test_what_it_looks_like() -> None:
    merged = merge('{\n  "theme": "dark", // note\n}\n', WANTED[:2])
    assert merged == (
        '{\n  "theme": "dark", // note\n  "$schema": "our $schema",\n'
        '  "provider": {\n    "vllm": {\n      "npm": "our npm"\n    }\n  },\n}\n'
    )
    assert merge("", WANTED[:1]) == '{\n  "$schema": "our $schema"\n}\n'


names = st.sampled_from(["$schema", "agent", "provider", "vllm", "a", "b", "model", "npm", "x"])
json_values = st.recursive(
    st.none() | st.integers(-999, 999) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(names, st.dictionaries(names, json_values, max_size=3), max_size=3)
documents = st.fixed_dictionaries({}, optional={"agent": tables, "provider": tables, "theme": json_values})


@st.composite
def written(draw: st.DrawFn) -> str:
    """A configuration as somebody may have written it: any white space, comments and commas that JSONC allows."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    noise = st.sampled_from(["", " ", newline, newline + "  ", "\t", f" // x{newline}", "/* , } */", f"//{newline}  "])

    def dump(value: object) -> str:
        if not isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=draw(st.booleans()))
        keys = [f"{json.dumps(key)}{draw(noise)}:{draw(noise)}" for key in value] if isinstance(value, dict) else []
        items = value.values() if keys else value
        members = map("".join, zip_longest(keys, map(dump, items), fillvalue=""))
        parts = [draw(noise) + member + draw(noise) for member in members]
        comma = "," if parts and draw(st.booleans()) else ""
        brackets = "{}" if isinstance(value, dict) else "[]"
        return brackets[0] + ",".join(parts) + comma + draw(noise) + brackets[1]

    return draw(noise) + dump(draw(documents)) + draw(noise)


@effort(max_examples=40, deadline=None)
@given(written())
def test_any_configuration_survives(owner) -> None:
    merged = merge(owner, WANTED)
    assert merge(merged, WANTED) == merged
    assert without(merged, owner, WANTED) == owner
    assert without(owner, owner, WANTED) == owner
    before, after = jsonc.loads(owner), jsonc.loads(merged)
    ours = {setting.path[:2] for setting in WANTED}
    for key, value in before.items():
        for name, item in value.items() if isinstance(value, dict) else ():
            if (key, name) not in ours:
                assert after[key][name] == item
    document = jsonc.loads(without(merged.replace("{", '{"added": 1,', 1), owner, WANTED))
    assert document == {"added": 1, **before}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"a": 1, // x\n "b": 2, "c": 3}', '{"a": 1, // x\n  "c": 3}'),
        ('{\n  "a": 1, // x\n  "b": 2\n}', '{\n  "a": 1 // x\n}'),
        ('{"b": 1, "a": 2, "b": 3}', '{ "a": 2}'),
        ('{"a": "{\\"b\\": 1}" /* "b": 2 */}', '{"a": "{\\"b\\": 1}" /* "b": 2 */}'),
    ],
)
def test_deleting_takes_the_member_and_its_comma(text, left) -> None:
    assert jsonc.delete(text, ("b",)) == left


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "a": 1\n  "b": 2\n}', "Expecting ',' delimiter: line 3 column 3"),
        ("{'a': 1}", "property name enclosed in double quotes: line 1 column 2"),
        ('{"a": yes}', "Expecting value: line 1 column 7"),
        ("{ /* a", "property name enclosed in double quotes: line 1 column 3"),
        ('{"a": 1,,}', "property name enclosed in double quotes: line 1 column 9"),
        ("[]", "the file: expected an object: line 1 column 1"),
        ('{"provider": []}', "provider: expected an object: line 1 column 14"),
        ('{"agent": {"a": "x"}}', "agent.a: expected an object: line 1 column 17"),
    ],
)
def test_what_is_no_configuration_is_reported_with_its_place(text, message) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        merge(text, WANTED)
    assert message in str(caught.value)


def test_what_the_owner_changes_afterwards_stays_on_removal() -> None:
    owner = '{"agent": {"a": {"model": "mine", "description": "mine"}}}'
    merged = merge(owner, WANTED)
    edited = jsonc.set_value(jsonc.set_value(merged, ("agent", "b", "temperature"), 1), ("theme",), "dark")
    edited = jsonc.set_value(edited, ("agent", "a", "description"), "mine, better")
    agents = {"a": {"model": "mine", "description": "mine, better"}, "b": {"temperature": 1}}
    assert jsonc.loads(without(edited, owner, WANTED)) == {"agent": agents, "theme": "dark"}


def run(config_file: Path, target: Path, *options: str) -> Result:
    return invoke("configure-opencode", config_file, "--output", target, *options)


def test_promoted_adapters_are_models_and_the_base_stands_in_for_the_others(config_file) -> None:
    config = built(config_file)
    document = jsonc.loads(merge('{"provider": {"vllm": {"models": {"build-ts": {}, "mine": {}}}}}', settings(config)))
    provider, agents = document["provider"]["vllm"], document["agent"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"] == {"baseURL": "http://127.0.0.1:8000/v1", "apiKey": "{env:VLLM_API_KEY}"}
    assert set(provider["models"]) == {"mine", "base", "build-rust"}
    assert provider["models"]["build-rust"]["limit"] == {"context": 114688, "output": 16384}
    for name, language in config.languages.items():
        agent = agents[f"build-{name}"]
        assert agent["model"] == ("vllm/build-rust" if name == "rust" else "vllm/base")
        assert agent["prompt"] == system_prompt(language) and language.title in agent["description"]


def test_a_new_file_is_made_and_taken_away_again(config_file, tmp_path) -> None:
    target = tmp_path / "new" / "opencode.json"
    assert run(config_file, target).exit_code == 0
    assert list(json.loads(target.read_text())) == ["$schema", "provider", "agent"]
    config_file.write_text(config_file.read_text() + "\n[serving]\nport = 8001\n")
    assert run(config_file, target).exit_code == 0
    assert ":8001/v1" in target.read_text()
    assert run(config_file, target, "--remove").exit_code == 0
    assert list(target.parent.iterdir()) == []
    assert f"{target}: no such file" in run(config_file, target, "--remove").stderr


def test_the_backup_is_the_file_before_us_and_removal_keeps_what_came_later(config_file, tmp_path) -> None:
    target, backup = tmp_path / "opencode.jsonc", tmp_path / "opencode.jsonc.bak"
    target.write_text('{\n  "theme": "dark" // mine\n}\n')
    target.chmod(0o640)
    original = target.read_bytes()
    assert run(config_file, target).exit_code == 0
    assert backup.read_bytes() == original
    built(config_file)  # Rust is promoted
    target.chmod(0o600)
    assert run(config_file, target).exit_code == 0
    assert (backup.read_bytes(), backup.stat().st_mode & 0o777) == (original, 0o600)
    target.write_text(target.read_text().replace('"dark"', '"light"'))
    config_file.write_text(config_file.read_text() + "\n[serving]\nport = 8001\n")
    assert run(config_file, target).exit_code == 0
    assert backup.read_bytes() == original
    assert target.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o600
    assert run(config_file, target, "--remove").exit_code == 0
    assert target.read_bytes() == original.replace(b"dark", b"light")
    assert not backup.exists()


def test_a_backup_from_before_ours_was_taken_out_by_hand_is_replaced(config_file, tmp_path) -> None:
    target = tmp_path / "opencode.json"
    for content in ('{"agent": {"build-rust": {"model": "a"}}}', '{"agent": {"build-rust": {"model": "b"}}}'):
        target.write_text(content)
        assert run(config_file, target).exit_code == 0
        assert Path(f"{target}.bak").read_text() == content


def test_checking_changes_nothing(config_file, tmp_path) -> None:
    target = tmp_path / "opencode.json"
    target.write_text('{"theme": "dark"}')
    result = run(config_file, target, "--check", "--json")
    assert (result.exit_code, json.loads(result.stdout)["changed"]) == (1, False)
    assert '+    "vllm": {' in result.stderr and '-{"theme": "dark"}' in result.stderr
    assert target.read_text() == '{"theme": "dark"}' and not Path(f"{target}.bak").exists()
    assert run(config_file, target).exit_code == 0
    before = target.stat().st_mtime_ns
    assert run(config_file, target, "--check").stderr == f"{target}: up to date\n"
    assert run(config_file, target).exit_code == 0
    assert target.stat().st_mtime_ns == before, "a file that is up to date is not written"
    assert run(config_file, target, "--remove", "--check").exit_code == 1


def test_a_link_is_followed_and_a_jsonc_beside_is_taken(config_file, tmp_path) -> None:
    real, link, lower = (tmp_path / name for name in ("dotfiles.jsonc", "opencode.jsonc", "opencode.json"))
    lower.write_text('{"theme": "dark"}')
    assert run(config_file, lower).exit_code == 0
    real.write_text("{}")
    link.symlink_to(real)
    assert run(config_file, lower).exit_code == 0
    assert link.is_symlink() and "vllm" in real.read_text() and Path(f"{real}.bak").read_text() == "{}"
    assert lower.read_text() == '{"theme": "dark"}', "ours goes out of the file that no longer wins"


SERVER = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("name", "provider", "refused"),
    [
        ("opencode.json", {"options": {"baseURL": "https://gpu.example/v1"}}, "https://gpu.example/v1, ours"),
        ("opencode.jsonc", {"options": {"baseURL": "http://10.0.0.5:9000/v1"}}, "jsonc: provider.vllm is another"),
        ("config.json", {"api": "https://gpu.office.example/v1"}, "config.json: provider.vllm is another"),
        ("opencode.json", {"npm": "@ai-sdk/openai", "options": {"baseURL": SERVER}}, "another server's"),
        ("opencode.json", {"options": {"baseURL": "http://localhost:8000/v1/"}}, ""),
        ("opencode.json", {"models": {"base": {"name": "Mine"}}}, ""),
    ],
)
def test_a_provider_of_the_owners_own_is_never_overwritten(config_file, tmp_path, name, provider, refused) -> None:
    file = tmp_path / name
    file.write_text(json.dumps({"provider": {"vllm": provider}}))
    before = file.read_bytes()
    for options in ((), ("--remove",)) if refused else ((),):
        result = run(config_file, file, *options)
        assert (result.exit_code, refused in result.stderr) == (int(bool(refused)), True), result.stderr
        assert (file.read_bytes() == before) == bool(refused)


def test_a_copy_of_the_configuration_changes_nothing_that_the_first_one_wrote(config_file) -> None:
    file = built(config_file).opencode.config.expanduser()
    assert run(config_file, file).exit_code == 0
    before, copy = file.read_bytes(), config_file.parent / "copy" / "specialists.toml"
    copy.parent.mkdir()
    copy.write_text(config_file.read_text())
    copied = load_config(with_serving(copy, "port = 8001"))
    assert follow(copied) == [] and "another server's" in run(copy, file).stderr and file.read_bytes() == before
    assert run(copy, file, "--check", "--remove").exit_code == 1, "it may when it is asked"


@pytest.mark.parametrize(
    ("version", "served", "context", "start"),
    [("1.18.33", 32768, 28672, 24576), ("2.3.2", 32768, 40576, 24576), ("2.3.2", 262144, 250311, 225280)],
)
def test_limits_make_opencode_compact_before_the_server_is_full(config_file, version, served, context, start) -> None:
    """1.18.33: from context - output on; 2.0.26: from context less the greater of 16,000 and a tenth."""
    config = built(with_serving(config_file, f"max_model_len = {served}\noutput_tokens = 4096"))
    (config.paths.data / "opencode-tools.json").write_text(json.dumps({"version": version}))
    model = jsonc.loads(merge("", settings(config)))["provider"]["vllm"]["models"]["build-rust"]
    assert model["limit"] == {"context": context, "output": 4096}
    compacted = context - (max(16_000, context // 10) if version[:1] == "2" else 4096)
    assert compacted == start and start + 4096 < served
    assert ("temperature" in model) == (version[:1] != "2")


@pytest.mark.parametrize(
    ("content", "backup", "options", "message"),
    [
        (b'{\n  "a": 1\n  "b"', None, (), "opencode.json: Expecting ',' delimiter: line 3 column 3"),
        (b"\xff", None, (), "opencode.json: cannot be read"),
        (b"{}", None, (), "opencode.json: is read-only; make it writable"),
        (b'{"provider": {"vllm": {}}}', None, ("--remove",), "opencode.json: is read-only; make it writable"),
        (b"{}", "{", ("--remove",), "opencode.json.bak: Expecting property name enclosed in double quotes: line 1"),
    ],
)
def test_what_cannot_be_read_or_written_is_reported(config_file, tmp_path, content, backup, options, message) -> None:
    target = tmp_path / "opencode.json"
    target.write_bytes(content)
    target.chmod(0o444 if "read-only" in message else 0o644)
    if backup:
        Path(f"{target}.bak").write_text(backup)
    result = run(config_file, target, *options)
    assert result.exit_code == 1 and message in result.stderr
    assert (target.read_bytes(), Path(f"{target}.bak").exists()) == (content, bool(backup))


@pytest.mark.parametrize(
    ("before", "code", "model", "reported"),
    [
        pytest.param("wired", 0, "vllm/base", "agents follow what is promoted", id="wired"),
        pytest.param('{"provider": {"vllm": {}}, "agent": []}', 0, None, "", id="not wired"),
        pytest.param(None, 0, None, "", id="no file"),
        pytest.param("{", 3, None, "line 1 column 2 (char 1); correct the file", id="not JSON"),
    ],
)
def test_agents_follow_a_rollback_where_they_are_wired(config_file, before, code, model, reported) -> None:
    file = built(config_file).opencode.config.expanduser()
    file.parent.mkdir(parents=True)
    if before in ("wired", "{"):
        assert run(config_file, file).exit_code == 0
        assert jsonc.loads(file.read_text())["agent"]["build-rust"]["model"] == "vllm/build-rust"
    if before not in (None, "wired"):
        file.write_text(before)
    done = invoke("promote", config_file, "--language", "rust", "--back")
    assert done.exit_code == code and reported in done.stderr and (reported or "follow" not in done.stderr)
    if model:
        document = jsonc.loads(file.read_text())
        assert document["agent"]["build-rust"]["model"] == model
        assert "build-rust" not in document["provider"]["vllm"]["models"]
    else:
        assert (file.read_text() if file.exists() else None) == before
