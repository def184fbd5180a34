"""Which language a turn is work in: weighted evidence from what was done, not from what was talked about.

Edited files count most, then commands and compiler output, then files that were read; a manifest such as package.json
counts little and the contents of files not at all. Work in a language that is not in the configuration counts against
all that are.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from specialists.config import Language
from specialists.sessions.chat import Turn
from specialists.sessions.shell import commands
from specialists.tools import Call

OTHER = "other"  # a programming language that the configuration does not have

EDIT, EDIT_MANIFEST, READ, READ_MANIFEST, NAMED_FILE, TITLE = 10.0, 2.0, 2.0, 0.5, 2.0, 1.0
COMMAND, OUTPUT, AGENT, FENCE = 4.0, 3.0, 4.0, 3.0

MIN_SCORE = 2.0  # own evidence, or own and session's together, under which a turn is in no language
SECOND_LANGUAGE = 0.6  # another language with edits counts too from this share of the first one's score
FROM_SESSION = 3.0  # the most that the rest of the session can add
FOLLOW_UP_SCORE = 2.0  # of a turn without evidence of its own, in the language of the turn before

_REQUEST_CHARACTERS = 20_000  # looked at per request
_OUTPUT_CHARACTERS = 5_000  # looked at per output, from both ends: where compilers and test runners say what they are
_LINE_CHARACTERS = 500  # longer lines are data; patterns such as \S+ would crawl over them
_OTHER_EXTENSIONS = """
    .rs .ts .tsx .py .rb .swift .go .c .cc .cpp .cxx .h .hpp .m .mm .java .kt .kts .scala .clj .cs .fs .vb .php .pl .pm
    .lua .js .jsx .mjs .cjs .vue .svelte .dart .ex .exs .erl .hs .ml .mli .nim .zig .jl .r .el .lisp .rkt .sol .sql .sh
    .bash .zsh .fish .ps1 .cu .asm .s .v .sv .vhd .tf .nix .groovy .cr .d .f90 .pas .elm .gleam .hx .proto .wgsl .glsl
""".split()
_TOOLS = frozenset({"command", "output", "edit", "read"})
_EDIT = ("edit", EDIT, EDIT_MANIFEST)
_BY_PATH = {"edit": _EDIT, "write": _EDIT, "apply_patch": _EDIT, "read": ("read", READ, READ_MANIFEST)}
_WRITTEN_AS = {".ipynb": ".py", ".ru": ".rb"}
_TYPED_AS = dict.fromkeys(".js .jsx .mjs .cjs .vue .svelte".split(), ".ts")  # in a project that has files of that
_SCRIPT_FOLDERS = frozenset({"bin", "exe", "script", "scripts"})
_SHEBANG = re.compile(r"\A(?:.*<content>\n)?(?:1: ?)?#!\s*\S*?(?:env\s+(?:-\S+\s+)*)?([\w.-]+)(?:\s|\Z)", re.S)
_FENCE = re.compile(r"^```(\w+)", re.M)
_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.M)
_WORD_PATH = re.compile(r"(?<![\w@./+-])[\w@./+-]*[\w+-]\.\w{1,8}\b")


class Evidence(NamedTuple):
    """One piece of evidence for a language."""

    language: str
    weight: float
    kind: str  # edit, read, command, …
    detail: str
    manifest: bool = False
    project: str | None = None  # the language instead, in a project of it; "": in a project of any

    @property
    def worked_on(self) -> bool:
        return not self.manifest and self.kind in (("edit",) if self.language == OTHER else ("edit", "read"))


class TurnLanguages(NamedTuple):
    """What a turn is work in, and why."""

    languages: tuple[str, ...]  # usually one; two where both were edited to a like degree; none
    scores: dict[str, float]
    evidence: list[Evidence]
    reason: str  # in words, for --explain


class LanguageClassifier:
    """Finds the languages of turns, among those of a configuration."""

    def __init__(self, languages: Iterable[Language]):
        self.languages = list(languages)
        self._by_extension = {ext: lang.name for lang in self.languages for ext in lang.extensions}
        self._by_file = {file: lang.name for lang in self.languages for file in lang.files}
        self._by_command = {command: lang.name for lang in self.languages for command in lang.commands}
        self._by_adapter = {lang.adapter: lang.name for lang in self.languages}
        self._by_title = {name.lower(): lang.name for lang in self.languages for name in (lang.title, lang.name)}
        self._outputs = [(lang.name, re.compile(text, re.M)) for lang in self.languages for text in lang.output]
        self._scripts: dict[str, str] = {}  # of files in the session, by their first line

    def classify(self, turns: list[Turn]) -> list[TurnLanguages]:
        """The languages of each turn of a session, in order."""
        self._scripts = {}
        evidence = self._in_project([self.evidence(turn) for turn in turns])
        session = _scores(item for items in evidence for item in items)
        results: list[TurnLanguages] = []
        for turn, items in zip(turns, evidence, strict=True):
            before = next((result.languages for result in reversed(results) if result.languages), ())
            results.append(_decide(turn, items, session, before))
        return results

    def _in_project(self, turns: list[list[Evidence]]) -> list[list[Evidence]]:
        """The evidence of a session's turns as it counts in the project: whose scripts those are, whose tools."""
        everything = [item for items in turns for item in items]
        main = _scores(item for item in everything if item.worked_on)
        ranked = sorted(main, key=lambda name: (name == OTHER, -main[name]))
        projects = {"": ranked[0] if ranked else OTHER}
        for language in self.languages:
            words = "|".join(re.escape(extension[1:]) for extension in language.extensions)
            own = [item.detail for item in everything if item.language == language.name]
            projects[language.name] = language.name if re.search(rf"\b(?:{words})", "\n".join(own)) else OTHER
        found, worked = [], list[str]()  # heaviest last
        for items in turns:
            items = [item if item.project is None else item._replace(language=projects[item.project]) for item in items]
            worked += [item.language for item in reversed(items) if item.worked_on]
            known = worked or ranked[::-1]
            foreign = [known and item.kind in _TOOLS and item.language not in known for item in items]
            found.append([i._replace(language=known[-1]) if of else i for i, of in zip(items, foreign, strict=True)])
        return found

    def evidence(self, turn: Turn) -> list[Evidence]:
        """All evidence of a turn, heaviest first: each file, command and pattern once per kind, a manifest once."""
        heaviest: dict[tuple[str, str, str], Evidence] = {}
        for item in self._found(turn):
            key = (item.language, "" if item.manifest else item.kind, item.detail)
            if key not in heaviest or heaviest[key].weight < item.weight:
                heaviest[key] = item
        return sorted(heaviest.values(), key=lambda item: (-item.weight, item.language, item.kind, item.detail))

    def _found(self, turn: Turn) -> Iterable[Evidence]:
        yield from self._in_request(turn.request)
        for step in turn.steps:
            for tag in map(str.lower, _FENCE.findall("" if step.note else step.text)):
                language = self._by_title.get(tag) or self._by_extension.get(f".{tag}")
                if language or (f".{tag}" in _OTHER_EXTENSIONS and tag not in ("sh", "bash", "sql")):
                    yield Evidence(language or OTHER, FENCE, "code in the answer", tag)
            if language := self._by_adapter.get(step.agent):
                yield Evidence(language, AGENT, "agent", step.agent)
            for call in step.calls:
                yield from self._in_call(call)

    def _in_request(self, text: str) -> Iterable[Evidence]:
        for path in _WORD_PATH.findall(text[:_REQUEST_CHARACTERS]):
            found = self._of_path(path, "named by the user", NAMED_FILE, NAMED_FILE / 4)
            yield from (item for item in found if item.language != OTHER)
        for word in re.findall(r"[A-Za-z]+", text[:2000]):
            if language := self._by_title.get(word.lower()):
                yield Evidence(language, TITLE, "named by the user", word)

    def _in_call(self, call: Call) -> Iterable[Evidence]:
        given = call.arguments
        if call.name == "bash":
            for words in commands(call.command):
                yield from self._in_command(words)
            yield from self._in_output(call.output)
        elif call.name in _BY_PATH:
            if (head := _SHEBANG.match(str(given.get("content") or call.output)[:1000])) and "." not in call.path[1:]:
                self._scripts[call.path] = self._by_command.get(head[1], OTHER)
            for path in [call.path, *map(str.strip, _PATCHED.findall(str(given.get("patchText"))))]:
                yield from self._of_path(path, *_BY_PATH[call.name])
        elif call.name == "task" and (language := self._by_adapter.get(agent := str(given.get("subagent_type")))):
            yield Evidence(language, AGENT, "delegated to", agent)

    def _in_command(self, words: list[str]) -> Iterable[Evidence]:
        name = words[0] if words[0] in self._by_command else PurePosixPath(words[0]).name
        if language := self._by_command.get(name):
            yield Evidence(language, COMMAND, "command", " ".join(words[:2]))
        writes = name in ("sed", "perl") and any(word.startswith(("-i", "--in-place", "-pi")) for word in words)
        for before, word in pairwise(words):
            if before == ">" or writes or name in ("tee", "touch"):
                yield from self._of_path(word, *_EDIT)

    def _in_output(self, output: str) -> Iterable[Evidence]:
        if len(output) > 2 * _OUTPUT_CHARACTERS:
            output = f"{output[:_OUTPUT_CHARACTERS]}\n{output[-_OUTPUT_CHARACTERS:]}"
        text = "\n".join(line for line in output.split("\n") if len(line) <= _LINE_CHARACTERS)
        said = {language: pattern.pattern for language, pattern in self._outputs[::-1] if pattern.search(text)}
        yield from (Evidence(language, OUTPUT, "output", pattern) for language, pattern in said.items())

    def _of_path(self, path: str, kind: str, weight: float, manifest_weight: float) -> Iterable[Evidence]:
        """Evidence of a path, if any: prose, data and configuration are none."""
        name = PurePosixPath(path.rstrip("/")).name
        suffix = PurePosixPath(name).suffix
        suffix, project = _WRITTEN_AS.get(suffix, suffix), self._by_extension.get(_TYPED_AS.get(suffix, ""))
        language = self._by_file.get(name) or self._by_extension.get(suffix) or self._scripts.get(path)
        if language is None and not suffix and name.islower() and _SCRIPT_FOLDERS & {PurePosixPath(path).parent.name}:
            language, project = OTHER, ""
        if language is None and suffix.lower() in _OTHER_EXTENSIONS:
            language = OTHER
        is_code = suffix in self._by_extension or (not suffix and f"{name}.lock" not in self._by_file)  # a Rakefile
        manifest = name in self._by_file and not is_code
        if language and (weight := manifest_weight if manifest else weight):
            yield Evidence(language, weight, kind, path, manifest, project if language == OTHER else None)


def _scores(evidence: Iterable[Evidence]) -> dict[str, float]:
    scores: dict[str, float] = defaultdict(float)
    for item in evidence:
        scores[item.language] += item.weight
    return scores


def _decide(turn: Turn, evidence: list[Evidence], session: dict[str, float], before: tuple[str, ...]) -> TurnLanguages:
    """`session`: the scores of the whole session; `before`: the languages of the turn before."""
    own = _scores(evidence)
    edits = _scores(item for item in evidence if item.kind == "edit")
    sources = {item.language for item in evidence if item.kind == "edit" and not item.manifest}
    edited = any(call.name in ("edit", "write", "apply_patch") for step in turn.steps for call in step.calls)
    if not own:
        if not before and turn.steps:  # the first turn of a session
            before = tuple(sorted(session.keys() - {OTHER}, key=lambda name: -session[name])[:1])
        if before and not edited:
            scores = dict.fromkeys(before, FOLLOW_UP_SCORE)
            return TurnLanguages(before, scores, evidence, "nothing of its own: as the turns around it")
        return TurnLanguages((), {}, evidence, "only files of no language were edited" if edited else "no evidence")
    scores, whole = {}, sum(session.values())
    for language, total in session.items():
        mine = own.get(language, 0.0)
        scores[language] = round(mine + FROM_SESSION * (total - mine) / whole, 3)
    ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    ranked = [pair for pair in ranked if pair[0] in (sources or scores)]
    best, score = ranked[0]
    if score < MIN_SCORE or (edited and not edits and own.get(best, 0.0) < COMMAND):
        return TurnLanguages((), scores, evidence, f"too little evidence (under {MIN_SCORE:g})")
    if best == OTHER:
        return TurnLanguages((), scores, evidence, "mostly work in a language that is not in the configuration")
    close = [name for name, value in ranked[1:] if name != OTHER and value >= SECOND_LANGUAGE * score]
    also = [name for name in close if edits.get(name, 0.0) >= EDIT]
    return TurnLanguages((best, *also), scores, evidence, "own evidence and the rest of the session")
