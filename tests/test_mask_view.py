"""Showing a row: what is coloured is what is supervised, and nothing in a row steers the terminal."""

import importlib
from pathlib import Path

import pytest
import tiny_models
from conftest import invoke
from specialists.chat import Chat
from specialists.records import make_record, write_records


@pytest.fixture
def project(config_file: Path) -> Path:
    tiny_models.save_tokenizer(config_file.parent / "base")
    write_records(config_file.parent / "data" / "train" / "rust.jsonl", tiny_models.rows(3, "rust"))
    return config_file


def test_what_is_marked_is_what_is_supervised(project: Path) -> None:
    row = tiny_models.rows(3, "rust")[1]
    done = invoke("show-mask", project, row["id"][:8])
    marked = [part.split("⟧")[0] for part in done.stdout.split("⟦")[1:]]
    assert [text.endswith("<|im_end|>") for text in marked] == [True, True]
    assert '"return x"' in marked[0] and marked[1] == "the quick brown fox<|im_end|>"
    encoded = Chat.load(str(project.parent / "base")).encode(row)
    assert f"train/rust.jsonl: {len(encoded.input_ids)} tokens, {encoded.supervised} with loss" in done.stderr


def test_rows_cannot_steer_what_shows_them(project: Path) -> None:
    nasty = "\x1b]0;title\x07"
    messages = [{"role": "user", "content": nasty}, {"role": "assistant", "content": nasty + "\nsecond", "weight": 1}]
    shown = importlib.import_module("show-mask").marked(
        Chat.load(str(project.parent / "base")), make_record("rust", messages, [], {})
    )
    assert shown.count("�]0;title�") == 2
    assert "\x07" not in shown and shown.count("\x1b") == shown.count("\x1b[")
    assert shown.count("\x1b[30;42m") == shown.count("\x1b[0m") == 2


@pytest.mark.parametrize(("asked", "message"), [("ffff", "no such row under"), ("", "3 rows begin so")])
def test_a_row_that_is_not_there_or_not_the_only_one(project: Path, asked: str, message: str) -> None:
    done = invoke("show-mask", project, asked)
    assert done.exit_code == 1 and message in done.stderr
