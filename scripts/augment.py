"""Synthetic examples of a language from your own code.

Functions to implement and mistakes to fix, up to its `min_examples`. Reads HEAD only, tests, documentation
and generated code aside; nothing of a repository is executed.

\b
    python scripts/augment.py --language ruby
    python scripts/augment.py --language swift --repository ~/src/madcat-apple --output swift.jsonl
    python scripts/augment.py --language ruby --endpoint http://127.0.0.1:8000/v1 --model base
"""

from collections import Counter
from functools import partial
from pathlib import Path

import click
from specialists.cli import command, finish, language_option, repository_option, say, table
from specialists.code.syntax import SourceFile
from specialists.commits.contents import head_files
from specialists.config import Config, Problem
from specialists.endpoint import Endpoint, reworded
from specialists.records import write_json, write_records
from specialists.secrets import cleaner
from specialists.synthetic.tasks import Augmenter


@command
@language_option
@repository_option
@click.option("--output", type=click.Path(path_type=Path), help="Default: data/synthetic/L.jsonl.")
@click.option("--endpoint", metavar="URL", help="OpenAI-compatible endpoint (http://…/v1). Default: [endpoint] url.")
@click.option("--model", metavar="NAME", help="The model there, which words requests. Default: [endpoint] model.")
def main(
    config: Config, as_json: bool, language: str, repositories: list[Path], output: Path | None, **asked: str | None
) -> None:
    chosen = config.language(language)
    output = output or config.rows("synthetic", language)
    endpoint = Endpoint.configured(config, output, cleaner(config), **asked)
    augmenter = Augmenter(config, chosen, partial(reworded, endpoint) if endpoint else None)
    problems = [] if repositories else config.missing_repositories(language)
    files: list[SourceFile] = []
    for path in repositories or config.repositories(language):
        try:
            files += head_files(path, chosen, augmenter.lost)
        except (Problem, OSError) as problem:
            problems.append(str(problem))
    rows = augmenter.rows(files, chosen.min_examples)
    problems += endpoint.finish(not (repositories or problems)) if endpoint else []
    write_records(output, rows)
    made = Counter(row["source"]["operator"] for row in rows)
    summary = {
        "step": "augment",
        "language": language,
        "examples": len(rows),
        "kinds": {"implement": made["implement"], "fix": len(rows) - made["implement"]},
        "by model": sum("request" in row["source"] for row in rows),
        "funnel": {"found": dict(augmenter.found), "lost": dict(augmenter.lost), "examples": len(rows)},
    }
    write_json(output.with_suffix(".summary.json"), {**summary, "problems": problems})
    kinds = sorted(augmenter.found.keys() - {"files", "functions"})
    say(table([[kind, augmenter.found[kind], made[kind]] for kind in kinds], ["kind", "found", "examples"]))
    finish(summary, as_json, problems)


if __name__ == "__main__":
    main()
