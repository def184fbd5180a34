"""A page of code in each of the five languages, with the same shapes in all of them (samples/code/)."""

from pathlib import Path

CODE = Path(__file__).parent / "samples" / "code"
LANGUAGES = "rust typescript python ruby swift".split()
SAMPLES = {f"tree_sitter_{name}": (CODE / f"{name}.txt").read_text(encoding="utf-8") for name in LANGUAGES}
FILES = {"rust": "shelf.rs", "ts": "shelf.ts", "python": "shelf.py", "ruby": "lib/shelf.rb", "swift": "Sources/A.swift"}
GRAMMARS = dict(zip(FILES, SAMPLES, strict=True))
