"""What a commit message asks for: the request a person could have made, and the line that tells it is done.

The commit's own words are kept. Conventional commits are understood (`fix(parser)!: …`), as are `path: …` prefixes;
trailers, issue numbers and squash lists go; the body stays where it says more. What only makes sense to who was there
("address review", "oops", "bump to 1.2") is no request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from specialists.commits import message_words as words

LEAST_WORDS = 3  # of a subject that stands alone (CommitPackFT asks for four); two with a body, a scope or code
BODY = 1000  # characters of a body that are kept, whole paragraphs
VERBS_WITH_COLON = ("add", "fix", "update", "remove", "change", "improve")  # `Add: a flag` names no place

VAGUE = "message says too little"
NO_VERB = "message asks for nothing"
RELEASE = "release or version bump"


@dataclass(frozen=True, slots=True)
class Intent:
    """A request, how its work is reported, and what kind of work it is."""

    request: str
    closing: str
    kind: str  # fix, feature, refactor, test, docs or other


class NoIntent(Exception):
    """The message asks for nothing; the text is the reason, as it is counted."""


def understand(message: str) -> Intent:
    """The intent of a commit message. Raises NoIntent with the reason it is counted under."""
    title, rest = _title(message)
    kind, scope, subject = _prefixes(_tidy(title))
    if words.RELEASES.match(subject) or scope in words.BUMPED:
        raise NoIntent(RELEASE)
    body = _body(rest, squashed=_refers(title))
    least = 2 if body or scope or words.CODE.search(subject) else LEAST_WORDS
    thin = not body and words.THIN.fullmatch(subject) and not words.CODE.search(subject)
    if words.NOISE.match(subject) or thin or _count(subject) < least:
        raise NoIntent(VAGUE)
    subject, verb = _imperative(subject, kind)
    request = f"{subject} ({scope})" if scope and not _mentions(subject, scope) else subject
    request = request if request[-1] in ".!?" else f"{request}."
    kind = kind or words.KIND_OF.get(verb or "", "other")
    return Intent(f"{request}\n\n{body}" if body else request, _closing(subject, verb), kind)


def coauthors(message: str) -> int:
    """How many others a message names as authors."""
    return len(words.COAUTHOR.findall(message))


def _title(message: str) -> tuple[str, str]:
    """A message's first line and the rest; a title that goes on in the second line is put together."""
    first, _, rest = message.strip().partition("\n")
    second, _, below = rest.partition("\n")
    if first.endswith(("…", "...")) and rest.lstrip().startswith(("…", "...")):  # cut by GitHub
        more, _, below = rest.lstrip().partition("\n")
        return first.rstrip("….") + more.lstrip("…."), below
    if second.strip() and first[-1] not in ".!?:" and (not below.strip() or below.startswith("\n")):
        return f"{first} {second.strip()}", below
    return first, rest


def _refers(line: str) -> bool:
    """Whether a line names an issue or pull request; told cheaply for the many that do not."""
    return ("#" in line or "://" in line or "gh-" in line.lower()) and words.REFERENCE.search(line) is not None


def _tidy(line: str) -> str:
    """A title without references, marks and emoji."""
    line = words.SIGH.sub("", words.EMOJI.sub("", words.MARKS.sub("", line)))
    if _refers(line):
        line = words.REFERENCE.sub(" ", words.LINKED.sub(" ", line))
    line = re.sub(r"(?<!\w)\(\s*[,;]*\s*\)|(?<!\w)\[\s*\]", "", line)
    return re.sub(r"\s+([,.;:)])(?=\s|$)", r"\1", re.sub(r"\s+", " ", line)).strip(" ,;:-–—.&").rstrip(" ([")


def _prefixes(subject: str) -> tuple[str | None, str | None, str]:
    """Kind and scope that stand before the subject proper, and the subject."""
    kind = scope = None
    if match := words.CONVENTIONAL.match(subject):
        name = match[1].lower()
        kind, scope, subject = words.TYPES[name], match[2] or None, subject[match.end() :]
        scope = name if name in words.BUMPED else scope
    if (match := words.PATH.match(subject)) and len(match[1]) <= 40:
        name, subject = match[1].lower(), subject[match.end() :]
        if name in VERBS_WITH_COLON:
            return kind, scope, f"{name} {subject}"
        kind, scope = kind or words.TYPES.get(name), scope or (None if name in words.TYPES else match[1])
    return kind, scope, subject.strip(" ,;:-–—.")


def _imperative(subject: str, kind: str | None) -> tuple[str, str | None]:
    """A subject as a request, and the verb that it starts with. Raises NoIntent when there is no way to."""
    leading = r"^(?:also|now|then|just|simply|please|this (?:commit|patch|change|pr))\s+"
    subject = re.sub(leading, "", subject, flags=re.I).rstrip("!")
    word, _, rest = subject.partition(" ")
    verbless = word.lower() not in words.STARTS | words.FORMS.keys()
    named = verbless and words.NAMES.match(subject) and not words.STATEMENT.search(subject)
    if kind in (None, "feature") and (named or words.NAMED.match(subject)):
        plain = re.fullmatch("[A-Z][a-z]+", word)
        return f"Add {subject[0].lower() if plain else subject[0]}{subject[1:]}", "add"
    if words.COMPLAINT.match(subject) and word.lower() not in words.STARTS:  # of what is, or of what is to be?
        if kind == "fix":
            return f"{words.OPENING[kind]} {subject}", None
        raise NoIntent(NO_VERB)
    verb = None if words.TELLS.match(subject) else words.FORMS.get(word.lower())
    if verb and rest:
        if word.lower() != verb:  # "Added a flag and made it work"
            rest = words.ANDS.sub(lambda more: f"and {words.FORMS.get(more[1], more[1])} ", rest)
        return f"{verb.capitalize()} {rest}", verb
    if word.lower() in words.STARTS or words.TELLS.match(subject) or words.STATEMENT.search(subject):
        return subject[:1].upper() + subject[1:] if re.fullmatch(r"[a-z][a-z'-]*,?", word) else subject, None
    opening = words.OPENING.get(kind or "")
    if opening is None:
        raise NoIntent(NO_VERB)
    return f"{opening} {subject}", None if opening.endswith(":") else opening.lower()


def _closing(subject: str, verb: str | None) -> str:
    """How the work is reported: in the past tense, where that is only a matter of the first verb."""
    if verb and verb != "do":
        rest = subject.split(" ", 1)[1]
        more = re.match(r"and ([a-z]+) ", rest)
        if more and more[1] in words.BASE_FORMS:
            return f"{words.past(verb).capitalize()} and {words.past(more[1])} {rest[more.end() :]}."
        if not any(also in words.BASE_FORMS for also in re.findall(r"(?:,|\.| and| then) ([A-Za-z]+) (?!and\b)", rest)):
            return f"{words.past(verb).capitalize()} {rest}."
    if subject.startswith("Fix: "):
        return f"Fixed: {subject[5:]}."
    plain = re.match(r"[A-Z][a-z']*[ ,]", subject)
    return f"Done: {subject[0].lower() if plain else subject[0]}{subject[1:]}."


def _mentions(subject: str, scope: str) -> bool:
    return scope.lower().rstrip("s") in subject.lower() or scope.lower() in words.PLACES_OF_NOTHING


def _count(text: str) -> int:
    """Words, each piece of code as one."""
    return len(re.findall(r"`[^`]+`|[^\W\d_][\w'.:-]*", text))


def _body(text: str, squashed: bool) -> str:
    """The paragraphs of a body that tell about the change, unwrapped; "" when they say nothing more."""
    text = re.split(r"^-{3,}\s*$|^# -+ >8", text.replace("\r", ""), maxsplit=1, flags=re.M)[0]
    lines = [line.rstrip() for line in text.split("\n") if not (words.TRAILER.match(line) or line.startswith("#"))]
    said = [line for line in lines if line.strip()]
    listed = [line[2:] for line in said if words.LISTED.match(line)]
    if squashed and (len(listed) >= 0.5 * len(said) or any(words.CONVENTIONAL.match(line) for line in listed)):
        return ""  # the titles of the commits that were squashed
    kept: list[str] = []
    size = 0
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        paragraph = _paragraph(paragraph)
        size += len(paragraph)
        if size > BODY:
            break
        if kept and not paragraph and kept[-1].endswith(":"):  # what it announces is left out
            kept.pop()
        elif paragraph:
            kept.append(paragraph)
    if kept and kept[-1].endswith(":"):
        kept.pop()
    body = "\n\n".join(kept)
    return body if _count(body) >= 5 else ""


def _paragraph(text: str) -> str:
    """A paragraph without what only the tracker knows: prose in one line, lists as they stand, no code or output."""
    if "```" in text:
        return ""
    if re.search(r"^\s*(?:[-*•]|\d+[.)]) ", text, re.M):
        return "\n".join(line for line in text.split("\n") if _tidy(line) and not words.OUTSIDE.search(line))
    if re.search(r"^(?: {4}|\t|>|\||\$ )", text, re.M):
        return ""
    prose = words.OWN_REFERENCE.sub("", re.sub(r"\s+", " ", text)).strip()
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z`'\"(])", prose)
    return " ".join(sentence for sentence in sentences if not words.OUTSIDE.search(sentence))
