"""Log lines on stderr about the result of each table and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.cli.output import log
from cdpsync.model import SkipReason, TableStatus
from cdpsync.serialize.text import plural, seconds, with_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model import RunResult, TableResult


def log_table(result: TableResult) -> None:
    """Log the result of one table."""
    fields: dict[str, Any] = {  # Any: the keywords of a log line
        "event": "table",
        "table": str(result.table),
        "status": result.status.value,
    }
    if result.status is TableStatus.FAILED:
        log.error(_error_line(result), **fields)
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


def log_run(run: RunResult) -> None:
    """Log the result of a run: its notices first, its failures last."""
    finished = [result for result in run.tables if result.status is not TableStatus.SKIPPED]
    failed = [result for result in finished if result.status is TableStatus.FAILED]
    for result in run.tables:
        for notice in result.notices:
            log.warn(f"{result.table}: {notice}", event="notice", table=str(result.table))
    left_out = [result for result in run.tables if result.skip_reason is SkipReason.LOCKED]
    log_skipped(len(run.tables) - len(finished) - len(left_out), of=len(finished) + len(left_out))
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
    log_failures(failed, of=len(finished))


def log_skipped(skipped: int, *, of: int) -> None:
    """Log how many tables were skipped while `of` tables were tried."""
    if not of:
        message = "nothing is due" if skipped else "nothing to do"
        log.info(message, event="skipped", tables=skipped)
    elif skipped:
        log.info(f"{plural(skipped, 'table')} skipped", event="skipped", tables=skipped)


def log_failures(failed: Sequence[TableResult], *, of: int) -> None:
    """Log which tables failed, and why."""
    if failed:
        lines = [_error_line(result) for result in failed]
        message = "\n  ".join([f"{len(failed):,} of {plural(of, 'table')} failed:", *lines])
        log.error(message, event="failed", tables=[str(result.table) for result in failed])


def _error_line(result: TableResult) -> str:
    return with_table(result.table, result.error.message if result.error else "failed")
