"""A model behind an OpenAI-compatible endpoint, asked once per question.

Secrets are taken out before anything is sent. Answers are kept by the content of the question, so that a run over the
same material asks nothing and gives the same bytes. An API key is taken from $VLLM_API_KEY.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path

from specialists.config import Config, Problem
from specialists.records import read_json, write_json
from specialists.secrets import Rules, redact

TIMEOUT = 60.0  # seconds for one answer
KEPT = 20  # answers after which they are written down, for a run that is killed


class Endpoint:
    """One model; `problem` says why it is not asked any more, or is None."""

    def __init__(self, url: str, model: str, cache: Path, rules: Rules):
        """`url` is the base, with /v1; `cache` a JSON file of answers from earlier runs. Raises Problem for no URL."""
        if not (url and model) or not url.startswith(("http://", "https://")):
            raise Problem(
                "an endpoint (http://…/v1) and a model go together: [endpoint] url and model, or --endpoint and --model"
            )
        self.url, self.model, self.cache, self.rules = url.rstrip("/"), model, cache, rules
        self.problem: str | None = None
        self._known: dict[str, str] = read_json(cache) or {}
        self._used: dict[str, str] = {}

    @classmethod
    def configured(
        cls, config: Config, cache: Path, url: str | None = None, model: str | None = None
    ) -> Endpoint | None:
        """The endpoint of the configuration, unless another one is given; None where none is named."""
        url, model = url or config.endpoint.url, model or config.endpoint.model
        return cls(url, model, cache, Rules.of(config)) if url or model else None

    def ask(self, question: str) -> str | None:
        """The answer to a question, redacted; None when the model gives none."""
        question, _findings = redact(question, self.rules)
        key = sha256(json.dumps([self.model, question]).encode()).hexdigest()
        answer = self._used.get(key) or self._known.get(key) or self._answer(question)
        if answer is not None:
            self._used[key] = answer
            if len(self._used.keys() - self._known.keys()) == KEPT:
                self._known |= self._used
                self._write(self._known)
        return answer

    def save(self) -> None:
        """Keep the answers of this run for the next; those that nothing asks for any more go."""
        if self.problem is None or self._used.keys() - self._known.keys():
            self._write(self._used if self.problem is None else {**self._known, **self._used})

    def _write(self, answers: dict[str, str]) -> None:
        write_json(self.cache, dict(sorted(answers.items())))

    def _answer(self, question: str) -> str | None:
        """One answer from the endpoint; None when it gives none, and from then on it is not asked again."""
        if self.problem is not None:
            return None
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "seed": 17,
            "max_tokens": 400,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                content = json.load(response)["choices"][0]["message"]["content"]
            return redact(str(content or "").strip().strip('"'), self.rules)[0]
        except (OSError, ValueError, LookupError, TypeError) as error:
            self.problem = f"{self.url}: {getattr(error, 'reason', None) or error}"
            return None
