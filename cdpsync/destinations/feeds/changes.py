"""The relation `changes`: what changed for a destination since its position, one row per change.

It is a temporary table or view of the connection, with these columns:

    event_id     UUID         the same for the same change, after any crash
    key          VARCHAR      the key's values as a JSON array of texts, as in ["5","a",null]
    change       VARCHAR      insert, update or delete
    snapshot_id  BIGINT       the snapshot of the newest change
    changed_at   TIMESTAMPTZ  when that was committed
    ord          BIGINT       the order to send in: by snapshot, then by row
    row          STRUCT       the columns now; those of a deleted row as they were last
    old          STRUCT       the columns at the position; NULL for inserts, or when not asked for

The key of a table without one is its rowid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes
from cdpsync.model.destinations import ChangeKind, ChangeOrder
from cdpsync.sql import fold_name, quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.catalog.snapshots import Snapshot
    from cdpsync.model import Column, TableName
    from cdpsync.model.deliveries import Position

ORDER_BITS = 40  # of `ord`, for the row; the others are for the number of snapshots since

# RFC 9562: a UUID made from an MD5 has version 3.
_EVENT_ID = "(md5[1:12] || '3' || md5[14:16] || '8' || md5[18:])::uuid"

_CHANGES = """
    create or replace temp {kind} changes as
    select {event_id} as event_id, * exclude (md5)
    from (
        select
            md5({prefix} || c.key || ',' || c.snapshot_id || ',' || c.change) as md5,
            c.key, c.change, c.snapshot_id, s.snapshot_time as changed_at, c.ord, c."row", c.old
        from ({rows}) as c
        {join}
        where c.change in ({kinds})
    )
"""

_JOIN = "left join ({snapshots}) as s on c.snapshot_id = s.snapshot_id"

# A snapshot that has expired was committed before the next one that has not.
_JOIN_NEXT = "asof left join ({snapshots}) as s on c.snapshot_id <= s.snapshot_id"

_SHARED_KEYS = """
    select count(*), count(distinct key) from changes
"""

_SHARED_KEY = "select key from changes group by all having count(*) > 1 order by all limit 1"

_DROP_OLDER = """
    delete from changes where rowid in (
        select rowid from (select rowid, key, ord, snapshot_id from changes)
        qualify row_number() over (partition by key order by snapshot_id desc, ord desc) > 1
    )
"""


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """The changes that a destination asks for: of a table of the lake, or of a query.

    `key` are the columns that tell rows apart; empty: each row is an event of its own. `is_unique`:
    the lake keeps one row per key, because it is the table's primary key.

    Without `needs_old`, `old` is NULL, and a deleted row has its key alone. Without `tells_kind`
    and deletes, an inserted row is an "update", too: then nothing but new files is read.
    `changes: each` needs both, whatever they say.

    `copy` is the file with what was delivered of a query; None: nothing yet. A table with `keep`
    has one, too, and its position does not depend on snapshots.
    """

    destination: str
    key: tuple[str, ...] = ()
    table: TableName | None = None
    sql: str | None = None
    kinds: frozenset[ChangeKind] = frozenset({ChangeKind.INSERT, ChangeKind.UPDATE})
    needs_old: bool = False
    tells_kind: bool = True
    order: ChangeOrder = ChangeOrder.LAST
    is_unique: bool = True
    keep: bool = False
    copy: Path | None = None

    @property
    def source(self) -> str:
        """What is read, as a position names it: `shop.orders`, or `sql`."""
        return str(self.table) if self.table else "sql"

    @property
    def needs_deleted_keys(self) -> bool:
        """Whether it matters which rows were there at the position."""
        return self.needs_old or self.tells_kind or ChangeKind.DELETE in self.kinds


@dataclass(frozen=True, slots=True)
class FeedResult:
    """The position after the changes, and how many there are of each kind."""

    position: Position
    counts: Mapping[ChangeKind, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """The number of changes."""
        return sum(self.counts.values())


def write_changes(
    con: duckdb.DuckDBPyConnection,
    request: FeedRequest,
    rows: str,
    snapshots: Sequence[Snapshot],
    *,
    as_view: bool = False,
) -> None:
    """Make `changes` from a SELECT of key, change, snapshot_id, ord, row and old.

    Changes of other kinds than the request's are left out. `snapshots` are those that have not
    expired, up to now.
    """
    has_all_snapshots = snapshots[-1].id - snapshots[0].id == len(snapshots) - 1
    join = _JOIN if has_all_snapshots else _JOIN_NEXT
    prefix = json.dumps([request.destination, request.source], ensure_ascii=False)
    drop_changes(con)
    con.execute(
        _CHANGES.format(
            kind="view" if as_view else "table",
            event_id=_EVENT_ID,
            prefix=quote_text(prefix),
            rows=rows,
            join=join.format(snapshots=ducklake_changes.SNAPSHOT_TIMES),
            kinds=", ".join(quote_text(kind) for kind in sorted(request.kinds)),
        )
    )


def drop_changes(con: duckdb.DuckDBPyConnection) -> None:
    """Drop `changes`, which a query of a user would take for a table of the lake."""
    kinds = con.execute(
        "select table_type from information_schema.tables "
        "where table_catalog = 'temp' and table_name = 'changes'"
    ).fetchall()
    for (kind,) in kinds:
        con.execute(f"drop {'view' if kind == 'VIEW' else 'table'} temp.changes")


def changes_result(
    con: duckdb.DuckDBPyConnection, request: FeedRequest, position: Position
) -> FeedResult:
    """Return the result of a feed that has made `changes`, in which each key is to be once.

    Of rows that share a key, the newest stays, and a notice tells of it.
    """
    if request.key and request.order is ChangeOrder.LAST:
        row = con.execute(_SHARED_KEYS).fetchone()
        rows, keys = row if row else (0, 0)
        if rows > keys:
            (example,) = con.execute(_SHARED_KEY).fetchone() or ("",)
            con.execute(_DROP_OLDER)
            notice = (
                f'destination "{request.destination}": {rows - keys} rows of {request.source} '
                f"share their key ({', '.join(request.key)}) with a newer one, e.g. {example}, "
                "and were left out. Give a key: that tells all rows apart."
            )
            return FeedResult(position, count_changes(con), (notice,))
    return FeedResult(position, count_changes(con))


def count_changes(con: duckdb.DuckDBPyConnection) -> dict[ChangeKind, int]:
    """Count the rows of `changes` by kind."""
    rows = con.execute("select change, count(*) from changes group by all order by all").fetchall()
    return {ChangeKind(change): count for change, count in rows}


def key_text(names: Iterable[str], source: str = "") -> str:
    """Return SQL of a key as a JSON array of its values' texts; `source` is a prefix: `t.`."""
    values = (f"cast({source}{quote_name(name)} as varchar)" for name in names)
    texts = " || ',' || ".join(f"coalesce(to_json({value})::varchar, 'null')" for value in values)
    return f"'[' || {texts} || ']'"


def row_struct(columns: Iterable[Column], source: str = "") -> str:
    """Return SQL of a row's columns as a struct."""
    values = ", ".join(
        f"{quote_name(column.name)} := {source}{quote_name(column.name)}" for column in columns
    )
    return f"struct_pack({values})"


def struct_type(columns: Iterable[Column]) -> str:
    """Return the type of `row_struct`."""
    return f"struct({', '.join(f'{quote_name(c.name)} {c.type}' for c in columns)})"


def has_column(columns: Iterable[Column], name: str) -> bool:
    """Whether a column has this name, in any case."""
    return fold_name(name) in {fold_name(column.name) for column in columns}
