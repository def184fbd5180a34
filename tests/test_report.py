"""The report: whole with everything there and with nothing there, escaped, the same for the same inputs, small."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from built_pipeline import built, decided, evaluated, version, write
from conftest import invoke
from specialists.adapters import adapter_folder
from specialists.cli import say
from specialists.evaluation import gate
from specialists.records import read_records, write_records
from specialists.reporting import report
from specialists.serving import effect

LONG = [{"role": "user", "content": "<img src=x>" + "x" * 10**4}, {"role": "assistant", "content": "y" * 10**5}] * 9
NAME = "20261123-091500-1a2b3c4d"
SHARES = {"base": 0.25, "incumbent": 0.5, "adapter": 0.75}


class Page(HTMLParser):
    """Reads a page, demanding that every tag is closed in order; keeps text, tags and attributes."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.handle_startendtag(tag, attrs)
        self.open += [] if tag in ("meta", "br") else [tag]

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += [data] if self.open and self.open[-1] != "style" else []


def page_of(config_file: Path) -> tuple[str, Page]:
    done = invoke("report", config_file, "--json")
    assert done.exit_code == 0, done.output
    html = Path(json.loads(done.stdout)["report"]).read_text(encoding="utf-8")
    return html, Page(html)


def test_everything_is_there(config_file: Path) -> None:
    built(config_file)
    _html, page = page_of(config_file)
    for words in (
        "1.500 → 1.200 (-20.0%)",
        "-0.400 to -0.200",
        "answered by the version of 2026-11-23 09:15",
        "Ruby: train: never trained",
        "~/gone: not there",
        "lost: failed edit",
        "36 of 3 to 50 that are wanted",
        "Longest 7,900 tokens, of which at most 8,192 after the head",
        "1,048,576",
        "13 min, 3.0 GiB",
        'read {"filePath": "README.md"}',
        "as of 2026-11-23 09:20 UTC",
    ):
        assert words in page.words, words
    assert page.tags.count("svg") == 1 + 3  # intervals, curves


def test_what_else_was_measured_stands_beside_the_loss(config_file: Path) -> None:
    """From an evaluation as evaluate.py writes it."""
    config = built(config_file)
    latest = adapter_folder(config, config.language("rust")).latest
    nll, parts = {"base": 20.0, "adapter": 10.0}, {"tokens": 4, "nll": {"base": 8.0, "adapter": 5.0, "prompt": 5.0}}
    row = {"tokens": 10, "nll": nll, "parts": {"changed": parts}, "other": {"base": 8.4, "adapter": 5.8}}
    rows = [{"id": str(n), "cluster": str(n), **row} for n in range(8)]
    rates = {**dict.fromkeys(("called", "valid", "edited", "parses"), True), "similarity": 0.5, "leak": []}
    answers = {
        model: [{"id": row["id"], **rates, "applies": applies, "request": "Fix <it>", "text": text} for row in rows]
        for model, applies, text in (("base", 0.75, "I would"), ("adapter", 1.0, "Done"))
    }
    result = gate.verdict(rows, config.evaluation, rows, answers) | {
        "answers": answers,
        "prompts": {"prompt": "Use <b>"},
    }
    again = {arm: dict.fromkeys(("passed", "recall", "steps", "tokens"), share) for arm, share in SHARES.items()}
    write(latest / "evaluation.json", {**result, "measurements": rows, "rollouts": {"tasks": 4, **again}})
    runs = {"base": {"passed": False, "diff": "-<a>"}, "adapter": {"passed": True, "diff": "+<b>"}}
    known = {"ended": "done", "recall": 0.5, "steps": 4}
    done = {"request": "Fix half", "runs": {arm: {**known, **run} for arm, run in runs.items()}}
    write(latest / "rollouts.json", [done])
    write(latest / effect.EFFECT, {"server": "x", "faults": []})
    _html, page = page_of(config_file)
    for words in (
        "loss on lines that you changed 2.000 1.250",
        "should not forget 2.000 1.000 -1.000 to -1.000, 8",
        "skill: how much more of it there is behind another request 0.100 0.200 -0.100 to -0.100, 8",
        "the base with your instructions 1.250 1.250",
        "edits that apply 75% 100%",
        "answers with a call that holds 100% 100% +0.000 to +0.000, 8",
        "likeness to your own edit 50% 50%",
        "Of 8 held-out sessions and commits better in 8, worse in 0.",
        "for the end of AGENTS.md Use <b>",
        "Fix <it> Base I would Specialist Done",
        "Base: tests fail, 50% of your lines, 4 steps -<a> Specialist: tests pass, 50% of your lines, 4 steps +<b>",
        "held-out commits done again so that your tests pass 25% 75%",
        "your tests pass; in place of the base: the version before it 50% 75%",
        "Rather the specialist than the base, if not the prompt below.",
        "The server applies it as it was evaluated.",
        "Not tried in a server yet.",
    ):
        assert words in page.words, words
    assert "exactly your own edit" not in page.words
    write(latest / effect.EFFECT, {"server": "x", "faults": ["the server answers as the base does"]})
    assert "In the server: the server answers as the base does." in page_of(config_file)[1].words


def test_a_folder_that_cannot_be_written_is_named(config_file: Path) -> None:
    (config_file.parent / "reports").write_text("a file")
    result = invoke("report", config_file)
    assert result.exit_code == 1 and "Error: " in result.stderr and str(config_file.parent / "reports") in result.stderr


def test_nothing_there_is_no_failure(config_file: Path) -> None:
    _html, page = page_of(config_file)
    assert "Nothing evaluated yet." in page.words and "as of" not in page.words
    assert page.words.count("Not trained yet.") == 5


def test_the_same_inputs_give_the_same_bytes_and_touch_nothing(config_file: Path) -> None:
    reports = built(config_file).paths.reports
    page_of(config_file)
    before = {path: path.stat().st_mtime_ns for path in reports.iterdir()}
    page_of(config_file)
    assert before == {path: path.stat().st_mtime_ns for path in reports.iterdir()}
    assert json.loads((reports / "status.json").read_text())["languages"]["rust"]["verdict"] == "promote"


def test_no_network_and_no_script(config_file: Path) -> None:
    built(config_file)
    html, page = page_of(config_file)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\(|javascript:", html)
    assert not [name for name, _value in page.attributes if name.startswith("on")]
    targets = {value for name, value in page.attributes if name == "href"}
    pages = {f"examples-{path.stem}.html" for path in (config_file.parent / "data/train").glob("*.jsonl")}
    assert targets <= {f"#{value}" for name, value in page.attributes if name == "id"} | pages


def test_what_comes_from_data_is_escaped(config_file: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    config_file.write_text(config_file.read_text().replace('title = "Rust"', f"title = '''{evil}'''"))
    config = built(config_file)
    path = config.paths.adapters / "build-rust" / NAME / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["reason"] = evaluation["measurements"][0]["cluster"] = evil
    write(path, evaluation)
    write(config.paths.reports / "answers.json", {"answers": [{"model": "build-rust", "kind": "text", "shown": evil}]})
    write(config.paths.data / "commits" / "rust.summary.json", {"funnel": {evil: 3}, "problems": [evil]})
    html, page = page_of(config_file)
    assert "<img" not in html
    assert page.words.count("<img src=x onerror=alert(1)>") >= 6


def test_numbers_that_are_not_finite_do_not_break_the_page(config_file: Path) -> None:
    config = built(config_file)
    path = config.paths.adapters / "build-rust" / NAME / "evaluation.json"
    evaluation = json.loads(path.read_text())
    for row in evaluation["measurements"]:
        row["nll"]["adapter"] = math.nan
    write(path, evaluation | {"loss": None, "verdict": "block", "reason": "the adapter's loss is not finite"})
    html, page = page_of(config_file)
    assert "block , the adapter's loss is not finite" in page.words and "nan" not in html.lower()


def test_no_text_from_outside_steers_a_terminal_or_a_page(config_file: Path, capsys: pytest.CaptureFixture) -> None:
    nasty = "\x1b]0;owned\x07 \x9b31m \u202egpj.exe"
    config = built(config_file)
    write(config.paths.data / "commits" / "ts.summary.json", {"problems": [f"{nasty}: not there"]})
    html, _page = page_of(config_file)
    say(f"Server: {nasty}\n\tdone")
    for text in (html, capsys.readouterr().err):
        assert "owned" in text and not re.search("[\x1b\x07\x9b\u202e]", text)


@pytest.mark.parametrize("name", ["manifest.json", "evaluation.json", "../promotions.jsonl"])
def test_half_a_file_is_as_good_as_none(config_file: Path, name: str) -> None:
    path = built(config_file).paths.adapters / "build-rust" / NAME / name
    path.write_text(path.read_text()[:-20])
    assert "Rust" in page_of(config_file)[1].words


def test_a_year_of_nightly_runs_stays_small(config_file: Path) -> None:
    config = built(config_file)
    for day in range(60):
        path = version(config, f"202612{day % 28 + 1:02}-{day:02}1500-1a2b3c4d", "rust", steps=3000)
        evaluated(config, path, "rust")
        decided(config, path, "rust")
    html, page = page_of(config_file)
    assert "and 41 older ones" in page.words
    assert html.count('<td title="') == 20 + 1 + 1, "Rust's newest, TypeScript's one, Python's one"
    assert len(html) < 100_000


def test_examples_show_what_is_learned_of_the_best_and_the_worst(config_file: Path) -> None:
    config = built(config_file)
    rows, summary = [*read_records(path := config.rows("train", "rust"))], path.with_suffix(".summary.json")
    scores = {row["id"]: number for number, row in enumerate(rows)}
    write(summary, {**json.loads(summary.read_text()), "scores": scores})
    page_of(config_file)
    html = (config.paths.reports / "examples-rust.html").read_text()
    assert re.findall(r"row (\w{16}), score", html) == [*reversed(scores)] and "session ses_1" in Page(html).words
    assert {*re.findall("<mark>(.*?)</mark>", html, re.S)} == {"Better.\nedit\nx / 2"} and "Bad." not in html
    write_records(path, [{**row, "id": f"{n}{row['id']}", "messages": LONG} for n in range(9) for row in rows])
    page_of(config_file)
    html = (config.paths.reports / "examples-rust.html").read_text()
    assert len(html) < 400_000 and "<img" not in html and Page(html).words.count("<img src=x>") >= 40


@pytest.mark.parametrize(
    ("losses", "title"),
    [
        ([[1, 2.5]], "from 2.500 to 2.500"),
        ([[1, 2.0], [2, 2.0]], "from 2.000 to 2.000"),
        ([[1, 2.0], [2, math.nan], [3, 1.0]], "from 2.000 to 1.000"),
        ([[step, 20 / step] for step in range(1, 5001)], "over 5000 steps"),
        ([], None),
        ([[1, math.inf]], None),
    ],
)
def test_curves_of_few_bad_or_many_points_stay_in_their_frame(losses: list, title: str | None) -> None:
    figure = report.loss_curve(losses)
    assert figure is None if title is None else title in figure["title"]
    points = figure["points"] if figure else []
    assert len(points) <= 240 and all(0 <= x <= report.WIDTH and 0 <= y <= 131 for x, y in points)
