"""What every step's command line shares: options, messages on stderr, progress bars, the summary at the end."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from specialists.config import PARTIAL, Problem, load_config
from specialists.stopping import handled

# C0 and C1 but for tab and newline; what turns the direction of writing (Unicode Bidirectional Algorithm, 2)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Command(click.Command):
    """A click command whose expected failures (Problem, OSError) end in a message and exit code 1, in no traceback."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        # on a CPU it warns, once per process, of a kernel that nothing here needs
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        before = os.umask(0o077)  # whatever is written, by libraries and child processes too, is the owner's alone
        try:
            with handled():
                return super().main(*arguments, **options)
        except (Problem, OSError) as problem:  # a disk that is full or read-only: the error names the file
            say(f"Error: {problem}")
            sys.exit(1)
        finally:
            os.umask(before)


def command(function: Callable) -> click.Command:
    """A step with `--config` (a loaded Config), `--json` and its own options; its module's docstring is its help."""
    text = "Configuration; default: $SPECIALISTS_CONFIG, else specialists.toml."
    config = click.option("--config", callback=lambda _c, _p, value: load_config(value), metavar="FILE", help=text)
    json_ = click.option("--json", "as_json", is_flag=True, help="Print a machine-readable summary to stdout.")
    opening, names = sys.modules[function.__module__].__doc__, {"help_option_names": ["-h", "--help"]}
    return click.command(cls=Command, help=function.__doc__ or opening, context_settings=names)(config(json_(function)))


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


def shown(text: str) -> str:
    """A text from outside as a person is shown it: without what moves, colours or hides it on a terminal or a page."""
    return _CONTROL.sub("�", text)


def say(message: str, err: bool = True) -> None:
    """A line for a person, on stderr."""
    click.echo(shown(message), err=err)


def progress(items: Iterable[Any], description: str, total: int | None = None) -> Iterator[Any]:
    """The items, with a bar on stderr when that is a terminal, and nothing otherwise."""
    from tqdm import tqdm

    return iter(tqdm(items, desc=description, total=total, disable=None, file=sys.stderr, leave=False))


def finish(summary: dict[str, Any], as_json: bool, problems: Iterable[str] = ()) -> None:
    """End a step: problems on stderr, the summary on stdout if asked for, exit code PARTIAL if anything was skipped."""
    problems = list(problems)
    for problem in problems:
        say(f"Warning: {problem}")
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
    columns = []
    for column in zip(*cells, strict=True):
        width, numbers = max(map(len, column)), all(re.fullmatch(r"[-+]*[\d.,]*%?", cell) for cell in column[1:])
        columns.append([cell.rjust(width) if numbers else cell.ljust(width) for cell in column])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
