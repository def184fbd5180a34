"""Assembly: what is a duplicate, what is held out, what stays when there is too much; and that order never matters."""

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import git_repositories as repositories
import pytest
from conftest import invoke
from hypothesis import given
from hypothesis import strategies as st
from specialists.agent import ROOT, TOOLS
from specialists.config import Assembly, Problem, load_config
from specialists.dataset.assembly import WORK, Dataset, assemble, read_rows, split_by_time
from specialists.records import Record, cluster_of, make_record, read_records, tool_call, write_json, write_records

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "xi"]


def text(seed: object, lines: int = 8) -> str:
    """Made-up code that is unlike that of any other seed."""
    words = random.Random(str(seed))
    made = ((words.choice(WORDS), words.randrange(10**6), words.choice(WORDS)) for _ in range(lines))
    return "\n".join("let {}_{} = {};".format(*parts) for parts in made)


def row(seed: object, kind: str = "session", day: int = 1, cluster: str = "", request: str = "", **source) -> Record:
    """A record whose edit writes text(seed)."""
    name = cluster or f"{kind}-{seed}"
    where = {"session": name} if kind == "session" else {"repository": "demo", "commit": name}
    call = tool_call(0, "edit", {"filePath": "a.rs", "oldString": "x", "newString": text(seed)})
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": request or f"Please change {text(f'ask {seed}', 4)}"},
        {"role": "assistant", "content": "", "weight": 1, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": "Edit applied successfully."},
        {"role": "assistant", "content": "Done.", "weight": 1},
    ]
    time = f"2026-{1 + day // 28:02}-{1 + day % 28:02}T00:00:00Z"
    return make_record("rust", messages, TOOLS, {"kind": kind, "time": time, **where, **source})


def run(folder: Path, records: list[Record], bounds=(1, 1000), held: int | None = 0) -> Dataset:
    """Assemble records with so many clusters held out, those of the split; None: none, all were trained on before."""
    path = folder / "all.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    trained = [] if held is not None else [cluster_of(record) for record in records]
    return assemble(read_rows(path, "rust"), {"train": trained}, bounds, Assembly(held or 0))


def ids(rows) -> set[str]:
    return {row.id for row in rows}


def ids_of(records) -> set[str]:
    return {record["id"] for record in records}


CASES = {
    "the same row twice": ([row(1), row(1, day=2, cluster="copy")], 1, {"duplicate": 1}),
    "a session and its commit": ([row(1), row(1, "commit", request="other words")], 1, {"same change as a session": 1}),
    "another change": ([row(1, "commit"), row(2, "commit")], 2, {}),
    "a synthetic row without a gap": ([row(1), row(2, "synthetic")], 1, {"synthetic beyond its share or the gap": 1}),
}


@pytest.mark.parametrize(("records", "kept", "funnel"), CASES.values(), ids=CASES)
def test_what_is_left_out(tmp_path: Path, records: list[Record], kept: int, funnel: dict) -> None:
    dataset = run(tmp_path, records, held=None)
    assert (len(dataset.train), dict(dataset.funnel)) == (kept, funnel)


def test_near_duplicates_go_and_the_session_stays(tmp_path: Path) -> None:
    first, second = row("n", request="one way to ask"), row("n", "commit", request="and another way to ask for it")
    call = second["messages"][2]["tool_calls"][0]["function"]
    arguments = json.loads(call["arguments"])
    # other lines, the same tokens: not the same change by its lines, but a near duplicate
    arguments["newString"] = arguments["newString"].replace(" = ", "  =  ")
    call["arguments"] = json.dumps(arguments)
    dataset = run(tmp_path, [second, first], held=None)
    assert (ids(dataset.train), dataset.funnel) == ({first["id"]}, Counter({"near duplicate": 1}))


def test_training_rows_near_held_out_ones_leave(tmp_path: Path) -> None:
    question = text("question", 6)
    records = [row(number, day=number) for number in range(8)]
    records += [row("old", day=0, request=question), row("new", day=99, request=question)]
    dataset = run(tmp_path, records, held=1)
    assert ids(dataset.heldout) == {records[-1]["id"]}
    assert (records[-2]["id"] in ids(dataset.train), dataset.funnel["near a held-out example"]) == (False, 1)


def test_the_newest_whole_clusters_are_held_out(tmp_path: Path) -> None:
    records = [row(f"{day}-{part}", day=day, cluster=f"s{day:02}") for day in range(40) for part in range(2)]
    dataset = run(tmp_path, records)
    assert {r.cluster for r in dataset.heldout} == {"s35", "s36", "s37", "s38", "s39"}, "an eighth"
    assert len(dataset.heldout) == 10 and len(dataset.train) == 70


def test_short_rows_of_a_held_out_cluster_are_not_trained_on(tmp_path: Path) -> None:
    """Rows too short to be alike to any other."""
    messages = [{"role": "user", "content": "Go on"}, {"role": "assistant", "content": "", "weight": 1}]
    source = {"kind": "session", "session": "s9", "time": "2026-01-20T00:00:00Z"}
    short = [make_record("rust", [messages[0], {**messages[1], "content": f"Done {n}."}], [], source) for n in "abc"]
    records = [*short, *(row(number, day=number) for number in range(9))]
    dataset = run(tmp_path, records)
    assert ids(dataset.heldout) == ids_of(short) and not ids(dataset.train) & ids_of(short)


def test_sessions_and_commits_are_held_out_separately(tmp_path: Path) -> None:
    for sessions, commits, held in ((13, 80, (5, 10)), (10, 8, (5, 4)), (60, 1, (8, 0)), (0, 0, (0, 0))):
        records = [row(number, day=number) for number in range(sessions)]
        records += [row(f"c{number}", "commit", day=number) for number in range(commits)]
        kinds = Counter(row.kind for row in run(tmp_path, records, held=5).heldout)
        assert (kinds["session"], kinds["commit"]) == held


@pytest.mark.parametrize(("least", "kept"), [(1, 4), (10, 4), (11, 20)])
def test_commits_take_their_share_where_there_are_sessions_enough(tmp_path: Path, least: int, kept: int) -> None:
    records = [*(row(number) for number in range(10)), *(row(f"c{number}", "commit") for number in range(20))]
    dataset = run(tmp_path, records, bounds=(least, 1000), held=None)
    assert Counter(r.kind for r in dataset.train) == {"session": 10, "commit": kept}


def test_synthetic_rows_fill_the_gap_and_inherit_the_split(tmp_path: Path) -> None:
    def made_from(number: int) -> Record:  # shows a line of commit number, as `read` shows it
        line = text(number).splitlines()[2]
        return row(f"m{number}", "synthetic", commit="head", request=f"Repair it please:\n12: {line}\n{text('m', 1)}")

    work = [row(number, "commit", day=number) for number in range(8)]
    made = [made_from(number) for number in range(8)]
    dataset = run(tmp_path, work + made, bounds=(10, 50), held=2)
    assert Counter(r.kind for r in dataset.train) == {"commit": 6, "synthetic": 4}
    assert {r.cluster for r in dataset.heldout} == {"demo@commit-6", "demo@commit-7"}
    assert dataset.funnel["synthetic from held-out code"] == 2
    assert not ids(dataset.train) & {made[6]["id"], made[7]["id"]}
    more = [row(f"more {number}", "synthetic", commit="head") for number in range(10)]
    dataset = run(tmp_path, work + more, bounds=(50, 50), held=2)
    assert Counter(r.kind for r in dataset.train) == {"commit": 6, "synthetic": 6}, "at most half"


def test_rollouts_fill_up_to_min_examples_before_commits_and_inherit_the_split(tmp_path: Path) -> None:
    commits = [row(number, "commit", day=number) for number in range(8)]
    again = [row(f"r{number}", "rollout", cluster=f"commit-{number}", day=number) for number in range(8)]
    sessions = [row(f"s{number}", day=0) for number in range(4)]
    dataset = run(tmp_path, sessions + commits + again, bounds=(5, 8), held=2)
    assert Counter(r.kind for r in dataset.train) == {"session": 2, "rollout": 3, "commit": 3}
    assert {r.cluster for r in dataset.heldout if r.kind != "session"} == {"demo@commit-6", "demo@commit-7"}
    assert {r.cluster for r in dataset.train if r.kind == "rollout"} == {f"demo@commit-{n}" for n in (3, 4, 5)}


def test_synthetic_rows_stay_when_the_commit_that_they_were_made_at_is_held_out(tmp_path: Path) -> None:
    work = [row(number, "commit", day=number) for number in range(8)]
    made = [row(f"m{number}", "synthetic", commit="commit-7") for number in range(3)]  # the newest, as HEAD always is
    dataset = run(tmp_path, work + made, bounds=(50, 50), held=2)
    assert Counter(r.kind for r in dataset.train) == {"commit": 6, "synthetic": 3}


@pytest.mark.parametrize(("second", "commits", "over"), [("other", 11, 32), ("demo", 18, 0)])
def test_too_much_is_cut_to_the_best_with_shares(tmp_path: Path, second: str, commits: int, over: int) -> None:
    giant = [row(f"g{n}", cluster="giant", day=50) for n in range(30)]
    gone = [row(f"d{n}", "commit", survives=0.0) for n in range(30)]
    there = [row(f"a{n}", "commit", survives=1.0, tests=True) for n in range(12)]
    last = row("b", "commit", repository=second, survives=1.0)
    dataset = run(tmp_path, [*giant, *gone, *there, last], bounds=(3, 20), held=None)
    assert Counter(r.cluster for r in dataset.train)["giant"] == 2
    assert Counter(r.kind for r in dataset.train) == {"session": 2, "commit": commits}
    assert sum(r.score == 1.25 for r in dataset.train) == min(12, commits - 1), "the best first"
    assert dataset.funnel["over the share of a session or commit"] == 28
    assert dataset.funnel["over the share of a repository"] == over


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=25), st.randoms(use_true_random=False))
def test_order_never_matters_and_no_cluster_is_on_both_sides(tmp_path_factory, drawn, shuffler) -> None:
    folder = tmp_path_factory.mktemp("order")
    records = [row(seed, WORK[seed % 2], day, cluster=f"s{seed % 9}") for seed, day in drawn]
    first = run(folder, records)
    shuffler.shuffle(records)
    second = run(folder, records)
    assert [r.id for r in first.train] == [r.id for r in second.train] and first.split == second.split
    assert not {r.cluster for r in first.train} & {r.cluster for r in first.heldout}


@given(st.lists(st.lists(st.integers(0, 80), max_size=12), max_size=6))
def test_no_cluster_ever_changes_sides(runs: list[list[int]]) -> None:
    known, seen = {}, []
    for seeds in runs:
        seen += [SimpleNamespace(cluster=f"c{seed:02}", time=f"{seed:03}", kind=WORK[seed % 2]) for seed in seeds]
        after = split_by_time(seen, known, Assembly(heldout_clusters=3))
        assert set(known.get("heldout", ())) <= set(after["heldout"])
        assert set(known.get("train", ())) <= set(after["train"])
        assert not set(after["heldout"]) & set(after["train"])
        known = after


BAD_INPUT = {
    "no record": ("{", "all.jsonl:1: not a record"),
    "other language": (json.dumps({**row(1), "language": "go"}), "all.jsonl: row \\w+: of 'go' among those of 'rust'"),
    "other kind": (json.dumps({**row(1), "source": {"kind": "x", "time": "1"}}), "source.kind is 'x'"),
}


@pytest.mark.parametrize(("line", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "all.jsonl").write_text(line + "\n")
    with pytest.raises(Problem, match=message.replace(".", r"\.").replace("(", r"\(")):
        read_rows(tmp_path / "all.jsonl", "rust")


def test_the_script_writes_rows_split_and_summary_once(config_file: Path) -> None:
    data = config_file.parent / "data"
    write_records(data / "sessions/rust.jsonl", [row(n, day=n) for n in range(9)])
    write_records(data / "commits/rust.jsonl", [row(f"c{n}", "commit", day=n, type="refactor") for n in range(9)])
    done = invoke("assemble", config_file, "--language", "rust", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["train"] == {"session": 5, "commit": 2, "rollout": 0, "synthetic": 0}
    assert summary["funnel"] == {"commits beyond their share": 3}
    assert sum(summary["heldout"].values()) == 8 and summary["tokens"]["supervised"] is None
    written = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    (first, *_others) = read_records(data / "train/rust.jsonl")
    assert summary["work"] == {"refactor": 2} and summary["sha256"]
    done = invoke("assemble", config_file, "--language", "rust", "--explain", first["id"][:8])
    assert done.exit_code == 0 and f"{first['id']}: trained on" in done.stdout and "2026-01-" in done.stdout
    assert invoke("assemble", config_file, "--language", "rust").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_what_a_project_kept_decides_a_score_and_a_split_that_starves_a_kind_is_named(config_file: Path) -> None:
    data, split = config_file.parent / "data", config_file.parent / "data/heldout/rust.split.json"
    commits = [repositories.Made("Write", {"a.rs": text(name)}) for name in ("gone", "kept", "other")]
    repository = repositories.make(config_file.parent / "demo", [])
    repositories.add(repository, commits, start=1_770_679_800)  # 2026-02-09 at 23:30, and two on the 10th
    table = "[languages.rust]\n"
    config_file.write_text(config_file.read_text().replace(table, f'{table}repositories = ["{repository}"]\n'))
    rows = [row(name, day=day, project="demo") for name, day in (("kept", 36), ("gone", 37), ("new", 60), ("other", 0))]
    write_records(data / "sessions/rust.jsonl", [*rows, *(row(name) for name in "abcde")])
    write_records(data / "commits/rust.jsonl", [])
    trained, held = ([f"session-{name}" for name in names] for names in (("kept", "gone", "new", "other"), "abcde"))
    write_json(split, {"train": trained, "heldout": held})
    done = invoke("assemble", config_file, "--language", "rust", "--json")
    assert done.exit_code == 3 and f"{split}: most sessions are held out; for a new split" in done.stderr
    scores = json.loads(done.stdout)["scores"]
    assert [scores[row["id"]] for row in rows] == [1.0, 0.5, 1.0, 1.0], "what is newer than all commits is not judged"


def test_heads_are_put_on_and_edits_of_what_a_row_does_not_show_are_context(config_file: Path) -> None:
    config = load_config(config_file)
    rows = [row(n, day=n, request=f"Change x: {text(n)}") for n in range(40)]
    rows[0]["messages"][1]["content"] = "Change it"
    rows.append(row(40, day=40, request="Change the other"))
    del rows[-1]["messages"][3:]  # with nothing left to learn
    write_records(config.rows("sessions", "rust"), rows)
    write_records(config.rows("commits", "rust"), [])
    described = [{**tool, "function": {**tool["function"], "description": "prose"}} for tool in TOOLS]
    heads: dict[str, list[tuple]] = {}
    sent = {"tools": TOOLS, "described": described, "system": "\nmodel {adapter}"}
    for capture, share in (({}, 1), (sent, 1), (sent, 0.25)):
        if share < 1:
            assert {*map(str, heads["train"])} == {str(("model build-rust", described))}, "all, by default"
            config_file.write_text(f"{config_file.read_text()}\n[assembly]\nwhole_heads = {share}\n")
        write_json(config.tools_file, capture)
        assert invoke("assemble", config_file, "--language", "rust").exit_code == 0
        for part in ("train", "heldout"):
            made = [*read_records(config.rows(part, "rust"))]
            assert {one["id"] for one in made} < {one["id"] for one in rows[:-1]}
            heads[part] = [(one["messages"][0]["content"].partition("\n")[2], one["tools"]) for one in made]
            assert all(one["messages"][2]["weight"] == (one["id"] != rows[0]["id"]) for one in made)
        if not capture:
            assert all(head == (f"Working directory: {ROOT}", TOOLS) for some in heads.values() for head in some)
    assert all(head == ("model build-rust", described) for head in heads["heldout"])
    assert 2 < heads["train"].count(("model build-rust", described)) < len(heads["train"]) // 2


def test_the_script_joins_the_files_that_it_is_given(config_file: Path, tmp_path: Path) -> None:
    kinds = {"sessions": "session", "commits": "commit", "rollouts": "rollout", "synthetic": "synthetic"}
    for folder, kind in kinds.items():
        write_records(tmp_path / f"{folder}.in", [row(f"{kind} {n}", kind, day=n) for n in range(4)])
    named = [part for name in kinds for part in (f"--{name}", str(tmp_path / f"{name}.in"))]
    out = {name: tmp_path / "out" / f"{name}.jsonl" for name in ("train", "heldout")}
    options = [part for name, path in out.items() for part in (f"--{name}", str(path))]
    done = invoke("assemble", config_file, "--language", "rust", *named, *options, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["read"] == dict.fromkeys(kinds.values(), 4)
    assert all(list(read_records(path)) for path in out.values()) and (tmp_path / "out/heldout.split.json").exists()
    assert not (config_file.parent / "data").exists()


@pytest.mark.parametrize(
    ("language", "written", "message"),
    [
        ("go", (), "no language 'go'; there are rust"),
        ("rust", (), "sessions/rust.jsonl: No such file or directory; the step before makes it"),
        ("rust", ("sessions", "commits"), "rust.split.json: cannot be read"),
    ],
)
def test_the_scripts_errors(config_file: Path, language: str, written: tuple[str, ...], message: str) -> None:
    data = config_file.parent / "data"
    for kind in written:
        write_records(data / kind / "rust.jsonl", [row(kind)])
    (data / "heldout").mkdir(parents=True)
    (data / "heldout/rust.split.json").write_text("{")
    done = invoke("assemble", config_file, "--language", language)
    assert done.exit_code == 1 and message in done.stderr and not (data / "train/rust.jsonl").exists()
