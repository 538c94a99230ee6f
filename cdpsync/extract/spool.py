"""Spool files as SQL: their rows, and the highest cursor among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ContractError
from cdpsync.model import Column, Cursor, CursorType, TablePlan
from cdpsync.model.cursors import cursor_type_of
from cdpsync.sql import glob_escaped, quote_name, quote_names, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from pathlib import Path

    import duckdb

# A cursor never rests on infinity or in the future, because one mistyped year would hide every row
# that is written later. Rows beyond the bounds are read by every run, and loaded once.
_HIGHEST_CURSOR = {
    CursorType.INTEGER: "max({cursor})",
    CursorType.DECIMAL: "max({cursor})",
    CursorType.DATE: (
        "max({cursor}) filter (where {cursor} between date '0001-01-01' "
        "and cast(now() + interval 1 day as date))"
    ),
    CursorType.TIMESTAMP: (
        # The cast is for TIMESTAMP_NS, whose range is too small for the bounds.
        "max({microseconds}) filter (where cast({cursor} as timestamp) "
        "between timestamp '0001-01-01' and cast(now() as timestamp) + interval 1 day)"
    ),
    CursorType.TIMESTAMPTZ: (
        "max({cursor}) filter (where {cursor} between timestamptz '0001-01-01 00:00:00+00' "
        "and now() + interval 1 day)"
    ),
}


def spooled_rows(files: Iterable[Path], columns: Iterable[Column]) -> str:
    """Return a SELECT of these columns over spool files."""
    listed = ", ".join(quote_text(glob_escaped(str(file))) for file in files)
    names = quote_names(column.name for column in columns)
    # Without hive partitioning, a parent folder called region=eu adds no column.
    return f"select {names} from read_parquet([{listed}], hive_partitioning = false)"


def highest_cursor(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, columns: Iterable[Column], select: str
) -> Cursor | None:
    """Return the highest cursor among the rows of a SELECT; None for a table without a cursor.

    Raises ContractError where the cursor field's type cannot be a cursor.
    """
    if plan.cursor_field is None:
        return None
    column = next(column for column in columns if column.name == plan.cursor_field)
    type_ = cursor_type_of(column.type)
    if type_ is None:
        raise ContractError(
            f'{plan.table}: cursor_field "{plan.cursor_field}" arrives as {column.type}, which '
            "cannot be a cursor. Choose an integer, date or timestamp column, or mode: full_table."
        )
    expression = highest_cursor_sql(type_, plan.cursor_field)
    row = con.execute(f"select {expression} from ({select})").fetchone()
    value: int | date | datetime | None = row[0] if row else None
    return None if value is None else Cursor(type_, value)


def highest_cursor_sql(type_: CursorType, field: str) -> str:
    """Return the highest value of a column on which a cursor may rest, as an aggregate in SQL."""
    name = quote_name(field)
    return _HIGHEST_CURSOR[type_].format(cursor=name, microseconds=microseconds(name))


def microseconds(timestamp: str) -> str:
    """Return a TIMESTAMP or TIMESTAMP_NS in SQL as a TIMESTAMP that is never later.

    A cast rounds towards 1970. So before 1970 it would return a cursor above its own row, which the
    next read would not find.
    """
    cast = f"cast({timestamp} as timestamp)"
    return f"case when {cast} > {timestamp} then {cast} - interval 1 microsecond else {cast} end"
