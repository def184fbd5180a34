"""The git history of a language's repositories -> data/commits/<lang>.jsonl: the owner's commits as an agent's work."""

import fnmatch
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from specialists.cli import command, finish, language_option, progress, repository_option, say, table
from specialists.config import Config, expand_repositories, owner_emails

if TYPE_CHECKING:
    from specialists.commits.mining import Miner


@command
@language_option
@repository_option
@click.option(
    "--author", "emails", multiple=True, metavar="EMAIL", help="Repeatable. Default: [owner] emails, or git's."
)
@click.option("--accept-loss", is_flag=True, help="Drop the examples of commits that are gone from a repository.")
@click.option("--output", type=click.Path(path_type=Path), help="Default: data/commits/L.jsonl.")
def main(
    config: Config,
    as_json: bool,
    language: str,
    repositories: list[Path],
    emails: tuple[str, ...],
    accept_loss: bool,
    output: Path | None,
) -> None:
    """Examples of a language from your own commits.

    Nothing of a repository is executed, and nothing is written into it.

    \b
    python scripts/mine-repos.py --language rust
    python scripts/mine-repos.py --language rust --repository ~/src/tengu --author me@example.org
    """
    from specialists.commits.mining import Miner
    from specialists.endpoint import Endpoint
    from specialists.secrets import cleaner
    from specialists.synthetic.wording import Rephraser

    chosen = config.language(language)
    output = output or config.rows("commits", language)
    endpoint = Endpoint.configured(config, output, cleaner(config))
    miner = Miner(config, chosen, progress)
    for path in repositories or config.repositories(language):
        miner.mine(path, emails or owner_emails(config))
    miner.finish(chosen.max_examples, Rephraser(endpoint) if endpoint else None)
    miner.problems += endpoint.finish() if endpoint else []
    patterns = () if repositories else chosen.repositories
    miner.problems += config.missing_repositories(language) if patterns else []
    summary = _write(miner, output, patterns, accept_loss)
    say(_table(miner))
    finish(summary, as_json, miner.problems)


def _write(miner: "Miner", output: Path, patterns: Iterable[str], accept_loss: bool) -> dict[str, Any]:
    """The examples and the summary beside them. What could not be read today keeps the rows that it gave before; so
    does a repository that is gone, emptied or rewritten, unless the owner accepts that."""
    from specialists.records import Record, read_json, read_records, write_json, write_records

    rows = {record["source"]["commit"]: record for record in miner.records}
    before: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(output) if output.exists() else ():
        if not miner.exclusion.covers(record["source"]):
            before[record["source"]["repository"]].append(record)
    absent = [pattern for pattern in patterns if not expand_repositories(pattern)]  # which is said already
    for name, records in before.items():
        reached = miner.commits.get(name)
        gone = [record for record in records if record["source"]["commit"] not in (reached or ())]
        lost = _matches(name, patterns) if reached is None else 2 * len(gone) > len(records)
        if name in miner.unread or (lost and not accept_loss):
            kept = records if name in miner.unread else gone
            rows = {record["source"]["commit"]: record for record in kept} | rows
            if name not in miner.unread and not _matches(name, absent):
                what = f"repository {name}: {len(gone)} of {len(records)} commits that gave examples are gone"
                miner.problems.append(f"{what}; they are kept until: doit mine:{miner.language.name} --accept-loss")
    summaries = output.with_suffix(".summary.json")
    known = (read_json(summaries) or {}).get("tasks", [])
    miner.tasks += [task for task in known if miner.rollouts and task["repository"] in miner.unread]
    miner.exclusion.note()
    write_records(output, rows.values())
    summary = {
        "step": "mine",
        "language": miner.language.name,
        "examples": len(rows),
        "kept": len(rows) - len(miner.records),
        "by model": sum("request" in record["source"] for record in rows.values()),
        "repositories": miner.repositories,
        "tasks": miner.tasks,
        "funnel": miner.funnel(),
        "files": dict(miner.files.most_common()),
    }
    write_json(summaries, {**summary, "problems": miner.problems})
    return summary


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, Path(pattern).name) for pattern in patterns)


def _table(miner: "Miner") -> str:
    rows = [[repository["name"], repository["examples"]] for repository in miner.repositories]
    lost = ", ".join(f"{number} {reason}" for reason, number in miner.funnel().items() if reason in miner.lost)
    found = f"{miner.funnel()['commits']} commits: {len(miner.records)} examples; left out: {lost or 'none'}"
    return f"{table(rows, ['repository', 'examples'])}\n{found}"


if __name__ == "__main__":
    main()
