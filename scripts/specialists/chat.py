"""The base model's own chat template and tokenizer: what a record looks like to the model, and where the loss is.

Rendered by jinja2 as transformers renders it, and tokenized by `tokenizers`, so that the data steps count tokens
exactly without importing torch. The mask needs no generation markers in the template: a target's text is what the
conversation up to and including it adds to the conversation before it plus the generation prompt, which is what the
served model is asked with. Where thinking can be switched off it is, here and in the server.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from specialists.config import Problem
from specialists.records import Record, is_target

NO_THINKING = {"enable_thinking": False, "preserve_thinking": True}
"""Given to every template, and to the server. Rows hold no thoughts; the empty block belongs to the prompt then (Qwen3
and later), and stays on earlier turns where a template knows the second name (Qwen3.6 and later)."""
_WORD = re.compile(r"\s*\S*(?:(?!\n\S)[^\S ]\s*\S*)*(?:\n(?=\S))?")  # until a space, or after a lone end of line
_KINDS = ("a", "Zé", "7", "10", "'s", "'", "(", ".-", "}", "_", "中", "и", "\u0301", "😀", "\u200b")
QUESTION = {"role": "user", "content": "x"}  # templates refuse conversations without a user
IGNORED = -100  # label of a token without loss, as torch's cross entropy and TRL know it


@dataclass(frozen=True)
class Encoded:
    """A record as the trainer sees it; both lists have one entry per token."""

    input_ids: list[int]
    labels: list[int]  # the token id where the loss is taken, IGNORED elsewhere

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


class Chat:
    """A base model's chat template with its tokenizer."""

    def __init__(self, template: str, tokenizer_json: str, special: dict[str, str]):
        self.template, self.tokenizer_json, self.special = template, tokenizer_json, special
        if not special.get("eos_token"):
            raise Problem("the base model's tokenizer_config.json names no eos_token: no stop token to train on")

    @classmethod
    def load(cls, model: str, revision: str | None = None) -> "Chat":
        """Of a folder or of a model in the Hub's cache; nothing is downloaded. Raises Problem when something lacks."""
        settings = json.loads(_model_file(model, "tokenizer_config.json", revision, required=True))
        template = _model_file(model, "chat_template.jinja", revision) or settings.get("chat_template")
        if isinstance(template, list):
            template = next((item["template"] for item in template if item["name"] in ("tool_use", "default")), None)
        if not template:
            raise Problem(f"{model}: no chat template (chat_template.jinja) in it")
        tokens = {name: value for name, value in settings.items() if name.endswith("_token") and value}
        special = {name: value["content"] if isinstance(value, dict) else value for name, value in tokens.items()}
        return cls(template, _model_file(model, "tokenizer.json", revision, required=True), special)

    @cached_property
    def fingerprint(self) -> str:
        """A hash over template and tokenizer: an adapter is only good under the ones it was trained with."""
        return hashlib.sha256(f"{self.template}\0{self.tokenizer_json}".encode()).hexdigest()[:16]

    @cached_property
    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_truncation()  # some bases carry the settings of their last training
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _compiled(self) -> Any:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def raise_exception(message: str) -> None:
            raise Problem(f"the chat template refuses the conversation: {message}")

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = lambda value, **how: json.dumps(value, **{"ensure_ascii": False, **how})
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        # `{% generation %}` marks of training templates mean nothing here
        return environment.from_string(re.sub(r"(\{%[+-]?\s*(?:end)?)generation\b", r"\1with", self.template))

    def render(self, messages: list[dict], tools: list[dict] | None = None, generation_prompt: bool = False) -> str:
        """The text of a conversation. Raises Problem when the template refuses it."""
        from jinja2 import TemplateError

        given = {"messages": messages, "tools": tools or None, "add_generation_prompt": generation_prompt}
        try:
            return self._compiled.render(**given, **NO_THINKING, **self.special)
        except (TemplateError, TypeError) as error:
            raise Problem(f"the chat template fails on the conversation: {error}") from None

    def targets(self, record: Record) -> tuple[str, dict[int, tuple[int, int]]]:
        """A record's text, and message number -> the characters that the loss is taken on, the stop token among them.

        A target that the template writes otherwise because of what follows it is left out: `parts` makes a row for it.
        Raises Problem with the record's id when nothing is supervised, or a turn does not begin as it is asked for."""
        messages, tools, stop = decoded(record["messages"]), record.get("tools"), self.special["eos_token"]
        wanted = [index for index, message in enumerate(messages) if is_target(message)]
        try:
            text, spans = self.render(messages, tools), {}
            for index in wanted:
                before = self.render(messages[:index], tools, generation_prompt=True)
                until = self.render(messages[: index + 1], tools) if messages[index + 1 :] else text
                end = until.rfind(stop)
                if before.rstrip().endswith("<think>"):
                    raise Problem("the chat template always asks for thoughts, and rows hold none: use another base")
                if until.startswith(before) and end < len(before):
                    raise Problem(f"the chat template ends an assistant turn without the stop token {stop!r}")
                end += len(stop)
                if not until.startswith(before):
                    raise Problem("the chat template does not keep prefixes: a turn is not what it is asked for")
                if text.startswith(until[:end]):
                    spans[index] = (len(before), end)
        except Problem as problem:
            raise Problem(f"row {record['id']}: {problem}") from None
        if not wanted:
            raise Problem(f"row {record['id']}: nothing supervised: no assistant turn of weight 1")
        return text, spans

    def spans(self, record: Record) -> tuple[str, list[tuple[int, int]]]:
        """What `targets` returns, without the numbers of the messages."""
        text, spans = self.targets(record)
        if not spans:
            raise Problem(f"row {record['id']}: nothing supervised: the chat template changes all turns afterwards")
        return text, [*spans.values()]

    def parts(self, record: Record) -> list[Record]:
        """Rows in which every target is supervised just as it is served: the record alone under most templates. Qwen3
        and Qwen3.5 take the empty block of thoughts out of turns before the last question: a row for each."""
        try:
            _text, spans = self.targets(record)
        except Problem:
            return [record]  # encode says what is wrong
        messages = record["messages"]
        left = [index for index, message in enumerate(messages) if is_target(message) and index not in spans]
        earlier = self.parts({**record, "messages": messages[: left[-1] + 1]}) if left else []
        return [*earlier, record] if spans else earlier

    def encode(self, record: Record) -> Encoded:
        """Token ids and labels of a record. Raises Problem with its id where there can be no mask."""
        text, spans = self.spans(record)
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        labels = [IGNORED] * len(encoding.ids)
        starts = [start for start, _end in encoding.offsets]
        for span in spans:
            tokens = slice(*(bisect_left(starts, end) for end in span))
            labels[tokens] = encoding.ids[tokens]
        return Encoded(encoding.ids, labels)

    def count(self, messages: list[dict], tools: list[dict] | None = None) -> int:
        """Tokens of a conversation, exact."""
        return self._count(self.render(decoded(messages), tools))

    def counts(self, record: Record) -> tuple[int, int]:
        """Tokens of a record, and those of them that are supervised, each target rendered alone: `encode` is slower."""
        learned = 0
        for message in filter(is_target, record["messages"]):
            text, spans = self.spans({**record, "messages": [QUESTION, message], "tools": []})
            learned += sum(self._count(text[start:end]) for start, end in spans)
        return self.count(record["messages"], record["tools"]), learned

    def _count(self, text: str) -> int:
        return sum(map(self._tokens, self._special.split(text) if self._special else [text]))

    @property
    def special_tokens(self) -> list[str]:
        """The texts that become control tokens wherever they stand, longest first."""
        added = json.loads(self.tokenizer_json).get("added_tokens") or ()
        names = {token["content"] for token in added if token.get("special")} | {self.special["eos_token"]}
        return sorted(names, key=len, reverse=True)

    @cached_property
    def _tokens(self) -> Callable[[str], int]:
        """Tokens of what stands between two special tokens: by words where that is exact, as they come again."""
        encode = partial(self.tokenizer.encode_batch_fast, add_special_tokens=False)  # `encode` finds offsets too
        if not (self._special and self.counts_by_words):
            return lru_cache(maxsize=2000)(lambda text: len(encode([text])[0]))
        word = lru_cache(maxsize=200_000)(lambda text: len(encode([text])[0]))
        return lru_cache(maxsize=2000)(lambda text: sum(map(word, _WORD.findall(text))))

    @cached_property
    def counts_by_words(self) -> bool:
        """Whether no token of the tokenizer reaches over the end of a _WORD, seen where any two kinds of text meet."""
        spaces = ("", " ", "  ", "\n", "\n\n", "\t", " \n", "\n ", "\n\t", "\r\n", "\u3000")
        text = "".join(map("".join, product(_KINDS, spaces, _KINDS)))
        normalizer, splitter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer

        def pieces(text: str) -> list[str]:
            text = normalizer.normalize_str(text) if normalizer else text
            return [piece for piece, _place in splitter.pre_tokenize_str(text)] if splitter else [text]

        return pieces(text) == [piece for word in _WORD.findall(text) for piece in pieces(word)]

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        """The tokens that a text is cut at first; None where they, or their place, change what stands beside them."""
        settings = json.loads(self.tokenizer_json)
        tokens = [token for token in settings.get("added_tokens") or () if not token.get("normalized")]
        greedy = any(token.get(name) for token in tokens for name in ("lstrip", "rstrip", "single_word"))
        if not tokens or greedy or '"first"' in json.dumps(settings.get("pre_tokenizer")):
            return None
        longest_first = sorted((token["content"] for token in tokens), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


class Estimate:
    """Token counts where the base model is not on this machine: on the safe side, so that nothing is over the limit."""

    BYTES_PER_TOKEN = 3.0  # UTF-8; Qwen's tokenizer makes 3.2 to 4.2 of code and English prose
    MESSAGE_TOKENS = 12  # around each message and call
    PREAMBLE_BYTES = 602  # of the template

    _tools: tuple[list[dict] | None, int] = (None, 0)  # the last ones, which are those of a session, with their size

    def count(self, messages: list[dict], tools: list[dict] | None = None) -> int:
        """Tokens of a conversation, estimated."""
        if tools and tools is not self._tools[0]:
            self._tools = tools, len(json.dumps(tools, ensure_ascii=False)) - len("[]")
        calls = [call["function"] for message in messages for call in message.get("tool_calls") or ()]
        texts = [*(message.get("content") or "" for message in messages), *(c["name"] + c["arguments"] for c in calls)]
        size = self.PREAMBLE_BYTES + (self._tools[1] if tools else 0)
        size += sum(len(text.encode("utf-8", "replace")) for text in texts)
        return round(size / self.BYTES_PER_TOKEN) + len(texts) * self.MESSAGE_TOKENS


def token_counter(model: str, revision: str | None = None) -> Chat | Estimate:
    """The base model's own template and tokenizer when they are there, an estimate when not."""
    try:
        return Chat.load(model, revision)
    except Problem:
        return Estimate()


def decoded(messages: list[dict]) -> list[dict]:
    """Messages with tool-call arguments as objects, which is what chat templates iterate over."""

    def plain(message: dict) -> dict:
        calls = [{**call, "function": dict(call["function"])} for call in message.get("tool_calls") or ()]
        for call in calls:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        rest = {key: value for key, value in message.items() if key != "tool_calls"}
        return {**rest, "tool_calls": calls} if calls else rest

    return [plain(message) for message in messages]


def model_folder(model: str, revision: str | None = None) -> Path | None:
    """Where a model lies on this machine: the folder itself, or the Hub's cache; None when it does not."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub.constants import HF_HUB_CACHE  # its functions take half a second to import

    cache = Path(HF_HUB_CACHE, f"models--{model.replace('/', '--')}")
    reference = cache / "refs" / (revision or "main")
    snapshot = cache / "snapshots" / (reference.read_text() if reference.is_file() else revision or "")
    return snapshot if (snapshot / "config.json").is_file() else None


def _model_file(model: str, name: str, revision: str | None, required: bool = False) -> str:
    """The text of one of a model's files; empty when it is not there."""
    folder = model_folder(model, revision)
    if folder and (folder / name).is_file():
        return (folder / name).read_text(encoding="utf-8")
    if required:
        here = f"download it first (hf download {model}), or name its folder in specialists.toml"
        raise Problem(f"{model}: no {name}; {'is the path right?' if model.startswith('/') else here}")
    return ""
