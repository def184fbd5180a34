"""What came of a session's calls: which changes were taken back, failed a check or were rejected, what only repeats.

Texts of files decide: a change is taken back when its place reads as before it. Commands (git, jj, rm) do where no
text tells; one that failed did nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import takewhile
from posixpath import basename, commonprefix, join, normpath

from specialists.agent import in_project
from specialists.records import canonical
from specialists.sessions.shell import commands
from specialists.tools import Call, Files

EDITS = ("edit", "write", "apply_patch")
_LOOKS = frozenset("read grep glob list skill question todowrite webfetch websearch".split())  # and change nothing
_NO_FAILURE = (None, 0, 124, 126, 127, 130, 137, 143)  # exit codes; from 124 on: nothing was checked to its end
_SAYS_FAILED = re.compile(r"\b[1-9]\d* (?:failed|failures?|errors?)\b|\berror(?:\[\w+\]| TS\d+)?:|^FAILED?\b", re.M)
_OWN_ERRORS = re.compile(r"[Tt]his file(?: has errors)?, please fix:?\n.*?</", re.S)  # of an edited file, by its LSP
_ERROR = re.compile(r"^ERROR \[\d+:\d+\] (.*)", re.M)
_CLAUSES = re.compile(r"(?:(?!\sbut\s|\s[-–—]+\s)[^,.;:!?\n])+[,.;:!?\n]?")
_FILLER = re.compile(r"(?:(?:no|nope|ok|now|just|then|please|can you|well|sorry|hm+|wait|oh|but|i think|[-–—]+)\s+)*")
_ASKS = re.compile(r"\?[ *_)\n]*\Z")
_GO_ON = re.compile(r"(?:please |just )?(?:continue|go on|carry on|keep going|proceed)\W*", re.I)
_FINE = re.compile(r"no\W+(?:thank|(?:it|that|this|all)\S* (?:is |looks? )?(?:fine|good|great|ok|perfect))", re.I)
_IT = "(?:it|that|this|these|they|those|you|(?:the|your) (?:(?:last|previous) )?(?:approach|changes?|fix|solution))"
_NOT = "(?:(?:is|was|does|did|do)(?:n['’]t| not)|not)"
_REJECTS = (  # whole clauses
    r"(?:no|nope|nah|wrong)[,.;:!]?|(?:undo|revert)[.!]?|(?:not what )?i (?:asked|told|said|meant|wanted)\b.*",
    rf"(?:undo|revert|roll back)(?: {_IT}\b.*| all.*| everything.*| (?:the|your) (?:last|changes?|edits?)\b.*)",
    rf"(?:put|change|throw|take) {_IT} (?:back|away)(?: (?:as|to how) .*)?[,.;!]?|(?:the )?same (?:error|problem)\b.*",
    rf"{_IT} (?:br(?:oke|eaks)|crashe[sd]|fail(?:s|ed)|hangs|made (?:it|things) worse)\b.*",
    rf"{_IT}(?:['’]s| is| was)(?: \w+)? (?:wrong|incorrect|broken|worse)\b.*",
    rf"(?:{_IT}(?:['’]s)? )?{_NOT} (?:right|correct|what|work(?:ing)?|help|compile|build|fix(?:ed)?|solved?)\b.*",
    r"(?!does |is |check |see |make )(?:(?!if |whether |when |until |unless )\S+ ){0,6}still "
    r"(?:fail|crash|hang|br(?:eak|oke)|wrong|not|does|red|the same|(?:get|see)\w* .*(?:same|error))\w*\b.*",
)


@dataclass(eq=False)
class _Change:
    """One change of a file. `before`, `after`, `now`: the whole text where it was known, else of the edit's place."""

    step: int
    path: str
    before: str
    after: str
    now: str
    whole: bool
    untracked: bool  # a new file, which no `git checkout` touches
    errors: set[str]  # that its result lists in the file, and that were not listed before
    committed: bool = False
    lost: bool = False  # by a command

    def edit(self, old: str, new: str, times: int) -> None:
        """Take in a later edit of the same file."""
        if old and old in self.now:
            self.now = self.now.replace(old, new, times)
        elif not self.whole and self.now and self.now in old:  # of a larger place
            self.before, self.after = (old.replace(self.now, text, 1) for text in (self.before, self.after))
            self.now = new

    def see(self, text: str) -> None:
        """Take in the whole text of the file."""
        if self.whole:
            self.now, self.lost = text, False
        elif self.now.strip() and self.now in text:
            self.lost = False
        elif self.before in text and set(self.before.split("\n")) - set(self.after.split("\n")):
            self.now = self.before
        elif self.after:
            self.now = text

    @property
    def taken_back(self) -> bool:
        return self.lost or (self.now != self.after and _reads_as_before(self.before, self.after, self.now))

    @property
    def replaced(self) -> float:
        """The share of the added lines that are gone."""
        before, after, now = ("".join(text.split(" ")) for text in (self.before, self.after, self.now))  # reindented
        added = {line for line in after.split("\n") if line} - {*before.split("\n")}
        return sum(line not in now for line in added) / len(added) if added else 0.0


def _reads_as_before(before: str, after: str, now: str) -> bool:
    """Whether a text reads as `before` at every place where `after` differs from it; where `after` only adds lines,
    those around have to stand side by side again."""
    old, new, end = (text.split("\n") for text in (before, after, now))
    had, made, has = Counter(old), Counter(new), Counter(end)
    if any(has[line] > had[line] for line in made - had) or any(has[line] < had[line] for line in had - made):
        return False
    first = len(commonprefix([old, new]))
    tail = len(commonprefix([old[first:][::-1], new[first:][::-1]]))
    around = first + tail == len(old)
    place = old[max(first - around, 0) : len(old) - tail + around]
    return "\n".join(["", *place, ""]) in f"\n{now}\n" if before.strip() else not now.strip()


def undone(steps: list[list[Call]], in_turn: bool = False) -> set[int]:
    """Indexes of steps (calls of each) of which a change was taken back; `in_turn`: or of whose lines most are gone at
    the end, or any whose errors are gone too, if these are of one turn: what a later request changes was still right.
    """
    work = _Work()
    for step, calls in enumerate(steps):
        for call in (call for call in calls if not (call.failed or call.exit)):
            if call.command:
                work.command(call)
            else:
                work.file(step, call)
    gone = {one: 0.0 if one.errors - work.errors[one.path] else 0.5 for one in work.changes}  # share that must be
    return {one.step for one in work.changes if one.taken_back or (in_turn and one.replaced > gone[one])}


class _Work:
    """The changes of a session, and where git has them."""

    def __init__(self) -> None:
        self.changes: list[_Change] = []
        self.files = Files()  # trusted across commands, which mostly leave files alone; a read tells
        self.stashes: list[list[_Change]] = []
        self.errors: dict[str, set[str]] = {}  # that the result of a file's last edit lists

    def file(self, step: int, call: Call) -> None:
        """Take in a call that reads, edits or writes a file."""
        given, known = call.arguments, self.files.texts.get(call.path)
        self.files.after(call)
        text, before = self.files.texts.get(call.path), [one for one in self.changes if one.path == call.path]
        old, new = str(given.get("oldString", "")), str(given.get("newString", ""))
        for change in before:
            if call.name != "edit" and text is not None:
                change.see(text)
            elif call.name == "edit" and not change.lost:
                change.edit(old, new, -1 if given.get("replaceAll") else 1)
        if call.name not in ("edit", "write"):
            return
        listed = {*_ERROR.findall(match[0])} if (match := _OWN_ERRORS.search(call.output)) else set[str]()
        errors, self.errors[call.path] = listed - self.errors.get(call.path, set()), listed
        whole = call.name == "write" or (text is not None and known is not None)
        old, new = (known or "", text or "") if whole else (old, new)
        new_file = call.name == "write" and known is None and not before
        self.changes.append(_Change(step, call.path, old, new, new, whole, new_file, errors))

    def command(self, call: Call) -> None:
        """Take in a command line."""
        folder = in_project(str(call.arguments.get("workdir") or "."))
        for tool, *words in commands(call.command):
            folder = join(folder, *words[:1]) if tool == "cd" else folder
            for change in self._taken_back(basename(tool), words, folder):
                change.lost = True
                self.files.texts.pop(change.path, None)

    def _taken_back(self, tool: str, words: list[str], folder: str) -> list[_Change]:
        """The changes that a command takes back; of those that were committed all, where it goes back behind one."""
        while tool in ("git", "jj") and words and words[0].startswith("-"):  # options of all commands
            folder = join(folder, *words[1:2]) if words[0] == "-C" else folder
            words = words[2 if words[0] in ("-C", "-c") else 1 :]
        verb, *words = words if tool in ("git", "jj") and words else [tool, *words]
        names = [word for word in words if not word.startswith("-")]
        flags = {*words, *(letter for word in words if re.match("-[a-zA-Z]", word) for letter in word)}
        live = [one for one in self.changes if not one.lost and _covers(normpath(folder), one.path)]
        named = [one for one in live if any(_covers(normpath(join(folder, name)), one.path) for name in names)]
        tracked = [one for one in live if not one.untracked]
        pending = [one for one in tracked if not one.committed]
        match tool, verb:
            case _, "rm" if "--cached" not in flags:
                return named
            case "git" | "jj", "commit":
                for change in live:
                    change.committed = True
            case "git", "add":
                for change in named:
                    change.untracked = False
            case "git", "checkout" | "switch" if flags & {"f", "--force", "--discard-changes"}:
                return pending
            case "git", "checkout" | "restore" if flags & {"--worktree", "W"} or not flags & {"--staged", "S"}:
                return [one for one in named if one in pending]
            case "git", "apply" if flags & {"R", "--reverse"} and "--check" not in flags:
                return named or live
            case "git", "reset" if "--hard" in flags:
                return tracked if names and names != ["HEAD"] else pending
            case "git", "revert":
                return [one for one in live if one.committed]
            case "git", "clean" if flags & {"f", "--force"} and not flags & {"n", "--dry-run"}:
                return [one for one in (named if names else live) if one.untracked]
            case "git", "stash" if names and names[0] in ("pop", "apply"):
                for change in self.stashes.pop() if self.stashes else []:
                    change.lost = False
            case "git", "stash" if not names or names[0] not in ("list", "show", "drop", "clear", "branch"):
                self.stashes.append(live if "u" in flags else pending)
                return self.stashes[-1]
            case "jj", "restore" | "abandon" | "undo":
                return named if names else live
        return []


def _covers(named: str, path: str) -> bool:
    return named == "." or path == named or path.startswith(f"{named}/") or fnmatch(path, named)


def unchecked(steps: list[list[Call]], programs: Set[str] | None) -> set[int]:
    """Indexes of steps after whose edits a check failed; where it names files that were edited, of those edits.

    `steps`: the calls of each, within one turn; `programs`: what builds, tests and lints run, None: any is a check."""
    found, since, checked = set[int](), list[tuple[int, str]](), False
    for step, calls in enumerate(steps):
        for call in calls:
            names = {name for words in commands(call.command) for name in (words[0], basename(words[0]))}
            if call.name in EDITS and not call.failed:
                since, checked = [*([] if checked else since), (step, basename(call.path))], False
            elif names and (programs is None or programs & names):
                told = "|" in call.command and _SAYS_FAILED.search(call.output)  # the exit code is the last program's
                if told or call.exit not in _NO_FAILURE:
                    named = {edited for edited, name in since if name and name in call.output}
                    found |= named or {edited for edited, _name in since}
                checked = True
    return found


def rejects(request: str, answer: str, more: Iterable[str] = ()) -> bool:
    """Whether a request rejects the work before it, in its first clauses; `more`: patterns beside the English ones.

    `answer`: what was said last; where that asks something, a word such as "no" answers it."""
    pattern = re.compile("|".join([*_REJECTS, *(rf"(?:{clause})\W*" for clause in more)]), re.I)
    clauses = [_FILLER.sub("", clause.strip().lower(), count=1) for clause in _CLAUSES.findall(request)[:3]]
    unconditional = takewhile(lambda clause: not clause.startswith(("if ", "when ")), clauses)
    asked = _ASKS.search(answer)
    said = [clause for clause in unconditional if pattern.fullmatch(clause) and (" " in clause or not asked)]
    return bool(said) and not _FINE.match(request)


def goes_on(request: str, answer: str) -> bool:
    """Whether a request only asks to go on: the answer before it, which asks nothing, stopped halfway."""
    return bool(_GO_ON.fullmatch(request.strip())) and not _ASKS.search(answer)


def repeated(steps: list[list[Call]]) -> set[int]:
    """Indexes of steps whose calls all were made before, with equal results, and nothing changed between.

    `steps`: the calls of each, within one turn. An edit changes things, and so does every other call that does not
    only look, unless it is itself such a repetition."""
    last: dict[int, int] = {}  # hashes of calls with results since the last edit -> their last place
    found, changed, place = set(), 0, 0
    for step, calls in enumerate(steps):
        new = not calls
        for place, call in enumerate(calls, place + 1):  # noqa: B020 (counts on)
            key = hash((call.name, canonical(call.arguments), call.output))
            if call.name in ("edit", "apply_patch", "patch"):
                last.clear()
            new = new or last.get(key, -1) < changed
            changed = changed if key in last or call.name in _LOOKS else place
            last[key] = place
        found |= set() if new else {step}
    return found
