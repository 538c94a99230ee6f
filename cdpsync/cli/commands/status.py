"""`status`: how every table is, and how it came to be."""

from typing import Annotated

import typer

from cdpsync.cli.commands.run import Select
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import ReportFormat, Session, command
from cdpsync.errors import ConfigError


@command(ReportFormat)
def status(
    session: Session,
    select: Select = None,
    history: Annotated[
        bool, typer.Option("--history", help="A line per table and run, newest first.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", min=1, help="So many lines of the history.")
    ] = None,
) -> None:
    """Show a line per table: how it is, what it holds, when it is due."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    if limit is not None and not history:
        raise ConfigError("-n is for the history. Add --history.")
    config, chosen = session.config(), tuple(select or ())
    if history:
        report = reports.history_report(project.history(config, chosen, limit))
    else:
        report = reports.status_report(project.status(config, chosen))
    show(report, session.format)
    if not report.rows:
        log.info("no table is known yet: `cdpsync run` loads them", event="empty")
