"""Check everything that has to work, a line each, with what to do where it does not.

    python scripts/doctor.py
    python scripts/doctor.py --json

From library versions to the agents in opencode. Looks only; exit code 1 when a check fails, notes do not count.
"""

from __future__ import annotations

import sys

from specialists.cli import command, finish, say
from specialists.config import Config


@command
def main(config: Config, as_json: bool) -> None:
    """Check everything that has to work, a line each, with what to do where it does not."""
    from specialists.reporting.doctor import as_data, as_text, diagnose

    found = diagnose(config)
    say(as_text(found))
    finish(as_data(found), as_json)
    if any(check.state == "fail" for check in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
