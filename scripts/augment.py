"""The owner's own code -> data/synthetic/<lang>.jsonl: functions to implement and mistakes to mend, for languages that
have too few examples of real work.

    python scripts/augment.py --language ruby
    python scripts/augment.py --language swift --repository ~/src/madcat-apple --output data/synthetic/swift.jsonl
    python scripts/augment.py --language ruby --endpoint http://127.0.0.1:8000/v1 --model base

Makes up to the language's `min_examples`; how many of them are used, assemble.py says. Reads HEAD only, tests and
generated code aside; nothing of a repository is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from specialists.cli import command, finish, language_option, progress, repository_option, say, table
from specialists.config import Config, Language

if TYPE_CHECKING:
    from specialists.synthetic.tasks import Augmented


@command
@language_option
@repository_option
@click.option("--output", type=click.Path(path_type=Path), help="Default: data/synthetic/L.jsonl.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="OpenAI-compatible endpoint (http://…/v1) whose model words requests. Default: [endpoint] url.",
)
@click.option("--model", metavar="NAME", help="The model at the endpoint. Default: [endpoint] model.")
def main(
    config: Config,
    as_json: bool,
    language: str,
    repositories: list[Path],
    output: Path | None,
    endpoint: str | None,
    model: str | None,
) -> None:
    """Synthetic examples of a language from your own code."""
    from specialists.endpoint import Endpoint
    from specialists.records import write_json, write_records
    from specialists.synthetic.rephrase import Rephraser
    from specialists.synthetic.tasks import Augmenter

    chosen = config.language(language)
    output = output or config.rows("synthetic", language)
    asked = Endpoint.configured(config, output.with_name(f".{output.stem}.requests.json"), endpoint, model)
    augmenter = Augmenter(config, chosen, Rephraser(asked) if asked else None)
    for path in repositories or config.repositories(language):
        augmenter.read(path, path.name, progress)
    result = augmenter.finish(chosen.min_examples)
    if asked:
        asked.save()
        result.problems += [f"{asked.problem}; requests are from templates"] if asked.problem else []
    if not repositories:
        result.problems += config.missing_repositories(language)
    write_records(output, result.records)
    summary = _summary(result, chosen)
    write_json(output.with_suffix(".summary.json"), {**summary, "problems": result.problems})
    say(_table(result))
    finish(summary, as_json, result.problems)


def _summary(result: Augmented, language: Language) -> dict[str, Any]:
    return {
        "step": "augment",
        "language": language.name,
        "examples": len(result.records),
        "operators": dict(sorted(result.operators.items())),
        "kinds": {task: result.kinds[task] for task in ("implement", "fix")},
        "templates": {"used": len(result.templates), "most": max(result.templates.values(), default=0)},
        "by model": sum(record["source"]["template"] == "model" for record in result.records),
        "funnel": result.funnel(),
    }


def _table(result: Augmented) -> str:
    rows = [[operator, result.found[operator], result.operators[operator]] for operator in sorted(result.found)]
    lost = ", ".join(f"{number} {reason}" for reason, number in result.lost.most_common())
    read = f"{result.counts['files']} files, {result.counts['functions']} functions: {len(result.records)} examples"
    return f"{table(rows, ['operator', 'found', 'examples'])}\n{read}; left out: {lost or 'none'}"


if __name__ == "__main__":
    main()
