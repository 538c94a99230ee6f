"""The command `status`: a line per table, or the history of runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from cdpsync.cli.commands.run import Select
from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from cdpsync.cli.output.report import Report
    from cdpsync.model import Config


@command(ReportFormat)
def status(
    session: Session,
    select: Select = None,
    history: Annotated[
        bool, typer.Option("--history", help="A line per table and run, newest first.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", min=1, help="At most so many lines of the history."),
    ] = None,
) -> None:
    """Show a line per table and destination: last run, rows, cursor, when it is due."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    if limit is not None and not history:
        raise ConfigError("-n is for the history. Add --history.")
    config, patterns = session.config(), tuple(select or ())
    if history:
        report = reports.history_report(project.history(config, patterns, limit))
    else:
        report = _status_report(config, patterns)
    show(report, session.format)
    if not report.rows:
        log.info("no table is known yet: `cdpsync run` loads them", event="empty")


def _status_report(config: "Config", patterns: tuple[str, ...]) -> "Report":
    """Report tables, and destinations; a pattern may name either."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    if not config.destinations:
        return reports.status_report(project.status(config, patterns))
    from cdpsync import destinations

    of_destinations, of_tables = destinations.split_patterns(config, patterns)
    tables = project.status(config, of_tables) if of_tables or not patterns else ()
    if not of_destinations and patterns:
        return reports.status_report(tables)
    return reports.status_report(tables, destinations.overviews(config, of_destinations))
