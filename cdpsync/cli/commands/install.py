"""The command `install`: the programs that sources run, in environments of their own."""

from typing import Annotated

import typer

from cdpsync.cli.commands.run import PARTIAL
from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import Session
from cdpsync.redact import label
from cdpsync.serialize.text import with_table


@command(ReportFormat)
def install(
    session: Session,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Sources of the project; default: all."),
    ] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Lock the newest versions that are allowed, first.")
    ] = False,
) -> int:
    """Install the packages that sources run: Singer taps, Airbyte connectors."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    results = list(project.install(session.config(), tuple(sources or ()), upgrade=upgrade))
    show(reports.install_report(results), session.format)
    if not results:
        log.info("nothing to install: no source runs a package", event="install")
    failed = 0
    for result in results:
        if result.error:
            failed += 1
            message = with_table(label(result.source), result.error.message)
            log.error(message, event="install", name=result.source)
        for notice in result.notices:
            log.info(f"{label(result.source)}: {notice}", event="install", name=result.source)
    if not failed:
        return 0
    return 1 if failed == len(results) else PARTIAL
