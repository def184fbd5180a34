"""[owner] exclude: rows go, a version trained on them is never served again, and an entry means one thing."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from built_pipeline import files
from click.testing import Result
from conftest import invoke
from specialists.adapters import adapter_folder, decisions, is_decided, prune, record_decision
from specialists.config import Config, Problem, load_config
from specialists.exclusion import Exclusion
from specialists.records import make_record, read_records, write_records
from specialists.reporting.status import status
from specialists.serving.promotion import decide, rollback

SHA = "1a2b3c4d" * 5


def row(kind: str, **source: str) -> dict:
    messages = [{"role": "user", "content": str(source)}, {"role": "assistant", "content": "x", "weight": 1}]
    return make_record("rust", messages, [], {"kind": kind, "time": "2026-01-01T00:00:00Z", **source})


ROWS = {
    "session": row("session", session="ses_1abc"),
    "other session": row("session", session="ses_2abc"),
    "commit": row("commit", repository="tengu", commit=SHA),
    "other commit": row("commit", repository="visor", commit="2" * 40),
    "synthetic": row("synthetic", repository="tengu", commit="3" * 40),
}
TRAINED_ON = {"1": ["ses_2abc"], "2": ["ses_1abc", "ses_2abc"], "3": ["ses_1abc", f"tengu@{SHA}"]}


@pytest.fixture
def built(config_file: Path) -> Path:
    """Rows of all sources, and three versions that were promoted one after the other."""
    config_file.write_text(f"{config_file.read_text()}\n[assembly]\nheldout_clusters = 0\n[serving]\nport = 9\n")
    config = load_config(config_file)
    for folder, kinds in {"sessions": "session", "commits": "commit", "synthetic": "synthetic"}.items():
        write_records(config.rows(folder, "rust"), [row for row in ROWS.values() if row["source"]["kind"] == kinds])
    folder = adapter_folder(config, config.language("rust"))
    for name, clusters in TRAINED_ON.items():
        (folder.path / name).mkdir(parents=True)
        (folder.path / name / "manifest.json").write_text(json.dumps({"version": name, "clusters": clusters}))
        files(folder.path / name)
        (folder.path / name / "evaluation.json").write_text('{"verdict": "hold", "reason": "not proven"}')
        record_decision(folder, {"version": name, "verdict": "promote", "current": name, "reason": "better"})
    for link, name in {"latest": "3", "current": "3", "previous": "2"}.items():
        folder.point(link, folder.path / name)
    return config_file


def excluding(config_file: Path, *entries: str) -> Config:
    text = config_file.read_text().replace("synthetic = false", "synthetic = true", 1)
    config_file.write_text(text.replace("[owner]", f"[owner]\nexclude = {json.dumps(entries)}", 1))
    return load_config(config_file)


def assemble(config: Config) -> Result:
    return invoke("assemble", config.path, "--language", "rust")


def links(config: Config) -> list[str | None]:
    folder = adapter_folder(config, config.language("rust"))
    versions = (folder.latest, folder.current, folder.previous)
    return [version and version.name for version in versions]


CASES = {
    "a session": ("ses_1", {"session"}, ["1", "1", None]),
    "a commit": ("commit 1a2b3c4", {"commit"}, ["2", "2", None]),
    "a row": (f"row {row('commit', repository='tengu', commit=SHA)['id'][:8]}", {"commit"}, ["3", "3", "2"]),
    "a repository": ("repository tengu", {"commit", "synthetic"}, ["2", "2", None]),
    "what no version has seen": ("repository visor", {"other commit"}, ["3", "3", "2"]),
}


@pytest.mark.parametrize(("entry", "gone", "expected"), CASES.values(), ids=CASES)
def test_rows_go_and_no_version_trained_on_them_is_used(built, entry, gone, expected) -> None:
    config = excluding(built, entry)
    language = config.language("rust")
    folder = adapter_folder(config, language)
    unused = [name for name in TRAINED_ON if folder.unusable(folder.path / name)]
    assert links(config)[:2] == expected[:2], "at once, before anything ran"
    done = assemble(config)
    assert done.exit_code == 0, done.output
    kept = {record["id"] for record in read_records(config.rows("train", "rust"))}
    assert kept and not kept & {ROWS[name]["id"] for name in gone}

    prune(folder, 5)  # before the next run: what a link points to stays until then
    assert not is_decided(config, language) and links(config)[:2] == expected[:2]
    decide(config, language)
    assert is_decided(config, language) and links(config) == expected
    assert json.loads((built.parent / "data" / "excluded.json").read_text())
    verdicts = [decision["verdict"] for decision in decisions(folder)]
    assert verdicts == ["promote"] * 3 + ["retired"] * ("3" in unused) + ["hold"]
    notes = [line.split(": trained")[0] for line in status(config)["findings"] if "owner.exclude" in line]
    assert notes == [f"build-rust/{name}: never served" for name in unused]
    left = [name for name in unused if (folder.path / name).exists()]
    assert prune(folder, 5) == left and links(config) == expected


def test_a_retired_version_is_neither_promoted_nor_gone_back_to(built) -> None:
    config = excluding(built, "ses_2")
    language = config.language("rust")
    with pytest.raises(Problem, match=r"build-rust/2: trained on ses_2abc, which owner\.exclude names"):
        adapter_folder(config, language).version("2")
    assert rollback(config, language, "worse")["current"] is None and links(config) == ["3", None, "3"]


def test_steps_that_run_at_once_lose_nothing_of_what_was_left_out(config_file: Path) -> None:
    names = [f"ses_{number:07}" for number in range(16)]
    (config := excluding(config_file, *names)).paths.data.mkdir()

    def step(name: str) -> None:
        (exclusion := Exclusion(config)).covers({"kind": "session", "session": name})
        exclusion.note()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(step, names))
    assert json.loads((config.paths.data / "excluded.json").read_text()) == names


@pytest.mark.parametrize("kind", ["retired", "rolled back", "blocked"])
def test_only_what_was_promoted_takes_its_place(built, kind) -> None:
    config = excluding(built, "repository tengu")
    folder = adapter_folder(config, config.language("rust"))
    verdict = {"retired": "promote", "rolled back": "rollback", "blocked": "block"}[kind]
    record_decision(folder, {"version": "2", "verdict": verdict, "current": "3", "reason": "worse"})
    assert folder.current == folder.path / ("2" if kind == "retired" else "1")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("ses_9", "owner.exclude: 'ses_9': nothing of that name in histories, repositories and versions"),
        ("commit 9999999", "owner.exclude: 'commit 9999999': nothing of that name"),
        ("repository teng", "owner.exclude: 'repository teng': nothing of that name"),
        ("ses_1", "owner.exclude: 'ses_1': means ses_1abc, ses_1xyz; write more of the one that you mean"),
    ],
)
def test_an_entry_means_one_thing(built, entry, message) -> None:
    config = excluding(built, entry, "repository visor")
    write_records(config.rows("sessions", "rust"), [*ROWS.values(), row("session", session="ses_1xyz")])
    done = assemble(config)
    assert done.exit_code == 1 and message in done.stderr and "visor" not in done.stderr
    assert not config.rows("train", "rust").exists()
    with pytest.raises(Problem, match=r"owner\.exclude"):
        decide(config, config.language("rust"))
    assert adapter_folder(config, config.language("rust")).path.joinpath("current").readlink() == Path("3")


def test_an_entry_stays_known_when_nothing_is_left_of_it(built) -> None:
    config = excluding(built, "ses_1")
    assert assemble(config).exit_code == 0
    shutil.rmtree(config.paths.adapters)
    write_records(config.rows("sessions", "rust"), [ROWS["other session"]])
    assert assemble(config).exit_code == 0
