"""Write reports/index.html, the page that shows where every language stands, and status.json beside it.

Static pages, examples-LANGUAGE.html among them: no server, no network, readable on a phone, light and dark. To look at
it: `python scripts/report.py && xdg-open reports/index.html`.
"""

from specialists.cli import command, finish, say
from specialists.config import Config


@command
def main(config: Config, as_json: bool) -> None:
    from specialists.reporting.report import write_report

    summary = write_report(config)
    say(f"{summary['report']}: {'written' if summary['changed'] else 'unchanged'}")
    finish(summary, as_json)


if __name__ == "__main__":
    main()
