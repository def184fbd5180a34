"""The documentation is as old as the code: the reference is the one that would be generated now."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from types import ModuleType

import pytest
from conftest import ROOT
from specialists import tables

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(generate: ModuleType) -> None:
    message = "run `python docs/generate.py`"
    assert generate.TARGET.read_text(encoding="utf-8") == generate.reference(), message


def test_every_key_stands_in_it_with_its_default_and_bounds(generate: ModuleType) -> None:
    text = generate.reference()
    keys = {
        item.name
        for kind in vars(tables).values()
        if dataclasses.is_dataclass(kind)
        for item in dataclasses.fields(kind)
        if item.metadata
    }
    assert keys == set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    for row in (
        "| `port` | a whole number, at least 1 | `8000` | Port. |",
        "| `adapter` | a string | **needed** | Name of the adapter and of the opencode agent. |",
        '| `quantization` | `nf4` `none` | `"nf4"` | How the frozen base is held. |',
        "| `env` | table of strings | `{}` | Environment of the vLLM process. |",
    ):
        assert row in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document) -> None:
    text = document.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (document.parent / target.partition("#")[0]).exists(), target
