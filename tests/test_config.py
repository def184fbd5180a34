"""The configuration: every mistake found in one reading, named by file and key; one language's stays its own."""

from pathlib import Path

import pytest
from specialists.config import ROOT_CONFIG, Problem, default_histories, expand_repositories, load_config

GLOBAL_MISTAKES = [
    ("[serving]\nprot = 1", "serving.prot: unknown key; did you mean 'port'?"),
    ("[servin]\nport = 1", "servin: unknown table; did you mean 'serving'?"),
    ("[serving]\nport = '1'", "serving.port: expected a whole number, got '1'"),
    ("[serving]\nport = true", "serving.port: expected a whole number, got True"),
    ("[serving]\nport = 99999", "serving.port: expected at least 1 and at most 65535, got 99999"),
    ("[training]\nepochs = nan", "training.epochs: expected at least 0.01, got nan"),
    ("[training]\nlearning_rate = inf", "training.learning_rate: expected at least 0, got inf"),
    ("[serving]\nextra = 'x'", "serving.extra: expected a list, got 'x'"),
    ("[serving]\nenv = {A = 1}", "serving.env: expected a table of strings, got {'A': 1}"),
    ("[training]\nr = 17", "training.r: expected one of 1, 8, 16"),
    ("[training]\nquantization = 'int3'", "training.quantization: expected one of nf4, none, got 'int3'"),
    ("[training]\nepoch = 3", "training.epoch: unknown key; did you mean 'epochs'?"),
    ("[training.go]\nr = 8", "training.go: no such language"),
    ("[secrets]\nextra = ['(']", "secrets.extra: '(' is no regular expression"),
    ("[secrets]\nhost = ['x']", "secrets.host: unknown key; did you mean 'hosts'?"),
    ("[secrets]\nhosts = ['']", "secrets.hosts: an entry is empty"),
    ("[paths]\ndata = 3", "paths.data: expected a path, got 3"),
    ("[mining]\nformat = 'diff'", "mining: unknown table"),
    ("training = 3", "training: expected a table, got 3"),
]
GO = "[languages.go]\nadapter = 'go'\nextensions = ['.go']\n"
LANGUAGE_MISTAKES = [
    ("[training.rust]\nr = 32", "training.rust.r: rank 32 is above serving.max_lora_rank 16"),
    ("[training.rust]\nalpha = 'x'", "training.rust.alpha: expected a whole number, got 'x'"),
    ("[languages.rust.extra]\nx = 1", "languages.rust.extra: unknown key"),
    ("[languages.go]\nadapter = 'build-go'", "languages.go.extensions: missing"),
    ("[languages.go]\nextensions = ['.go']", "languages.go.adapter: missing"),
    ("[languages.go]\nadapter = ''\nextensions = ['.go']", "languages.go.adapter: ''"),
    ("[languages.go]\nadapter = 'build-rust'\nextensions = ['.go']", "'build-rust' is the adapter of rust too"),
    ("[languages.go]\nadapter = '../x'\nextensions = ['.go']", "letters, digits, - _ . only"),
    ("[languages.go]\nadapter = '..'\nextensions = ['.go']", "languages.go.adapter: '..': letters, digits, - _ . only"),
    ("[languages.'../go']\nadapter = 'x'\nextensions = ['.go']", "languages.'../go': letters, digits"),
    ("[languages.-go]\nadapter = 'x'\nextensions = ['.go']", "languages.'-go': letters, digits"),
    ("[languages.go]\nadapter = 'base'\nextensions = ['.go']", "languages.go.adapter: 'base' is the base model's name"),
    (f"{GO}min_examples = 9\nmax_examples = 3", "languages.go.min_examples: 9 is above max_examples, 3"),
    (f"{GO}wanted = [9, 30]", "languages.go.wanted: unknown key; use min_examples and max_examples instead"),
    ("[languages.go]\nadapter = 'go'\nextensions = ['go']", "languages.go.extensions: expected a dot first, got 'go'"),
    (f"{GO}output = ['(']", "languages.go.output: '(' is no regular"),
    (f"{GO}output = ['(?i)a']", "languages.go.output: '(?i)a' is no regular"),
]


def append(path: Path, text: str) -> Path:
    top = "" if text.startswith("[") else text + "\n"
    path.write_text(top + path.read_text() + "\n" + (text if not top else "") + "\n")
    return path


@pytest.mark.parametrize(("text", "message"), GLOBAL_MISTAKES)
def test_a_mistake_that_touches_everything_stops_everything(config_file: Path, text: str, message: str) -> None:
    with pytest.raises(Problem) as caught:
        load_config(append(config_file, text))
    assert message in str(caught.value)
    assert str(config_file) in str(caught.value)


@pytest.mark.parametrize(("text", "message"), LANGUAGE_MISTAKES)
def test_a_mistake_in_one_language_leaves_the_others(config_file: Path, text: str, message: str) -> None:
    config = load_config(append(config_file, text))
    *other, finding = [finding for finding in config.findings if finding.fatal]
    assert message in str(finding) and [each.language for each in other] == ["rust"] * ("of rust too" in message)
    assert finding.language not in config.languages
    assert {"ts", "python", "ruby", "swift"} <= config.languages.keys()
    with pytest.raises(Problem, match=r"specialists\.toml"):
        config.language(finding.language)


BAD_ENTRIES = ["", "ses_", "1a2b3c4", "commit", "commit 1a2b3c", "row 1a2b3c", "repository", "session ses_1"]
BAD_ENTRIES += [f"repository {name}" for name in ("", " ", "/", ".", "..", "a/b", "/tengu")]


@pytest.mark.parametrize("entry", BAD_ENTRIES)
def test_what_is_excluded_has_to_be_named(config_file: Path, entry: str) -> None:
    config_file.write_text(config_file.read_text().replace("[owner]", f'[owner]\nexclude = ["ses_1", "{entry}"]'))
    with pytest.raises(Problem) as caught:
        load_config(config_file)
    message = 'expected "ses_…", "commit …" or "row …" (7 hexadecimal digits at least), or "repository NAME"'
    assert f"{config_file}: owner.exclude: {message}, got {entry!r}" in str(caught.value)


def test_all_mistakes_are_reported_at_once(config_file: Path) -> None:
    append(config_file, "[serving]\nprot = 1\n[training]\nr = 17\n[training.rust]\nalpha = 'x'\n[paths]\ndate = 'x'")
    with pytest.raises(Problem) as caught:
        load_config(config_file)
    assert len(str(caught.value).splitlines()) == 4


def test_what_is_missing_on_the_machine_is_reported_and_stops_nothing(config_file: Path, tmp_path: Path) -> None:
    repositories = 'title = "Rust"\nrepositories = ["~/gone", "~nobody-here/x*"]'
    config_file.write_text(config_file.read_text().replace('title = "Rust"', repositories))
    config = load_config(config_file)
    assert [str(finding) for finding in config.findings] == [
        f"opencode.databases: {tmp_path}/opencode.db: no opencode history there",
        "languages.rust.repositories: ~/gone: not there",
        "languages.rust.repositories: ~nobody-here/x*: not there",
    ]
    assert "rust" in config.languages


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such configuration file"), (b"[x", "read as TOML"), (b"\xff", "read as TOML")]
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Problem, match=message):
        load_config(path)


def test_the_configuration_at_the_top_is_whole() -> None:
    config = load_config(ROOT_CONFIG)
    assert list(config.languages) == ["rust", "ts", "python", "ruby", "swift"]
    assert config.base.model == "Qwen/Qwen3-Coder-Next" and config.serving.host == "127.0.0.1"
    assert not [finding for finding in config.findings if finding.fatal]


def test_patterns_expand_to_repositories_only(tmp_path: Path) -> None:
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "c.git" / "objects").mkdir(parents=True)
    (tmp_path / "c.git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert expand_repositories(f"{tmp_path}/*") == [tmp_path / "a", tmp_path / "c.git"]
    (tmp_path / "[wip] app" / ".git").mkdir(parents=True)
    assert expand_repositories(f"{tmp_path}/[wip] app") == [tmp_path / "[wip] app"], "it is there, so no pattern"


def test_where_opencode_keeps_its_history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_histories() == [Path.home() / ".local/share/opencode/opencode.db"]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_histories() == [tmp_path / "opencode/opencode.db"]
    (tmp_path / "opencode/storage/session").mkdir(parents=True)
    for name, content in (("opencode-beta.db", "SQLite"), ("opencode-unused.db", ""), ("other.db", "SQLite")):
        (tmp_path / "opencode" / name).write_text(content)
    (tmp_path / "opencode" / "opencode-gone.db").symlink_to("gone")
    assert [path.name for path in default_histories()] == ["opencode-beta.db", "storage"]
    monkeypatch.setenv("OPENCODE_DB", "/x/y.db")
    assert default_histories() == [Path("/x/y.db")]
