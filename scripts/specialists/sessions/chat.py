"""The chat of a session as turns to learn from: what the model saw, and of each step whether it is its own good work.

Rows are taken as their opencode would send them to the model again. Paths become relative to the project, tools get
their names of 1.18, and the quotes of `opencode run` are taken off.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from itertools import zip_longest
from typing import Any

from specialists.agent import CLEARED
from specialists.config import Config
from specialists.sessions.database import Message, Session
from specialists.sessions.database_v2 import EXECUTED_BY_USER
from specialists.sessions.outcome import EDITS, goes_on, rejects, repeated, unchecked, undone
from specialists.sessions.paths import ProjectPaths
from specialists.tools import RENAMED, Call, Files, answer, present_calls, present_output

COMPACTION_REQUEST = "What did we do so far?"
NOT_SENT = ("text/plain", "application/x-directory")  # their content already stands in a synthetic text
_NEVER_WORK = frozenset({"plan", "title", "summary", "compaction"})  # agents, whatever [opencode] agents says
_CODE_OR_THOUGHT = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)|<think(?:ing)?>.*?(?:</think(?:ing)?>\s*|\Z)", re.S)
_CALL_AS_TEXT = re.compile(  # of Qwen, GLM, DeepSeek, Claude, Mistral, Harmony; a word in a sentence is none
    r"(?m)(?:^[ \t]*|(?<=\S))</?(?:tool_call|function=|function_calls|invoke name=)|</?tool_call[^>\n]*>\s*(?:[{<]|\Z)"
    r"|[|｜]DSML[|｜]|<[|｜]tool[_▁]call|\[TOOL_CALLS\]|^[^\w\n]*(?:\w+\s+)?to=functions\.|to=functions\.\w+[^\n{]*\{"
    r'|^\s*\{\s*"name":\s*"\w+",\s*"(?:arguments|parameters|input)":'
)


@dataclass
class Step:
    """One answer of the model: its text, its calls with their results, and why it is no example (None: it is)."""

    text: str
    calls: list[Call]
    reason: str | None = None
    agent: str = ""
    id: str = ""
    note: bool = False  # no answer, but what opencode told it between two: a file of instructions, a job that ended


@dataclass
class Turn:
    """A request of the user, and the model's steps until the next one."""

    id: str
    time: int  # ms since 1970
    request: str
    steps: list[Step] = field(default_factory=list)
    kept: tuple[str, ...] | None = None  # ids of rows before it that the model still saw; None: of all


def live_messages(session: Session) -> tuple[list[Message], int]:
    """Messages that still count, and how many were taken back with /undo but not yet deleted."""
    revert = session.revert.get("messageID")
    at = next((index for index, message in enumerate(session.messages) if message.id == revert), None)
    if at is None:
        return session.messages, 0
    kept, message = session.messages[:at], session.messages[at]
    ids, part = [part.get("id") for part in message.parts], session.revert.get("partID")
    if part and part in ids[1:]:
        kept = [*kept, replace(message, parts=message.parts[: ids.index(part)])]
    return kept, len(session.messages) - len(kept)


def live_after_compaction(messages: list[Message]) -> list[Message]:
    """What of these messages the next request holds, in its order: all, or what the last compaction left.

    In 1.18.33 (filterCompacted) that is its request, its summary and the tail that it kept; one without a summary that
    came to its end took nothing away, unless it names a tail. In 2.x it is one row."""
    summaries = {message.data.get("parentID"): index for index, message in enumerate(messages) if is_summary(message)}
    places = {message.id: index for index, message in enumerate(messages)}
    for request in range(len(messages) - 1, -1, -1):
        part = compaction_part(messages[request])
        if part.get("text"):
            return messages[request:]
        if part and (summary := summaries.get(messages[request].id)):
            tail, made = places.get(str(part.get("tail_start_id")), request), messages[summary]
            if tail < request or (made.data.get("finish") and not _error_name(made)):
                return messages[request : summary + 1] + messages[tail:request] + messages[summary + 1 :]
    return messages


def turns(session: Session, agents: tuple[str, ...], lost: Counter[str], config: Config | None = None) -> list[Turn]:
    """The turns of a session. `agents`: shell patterns of agents whose work counts.

    `lost` counts, by reason, steps that are not in the turns: the model did not see them again itself. `config`: which
    programs are checks (without it: any) and what the owner says of bad work, besides English."""
    messages, reverted = live_messages(session)
    if reverted:
        lost["reverted"] += sum(message.role == "assistant" for message in session.messages[-reverted:])
    pairs = {message.id: pair for message in messages if (pair := _folders(message))}
    known = list(dict.fromkeys([*pairs.values(), (session.directory, "")]))
    paths = {pair: ProjectPaths(*pair, known) for pair in known}
    builder = _TurnBuilder(paths[known[0]], agents, lost)
    for number, message in enumerate(messages, 1):
        builder.paths = paths[pairs[message.id]] if message.id in pairs else builder.paths
        if message.role == "user":
            builder.user(message)
        elif message.role == "assistant":
            builder.assistant(message)
        if builder.turns and (is_summary(message) or compaction_part(message)):
            live = [one.id for one in live_after_compaction(messages[:number])]
            if live[0] == builder.turns[-1].id:
                builder.turns[-1].kept = tuple(live[1:])
    _mark_no_targets(builder.turns, config)
    return builder.turns


def _folders(message: Message) -> tuple[str, str] | None:
    """Where a step was made, and the top of its project; "/" is none."""
    path = message.data.get("path") or {}
    return (path["cwd"], "" if path.get("root") in (None, "/") else path["root"]) if path.get("cwd") else None


class _TurnBuilder:
    """Goes through the rows of one session in order."""

    def __init__(self, paths: ProjectPaths, agents: tuple[str, ...], lost: Counter[str]):
        self.paths, self.agents, self.lost = paths, agents, lost
        self.turns: list[Turn] = []
        self.files = Files()
        self.by_user: set[str] = set()  # user rows whose answer opencode made up from what the user ran himself

    def user(self, message: Message) -> None:
        texts = [text for part in message.parts if (text := self._user_text(part))]
        kinds = {part.get("type") for part in message.parts}
        request = "\n".join(texts).strip()
        if "subtask" in kinds or EXECUTED_BY_USER in texts:
            self.by_user.add(message.id)
        elif texts and all(part.get("synthetic") for part in message.parts):
            self._step(message, Step(request, [], "context", id=message.id, note=True))
            return
        if texts:
            self.turns.append(Turn(message.id, message.time, request))

    def _user_text(self, part: dict[str, Any]) -> str:
        """A part's text in the request."""
        kind = part.get("type")
        if kind in ("text", "compaction") and part.get("text") and not part.get("ignored"):
            return self.paths.text(part["text"] if part.get("synthetic") else unquoted(part["text"]))
        if kind == "file" and part.get("mime") not in NOT_SENT:
            return f"[Attached {part.get('mime')}: {part.get('filename') or 'file'}]"
        return {"compaction": COMPACTION_REQUEST, "subtask": EXECUTED_BY_USER}.get(str(kind), "")

    def assistant(self, message: Message) -> None:
        if is_dropped(message):
            self.lost["provider error" if _error_name(message) != "MessageAbortedError" else "aborted"] += 1
            return
        tools = [part for part in message.parts if part.get("type") == "tool"]
        text = self.paths.text(spoken(joined_text(message, "text")))
        if not text.strip() and not tools:
            self.lost["empty"] += 1
            return
        calls, unknown = [], None
        for part in tools:
            call = self._call(part)
            present = present_calls(call, self.files)
            if present is None:
                patch = call.name == "apply_patch"
                unknown = unknown or ("no exact edit for apply_patch" if patch else "tool of another version")
            for made in present or [replace(call, name=RENAMED.get(call.name, call.name))]:
                self.files.after(made)
                calls.append(made)
        reason = self._reason(message, tools, calls) or unknown
        if reason is None and _CALL_AS_TEXT.search(_CODE_OR_THOUGHT.sub("", text)):
            reason = "invalid call"
        self._step(message, Step(text, calls, reason, _agent(message), message.id))

    def _step(self, message: Message, step: Step) -> None:
        if not self.turns:  # history that starts with an answer
            self.turns.append(Turn(message.id, message.time, ""))
        self.turns[-1].steps.append(step)

    def _call(self, part: dict[str, Any]) -> Call:
        state, output = _state(part), tool_output(part)
        metadata = state.get("metadata") or {}
        arguments = state["input"] if isinstance(state.get("input"), dict) else {}
        if state.get("status") == "error":
            output = str(state.get("failure", output)).removeprefix("Error: ")
        elif "structured" in state and output != CLEARED:
            output = present_output(str(part.get("tool")), arguments, state["structured"] or {}, output)
        if state.get("of_2") and (state.get("status") == "completed" or part.get("tool") == "edit"):
            output = answer(output, str(part.get("tool")), to_2=False, id=metadata.get("sessionID") or "")
        code = metadata.get("exit")
        return Call(
            name=str(part.get("tool") or ""),
            arguments=self.paths.value(arguments),
            output=self.paths.text(output),
            failed=state.get("status") != "completed" or code in (126, 127),
            exit=code if isinstance(code, int) else None,
            sent=self.paths.text(tool_output(part)) if state.get("of_2") else None,
        )

    def _reason(self, message: Message, parts: list[dict[str, Any]], calls: list[Call]) -> str | None:
        """Why a step is context and no example; None: it is one. The gravest reason counts."""
        data, agent = message.data, _agent(message)
        parent = data.get("parentID") or (self.turns[-1].id if self.turns else None)
        ours = not agent or any(fnmatch(agent, pattern) for pattern in self.agents)
        by_hand = any("User aborted the command" in call.output[-400:] for call in calls)
        never_ended = not data.get("finish") and "time" in data and not (data["time"] or {}).get("completed")
        reasons = {
            "summary": is_summary(message),
            "made by the user": parent in self.by_user,
            "other agent": agent in _NEVER_WORK or not ours,
            "aborted": _error_name(message) or by_hand,
            "interrupted": never_ended or any(_state(part).get("status") in ("pending", "running") for part in parts),
            "cut off": data.get("finish") in ("length", "content-filter"),
            "provider error": data.get("finish") == "error",
            "invalid call": any(call.name == "invalid" or call.refused for call in calls),
            "failed": any(call.failed for call in calls),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)


def spoken(text: str) -> str:
    """An answer without the reasoning that some models write into it: `<think>…</think>`, also with its start lost."""
    text = _CODE_OR_THOUGHT.sub(lambda match: match[1] or "", text)
    thought, end, answer = text.rpartition("</think>")
    return answer.lstrip() if end and thought.count("`") % 2 == 0 else text


def unquoted(text: str) -> str:
    """A prompt without the quotes that `opencode run "a b"` stores around it."""
    quoted = re.fullmatch(r'\s*"((?:[^"\\]|\\.)*)"\s*', text, re.S)
    return quoted[1].replace('\\"', '"') if quoted and " " in quoted[1] else text


def _mark_no_targets(found: list[Turn], config: Config | None) -> None:
    """Give a reason to steps that were taken back, refused by a check or by the user."""
    checks = {command for language in config.languages.values() for command in language.commands} if config else None
    more = config.owner.rejections if config else ()
    steps = [step for turn in found for step in turn.steps]
    for index in undone([step.calls for step in steps]):
        steps[index].reason = steps[index].reason or "undone later"
    for turn, following in zip_longest(found, found[1:]):
        calls = [step.calls for step in turn.steps]
        reasons = dict.fromkeys(repeated(calls), "repeated")
        reasons |= dict.fromkeys(undone(calls, in_turn=True), "undone later")
        reasons |= dict.fromkeys(unchecked(calls, checks), "check failed")
        reasons |= {} if turn.request else dict.fromkeys(range(len(calls)), "no request")
        if following and calls and not calls[-1] and goes_on(following.request, turn.steps[-1].text):
            reasons[len(calls) - 1] = "stopped early"
        if following and calls and rejects(following.request, turn.steps[-1].text, more):
            edits = {index for index, some in enumerate(calls) if any(call.name in EDITS for call in some)}
            reasons |= dict.fromkeys({*edits, len(calls) - 1}, "rejected by the user")
        for index, reason in reasons.items():
            turn.steps[index].reason = turn.steps[index].reason or reason


def tool_output(part: dict[str, Any]) -> str:
    """The result of a call that the model was sent."""
    state = _state(part)
    if state.get("status") == "completed":
        return CLEARED if (state.get("time") or {}).get("compacted") else str(state.get("output") or "")
    if state.get("status") != "error":
        return "[Tool execution was interrupted]"
    metadata = state.get("metadata") or {}
    if metadata.get("interrupted") is True and isinstance(metadata.get("output"), str):
        return metadata["output"]
    return str(state.get("error") or "")


def _agent(message: Message) -> str:
    return str(message.data.get("agent") or message.data.get("mode") or "")


def _state(part: dict[str, Any]) -> dict[str, Any]:
    return part.get("state") or {}


def joined_text(message: Message, kind: str) -> str:
    return "".join(part.get("text") or "" for part in message.parts if part.get("type") == kind)


def compaction_part(message: Message) -> dict[str, Any]:
    """What asks for a compaction in a user's row; empty: nothing."""
    parts = message.parts if message.role == "user" else ()
    return next((part for part in parts if part.get("type") == "compaction"), {})


def is_summary(message: Message) -> bool:
    return message.role == "assistant" and bool(message.data.get("summary"))


def _error_name(message: Message) -> str:
    error = message.data.get("error") or {}
    return str(error.get("name") or error.get("type") or "error") if error else ""


def is_dropped(message: Message) -> bool:
    """Failed answers are not sent again, except aborted ones that had got somewhere."""
    real = any(part.get("type") not in ("step-start", "reasoning") for part in message.parts)
    return bool(name := _error_name(message)) and not (name == "MessageAbortedError" and real)
