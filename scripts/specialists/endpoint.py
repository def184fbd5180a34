"""A model behind an OpenAI-compatible endpoint, asked once per question.

Secrets are taken out before anything is sent. Answers are kept by the content of the question, so that a run over the
same material asks nothing and gives the same bytes.
"""

import os
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Self

from specialists.agent import path_of
from specialists.client import Refused, request_json
from specialists.config import Config, Problem
from specialists.records import Record, calls_of, is_target, make_record, read_json, write_json
from specialists.seen import names

KEY = "SPECIALISTS_ENDPOINT_KEY"  # environment variable; $VLLM_API_KEY is our server's
TIMEOUT = 60.0  # seconds for one answer
_WRITE = """\
A developer wants this change made by a coding agent that has not seen it yet.
{changes}
What is known of it: {request}

Write the developer's request in one to four plain sentences: what goes wrong or what is wanted, in which function and \
file, and names and messages that nobody could guess. Quote no code of the change. Answer with the request alone."""
_CHECK = """\
Request to a coding agent: {request}

The change that was wanted:
{changes}
Could a good developer who can read the files make a change of the same effect from this request alone, and does the \
request leave it to him to find out what to write? Answer yes or no."""
_JUDGE = """\
{session}

This is a part of a session with a coding agent. A model will be trained to give the numbered answers. Which of them \
should it not learn? Those that state or rest on what nothing before them shows (it was cleared, left out or never \
looked at; what is new stands in brackets behind each), report success, causes or checks that no output shows, do what \
was not asked for and is not needed, leave what was asked, repeat what failed, or are wrong as the rest shows. To \
search, read or test to find out is right. Answer with their numbers, with commas between them, or with: none."""
_CHANGE = "\n{}, before:\n{}\nafter:\n{}\n"
_CONTROLS = (  # path, before, after, a request that determines the change, one that says too little
    ("a.py", "def area(w, h): return w + h", "def area(w, h): return w * h", "area() adds the sides.", "Improve a.py."),
    ("b.py", "def last(of): return of[0]", "def last(of): return of[-1]", "last() gives the first.", "Fix the list."),
)
_SESSION = (
    "## user\ntest_area fails, please look into it.\n## assistant 1\nI look at the function that it tests.\n"
    "[('read', {'filePath': 'a.py'})]\n## tool\n1: def area(w, h): return w + h\n## assistant 2\n"
    "I have corrected it, all 214 tests pass, and version 2.1 is on PyPI.\n(nowhere before: 2.1, 214)"
)
_NUMBERS = re.compile(r"(?i)\W*(?:answers?|numbers?)?[\s:]*\d+(?:(?:[\s,;]|and)+\d+)*\W*")
_FIT = re.compile(r"(?!.*(?:```|<\|))[^\x00-\x08\x0b-\x1f\x7f]{1,800}", re.S)  # no code, special token or control


class Endpoint:
    """One model; `problem` says why a question has no answer, or is empty; a model that is `down` is asked no more."""

    def __init__(self, url: str, model: str, cache: Path, clean: Callable[[str], str]):
        """`url` is the base, with /v1; `cache` keeps the answers; `clean` takes secrets out of a text."""
        if not model or not url.startswith(("http://", "https://")):
            raise Problem("[endpoint] url (http://…/v1) and model go together, as --endpoint and --model do")
        self.url, self.model, self.cache, self.clean = f"{url.rstrip('/')}/chat/completions", model, cache, clean
        self.problem, self.down, self._used = "", False, dict[str, str]()
        self._known = dict[str, str](old if isinstance(old := read_json(cache), dict) else {})

    @classmethod
    def configured(cls, config: Config, output: Path, clean: Callable[[str], str], **asked: str | None) -> Self | None:
        """That of the configuration, but for `endpoint` and `model` as asked, if any; answers lie beside `output`."""
        url, model = asked.get("endpoint") or config.endpoint.url, asked.get("model") or config.endpoint.model
        answers = f".{output.stem}.requests.json"
        return cls(url, model, output.with_name(answers), clean).prove() if url or model else None

    def prove(self) -> Self:
        """Ask what is known already: of a model that gives a wrong answer, as a small one did, nothing is used."""
        for question, right in controls():
            if (answer := self.ask(question)) and _verdict(answer) != right:
                self.problem = f"{self.url}: {self.model} is not used: it says {answer[:40]!r} where {right!r} is right"
                # a better model may get this name: it is asked again
                write_json(self.cache, {key: text for key, text in self._known.items() if text != answer})
                self._known, self.down = {}, True
                break
        return self

    def ask(self, question: str) -> str | None:
        """The answer to a question, redacted; None when there is none."""
        question = self.clean(question)
        key = sha256(f"{self.model}\n{question}".encode()).hexdigest()
        if key not in self._known:
            if self.down:
                return None
            asked = [{"role": "user", "content": question}]
            body = {"model": self.model, "messages": asked, "temperature": 0, "seed": 17, "max_tokens": 400}
            try:
                answer = request_json(self.url, body, key=os.environ.get(KEY), timeout=TIMEOUT)
                text = str(answer["choices"][0]["message"]["content"] or "").strip().strip('"')
                if not text:
                    raise Refused(f"{self.url}: an empty answer", 422)
            except (Problem, LookupError, TypeError) as problem:
                self.problem = str(problem) if isinstance(problem, Problem) else f"{self.url}: no chat completion"
                self.down = getattr(problem, "status", 0) not in (400, 413, 422)  # of one question alone, as a long one
                return None
            self._known[key] = self.clean(text)
            write_json(self.cache, self._known)  # at once, for a run that is killed
        self._used[key] = self._known[key]
        return self._known[key]

    def finish(self, whole: bool) -> list[str]:
        """What is to be said at the end of a run. One over everything forgets the answers that it did not ask for."""
        if whole and not self.down:
            write_json(self.cache, dict(sorted(self._used.items())))
        return [f"{self.problem}; what was not answered is as it would be without an endpoint"] if self.problem else []


def controls() -> Iterator[tuple[str, str]]:
    """Questions of which the answer is known, and that: which requests suffice for which change, what not to learn."""
    for *change, own, vague in _CONTROLS:
        for request in (*[one[-2] for one in _CONTROLS], vague):
            yield _CHECK.format(changes=_CHANGE.format(*change), request=request), "yes" if request == own else "no"
    yield _JUDGE.format(session=_SESSION), "2"


def _verdict(answer: str) -> str:
    """The numbers that an answer ends with, with spaces between them; or yes or no, as it begins; else nothing."""
    last = answer.rpartition("\n")[2]
    if _NUMBERS.fullmatch(last):
        return " ".join(re.findall(r"\d+", last))
    word = re.match(r"\W*(yes|no)\b", answer, re.I)
    return word[1].lower() if word else ""


def reworded(endpoint: Endpoint, record: Record) -> Record | None:
    """The record with a request of the endpoint's model; as it is without an answer; None for one that does not do."""
    calls = [call for message in record["messages"] for call in calls_of(message)]
    changes, added = "", set()
    for change in (arguments for name, arguments in calls if name in ("edit", "write")):
        old, new = change.get("oldString", ""), change.get("newString", "") + change.get("content", "")
        changes += _CHANGE.format(path_of(change), old, new)
        added |= {line.strip() for line in new.split("\n")} - {line.strip() for line in old.split("\n")}
    written = endpoint.ask(_WRITE.format(changes=changes, request=record["messages"][1]["content"]))
    if written is None or not _FIT.fullmatch(written) or any(len(line) > 8 and line in written for line in added):
        return None if written else record  # not a request, or one that gives the solution away
    checked = endpoint.ask(_CHECK.format(changes=changes, request=written)) or ""
    if _verdict(checked) != "yes":
        return None if checked else record
    system, user, *rest = record["messages"]
    messages, source = [system, {**user, "content": written}, *rest], {**record["source"], "request": "model"}
    return make_record(record["language"], messages, record["tools"], source)


def judged(endpoint: Endpoint, record: Record) -> tuple[Record | None, int]:
    """The record up to the last answer that the endpoint's model would have learned, if any; how many are context."""
    numbers, (system, *rest) = count(1), record["messages"]
    marked = [(message, str(next(numbers)) if is_target(message) else "") for message in rest]
    texts, seen = list[str](), names(system)
    for one, mark in marked:
        told = f"\n(nowhere before: {', '.join(sorted(names(one) - seen)[:20])})" if mark else ""
        texts.append(f"## {one['role']} {mark}\n{one['content'] or ''}\n{[*calls_of(one)] or ''}{told}")
        seen |= names(one)
    wrong = {*_verdict(endpoint.ask(_JUDGE.format(session="\n".join(texts))) or "").split()}
    messages = [system, *({**message, "weight": 0} if mark in wrong else message for message, mark in marked)]
    end = max((number for number, message in enumerate(messages, 1) if is_target(message)), default=0)
    left = make_record(record["language"], messages[:end], record["tools"], record["source"]) if end else None
    return left, sum(mark in wrong for _message, mark in marked)
