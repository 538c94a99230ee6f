"""Results of tables that a run does not read: they failed before, are not due, or are locked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.model import Failure, SkipReason, TableResult, TableStatus

if TYPE_CHECKING:
    from cdpsync.plan.configured import ConfiguredTable
    from cdpsync.plan.resume import PreviousState
    from cdpsync.system import locks


def result_of(
    table: ConfiguredTable,
    previous: PreviousState,
    status: TableStatus,
    failure: Failure | None = None,
) -> TableResult:
    """Return the result of a table whose cursor stays where it was."""
    return TableResult(
        table.source,
        table.name,
        table.table,
        table.mode,
        status,
        cursor_before=previous.cursor,
        cursor_after=previous.cursor,
        error=failure,
    )


def locked_result(
    table: ConfiguredTable, previous: PreviousState, holder: locks.Holder | None
) -> TableResult:
    """Return the result of a table on which another run works."""
    notice = f"left out, because {holder or 'another process'} works on it"
    result = result_of(table, previous, TableStatus.SKIPPED)
    return replace(result, notices=(notice,), skip_reason=SkipReason.LOCKED)


def not_due_result(result: TableResult) -> TableResult:
    """Return the result of a table that is not due."""
    return replace(result, status=TableStatus.SKIPPED, skip_reason=SkipReason.NOT_DUE)
