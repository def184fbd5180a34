"""Rows of `session_message`, the table of opencode's v2 engine (1.18) and of 2.x, in the shape of the older tables.

What 2.x sends its model was read in its published source (packages/core/src/session/runner/to-llm-message.ts), not
seen: no 2.x could be had. Where it words things otherwise than 1.18 (a checkpoint, a command of the user), 1.18's
words are taken, because windows are in those.
"""

from __future__ import annotations

import base64
from typing import Any

from specialists.records import canonical

EXECUTED_BY_USER = "The following tool was executed by the user"
_ATTACHED = {"text/plain": "Attached file", "application/x-directory": "Attached directory"}
_ABORTED = {"type": "aborted", "name": "MessageAbortedError"}

Row = tuple[str, str, dict[str, Any], list[dict[str, Any]]]  # id, role, data as in `message`, parts as in `part`


def from_v2(id_: str, kind: str, data: dict[str, Any]) -> list[Row]:
    """A row as messages; one that is no part of the chat gives none."""
    if kind in ("user", "synthetic", "skill"):
        parts = [{"type": "text", "text": data.get("text") or "", "synthetic": kind != "user"}]
        return [(id_, "user", {"role": "user", **data}, parts + [_file(file) for file in data.get("files") or ()])]
    if kind == "assistant":
        model, error = data.get("model") or {}, data.get("error") or {}
        common = {"role": "assistant", "modelID": model.get("id"), "providerID": model.get("providerID")}
        if error.get("type") == "aborted":
            common["error"] = _ABORTED
        return [(id_, "assistant", {**data, **common}, [_part(part) for part in data.get("content") or ()])]
    if kind == "shell":
        output = data.get("output") or ""
        output = output.get("output") or "" if isinstance(output, dict) else output  # 2.x; 1.18
        state = {"status": "completed", "input": {"command": data.get("command", "")}, "output": output}
        request: dict[str, Any] = {"type": "text", "text": EXECUTED_BY_USER, "synthetic": True}
        answer = {"type": "tool", "tool": "bash", "callID": data.get("callID", id_), "state": state}
        known: dict[str, Any] = {}
    elif kind == "compaction" and data.get("status", "completed") == "completed":
        request, answer = {"type": "compaction"}, {"type": "text", "text": data.get("summary") or ""}
        known = {"summary": True, "finish": "stop", "agent": "compaction"}
    else:
        return []
    known = {"role": "assistant", "parentID": id_, **known}
    return [(id_, "user", {"role": "user"}, [request]), (f"{id_}-{kind}", "assistant", known, [answer])]


def _file(file: dict[str, Any]) -> dict[str, Any]:
    """An attachment; 2.x keeps what is text in the row, and sends it after the user's words."""
    url, mime = file.get("uri") or file.get("url") or "", file.get("mime", "")
    if mime in _ATTACHED and "data" in file:
        content = base64.b64decode(file["data"] or "").decode("utf-8", "replace")
        name = file.get("name") or (file.get("source") or {}).get("uri") or "inline attachment"
        text = f"\n\n{_ATTACHED[mime]}: {name}\n\n{content}"
        return {"type": "text", "text": text, "synthetic": True}
    return {"type": "file", "mime": mime, "filename": file.get("name"), "url": url}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part in the older shape. Its `output` or `error` is what the model was sent: texts, or where a tool gave none
    (`read`), its structured result as JSON; `failure` is the bare message of an error."""
    if part.get("type") != "tool":
        return part
    state = part.get("state") or {}
    content, structured, error = state.get("content") or [], state.get("structured") or {}, state.get("error")
    texts = [item.get("text") or "" for item in content if item.get("type") == "text"]
    state = {**state, "output": "\n".join(texts) if texts else canonical(structured), "metadata": structured}
    if error is not None:
        state["error"] = canonical({"error": error, "content": content, "structured": structured})
        state["failure"] = str(error.get("message", "")) if isinstance(error, dict) else str(error)
    if state.get("status") == "streaming":  # 2.x's word
        state["status"] = "pending"
    if not isinstance(state.get("input"), dict):  # a pending call: its arguments were still being written
        state["input"] = {}
    state["time"] = {"compacted": (part.get("time") or {}).get("pruned")}
    return {"type": "tool", "tool": part.get("name", ""), "callID": part.get("id", ""), "state": state}
