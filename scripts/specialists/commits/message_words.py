"""The words of commit messages: their conventions, the verbs that make a request, and what says nothing.

Tables and patterns only; data.intent says how they are used.
"""

from __future__ import annotations

import re

# --- conventions ---------------------------------------------------------------------------------------------------

TYPES = {
    "feat": "feature",
    "feature": "feature",
    "fix": "fix",
    "bugfix": "fix",
    "hotfix": "fix",
    "security": "fix",
    "docs": "docs",
    "doc": "docs",
    "style": "refactor",
    "refactor": "refactor",
    "perf": "refactor",
    "test": "test",
    "tests": "test",
    "build": "other",
    "ci": "other",
    "chore": "other",
    "deps": "other",
    "types": "refactor",
    "revert": "other",
    "dx": "other",
    "release": "other",
    "wip": "other",
    "polish": "refactor",
    "cleanup": "refactor",
}
"""Types of conventional commits, as the kinds that examples have."""

OPENING = {"fix": "Fix:", "feature": "Add", "test": "Test:", "docs": "Document", "refactor": "Refactor"}
"""What opens a request whose subject has no verb, by its kind."""

CONVENTIONAL = re.compile(rf"^({'|'.join(TYPES)})(?:\(([^)]*)\))?!?:\s*", re.I)
PATH = re.compile(r"^((?:[\w.*+-]+/)*[\w.*+-]+(?:,\s?[\w./*+-]+)*):\s+(?=\S)")  # `ignore/types: …`, `cli, docs: …`
PLACES_OF_NOTHING = frozenset("core misc all * global src lib main app".split())
BUMPED = frozenset("deps release changelog msrv deps-dev".split())

ISSUE = (
    r"(?:[\w.-]+/[\w.-]+)?(?:#|\bgh-|\bGH-)\d+"
    r"|https?://\S+?/(?:issues?|pull|merge_requests|discussions)/\d+[\w#/-]*"
)
_KEYWORD = (
    r"(?:(?:fix|close|resolve|reference|relate|address|implement|improve)(?:e?[sd]|ing)?|refs?|see(?:\s+also)?|part\s+of|re"
    r"|issues?|bug|ticket|pr|pull\s+request|cherry\s?pick)"
)
REFERENCE = re.compile(
    rf"[(\[]?\s*(?:\b(?:this|it|which|also|and)\s+(?=(?:also\s+)?{_KEYWORD}\b))*(?:\b{_KEYWORD}(?:\s+(?:to|of))?\b:?\s*)*(?:{ISSUE})"
    rf"(?:(?:\s*(?:,|&|\band\b|\bor\b))*\s*(?:\b{_KEYWORD}\b:?\s*)*(?:{ISSUE}))*\s*[)\]]?",
    re.I,
)
"""Issues and pull requests with the words around them, in a subject."""

LINKED = re.compile(
    rf"\b(?:from|in|by|with|since|after|per|via|of|to|for|as|on) (?:{REFERENCE.pattern})(?=\s+[a-z])", re.I
)
"""A reference that the sentence goes on behind, with the preposition that would otherwise hang."""

OWN_REFERENCE = re.compile(rf"\s*\((?:{REFERENCE.pattern})\)|^(?:{REFERENCE.pattern})\W*$", re.I)
OUTSIDE = re.compile(
    rf"{ISSUE}|\bchange-?log\b|\bthanks\b|\bh/t\b", re.I
)  # what a reader of the code alone does not have
MARKS = re.compile(r"\[#\d+[^\]]*\]|\[(?:skip ci|ci skip|skip actions|no ci|wip)\]|:[a-z_]+:(?=\s)", re.I)
SIGH = re.compile(r"(?<=[.!?]) (?:[GA]+r*gh*|Grr+|Ugh|Gah|Doh|Meh|Sigh|Whew|Yay|Oops|Sorry|Finally)[.!]*\Z", re.I)
EMOJI = re.compile("[\u2190-\u2bff\ufe0f\u200d\U0001f000-\U0001faff]+")
TRAILER = re.compile(
    r"^(?:[A-Z][\w-]*-(?:by|to|id|on|from|for|url|with|off)|cc|change-id|pr-url|git-svn-id|bug|fixes|closes|resolves"
    r"|refs?|see(?: also)?|related(?: to)?|relates(?: to)?|issue|test plan|reviewers|differential revision"
    r"|[-*\s]*co-authored-by|\(cherry picked from commit [0-9a-f]+)\b\)?:?(?=\s|:|$)[^\n]*$",
    re.I,
)
COAUTHOR = re.compile(r"^\s*[-*]?\s*co-authored-by:", re.I | re.M)
LISTED = re.compile(r"^\s*[*-] ")  # how a squashed merge lists the commits it was

# --- what says nothing ---------------------------------------------------------------------------------------------

_QUALIFIERS = r"(?:the|a|an|some|more|all|up|failing|broken|few|minor|small|missing|new|my|our|unit|old|unused|flaky)"
_THINGS = (
    r"(?:tests?|builds?|ci|lints?|linting|linter|style|styles|styling|typos?|formatting|format|bugs?|it|this|that"
    r"|things?|stuff|specs?|warnings?|errors?|travis|windows|types?|typings?|type\ errors?|review|code|comments?|docs?"
    r"|documentation|readme(?:\.\w+)?|changelog|history|examples?|imports?|indentation|whitespace|spacing|todos?"
    r"|issues?|problems?|conflicts?|merge\ conflicts?|deps|dependenc(?:y|ies)|version|gemfile|gemspec|authors?"
    r"|copyright|licen[sc]e|manifest|config|helpers?|names?|naming|copy|wording|grammar|spelling|punctuation|nits?"
    r"|logic|compil\w*|clippy|rubocop|mypy|eslint|work|features?)"
)
_AFTERTHOUGHTS = (
    r"(?:\ (?:again|too|pass|green|happy|work|up|please|now|fix(?:es)?|errors?|warnings?|issues?|failures?|cleanup"
    r"|tweaks?|in\ (?:the\ )?(?:docs?|documentation|comments?|code|readme|docstrings?|tests?|specs?)))*"
)
_TOOLS = (
    r"(?:rust)?(?:fmt|rubocop|black|prettier|eslint|clippy|isort|swiftformat|swift-format"
    r"|linter|lint|format\w*|ruff|flake8|mypy|pyright|tsc|tslint|pre-?commit|pylint|rustc|standardrb|biome|oxlint)"
)
NOISE = re.compile(
    "|".join(
        rf"(?:{pattern})\Z"
        for pattern in (
            r"(?:address|apply|incorporate|respond to|resolve|changes? from|from|after|per|review)\b.*"
            r"\b(?:review|feedback|comments?|suggestions?|nits?)\b.*",
            r"(?:o+ps|whoops|doh|argh|ugh|hmm+|damn|yay|meh|typos?|more|misc\w*|wip|temp|tmp|stuff|nits?|checkpoint"
            r"|snapshot|again|another|try|debug|experiment\w*|initial|first|init|start|begin\w*|progress"
            r"|work in progress|follow[- ]?up)\b.*",
            r"(?:a (?:few|couple(?: of)?|bit of|bunch of)|some|several|many|various|lots of|minor|small|tiny|little"
            r"|general|trivial|further|last|final|quick|yet another)\b.*",
            r"(?:really|actually|finally|hopefully|possibly|maybe|try(?:ing)? to|attempt to) .*",
            r"(?:clean ?-?up|tidy up|tidy|tweaks?|touch[- ]?ups?|polish|format(?:ting)?|lint(?:ing)?|style|reformat"
            r"|rustfmt|fmt|prettier|black|isort|rubocop|clippy|eslint)\b(?:\W+\w+){0,2}\W*",
            r"(?:run|apply|use|satisfy|appease|please|make|fix|update)\w* (?:(?:cargo|new|updated|auto\w*|some) )*"
            rf"{_TOOLS}\b.*",
            r"(?:fix|update|correct|adjust|improve|change|edit|tweak|add|remove|cleanup|clean up|refactor|repair|test"
            rf"|make)(?:ed|d|s|es|ing)? (?:{_QUALIFIERS} )*{_THINGS}{_AFTERTHOUGHTS}\W*".replace("\\ ", " "),
            r"(?:update|create|add|delete|edit|change|rename) [\w./-]+\.[a-z]{1,5}",  # what GitHub's editor writes
            r"(?:forg[oe]t|missed|missing|should have|left ?over)\b.*",
            r".* (?:again|a little(?: bit)?|a bit|slightly|somewhat|for now)",
            r"\S+(?: \S+)? (?:now )?works?(?: now)?",
            r".*\b(?:a (?:bit|little) \w+er|a bit of|happy|happier)\b.*",
            r".*\bma[dk]e (?:[\w'-]+ ){1,6}(?:clearer|nicer|better|cleaner|prettier|more readable)",
            r".*\b(?:accidental(?:ly)? \w+(?:ed|ke|ken|ft)\b|i (?:just |had )?(?:broke|forgot|missed|messed))\b.*",
            r"(?:do not|don't) (?:change|touch|alter|rename|refactor|reformat) (?:[\w-]+ )*"
            r"(?:code|structure|order|formatting|names?)(?: of .*| unnecessarily)?",
            r"(?:improv|chang|updat|fix)\w* .*\band some\b.*",
            r".* (?:for|of|in|with|to|and|or|from|by|see|about|as|on|at|via|per|the|a)",  # its end was a reference
            r".*\b(?:previous|last|prior|earlier|latest) (?:broken |bad )?(?:commit|pull|merge|change|pr|push)\b.*",
            r".* in (?:other|more|some|several|a few) places",
            r".*\b(?:take|try|attempt) #?(?:2|3|two|three)\b.*",
            r"(?:reduce|revert|undo|drop|remove|avoid|minimi[sz]e)\w* (?:\w+ )?(?:changes|diffs?|noise|churn)",
            r"(?:correct|proper|better|real|actual|another|new|final)\w* (?:bug)?fix(?:es)? .*",
        )
    ),
    re.I,
)
"""Subjects that only who was there understands, or that stand for anything."""

THIN = re.compile(
    r"(?:fix|correct|resolve|repair)\w* (?:(?!in\b|with\b|on\b)[\w'-]+ ){0,4}"
    r"(?:bugs?|issues?|problems?|regressions?|errors?|mistakes?|failures?|things?|tests?)"
    r"(?: (?:in|with|on|of|for|when|about|around)(?: [^\s`]+){1,5})?"
    r"|(?:fix|correct|refactor)\w*(?: (?:a|an|the|some|all))?(?: [^\s`]+){1,2}"
    r"|(?:updat|improv|chang|tweak|adjust|modif|rework|enhanc|restor)\w*(?: (?:a|an|the|some|all))?"
    r"(?: (?!to\b|for\b|so\b|by\b|from\b|with\b|when\b|in\b)[^\s`]+){1,3}"
    r"|(?:remov|kill|drop|delet|clean)\w* (?:(?:a|an|the|some|more|all|up) )*(?:dead|deprecated|unused|unneeded"
    r"|unnecessary|useless|stale|old|obsolete|duplicate|redundant|pointless|extra|stray) [\w-]+"
    r"|add\w* (?:more|two|three|missing|further)(?: more)?(?: [^\s`]+){1,2}|\w+ some(?: [^\s`]+){1,4}",
    re.I,
)
"""Subjects that say where something was wrong or is to change, and not what: a body has to."""

_VERSION = r"v?\d+(?:\.\d+)+\S*"
RELEASES = re.compile(
    "|".join(
        rf"(?:{pattern})\Z"
        for pattern in (
            rf"(?:[\w@/-]+[-@ ])?{_VERSION}(?:[, ].*)?",
            r"(?:re-?release|releasing|released|prepare[sd]?(?: for)?|prep(?: for)?|preparing(?: for)?|cut|tag|start"
            rf"|begin)\b.*(?:releas|version|{_VERSION}|dev|changelog).*",
            r"release\b.*",
            r"(?:bump|upgrade|update|set|increment|increase|change)(?:s|d|ed|ing)?\b.*(?:"
            rf"\bto {_VERSION}|\bfrom \S+ to\b|\bversions?\b(?: number)?|\bdeps\b|\bdependenc|\b[\w-]*lock(?:file)?\b"
            r"|\bminimal dep|\b\d+\.\d+).*",
            r"bump(?:s|ed|ing)?\b.*",
            r"(?:renovate|dependabot|(?:update|upgrade) everything)\b.*",
            r"(?:pre-?commit|autoupdate)\b.*",
            r".*\b(?:changelog|changes\.(?:rst|md)|change entry|release notes?)\b.*",
        )
    ),
    re.I,
)

# --- verbs ---------------------------------------------------------------------------------------------------------

_REGULAR = """
abort abstract accept accommodate activate adapt add address adjust adopt align allow alphabetize always animate
annotate append apply archive ask assert assign assume attach attempt attribute authenticate authorize auto-detect
avoid await backfill backport bail batch bind block blur borrow bound bring-back browse bundle cache calculate
calibrate call cancel cap capitalize cast center chain change check clamp clarify clean cleanup clear clone close
collapse collect colorize combine commit compare compile complete compose compress compute concatenate conditionally
configure conform connect consider consolidate construct consume contain convert copy correct correlate count cover
create cross-reference customize debounce decode decouple decrease decrement decrypt dedupe deduplicate default
defer define delay delegate delete deploy deprecate derive describe deserialize destroy detect determine
differentiate dim disable disallow discard disconnect dismiss dispatch display divide document double downgrade
download drag drain draw drop dump duplicate ease elide eliminate embed emit enable encapsulate encode encrypt
enforce enhance enlarge ensure enumerate error escalate escape estimate evaluate exclude execute exempt exit expand
expect experiment explain export expose extend extract factor fade fail favor fetch fill filter finalize finish fix
flag flatten flip float flush fold follow force format forward free gate generalize generate grant group grow
guarantee guard halve hand-roll handle harden hash highlight hint hoist honor hook identify ignore impl implement
import improve include increase increment indent infer inherit init initialize inject inline insert inspect install
instantiate instrument integrate intercept interpolate introduce introspect invalidate invert invoke isolate issue
iterate join kill label leverage lift limit link list load localize lock log loosen lower lowercase make-up manage
map mark match memoize mention merge migrate minify minimize mirror mock modernize modify mount move multiply
namespace narrow navigate nest normalize notify nuke number obey obtain offload omit open optimize order organize
output overhaul overlay overload pad paint parallelize parameterize parametrize park parse pass patch pause perform
permit persist pick pin pipe play plug point polish poll polyfill pop populate port position postpone precompute
prefer prefix preload prepare prepend preserve prettify prevent prime print prioritize probe process produce profile
prohibit promote prompt propagate protect provide prune publish pull push qualify query queue quit quote raise
randomize rank re-add re-enable re-export reach rearrange receive record recover redesign redirect redraw reduce
reexport refactor reference refine reflect reformat refresh regenerate register reimplement reintroduce reject
rejigger relabel relax relay reload relocate rely remember remove rename render reorder reorganize repair repeat
replace report require rescan rescue reserve reset-up reshape resize resolve respect restore restrict restructure
resume retain retrieve retry return reuse revamp reveal reverse revise revoke rewire reword rework roll rotate round
route sample sandbox sanitize save scaffold scale scan schedule scope score scroll search secure seed select
separate serialize serve settle share ship shorten shrink shuffle signal silence simplify size skip sleep slice slow
snap sniff soften solve sort source spare spawn special-case specify speed spell squash stabilize stack stage
standardize start stash stop store stream streamline strengthen stretch strip stub style subclass submit subscribe
substitute subtract suffix suggest sum summarize supply support suppress surface suspend swallow swap switch sync
synchronize tag tail target teach terminate test thread throttle tidy tie tighten time toggle tolerate touch track
transfer transform transition translate transpile trap traverse treat trigger trim triple truncate trust try tune
turn tweak type uncomment underline unescape unify uninstall unlock unmount unpack unpin unregister unsubscribe
untangle unwrap update upgrade upload uppercase use utilize validate vary vectorize verify visit wait walk warn
watch weigh whitelist widen wire wrap yield zip zoom
""".split()
_IRREGULAR = dict(
    pair.split(":")
    for pair in """
    begin:began break:broke bring:brought build:built catch:caught choose:chose cut:cut do:did draw:drew find:found
    forbid:forbade freeze:froze get:got give:gave go:went grow:grew hide:hid hold:held keep:kept leave:left let:let
    make:made override:overrode overwrite:overwrote put:put quit:quit read:read rebuild:rebuilt redo:redid
    rerun:reran reset:reset rethrow:rethrew rewrite:rewrote run:ran send:sent set:set show:showed shut:shut
    speed:sped spin:spun split:split take:took teach:taught tell:told throw:threw undo:undid unset:unset write:wrote
    """.split()
)
_DOUBLED = frozenset(
    """
    cap commit debug dedup defer drag drop emit format infer log map omit permit pin plug pop prefer refer reformat
    scan ship skip snap stop strip stub submit sum swap tag tap transfer trap trim unpin unwrap wrap zip
    """.split()
)
_GERUND_DOUBLED = _DOUBLED | set("begin cut get let put reset run set shut spin split unset".split())

STARTS = frozenset("don't do not never only no correctly properly always when if instead rather".split())
"""Words other than verbs that begin a request."""

CODE = re.compile(r"\w_\w|::|[^\W\d]\.\w|(?:^|\s)[#:.-]{1,2}\w|`|[a-z][A-Z]|\(\)")
"""What shows that a word is a piece of code."""

NAMED = re.compile(r"(?:flag|option|type|tests?|support|docs|hook) (?:to|for|of|that) ", re.I)
"""A thing to add, named without a verb, by a word that could be one: `Support for tabs`."""

NAMES = re.compile(
    r"(?!wrong|bad|broken|invalid|duplicate|unused|useless|incorrect)\S.* "
    r"(?:option|command|method|function|parameter|argument|flag|feature|property)s?\Z",
    re.I,
)
"""A thing to add where no verb stands in front: `db.close() method`."""

COMPLAINT = re.compile(r"\S+(?: \S+){0,2} (?:doesn't|does not|don't|isn't|is not|cannot|can't) ", re.I)
"""What may tell how something is to be, or what is wrong with it."""

STATEMENT = re.compile(r"\b(?:(?:is|are) now|should|must|needs? to|ought to|no longer|can now|has to|have to)\b", re.I)
"""What makes a statement a request."""

TELLS = re.compile(r"\S+(?: \S+){0,6} (?:is|are) now |\S+(?: \S+){0,2} (?:now|no longer|should|must) ", re.I)
"""What tells how something is to be, even where its first word could be a verb: `Optimize command now accepts …`."""

KINDS = {
    "feature": "add implement support introduce allow enable provide expose accept create extend include permit",
    "fix": "fix prevent avoid correct repair guard handle ensure resolve escape restore respect",
    "refactor": "refactor rename move simplify extract remove clean replace split inline reorganize restructure "
    "consolidate unify drop deduplicate convert migrate use reuse rework rewrite modernize reorder separate factor",
    "test": "test",
    "docs": "document",
}
KIND_OF = {verb: kind for kind, verbs in KINDS.items() for verb in verbs.split()}


def past(verb: str) -> str:
    """The past tense of a verb of the tables."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ed"
    if verb.endswith("e"):
        return f"{verb}d"
    return f"{verb[:-1]}ied" if verb.endswith("y") and verb[-2] not in "aeiou" else f"{verb}ed"


def _third(verb: str) -> str:
    if verb.endswith(("s", "x", "ch", "sh", "z", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb.endswith("y") and verb[-2] not in "aeiou" else f"{verb}s"


def _gerund(verb: str) -> str:
    if verb in _GERUND_DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb[:-1]}ing" if verb.endswith("e") and not verb.endswith("ee") else f"{verb}ing"


BASE_FORMS = frozenset([*_REGULAR, *_IRREGULAR])
ANDS = re.compile(r"and ([a-z]+) (?=(?:the|an?|it|its|them|some|more|all|this|that|up|to)\b)")
"""A verb behind the first."""

FORMS = {
    form: verb
    for verb in sorted(BASE_FORMS)
    for form in (past(verb), _third(verb), _gerund(verb))
    if form not in BASE_FORMS
} | {verb: verb for verb in BASE_FORMS}
"""Every form of a verb -> the verb."""
