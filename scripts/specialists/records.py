"""Records: one training example a line of JSON, in the OpenAI chat fine-tuning form.

    {"id", "language", "messages": [...], "tools": [...], "source": {"kind", "time", ...}}

`function.arguments` is a JSON string (exact through Arrow). `weight: 0` marks an assistant turn that is context, not a
target. Files are sorted, appear whole or not at all, and are touched only when their content changes.
"""

import fcntl
import filecmp
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from glob import escape
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from specialists.config import Problem

Record = dict[str, Any]

SOURCES = {"session": "sessions", "commit": "commits", "rollout": "rollouts", "synthetic": "synthetic"}
"""A row's `source.kind`, and the folder under data/ of such rows; of two that say the same the first one stays."""

_RANDOM = "????????"  # what tempfile puts into a name
_SURROGATES = re.compile("[\ud800-\udfff]")
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def canonical(value: Any) -> str:
    """JSON without white space and without lone surrogates, which no UTF-8 file can hold."""
    return _without_surrogates(_COMPACT(value))


def record_id(language: str, messages: list[dict], tools: list[dict]) -> str:
    """16 hex digits over what the model sees; where it came from does not count."""
    plain = json.dumps([language, messages, tools], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(_without_surrogates(plain).encode()).hexdigest()[:16]


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def iso(seconds: float) -> str:
    """A time since 1970 as records and manifests have it: ISO 8601, UTC, whole seconds."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def make_record(language: str, messages: list[dict], tools: list[dict], source: dict[str, Any]) -> Record:
    """A finished record with its id; `source` needs `kind` and `time` (ISO 8601, UTC)."""
    content = {"language": language, "messages": messages, "tools": tools}
    return {"id": record_id(language, messages, tools), **content, "source": source}


def tool_call(number: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """One call in the OpenAI form; ids are numbered within the record, so that they carry nothing."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": canonical(arguments)}}


def is_target(message: dict[str, Any]) -> bool:
    """Whether the loss is taken on this message."""
    return message["role"] == "assistant" and message.get("weight", 1) == 1


def calls_of(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Names and decoded arguments of the calls in a message."""
    functions = (call["function"] for call in message.get("tool_calls") or ())
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def cluster_of(record: Record) -> str:
    """What a row must not be separated from: its session, or its commit."""
    source = record["source"]
    if not (source.get("session") or (source.get("repository") and source.get("commit"))):
        raise Problem(f"row {record['id']}: its source names neither a session nor a repository and a commit")
    return source.get("session") or f"{source['repository']}@{source['commit']}"


def source_of(cluster: str) -> dict[str, str]:
    """The `source` that a cluster is named after: a session, or a repository and a commit."""
    repository, at, commit = cluster.rpartition("@")
    return {"repository": repository, "commit": commit} if at else {"session": cluster}


def names_of(source: dict[str, Any]) -> list[str]:
    """What a row's `source` names, as `[owner] exclude` does."""
    prefixes = {"session": "", "commit": "commit ", "repository": "repository ", "row": "row "}
    return [f"{prefix}{source[kind]}" for kind, prefix in prefixes.items() if source.get(kind)]


def located_records(path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a file and the byte where each begins. Raises Problem naming file and line of what is none."""
    import jsonlines

    try:
        with path.open("rb") as file, jsonlines.Reader(file, loads=json.loads) as reader:
            for number in count(1):
                offset = file.tell()
                try:
                    record = cast(Record, reader.read(type=dict))
                    record["id"], record["language"], record["source"]["kind"], record["source"]["time"]
                    if not isinstance(record["messages"], list):
                        raise TypeError("messages is no list")
                except EOFError:
                    return
                except (jsonlines.InvalidLineError, KeyError, TypeError) as error:
                    do = "if a step made this file, delete it, and the next doit makes it anew"
                    raise Problem(f"{path}:{number}: not a record: {type(error).__name__}: {error}; {do}") from None
                yield offset, record
    except OSError as error:
        raise Problem(f"{path}: {error.strerror or error}; the step before makes it") from None


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, in order. Raises Problem as located_records does."""
    return (record for _offset, record in located_records(path))


def write_records(path: Path, records: Iterable[Record]) -> bool:
    """Write records sorted by time and id, each id once. Returns whether the file changed."""
    import jsonlines

    unique = {record["id"]: record for record in records}
    ordered = sorted(unique.values(), key=lambda record: (record["source"]["time"], record["id"]))
    return replace_file(path, lambda file: jsonlines.Writer(file, dumps=canonical).write_all(ordered))


def write_json(path: Path, value: Any) -> bool:
    """Write readable JSON as replace_file does."""
    return write_if_changed(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any | None:
    """What a JSON file of ours holds, or None when it is missing or half of one."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def write_if_changed(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a text as replace_file does."""
    return replace_file(path, lambda file: file.write(text.encode()), mode)


def replace_file(path: Path, write: Callable[[BinaryIO], Any], mode: int = 0o600) -> bool:
    """Put what `write` writes in a file's place if it differs: a temporary file beside it, flushed, renamed over it.
    Returns whether it did. Raises Problem as `written` does; the old file is then still there."""
    with written(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(path.parent, f".{escape(path.name)}.{_RANDOM}.tmp")  # not an editor's .NAME.swp
        before, file = f".{path.name}.", None
        while file is None or not os.path.exists(file.name):  # others may remove it before it is locked
            file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=before, suffix=".tmp", delete=False)  # noqa: SIM115
            fcntl.flock(file, fcntl.LOCK_EX)
        with file:
            try:
                write(cast(BinaryIO, file))
                file.flush()
                if path.is_file() and filecmp.cmp(file.name, path, shallow=False):
                    path.chmod(mode)  # an earlier version's files were open to others
                    return False
                os.fsync(file.fileno())
                os.chmod(file.name, mode)
                os.replace(file.name, path)
            finally:
                Path(file.name).unlink(missing_ok=True)
    return True


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder among the system's temporary ones while the body runs; those that killed runs left are removed."""
    prefix, around = f"coding-specialists-{prefix}", Path(tempfile.gettempdir())
    with ExitStack() as stack:
        with locked(around):  # nobody else removes it before it is locked
            _remove_abandoned(around, f"{prefix}{_RANDOM}")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
            stack.enter_context(locked(folder))
        yield folder


def _remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove the temporary files and folders of killed runs: nobody holds their lock any more."""
    for abandoned in folder.glob(pattern):
        with suppress(OSError), locked(abandoned, fcntl.LOCK_NB):
            shutil.rmtree(abandoned) if abandoned.is_dir() else abandoned.unlink()


@contextmanager
def locked(path: Path, wait: int = 0) -> Iterator[None]:
    """Hold a file or folder while the body runs; `wait`: fcntl.LOCK_NB for a BlockingIOError where it is held."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | wait)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """While a file is written. Raises Problem when the disk is full or the folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise Problem(f"{path}: cannot be written: {error.strerror or error}") from None


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises Problem when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; the step before makes it") from None
