"""How well the model at an endpoint words commits and judges requests, on the commits of a repository.

    python benchmarks/ask_endpoint.py --language python --repository httpx --author EMAIL \\
        --endpoint http://127.0.0.1:8000/v1 --model base --number 20 --output worded.jsonl

Prints how many questions of known answer it gets right, how many of its own requests it finds enough, and how many
requests of another commit of the same repository it finds enough, which should be none. The rows that it worded go to
the output, to be read with draw_rows.py.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from specialists.commits.mining import Miner
from specialists.config import load_config
from specialists.endpoint import Endpoint, controls, reworded
from specialists.records import write_records
from specialists.secrets import cleaner


class Given(Endpoint):
    """A model that is not asked for a request but given one, and only says whether it is enough."""

    request = ""

    def ask(self, question: str) -> str | None:
        """The given request, or the model's answer to the question whether it is enough."""
        return super().ask(question) if question.startswith("Request to a coding agent:") else self.request


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Default: specialists.toml.")
@click.option("--language", required=True)
@click.option("--repository", "repositories", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--author", "emails", multiple=True, required=True, metavar="EMAIL")
@click.option("--endpoint", "url", required=True, metavar="URL")
@click.option("--model", required=True)
@click.option("--number", default=20, show_default=True, help="Commits.")
@click.option("--seed", default=1, show_default=True)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A file of rows; answers lie beside it.")
def main(
    config: Path | None,
    language: str,
    repositories: tuple[Path, ...],
    emails: tuple[str, ...],
    url: str,
    model: str,
    number: int,
    seed: int,
    output: Path,
) -> None:
    """Ask about commits drawn by chance."""
    settings = load_config(config)
    miner = Miner(settings, settings.language(language))
    for path in repositories:
        miner.mine(path.absolute(), emails)
    miner.finish(sys.maxsize)
    if not miner.records:
        sys.exit("\n".join([*miner.problems, *miner.nobodys, "no commits to ask about"]))
    rows = random.Random(seed).sample(miner.records, min(number, len(miner.records)))
    clean = cleaner(settings)
    endpoint = Endpoint(url, model, output.with_suffix(".answers.json"), clean)
    given = Given(url, model, output.with_suffix(".given.json"), clean)
    start, answers = time.monotonic(), [(endpoint.ask(question), right) for question, right in controls()]
    for said, right in answers:
        click.echo(f"known: {right}; said: {said}")
    worded = [row for row in (reworded(endpoint, row) for row in rows) if row]
    passed = sum("request" in row["source"] for row in worded)
    others = 0
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        given.request = other["messages"][1]["content"]
        found = reworded(given, row)
        others += found is not None and "request" in found["source"]
    write_records(output, worded)
    click.echo(f"own requests found enough: {passed} of {len(rows)}; of another commit: {others} of {len(rows)}")
    click.echo(f"{time.monotonic() - start:.0f} s" + (f"; {endpoint.problem}" if endpoint.problem else ""))


if __name__ == "__main__":
    main()
