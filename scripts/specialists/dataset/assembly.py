"""From all examples of a language to what is trained on and what is held out.

Rows stay on disk: what is kept of each in memory is a few hundred bytes, so that 100,000 rows assemble in little
memory; the text of a row is read again when it is compared or written. The order of the steps:

    exact duplicates go -> a commit that a session already shows goes -> clusters are split by time
    -> near neighbours of held-out rows leave training -> near duplicates go -> shares, caps and `wanted`

Nothing depends on the order of the inputs. Which cluster was ever held out or trained on stands in the ledger beside
the held-out rows, so that no example moves from one to the other as new work comes in.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from specialists.agent import NEW_CODE, without_line_numbers
from specialists.config import Assembly, Problem
from specialists.dataset.duplicates import Neighbours
from specialists.exclusion import Exclusion
from specialists.records import SOURCES, Record, cluster_of, is_target

KINDS = tuple(SOURCES)
# what the owner did: it alone is held out, counted against `wanted`, and capped
WORK = tuple(kind for kind in SOURCES if kind != "synthetic")
SAME_CHANGE = 0.8  # share of a commit's added lines that one session wrote, from which on they are the same change
_LINE = 12  # shorter lines ("}", "else:", "return") say nothing about where they come from


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is kept in memory of a record."""

    id: str
    kind: str
    time: str
    cluster: str
    repository: str  # "" for sessions
    score: float
    content: bytes  # hash over what the model is asked and what it should say
    added: frozenset[int]  # hashes of the lines that its edits add
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


@dataclass
class Dataset:
    """Rows to train on and rows held out, with what was left out and why."""

    train: list[Row]
    heldout: list[Row]
    ledger: dict[str, list[str]]  # {"heldout": clusters, "train": clusters}, all that ever were
    lost: Lost

    @property
    def funnel(self) -> Counter[str]:
        """How many rows were left out, by reason."""
        return Counter(reason for _row, reason in self.lost)


def read_rows(path: Path, language: str, exclusion: Exclusion | None = None) -> list[Row]:
    """The rows of a file of records, excluded ones aside.

    Raises Problem naming file and line for what is no record of this language.
    """
    rows, offset = [], 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    record = json.loads(line)
                    if record["language"] != language:
                        raise Problem(f"{path}:{number}: a row of {record['language']!r} among those of {language!r}")
                    if not (exclusion and exclusion.covers(record["source"])):
                        rows.append(_row(record, path, offset))
                except (ValueError, KeyError, TypeError) as error:
                    raise Problem(f"{path}:{number}: not a record: {type(error).__name__}: {error}") from None
                offset += len(line)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; the step before makes it") from None
    return rows


def _row(record: Record, file: Path, offset: int) -> Row:
    source = record["source"]
    if source["kind"] not in KINDS:
        raise Problem(f"{file}: row {record['id']}: source.kind is {source['kind']!r}, not one of {', '.join(KINDS)}")
    prompt, target = texts(record)
    return Row(
        id=record["id"],
        kind=source["kind"],
        time=source["time"],
        cluster=cluster_of(record),
        repository=source.get("repository") or "",
        score=score(source),
        content=blake2b(f"{prompt}\0{target}".encode("utf-8", "replace"), digest_size=16).digest(),
        added=added_lines(record),
        file=file,
        offset=offset,
    )


def texts(record: Record) -> tuple[str, str]:
    """What the model is shown (requests, tool results, earlier turns) and what it should say, as plain text."""
    prompt: list[str] = []
    target: list[str] = []
    for message in record["messages"]:
        if message["role"] == "system":
            continue
        parts = [message.get("content") or ""]
        for call in message.get("tool_calls") or ():
            parts.append(call["function"]["name"])
            parts.extend(str(value) for value in json.loads(call["function"]["arguments"]).values())
        (target if is_target(message) else prompt).extend(parts)
    return "\n".join(prompt), "\n".join(target)


def added_lines(record: Record) -> frozenset[int]:
    """Hashes of the lines that a record's edits and writes add, short ones aside."""
    added: set[int] = set()
    for message in record["messages"]:
        for call in message.get("tool_calls") or () if is_target(message) else ():
            if written := NEW_CODE.get(call["function"]["name"]):
                arguments = json.loads(call["function"]["arguments"])
                added |= _lines(arguments.get(written)) - _lines(arguments.get("oldString"))
    return frozenset(added)


def _lines(text: Any) -> set[int]:
    lines = (line.strip() for line in text.splitlines()) if isinstance(text, str) else ()
    return {zlib.crc32(line.encode("utf-8", "replace")) for line in lines if len(line) >= _LINE}


def score(source: dict[str, Any]) -> float:
    """How much a row is worth when there are more than wanted.

    1 for work in a session (the form in which the specialist will work), for a commit the share of its added lines
    that are still there; 0.25 more when tests changed with it. How new it is decides between equals.
    """
    worth = 1.0 if source["kind"] == "session" else float(source.get("survives", 0.5))
    return worth + (0.25 if source.get("tests") else 0.0)


def assemble(rows: Iterable[Row], ledger: dict[str, list[str]], wanted: tuple[int, int], settings: Assembly) -> Dataset:
    """Rows of all sources -> training and held-out rows; `ledger` is the one of the run before, or empty."""
    lost: Lost = []
    rows = _without_same_change(_without_duplicates(rows, lost), lost)
    real = [row for row in rows if row.kind in WORK]
    ledger = split(real, ledger, settings)
    held = set(ledger["heldout"])
    heldout = _capped([row for row in real if row.cluster in held], wanted, settings, lost, "held-out rows ")
    held_rows = [row for row in real if row.cluster in held]
    # the commit that synthetic rows were made at is the repository's newest: it decides nothing about their functions
    rows = [row for row in rows if row.kind not in WORK or row.cluster not in held]
    train = _without_held_code(rows, held_rows, lost)
    train = _without_near(train, held_rows, settings.similarity, lost)
    chosen = _capped([row for row in train if row.kind in WORK], wanted, settings, lost)
    gap = max(0, wanted[0] - len(chosen))
    chosen += _share([row for row in train if row.kind == "synthetic"], len(chosen), settings.synthetic, gap, lost)
    return Dataset(chosen, heldout, ledger, lost)


def _without_duplicates(rows: Iterable[Row], lost: Lost) -> list[Row]:
    kept: dict[bytes, Row] = {}
    for row in sorted(rows, key=lambda row: (KINDS.index(row.kind), row.order)):
        if row.content in kept:
            lost.append((row, "duplicate"))
        else:
            kept[row.content] = row
    return list(kept.values())


def _without_same_change(rows: list[Row], lost: Lost) -> list[Row]:
    """Drop a commit whose lines one session wrote: the session shows the work as it was done."""
    wrote: dict[int, set[str]] = {}
    for row in rows:
        if row.kind == "session":
            for line in row.added:
                wrote.setdefault(line, set()).add(row.cluster)
    kept = []
    for row in rows:
        by_session = Counter(session for line in row.added for session in wrote.get(line, ()))
        most = max(by_session.values(), default=0)
        if row.kind == "commit" and most and most >= SAME_CHANGE * len(row.added):
            lost.append((row, "same change as a session"))
        else:
            kept.append(row)
    return kept


def split(rows: list[Row], ledger: dict[str, list[str]], settings: Assembly) -> dict[str, list[str]]:
    """Hold out the newest whole clusters among those that were neither held out nor trained on before."""
    newest: dict[str, tuple[str, str]] = {}
    for row in rows:
        newest[row.cluster] = max(newest.get(row.cluster, ("", "")), (row.time, row.cluster))
    count = len(newest)
    wanted = max(round(settings.heldout * count), min(settings.heldout_clusters, count // 2))
    if not settings.heldout:
        wanted = 0
    heldout, train = set(ledger.get("heldout", ())), set(ledger.get("train", ()))
    fresh = sorted(newest.keys() - heldout - train, key=newest.__getitem__)
    missing = max(0, wanted - len(heldout & newest.keys()))
    taken = set(fresh[len(fresh) - missing :]) if missing < len(fresh) else set(fresh if missing else ())
    return {"heldout": sorted(heldout | taken), "train": sorted(train | (set(fresh) - taken))}


def _without_held_code(rows: list[Row], heldout: list[Row], lost: Lost) -> list[Row]:
    """Drop synthetic rows that show a line which held-out work wrote: they inherit the split of their function."""
    written = frozenset().union(*(row.added for row in heldout))
    kept = []
    for row in rows:
        if row.kind == "synthetic" and not written.isdisjoint(_shown_lines(row.record())):
            lost.append((row, "synthetic from held-out code"))
        else:
            kept.append(row)
    return kept


def _shown_lines(record: Record) -> set[int]:
    """Hashes of the lines that a record shows or writes, the line numbers of `read` aside."""
    return _lines(without_line_numbers("\n".join(texts(record))))


def _without_near(train: list[Row], heldout: list[Row], similarity: float, lost: Lost) -> list[Row]:
    neighbours: Neighbours[Row] = Neighbours(lambda row: texts(row.record()), similarity)
    for row in heldout:
        neighbours.add(row)
    kept = []
    for row in train:
        if neighbours.near(row, either=True):
            lost.append((row, "near a held-out example"))
        else:
            kept.append(row)
    neighbours = Neighbours(lambda row: texts(row.record()), similarity)
    unlike = []
    for row in sorted(kept, key=lambda row: (KINDS.index(row.kind), -row.score, row.order)):
        if neighbours.near(row, either=False):
            lost.append((row, "near duplicate"))
        else:
            neighbours.add(row)
            unlike.append(row)
    return unlike


def _capped(rows: list[Row], wanted: tuple[int, int], settings: Assembly, lost: Lost, prefix: str = "") -> list[Row]:
    """The best rows first, no session and no repository with more than its share of `wanted`."""
    per_cluster = max(1, math.floor(settings.cluster * wanted[1]))
    per_repository = max(1, math.floor(settings.repository * wanted[1]))
    clusters: Counter[str] = Counter()
    repositories: Counter[str] = Counter()
    kept: list[Row] = []
    newest_first = sorted(rows, key=lambda row: row.order, reverse=True)
    for row in sorted(newest_first, key=lambda row: -row.score):
        if clusters[row.cluster] >= per_cluster:
            lost.append((row, f"{prefix}over the share of a session or commit"))
        elif row.repository and repositories[row.repository] >= per_repository:
            lost.append((row, f"{prefix}over the share of a repository"))
        elif len(kept) >= wanted[1]:
            lost.append((row, f"{prefix}over wanted"))
        else:
            clusters[row.cluster] += 1
            repositories[row.repository] += 1
            kept.append(row)
    return kept


def _share(rows: list[Row], others: int, share: float, most: int, lost: Lost) -> list[Row]:
    """As many rows as are that share of all, beside the others, and `most` at most; which ones, a hash decides."""
    share = min(share, 0.99)
    room = min(most, math.floor(others * share / (1 - share)))
    ordered = sorted(rows, key=lambda row: row.content)
    lost.extend((row, f"{row.kind} beyond its share or the gap") for row in ordered[room:])
    return ordered[:room]


def known_ledger(path: Path) -> dict[str, list[str]]:
    """The ledger of the run before; empty when there is none. Raises Problem for one that cannot be read."""
    if not path.exists():
        return {}
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        return {name: [str(cluster) for cluster in ledger[name]] for name in ("heldout", "train")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(
            f"{path}: cannot be read ({error}); it says which work was ever held out. Restore it, or delete it to "
            "split anew: examples that adapters were trained on may then be used to judge them"
        ) from None


def span(rows: list[Row]) -> list[str]:
    """First and last day of the rows, ISO dates; empty for none."""
    times = sorted(row.time for row in rows)
    return [times[0][:10], times[-1][:10]] if times else []
