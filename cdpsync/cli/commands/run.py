"""The commands `plan` and `run`: the sync, and a report of what it would do."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdpsync.cli.formats import Format, ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import Session, stopping
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from cdpsync.model import Planned

PARTIAL = 3
_NO_SOURCES = (
    "This project has no sources. Add one under `sources:` (cdpsync init DIR --source postgres "
    "writes an example into another folder), then: cdpsync check; cdpsync discover SOURCE --yaml"
)
_EXIT = {"ok": 0, "partial": PARTIAL, "failed": 1}

Select = Annotated[
    list[str] | None,
    typer.Argument(metavar="SELECT", help="A source, a table or a glob; default: all."),
]
Include = Annotated[
    list[str] | None,
    typer.Option("-s", "--select", metavar="GLOB", help="Only these tables. Repeatable."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("-e", "--exclude", metavar="GLOB", help="Not these tables. Repeatable."),
]
Due = Annotated[bool, typer.Option("--due", help="Only tables whose `every` has passed.")]
FullRefresh = Annotated[
    bool, typer.Option("--full-refresh", help="Read every row and replace the tables.")
]
AcceptChanges = Annotated[
    bool,
    typer.Option("--accept-changes", help="Accept schema changes that ask or freeze stopped."),
]
AcceptSource = Annotated[
    bool,
    typer.Option("--accept-source", help="Go on from the cursors of a source that has moved."),
]
AllowShrink = Annotated[
    bool,
    typer.Option("--allow-shrink", help="Accept that a full table loses more than half its rows."),
]


@command(ReportFormat)
def plan(
    session: Session,
    select: Select = None,
    include: Include = None,
    exclude: Exclude = None,
    due: Due = False,
    full_refresh: FullRefresh = False,
    allow_shrink: AllowShrink = False,
    accept_changes: AcceptChanges = False,
    accept_source: AcceptSource = False,
) -> int:
    """Show what a run would read and write, without doing it."""
    config = session.config()
    from cdpsync import sync

    planned = sync.plan(
        config,
        tuple(select or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        due=due,
        full_refresh=full_refresh,
        allow_shrink=allow_shrink,
        accept_changes=accept_changes,
        accept_source=accept_source,
    )
    return _show_plan(session, planned)


@command(ReportFormat)
def run(
    session: Session,
    select: Select = None,
    include: Include = None,
    exclude: Exclude = None,
    due: Due = False,
    full_refresh: FullRefresh = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Chunks read at once.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start no further table after a failure.")
    ] = False,
    allow_shrink: AllowShrink = False,
    accept_changes: AcceptChanges = False,
    accept_source: AcceptSource = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            metavar="N",
            help="Load N rows of each table into a sample beside it: shop.orders__sample.",
        ),
    ] = None,
    no_send: Annotated[
        bool, typer.Option("--no-send", help="Send nothing to the destinations.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the plan, as `cdpsync plan` does.")
    ] = False,
) -> int:
    """Sync: read new and changed rows and commit them, table by table."""
    config, patterns = session.config(), tuple(select or ())
    from cdpsync import sync
    from cdpsync.cli.output import progress, reports, run_summary

    options: dict[str, Any] = {  # Any: keywords that `plan` and `run` share
        "include": tuple(include or ()),
        "exclude": tuple(exclude or ()),
        "due": due,
        "full_refresh": full_refresh,
        "allow_shrink": allow_shrink,
        "accept_changes": accept_changes,
        "accept_source": accept_source,
    }
    if limit is not None and (dry_run or due or full_refresh):
        other = "--dry-run" if dry_run else "--due" if due else "--full-refresh"
        raise ConfigError(f"--limit and {other} cannot both be given. Give one of them.")
    if dry_run:
        return _show_plan(session, sync.plan(config, patterns, **options))
    if limit is not None:
        options["limit"] = limit
    with progress.shown(session) as listener:
        result = sync.run(
            config,
            patterns,
            **options,
            threads=threads,
            fail_fast=fail_fast,
            send=not no_send,
            on_progress=listener,
            is_stopped=stopping.is_set,
        )
    if not session.quiet or session.format is not Format.TABLE:
        show(reports.run_report(result), session.format)
    run_summary.log_run(result, listener.failures.logged if listener else ())
    if result.destinations:
        from cdpsync.cli.output import send_summary

        for delivery in result.destinations:
            send_summary.log_delivery(delivery)
        send_summary.log_deliveries(result.destinations)
    if not config.sources and not result.tables:
        log.info(_NO_SOURCES, event="empty")
    return _EXIT[result.status]


def _show_plan(session: Session, planned: "Planned") -> int:
    from cdpsync.cli.output import reports, run_summary

    tried = len(planned.plans) + len(planned.failed)
    show(reports.plan_report(planned), session.format)
    run_summary.log_notices(planned.skipped)
    run_summary.log_source_changes(planned.plans)
    run_summary.log_skipped(planned.skipped, of=tried)
    run_summary.log_failures(planned.failed, of=tried)
    return 0 if not planned.failed else PARTIAL if planned.plans else 1
