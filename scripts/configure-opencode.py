"""Put provider, models and agents into the owner's opencode configuration.

Shows the change as a diff, then makes it; everything that is not ours keeps its bytes, comments included. The file
as it was before lies beside it (.bak); --remove gives it back, with what you changed since. Of files that opencode
reads together the one that wins is written, and others into which we were put are given back.

\b
    python scripts/configure-opencode.py
    python scripts/configure-opencode.py --output ~/src/project/opencode.jsonc
"""

import difflib
import sys
from pathlib import Path

import click
from specialists.cli import command, finish, say
from specialists.config import Config, Problem
from specialists.records import read_json, write_json
from specialists.serving.opencode_config import RECORD, config_files, refuse_other_provider, settings


@command
@click.option("--output", type=click.Path(path_type=Path), help="The configuration; default: [opencode] config.")
@click.option("--check", is_flag=True, help="Show what would change and change nothing; exit code 1 if anything would.")
@click.option("--remove", is_flag=True, help="Take our provider and agents out again.")
def main(config: Config, as_json: bool, output: Path | None, check: bool, remove: bool) -> None:
    named, wanted = (output or config.opencode.config).expanduser(), settings(config)
    *beside, file = config_files(named)
    if remove and file.read() is None:
        raise Problem(f"{file.path}: no such file")
    if not (remove and file.backup.exists()):
        refuse_other_provider(config, named)
    texts = {each: each.unmerged(wanted) for each in beside if each.backup.exists()}
    texts[file] = file.unmerged(wanted) if remove else file.merged(wanted)
    changed = any(after != each.read() for each, after in texts.items())
    for each, after in texts.items():
        if (before := each.read()) == after:
            say(f"{each.path}: up to date")
            continue
        now, new = ((text or "").replace("\r\n", "\n").splitlines() for text in (before, after))
        say("\n".join(difflib.unified_diff(now, new, f"{each.path} (now)", f"{each.path} (new)", lineterm="")))
        if not check:
            each.write(after, ours=each is file and not remove)
        say(f"{each.path}: {'would change' if check else 'changed'}")
    if not (remove or check):
        record = config.paths.data / RECORD
        write_json(record, {**(read_json(record) or {}), str(file.path): str(config.path)})
    finish({"file": str(file.path), "changed": changed and not check, "would_change": changed}, as_json)
    sys.exit(check and changed)


if __name__ == "__main__":
    main()
