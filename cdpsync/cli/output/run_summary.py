"""Log lines on stderr about the result of each table and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.cli.output import log
from cdpsync.model import SkipReason, TableStatus
from cdpsync.serialize.text import plural, seconds, with_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from cdpsync.model import RunResult, TablePlan, TableResult

_MOST_NAMES = 20  # of tables in one line
_WITH_NOTICE = {SkipReason.LOCKED, SkipReason.MISSING, SkipReason.EXCLUDES_NOTHING}


def log_table(result: TableResult, same_as: str | None = None) -> None:
    """Log the result of one table; `same_as` is a table whose failure had the same reason."""
    fields: dict[str, Any] = {  # Any: the keywords of a log line
        "event": "table",
        "table": str(result.table),
        "status": result.status.value,
    }
    if result.status is TableStatus.FAILED:
        message = _failure_line(result)
        if same_as is not None:
            message = f"{result.table}: failed for the same reason as {same_as}"
        log.error(message, **fields, error=_reason(result), seconds=round(result.seconds, 3))
    elif result.status is TableStatus.OK:
        message = (
            f"{result.table}  ok  {result.rows_read:,} read  {result.rows_inserted:,} inserted  "
            f"{result.rows_updated:,} updated  {result.rows_deleted:,} deleted  "
            f"{seconds(result.seconds)}"
        )
        log.info(
            message,
            **fields,
            rows_read=result.rows_read,
            rows_inserted=result.rows_inserted,
            rows_updated=result.rows_updated,
            rows_deleted=result.rows_deleted,
            seconds=round(result.seconds, 3),
        )


def log_run(run: RunResult, logged: Collection[tuple[str, str]] = ()) -> None:
    """Log the result of a run: its notices first, its failures last.

    `logged` are the source and stream of each table whose failure was logged when it happened.
    """
    finished = [result for result in run.tables if result.status is not TableStatus.SKIPPED]
    failed = [result for result in finished if result.status is TableStatus.FAILED]
    log_notices(run.tables)
    left_out = [result for result in run.tables if result.skip_reason is SkipReason.LOCKED]
    log_skipped(run.tables, of=len(finished) + len(left_out))
    if left_out:
        log.warn(
            f"{plural(len(left_out), 'table')} left out, because another run works on it"
            if len(left_out) == 1
            else f"{len(left_out):,} tables left out, because other runs work on them",
            event="left_out",
            tables=[str(result.table) for result in left_out],
        )
    took = seconds((run.finished_at - run.started_at).total_seconds())
    if finished:
        log.info(
            f"run {run.run_id}: {plural(len(finished) - len(failed), 'table')} ok, "
            f"{len(failed):,} failed, {took}",
            event="run",
            run_id=run.run_id,
            status=run.status.value,
        )
    log_failures(failed, of=len(finished), logged=logged)


def log_notices(results: Iterable[TableResult]) -> None:
    """Log what a person should know of these tables."""
    for result in results:
        for notice in result.notices:
            log.warn(f"{result.table}: {notice}", event="notice", table=str(result.table))


def log_source_changes(plans: Iterable[TablePlan]) -> None:
    """Log which planned tables were read from another source before."""
    for plan in plans:
        if plan.source_change:
            message = f"{plan.table}: {plan.source_change}"
            log.warn(message, event="notice", table=str(plan.table))


def log_skipped(results: Iterable[TableResult], *, of: int) -> None:
    """Log how many tables were skipped while `of` tables were tried.

    Those that another run works on, that are missing or no tables, have notices of their own.
    """
    skipped = sum(
        result.status is TableStatus.SKIPPED and result.skip_reason not in _WITH_NOTICE
        for result in results
    )
    if not of:
        message = "nothing is due" if skipped else "nothing to do"
        log.info(message, event="skipped", tables=skipped)
    elif skipped:
        log.info(f"{plural(skipped, 'table')} skipped", event="skipped", tables=skipped)


def log_failures(
    failed: Sequence[TableResult], *, of: int, logged: Collection[tuple[str, str]] = ()
) -> None:
    """Log which tables failed, and why, unless that was logged already."""
    if not failed:
        return
    names = [str(result.table) for result in failed]
    count = f"{len(failed):,} of {plural(of, 'table')} failed:"
    new = [result for result in failed if (result.source, result.stream) not in logged]
    if new:
        message = "\n  ".join([count, *map(_failure_line, new)])
    else:
        listed = ", ".join(names[:_MOST_NAMES])
        message = f"{count} {listed}{', …' if len(names) > _MOST_NAMES else ''}"
    log.error(message, event="failed", tables=names)


def _failure_line(result: TableResult) -> str:
    """Return the table and its error; the error may begin with the table itself."""
    return with_table(result.table, _reason(result))


def _reason(result: TableResult) -> str:
    return result.error.message if result.error else "failed"
