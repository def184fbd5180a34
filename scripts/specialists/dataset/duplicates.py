"""Near duplicates: MinHash finds who may be alike (rensa), the exact Jaccard index decides.

What is asked and what is answered are compared apart: two commits to one function show the same code and change it
differently; a cherry-pick shows other code and changes it the same. Recall and precision: benchmarks/assemble.
"""

import re
from collections.abc import Callable
from typing import Any

SIMILARITY = 0.7  # Jaccard index from which on two sides are alike
WIDTH = 5  # tokens of a shingle
LEAST = 12  # shingles under which likeness says nothing: "cargo test", "fix the typo"
PERMUTATIONS = 128
BANDS = 32  # 4 rows each: a pair at 0.7 is found with 1 - (1 - 0.7^4)^32 = 99.98 %
_TOKEN = re.compile(r"\w+|[^\w\s]")


def shingles(text: str) -> frozenset[str]:
    """The runs of five tokens in a text."""
    tokens = _TOKEN.findall(text)
    return frozenset(map(" ".join, zip(*(tokens[start:] for start in range(WIDTH)), strict=False)))


class Neighbours:
    """Items to which others can be near, by the shingles of prompt and target that `sides(item)` gives."""

    def __init__(self, sides: Callable[[Any], tuple[frozenset[str], ...]]):
        from rensa import RMinHash, RMinHashLSH

        self._shingles = sides
        self._minhash = lambda side: RMinHash.from_token_sets([side], PERMUTATIONS, 17)[0]
        self._items: list[Any] = []
        self._index = [RMinHashLSH(SIMILARITY, PERMUTATIONS, BANDS) for _side in range(2)]

    def add(self, item: Any) -> None:
        """Have later items compared with this one."""
        for index, side in zip(self._index, self._shingles(item), strict=True):
            if len(side) >= LEAST:
                index.insert(len(self._items), self._minhash(side))
        self._items.append(item)

    def near(self, item: Any, either: bool) -> bool:
        """Whether an added item is at least as similar as the limit: by prompt or target, or (not either) by target."""
        sides = self._shingles(item)
        for side in (0, 1) if either else (1,):
            own = sides[side]
            for number in self._index[side].query(self._minhash(own)) if len(own) >= LEAST else ():
                other = self._shingles(self._items[number])[side]
                if len(own & other) / len(own | other) >= SIMILARITY:
                    return True
        return False
