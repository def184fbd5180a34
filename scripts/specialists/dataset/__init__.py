"""Rows joined: duplicates, split, shares, assembly."""

from pathlib import Path

# plain chat and languages that no specialist is trained on, the same for ever: what an adapter forgets
FROZEN = Path(__file__).with_name("frozen.jsonl")
