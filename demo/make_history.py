"""The demo's opencode history: a made-up developer's sessions in five languages, as opencode 1.18 stores them.

Among them what real histories hold: edits that failed, turns that were aborted or taken back, a subagent, a plan, work
in two languages at once, a secret in a command's output and one that the model itself wrote.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path

from developer import Developer
from session_rows import Call, Scribe, Session, Step, Turn
from specialists.agent import EDIT_DONE
from stamps import make_once
from stories import FOLDER, LANGUAGES, final_state, project

HERE = Path(__file__).resolve().parent
SEED = 17
FIRST = 1_770_000_000_000  # 2 February 2026, in ms
HOUR = 3_600_000
EVERY = 7 * 24 * HOUR  # between two sessions on one project


def make(out: Path) -> None:
    """Make out/opencode.db, unless it is there already."""
    names = ("make_history.py", "developer.py", "session_rows.py", "stories.py", "opencode.sql")
    make_once(out / "opencode.db", [*(HERE / name for name in names), *sorted(FOLDER.glob("*.toml"))], build)


def build(path: Path) -> None:
    """Write the whole history into a new database; the same every time."""
    with Scribe(path, SEED) as scribe:
        sessions = list(chain.from_iterable(ordinary(language) for language in LANGUAGES))
        sessions += odd(scribe)
        for session in sorted(sessions, key=lambda session: session.start):
            scribe.write(session)


def ordinary(language: str) -> list[Session]:
    """A language's sessions on its project, from where the commits of its repository leave off."""
    rng = random.Random(f"{SEED} {language}")
    work = Developer(project(language), final_state(language), rng)
    functions = work.project.functions
    plan: list[tuple[float, list[Callable[[], Turn]]]] = [(-1, [partial(work.introduce, functions[0])])]
    for number, function in enumerate(functions):
        change = partial(partial, work.change, function)
        explain = partial(work.explain, function)
        tasks: list[list[Callable[[], Turn]]]
        if number % 2 == 0:
            fix = change("fixed", miss=number == 2, check_first=number == 4)
            tasks = [[fix, change("tested")], [change("renamed")], [explain]]
        else:
            first = [partial(work.aborted, function)] if number == 3 else []
            tasks = [[*first, change("wider")], [change("documented") if number % 4 == 3 else explain]]
        when = sorted(number + rng.uniform(0, 2) for _task in tasks)  # a few functions at a time
        plan += zip(when, tasks, strict=True)
    plan += [(number + 0.5, [partial(work.introduce, functions[number])]) for number in (3, 6)]
    plan.append((99, [partial(work.introduce, functions[9]), partial(work.explain, functions[3])]))
    whole = []
    for number, (_when, task) in enumerate(sorted(plan, key=itemgetter(0))):
        turns = [take_turn() for take_turn in task]
        start = FIRST + number * EVERY + LANGUAGES.index(language) * 20 * HOUR + rng.randrange(8) * HOUR
        whole.append(Session(work.project.name, _title(turns), start, turns))
    gone = Developer(work.project, work.state, rng)  # what it does to the project is taken back again
    function = functions[7]
    undone = [gone.explain(function), gone.change(function, "renamed" if language != "swift" else "tested")]
    whole.append(Session(work.project.name, "Another name", FIRST + 12 * EVERY + 3 * HOUR, undone, reverted=1))
    return whole


def odd(scribe: Scribe) -> list[Session]:
    """Sessions as there is only one of each."""
    return [*_delegated(scribe), _planned(), _mixed(), _secret_seen(), _secret_written()]


def _delegated(scribe: Scribe) -> list[Session]:
    """A session that hands its work to a subagent, and the subagent's own session."""
    start = FIRST + 5 * EVERY + 50 * HOUR
    work = _developer("rust", 5)
    function = work.project.functions[5]
    turn = work.change(function, "wider")
    parent = Session(work.project.name, "Delegate a change", start, [], id=scribe.session_id(start))
    child = Session(
        work.project.name,
        "Show missing data",
        start + 60_000,
        [turn],
        "build-rust",
        parent=parent.id,
        id=scribe.session_id(start + 60_000),
    )
    task = {"description": "Change to_metres", "prompt": turn.request, "subagent_type": "build-rust"}
    output = f'<task id="{child.id}" state="completed">\n<task_result>\n{turn.steps[-1].text}\n</task_result>\n</task>'
    call = Call("task", task, output, metadata={"sessionId": child.id, "parentSessionId": parent.id})
    parent.turns = [Turn(f"Delegate this: {turn.request}", [Step("", [call]), Step(turn.steps[-1].text)])]
    return [parent, child]


def _planned() -> Session:
    """A plan, made by an agent that may change nothing: never an example."""
    work = _developer("swift", 1)
    turn = work.explain(work.project.functions[3])
    turn.request = "Plan how to ignore small steps in the ascent. Change nothing yet."
    return Session(work.project.name, "Plan the ascent", FIRST + 9 * EVERY + 70 * HOUR, [turn], agent="plan")


def _mixed() -> Session:
    """One turn that changes Python and TypeScript to a like degree, the latter in a folder of the former's project."""
    python, ts = _developer("python", 2), _developer("ts", 2)
    server = python.change(python.project.functions[1], "wider")
    client = ts.change(ts.project.functions[1], "wider")
    old, new = ts.absolute(""), python.absolute("web/")
    for call in (call for step in client.steps for call in step.calls):
        call.input = {key: value.replace(old, new) for key, value in call.input.items()}
        call.output = call.output.replace(old, new)
    request = f"Two things. {server.request} And in the web client: {client.request}"
    turn = Turn(request, [*server.steps[:-1], *client.steps])
    return Session(python.project.name, "Two languages", FIRST + 15 * EVERY + 60 * HOUR, [turn])


def _secret_seen() -> Session:
    """A command prints a token; the model goes on without it."""
    work = _developer("python", 3)
    seen = Step("I'll check the settings.", [work.bash("cat .env", f"LEDGER_CURRENCY=EUR\nGITHUB_TOKEN={_token()}\n")])
    turn = work.change(work.project.functions[5], "wider")
    turn.steps.insert(0, seen)
    return Session(work.project.name, "Look at the settings", FIRST + 8 * EVERY + 40 * HOUR, [turn])


def _secret_written() -> Session:
    """The model writes a token into a file: nothing to learn from."""
    work = _developer("ts", 4)
    path, token = work.absolute("src/keys.ts"), _token()
    old, new = "import", f'const token = "{token}";\nimport'
    call = Call("edit", {"filePath": path, "oldString": old, "newString": new}, EDIT_DONE)
    turn = Turn(f"Use the token {token} for now.", [Step("", [call]), Step("The token is in src/keys.ts.")])
    return Session(work.project.name, "Use a token", FIRST + 10 * EVERY + 30 * HOUR, [turn])


def _developer(language: str, salt: int) -> Developer:
    return Developer(project(language), final_state(language), random.Random(SEED + salt))


def _token() -> str:
    """Looks like a token of a code host, is none; in pieces, so that no scanner stops at this file."""
    return "gh" + "p_" + "".join(random.Random(SEED).choices(string.ascii_letters + string.digits, k=36))


def _title(turns: list[Turn]) -> str:
    return " ".join(turns[-1].request.split()[:5]).strip("`.?")
