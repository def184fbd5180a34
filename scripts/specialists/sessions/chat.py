"""The chat of a session: as the model saw it, and as turns to learn from, each step with its weight and the reason.

`replay` rebuilds the messages of a request from the rows, as opencode 1.18 builds them. `turns` makes of the same rows
what training needs: paths relative to the project, present tool names, the quotes of `opencode run` taken off, and per
step whether it is the model's own good work.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from specialists.agent import CLEARED
from specialists.sessions.database import Message, Session
from specialists.sessions.database_v2 import EXECUTED_BY_USER
from specialists.sessions.paths import ProjectPaths
from specialists.sessions.shell import commands
from specialists.tools import Call, Files, present_calls, present_output

INTERRUPTED = "[Tool execution was interrupted]"
COMPACTION_REQUEST = "What did we do so far?"
_NOT_SENT = ("text/plain", "application/x-directory")  # their content already stands in a synthetic text
NO_EXACT_EDIT = "no exact edit for apply_patch"
_NEVER = frozenset(
    {"plan", "title", "summary", "compaction"}
)  # agents whose answers are no work, whatever is asked for
_INVALID = re.compile("was called with invalid arguments|^Unknown tool: ")
_CUT_OFF = {"length": "cut off", "content-filter": "cut off", "error": "provider error"}


@dataclass
class Step:
    """One answer of the model: what it said, its calls with their results, and why it is no example (None: it is)."""

    text: str
    calls: list[Call]
    reason: str | None = None
    agent: str = ""


@dataclass
class Turn:
    """What the user said, and the model's steps until he spoke again."""

    id: str
    time: int  # ms since 1970
    request: str
    steps: list[Step] = field(default_factory=list)
    compaction: bool = False  # the model saw nothing of what was before this turn


def live_messages(session: Session) -> tuple[list[Message], int]:
    """Messages that still count, and how many were taken back with /undo but not yet deleted."""
    revert = session.revert.get("messageID")
    at = next((index for index, message in enumerate(session.messages) if message.id == revert), None)
    if at is None:
        return session.messages, 0
    kept = session.messages[:at]
    if part := session.revert.get("partID"):
        message = session.messages[at]
        ids = [item.get("id") for item in message.parts]
        if part in ids[1:]:
            kept = [
                *kept,
                Message(message.id, message.role, message.time, message.data, message.parts[: ids.index(part)]),
            ]
    return kept, len(session.messages) - len(kept)


# --- as the model saw it -------------------------------------------------------------------------------------------


def replay(messages: list[Message], model: str | None = None) -> list[dict[str, Any]]:
    """The messages of the request that followed these rows (without the system prompt, which is not stored).

    `model`: the model asked, whose own reasoning is sent back to it.
    """
    chat: list[dict[str, Any]] = []
    for message in _since_compaction(messages):
        if message.role == "user":
            if content := _user_content(message.parts):
                chat.append({"role": "user", "content": content})
        elif message.role == "assistant" and not _is_dropped(message):
            chat.extend(_assistant_messages(message, model))
    return chat


def _since_compaction(messages: list[Message]) -> list[Message]:
    """What a request holds: from the last finished compaction on, with the tail that it kept."""
    summaries = [message.data for message in messages if _is_summary(message)]
    done = {data.get("parentID") for data in summaries if data.get("finish") and not data.get("error")}
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        part = next((part for part in message.parts if part.get("type") == "compaction"), None)
        if message.role != "user" or part is None or message.id not in done:
            continue
        start = next((i for i, m in enumerate(messages[:index]) if m.id == part.get("tail_start_id")), index)
        return messages[start:]
    return messages


def _user_content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for part in parts:
        kind = part.get("type")
        if kind == "text" and part.get("text") and not part.get("ignored"):
            content.append({"type": "text", "text": part["text"]})
        elif kind == "file" and part.get("mime") not in _NOT_SENT:
            content.append({"type": "image_url", "image_url": {"url": part.get("url", "")}})
        elif kind == "compaction":
            content.append({"type": "text", "text": COMPACTION_REQUEST})
        elif kind == "subtask":
            content.append({"type": "text", "text": EXECUTED_BY_USER})
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def _assistant_messages(message: Message, model: str | None) -> list[dict[str, Any]]:
    answer: dict[str, Any] = {"role": "assistant", "content": _joined(message, "text")}
    reasoning = _joined(message, "reasoning")
    if reasoning and model == message.data.get("modelID"):
        answer["reasoning_content"] = reasoning
    tools = [part for part in message.parts if part.get("type") == "tool"]
    if not (answer["content"] or tools):
        return []
    if tools:
        answer["tool_calls"] = [
            {
                "id": part.get("callID"),
                "type": "function",
                "function": {"name": part.get("tool"), "arguments": _arguments_json(part)},
            }
            for part in tools
        ]
    results = [{"role": "tool", "tool_call_id": part.get("callID"), "content": tool_output(part)} for part in tools]
    return [answer, *results]


def _arguments_json(part: dict[str, Any]) -> str:
    return json.dumps(_state(part).get("input") or {}, ensure_ascii=False, separators=(",", ":"))


def tool_output(part: dict[str, Any]) -> str:
    """What the model was told that a call gave."""
    state = _state(part)
    metadata = state.get("metadata") or {}
    if state.get("status") == "completed":
        return CLEARED if _is_compacted(state) else str(state.get("output") or "")
    if state.get("status") == "error":
        if metadata.get("interrupted") is True and isinstance(metadata.get("output"), str):
            return metadata["output"]
        return str(state.get("error") or "")
    return INTERRUPTED


def _state(part: dict[str, Any]) -> dict[str, Any]:
    return part.get("state") or {}


def _is_compacted(state: dict[str, Any]) -> bool:
    return bool((state.get("time") or {}).get("compacted"))


def _joined(message: Message, kind: str) -> str:
    return "".join(part.get("text") or "" for part in message.parts if part.get("type") == kind)


def _is_summary(message: Message) -> bool:
    return message.role == "assistant" and bool(message.data.get("summary"))


def _error_name(message: Message) -> str:
    error = message.data.get("error") or {}
    return str(error.get("name") or error.get("type") or "error") if error else ""


def _is_dropped(message: Message) -> bool:
    """Failed answers are not sent again, except aborted ones that had got somewhere."""
    if not (name := _error_name(message)):
        return False
    real = any(part.get("type") not in ("step-start", "reasoning") for part in message.parts)
    return not (name == "MessageAbortedError" and real)


# --- as turns to learn from ----------------------------------------------------------------------------------------


def turns(session: Session, agents: tuple[str, ...], lost: Counter[str]) -> list[Turn]:
    """The turns of a session.

    `agents`: shell patterns of agents whose work counts. `lost`: counts, by reason, steps that the model did not even
    see again itself and that are not in the turns; the reasons of the others stand in the steps.
    """
    messages, reverted = live_messages(session)
    if reverted:
        lost["reverted"] += sum(message.role == "assistant" for message in session.messages[-reverted:])
    root = next((path for m in messages if (path := (m.data.get("path") or {}).get("root"))), "")
    builder = _TurnBuilder(ProjectPaths(session.directory, "" if root == "/" else root), agents, lost)
    for message in messages:
        if message.role == "user":
            builder.user(message)
        elif message.role == "assistant":
            builder.assistant(message)
    _mark_undone(builder.turns)
    return builder.turns


class _TurnBuilder:
    """Goes through the rows of one session in order."""

    def __init__(self, paths: ProjectPaths, agents: tuple[str, ...], lost: Counter[str]):
        self.paths, self.agents, self.lost = paths, agents, lost
        self.turns: list[Turn] = []
        self.files = Files()
        self.by_user: set[str] = set()  # user rows whose answer opencode made up from what the user ran himself

    def user(self, message: Message) -> None:
        texts = [text for part in message.parts if (text := self._user_text(part))]
        compaction = any(part.get("type") == "compaction" for part in message.parts)
        if any(part.get("type") == "subtask" for part in message.parts) or EXECUTED_BY_USER in texts:
            self.by_user.add(message.id)
        if texts:
            request = "\n".join(texts).strip()
            self.turns.append(Turn(message.id, message.time, request, compaction=compaction))

    def _user_text(self, part: dict[str, Any]) -> str:
        """A part's text in the request."""
        kind = part.get("type")
        if kind == "text" and part.get("text") and not part.get("ignored"):
            return self.paths.text(part["text"] if part.get("synthetic") else unquoted(part["text"]))
        if kind == "file" and part.get("mime") not in _NOT_SENT:
            return f"[Attached {part.get('mime')}: {part.get('filename') or 'file'}]"
        return {"compaction": COMPACTION_REQUEST, "subtask": EXECUTED_BY_USER}.get(str(kind), "")

    def assistant(self, message: Message) -> None:
        if _is_dropped(message):
            self.lost["provider error" if _error_name(message) != "MessageAbortedError" else "aborted"] += 1
            return
        tools = [part for part in message.parts if part.get("type") == "tool"]
        text = self.paths.text(_joined(message, "text"))
        if not text.strip() and not tools:
            self.lost["empty"] += 1
            return
        calls, odd = [], None
        for part in tools:
            call = self._call(part)
            now = present_calls(call, self.files)
            if now is None:
                odd = odd or (NO_EXACT_EDIT if call.name == "apply_patch" else "tool of another version")
            for one in now or [call]:
                self.files.after(one)
                calls.append(one)
        if not self.turns:  # history that starts with an answer
            self.turns.append(Turn(message.id, message.time, ""))
        reason = self._reason(message, tools, calls) or odd
        agent = str(message.data.get("agent") or message.data.get("mode") or "")
        self.turns[-1].steps.append(Step(text, calls, reason, agent))

    def _call(self, part: dict[str, Any]) -> Call:
        state, metadata = _state(part), _state(part).get("metadata") or {}
        given = state.get("input")
        arguments = given if isinstance(given, dict) else {}
        output = tool_output(part)
        if state.get("status") == "error":
            output = str(state.get("failure", output)).removeprefix("Error: ")
        elif "structured" in state and not _is_compacted(state):
            output = present_output(str(part.get("tool")), arguments, state["structured"] or {}, output)
        code = metadata.get("exit")
        return Call(
            name=str(part.get("tool") or ""),
            arguments=self.paths.value(arguments),
            output=self.paths.text(output),
            failed=state.get("status") != "completed" or code in (126, 127),
            exit=code if isinstance(code, int) else None,
        )

    def _reason(self, message: Message, parts: list[dict[str, Any]], calls: list[Call]) -> str | None:
        """Why a step is context and no example; None: it is one. The gravest reason counts."""
        data = message.data
        parent = data.get("parentID") or (self.turns[-1].id if self.turns else None)
        agent = str(data.get("agent") or data.get("mode") or "")
        if _is_summary(message):
            return "summary"
        if parent in self.by_user:
            return "made by the user"
        if agent in _NEVER or (agent and not any(fnmatch(agent, pattern) for pattern in self.agents)):
            return "other agent"
        if _error_name(message) or any("User aborted the command" in call.output[-400:] for call in calls):
            return "aborted"
        if any(_state(part).get("status") in ("pending", "running") for part in parts) or _is_killed(data):
            return "interrupted"
        if data.get("finish") in _CUT_OFF:
            return _CUT_OFF[data["finish"]]
        if any(
            call.name == "invalid" or _INVALID.search(call.output[:400])
            for call in calls
            if call.failed or call.name == "invalid"
        ):
            return "invalid call"
        if any(call.failed for call in calls):
            return "failed"
        return None


def _is_killed(data: dict[str, Any]) -> bool:
    """An answer that never ended: no `finish` and, where rows carry a time, no time of completion."""
    return not data.get("finish") and "time" in data and not (data["time"] or {}).get("completed")


def unquoted(text: str) -> str:
    """A prompt without the quotes that `opencode run "a b"` stores around it."""
    inner = text.strip()
    if len(inner) < 2 or inner[0] != '"' or inner[-1] != '"' or " " not in inner:
        return text
    inner = inner[1:-1]
    if '"' in inner.replace('\\"', ""):
        return text
    return inner.replace('\\"', '"')


# --- work that was taken back later --------------------------------------------------------------------------------


_STASH_BACK = re.compile(r"\bgit stash (pop|apply)\b")


def _mark_undone(found: list[Turn]) -> None:
    """Weigh out edits that a later `git checkout`, `git restore`, `git reset --hard` or `git stash` threw away."""
    pending: dict[str, list[Step]] = {}  # path -> steps that changed it since the last commit
    gone: list[tuple[str, Step]] = []  # of them, what the last such command took
    for step in (step for turn in found for step in turn.steps):
        for call in step.calls:
            if call.failed:
                continue
            if call.name in ("edit", "write"):
                for path in call.paths:
                    pending.setdefault(path, []).append(step)
            elif call.name == "bash" and call.exit in (0, None):
                line = str(call.arguments.get("command", ""))
                if _STASH_BACK.search(line):
                    for path, changed in gone:
                        changed.reason = None
                        pending.setdefault(path, []).append(changed)
                    gone = []
                elif undone := _thrown_away(line, pending):
                    taken = [(path, changed) for path in undone for changed in pending.pop(path, ())]
                    gone = [pair for pair in taken if pair[1].reason is None]
                    for _path, changed in gone:
                        changed.reason = "undone later"


def _thrown_away(command: str, pending: dict[str, list[Step]]) -> list[str]:
    """Paths among `pending` that a command line restores; a commit settles all of them."""
    paths: set[str] = set()
    for words in commands(command):
        if words[0] != "git" or len(words) < 2:
            continue
        verb, rest = words[1], [word for word in words[2:] if not word.startswith("-")]
        options = set(words[2:]) - set(rest)
        if verb == "commit":
            pending.clear()
        elif (verb == "reset" and "--hard" in options) or (verb == "stash" and rest[:1] in ([], ["push"], ["save"])):
            paths |= set(pending)
        elif verb in ("checkout", "restore") and not options & {"-b", "-B", "--staged", "-S"}:
            paths |= {path for path in pending for target in rest if _covers(target, path)}
    return sorted(paths)


def _covers(target: str, path: str) -> bool:
    target = target.removeprefix("./").rstrip("/")
    return target in (".", "") or path == target or path.startswith(f"{target}/") or fnmatch(path, target)
