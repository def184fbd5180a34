"""From all examples of a language to what is trained on and what is held out.

Exact duplicates go -> a commit that a session already shows goes -> clusters are split by time -> near neighbours of
held-out rows leave training -> near duplicates go -> shares, caps and max_examples. Rows stay on disk, a few hundred
bytes of each in memory; the order of the inputs decides nothing. The split beside the held-out rows has every cluster
that was ever held out or trained on, so that no example moves from one to the other as new work comes in.
"""

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any

from specialists.agent import NEW_CODE, without_line_numbers
from specialists.config import Assembly, Problem
from specialists.exclusion import Exclusion
from specialists.records import SOURCES, Record, calls_of, cluster_of, is_target, located_records

SIMILARITY = 0.7  # Jaccard index from which on two sides are alike
WIDTH = 5  # tokens of a shingle
LEAST = 12  # shingles under which likeness says nothing: "cargo test", "fix the typo"
PERMUTATIONS = 128
BANDS = 32  # 4 rows each: a pair at 0.7 is found with 1 - (1 - 0.7^4)^32 = 99.98 %
_TOKEN = re.compile(r"\w+|[^\w\s]")
KINDS = tuple(SOURCES)
WORK = ("session", "commit")  # the owner's own: it alone is held out
HELDOUT = 1 / 8  # share of the sessions and of the commits, the newest of each, that is held out
SYNTHETIC = 0.5  # of the training rows at most
COMMITS = 0.3  # of what sessions and commits teach at most, where there are min_examples of sessions
CLUSTER, REPOSITORY = 0.1, 0.5  # shares of max_examples that one session or commit, one repository may take
SAME_CHANGE = 0.8  # share of a commit's added lines that one session wrote, from which on they are the same change
MONTH = 30 * 24 * 3600  # seconds
_LINE = 12  # shorter lines ("}", "else:", "return") say nothing about where they come from


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is kept in memory of a record."""

    id: str
    kind: str
    time: str
    cluster: str
    repository: str  # its name; of a session the project's, mostly the same
    score: float
    content: bytes  # hash over what the model is asked and what it should say
    added: frozenset[int]  # hashes of the lines that its edits add
    said: int  # characters that are learned
    file: Path
    offset: int

    @property
    def order(self) -> tuple[str, str]:
        return self.time, self.id

    def record(self) -> Record:
        """The whole record, read again from its file."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return json.loads(file.readline())


Lost = list[tuple[Row, str]]  # rows that were left out, and why
Split = dict[str, list[str]]  # {"heldout": clusters, "train": clusters}, all that ever were


@dataclass
class Dataset:
    """Rows to train on and rows held out, with what was left out and why."""

    train: list[Row]
    heldout: list[Row]
    split: Split
    lost: Lost

    @property
    def funnel(self) -> Counter[str]:
        """How many rows were left out, by reason."""
        return Counter(reason for _row, reason in self.lost)


def read_rows(path: Path, language: str, exclusion: Exclusion | None = None) -> list[Row]:
    """The rows of a file of records, excluded ones aside. Raises Problem for what is no record of this language."""
    rows = []
    for offset, record in located_records(path):
        id, source = record["id"], record["source"]
        if record["language"] != language:
            raise Problem(f"{path}: row {id}: of {record['language']!r} among those of {language!r}")
        if (kind := source["kind"]) not in KINDS:
            raise Problem(f"{path}: row {id}: source.kind is {kind!r}")
        if exclusion and exclusion.covers({**source, "row": id}):
            continue
        shown, said = texts(record)
        content = blake2b(f"{shown}\0{said}".encode("utf-8", "replace"), digest_size=16).digest()
        where = cluster_of(record), source.get("repository") or source.get("project") or ""
        added = added_lines(record)
        rows.append(Row(id, kind, source["time"], *where, score(source), content, added, len(said), path, offset))
    return rows


def texts(record: Record) -> tuple[str, str]:
    """What the model is shown (requests, tool results, earlier turns) and what it should say, as plain text."""
    prompt, target = list[str](), list[str]()
    for message in (message for message in record["messages"] if message["role"] != "system"):
        side = target if is_target(message) else prompt
        side.append(message.get("content") or "")
        for name, arguments in calls_of(message):
            side += [name, *map(str, arguments.values())]
    return "\n".join(prompt), "\n".join(target)


def added_lines(record: Record) -> frozenset[int]:
    """Hashes of the lines that a record's edits and writes add, short ones aside."""
    added: set[int] = set()
    for name, arguments in (call for message in filter(is_target, record["messages"]) for call in calls_of(message)):
        if written := NEW_CODE.get(name):
            added |= line_hashes(arguments.get(written)) - line_hashes(arguments.get("oldString"))
    return frozenset(added)


def line_hashes(text: Any) -> set[int]:
    """Hashes of the lines of a text, short ones aside; nothing for what is no text."""
    lines = (line.strip() for line in text.splitlines()) if isinstance(text, str) else ()
    return {zlib.crc32(line.encode("utf-8", "replace")) for line in lines if len(line) >= _LINE}


def score(source: dict[str, Any]) -> float:
    """How much a row is worth when there are more than max_examples; how new it is decides between equals.

    For a commit the share of its added lines that are still there, 0.25 more when tests changed with it; 1 for work in
    a session or rollout (the form in which the specialist will work), less by half of what `survived` misses."""
    worth = 1.0 if source["kind"] in ("session", "rollout") else float(source.get("survives", 0.5))
    return worth + (0.25 if source.get("tests") else 0.0)


def survived(rows: list[Row], texts: Iterable[tuple[float, str]]) -> list[Row]:
    """Rows of sessions, scored by what a repository kept of their lines, at HEAD or for 30 days; where it knows.
    `texts`: files as commits left them, each with the commit's time (s since 1970), HEAD's with infinity."""
    times: dict[int, set[float]] = {line: set() for row in rows for line in row.added}
    last, found = 0.0, list[Row]()
    for time, text in texts:
        last = max(last, time if time < math.inf else 0)
        for line in times.keys() & line_hashes(text):
            times[line].add(time)
    for row in rows:
        start = datetime.fromisoformat(row.time).timestamp()
        kept = [any(time == math.inf or 0 <= time - start < MONTH for time in times[line]) for line in row.added]
        known = kept and start <= last  # newer than all commits: not committed yet
        found.append(replace(row, score=(1 + sum(kept) / len(kept)) / 2) if known else row)
    return found


def assemble(rows: Iterable[Row], known: Split, bounds: tuple[int, int], settings: Assembly) -> Dataset:
    """Rows of all sources, split as the run before did (`known`), between `bounds`: min_examples and max_examples."""
    lost: Lost = []
    least, most = bounds
    rows = sorted(rows, key=lambda row: (KINDS.index(row.kind), row.order))
    first = {row.content: row for row in reversed(rows)}
    rows = _sifted(rows, lambda row: None if first[row.content] is row else "duplicate", lost)
    rows = _without_same_change(rows, lost)
    split = split_by_time([row for row in rows if row.kind in WORK], known, settings)
    held = set(split["heldout"])
    # the commit that synthetic rows were made at is the repository's newest: it decides nothing about their functions
    held_rows = [row for row in rows if row.kind in WORK and row.cluster in held]
    train = [row for row in rows if row.kind == "synthetic" or row.cluster not in held]
    heldout = _capped(held_rows, most, lost, "held-out rows ")
    train = _without_near(_without_held_code(train, held_rows, lost), held_rows, lost)
    done_again = sorted((row for row in train if row.kind == "rollout"), key=lambda row: row.order, reverse=True)
    gap = max(0, least - sum(row.kind == "session" for row in train))
    lost += [(row, "rollout beyond the gap") for row in done_again[gap:]]
    work = _capped([*(row for row in train if row.kind in WORK), *done_again[:gap]], most, lost)
    chosen = _without_excess(work, least, lost)
    room = min(max(0, least - len(chosen)), math.floor(len(chosen) * SYNTHETIC / (1 - SYNTHETIC)))
    made = sorted((row for row in train if row.kind == "synthetic"), key=lambda row: row.content)  # which: by hash
    lost += [(row, "synthetic beyond its share or the gap") for row in made[room:]]
    return Dataset(chosen + made[:room], heldout, split, lost)


def _sifted(rows: Iterable[Row], reason: Callable[[Row], str | None], lost: Lost) -> list[Row]:
    """The rows that there is no reason to leave out; the others go to `lost`."""
    judged = [(row, reason(row)) for row in rows]
    lost += [(row, why) for row, why in judged if why]
    return [row for row, why in judged if not why]


def _without_same_change(rows: list[Row], lost: Lost) -> list[Row]:
    """Drop a commit whose lines one session wrote: the session shows the work as it was done."""
    wrote: dict[int, set[str]] = {}
    for row in rows:
        for line in row.added if row.kind == "session" else ():
            wrote.setdefault(line, set()).add(row.cluster)

    def reason(row: Row) -> str | None:
        by_session = Counter(session for line in row.added for session in wrote.get(line, ()))
        most = max(by_session.values(), default=0) if row.kind == "commit" else 0
        return "same change as a session" if most and most >= SAME_CHANGE * len(row.added) else None

    return _sifted(rows, reason, lost)


def split_by_time(rows: list[Row], known: Split, settings: Assembly) -> Split:
    """Hold out the newest whole clusters of each kind among those neither held out nor trained on before."""
    heldout, train = set(known.get("heldout", ())), set(known.get("train", ()))
    for kind in WORK:
        newest = {row.cluster: row.time for row in sorted(rows, key=lambda row: row.time) if row.kind == kind}
        enough = max(round(HELDOUT * len(newest)), min(settings.heldout_clusters, len(newest) // 2))
        fresh = sorted(newest.keys() - heldout - train, key=lambda cluster: (newest[cluster], cluster))
        heldout |= set(fresh[max(0, len(fresh) - max(0, enough - len(heldout & newest.keys()))) :])
        train |= set(fresh) - heldout
    return {"heldout": sorted(heldout), "train": sorted(train)}


def starved(dataset: Dataset) -> list[str]:
    """Kinds of work of which the split holds out more than half, as a new one would not."""
    rows = [*dataset.train, *dataset.heldout, *(row for row, _reason in dataset.lost)]
    clusters = {kind: {row.cluster for row in rows if row.kind == kind} for kind in WORK}
    held = set(dataset.split["heldout"])
    return [kind for kind, known in clusters.items() if 2 * len(known & held) > len(known)]


def _without_held_code(rows: list[Row], heldout: list[Row], lost: Lost) -> list[Row]:
    """Drop synthetic rows that show a line which held-out work wrote: they inherit the split of their function."""
    written = frozenset().union(*(row.added for row in heldout))

    def reason(row: Row) -> str | None:
        if row.kind != "synthetic":
            return None
        shown = line_hashes(without_line_numbers("\n".join(texts(row.record()))))
        return None if written.isdisjoint(shown) else "synthetic from held-out code"

    return _sifted(rows, reason, lost)


def _without_near(train: list[Row], heldout: list[Row], lost: Lost) -> list[Row]:
    sides = lru_cache(maxsize=256)(lambda row: tuple(map(shingles, texts(row.record()))))
    held, kept = Neighbours(sides), Neighbours(sides)
    for row in heldout:
        held.add(row)

    def reason(row: Row) -> str | None:
        if held.near(row, either=True):
            return "near a held-out example"
        if kept.near(row, either=False):
            return "near duplicate"
        kept.add(row)
        return None

    return _sifted(sorted(train, key=lambda row: (KINDS.index(row.kind), -row.score, row.order)), reason, lost)


def _capped(rows: list[Row], most: int, lost: Lost, prefix: str = "") -> list[Row]:
    """The best rows first, no session and none of several repositories with more than its share of `most`."""
    several = len({row.repository for row in rows if row.kind != "session"}) > 1
    per_cluster, per_repository = (max(1, math.floor(share * most)) for share in (CLUSTER, REPOSITORY))
    taken: Counter[str] = Counter()

    def reason(row: Row) -> str | None:
        repository = f"repository {row.repository}"
        if taken[row.cluster] >= per_cluster:
            return f"{prefix}over the share of a session or commit"
        if several and row.kind != "session" and taken[repository] >= per_repository:
            return f"{prefix}over the share of a repository"
        if taken["all"] >= most:
            return f"{prefix}over max_examples"
        taken.update((row.cluster, repository, "all"))
        return None

    return _sifted(sorted(rows, key=lambda row: (row.score, row.order), reverse=True), reason, lost)


def _without_excess(rows: list[Row], least: int, lost: Lost) -> list[Row]:
    """Rows, best first, without the commits beyond their share, where sessions alone are `least` rows."""
    sessions = [row.said for row in rows if row.kind == "session"]
    room = sum(sessions) * COMMITS / (1 - COMMITS) if len(sessions) >= least else math.inf
    until = accumulate(row.said if row.kind == "commit" else 0 for row in rows)
    beyond = {row for row, said in zip(rows, until, strict=True) if row.kind == "commit" and said > room}
    return _sifted(rows, lambda row: "commits beyond their share" if row in beyond else None, lost)


def read_split(path: Path) -> Split:
    """The split of the run before; empty when there is none. Raises Problem for one that cannot be read."""
    if not path.exists():
        return {}
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        return {name: [str(cluster) for cluster in split[name]] for name in ("heldout", "train")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "Restore it, or delete it to split anew: what adapters were trained on may then judge them"
        raise Problem(f"{path}: cannot be read ({error}); it says which work was ever held out. {fix}") from None


def shingles(text: str) -> frozenset[str]:
    """The runs of five tokens in a text."""
    tokens = _TOKEN.findall(text)
    return frozenset(map(" ".join, zip(*(tokens[start:] for start in range(WIDTH)), strict=False)))


class Neighbours:
    """Items to which others can be near, by the shingles of prompt and target that `sides(item)` gives.

    MinHash finds who may be alike (rensa), the exact Jaccard index decides. What is asked and what is answered are
    compared apart: two commits to one function show the same code and change it differently, a cherry-pick other code.
    """

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
