"""Which language a turn is work in: weighted evidence from what was done, not from what was talked about.

Edited files count most, then commands and compiler output, then files that were read; a manifest such as package.json
counts little and the contents of files not at all, so that a README with Swift in it is no work in Swift. A turn whose
own evidence is thin leans on the rest of its session. Work in a language that is not in the configuration counts
against all that are, so that a C++ project with a build script in Python is no work in Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePosixPath

from specialists.config import Language
from specialists.sessions.chat import Turn
from specialists.sessions.shell import commands
from specialists.tools import Call

OTHER = "other"  # a programming language that the configuration does not have

EDIT, EDIT_MANIFEST, READ, READ_MANIFEST = 10.0, 2.0, 2.0, 0.5
COMMAND, INSTALL, ONE_LINER, OUTPUT, ARGUMENT = 4.0, 1.5, 0.5, 3.0, 1.0
DELEGATED, AGENT, FENCE, NAMED_FILE, TITLE = 4.0, 2.0, 3.0, 2.0, 1.0

LEAST = 2.0  # own evidence, or own and session's together, under which a turn is in no language
MIXED = 0.6  # a second language with edits counts too from this share of the first one's score
LEAN = 3.0  # the most that the rest of the session can add
FOLLOW_UP = 0.5  # what a turn without evidence of its own inherits from the turn before

_REQUEST_CHARACTERS = 20_000  # looked at per request
_OUTPUT_CHARACTERS = 5_000  # looked at per output, from both ends: where compilers and test runners say what they are
_LINE_CHARACTERS = 500  # longer lines are data; patterns such as \S+ would crawl over them
_OTHER_EXTENSIONS = frozenset(
    """
    .rs .ts .tsx .py .rb .swift .go .c .cc .cpp .cxx .h .hpp .m .mm .java .kt .kts .scala .clj .cs .fs .vb .php .pl .pm
    .lua .js .jsx .mjs .cjs .vue .svelte .dart .ex .exs .erl .hs .ml .mli .nim .zig .jl .r .el .lisp .rkt .sol .sql .sh
    .bash .zsh .fish .ps1 .cu .asm .s .v .sv .vhd .tf .nix .groovy .cr .d .f90 .pas .elm .gleam .hx .proto .wgsl .glsl
    """.split()
)
_OTHER_COMMANDS = frozenset(
    """
    go gofmt gcc g++ clang clang++ cmake ninja javac java mvn gradle gradlew kotlinc scala sbt dotnet php composer lua
    dart flutter mix elixir iex ghc cabal stack ocaml dune zig julia Rscript perl crystal terraform nim
    """.split()
)
_INSTALLS = frozenset({"install", "i", "add", "ci", "-v", "--version", "-V", "version", "--help", "config", "login"})
_RUNNERS = frozenset({"exec", "run"})  # `bundle exec rspec`: what follows is a command too
_EDITING = {"tee": 1, "touch": 1}
_FENCE = re.compile(r"^```(\w+)", re.M)
_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.M)
_WORD_PATH = re.compile(r"[\w@./+-]*[\w+-]+\.\w{1,8}\b")


@dataclass(frozen=True)
class Item:
    """One piece of evidence."""

    language: str
    weight: float
    kind: str  # edit, read, command, …
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What a turn is work in, and why."""

    languages: tuple[str, ...]  # usually one; two where both were edited to a like degree; none
    scores: dict[str, float]
    items: tuple[Item, ...]
    reason: str  # in words, for --explain


class Judge:
    """Judges turns by the languages of a configuration."""

    def __init__(self, languages: Iterable[Language]):
        self.languages = list(languages)
        self._by_extension = {ext: lang.name for lang in self.languages for ext in lang.extensions}
        self._by_file = {file: lang.name for lang in self.languages for file in lang.files}
        self._by_command = {command: lang.name for lang in self.languages for command in lang.commands}
        self._by_adapter = {lang.adapter: lang.name for lang in self.languages}

    @cached_property
    def _outputs(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(lang.name, re.compile(pattern, re.M)) for lang in self.languages for pattern in lang.output]

    @cached_property
    def _titles(self) -> dict[str, str]:
        return {name.lower(): lang.name for lang in self.languages for name in (lang.title, lang.name)}

    def session(self, turns: list[Turn]) -> list[Verdict]:
        """A verdict for each turn of a session, in order."""
        evidence = [self.items(turn) for turn in turns]
        totals: dict[str, float] = defaultdict(float)
        for items in evidence:
            for item in items:
                totals[item.language] += item.weight
        verdicts: list[Verdict] = []
        for turn, items in zip(turns, evidence, strict=True):
            verdicts.append(self._verdict(turn, items, totals, verdicts[-1] if verdicts else None))
        return verdicts

    def items(self, turn: Turn) -> list[Item]:
        """All evidence of a turn: each file, command and pattern once per kind, a manifest once."""
        items: dict[tuple[str, str, str], Item] = {}

        def add(found: Iterable[Item]) -> None:
            for item in found:
                key = (item.language, "" if self._is_manifest(item.detail) else item.kind, item.detail)
                if key not in items or items[key].weight < item.weight:
                    items[key] = item

        add(self._in_request(turn.request))
        for step in turn.steps:
            add(self._in_text(step.text))
            if language := self._by_adapter.get(step.agent):
                add([Item(language, AGENT, "agent", step.agent)])
            for call in step.calls:
                add(self._in_call(call))
        return sorted(items.values(), key=lambda item: (-item.weight, item.language, item.kind, item.detail))

    def _verdict(self, turn: Turn, items: list[Item], totals: dict[str, float], before: Verdict | None) -> Verdict:
        own: dict[str, float] = defaultdict(float)
        edits: dict[str, float] = defaultdict(float)
        for item in items:
            own[item.language] += item.weight
            if item.kind == "edit":
                edits[item.language] += item.weight
        edited = any(call.name in ("edit", "write", "apply_patch") for step in turn.steps for call in step.calls)
        scores = dict(own)
        if own:
            whole = sum(totals.values())
            for language, total in totals.items():
                rest = total - own.get(language, 0.0)
                scores[language] = round(own.get(language, 0.0) + min(LEAN, LEAN * rest / whole), 3)
            reason = "own evidence and the rest of the session"
        elif before and before.languages and not edited:
            scores = dict.fromkeys(before.languages, FOLLOW_UP * LEAST * 2)
            return Verdict(before.languages, scores, tuple(items), "nothing of its own: goes on from the turn before")
        else:
            reason = "only files of no language were edited" if edited else "no evidence"
            return Verdict((), {}, tuple(items), reason)
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
        best, score = ranked[0]
        if score < LEAST or (edited and not own.get(best) and not edits):
            return Verdict((), scores, tuple(items), f"too little evidence (under {LEAST:g})")
        if best == OTHER:
            return Verdict((), scores, tuple(items), "mostly work in a language that is not in the configuration")
        close = [name for name, value in ranked[1:] if name != OTHER and value >= MIXED * score]
        also = [name for name in close if edits.get(name, 0.0) >= EDIT]
        return Verdict((best, *also), scores, tuple(items), reason)

    # --- where evidence comes from ---

    def _in_request(self, text: str) -> Iterable[Item]:
        for match in _WORD_PATH.finditer(text[:_REQUEST_CHARACTERS]):
            if (found := self._of_path(match[0])) and found[0] != OTHER:
                yield Item(found[0], NAMED_FILE * (0.25 if found[1] else 1), "named by the user", match[0])
        for word in re.findall(r"[A-Za-z]+", text[:2000]):
            if language := self._titles.get(word.lower()):
                yield Item(language, TITLE, "named by the user", word)

    def _in_text(self, text: str) -> Iterable[Item]:
        for match in _FENCE.finditer(text):
            language = self._titles.get(match[1].lower()) or self._by_extension.get(f".{match[1].lower()}")
            if language:
                yield Item(language, FENCE, "code in the answer", match[1])
            elif f".{match[1].lower()}" in _OTHER_EXTENSIONS - {".sh", ".bash", ".sql"}:
                yield Item(OTHER, FENCE, "code in the answer", match[1])

    def _in_call(self, call: Call) -> Iterable[Item]:
        if call.name == "bash":
            yield from self._in_command(str(call.arguments.get("command", "")))
            yield from self._in_output(call.output)
        elif call.name in ("edit", "write"):
            for path in call.paths:
                yield from self._path_item(path, "edit", EDIT, EDIT_MANIFEST)
        elif call.name == "apply_patch":
            for path in _PATCHED.findall(str(call.arguments.get("patchText"))):
                yield from self._path_item(path.strip(), "edit", EDIT, EDIT_MANIFEST)
        elif call.name == "read":
            for path in call.paths:
                yield from self._path_item(path, "read", READ, READ_MANIFEST)
        elif call.name in ("grep", "glob"):
            pattern = str(call.arguments.get("include" if call.name == "grep" else "pattern", ""))
            for extension in re.findall(r"\.\w+\b", pattern):
                yield from self._path_item(f"x{extension}", "searched", ARGUMENT, 0.0)
            if inside := call.arguments.get("path"):
                yield from self._path_item(str(inside), "searched", ARGUMENT, 0.0)
        elif call.name == "task" and (language := self._by_adapter.get(str(call.arguments.get("subagent_type")))):
            yield Item(language, DELEGATED, "delegated to", str(call.arguments["subagent_type"]))

    def _in_command(self, line: str) -> Iterable[Item]:
        for words in commands(line):
            yield from self._in_words(words)

    def _in_words(self, words: list[str]) -> Iterable[Item]:
        name = words[0] if words[0] in self._by_command else PurePosixPath(words[0]).name
        language = self._by_command.get(name) or (OTHER if name in _OTHER_COMMANDS else None)
        inner = next((i for i, word in enumerate(words[1:3], 1) if word in _RUNNERS), None)
        if language:
            rest = words[1:]
            if (
                (rest and rest[0] in ("-c", "-e", "-", "--eval", "-p"))
                or (not rest and name == words[0])
                or "<" in rest
            ):
                weight = ONE_LINER
            elif rest and (rest[0] in _INSTALLS or rest[:2] == ["-m", "pip"] or rest[:2] == ["-m", "json.tool"]):
                weight = INSTALL if rest[0] in ("install", "i", "add", "ci", "-m") else ONE_LINER
            else:
                weight = COMMAND
            yield Item(language, weight, "command", " ".join(words[:2]))
        if inner is not None and inner + 1 < len(words):
            yield from self._in_words(words[inner + 1 :])
            return
        in_place = name in ("sed", "perl") and any(word.startswith(("-i", "--in-place", "-pi")) for word in words)
        for position, word in enumerate(words[1:], 1):
            if name in ("echo", "printf", "git") and words[position - 1] != ">":
                continue
            if words[position - 1] == ">" or in_place or name in _EDITING:
                yield from self._path_item(word, "edit", EDIT * 0.8, EDIT_MANIFEST)
            elif _WORD_PATH.fullmatch(word.lstrip("*")):
                yield from self._path_item(word, "argument", ARGUMENT, 0.0)

    def _in_output(self, output: str) -> Iterable[Item]:
        if len(output) > 2 * _OUTPUT_CHARACTERS:
            output = f"{output[:_OUTPUT_CHARACTERS]}\n{output[-_OUTPUT_CHARACTERS:]}"
        text = "\n".join(line for line in output.split("\n") if len(line) <= _LINE_CHARACTERS)
        for language, pattern in self._outputs:
            if pattern.search(text):
                yield Item(language, OUTPUT, "output", pattern.pattern)

    def _path_item(self, path: str, kind: str, weight: float, manifest: float) -> Iterable[Item]:
        if found := self._of_path(path):
            language, is_manifest = found
            weight = manifest if is_manifest else weight
            if weight:
                yield Item(language, weight, kind, path)

    def _is_manifest(self, path: str) -> bool:
        found = self._of_path(path)
        return found is not None and found[1]

    def _of_path(self, path: str) -> tuple[str, bool] | None:
        """The language of a path and whether it is a manifest; None for prose, data and configuration."""
        name, suffix = _name_and_suffix(path)
        if name in self._by_file:
            return self._by_file[name], suffix not in self._by_extension
        if suffix in self._by_extension:
            return self._by_extension[suffix], False
        if suffix.lower() in _OTHER_EXTENSIONS:
            return OTHER, False
        return None


@lru_cache(maxsize=4096)  # a session works on the same files again and again
def _name_and_suffix(path: str) -> tuple[str, str]:
    name = PurePosixPath(path.rstrip("/")).name
    return name, PurePosixPath(name).suffix
