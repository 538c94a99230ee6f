"""Spool files to the files that must land: what the lake has already is dropped here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.extract.spool import spooled_rows
from cdpsync.model import DELETED_AT, Column, Deletes, SyncMode, TablePlan
from cdpsync.model.cursors import cursor_sql
from cdpsync.sql import quote_name, quote_names, quote_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import duckdb

# Every row that differs from the landed ones of the same window, once. Ties at the boundary and
# late rows are among them; rows that landed before are not.
_CHANGED = """
    select * from ({arrived})
    {operator}
    ({held})
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

# Rows of an API are the same row for ever: one that changed under its cursor is no second one.
_NOT_LANDED = """
    select arrived.* from ({arrived}) as arrived
    where not exists (
        select 1 from {table} as held
        where {same_key} and ({window})
    )
"""

# Rows that landed before a column came have NULL in it, and arrive with what the source filled in:
# of the rows that differ, those are the same that differ in nothing else.
_CHANGED_BUT_FOR = """
    with arrived as ({arrived}), held as ({held}),
        fresh as (
            select *, row_number() over (partition by {shared} order by {added}) as {n}
            from (from arrived except all from held)
        ), past as (
            select *, row_number() over (partition by {shared} order by {added}) as {n}
            from (from held except all from arrived)
        )
    select fresh.* exclude ({n}) from fresh anti join past on {same}
"""

_WRITE = """
    copy ({select}) to {file}
    (format parquet, compression zstd, compression_level 1, row_group_size {rows}, return_stats)
"""
_VALUES_IN_ROW_GROUP = 4_000_000
_VECTOR, _ROW_GROUP = 2_048, 122_880  # rows: DuckDB's own measures


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The spool files to load into the lake, their columns, and how many rows they have.

    The keys in `upsert_files` replace existing rows; rows with a key in `delete_keys` are deleted.
    `soft_deleted` of the rows only mark a deletion at the source. `duplicates` counts rows that
    were dropped because another row with the same key is newer.
    """

    columns: tuple[Column, ...]
    files: tuple[Path, ...] = ()
    rows: int = 0
    bytes: int = 0
    upsert_files: tuple[Path, ...] = ()
    delete_keys: Path | None = None
    soft_deleted: int = 0
    duplicates: int = 0


def needs_no_merge(plan: TablePlan) -> bool:
    """Whether each spooled file must land, whatever the others and the lake hold."""
    return plan.replace and (plan.mode is not SyncMode.INCREMENTAL or _unique_at_source(plan))


def merge(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    files: Sequence[Path],
    columns: tuple[Column, ...],
    table: str,
    folder: Path,
) -> MergeResult:
    """Decide which of the spooled rows must land, and write them down where not all do.

    `con` has the lake attached (a copy of it) when the plan adds to a table, whose SQL name is
    `table`.
    """
    landing = columns
    if plan.deletes is not Deletes.SOFT and plan.stream.column(DELETED_AT) is None:
        landing = tuple(column for column in columns if column.name != DELETED_AT)
    if not files:
        return MergeResult(landing)
    arrived, removed = spooled_rows(files, columns), None
    if landing != columns:
        removed = _write_removed(con, plan, arrived, folder / "removed.parquet")
        arrived = (
            f"select {quote_names(column.name for column in landing)} "
            f"from ({arrived}) where {DELETED_AT} is null"
        )
    select, repeated = arrived, 0
    if plan.mode is SyncMode.INCREMENTAL and not _unique_at_source(plan):
        select, repeated = _latest_per_key(con, plan, landing, arrived)
        if not plan.replace:
            select = _not_older(plan, select, table)
    if not plan.replace:
        select = _changed(plan, landing, select, table)
    if select is arrived and landing is columns:
        size = sum(file.stat().st_size for file in files)
        return MergeResult(landing, tuple(files), count(con, arrived), size)
    file = folder / "staged.parquet"
    rows, size = write(con, select, file, len(landing))
    if not rows:
        return MergeResult(landing, delete_keys=removed, duplicates=repeated)
    replaces = plan.mode is SyncMode.INCREMENTAL and not plan.replace
    return MergeResult(
        landing,
        (file,),
        rows,
        size,
        upsert_files=(file,) if replaces else (),
        delete_keys=removed,
        soft_deleted=_count_marked(con, landing, file) if plan.deletes is Deletes.SOFT else 0,
        duplicates=repeated,
    )


def _write_removed(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, arrived: str, file: Path
) -> Path | None:
    """Write the keys of rows that the source says are gone; None where there are none."""
    keys = quote_names(plan.primary_key)
    rows, _ = write(con, f"select {keys} from ({arrived}) where {DELETED_AT} is not null", file)
    return file if rows else None


def _count_marked(con: duckdb.DuckDBPyConnection, columns: Sequence[Column], file: Path) -> int:
    return count(con, f"from ({spooled_rows([file], columns)}) where {DELETED_AT} is not null")


def _changed(plan: TablePlan, columns: tuple[Column, ...], arrived: str, table: str) -> str:
    if plan.lake_table is None:
        raise AssertionError("a plan that adds to a table has its landed columns")
    windows = ["true"]
    if plan.window is not None:
        cursor = f"held.{quote_name(plan.window.cursor_field)}"
        windows = [f"{cursor} >= {cursor_sql(plan.window.low)}", f"{cursor} is null"]
    if plan.mode is SyncMode.APPEND_ONLY and plan.stream.open_schema and plan.primary_key:
        return _NOT_LANDED.format(
            arrived=arrived, table=table, same_key=same_key(plan), window=" or ".join(windows)
        )
    have = {column.name.lower(): column for column in plan.lake_table.columns}
    values = ", ".join(
        f"{held_as(plan, column, have.get(column.name.lower()))} as {quote_name(column.name)}"
        for column in columns
    )
    # Apart, so that each passes over the files that cannot have such rows.
    held = " union all ".join(f"select {values} from {table} as held where {w}" for w in windows)
    if plan.mode is SyncMode.INCREMENTAL:
        return _CHANGED.format(arrived=arrived, operator="except", held=held)
    old = have.keys() - plan.lake_table.added_columns
    added = {column.name for column in columns if column.name.lower() not in old}
    if added:
        return _changed_but_for(added, arrived, held, columns)
    return _CHANGED.format(arrived=arrived, operator="except all", held=held)


def _changed_but_for(
    added: Collection[str], arrived: str, held: str, columns: Sequence[Column]
) -> str:
    """Return the arrived rows that the lake has not, whatever it has NULL in `added` columns."""
    number = "n"
    while any(column.name.lower() == number for column in columns):
        number += "_"
    shared = [quote_name(column.name) for column in columns if column.name not in added]
    came = [quote_name(column.name) for column in columns if column.name in added]
    same = [f"fresh.{name} is not distinct from past.{name}" for name in [*shared, number]]
    same += [f"(past.{name} is null or fresh.{name} = past.{name})" for name in came]
    return _CHANGED_BUT_FOR.format(
        arrived=arrived,
        held=held,
        shared=", ".join(["true", *shared]),
        added=", ".join(came),
        n=number,
        same=" and ".join(same),
    )


def held_as(plan: TablePlan, column: Column, held: Column | None) -> str:
    """Return a column of the lake's table, `held`, as it will be after this commit."""
    if held is None:
        return f"cast(null as {column.type})"
    name = quote_name(column.name)
    if plan.stream.open_schema and column.type == "JSON" and held.type != "JSON":
        return f"to_json({name})"
    return f"cast({name} as {column.type})"


def _unique_at_source(plan: TablePlan) -> bool:
    key = plan.stream.primary_key if plan.stream.key_enforced else ()
    return bool(key) and set(key) <= set(plan.primary_key)


def _latest_per_key(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, columns: tuple[Column, ...], arrived: str
) -> tuple[str, int]:
    """Keep the newest row of each key where the source does not promise that there is just one."""
    key = quote_names(plan.primary_key)
    distinct = count(con, f"select distinct {key} from ({arrived})")
    repeated = count(con, arrived) - distinct
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
    cursor = quote_name(plan.cursor_field or plan.primary_key[0])
    return _NOT_OLDER.format(arrived=arrived, table=table, same_key=same_key(plan), cursor=cursor)


def same_key(plan: TablePlan) -> str:
    """Return the condition that a row of `held` and one of `arrived` have the same key."""
    return " and ".join(
        f"held.{quote_name(name)} is not distinct from arrived.{quote_name(name)}"
        for name in plan.primary_key
    )


def write(
    con: duckdb.DuckDBPyConnection, select: str, file: Path, columns: int = 1
) -> tuple[int, int]:
    """Write rows of so many columns to a Parquet file; return how many, and how many bytes."""
    sql = _WRITE.format(select=select, file=quote_text(str(file)), rows=row_group(columns))
    done = con.execute(sql).fetchone()
    return (int(done[1]), int(done[2])) if done else (0, 0)


def row_group(columns: int) -> int:
    """Return how many rows of so many columns make a row group: it is in memory as a whole."""
    fitting = _VALUES_IN_ROW_GROUP // columns // _VECTOR * _VECTOR
    return max(_VECTOR, min(_ROW_GROUP, fitting))


def count(con: duckdb.DuckDBPyConnection, select: str) -> int:
    """Count the rows of a SELECT."""
    row = con.execute(f"select count(*) from ({select})").fetchone()
    return int(row[0]) if row else 0
