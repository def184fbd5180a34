"""Show examples against wanted, what the next doit does and why, what is promoted and served.

Reads what the steps left behind, and asks a running server for half a second. For programs: `status.py --json`.
"""

from specialists.cli import command, finish, say
from specialists.config import Config


@command
def main(config: Config, as_json: bool) -> None:
    from specialists.reporting.status import as_text, server_state, status

    state = status(config, server_state(config))
    say(as_text(state))
    finish(state, as_json)


if __name__ == "__main__":
    main()
