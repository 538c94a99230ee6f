"""The command `maintain`: the upkeep of a lake."""

from typing import Annotated

import typer

from cdpsync.cli.commands.run import PARTIAL
from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import Session


@command(ReportFormat)
def maintain(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
) -> int:
    """Expire old snapshots, merge small files, remove the files of crashed runs."""
    from cdpsync import maintain as upkeep
    from cdpsync.cli.output import reports

    steps = upkeep.maintain(session.config(), dry_run=dry_run)
    show(reports.maintain_report(steps), session.format)
    if not steps:
        log.info("nothing to do", event="maintain")
    failures = [step.error for step in steps if step.error is not None]
    for failure in failures:
        log.error(failure.message, event="failed")
    return PARTIAL if failures else 0
