"""Spool files to the files that must land: what the lake has already is dropped here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.cursors import cursor_sql, cursor_type_of, later
from cdpsync.engine import connect, glob_escaped, quote_name, quote_names, quote_text
from cdpsync.errors import ContractError
from cdpsync.model import Column, Cursor, CursorType, SyncMode, TablePlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from pathlib import Path

    import duckdb

# Every row that differs from the landed ones of the same window, once. Ties at the boundary and
# late rows are among them; rows that landed before are not.
_CHANGED = """
    select * from ({arrived})
    {operator}
    select {held} from {table} where {cursor} >= {low} or {cursor} is null
"""

_LATEST_PER_KEY = """
    select {columns} from ({arrived})
    qualify row_number() over (partition by {key} order by {cursor} desc nulls last) = 1
"""

# Where several rows share a key, one without a cursor, or with an older one, may come again: it
# does not take the place of the newer one that landed.
_NOT_OLDER = """
    select arrived.* from ({arrived}) as arrived
    where not exists (
        select 1 from {table} as held
        where {same_key} and (held.{cursor} > arrived.{cursor}
            or (arrived.{cursor} is null and held.{cursor} is not null))
    )
"""

_WRITE = """
    copy ({select}) to {file}
    (format parquet, compression zstd, compression_level 1, return_stats)
"""

# Where a cursor may rest: not on infinity, and not in the future, or one mistyped year would hide
# every row that comes after it. Rows beyond are read again each time, and land once.
_HIGHEST = {
    CursorType.INTEGER: "max({cursor})",
    CursorType.DECIMAL: "max({cursor})",
    CursorType.DATE: (
        "max({cursor}) filter (where {cursor} between date '0001-01-01' "
        "and cast(now() + interval 1 day as date))"
    ),
    CursorType.TIMESTAMP: (
        # The cast is for TIMESTAMP_NS, whose range is too small for the bounds.
        "max(cast({cursor} as timestamp)) filter (where cast({cursor} as timestamp) "
        "between timestamp '0001-01-01' and cast(now() as timestamp) + interval 1 day)"
    ),
    CursorType.TIMESTAMPTZ: (
        "max({cursor}) filter (where {cursor} between timestamptz '0001-01-01 00:00:00+00' "
        "and now() + interval 1 day)"
    ),
}


@dataclass(frozen=True, slots=True)
class Staged:
    """What must land: files in the spool, how many rows they hold, and the cursor reached.

    `upserted` is the file whose keys replace landed rows. `repeated` counts rows dropped because
    another row of the same key is newer.
    """

    files: tuple[Path, ...]
    rows: int
    bytes: int
    cursor: Cursor | None
    upserted: Path | None = None
    repeated: int = 0


def stage(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    files: Sequence[Path],
    columns: tuple[Column, ...],
    table: str,
    folder: Path,
) -> Staged:
    """Decide which of the spooled rows must land, and write them down where not all do.

    `con` has the lake attached (a copy of it) when the plan adds to a table, whose SQL name is
    `table`. Raises ContractError when a key column that the source calls NOT NULL has NULLs.
    """
    if not files:
        return Staged((), 0, 0, plan.cursor_before)
    arrived = _read(files, columns)
    cursor = later(plan.cursor_before, _highest(con, plan, columns, arrived))
    read = _count(con, arrived)
    select, repeated = arrived, 0
    if plan.mode is SyncMode.INCREMENTAL and not _unique_at_source(plan):
        select, repeated = _latest_per_key(con, plan, columns, arrived, read)
        if not plan.replace:
            select = _not_older(plan, select, table)
    if not plan.replace:
        select = _changed(plan, columns, select, table)
    if select is arrived:
        size = sum(file.stat().st_size for file in files)
        return Staged(tuple(files), read, size, cursor)
    return _written(con, plan, select, folder / "staged.parquet", cursor, repeated)


def lands_as_it_arrives(plan: TablePlan) -> bool:
    """Whether each spooled file must land, whatever the others and the lake hold."""
    return plan.replace and (plan.mode is not SyncMode.INCREMENTAL or _unique_at_source(plan))


def highest(plan: TablePlan, columns: tuple[Column, ...], file: Path) -> Cursor | None:
    """Return how far one spooled file reads, None for a table without a cursor."""
    if plan.cursor_field is None or plan.mode is SyncMode.FULL_TABLE:
        return None
    con = connect(threads=1)
    try:
        return _highest(con, plan, columns, _read([file], columns))
    finally:
        con.close()


def _written(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    select: str,
    file: Path,
    cursor: Cursor | None,
    repeated: int,
) -> Staged:
    written = con.execute(_WRITE.format(select=select, file=quote_text(str(file)))).fetchone()
    rows, size = (written[1], written[2]) if written else (0, 0)
    if not rows:
        return Staged((), 0, 0, cursor, repeated=repeated)
    replaces = plan.mode is SyncMode.INCREMENTAL and not plan.replace
    return Staged((file,), rows, size, cursor, file if replaces else None, repeated)


def _read(files: Sequence[Path], columns: tuple[Column, ...]) -> str:
    listed = ", ".join(quote_text(glob_escaped(str(file))) for file in files)
    names = quote_names(column.name for column in columns)
    # A folder called region=eu, anywhere above, is no column of the table.
    return f"select {names} from read_parquet([{listed}], hive_partitioning = false)"


def _changed(plan: TablePlan, columns: tuple[Column, ...], arrived: str, table: str) -> str:
    if plan.window is None or plan.landed is None:
        raise AssertionError("a plan that adds to a table has its window and its landed columns")
    have = {column.name.lower(): column for column in plan.landed.columns}
    held = ", ".join(
        f"cast({quote_name(column.name)} as {column.type})"
        if column.name.lower() in have
        else f"cast(null as {column.type})"
        for column in columns
    )
    return _CHANGED.format(
        arrived=arrived,
        operator="except" if plan.mode is SyncMode.INCREMENTAL else "except all",
        held=held,
        table=table,
        cursor=quote_name(plan.window.cursor_field),
        low=cursor_sql(plan.window.low),
    )


def _unique_at_source(plan: TablePlan) -> bool:
    key = plan.stream.primary_key if plan.stream.key_enforced else ()
    return bool(key) and set(key) <= set(plan.primary_key)


def _latest_per_key(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    columns: tuple[Column, ...],
    arrived: str,
    rows: int,
) -> tuple[str, int]:
    """Keep the newest row of each key where the source does not promise that there is just one."""
    key = quote_names(plan.primary_key)
    found = con.execute(f"select count(*) from (select distinct {key} from ({arrived}))").fetchone()
    repeated = rows - (found[0] if found else rows)
    if not repeated:
        return arrived, 0
    latest = _LATEST_PER_KEY.format(
        columns=quote_names(column.name for column in columns),
        arrived=arrived,
        key=key,
        cursor=quote_name(plan.cursor_field or plan.primary_key[0]),
    )
    return latest, repeated


def _not_older(plan: TablePlan, arrived: str, table: str) -> str:
    same_key = " and ".join(
        f"held.{quote_name(name)} is not distinct from arrived.{quote_name(name)}"
        for name in plan.primary_key
    )
    cursor = quote_name(plan.cursor_field or plan.primary_key[0])
    return _NOT_OLDER.format(arrived=arrived, table=table, same_key=same_key, cursor=cursor)


def _highest(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, columns: tuple[Column, ...], arrived: str
) -> Cursor | None:
    if plan.cursor_field is None or plan.mode is SyncMode.FULL_TABLE:
        return None
    column = next(column for column in columns if column.name == plan.cursor_field)
    type_ = cursor_type_of(column.type)
    if type_ is None:
        raise ContractError(
            f'{plan.table}: cursor_field "{plan.cursor_field}" arrives as {column.type}, which '
            "cannot be a cursor. Choose an integer, date or timestamp column, or mode: full_table."
        )
    expression = _HIGHEST[type_].format(cursor=quote_name(plan.cursor_field))
    row = con.execute(f"select {expression} from ({arrived})").fetchone()
    value: int | date | datetime | None = row[0] if row else None
    return None if value is None else Cursor(type_, value)


def _count(con: duckdb.DuckDBPyConnection, select: str) -> int:
    row = con.execute(f"select count(*) from ({select})").fetchone()
    return int(row[0]) if row else 0
