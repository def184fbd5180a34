"""Versions: never half there, never overwritten, and links that always point to a whole one."""

from pathlib import Path

import pytest
from built_pipeline import files
from specialists import adapters
from specialists.adapters import AdapterFolder, base_fingerprint
from specialists.config import Problem


def make_version(folder: AdapterFolder, name: str) -> Path:
    path = folder.path / name
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(f'{{"version": "{name}"}}')
    files(path)
    return path


def test_a_killed_training_is_found_again_and_one_of_other_inputs_is_removed(tmp_path: Path) -> None:
    folder = AdapterFolder(tmp_path)
    (folder.building("one") / "checkpoint").touch()
    assert (folder.building("one") / "checkpoint").exists()
    folder.building("two")
    assert not (tmp_path / ".building-one").exists()
    assert folder.versions() == []


def test_a_link_to_half_a_version_is_no_version(tmp_path: Path) -> None:
    folder = AdapterFolder(tmp_path)
    (tmp_path / "1").mkdir()
    folder.point("current", tmp_path / "1")
    assert folder.current is None
    make_version(AdapterFolder(tmp_path.parent / "other"), "1")
    with pytest.raises(Problem, match="no such version; there are none"):
        folder.version("../other/1")
    with pytest.raises(Problem, match="no such version; there are none"):
        folder.version("1")


def test_lines_that_are_no_decision_are_left_out(tmp_path: Path) -> None:
    line = b'{"version": "1", "verdict": "hold"}\n'
    (tmp_path / "promotions.jsonl").write_bytes(b"[]\nnull\n{}\n\xff\n" + line + line[:20])
    assert adapters.decisions(AdapterFolder(tmp_path)) == [{"version": "1", "verdict": "hold"}]


def test_a_base_is_told_by_its_content_not_its_place(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "base").mkdir(parents=True)
        (tmp_path / place / "base" / "config.json").write_text("{}")
        (tmp_path / place / "base" / "model.safetensors").write_bytes(b"weights")
    first = base_fingerprint(str(tmp_path / "a" / "base"))
    assert first == base_fingerprint(str(tmp_path / "b" / "base"))
    (tmp_path / "b" / "base" / "model.safetensors").write_bytes(b"weightz")
    base_fingerprint.cache_clear()
    assert first != base_fingerprint(str(tmp_path / "b" / "base"))
    assert base_fingerprint("Org/Model", "r1") != base_fingerprint("Org/Model", "r2")
