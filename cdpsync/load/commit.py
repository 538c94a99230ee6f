"""Builds the catalog commit and the run record of one loaded table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Commit
from cdpsync.model import RunRecord, SavedState, TablePlan, TableResult, TableStatus
from cdpsync.model.plan import rejected_name
from cdpsync.plan.schema_changes import column_types
from cdpsync.sql import fold_name
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from cdpsync.load.table import LoadedTable


def commit_of(table: LoadedTable, run_id: str) -> Commit:
    """Return the commit of a loaded table, with its cursor and its run record."""
    plan, merged = table.plan, table.merged
    finished_at = clock.now()
    result = replace(
        result_of(plan, TableStatus.OK),
        rows_read=table.extracted.rows,
        bytes_written=merged.bytes,
        cursor_before=plan.cursor_before,
        cursor_after=table.extracted.cursor,
        seconds=table.seconds,
        notices=_notices(table),
    )
    saved_state = SavedState(
        source=plan.source,
        stream=plan.stream.name,
        table=plan.table,
        mode=plan.mode,
        cursor_field=plan.cursor_field,
        cursor=table.extracted.cursor,
        run_id=run_id,
        committed_at=finished_at,
        settings=plan.settings,
        deletes_at=_deletes_at(table),
        columns=None if plan.stream.open_schema else column_types(plan.columns),
        identity=plan.stream.saved_identity,
        source_identity=plan.source_identity,
    )
    if is_unchanged(table):
        saved_state = _previous_if_equal(plan.saved_state, saved_state)
    return Commit(
        table=plan.table,
        columns=merged.columns,
        replace=plan.replace,
        files=table.files,
        rows=merged.rows,
        saved_state=saved_state,
        record=RunRecord(run_id, table.started_at, finished_at, result),
        key=plan.primary_key,
        upsert_files=merged.upsert_files,
        delete_keys=merged.delete_keys,
        soft_deleted=merged.soft_deleted,
        allow_shrink=plan.allow_shrink,
        rows_before=plan.lake_table.rows if plan.lake_table else None,
        rejected=None if table.extracted.rejected is None else table.rejected_files,
    )


def result_of(plan: TablePlan, status: TableStatus) -> TableResult:
    """Return a table's result with this status and no figures."""
    return TableResult(plan.source, plan.stream.name, plan.table, plan.mode, status)


def is_unchanged(table: LoadedTable) -> bool:
    """Whether the load changes neither a row nor a column of the lake's table."""
    plan, merged = table.plan, table.merged
    if plan.replace or plan.lake_table is None or merged.files or merged.delete_keys:
        return False
    if table.extracted.rejected is not None:  # these records are replaced in any case
        return False
    existing = {fold_name(column.name): column for column in plan.lake_table.columns}
    return all(
        fold_name(column.name) in existing and existing[fold_name(column.name)].type == column.type
        for column in merged.columns
    ) and {fold_name(column.name) for column in merged.columns if not column.nullable} >= {
        name for name, column in existing.items() if not column.nullable
    }


def _previous_if_equal(previous: SavedState | None, saved_state: SavedState) -> SavedState:
    """Return the previous state, if only the run and the time of the new one differ."""
    if previous is None:
        return saved_state
    dated = replace(saved_state, run_id=previous.run_id, committed_at=previous.committed_at)
    return previous if dated == previous else saved_state


def _deletes_at(table: LoadedTable) -> datetime | None:
    """Return when the lake's keys were last made equal to the source's."""
    plan = table.plan
    if plan.replace or plan.compares_keys:
        return table.started_at
    return plan.saved_state.deletes_at if plan.saved_state else None


def _notices(table: LoadedTable) -> tuple[str, ...]:
    plan, duplicates = table.plan, table.merged.duplicates
    notices = [*plan.notices, *table.extracted.notices]
    rejected = table.extracted.rejected
    if rejected is not None and rejected.rows:
        records = "1 record was" if rejected.rows == 1 else f"{rejected.rows:,} records were"
        notices.append(f"{records} rejected, with the reason in {rejected_name(plan.table)}")
    if duplicates:
        notices.append(
            f"{duplicates} rows shared their key ({', '.join(plan.primary_key)}) with a newer "
            "row. The newer row was kept"
        )
    return (*notices, *_column_notices(table))


def _column_notices(table: LoadedTable) -> Iterator[str]:
    """Yield a notice for each column that this load adds to the lake's table, or converts."""
    plan = table.plan
    if plan.lake_table is None:
        return
    existing_types = {fold_name(column.name): column.type for column in plan.lake_table.columns}
    for column in table.merged.columns:
        existing_type = existing_types.get(fold_name(column.name))
        if plan.replace and not plan.is_guessed(column.name):
            continue
        if existing_type is None and plan.stream.open_schema:
            yield f'column "{column.name}" is new'
        elif existing_type not in {None, column.type}:
            yield f'column "{column.name}" was {existing_type} and is {column.type} now'
