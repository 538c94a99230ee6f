"""`maintain`: the upkeep of a lake."""

from typing import Annotated

import typer

from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import ReportFormat, Session, command


@command(ReportFormat)
def maintain(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
) -> None:
    """Expire old snapshots, merge small files, remove what crashed runs left."""
    from cdpsync import maintain as upkeep
    from cdpsync.cli.output import reports

    chores = upkeep.maintain(session.config(), dry_run=dry_run)
    show(reports.maintain_report(chores), session.format)
    if not chores:
        log.info("nothing to do", event="maintain")
