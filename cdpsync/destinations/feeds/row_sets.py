"""The rows of a table that were added and removed since a position, as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes, sql_name
from cdpsync.destinations.feeds.changes import ORDER_BITS, has_column
from cdpsync.destinations.feeds.lake_tables import VIRTUAL, described
from cdpsync.destinations.feeds.net_changes import ROW, SNAPSHOT, RowSets
from cdpsync.model import DELETED_AT
from cdpsync.sql import fold_name, plain_number, quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from cdpsync.catalog.snapshots import Snapshot, TableHistory
    from cdpsync.destinations.feeds.lake_tables import FeedTable
    from cdpsync.model import Column


# DuckLake 1.5.5 loses rows where its scan of deleted rows gets a condition on `snapshot_id`. DuckDB
# leaves a condition outside of a scan if its result may be another one each time.
_NOT_PUSHED = "({condition}) = (random() < 2)"


def rows_now(table: FeedTable, condition: str = "true") -> str:
    """Return SQL of the rows of a table, with SNAPSHOT and ROW."""
    return _rows(sql_name(table.name), condition)


def _rows(source: str, condition: str) -> str:
    columns = f"snapshot_id as {SNAPSHOT}, rowid as {ROW}, *"
    return f"(select {columns} from {source} where {condition})"


def changed_rows(
    kind: str, table: FeedTable, snapshots: Sequence[Snapshot], leave_out: Iterable[int]
) -> str:
    """Return SQL of the rows that the snapshots after the first inserted or deleted.

    `kind` is "insertions" or "deletions". Rows of the snapshots in `leave_out` are left out. An
    expired snapshot can be in the range, but not begin it.
    """
    after, last = snapshots[0].id, snapshots[-1].id
    first = after + 1 if len(snapshots) > 1 and snapshots[1].id == after + 1 else after
    left_out = ", ".join(str(id_) for id_ in (after, *leave_out))
    source = ducklake_changes.changed_rows(kind, table.name, first, last)
    return _rows(source, _NOT_PUSHED.format(condition=f"snapshot_id not in ({left_out})"))


def order_sql(after: int) -> str:
    """Return SQL of the number of a row, in the order of its snapshot after a position."""
    return f"(({SNAPSHOT} - {after}) * {1 << ORDER_BITS} + {ROW})"


def changed_sets(table: FeedTable, snapshots: Sequence[Snapshot], history: TableHistory) -> RowSets:
    """Return the rows that snapshots added to a table and removed from it.

    Those that they only moved are left out, unless a snapshot between them has expired: then a row
    of that one may stand in no other place.
    """
    moved = () if history.has_gap else history.moved
    key = table.key_sql(ROW)
    return RowSets(
        added=changed_rows("insertions", table, snapshots, moved),
        removed=changed_rows("deletions", table, snapshots, moved),
        columns=table.columns,
        added_key=key,
        removed_key=key,
        ord=order_sql(snapshots[0].id),
        has_key=bool(table.key),
    )


def replaced_sets(
    con: duckdb.DuckDBPyConnection, table: FeedTable, after: Snapshot, now: int, *, existed: bool
) -> RowSets:
    """Return all rows of a table now, and those of the table of its name at a snapshot.

    `now` is the snapshot of changes whose own is not known: of deleted rows. `existed`: there was a
    table of this name.
    """
    added, hidden = rows_now(table), table.hides_virtual_columns
    removed = f"(select *, {now} as {SNAPSHOT}, 0 as {ROW} from {sql_name(table.name)} where false)"
    if existed:
        before = f"{sql_name(table.name)} at (version => {after.id})"
        old_columns = described(con, before)
        hidden = hidden or any(has_column(old_columns, name) for name in VIRTUAL)
        row = "" if hidden else f"rowid as {ROW}, "
        values = ", ".join(_converted(column, old_columns) for column in table.columns)
        alive = f"{quote_name(DELETED_AT)} is null" if has_column(old_columns, DELETED_AT) else ""
        condition = "" if table.deleted_at or not alive else f" where {alive}"
        removed = f"(select {now} as {SNAPSHOT}, {row}{values} from {before}{condition})"
        if hidden:
            removed = _numbered(con, "feed_before", removed, None)
    if hidden:
        added = _numbered(con, "feed_now", sql_name(table.name), now)
    return RowSets(
        added=added,
        removed=removed,
        columns=table.columns,
        added_key=table.key_sql(ROW),
        removed_key=table.key_sql(f"'before\",\"' || {ROW}"),
        ord=order_sql(after.id),
        has_key=bool(table.key),
    )


def _numbered(con: duckdb.DuckDBPyConnection, name: str, source: str, snapshot: int | None) -> str:
    """Copy rows whose own columns hide DuckLake's into a temporary table that numbers them."""
    columns = "" if snapshot is None else f"{snapshot} as {SNAPSHOT}, "
    con.execute(
        f"create or replace temp table {name} as "
        f"select {columns}row_number() over () as {ROW}, * from {source}"
    )
    return name


def _converted(column: Column, old_columns: Iterable[Column]) -> str:
    """Return SQL of a column of an old table, in its type now, as a change of the type made it."""
    name = quote_name(column.name)
    old = next((c for c in old_columns if fold_name(c.name) == fold_name(column.name)), None)
    if old is None:
        return f"null::{column.type} as {name}"
    value = quote_name(old.name)
    if old.type != column.type:
        if column.type == "JSON":
            value = f"to_json({value})"
        elif column.type == "VARCHAR":
            value = plain_number(f"cast({value} as varchar)")
        else:
            value = f"try_cast({value} as {column.type})"
    return f"{value} as {name}"
