"""Requests in a person's words, without a model: what broke or what is wanted, from the names and comments of the code.

A frame is a whole sentence or two with room for the function, its file and what is wrong with it; frames are dealt
out evenly, so that none makes up more than a twentieth of a language's requests. What is wrong is told by what a
mistake does, never by what it is called.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from specialists.code.grammars import grammar_of
from specialists.synthetic.operators import Words

FIX: tuple[str, ...] = (  # {f} function, {p} its file, {s} what it does wrong ("stops too early")
    "`{f}` in {p} {s}. Please fix it.",
    "Bug: `{f}` {s}. It is in {p}.",
    "There is a mistake in {p}: `{f}` {s}.",
    "{p}: `{f}` {s}. Can you fix that?",
    "I think `{f}` ({p}) is broken: it {s}.",
    "Something is off in `{f}`. It {s}. Have a look at {p}, please.",
    "Can you find out why `{f}` {s}? The code is in {p}.",
    "`{f}` {s}. It came with the last change to {p}; repair it, and leave the rest as it is.",
    "Please look at {p}: `{f}` {s}. That is wrong.",
    "fix `{f}` in {p}, it {s}",
    "Regression in {p}: `{f}` {s}.",
    "Users report that `{f}` {s}. The function is in {p}; make the smallest fix.",
    "While debugging I found that `{f}` from {p} {s}. Correct it.",
    "A test of `{f}` fails: it {s}. Fix {p}, not the test.",
    "`{f}` misbehaves. What I see: it {s}. File: {p}.",
    "We have a wrong result here, because `{f}` {s}. See {p}.",
    "In {p}, `{f}` {s}. What is the right code there?",
    "The function `{f}` {s}. I have not touched {p} yet; please do.",
    "Why is it that `{f}` {s}? Find the cause in {p} and mend it.",
    "{p} has a bug. Symptom: `{f}` {s}.",
    "It seems that `{f}` {s}. Check {p} and put it right.",
    "Reviewing {p} I noticed that `{f}` {s}. Please correct that one thing.",
    "Next bug on the list: `{f}` ({p}) {s}.",
    "could you take care of {p}? `{f}` {s}",
    "My program goes wrong in `{f}`, which {s}. You find it in {p}.",
    "`{f}`: {s}. Should be a small fix in {p}.",
)
FIX_KNOWN: tuple[str, ...] = (  # {d} is the first sentence of the function's own comment
    "`{f}` in {p} is meant to do this: {d} But it {s}. Please fix it.",
    'The comment on `{f}` says "{d}" In fact it {s}. The code is in {p}.',
    "{d} That is what `{f}` in {p} is for, and now it {s}.",
    "`{f}` ({p}) does not do what it says. Expected: {d} Instead it {s}.",
    "Bug in {p}. `{f}`: {d} What happens: it {s}.",
    "According to its documentation, this is the job of `{f}`: {d} It {s}, though. Fix {p}.",
)
FIX_BUILD: tuple[str, ...] = (  # where a compiler says what is wrong
    "The build fails in {p}: `{f}` {s}.",
    "{p} does not compile. `{f}` {s}; please fix that.",
    "fix the compiler error in `{f}` ({p}): it {s}",
    "I get a compiler error for `{f}` in {p}. It {s}.",
    "CI is red, it cannot compile {p}: `{f}` {s}. Can you repair it?",
    "`{f}` no longer compiles, because it {s}. File: {p}.",
    "After the last change {p} does not build any more. The reason is that `{f}` {s}.",
    "Please get {p} to compile again: `{f}` {s}.",
)
IMPLEMENT: tuple[str, ...] = (  # {d} is from the function's own comment
    "Implement `{f}` in {p}. {d}",
    "`{f}` in {p} is still a stub. {d} Write the body.",
    "Please fill in `{f}` ({p}): {d}",
    "{p}: `{f}` is missing its implementation. What it has to do: {d}",
    "Next up is `{f}` in {p}. {d} The signature stays as it is.",
    "write the body of `{f}` in {p}. {d}",
    "{d} That is what `{f}` should do; so far it only has a placeholder in {p}.",
    "Can you implement `{f}`? It is in {p}. {d}",
    "The body of `{f}` got lost. {d} Put it back into {p}.",
    "We need `{f}` to work. {d} You find the stub in {p}.",
    "Replace the placeholder of `{f}` in {p} by a real implementation. {d}",
    "TODO in {p}: `{f}`. {d}",
    "Complete {p}; only `{f}` is left. {d}",
    "Finish `{f}`, please. {d} File: {p}. Keep to the style of the code around it.",
    "Calling `{f}` fails, because it was never written. {d} It belongs into {p}.",
    "Have a look at `{f}` in {p}: there is a signature and no code. {d}",
    "In {p} I left `{f}` open. Do it for me: {d}",
    "Here is a small one: `{f}`, {p}. {d}",
    "Could you write `{f}`? {d} Everything that it needs should be in {p} already.",
    "`{f}` has to exist before I can go on. {d} It goes into {p}.",
    "What is missing in {p} is the code of `{f}`. {d}",
    "I declared `{f}` in {p} and wrote the comment. Now implement it: {d}",
    "`{f}` is not implemented yet, see {p}. Its comment says: {d}",
    "Make `{f}` from {p} do what it promises: {d}",
)
HINTS = ("You will need {h}.", "It can build on {h}.", "Use {h}.", "Have {h} do the work.")

SYMPTOMS: dict[str, tuple[str, ...]] = {
    "boundary": (
        "is wrong right at the limit, when `{left}` equals `{right}`",
        "gets the edge case wrong where `{left}` is exactly `{right}`",
        "works below and above, but not when `{left}` and `{right}` are the same",
        "puts the case of `{left}` being equal to `{right}` on the wrong side",
    ),
    "equality": (
        "takes the wrong way when `{left}` is `{right}`",
        "does the opposite of what it should as soon as `{left}` and `{right}` match",
        "mixes up the cases where `{left}` is and is not `{right}`",
        "treats any other `{left}` as if it were `{right}`, and the other way round",
    ),
    "equality in": (
        "gets it backwards whether `{left}` is in `{right}`",
        "takes a `{left}` that is in `{right}` for one that is not",
    ),
    "logic both": (
        "goes ahead although only one of `{left}` and `{right}` holds",
        "is satisfied too easily: `{left}` alone is enough, without `{right}`",
        "should need `{left}` as well as `{right}`, but takes either",
    ),
    "logic either": (
        "ignores the case that only one of `{left}` and `{right}` holds",
        "waits for `{left}` and `{right}` together, where either should be enough",
        "misses cases: `{left}` without `{right}` has to count too",
    ),
    "logic both value": (
        "stops at `{left}` and never gets to `{right}`",
        "gives back `{left}` where it should go on to `{right}`",
    ),
    "logic either value": (
        "does not fall back to `{right}` when there is no `{left}`",
        "takes `{right}` even though `{left}` is there",
        "loses `{left}`: `{right}` should only step in where that is missing",
    ),
    "arithmetic +": (
        "comes out too small: `{right}` has to be counted in with `{left}`",
        "computes the wrong figure from `{left}` and `{right}`",
    ),
    "arithmetic -": (
        "comes out too large: `{right}` has to be taken off `{left}`",
        "computes the wrong figure from `{left}` and `{right}`",
    ),
    "arithmetic *": ("scales the wrong way: `{left}` and `{right}` give too little",),
    "arithmetic /": ("scales the wrong way: `{left}` and `{right}` give too much",),
    "arithmetic +=": ("lets `{left}` go down by `{right}` where it should grow", "counts `{left}` the wrong way"),
    "arithmetic -=": ("lets `{left}` grow by `{right}` where it should go down", "counts `{left}` the wrong way"),
    "off_by_one": (
        "is one off where it deals with `{near}`; the number there has to be {real}",
        "uses {wrong} together with `{near}`, it should be {real}",
        "is off by one at `{near}`: {real} would be right",
    ),
    "swapped_arguments": (
        "mixes up `{a}` and `{b}` when it calls `{call}`",
        "hands `{a}` and `{b}` to `{call}` the wrong way round",
        "behaves as if `{a}` and `{b}` had changed places in `{call}`",
    ),
    "negated_condition": (
        "does the opposite of what it should with regard to `{condition}`",
        "behaves as if `{condition}` were false when it is true, and the other way round",
        "reacts to `{condition}` the wrong way round",
        "has it backwards what to do when `{condition}` holds",
    ),
    "dropped_guard return": (
        "carries on even {when}; it should `{exit}` then",
        "does not stop early {when}. The right answer then is `{exit}`",
        "has nothing to say {when}, where `{exit}` is expected",
    ),
    "dropped_guard leave": (
        "does its work even {when}; it should get out with `{exit}`",
        "does not check first: {when}, it has to `{exit}`",
        "no longer takes the early way out ({exit}) {when}",
    ),
    "dropped_guard error": (
        "does not complain {when}; `{exit}` is expected",
        "accepts what it should refuse: {when} it has to `{exit}`",
        "is missing its check: {when}, `{exit}`",
    ),
    "dropped_return": (
        "gives nothing back where `{value}` is the result",
        "works out `{value}` and then loses it: the caller gets {nil}",
        "returns {nil} instead of `{value}`",
    ),
    "dropped_try silent": (
        "swallows errors of `{call}`; they have to reach the caller",
        "goes on as if nothing had happened when `{call}` fails",
    ),
    "dropped_try": (
        "uses what `{call}` gives without a look at whether it failed",
        "does not pass errors of `{call}` on to the caller",
    ),
    "dropped_try try": (
        "calls `{call}`, which can throw, without saying so",
        "does not mark the call of `{call}` as one that can throw",
    ),
    "dropped_await": (
        "does not wait for `{call}`",
        "goes on before `{call}` is done",
        "takes what `{call}` returns for the finished result",
    ),
    "dropped_await build": (
        "calls `{call}`, which is async, and does not await it",
        "does not mark the call of `{call}` as one to wait for",
    ),
    "range_end more": (
        "runs one too far: {end} must not be part of the range from `{start}`",
        "includes {end}, where the range from `{start}` has to end just before it",
    ),
    "range_end": (
        "stops one short: {end} belongs to the range from `{start}`",
        "leaves out {end} at the end of the range from `{start}`",
    ),
    "safe_navigation": (
        "crashes when `{receiver}` is {nil}",
        "assumes that `{receiver}` is always there, and fails on `{member}` when it is not",
        "should get by without `{receiver}`, but blows up at `{member}`",
    ),
    "fallback default": (
        "throws away a `{left}` that is 0 or empty and takes `{right}`; only a missing one should be replaced",
        "replaces `{left}` by `{right}` whenever it is falsy, not only when it is missing",
    ),
    "fallback kept": (
        "overwrites `{left}` although it already has a value",
        "sets `{left}` anew every time; what is there should stay",
    ),
    "dropped_statement call": (
        "leaves out a step: `{statement}`",
        "does not {verb} any more; `{statement}` is gone",
        "never gets to `{statement}`",
        "forgets to {verb} (`{statement}`)",
    ),
    "dropped_statement": (
        "leaves `{target}` as it was; it should do `{statement}`",
        "does not set `{target}` any more, `{statement}` is missing",
        "never updates `{target}` (`{statement}`)",
    ),
    "boolean": (
        "has `{label}` the wrong way round: it should be {real}",
        "works with {wrong} for `{label}` where {real} is right",
        "sets `{label}` to {wrong}; make that {real}",
    ),
    "boolean answer": ("answers {wrong} in a case where {real} is right", "says {wrong} where it has to say {real}"),
    "swapped_branches": (
        "gives `{a}` where `{b}` is right and the other way round, depending on `{condition}`",
        "decides wrongly on `{condition}`: that is when it has to be `{a}`, otherwise `{b}`",
    ),
    "sibling_name": (
        "uses `{wrong}` on `{receiver}`, where it has to be `{real}`",
        "asks `{receiver}` for `{wrong}` instead of `{real}`",
        "should take `{real}` of `{receiver}`, not `{wrong}`",
    ),
    "sibling_name bare": ("uses `{wrong}` where it has to be `{real}`", "takes `{wrong}` instead of `{real}`"),
}

DONE = {  # what was done, as the agent says it at the end
    "boundary": "`{left}` and `{right}` are compared with `{real}` again",
    "equality": "the check of `{left}` against `{right}` is `{real}` again",
    "logic": "`{left}` and `{right}` are joined the right way again",
    "arithmetic": "`{left}` and `{right}` are combined with `{real}` again",
    "off_by_one": "the number at `{near}` is {real} again",
    "swapped_arguments": "`{call}` gets `{a}` before `{b}` again",
    "negated_condition": "the condition on `{condition}` is the right way round again",
    "dropped_guard": "it checks `{condition}` first and leaves with `{exit}`",
    "dropped_return": "`{value}` is returned again",
    "dropped_try": "errors of `{call}` reach the caller again",
    "dropped_await": "`{call}` is awaited again",
    "range_end": "the range from `{start}` to {end} ends where it should",
    "safe_navigation": "`{receiver}` may be {nil} again",
    "fallback": "`{left}` uses `{real}` again",
    "dropped_statement": "`{statement}` is back",
    "boolean": "it is {real} there now",
    "swapped_branches": "`{condition}` chooses `{a}`, otherwise `{b}`",
    "sibling_name": "it uses `{real}` now",
}
CLOSING = ("Fixed `{f}`: {done}.", "Done: in `{f}` {done}.", "{Done} in `{f}`.", "That was it in `{f}`: {done}.")
CLOSING_IMPLEMENT = (
    "`{f}` is implemented.",
    "Implemented `{f}`.",
    "Done: `{f}` has its body now.",
    "`{f}` is written.",
)


def pick(options: Sequence[str], *key: object) -> str:
    """One of the options, always the same for the same key."""
    return options[int.from_bytes(sha256(repr(key).encode()).digest()[:4], "big") % len(options)]


class Dealer:
    """Deals out frames evenly: always one of those that were used least."""

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()

    def deal(self, frames: Sequence[str], *key: object) -> str:
        """The frame for a key among those used least so far."""
        least = min(self.used[frame] for frame in frames)
        frame = pick([frame for frame in frames if self.used[frame] == least], *key)
        self.used[frame] += 1
        return frame


def symptom(operator: str, words: Words, grammar: str, *key: object) -> str:
    """What a function with this mistake does wrong, to follow its name."""
    known = {**words, "nil": grammar_of(grammar).nil}
    if operator == "dropped_guard":
        known["when"] = f"when `{words['condition']}`"
        if words["keyword"] in ("unless", "guard"):
            known["when"] += " does not hold"
        known["when"] = (
            known["when"].replace("when `not ", "unless `") if known["when"].endswith("`") else known["when"]
        )
    if operator == "dropped_statement" and "call" in words:
        known["verb"] = " ".join(name_words(words["call"]))
    return pick(SYMPTOMS[_variety(operator, words, grammar)], operator, *key).format(**known)


def _variety(operator: str, words: Words, grammar: str) -> str:
    """The list of symptoms that fits."""
    match operator:
        case "equality" if words["real"] in ("in", "not in"):
            return "equality in"
        case "logic":
            value = " value" if words["role"] == "value" else ""
            return f"logic {'both' if words['both'] else 'either'}{value}"
        case "arithmetic":
            return f"arithmetic {words['real']}"
        case "dropped_guard":
            leave = words["exit"].split(" ", 1)
            if leave[0] in ("raise", "throw", "fail"):
                return "dropped_guard error"
            return "dropped_guard return" if len(leave) > 1 and leave[0] == "return" else "dropped_guard leave"
        case "dropped_try":
            return f"dropped_try {'silent' if words['silent'] else words.get('keyword', '')}".strip()
        case "dropped_await" if breaks_build(operator, words, grammar):
            return "dropped_await build"
        case "range_end":
            return "range_end more" if words["more"] else operator
        case "fallback":
            return f"fallback {words['kind']}"
        case "dropped_statement" if "call" in words:
            return "dropped_statement call"
        case "boolean" if not words["label"]:
            return "boolean answer"
        case "sibling_name" if not words["receiver"]:
            return "sibling_name bare"
    return operator


def breaks_build(operator: str, words: Words, grammar: str) -> bool:
    """Whether a compiler refuses the mistake."""
    return (operator == "dropped_try" and not words["silent"]) or (
        operator == "dropped_await" and grammar == "tree_sitter_swift"
    )


def done(operator: str, words: Words, grammar: str) -> str:
    """What setting it right comes down to."""
    return DONE[operator].format(**{**words, "nil": grammar_of(grammar).nil})


_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\[(])")
_SECTION = re.compile(
    r"^\s*(:\w+|@\w+|- \w+:|- ?(Parameters?|Returns?|Throws)\b|=+|#+ |Args?:|Returns?:|Raises:|Parameters?:?$|Example"
    r"|```|\.\. |>>>|\$|\* )",
    re.I,
)


_NOTHING_SAID = re.compile(r"(?i:see|same as|alias|inherited|todo|fixme|hack)\b|[A-Z]+ /")


def opening(doc: str, sentences: int = 1, longest: int = 180) -> str:
    """The first sentences of a doc comment; "" when there is none that can stand in a request."""
    lines: list[str] = []
    for line in doc.split("\n"):
        if re.match(r"\s*<?https?:", line) or (not lines and not line.strip()):
            continue
        if _SECTION.match(line) or not line.strip():
            break
        lines.append(line.strip())
    text = ""
    for sentence in _SENTENCE.split(" ".join(" ".join(lines).split()))[:sentences]:
        if text and (len(text) + len(sentence) >= longest or sentence[-1] not in ".!?"):
            break
        text = f"{text} {sentence}".strip()
    if (
        _NOTHING_SAID.match(text)
        or not 12 <= len(text) <= longest
        or text.count("`") % 2
        or len(re.findall(r"[A-Za-z]{2,}", text)) < 3
    ):
        return ""
    if re.match(r"[a-z]+ ", text):
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text.rstrip(':;,')}."


def name_words(name: str) -> list[str]:
    """`popNextElement`, `pop_next_element` -> pop, next, element."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
