"""A model behind an OpenAI-compatible endpoint, asked once per question.

Secrets are taken out before anything is sent. Answers are kept by the content of the question, so that a run over the
same material asks nothing and gives the same bytes.
"""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Self

from specialists.client import request_json
from specialists.config import Config, Problem
from specialists.records import read_json, write_json

KEY = "SPECIALISTS_ENDPOINT_KEY"  # environment variable; $VLLM_API_KEY is our server's
TIMEOUT = 60.0  # seconds for one answer


class Endpoint:
    """One model; `problem` says why it is not asked any more, or is None."""

    def __init__(self, url: str, model: str, cache: Path, clean: Callable[[str], str]):
        """`url` is the base, with /v1; `cache` keeps the answers; `clean` takes secrets out of a text."""
        if not model or not url.startswith(("http://", "https://")):
            raise Problem("[endpoint] url (http://…/v1) and model go together, as --endpoint and --model do")
        self.url, self.model, self.cache, self.clean = f"{url.rstrip('/')}/chat/completions", model, cache, clean
        self.problem: str | None = None
        self._known: dict[str, str] = read_json(cache) or {}
        self._used: dict[str, str] = {}

    @classmethod
    def configured(cls, config: Config, output: Path, clean: Callable[[str], str], **asked: str | None) -> Self | None:
        """That of the configuration, but for `endpoint` and `model` as asked, if any; answers lie beside `output`."""
        url, model = asked.get("endpoint") or config.endpoint.url, asked.get("model") or config.endpoint.model
        return cls(url, model, output.with_name(f".{output.stem}.requests.json"), clean) if url or model else None

    def ask(self, question: str) -> str | None:
        """The answer to a question, redacted; None when there is none. A model that fails once is asked no more."""
        question = self.clean(question)
        key = sha256(f"{self.model}\n{question}".encode()).hexdigest()
        if key not in self._known:
            if self.problem:
                return None
            messages = [{"role": "user", "content": question}]
            body = {"model": self.model, "messages": messages, "temperature": 0, "seed": 17, "max_tokens": 400}
            try:
                answer = request_json(self.url, body, key=os.environ.get(KEY), timeout=TIMEOUT)
                text = str(answer["choices"][0]["message"]["content"] or "").strip().strip('"')
            except (Problem, LookupError, TypeError) as problem:
                self.problem = str(problem) if isinstance(problem, Problem) else f"{self.url}: no chat completion"
                return None
            self._known[key] = self.clean(text)
            write_json(self.cache, self._known)  # at once, for a run that is killed
        self._used[key] = self._known[key]
        return self._known[key]

    def finish(self) -> list[str]:
        """At the end of a whole run: forget the answers that it did not ask for; what is to be said of it."""
        if self.problem:
            return [f"{self.problem}; requests are from templates, or the commits' own words"]
        write_json(self.cache, dict(sorted(self._used.items())))
        return []
