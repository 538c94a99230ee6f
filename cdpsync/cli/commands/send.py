"""The command `send`: the changes since the last send, to the destinations of the project."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cdpsync.cli.formats import Format, ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import Session, stopping
from cdpsync.errors import ConfigError
from cdpsync.serialize.text import plural, printable

if TYPE_CHECKING:
    from cdpsync.model.deliveries import SendResult

EXIT = {"ok": 0, "partial": 3, "failed": 1}

Destinations = Annotated[
    list[str] | None,
    typer.Argument(metavar="SELECT", help="A destination or a glob; default: all."),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do it without asking.")]


@command(ReportFormat)
def send(
    session: Session,
    select: Destinations = None,
    due: Annotated[
        bool, typer.Option("--due", help="Only those whose `every` has passed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show requests, as they would be sent.")
    ] = False,
    count: Annotated[
        int, typer.Option("-n", min=1, help="With --dry-run: at most so many requests.")
    ] = 3,
    test: Annotated[
        bool, typer.Option("--test", help="Send one real row, and show request and answer.")
    ] = False,
    row: Annotated[
        str | None,
        typer.Option("--row", metavar="SQL", help='With --test or --dry-run: which row, "id = 5".'),
    ] = None,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Send every row, as if none had been sent.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="WHEN", help="Go on from now, all, or a time."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="At most N changes of each.")
    ] = None,
    yes: Yes = False,
) -> int:
    """Send the changes of tables and queries to the destinations."""
    _refuse_together(
        {"--dry-run": dry_run, "--test": test, "--backfill": backfill, "--from": start is not None}
    )
    if row is not None and not (test or dry_run):
        raise ConfigError("--row is for --test and --dry-run. Add one of them.")
    config, patterns = session.config(), tuple(select or ())
    from cdpsync import destinations
    from cdpsync.cli.output import delivery_reports, send_summary

    if not config.destinations:
        log.info("this project has no destinations: docs/destinations.md", event="empty")
    if dry_run:
        requests = destinations.preview(config, patterns, count=count, row=row)
        show(delivery_reports.requests_report(requests), session.format)
        return 1 if any(request.error for request in requests) else 0
    if test:
        if len(patterns) != 1:
            raise ConfigError("--test sends a row to one destination. Name it: send NAME --test.")
        request = destinations.try_one(config, patterns[0], row=row)
        show(delivery_reports.requests_report([request]), session.format)
        return 1 if request.error else 0
    result = destinations.send(
        config,
        patterns,
        due=due,
        start="all" if backfill else start,
        limit=limit,
        confirm=lambda name, rows: yes or _confirmed(name, rows),
        is_stopped=stopping.is_set,
        on_result=send_summary.log_delivery,
    )
    return show_send(session, result)


def show_send(session: Session, result: "SendResult") -> int:
    """Show what came of a send; return the exit code."""
    from cdpsync.cli.output import delivery_reports, send_summary

    if not session.quiet or session.format is not Format.TABLE:
        show(delivery_reports.send_report(result), session.format)
    send_summary.log_deliveries(result.destinations)
    return EXIT[result.status]


def _refuse_together(flags: dict[str, bool]) -> None:
    given = [name for name, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} cannot both be given. Give one of them.")


def _confirmed(name: str, rows: int) -> bool:
    """Ask on a terminal whether to send so many rows for the first time."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    text = f"{name}: this sends {plural(rows, 'row')} for the first time. Go on? [y/N] "
    sys.stderr.write(printable(text))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
