"""The owner's own code -> data/synthetic/<lang>.jsonl: functions to implement and mistakes to fix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from specialists.cli import command, finish, language_option, repository_option, say, table
from specialists.config import Config, Language, Problem


@command
@language_option
@repository_option
@click.option("--output", type=click.Path(path_type=Path), help="Default: data/synthetic/L.jsonl.")
@click.option("--endpoint", metavar="URL", help="OpenAI-compatible endpoint (http://…/v1). Default: [endpoint] url.")
@click.option("--model", metavar="NAME", help="The model there, which words requests. Default: [endpoint] model.")
def main(
    config: Config, as_json: bool, language: str, repositories: list[Path], output: Path | None, **asked: str | None
) -> None:
    """Synthetic examples of a language from your own code.

    Functions to implement and mistakes to fix, up to the lower bound of `wanted`. Reads HEAD only, tests, documentation
    and generated code aside; nothing of a repository is executed.

    \b
        python scripts/augment.py --language ruby
        python scripts/augment.py --language swift --repository ~/src/madcat-apple --output swift.jsonl
        python scripts/augment.py --language ruby --endpoint http://127.0.0.1:8000/v1 --model base
    """
    from specialists.endpoint import Endpoint
    from specialists.records import write_json, write_records
    from specialists.synthetic.rephrase import Rephraser
    from specialists.synthetic.tasks import Augmenter, SourceFile

    chosen = config.language(language)
    output = output or config.rows("synthetic", language)
    answers = output.with_name(f".{output.stem}.requests.json")
    endpoint = Endpoint.configured(config, answers, asked["endpoint"], asked["model"])
    augmenter = Augmenter(config, chosen, Rephraser(endpoint) if endpoint else None)
    problems = [] if repositories else config.missing_repositories(language)
    paths = repositories or config.repositories(language)
    files = [SourceFile(*file) for path in paths for file in head_files(path, chosen, problems)]
    rows = augmenter.rows(files, chosen.wanted[0])
    if endpoint:
        endpoint.save()
        problems += [f"{endpoint.problem}; requests are from templates"] if endpoint.problem else []
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


def head_files(path: Path, language: Language, problems: list[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """Repository, commit, time, path and text of each file at HEAD that a person wrote, tests aside."""
    from specialists.commits.contents import machine_made
    from specialists.commits.filter import CommitFilter, is_test
    from specialists.commits.git import REGULAR, GitSource
    from specialists.records import iso

    try:
        with GitSource(path) as source:
            newest, rules = next(source.commits(), None), CommitFilter(source, [], language.extensions, 0)
            tree = {name: sha for name, (mode, sha) in source.tree().items() if mode in REGULAR and not is_test(name)}
            own = [name for name in tree if name.endswith(language.extensions) and not rules.path_reason(name)]
            for name, blob in zip(own, source.blobs([tree[name] for name in own]), strict=True):
                text = (blob or b"").decode("utf-8", "replace")
                usable = 0 < len(text) <= 200_000 and not re.search("[\0\r\ufffd]", text) and not machine_made(text)
                if usable and newest:  # larger ones are data
                    yield path.name, newest.sha, iso(newest.commit_time), name, text
            problems += source.problems
    except (Problem, OSError) as problem:
        problems.append(str(problem))


if __name__ == "__main__":
    main()
