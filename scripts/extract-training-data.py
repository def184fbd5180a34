"""Examples from your opencode history, per language: data/sessions/<lang>.jsonl.

Reads [opencode] databases, or what --database names: SQLite databases of opencode 1.2 to 2.x, folders of them, the
JSON folders before them; read-only, while opencode runs.

\b
    python scripts/extract-training-data.py
    python scripts/extract-training-data.py --database ~/backup/opencode.db --language rust
    python scripts/extract-training-data.py --explain ses_2062af4d80
"""

from collections import Counter
from functools import partial
from pathlib import Path

import click
from specialists.cli import command, finish, progress, say, table
from specialists.config import Config, Problem
from specialists.endpoint import Endpoint, judged
from specialists.secrets import cleaner
from specialists.sessions.chat import turns
from specialists.sessions.extraction import Extractor, read_histories
from specialists.sessions.languages import LanguageClassifier
from specialists.tools import known_tools

FIRST = (
    "The first run: histories and repositories are read in a few minutes; then `doit` trains an adapter for each "
    "language that has its min_examples, some 15 to 60 min on an H100 or H200 (README's table; an estimate). "
    "`doit -n 4 assemble` ends before that, on four cores, and `doit status` says what there is."
)


@command
@click.option("--database", "databases", multiple=True, type=click.Path(path_type=Path), help="A history; repeatable.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for <lang>.jsonl. Default: data/sessions.")
@click.option("--language", "names", multiple=True, metavar="L", help="Only this language; repeatable. Default: all.")
@click.option("--accept-loss", is_flag=True, help="Drop the examples of sessions that are gone from a history.")
@click.option("--explain", metavar="SESSION", help="Print the evidence for each turn of a session; write nothing.")
def main(
    config: Config,
    as_json: bool,
    databases: tuple[Path, ...],
    output: Path | None,
    names: tuple[str, ...],
    accept_loss: bool,
    explain: str | None,
) -> None:
    paths = [path.expanduser() for path in databases] or config.databases()
    languages = [config.language(name).name for name in names or config.languages]
    if explain:
        return _explain(config, paths, explain)
    if not output and not (config.paths.data / "sessions").exists():
        say(FIRST)
    extractor = Extractor(config, languages, output or config.paths.data / "sessions", known_tools(config, paths))
    endpoint = Endpoint.configured(config, extractor.output / "sessions", cleaner(config))
    extractor.judge = partial(judged, endpoint) if endpoint else extractor.judge
    if not databases and not config.opencode.databases and not accept_loss:  # where opencode's folder decides
        paths += [path for path in map(Path, extractor.known_histories()) if not path.exists() and path not in paths]
    for session in progress(read_histories(paths, extractor.problems, extractor.histories), "sessions"):
        extractor.add(session)
    extractor.exclusion.note()
    more = endpoint.finish(not (databases or names or extractor.problems)) if endpoint else []
    summary = extractor.finish(accept_loss, more)
    funnel, rows = extractor.funnel, []
    for name in languages:
        counts, lost = funnel.languages[name].counts, funnel.languages[name].lost
        rows.append([name, counts["turns"], counts["steps"], sum(lost.values()), counts["examples"]])
    say(table(rows, ["language", "turns", "steps", "lost", "examples"]))
    reasons = ", ".join(f"{number} {reason}" for reason, number in funnel.lost.most_common())
    read = ", ".join(f"{funnel.counts[name]} {name}" for name in ("sessions", "turns", "steps"))
    say(f"{read}; lost: {reasons or 'none'}")
    finish(summary, as_json, extractor.problems + more)


def _explain(config: Config, paths: list[Path], wanted: str) -> None:
    """What was found in a session, turn by turn, and why each step counts or not."""
    problems: list[str] = []
    session = next((found for found in read_histories(paths, problems) if found.id.startswith(wanted)), None)
    if session is None:
        raise Problem("\n".join([*problems, f"no session {wanted} in the history"]))
    lost: Counter[str] = Counter()
    found = turns(session, config.opencode.agents, lost, config)
    classified = LanguageClassifier(config.languages.values()).classify(found)
    for number, (turn, result) in enumerate(zip(found, classified, strict=True), 1):
        first = turn.request.split("\n", 1)[0][:100]
        say(f"turn {number}: {' + '.join(result.languages) or 'no language'} ({result.reason}): {first}", err=False)
        for item in result.evidence:
            say(f"    {item.weight:5g}  {item.language:8} {item.kind}: {item.detail}", err=False)
        if result.scores:
            scores = ", ".join(f"{name} {score:g}" for name, score in sorted(result.scores.items()))
            say(f"    total  {scores}", err=False)
        for step in turn.steps:
            what = ", ".join(call.name for call in step.calls) or "answer"
            say(f"    step: {what}: {f'not learned from: {step.reason}' if step.reason else 'learned from'}", err=False)
    for reason, number in sorted(lost.items()):
        say(f"not in any turn: {number} {reason}", err=False)


if __name__ == "__main__":
    main()
