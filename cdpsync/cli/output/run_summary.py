"""How tables and runs came out, told on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.cli.output import log
from cdpsync.model import TableStatus
from cdpsync.serialize.text import plural, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model import RunResult, TableResult


def tell_result(result: TableResult) -> None:
    """Narrate how a table came out."""
    fields: dict[str, Any] = {  # Any: the keywords of a narration
        "event": "table",
        "table": str(result.table),
        "status": result.status.value,
    }
    if result.status is TableStatus.FAILED:
        message = result.error.message if result.error else "failed"
        log.error(f"{result.table}: {message}", **fields)
    elif result.status is TableStatus.OK:
        told = (
            f"{result.table}  ok  {result.rows_read:,} read  {result.rows_inserted:,} inserted  "
            f"{result.rows_updated:,} updated  {result.rows_deleted:,} deleted  "
            f"{seconds(result.seconds)}"
        )
        log.info(
            told,
            **fields,
            rows_read=result.rows_read,
            rows_inserted=result.rows_inserted,
            rows_updated=result.rows_updated,
            rows_deleted=result.rows_deleted,
            seconds=round(result.seconds, 3),
        )


def tell_end(result: RunResult) -> None:
    """Narrate how a run came out, its failures last."""
    ended = [table for table in result.tables if table.status is not TableStatus.SKIPPED]
    failed = [table for table in ended if table.status is TableStatus.FAILED]
    for table in result.tables:
        for notice in table.notices:
            log.warn(f"{table.table}: {notice}", event="notice", table=str(table.table))
    tell_skipped(len(result.tables) - len(ended), of=len(ended))
    took = seconds((result.finished_at - result.started_at).total_seconds())
    if ended:
        log.info(
            f"run {result.run_id}: {plural(len(ended) - len(failed), 'table')} ok, "
            f"{len(failed):,} failed, {took}",
            event="run",
            run_id=result.run_id,
            status=result.status.value,
        )
    tell_failures(failed, of=len(ended))


def tell_skipped(skipped: int, *, of: int) -> None:
    """Narrate that there was nothing to do, or not for all."""
    if not of:
        log.info("nothing is due" if skipped else "nothing to do", event="skipped", tables=skipped)
    elif skipped:
        log.info(f"{plural(skipped, 'table')} skipped", event="skipped", tables=skipped)


def tell_failures(failed: Sequence[TableResult], *, of: int) -> None:
    """Narrate which tables failed, and why."""
    if failed:
        lines = [f"{one.table}: {one.error.message if one.error else 'failed'}" for one in failed]
        told = "\n  ".join([f"{len(failed):,} of {plural(of, 'table')} failed:", *lines])
        log.error(told, event="failed", tables=[str(one.table) for one in failed])
