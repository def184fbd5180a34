"""Answers of the base model to general prompts, to be trained on beside your own work, against forgetting.

    python scripts/replay.py --language rust

Writes data/replay/L.jsonl, at most one row for each of the prompts in specialists/general_prompts.txt; how many of
them are used, `[assembly] replay` says. Asks the model of `[endpoint]`, which should be the base; each prompt once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
from specialists.cli import command, finish, language_option, progress, say
from specialists.config import Config

PROMPTS = Path(__file__).parent / "specialists" / "general_prompts.txt"
TIME = "2026-01-01T00:00:00Z"  # of no meaning: replay rows are never held out


@command
@language_option
@click.option("--output", type=click.Path(path_type=Path), help="Default: data/replay/L.jsonl.")
@click.option("--endpoint", metavar="URL", help="OpenAI-compatible endpoint (http://…/v1). Default: [endpoint] url.")
@click.option("--model", metavar="NAME", help="The base model at the endpoint. Default: [endpoint] model.")
def main(
    config: Config, as_json: bool, language: str, output: Path | None, endpoint: str | None, model: str | None
) -> None:
    """Answers of the base model to general prompts, against forgetting."""
    from specialists.endpoint import Endpoint
    from specialists.records import make_record, read_records, write_json, write_records
    from specialists.secrets import Rules

    chosen = config.language(language)
    output = output or config.rows("replay", language)
    url, model = endpoint or config.endpoint.url, model or config.endpoint.model
    asked = Endpoint(url, model, output.with_name(".answers.json"), Rules.of(config))
    records = []
    for prompt in progress(PROMPTS.read_text(encoding="utf-8").splitlines(), "replay"):
        if answer := asked.ask(prompt):
            messages: list[dict] = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": answer, "weight": 1},
            ]
            number = hashlib.sha256(prompt.encode()).hexdigest()[:16]
            source = {"kind": "replay", "time": TIME, "repository": "replay", "commit": number, "model": asked.model}
            records.append(make_record(chosen.name, messages, [], source))
    asked.save()
    problems = [f"{asked.problem}; rows of earlier runs are kept"] if asked.problem else []
    kept = list(read_records(output)) if problems and output.exists() else []
    write_records(output, [*kept, *records])
    summary = {"step": "replay", "language": language, "examples": len({row["id"] for row in [*kept, *records]})}
    write_json(output.with_suffix(".summary.json"), {**summary, "problems": problems})
    say(f"{language}: {summary['examples']} answers of {asked.model or 'no model'} to general prompts")
    finish(summary, as_json, problems)


if __name__ == "__main__":
    main()
