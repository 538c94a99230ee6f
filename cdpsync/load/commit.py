"""What a landed table brings: its commit, and what is told of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Commit
from cdpsync.model import RunRecord, SavedState, TablePlan, TableResult, TableStatus
from cdpsync.plan.schema_changes import column_types
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cdpsync.load.table import LoadedTable


def commit_of(landed: LoadedTable, run_id: str) -> Commit:
    """Return what is to be committed of a table, with its cursor and the run's record."""
    plan, staged = landed.plan, landed.merged
    finished_at = clock.now()
    result = replace(
        result_of(plan, TableStatus.OK),
        rows_read=landed.extracted.rows,
        bytes_written=staged.bytes,
        cursor_before=plan.cursor_before,
        cursor_after=landed.extracted.cursor,
        seconds=round(time.monotonic() - landed.clock, 3),
        notices=_notices(landed),
    )
    entry = SavedState(
        source=plan.source,
        stream=plan.stream.name,
        table=plan.table,
        mode=plan.mode,
        cursor_field=plan.cursor_field,
        cursor=landed.extracted.cursor,
        run_id=run_id,
        committed_at=finished_at,
        settings=plan.settings,
        deletes_at=_compared_at(landed),
        columns=None if plan.stream.open_schema else column_types(plan.columns),
        identity=plan.stream.identity,
    )
    if is_unchanged(landed):
        entry = _known(plan.saved_state, entry)
    return Commit(
        table=plan.table,
        columns=staged.columns,
        replace=plan.replace,
        files=landed.files,
        rows=staged.rows,
        saved_state=entry,
        record=RunRecord(run_id, landed.started_at, finished_at, result),
        key=plan.primary_key,
        upsert_files=staged.upsert_files,
        delete_keys=staged.delete_keys,
        soft_deleted=staged.soft_deleted,
        converts=plan.stream.open_schema,
        allow_shrink=plan.allow_shrink,
        rows_before=plan.lake_table.rows if plan.lake_table else None,
    )


def result_of(plan: TablePlan, status: TableStatus) -> TableResult:
    """Return a table's result in a run, as yet without figures."""
    return TableResult(plan.source, plan.stream.name, plan.table, plan.mode, status)


def is_unchanged(landed: LoadedTable) -> bool:
    """Whether a table has no news but that it was read: no row and no column has changed."""
    plan, staged = landed.plan, landed.merged
    if plan.replace or plan.lake_table is None or staged.files or staged.delete_keys:
        return False
    held = {column.name.lower(): column for column in plan.lake_table.columns}
    return all(
        column.name.lower() in held and held[column.name.lower()].type == column.type
        for column in staged.columns
    ) and {column.name.lower() for column in staged.columns if not column.nullable} >= {
        name for name, column in held.items() if not column.nullable
    }


def _known(known: SavedState | None, entry: SavedState) -> SavedState:
    """Return what is known already where it differs in no more than when and by whom."""
    if known is None:
        return entry
    same = replace(entry, run_id=known.run_id, committed_at=known.committed_at) == known
    return known if same else entry


def _compared_at(landed: LoadedTable) -> datetime | None:
    """Return when the lake last had the source's keys and no others."""
    plan = landed.plan
    if plan.replace or plan.compares_keys:
        return landed.started_at
    return plan.saved_state.deletes_at if plan.saved_state else None


def _notices(landed: LoadedTable) -> tuple[str, ...]:
    plan, repeated = landed.plan, landed.merged.duplicates
    notices = [*plan.notices, *landed.extracted.notices]
    if repeated:
        notices.append(
            f"{repeated} rows shared their key ({', '.join(plan.primary_key)}) with a newer "
            "one, which was kept"
        )
    return (*notices, *_changed_columns(landed))


def _changed_columns(landed: LoadedTable) -> Iterator[str]:
    """Say which columns of a table that is added to are another thing than before."""
    plan = landed.plan
    if plan.replace or plan.lake_table is None:
        return
    held = {column.name.lower(): column.type for column in plan.lake_table.columns}
    for column in landed.merged.columns:
        old = held.get(column.name.lower())
        if old is None and plan.stream.open_schema:
            yield f'column "{column.name}" is new'
        elif old not in {None, column.type}:
            yield f'column "{column.name}" was {old} and is {column.type} now'
