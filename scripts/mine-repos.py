"""The git history of a language's repositories -> data/commits/<lang>.jsonl: the owner's commits as an agent's work."""

from __future__ import annotations

import fnmatch
import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from specialists.cli import command, finish, language_option, progress, repository_option, say, table
from specialists.config import Config, Language, expand_repositories, owner_emails

if TYPE_CHECKING:
    from specialists.commits.mining import Mined


@command
@language_option
@repository_option
@click.option(
    "--author",
    "emails",
    multiple=True,
    metavar="EMAIL",
    help="Whose commits; repeatable. Default: [owner] emails, else git config user.email.",
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
    asked = Endpoint.configured(config, output.with_name(f".{output.stem}.requests.json"), cleaner(config))
    miner = Miner(config, chosen)
    for path in repositories or config.repositories(language):
        miner.mine(path, emails or owner_emails(config), progress)
    mined = miner.finish(chosen.max_examples, Rephraser(asked).of_commit if asked else None, progress)
    if asked:
        asked.save()
        mined.problems += [f"{asked.problem}; requests are the commits' own words"] if asked.problem else []
    missing = [] if repositories else [pattern for pattern in chosen.repositories if not expand_repositories(pattern)]
    if missing:
        mined.problems += config.missing_repositories(language)
    summary = _write(mined, chosen, output, missing)
    say(_table(mined))
    finish(summary, as_json, mined.problems)


def _write(mined: Mined, language: Language, output: Path, missing: list[str]) -> dict[str, Any]:
    """The examples and the summary beside them. What could not be read today keeps the rows that it gave before."""
    from specialists.records import read_records, write_json, write_records

    unread = [*map(glob.escape, mined.unread), *(Path(pattern).name for pattern in missing)]
    kept = []
    if unread and output.exists():
        mined_now = {record["source"]["commit"] for record in mined.records}
        kept = [
            record
            for record in read_records(output)
            if any(fnmatch.fnmatchcase(record["source"]["repository"], name) for name in unread)
            and record["source"]["commit"] not in mined_now
        ]
    write_records(output, [*mined.records, *kept])
    summary = {
        "step": "mine",
        "language": language.name,
        "examples": len(mined.records) + len(kept),
        "kept": len(kept),
        "by model": sum("request" in record["source"] for record in [*mined.records, *kept]),
        "repositories": mined.repositories,
        "funnel": mined.funnel(),
        "files": dict(mined.files.most_common()),
    }
    write_json(output.with_suffix(".summary.json"), {**summary, "problems": mined.problems})
    return summary


def _table(mined: Mined) -> str:
    rows = [[repository["name"], repository["examples"]] for repository in mined.repositories]
    funnel = mined.funnel()
    lost = ", ".join(f"{number} {reason}" for reason, number in funnel.items() if reason not in ("commits", "examples"))
    found = f"{funnel['commits']} commits: {funnel['examples']} examples; left out: {lost or 'none'}"
    return f"{table(rows, ['repository', 'examples'])}\n{found}" if rows else found


if __name__ == "__main__":
    main()
