"""Whether the rows that were read continue those of the lake, or a table that began anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from cdpsync.catalog import sql_name
from cdpsync.extract.spool import highest_cursor_sql, microseconds, spooled_rows
from cdpsync.load.merge import cast_existing, count
from cdpsync.model import CursorType, SyncMode, TablePlan, Window
from cdpsync.model.cursors import cursor_json, cursor_sql
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    import duckdb

    from cdpsync.extract.table import Extracted
    from cdpsync.load.merge import MergeResult

_LAKE_ROWS = """
    select not exists (from {table}) or coalesce((
        select {highest} >= {saved} or min({cursor}) = {saved}
        from {table} where {cursor} >= {saved}
    ), false)
"""
_AT_CURSOR = """
    select exists (from {table} where {cursor} = {saved})
        and exists (from ({incoming}) where {cursor} = {saved})
"""
_COMMON_ROWS = """
    select exists (
        select {incoming_values} from ({incoming})
        intersect
        select {existing_values} from {table} as existing
    )
"""


def may_be_beyond(plan: TablePlan, extracted: Extracted) -> bool:
    """Whether a read from a cursor found no row at it or above it.

    The row that gave the cursor is read again by each run. So it was deleted at the source, or the
    table was emptied or restored, and rows that come now may have cursors below.
    """
    if plan.window is None or plan.cursor_before is None or plan.stream.changes is not None:
        return False
    highest = extracted.highest_cursor
    if highest is None:
        return True
    if highest.type is not plan.cursor_before.type:
        return False
    return highest.value < plan.cursor_before.value  # type: ignore[operator]  # of one type


def restarted(con: duckdb.DuckDBPyConnection, plan: TablePlan) -> TablePlan | None:
    """Return the plan of a read from the start; None where the cursor is not one of a row.

    A cursor that a person has set, or a connector, may lie above every row on purpose. Then the
    lake has no row at it or above it, except for rows on which no cursor rests, such as those of
    the year 9999. `con` has a copy of the lake attached.
    """
    saved, saved_state = plan.cursor_before, plan.saved_state
    if saved is None or saved_state is None or saved_state.cursor != saved:
        return None
    sql = _LAKE_ROWS.format(
        table=sql_name(plan.table),
        cursor=quote_name(plan.cursor_field or ""),
        highest=highest_cursor_sql(saved.type, plan.cursor_field or ""),
        saved=cursor_sql(saved),
    )
    row = con.execute(sql).fetchone()
    if not row or not row[0]:
        return None
    notice = (
        "read from the start: the source has no row at or above the cursor "
        f"{cursor_json(saved)} any more, as after a TRUNCATE, a restored backup, or the deletion "
        "of its newest rows"
    )
    return replace(plan, window=None, cursor_before=None, notices=(*plan.notices, notice))


def window_of(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, extracted: Extracted
) -> Window | None:
    """Return the window that the rows of a read from the start lie in, for the merge.

    None where one of them is as early as can be, so that every row of the lake is compared.
    """
    field = quote_name(plan.cursor_field or "")
    paths = [file.path for file in extracted.files]
    rows = spooled_rows(paths, extracted.columns)
    highest = extracted.highest_cursor
    if highest is None:
        raise AssertionError("a restarted read without cursors is not merged")
    value = microseconds(field) if highest.type is CursorType.TIMESTAMP else field
    lowest = f"min({value})"
    if isinstance(highest.value, date):  # Python has no infinite times
        lowest = f"case when not isinf({lowest}) then {lowest} end"
    row = con.execute(f"select {lowest} from ({rows})").fetchone()
    if row is None or row[0] is None:
        return None
    return Window(plan.cursor_field or "", replace(highest, value=row[0]))


def replaces_lake(con: duckdb.DuckDBPyConnection, plan: TablePlan, extracted: Extracted) -> bool:
    """Whether a table that may be another one has no row in common with the lake's.

    Then its rows replace the lake's, unless they are less than half as many: such a table was
    emptied, and its former rows stay as deleted ones do. So do those of a table that the source
    knows to be the same.
    """
    if (
        not plan.stream.rebuild_changes_identity
        or plan.mode is not SyncMode.INCREMENTAL
        or plan.lake_table is None
    ):
        return False
    table = sql_name(plan.table)
    if not extracted.files or 2 * extracted.rows < count(con, f"from {table}"):
        return False
    existing = {fold_name(column.name): column for column in plan.lake_table.columns}
    shared = [column for column in extracted.columns if fold_name(column.name) in existing]
    sql = _COMMON_ROWS.format(
        incoming=spooled_rows([file.path for file in extracted.files], extracted.columns),
        incoming_values=", ".join(quote_name(column.name) for column in shared),
        existing_values=", ".join(
            cast_existing(plan, column, existing[fold_name(column.name)]) for column in shared
        ),
        table=table,
    )
    row = con.execute(sql).fetchone()
    return row is not None and not row[0]


def has_other_row_at_cursor(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, extracted: Extracted, merged: MergeResult
) -> bool:
    """Whether the source has a row at the saved cursor, and it is none that was appended.

    Rows of an append-only table do not change. So its row was changed there after all, or the
    table was emptied, and its new rows have reached the old numbers: those below were not read.
    Only reads without one known row are looked at. `con` has a copy of the lake attached.
    """
    saved, saved_state = plan.cursor_before, plan.saved_state
    if plan.mode is not SyncMode.APPEND_ONLY or plan.window is None or not extracted.rows:
        return False
    if saved is None or saved_state is None or saved_state.cursor != saved:
        return False
    if plan.lake_table is None or merged.rows != extracted.rows:
        return False
    sql = _AT_CURSOR.format(
        table=sql_name(plan.table),
        cursor=quote_name(plan.cursor_field or ""),
        saved=cursor_sql(saved),
        incoming=spooled_rows([file.path for file in extracted.files], extracted.columns),
    )
    row = con.execute(sql).fetchone()
    return row is not None and bool(row[0])


def with_other_row_notice(plan: TablePlan) -> TablePlan:
    """Return the plan with a notice that rows below the cursor may be missing."""
    if plan.cursor_before is None:
        raise AssertionError("only a table with a cursor has a row at it")
    notice = (
        f"the row at the cursor {cursor_json(plan.cursor_before)} is another one at the source "
        "than the one that was appended: it was changed, or the table was emptied and filled "
        f"again, and rows below were not read. Compare it: cdpsync verify {plan.table}"
    )
    return replace(plan, notices=(*plan.notices, notice))
