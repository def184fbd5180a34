"""Examples of a language from your own commits: data/commits/<lang>.jsonl.

Nothing of a repository is executed, and nothing is written into it. A few commits of other people go into data/others/,
to be measured with: nothing is trained on them.

\b
    python scripts/mine-repos.py --language rust
    python scripts/mine-repos.py --language rust --repository ~/src/tengu --author me@example.org
"""

from functools import partial
from pathlib import Path

import click
from specialists.cli import command, finish, language_option, progress, repository_option, say, table
from specialists.commits.mining import Miner
from specialists.config import Config, owner_emails
from specialists.endpoint import Endpoint, reworded
from specialists.records import write_records
from specialists.secrets import cleaner

OTHERS = 16  # commits of other people, by which evaluate.py tells the owner's style from the repository's


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
    chosen = config.language(language)
    default, known = config.rows("commits", language), emails or owner_emails(config)
    output, paths = output or default, repositories or config.repositories(language)
    endpoint = Endpoint.configured(config, output, cleaner(config))
    reword = partial(reworded, endpoint) if endpoint else None
    miner, others = Miner(config, chosen, progress), Miner(config, chosen)
    for path in paths:
        miner.mine(path, known)
    miner.finish(chosen.max_examples, reword)
    for path in paths if output == default else ():
        others.mine(path, known, OTHERS)
    others.finish(OTHERS, reword)
    miner.problems += endpoint.finish(not (repositories or emails or miner.problems)) if endpoint else []
    patterns = () if repositories else chosen.repositories
    miner.problems += config.missing_repositories(language) if patterns else []
    summary = miner.write(output, patterns, accept_loss)
    if output == default and not others.problems + miner.problems:
        write_records(config.rows("others", language), others.records)
    rows = [[repository["name"], repository["examples"]] for repository in miner.repositories]
    lost = ", ".join(f"{number} {reason}" for reason, number in (+miner.lost).most_common())
    say(table(rows, ["repository", "examples"]))
    say(f"{summary['funnel']['commits']} commits: {len(miner.records)} examples; left out: {lost or 'none'}")
    finish(summary, as_json, miner.problems + miner.nobodys)


if __name__ == "__main__":
    main()
