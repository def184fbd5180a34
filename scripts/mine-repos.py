"""The git history of a language's repositories -> data/commits/<lang>.jsonl: the owner's commits as an agent's work."""

from __future__ import annotations

import fnmatch
import glob
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
@click.option("--output", type=click.Path(path_type=Path), help="Default: data/commits/L.jsonl.")
def main(
    config: Config, as_json: bool, language: str, repositories: list[Path], emails: tuple[str, ...], output: Path | None
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
    from specialists.synthetic.rephrase import Rephraser

    chosen = config.language(language)
    output = output or config.rows("commits", language)
    endpoint = Endpoint.configured(config, output.with_name(f".{output.stem}.requests.json"), cleaner(config))
    miner = Miner(config, chosen, progress)
    for path in repositories or config.repositories(language):
        miner.mine(path, emails or owner_emails(config))
    miner.finish(chosen.max_examples, Rephraser(endpoint) if endpoint else None)
    if endpoint:
        endpoint.save()
        miner.problems += [f"{endpoint.problem}; requests are the commits' own words"] if endpoint.problem else []
    missing = [] if repositories else [pattern for pattern in chosen.repositories if not expand_repositories(pattern)]
    miner.problems += config.missing_repositories(language) if missing else []
    summary = _write(miner, output, missing)
    say(_table(miner))
    finish(summary, as_json, miner.problems)


def _write(miner: Miner, output: Path, missing: list[str]) -> dict[str, Any]:
    """The examples and the summary beside them. What could not be read today keeps the rows that it gave before."""
    from specialists.records import read_records, write_json, write_records

    unread = [*map(glob.escape, miner.unread), *(Path(pattern).name for pattern in missing)]
    read = {repository["name"] for repository in miner.repositories} - {*miner.unread}
    rows = {record["source"]["commit"]: record for record in miner.records}
    for record in read_records(output) if unread and output.exists() else ():
        name = record["source"]["repository"]
        if name not in read and any(fnmatch.fnmatchcase(name, pattern) for pattern in unread):
            rows.setdefault(record["source"]["commit"], record)
    write_records(output, rows.values())
    summary = {
        "step": "mine",
        "language": miner.language.name,
        "examples": len(rows),
        "kept": len(rows) - len(miner.records),
        "by model": sum("request" in record["source"] for record in rows.values()),
        "repositories": miner.repositories,
        "funnel": miner.funnel(),
        "files": dict(miner.files.most_common()),
    }
    write_json(output.with_suffix(".summary.json"), {**summary, "problems": miner.problems})
    return summary


def _table(miner: Miner) -> str:
    rows = [[repository["name"], repository["examples"]] for repository in miner.repositories]
    lost = ", ".join(f"{number} {reason}" for reason, number in miner.funnel().items() if reason in miner.lost)
    found = f"{miner.funnel()['commits']} commits: {len(miner.records)} examples; left out: {lost or 'none'}"
    return f"{table(rows, ['repository', 'examples'])}\n{found}"


if __name__ == "__main__":
    main()
