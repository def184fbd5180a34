"""Writes sessions into a database as opencode 1.18 does: which rows there are, how ids look, what `data` holds."""

from __future__ import annotations

import difflib
import hashlib
import json
import random
import sqlite3
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).resolve().with_name("opencode.sql")
VERSION = "1.18.33"
HOME = "/home/ada/src"
MODEL = {"providerID": "vllm", "modelID": "base"}


@dataclass
class Call:
    """A tool call and how it ended; paths in it are absolute, as the model writes them."""

    tool: str
    input: dict[str, Any]
    output: str
    failed: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class Step:
    """One answer of the model."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    aborted: bool = False


@dataclass
class Turn:
    """What the user asked, and the model's steps."""

    request: str
    steps: list[Step]


@dataclass
class Session:
    """A whole session to be written."""

    project: str
    title: str
    start: int  # ms since 1970
    turns: list[Turn]
    agent: str = "build"
    reverted: int | None = None  # the turn from which on everything was taken back
    parent: str | None = None
    id: str = ""


class Scribe:
    """A new database that sessions are written into, one after the other."""

    def __init__(self, path: Path, seed: int):
        self.rng = random.Random(seed)
        self.connection = sqlite3.connect(path)
        self.connection.executescript(SCHEMA.read_text(encoding="utf-8"))
        self.now, self.counter = 0, 0

    def __enter__(self) -> Scribe:
        return self

    def __exit__(self, *_error: object) -> None:
        self.connection.commit()
        self.connection.close()

    def session_id(self, start: int) -> str:
        """An id as opencode makes them for sessions: newest first."""
        return self._id("ses", start, descending=True)

    def write(self, session: Session) -> None:
        """Write a session with its project, messages and parts."""
        self.now = session.start
        directory = f"{HOME}/{session.project}"
        project = hashlib.sha1(session.project.encode()).hexdigest()
        self._insert(
            "project",
            {
                "id": project,
                "worktree": directory,
                "vcs": "git",
                "time_created": session.start,
                "time_updated": session.start,
                "sandboxes": "[]",
            },
            "OR IGNORE",
        )
        self._insert(
            "project_directory",
            {"project_id": project, "directory": directory, "time_created": session.start},
            "OR IGNORE",
        )
        id_ = session.id or self.session_id(session.start)
        row = {
            "id": id_,
            "project_id": project,
            "parent_id": session.parent,
            "slug": self._slug(),
            "directory": directory,
            "path": "",
            "title": session.title,
            "version": VERSION,
            "summary_additions": 0,
            "summary_deletions": 0,
            "summary_files": 0,
            "agent": session.agent,
            "model": json.dumps({"id": MODEL["modelID"], "providerID": MODEL["providerID"], "variant": "default"}),
            "time_created": session.start,
            "time_updated": session.start,
        }
        self._insert("session", row)
        for number, turn in enumerate(session.turns):
            message = self._turn(id_, session.agent, directory, turn)
            if number == session.reverted:
                revert = {"messageID": message, "snapshot": self._hash()}
                self.connection.execute("UPDATE session SET revert = ? WHERE id = ?", (json.dumps(revert), id_))
        self.connection.execute("UPDATE session SET time_updated = ? WHERE id = ?", (self.now, id_))

    def _turn(self, session: str, agent: str, directory: str, turn: Turn) -> str:
        user = {"role": "user", "time": {"created": self.now}, "agent": agent, "model": MODEL, "summary": {"diffs": []}}
        asked = self._message(session, user)
        self._part(session, asked, {"type": "text", "text": turn.request})
        for number, step in enumerate(turn.steps):
            self._step(session, agent, directory, asked, step, last=number == len(turn.steps) - 1)
        self._wait(40, 400)
        return asked

    def _step(self, session: str, agent: str, directory: str, asked: str, step: Step, last: bool) -> None:
        self._wait(1, 4)
        created, snapshot = self.now, self._hash()
        size = len(step.text) + sum(len(json.dumps(call.input)) for call in step.calls)
        tokens = {"input": 7000 + size, "output": size // 4 + 8, "reasoning": 0, "cache": {"read": 0, "write": 0}}
        data: dict[str, Any] = {
            "parentID": asked,
            "role": "assistant",
            "mode": agent,
            "agent": agent,
            "path": {"cwd": directory, "root": directory},
            "cost": 0,
            "tokens": tokens,
            **MODEL,
            "time": {"created": created, "completed": created + 2500},
        }
        if step.aborted:
            data["error"] = {"name": "MessageAbortedError", "data": {"message": "The operation was aborted."}}
        else:
            data["finish"] = "stop" if last and not step.calls else "tool-calls"
        message = self._message(session, data)
        parts: list[dict[str, Any]] = [{"type": "step-start", "snapshot": snapshot}]
        if step.text:
            parts.append({"type": "text", "text": step.text, "time": {"start": created, "end": created + 900}})
        parts += [self._tool(call, created + 1000, number) for number, call in enumerate(step.calls)]
        if not step.aborted:
            parts.append(
                {"type": "step-finish", "reason": data["finish"], "snapshot": snapshot, "tokens": tokens, "cost": 0}
            )
        for part in parts:
            self._part(session, message, part)
        self._wait(2, 5)

    def _tool(self, call: Call, start: int, number: int) -> dict[str, Any]:
        time = {"start": start, "end": start + 400}
        state: dict[str, Any] = {
            "status": "completed",
            "input": call.input,
            "output": call.output,
            "metadata": call.metadata,
            "title": call.tool,
            "time": time,
        }
        if call.failed:
            state = {"status": "error", "input": call.input, "error": call.output, "time": time}
        return {"type": "tool", "tool": call.tool, "callID": f"call_{self._hash()[:8]}_{number}", "state": state}

    def _message(self, session: str, data: dict[str, Any]) -> str:
        id_ = self._id("msg", self.now)
        self._insert(
            "message",
            {"id": id_, "session_id": session, "time_created": self.now, "time_updated": self.now, "data": _json(data)},
        )
        return id_

    def _part(self, session: str, message: str, data: dict[str, Any]) -> None:
        self.now += 7
        self._insert(
            "part",
            {
                "id": self._id("prt", self.now),
                "message_id": message,
                "session_id": session,
                "time_created": self.now,
                "time_updated": self.now,
                "data": _json(data),
            },
        )

    def _insert(self, table: str, row: dict[str, Any], conflict: str = "") -> None:
        marks = ", ".join("?" * len(row))
        statement = f"INSERT {conflict} INTO {table} ({', '.join(row)}) VALUES ({marks})"
        self.connection.execute(statement, list(row.values()))

    def _wait(self, least: int, most: int) -> None:
        self.now += self.rng.randint(least * 1000, most * 1000)

    def _id(self, kind: str, time: int, descending: bool = False) -> str:
        """12 hex digits of time and counter, 14 random letters and digits."""
        self.counter += 1
        number = (time * 4096 + self.counter % 4096) % (1 << 48)
        if descending:
            number = (1 << 48) - 1 - number
        tail = "".join(self.rng.choices(string.digits + string.ascii_letters, k=14))
        return f"{kind}_{number:012x}{tail}"

    def _hash(self) -> str:
        return f"{self.rng.getrandbits(160):040x}"

    def _slug(self) -> str:
        return f"{self.rng.choice(('calm', 'brave', 'quiet', 'swift'))}-{self.rng.choice(('heron', 'otter', 'wren'))}"


def diff_of(path: str, before: str, after: str) -> str:
    """A change as opencode keeps it in an edit's metadata."""
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), path, path)
    return f"Index: {path}\n{'=' * 67}\n{''.join(lines)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
