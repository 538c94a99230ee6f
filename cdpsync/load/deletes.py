"""Rows deleted at the source, found by comparing its keys: removed from the lake, or marked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import require_no_shrink, sql_name
from cdpsync.errors import ContractError
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.merge import cast_existing, count, same_key
from cdpsync.load.parquet import write
from cdpsync.model import DELETED_AT, Column, Cursor, CursorType, Deletes
from cdpsync.model.cursors import cursor_sql
from cdpsync.sql import fold_name, quote_name, quote_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.load.merge import MergeResult
    from cdpsync.model import TablePlan

_DELETED_AT_SOURCE = """
    select {columns} from {table} as existing
    where {unmarked}
      and not exists (select 1 from ({source_keys}) as incoming where {same_key})
      and not exists (select 1 from ({merged_keys}) as incoming where {same_key})
"""

_RESTORED_AT_SOURCE = """
    select {columns} from {table} as existing
    where not ({unmarked})
      and exists (select 1 from ({source_keys}) as incoming where {same_key})
      and not exists (select 1 from ({merged_keys}) as incoming where {same_key})
"""


def merge_deletes(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    merged: MergeResult,
    key_files: Sequence[Path],
    folder: Path,
    now: datetime,
) -> MergeResult:
    """Return `merged` with the deletion of existing rows whose key the source no longer has.

    `key_files` are spool files with every key that the source has. `con` has the lake attached.
    With `deletes: soft`, the rows are marked instead, and marked rows that the source has again
    lose their mark. Raises ContractError when more than half of the rows would be deleted, unless
    the plan allows that.
    """
    existing = plan.lake_table.columns if plan.lake_table else ()
    soft = plan.deletes is Deletes.SOFT
    has_marks = soft and any(column.name == DELETED_AT for column in existing)
    parts = {
        "table": sql_name(plan.table),
        "unmarked": f"existing.{quote_name(DELETED_AT)} is null" if has_marks else "true",
        "source_keys": spooled_keys(plan, key_files),
        "merged_keys": spooled_keys(plan, merged.files),
        "same_key": same_key(plan),
    }
    select_keys = _DELETED_AT_SOURCE.format(columns=quote_names(plan.primary_key), **parts)
    deleted = count(con, select_keys)
    if not plan.allow_shrink:
        _require_no_shrink(con, plan, parts, deleted)
    if not soft:
        file = folder / "removed.parquet"
        write(con, select_keys, file)
        return replace(merged, delete_keys=file) if deleted else merged
    mark = cursor_sql(Cursor(CursorType.TIMESTAMPTZ, now))
    columns = marked_columns(plan, merged.columns, existing, mark)
    select = _DELETED_AT_SOURCE.format(columns=columns, **parts)
    if has_marks:
        no_mark = "cast(null as timestamptz)"
        columns = marked_columns(plan, merged.columns, existing, no_mark)
        select += f" union all {_RESTORED_AT_SOURCE.format(columns=columns, **parts)}"
    file = folder / "marked.parquet"
    rows, size = write(con, select, file)
    if not rows:
        return merged
    return replace(
        merged,
        files=(*merged.files, file),
        rows=merged.rows + rows,
        bytes=merged.bytes + size,
        upsert_files=(*merged.upsert_files, file),
        soft_deleted=merged.soft_deleted + deleted,
    )


_KEPT = """
    select {columns} from {table} as existing
    where {kept} and not exists (select 1 from ({source_keys}) as incoming where {same_key})
"""


def keep_deleted(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    merged: MergeResult,
    folder: Path,
    now: datetime,
) -> MergeResult:
    """Return `merged`, which replaces a table, with the table's rows that the source has no more.

    They keep their values and their marks; those without a mark get one, unless the table's options
    have changed, because rows may be missing for that reason then. Raises ContractError when less
    than half as many rows were read as the table has, unless the plan allows that.
    """
    existing = plan.lake_table.columns if plan.lake_table else ()
    columns = (*merged.columns, *_only_in_deleted(plan, merged.columns, existing))
    names = {fold_name(column.name): column for column in existing}
    values = [
        f"{cast_existing(plan, column, names[fold_name(column.name)])} as {quote_name(column.name)}"
        for column in columns
        if fold_name(column.name) in names and column.name != DELETED_AT
    ]
    unmarked = f"existing.{quote_name(DELETED_AT)} is null"
    has_same_settings = plan.saved_state is None or plan.saved_state.settings == plan.settings
    mark = cursor_sql(Cursor(CursorType.TIMESTAMPTZ, now))
    values.append(
        f"coalesce(existing.{quote_name(DELETED_AT)}, {mark}) as {quote_name(DELETED_AT)}"
    )
    parts = {
        "table": sql_name(plan.table),
        "unmarked": unmarked,
        "source_keys": spooled_keys(plan, merged.files),
        "same_key": same_key(plan),
    }
    if not plan.allow_shrink:
        # A table that was swapped for another at the source may mark all rows, and still be whole.
        rows = count(con, "select 1 from {table} as existing where {unmarked}".format(**parts))
        _require_no_shrink(con, plan, parts, max(0, rows - merged.rows))
    kept = "true" if has_same_settings else f"not ({unmarked})"
    for column in columns:
        inexact = _does_not_fit(column, names.get(fold_name(column.name)))
        if inexact != "false" and count(
            con, _KEPT.format(columns="1", kept=f"{kept} and {inexact}", **parts)
        ):
            raise ContractError(
                f'{plan.table}: column "{column.name}" is {column.type} now, and rows that were '
                "deleted at the source have values that do not fit. Nothing was changed. Give the "
                "column a type that fits all, under columns: types."
            )
    file = folder / "kept.parquet"
    rows, size = write(con, _KEPT.format(columns=", ".join(values), kept=kept, **parts), file)
    if not rows:
        return merged
    return replace(
        merged,
        columns=columns,
        files=(*merged.files, file),
        rows=merged.rows + rows,
        bytes=merged.bytes + size,
    )


def _only_in_deleted(
    plan: TablePlan, columns: Sequence[Column], existing: Sequence[Column]
) -> tuple[Column, ...]:
    """Return the lake's columns of an open schema that no row of the source has any more."""
    if not plan.stream.open_schema:
        return ()
    known = {fold_name(column.name) for column in columns} | {
        fold_name(n) for n in plan.exclude or ()
    }
    included = {fold_name(name) for name in plan.include or ()}
    left = ((fold_name(column.name), replace(column, nullable=True)) for column in existing)
    return tuple(
        column for name, column in left if name not in known and (not included or name in included)
    )


def _does_not_fit(column: Column, existing: Column | None) -> str:
    """Return the condition in SQL for a value that a cast would change."""
    if existing is None or existing.type == column.type or column.type in {"VARCHAR", "JSON"}:
        return "false"
    name = f"existing.{quote_name(existing.name)}"
    there_and_back = f"try_cast(try_cast({name} as {column.type}) as {existing.type})"
    return f"{there_and_back} is distinct from {name}"


def _require_no_shrink(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, parts: dict[str, str], deleted: int
) -> None:
    rows = count(con, "select 1 from {table} as existing where {unmarked}".format(**parts))
    require_no_shrink(
        rows,
        rows - deleted,
        f"{plan.table}: {deleted:,} of its {rows:,} rows are no longer at the source: more than "
        "half. The rows stay, and nothing was committed. If that is right, run it with "
        '--allow-shrink, or set "allow_shrink: true" for the table.',
    )


def spooled_keys(plan: TablePlan, files: Sequence[Path]) -> str:
    """Return a SELECT of the keys in spool files. Without files it has no rows."""
    columns = [Column(name, "") for name in plan.primary_key]
    if files:
        return spooled_rows(files, columns)
    nulls = ", ".join(f"null as {quote_name(column.name)}" for column in columns)
    return f"select {nulls} where false"


def marked_columns(
    plan: TablePlan, columns: Sequence[Column], existing: Sequence[Column], mark: str
) -> str:
    """Return the lake table's columns in SQL, as after a commit of `columns`, with this mark.

    `mark` is the SQL value of the column that says when the row was deleted at the source.
    """
    new_columns = {fold_name(column.name): column for column in columns}
    values = [
        f"{cast_existing(plan, new_columns.get(fold_name(column.name), column), column)} "
        f"as {quote_name(column.name)}"
        for column in existing
        if column.name != DELETED_AT
    ]
    return ", ".join([*values, f"{mark} as {quote_name(DELETED_AT)}"])
