"""Merges spool files with the lake: drops rows that it has, and keeps the latest row per key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.catalog import sql_name
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.large_values import (
    digest,
    digestible,
    large_columns,
    read_digests,
    write_loaded,
)
from cdpsync.load.last_rows import last_per_key
from cdpsync.load.parquet import write
from cdpsync.model import DELETED_AT, Column, Deletes, SyncMode, TablePlan
from cdpsync.model.cursors import cursor_sql
from cdpsync.sql import fold_name, plain_number, quote_name, quote_names

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import duckdb

# Incoming rows that differ from every existing row of the same window, once each. Among them are
# late rows and ties at the cursor's boundary, and no row that an earlier load brought.
_CHANGED = """
    select * from ({incoming})
    {operator}
    ({existing})
"""

_LATEST_PER_KEY = """
    select {columns} from ({incoming})
    qualify row_number() over (partition by {key} order by {cursor} desc nulls last) = 1
"""

# Where several rows share a key, the source may send a row without a cursor, or with an older one,
# again. It does not replace a newer existing row.
_NOT_OLDER = """
    select incoming.* from ({incoming}) as incoming
    where not exists (
        select 1 from {table} as existing
        where {same_key} and (existing.{cursor} > incoming.{cursor}
            or (incoming.{cursor} is null and existing.{cursor} is not null))
    )
"""

# An API record is identified by its key: if it changed, append no second version.
_NEW_KEYS = """
    select incoming.* from ({incoming}) as incoming
    where not exists (
        select 1 from {table} as existing
        where {same_key} and ({window})
    )
"""

# Rows loaded before a column existed have NULL there. A row that differs from an incoming one only
# in such columns is the same row.
_CHANGED_BESIDES_ADDED = """
    with incoming as ({incoming}), existing as ({existing}),
        unmatched_incoming as (
            select *, row_number() over (partition by {shared} order by {added}) as {n}
            from (from incoming except all from existing)
        ), unmatched_existing as (
            select *, row_number() over (partition by {shared} order by {added}) as {n}
            from (from existing except all from incoming)
        )
    select unmatched_incoming.* exclude ({n})
    from unmatched_incoming anti join unmatched_existing on {same}
"""


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
    """Whether every spool file is loaded as it is, whatever the other files and the lake have."""
    if not plan.replace or keeps_deleted(plan):
        return False
    has_keys = plan.mode is SyncMode.INCREMENTAL or plan.follows_state
    return not has_keys or _unique_at_source(plan)


def keeps_deleted(plan: TablePlan) -> bool:
    """Whether a load that replaces a table keeps its rows that were deleted at the source, marked.

    Rows that were loaded with another mode or primary key cannot be told from the new ones. Those
    of another source were not deleted at this one.
    """
    saved = plan.saved_state
    if not plan.replace or plan.deletes is not Deletes.SOFT or plan.lake_table is None:
        return False
    if plan.is_other_source:
        return False
    if saved is None or saved.mode is not SyncMode.INCREMENTAL or saved.settings is None:
        return False
    names = {column.name for column in plan.lake_table.columns}
    has_key = json.loads(saved.settings).get("primary_key") == list(plan.primary_key)
    return has_key and DELETED_AT in names and names.issuperset(plan.primary_key)


def merge(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    files: Sequence[Path],
    columns: tuple[Column, ...],
    folder: Path,
) -> MergeResult:
    """Return the spooled rows that must be loaded, written to files in `folder` unless all must.

    `con` has a copy of the lake attached, if the plan adds to an existing table. Large values are
    compared by their digests, and so is every long type where memory runs out otherwise.
    """
    compared = {*plan.primary_key, plan.cursor_field or ""}
    possible = digestible(columns, compared)
    digested = possible & large_columns(con, files) if files and possible else frozenset[str]()
    attempts = iter([digested, possible])
    return engine.with_less_memory(
        con, lambda: _merge(con, plan, files, columns, folder, next(attempts))
    )


def _merge(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    files: Sequence[Path],
    columns: tuple[Column, ...],
    folder: Path,
    digested: frozenset[str],
) -> MergeResult:
    keeps_marks = plan.deletes is Deletes.SOFT or plan.stream.column(DELETED_AT) is not None
    lake_columns = columns
    if not keeps_marks:
        lake_columns = tuple(column for column in columns if column.name != DELETED_AT)
    if not files:
        return MergeResult(lake_columns)
    all_rows = incoming = spooled_rows(files, columns)
    delete_keys, duplicates = None, 0
    if digested:
        all_rows = incoming = read_digests(con, files, columns, digested)
    if plan.follows_state:
        duplicates = count(con, incoming) - count_keys(con, plan, incoming)
        if duplicates:
            incoming = last_per_key(plan, columns, files, is_digested=bool(digested))
    if lake_columns != columns:
        delete_keys = _write_delete_keys(con, plan, incoming, folder / "removed.parquet")
        incoming = (
            f"select {quote_names(column.name for column in lake_columns)} "
            f"from ({incoming}) where {DELETED_AT} is null"
        )
    select, older = _select_changed(con, plan, lake_columns, incoming, digested)
    duplicates += older
    if select is all_rows and keeps_marks:
        size = sum(file.stat().st_size for file in files)
        return MergeResult(lake_columns, tuple(files), count(con, incoming), size)
    if digested:
        written, rows, size = write_loaded(con, select, lake_columns, files, folder)
    else:
        written = (folder / "merged.parquet",)
        rows, size = write(con, select, written[0], len(lake_columns))
    if not rows:
        return MergeResult(lake_columns, delete_keys=delete_keys, duplicates=duplicates)
    upserts = plan.mode is SyncMode.INCREMENTAL and not plan.replace
    return MergeResult(
        lake_columns,
        written,
        rows,
        size,
        upsert_files=written if upserts else (),
        delete_keys=delete_keys,
        soft_deleted=(
            _count_marks(con, lake_columns, written) if plan.deletes is Deletes.SOFT else 0
        ),
        duplicates=duplicates,
    )


def _write_delete_keys(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, incoming: str, file: Path
) -> Path | None:
    """Write the keys of rows that the source reports as deleted; return None if it reports none."""
    keys = quote_names(plan.primary_key)
    rows, _ = write(con, f"select {keys} from ({incoming}) where {DELETED_AT} is not null", file)
    return file if rows else None


def _count_marks(
    con: duckdb.DuckDBPyConnection, columns: Sequence[Column], files: Sequence[Path]
) -> int:
    return count(con, f"from ({spooled_rows(files, columns)}) where {DELETED_AT} is not null")


def _select_changed(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    columns: tuple[Column, ...],
    incoming: str,
    digested: Collection[str],
) -> tuple[str, int]:
    """Return a SELECT of the incoming rows to load, and how many duplicates of a key it drops.

    `digested` columns are digests in `incoming`, and in the result.
    """
    select, duplicates = incoming, 0
    has_cursor = not plan.follows_state
    if plan.mode is SyncMode.INCREMENTAL and has_cursor and not _unique_at_source(plan):
        select, duplicates = _latest_per_key(con, plan, columns, incoming)
        if not plan.replace:
            select = _not_older(plan, select)
    if not plan.replace:
        select = _changed(plan, columns, select, digested)
    return select, duplicates


def _changed(
    plan: TablePlan, columns: tuple[Column, ...], incoming: str, digested: Collection[str]
) -> str:
    """Return a SELECT of the incoming rows that the lake's table does not have."""
    if plan.lake_table is None:
        raise AssertionError("a plan that adds to a table has its columns in the lake")
    table = sql_name(plan.table)
    windows = ["true"]
    existing_columns = {fold_name(column.name): column for column in plan.lake_table.columns}
    if plan.window is not None:
        field = plan.window.cursor_field
        cursor = f"existing.{quote_name(field)}"
        type_ = existing_columns[fold_name(field)].type
        windows = [f"{cursor} >= {cursor_sql(plan.window.low, type_)}", f"{cursor} is null"]
    elif plan.follows_state:  # no column limits what may come, so its keys do
        windows = [f"exists (from ({incoming}) as incoming where {same_key(plan)})"]
    has_identity = plan.stream.open_schema or plan.follows_state
    if plan.mode is SyncMode.APPEND_ONLY and has_identity and plan.primary_key:
        window = "true" if plan.follows_state else " or ".join(windows)
        return _NEW_KEYS.format(
            incoming=incoming, table=table, same_key=same_key(plan), window=window
        )
    values = ", ".join(
        f"{digest(value) if column.name in digested else value} as {quote_name(column.name)}"
        for column in columns
        for value in [cast_existing(plan, column, existing_columns.get(fold_name(column.name)))]
    )
    # One SELECT per window, because each then skips the files that cannot have such rows.
    existing = " union all ".join(
        f"select {values} from {table} as existing where {window}" for window in windows
    )
    if plan.mode is SyncMode.INCREMENTAL:
        return _CHANGED.format(incoming=incoming, operator="except", existing=existing)
    original_columns = existing_columns.keys() - plan.lake_table.added_columns
    added = {column.name for column in columns if fold_name(column.name) not in original_columns}
    if added:
        return _changed_besides_added(added, incoming, existing, columns)
    return _CHANGED.format(incoming=incoming, operator="except all", existing=existing)


def _changed_besides_added(
    added: Collection[str], incoming: str, existing: str, columns: Sequence[Column]
) -> str:
    """Return a SELECT of incoming rows without an existing row that is equal or NULL in `added`."""
    number = "n"
    while any(fold_name(column.name) == number for column in columns):
        number += "_"
    shared_names = [quote_name(column.name) for column in columns if column.name not in added]
    added_names = [quote_name(column.name) for column in columns if column.name in added]
    same = [
        f"unmatched_incoming.{name} is not distinct from unmatched_existing.{name}"
        for name in [*shared_names, number]
    ]
    same += [
        f"(unmatched_existing.{name} is null "
        f"or unmatched_incoming.{name} = unmatched_existing.{name})"
        for name in added_names
    ]
    return _CHANGED_BESIDES_ADDED.format(
        incoming=incoming,
        existing=existing,
        shared=", ".join(["true", *shared_names]),
        added=", ".join(added_names),
        n=number,
        same=" and ".join(same),
    )


def cast_existing(plan: TablePlan, column: Column, existing: Column | None) -> str:
    """Return a column of the lake's table in SQL, as it will be after this commit.

    `existing` is the column as the lake has it, None if the lake does not have it yet.
    """
    if existing is None:
        return f"cast(null as {column.type})"
    name = quote_name(column.name)
    if plan.is_guessed(column.name) and column.type == "VARCHAR":
        return plain_number(f"cast({name} as varchar)")
    if plan.stream.open_schema and column.type == "JSON" and existing.type != "JSON":
        return f"to_json({name})"
    return f"cast({name} as {column.type})"


def _unique_at_source(plan: TablePlan) -> bool:
    key = plan.stream.primary_key if plan.stream.key_enforced else ()
    return bool(key) and set(key) <= set(plan.primary_key)


def _latest_per_key(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, columns: tuple[Column, ...], incoming: str
) -> tuple[str, int]:
    """Return a SELECT of the newest row of each key, and how many rows it drops.

    Rows are dropped only where the source does not enforce that a key is unique.
    """
    key = quote_names(plan.primary_key)
    duplicates = count(con, incoming) - count_keys(con, plan, incoming)
    if not duplicates:
        return incoming, 0
    latest = _LATEST_PER_KEY.format(
        columns=quote_names(column.name for column in columns),
        incoming=incoming,
        key=key,
        cursor=quote_name(plan.cursor_field or plan.primary_key[0]),
    )
    return latest, duplicates


def _not_older(plan: TablePlan, incoming: str) -> str:
    return _NOT_OLDER.format(
        incoming=incoming,
        table=sql_name(plan.table),
        same_key=same_key(plan),
        cursor=quote_name(plan.cursor_field or plan.primary_key[0]),
    )


def same_key(plan: TablePlan) -> str:
    """Return the SQL condition that a row of `existing` and a row of `incoming` share their key."""
    return " and ".join(
        f"existing.{quote_name(name)} is not distinct from incoming.{quote_name(name)}"
        for name in plan.primary_key
    )


def count(con: duckdb.DuckDBPyConnection, select: str) -> int:
    """Count the rows of a SELECT."""
    row = con.execute(f"select count(*) from ({select})").fetchone()
    return int(row[0]) if row else 0


def count_keys(con: duckdb.DuckDBPyConnection, plan: TablePlan, select: str) -> int:
    """Count the different keys of a SELECT."""
    return count(con, f"select distinct {quote_names(plan.primary_key)} from ({select})")
