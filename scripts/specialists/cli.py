"""What every step's command line shares: options, messages on stderr, progress bars, the summary at the end."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from specialists.config import PARTIAL, Config, Problem, load_config

T = TypeVar("T")


class Command(click.Command):
    """A click command whose expected failures (Problem) end in one message and exit code 1, not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        # on a CPU it warns, once per process, of a kernel that nothing here needs
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        try:
            return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(str(problem)) from None
        except BrokenPipeError:
            ctx.exit(0)


def _load(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Config:
    try:
        return load_config(value)
    except Problem as problem:
        raise click.ClickException(str(problem)) from None


def command(function: Callable) -> click.Command:
    """A step: `--config` (handed over as a loaded Config) and `--json` in front of its own options."""
    function = click.option("--json", "as_json", is_flag=True, help="Print a machine-readable summary to stdout.")(
        function
    )
    function = click.option(
        "--config",
        callback=_load,
        metavar="FILE",
        help="Configuration; default: $SPECIALISTS_CONFIG, else specialists.toml.",
    )(function)
    return click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})(function)


def language_option(function: Callable) -> Callable:
    """`--language L`, one language of the configuration."""

    def given(ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
        if value is None:
            raise click.UsageError(f"name a language with --language: {', '.join(ctx.params['config'].languages)}")
        return value

    return click.option("--language", callback=given, metavar="L", help="Language, as in [languages.L].")(function)


def repository_option(function: Callable) -> Callable:
    """`--repository PATH`, which may be given again, as absolute paths."""
    return click.option(
        "--repository",
        "repositories",
        multiple=True,
        type=click.Path(path_type=Path),
        callback=lambda _context, _parameter, paths: [path.expanduser().absolute() for path in paths],
        help="Repository to read; repeatable. Default: those of [languages.L].",
    )(function)


def say(message: str) -> None:
    """A line for a person, on stderr."""
    click.echo(message, err=True)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar on stderr when that is a terminal, and nothing otherwise."""
    from tqdm import tqdm

    return iter(tqdm(items, desc=description, total=total, disable=None, file=sys.stderr, leave=False))


def finish(summary: dict[str, Any], as_json: bool, problems: Iterable[str] = ()) -> None:
    """End a step: problems on stderr, the summary on stdout if asked for, exit code PARTIAL if anything was skipped."""
    problems = list(problems)
    for problem in problems:
        say(f"skipped: {problem}")
    if as_json:
        click.echo(json.dumps({**summary, "problems": problems}))
    if problems:
        sys.exit(PARTIAL)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes as a person says them: 34 MiB, 2.5 GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"


def table(rows: list[list[Any]], header: list[str]) -> str:
    """Rows as aligned text; numbers to the right."""
    cells = [header, *[["" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    numeric = [all(_is_number(row[column]) for row in cells[1:]) for column in range(len(header))]

    def line(row: list[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join(line(row) for row in cells)


def _is_number(text: str) -> bool:
    return text == "" or text.lstrip("-+").replace(".", "").replace(",", "").rstrip("%").isdigit()
