"""The changes of a table of the lake since a position.

There are three ways to find them, from the cheapest to the one that always works:
- Where only cdpsync changed the table, the rows now that later snapshots wrote are those that
  changed. Of old files at most the keys of deleted rows are read.
- Otherwise, and for old images, all rows inserted and deleted since are netted out.
- A table that was replaced, or a column that was converted, has no such rows: the table at the
  position is compared with the table now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes
from cdpsync.catalog.snapshots import table_history
from cdpsync.destinations.feeds.changes import (
    FeedRequest,
    FeedResult,
    changes_result,
    row_struct,
    struct_type,
    write_changes,
)
from cdpsync.destinations.feeds.lake_tables import FeedTable, find_table
from cdpsync.destinations.feeds.net_changes import (
    ROW,
    SNAPSHOT,
    change_kind,
    materialized,
    net_pairs,
    pairs_as_changes,
)
from cdpsync.destinations.feeds.positions import living_snapshots, position_at
from cdpsync.destinations.feeds.row_sets import (
    changed_rows,
    changed_sets,
    order_sql,
    replaced_sets,
    rows_now,
)
from cdpsync.model.destinations import ChangeKind, ChangeOrder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.catalog.snapshots import Snapshot, TableHistory
    from cdpsync.model.deliveries import Position

_EVERYTHING = """
    select {key} as key, 'insert' as change, {snapshot} as snapshot_id, {number} as ord,
        {row} as "row", null::{type} as old
    from {rows}
    where {alive}
"""

# The rows now that snapshots since the position wrote.
_CURRENT = """
    select {key} as key, {snapshot} as snapshot_id, {ord} as ord, {row} as "row", {alive} as alive
    from {rows}
"""

# The same without rows that were only moved: their key was inserted by no other snapshot.
_CURRENT_BESIDES_MOVED = """
    select c.key, i.snapshot_id, i.ord, c."row", c.alive
    from ({current}) as c
    join (
        select {key} as key, max({snapshot}) as snapshot_id, max({ord}) as ord
        from {insertions}
        group by all
    ) as i using (key)
"""

_ALL_AS = """
    select key, '{kind}' as change, snapshot_id, ord, "row", null::{type} as old
    from ({current})
    where alive
"""

# A key was there at the position if its first change is a delete; those of a snapshot come before
# its inserts. The delete of a row that was inserted since is not its first change.
_TOLD_APART = """
    select
        key, {kind} as change, coalesce(c.snapshot_id, d.snapshot_id) as snapshot_id,
        coalesce(c.ord, d.ord) as ord, coalesce(c."row", d."row") as "row", null::{type} as old
    from ({current}) as c
    {join} join (
        select
            {key} as key, min({snapshot}) as first_id, max({snapshot}) as snapshot_id,
            max({ord}) as ord, arg_min({alive}, {snapshot}) as alive,
            {key_row} as "row"
        from {deletions}
        group by all
    ) as d using (key)
    {insertions}
"""

_FIRST_INSERTIONS = """
    left join (
        select {key} as key, min({snapshot}) as first_id from {insertions} group by all
    ) as i using (key)
"""

_STILL_THERE = """
    delete from changes where change = 'delete' and key in (
        select {key} from {rows} where {alive}
    )
"""


class TableFeed:
    """The feed of a destination `from:` a table of the lake."""

    def __init__(self, request: FeedRequest) -> None:
        self.request = request

    def is_behind(self, con: duckdb.DuckDBPyConnection, position: Position | None) -> bool:
        """Whether `read` may find changes. It reads neither rows nor files.

        Raises StalePositionError, CatalogError and ConfigError as `read` does.
        """
        table = find_table(con, self.request)
        if position is None:
            return True
        snapshots = living_snapshots(con, position)
        if position.table_uuid != table.identity.uuid:
            return True
        return not _history(table, snapshots).is_empty

    def read(self, con: duckdb.DuckDBPyConnection, after: Position | None) -> FeedResult:
        """Make the relation `changes` of what changed since a position; None: of all rows.

        Raises StalePositionError where the snapshot of the position has expired, CatalogError when
        there is no such table, ConfigError when it lacks a column of the key.
        """
        table = find_table(con, self.request)
        if after is None:
            snapshots = ducklake_changes.snapshots(con)
            rows = self._everything(con, table, snapshots)
        else:
            snapshots = living_snapshots(con, after)
            rows = self._changes(con, table, after, snapshots)
        write_changes(con, self.request, rows, snapshots)
        if not self.request.is_unique and self.request.order is ChangeOrder.LAST:
            key = table.key_sql(ROW)
            con.execute(_STILL_THERE.format(key=key, rows=rows_now(table), alive=table.alive))
        position = position_at(self.request, snapshots[-1], table.identity.uuid)
        return changes_result(con, self.request, position)

    def write_copy(
        self, con: duckdb.DuckDBPyConnection, target: Path, leave_out: str | None = None
    ) -> bool:
        """Write nothing: the lake's snapshots have what was delivered."""
        del con, target, leave_out
        return False

    def _everything(
        self, con: duckdb.DuckDBPyConnection, table: FeedTable, snapshots: Sequence[Snapshot]
    ) -> str:
        sets = replaced_sets(con, table, snapshots[-1], snapshots[-1].id, existed=False)
        return _EVERYTHING.format(
            key=table.key_sql(ROW),
            snapshot=SNAPSHOT,
            number=ROW,
            row=row_struct(table.columns),
            type=struct_type(table.columns),
            rows=sets.added,
            alive=table.alive,
        )

    def _changes(
        self,
        con: duckdb.DuckDBPyConnection,
        table: FeedTable,
        after: Position,
        snapshots: Sequence[Snapshot],
    ) -> str:
        """Return SQL of the changes since a position: key, change, snapshot_id, ord, row, old."""
        history, each = _history(table, snapshots), self.request.order is ChangeOrder.EACH
        is_same_table = after.table_uuid == table.identity.uuid
        if (
            not is_same_table
            or table.hides_virtual_columns
            or ducklake_changes.has_recreated_columns(con, table.identity.id, after.snapshot_id)
        ):
            created = table.identity.created
            now = created if created > after.snapshot_id else snapshots[-1].id
            existed = after.table_uuid is not None
            sets = replaced_sets(con, table, snapshots[0], now, existed=existed)
            pairs = net_pairs(con, sets)
        elif self._is_simple(table, history):
            return self._changes_by_us(table, snapshots, history)
        else:
            sets = changed_sets(table, snapshots, history)
            if not history.has_gap:  # or all rows may be among them
                sets = materialized(con, sets)
            pairs = net_pairs(con, sets, by_snapshot=each)
        needs_old = self.request.needs_old or each
        return pairs_as_changes(pairs, table.columns, table.deleted_at, needs_old=needs_old)

    def _is_simple(self, table: FeedTable, history: TableHistory) -> bool:
        """Whether each row that was written since is a change, and no old image is needed."""
        if history.has_gap or history.by_others or self.request.needs_old:
            return False
        if not table.key:
            return not history.deletes
        return self.request.order is ChangeOrder.LAST

    def _changes_by_us(
        self, table: FeedTable, snapshots: Sequence[Snapshot], history: TableHistory
    ) -> str:
        type_ = struct_type(table.columns)
        current = self._current(table, snapshots, history)
        if not self.request.needs_deleted_keys or not history.deletes:
            kind = "update" if history.deletes else "insert"
            return _ALL_AS.format(kind=kind, type=type_, current=current)
        was_there, insertions = "d.alive", ""
        if len(history.changed) > 1:
            was_there = "d.alive and d.first_id <= coalesce(i.first_id, d.first_id)"
            insertions = _FIRST_INSERTIONS.format(
                key=table.key_sql(ROW),
                snapshot=SNAPSHOT,
                insertions=changed_rows("insertions", table, snapshots, history.moved),
            )
        deletes = ChangeKind.DELETE in self.request.kinds
        return _TOLD_APART.format(
            kind=change_kind("coalesce(c.alive, false)", f"coalesce({was_there}, false)"),
            type=type_,
            current=current,
            join="full" if deletes else "left",
            key=table.key_sql(ROW),
            snapshot=SNAPSHOT,
            ord=order_sql(snapshots[0].id),
            alive=table.alive,
            key_row=f"any_value({table.key_row()})" if deletes else f"any_value(null::{type_})",
            deletions=changed_rows("deletions", table, snapshots, history.moved),
            insertions=insertions,
        )

    def _current(
        self, table: FeedTable, snapshots: Sequence[Snapshot], history: TableHistory
    ) -> str:
        """Return SQL of the rows of the table now that changed since: `_CURRENT`."""
        insertions = changed_rows("insertions", table, snapshots, history.moved)
        written = rows_now(table, f"snapshot_id > {snapshots[0].id}")
        key, ord_ = table.key_sql(ROW), order_sql(snapshots[0].id)
        current = _CURRENT.format(
            key=key,
            snapshot=SNAPSHOT,
            ord=ord_,
            row=row_struct(table.columns),
            alive=table.alive,
            rows=written if table.key else insertions,
        )
        if not history.moved or not table.key:
            return current
        return _CURRENT_BESIDES_MOVED.format(
            current=current, key=key, snapshot=SNAPSHOT, ord=ord_, insertions=insertions
        )


def _history(table: FeedTable, snapshots: Sequence[Snapshot]) -> TableHistory:
    return table_history(snapshots, snapshots[0].id, table.name, table.identity.id)
