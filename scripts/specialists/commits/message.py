"""What a commit message asks for, in the commit's own words.

What only a tracker, a reviewer or a tool reads goes: trailers, footers, sections but the summary, issue numbers.
"""

import re
from itertools import accumulate
from typing import NamedTuple

LEAST_WORDS = 4  # of a request, as CommitPackFT asks
BODY_WORDS = 5  # of a body that is worth keeping
BODY = 1000  # characters of a body that are kept, whole paragraphs; of a block of code in it

VAGUE, RELEASE = "message says too little", "release or version bump"

_CONVENTIONAL = re.compile(  # `fix(parser)!: …`
    r"(?i)(feat(?:ure)?|(?:bug|hot)?fix|docs?|style|refactor|perf|tests?|build|ci|chore|deps|revert|release|\w+(?=[(!]))"
    r"!?(?:\(([^)]*)\))?!?:\s+(?=\S)"
)
_KINDS = {  # by how the type or the first word begins
    "fix": r"(?:bug|hot)?fix|secur|prevent|avoid|correct|repair|guard|handl|ensur|restor",
    "feature": r"feat|add(?!r)|implement|support|introduc|allow|enabl|provid|expos|creat|extend",
    "refactor": r"refactor|perf|style|types|renam|mov|simplif|extract|remov|replac|split|inlin|clean|consolidat|unif"
    r"|reorgani|restructur|drop|dedup|convert|migrat|rewrit|rework",
    "test": r"tests?\b",
    "docs": r"docs?\b|document",
}

_ISSUE = (
    r"(?:(?:[\w.-]{1,40}/[\w.-]{1,60})?#\d+|\bgh-\d+"
    r"|https?://\S{1,200}?/(?:issues?|pulls?|merge_requests|discussions|browse)/[\w#/-]+)"
)
_AROUND = (
    r"\b(?:from|in|by|with|since|after|per|via|of|to|for|as|on|and|or|which|this|it|also|see|part|re|refs?|issues?|bug"
    r"|ticket|cc|pr|pull|request|(?:fix|close|resolve|address|implement|reference|relate)(?:e?[sd]|ing)?)\b:?"
)
_REFERENCE = re.compile(  # issues and pull requests with the words around them
    rf"(?i)[(\[]?\s*(?:{_AROUND}\s+){{0,5}}{_ISSUE}(?:(?:[\s,&]+{_AROUND}){{0,4}}[\s,&]*{_ISSUE}){{0,9}}\s*[)\]]?:?"
)
_SHA = r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,40}\b"
_OUTSIDE = re.compile(  # what a reader of the code alone does not have, or is no part of the example
    rf"(?i)https?://|{_ISSUE}|\bthanks\b|{_SHA}|\b(?:ship|releas|publish)\w* (?:\w+ ){{0,2}}v?\d+\.\d+"
)
_MARKS = re.compile(  # keys of trackers, what stands there for machines, pictures
    r"\[[A-Z]{2,10}-\d+\]|^(?!UTF|SHA|ISO|RFC)[A-Z]{2,10}-\d+:|\[(?i:skip ci|ci skip|no ci|wip|#\d+[^\]]*)\]"
    r"|:[a-z_]+:(?!\S)| ?/?\b(?:cc|props|thanks|h/t)\b:?(?: to)?(?: ?@[\w-]+,?)+"
    r"|[\u2190-\u2bff\ufe0f\u200d\U0001f000-\U0001faff]+"
)
# a block of code or output, fenced or, behind an empty line, indented
_BLOCK = re.compile(r"(?m)(?<!\n)\n*^```(?:(?!^```)[\s\S])*?^```[ \t]*$\n*|(?<!\n)\n{2,}(?:(?: {4}|\t).*(?:\n+|\Z))+")
_LABEL = re.compile(  # where a section begins: a heading, `Test plan: …`, a trailer, `BUG=…`, a rule
    r"(?m)^(?:#+ .*|#\t.*|\*\*[^*\n]+\*\*:?|\(?[A-Z][\w-]*(?: [\w-]+){0,3} ?[:=](?!:).*|\[\w+: .*\]"
    r"|\(cherry picked from .*|-{3,}.*)$"
)
_ASIDE = re.compile(  # no part of the example: the template's hints, at a line's end a changelog or a version
    r"(?i)<!--(?:(?!<!--)[\s\S])*?-->"
    r"|(?:[,;.]|\band|\n) ?(?:add|updat|bump)\w* (?:(?:the|a|to) ){0,2}(?:change-?log|version)\.?(?=\n|$)"
)

_THING = (
    r"(?:tests?|specs?|builds?|ci|typos?|warnings?|errors?|comments?|docs?|it|this|that|things?|stuff|imports?|bugs?)"
)
_TOOL = r"[\w-]*(?:fmt|format\w*|lint\w*|cop|black|prettier|clippy|isort|ruff|mypy|commit hooks?)"
_NOISE = re.compile(  # about the commit or the repository's upkeep, nothing of the code
    r"(?i)(?:o+ps|whoops|doh|ugh|typos?|wip|misc\w*|nits?|forgot|missed|really)\b.*"
    r"|merge (?:branch|commit|pull request|remote|tag)\b.*"
    r"|(?:address|apply|incorporate)\w* .*\b(?:review|feedback|comments?|suggestions?|nits?)\b.*"
    r"|.*\b(?:this|previous|last|prior|earlier) (?:\w+ )?(?:commit|merge|pull|pull request|pr|push|rebase)"
    r"|(?:update|create|delete|rename) \S+\.\w{1,5}"
    r"|(?:fix|correct|update|improve|add|remove|make|run|apply|use|satisfy|appease|tidy|tweak|clean ?up|clean)\w*"
    rf"(?: (?:the|a|some|all|more|failing|broken|minor|small|up|new|few|of|updated|cargo))* (?:{_THING}|{_TOOL})"
    rf"(?: (?:again|pass|work|green|happy|{_THING}|failures?|fixes))*"
)
_UNSAID = re.compile(  # names a thing, but nothing that it should become; a body may
    r"(?i)(?:more|further|another|some|minor|small|tiny|quick|better|various|initial|final)(?: [\w'-]+){1,4}"
    r"|(?:updat|improv|refactor|rework|adjust|enhanc|modif|chang|tweak|polish|clean ?up|tidy)\w*"
    r"(?: (?!(?:to|from|for|with|by|if|when|so|into|as)\b)\S+){1,3}"
    r"|(?:[\w'-]+ ){1,3}(?:fix(?:es)?|tweaks?|(?:clean|tidy)-?ups?|improvements?|enhancements?|refactorings?)"
    r"(?: (?:in|of|for|to)(?: [\w'-]+){1,4})?|.*\b(?:in|for) (?:more|some|other|various|several) \w+"
    r"|.*(?<!`)\b(?:(?-i:I)(?!/)|my|let'?s|this|these|here|hopefully|stuff)\b(?!`).*"  # only the author knows of what
)
_VERSION = r"v?\d+(?:\.\d+)+\S*"
_UPDATE = r"(?:bump|upgrade|update|pin|set|change|increment|increase|bring in)\w*"
_RELEASES = re.compile(
    rf"(?i)(?:[\w@/-]+[-@ ])?{_VERSION}(?:\W+(?-i:[A-Z])[\w']*+)*"
    r"|release: .*"
    rf"|(?:prepare|prep|cut|tag|publish|start|begin|release)\w*(?: \S+){{0,2}} (?:release|version|{_VERSION})\b.*"
    rf"|(?:bump|upgrade|pin)\w* .*\b(?:to {_VERSION}|from \S*\d\S* to \S*\d\S*)|deps(?:-dev)?: {_UPDATE} .*"
    rf"|(?:update|bring in)\w* \S+ (?:from \S+ )?to {_VERSION}|{_UPDATE} (?:\S+ )*(?:to|for) (?:the )?latest\b.*"
    rf"|{_UPDATE}(?: \S+){{0,3}} (?:versions?|deps|dependenc\w+|lock ?files?)(?: (?:number|to|for|from|in)\b.*)?"
)


class Intent(NamedTuple):
    """A request, and what kind of work it is."""

    request: str
    kind: str  # fix, feature, refactor, test, docs or other


class LeftOut(Exception):
    """A commit that is no example; the text is the reason, as it is counted."""


def understand(message: str) -> Intent:
    """The intent of a commit message. Raises LeftOut with the reason it is counted under."""
    title, rest = _title(_ASIDE.sub("", re.sub("[\r\0]", "", message)).strip())
    subject, kind, place = _tidy(title), "", ""
    if match := _CONVENTIONAL.match(subject):
        kind, place, subject = match[1].lower(), match[2] or "", subject[match.end() :]
    if _RELEASES.fullmatch(subject) or _RELEASES.fullmatch(f"{place or kind}: {subject}"):
        raise LeftOut(RELEASE)
    body = _body(rest, squashed=_REFERENCE.search(title) is not None)
    word, bare = subject.partition(" ")[0], subject.rpartition(": ")[2]  # without a place before it
    kind = next((name for name, begin in _KINDS.items() if re.match(begin, kind or bare, re.I)), "other")
    request = subject[:1].upper() + subject[1:] if re.fullmatch(r"[a-z][a-z'-]*,?", word) else subject
    if place and place.lower().rstrip("s") not in subject.lower():
        request = f"{request} ({place})"
    says_nothing = _NOISE.fullmatch(bare) or (not body and _UNSAID.fullmatch(bare))
    if not subject or says_nothing or count_words(f"{request} {body}") < LEAST_WORDS:
        raise LeftOut(VAGUE)
    request = request if request[-1] in ".!?" else f"{request}."
    return Intent(f"{request}\n\n{body}" if body else request, kind)


def _title(message: str) -> tuple[str, str]:
    """A message's first line and the rest; a title that goes on in the second line is put together."""
    first, _, rest = message.partition("\n")
    second, _, below = rest.partition("\n")
    prose = re.match(r"\w", second) and not _LABEL.match(second)
    if prose and first[-1] not in ".!?:" and (not below.strip() or below.startswith("\n")):
        return f"{first} {second.strip()}", below
    return first, rest


def _tidy(line: str) -> str:
    """A line without references and marks."""
    line = re.sub(r"\s+", " ", _REFERENCE.sub(" ", _MARKS.sub("", line.strip())))
    return re.sub(r"\s+([,.;:)])(?=\s|$)", r"\1", line).lstrip(" ,;–—&").rstrip(" ,;:-–—.&/")


def count_words(text: str) -> int:
    """Words and numbers, those that names in code are made of too."""
    return len(re.findall(r"[A-Z]?[a-z]+(?:'[a-z]+)?|[^\W\d_]+|\d+", text))


def stems(text: str) -> set[str]:
    """The first five letters of a text's words, of those too that names in code are made of."""
    return {word.lower()[:5] for word in re.findall(r"[A-Z][a-z]{2,}|[a-z]{3,}|[A-Z]{3,}", text)}


def _body(text: str, squashed: bool) -> str:
    """The first section of a body, unwrapped, without its label; "" when it says nothing more."""
    blocks, (text, *pieces) = _BLOCK.findall(text), _BLOCK.split(text)  # as they stand, behind the sentence before them
    for number, piece in enumerate(pieces):
        text += f" \0{number}\0\n\n{piece}" if len(blocks[number]) <= BODY else f"\n\n{piece}"
    section = next((one.strip("\n") for one in _LABEL.split(text) if one.strip()), "")
    if squashed and section.startswith("* "):
        return ""  # the titles of the commits that were squashed
    kept = [*filter(None, map(_paragraph, re.split(r"\n\s*\n", section)))]
    body = "\n\n".join(one for one, size in zip(kept, accumulate(map(len, kept)), strict=True) if size <= BODY)
    body = re.sub(r" ?\0(\d+)\0", lambda number: "\n\n" + blocks[int(number[1])].strip("\n"), body).strip()
    return body if count_words(body) >= BODY_WORDS else ""


def _paragraph(text: str) -> str:
    """A paragraph without what only the tracker knows: prose in one line, lists as they stand, no code or output."""
    if "```" in text or not text.strip():
        return ""
    if re.search(r"^\s*(?:[-*•]|\d+[.)]) ", text, re.M):
        return "\n".join(line for line in text.split("\n") if _tidy(line) and not _OUTSIDE.search(line))
    if re.search(r"^(?: {4}|\t|>|\||\$ )", text, re.M):
        return ""
    prose = re.sub(rf"\s*\([^()]{{0,80}}{_ISSUE}[^()]{{0,80}}\)", "", re.sub(r"\s+", " ", text)).strip()
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z`'\"(])", prose)
    return " ".join(one for one in sentences if not _OUTSIDE.search(one) and one[-1:] != ":")
