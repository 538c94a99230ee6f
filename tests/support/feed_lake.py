"""A lake whose history a test writes, and a copy of a table that only its feed keeps up to date."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cdpsync.catalog import CatalogFile, transaction
from cdpsync.catalog.snapshots import compaction_message
from cdpsync.destinations.feeds.changes import FeedRequest, FeedResult
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.destinations.feeds.positions import start_position
from cdpsync.model import TableName
from cdpsync.model.destinations import ChangeKind
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from cdpsync.model import TableName as Name
    from cdpsync.model.deliveries import Position

ALL = frozenset(ChangeKind)
ORDERS = TableName("shop", "orders")


@dataclass(frozen=True)
class Change:
    """A row of `changes`, as a destination sees it."""

    kind: str
    key: str
    row: dict[str, Any]
    old: dict[str, Any] | None
    snapshot_id: int
    event_id: str
    changed_at: datetime


@dataclass
class Follower:
    """A destination that keeps a copy of a table by its feed alone."""

    catalog: CatalogFile
    request: FeedRequest
    position: Position | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    result: FeedResult | None = None
    copies: int = 0
    con: Any = None
    may_differ: bool = False

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """Lend a connection; all uses of it share one copy of the catalog."""
        if self.con is not None:
            yield self.con
            return
        with self.catalog.reader() as con:
            yield con

    def start(self, when: str | datetime = "now") -> None:
        with self.reader() as con:
            self.position = start_position(con, self.request, when)

    def is_behind(self) -> bool:
        with self.reader() as con:
            return feed_of(self.request).is_behind(con, self.position)

    def changes(self, **other: Any) -> list[Change]:
        """Return the changes since the position, which stays."""
        feed = feed_of(replace(self.request, **other))
        with self.reader() as con:
            self.result = feed.read(con, self.position)
            return read_changes(con)

    def take(self) -> list[Change]:
        """Return the changes and move the position, without a copy of the rows."""
        changes = self.changes()
        self.position = self.result.position
        return changes

    def follow(self, folder: Path | None = None) -> list[Change]:
        """Apply the changes to the copy, in their order, and move the position."""
        feed = feed_of(self.request)
        with self.reader() as con:
            self.result = feed.read(con, self.position)
            changes = read_changes(con)
            if folder is not None:
                self.copies += 1
                target = folder / f"delivered-{self.copies}.parquet"
                if feed.write_copy(con, target):
                    self.request = replace(self.request, copy=target)
        for change in changes:
            if change.kind == "delete":
                assert change.key in self.rows, change
                del self.rows[change.key]
                continue
            if self.request.tells_kind:
                assert (change.kind == "update") == (change.key in self.rows), change
            if self.request.needs_old:
                assert change.old == self.rows.get(change.key), change
            self.rows[change.key] = change.row
        self.position = self.result.position
        return changes


def read_changes(con: Any) -> list[Change]:
    rows = con.execute(
        'select change, key, "row", old, snapshot_id, event_id::varchar, changed_at from changes '
        "order by ord"
    ).fetchall()
    return [Change(*row) for row in rows]


def rows_of(con: Any, key: str) -> dict[str, dict[str, Any]]:
    """Return the rows of the table by their key, as the feed has them."""
    rows = con.execute(
        f"select {key}, whole_row from (from lake.shop.orders) as whole_row"
    ).fetchall()
    return dict(rows)


@dataclass
class FeedLake:
    """A lake with the table `shop.orders` (id, v), written as cdpsync does, and as others do."""

    folder: Path
    key: tuple[str, ...] = ("id",)

    def __post_init__(self) -> None:
        self.catalog = CatalogFile(self.folder / "lake.ducklake", f"{self.folder}/data/")
        self.write("create schema lake.shop")

    def write(self, *statements: str, by: str | None = None, table: Name = ORDERS) -> None:
        """Run statements in a transaction, as a run's commit, or with another message."""
        message = f"20260101T000000Z-abcdef: {table}" if by is None else by
        with self.catalog.writer() as con, transaction(con, message, table):
            for statement in statements:
                con.execute(statement)

    def write_as_other(self, *statements: str) -> None:
        """Run statements in a transaction without author, as any DuckDB does."""
        with self.catalog.writer() as con:
            con.execute("begin")
            for statement in statements:
                con.execute(statement)
            con.execute("commit")

    def create(self, columns: str = "id int, v varchar") -> None:
        self.write(f"create or replace table lake.shop.orders ({columns})")

    def merge(self, rows: str, **options: Any) -> None:
        """Replace the rows with the keys of a SELECT by its rows, as a run does."""
        names = [quote_name(name) for name in self.key]
        same = " and ".join(f"e.{name} is not distinct from i.{name}" for name in names)
        self.write(
            f"create or replace temp table incoming as {rows}",
            f"delete from lake.shop.orders as e using incoming as i where {same}",
            "insert into lake.shop.orders by name from incoming",
            **options,
        )

    def delete(self, condition: str) -> None:
        self.write(f"delete from lake.shop.orders where {condition}")

    def compact(self) -> None:
        """Write all rows into one new file, as a run does after its commits."""
        self.write(
            "create or replace temp table kept as from lake.shop.orders",
            "delete from lake.shop.orders where filename is not null",
            "insert into lake.shop.orders from kept",
            by=compaction_message("20260101T000000Z-abcdef", ORDERS),
        )

    def rewrite(self) -> None:
        self.write(
            "call ducklake_rewrite_data_files('lake', 'orders', schema => 'shop', "
            "delete_threshold => 0)",
            by="maintain: shop.orders",
        )

    def merge_files(self) -> None:
        self.write(
            "call ducklake_merge_adjacent_files('lake', 'orders', schema => 'shop')",
            by="maintain: shop.orders",
        )

    def replace(self, rows: str = "select * from lake.shop.orders") -> None:
        """Replace the table by a SELECT's rows, as `full_table` does."""
        self.write(
            f"create or replace temp table incoming as {rows}",
            "create or replace table lake.shop.orders as from incoming limit 0",
            "insert into lake.shop.orders from incoming",
        )

    def expire(self, *snapshots: int) -> None:
        """Expire snapshots by their ids, and remove the files that only they named."""
        with self.catalog.writer() as con:
            if snapshots:
                con.execute("call ducklake_expire_snapshots('lake', versions => ?)", [[*snapshots]])
            con.execute("call ducklake_cleanup_old_files('lake', cleanup_all => true)")

    def snapshots(self) -> list[int]:
        with self.catalog.reader(data=False) as con:
            return [id_ for (id_,) in con.execute(
                "select snapshot_id from lake.snapshots() order by 1").fetchall()]  # fmt: skip

    @property
    def key_sql(self) -> str:
        names = (quote_name(name) for name in self.key)
        texts = (f"coalesce(to_json({name}::varchar)::varchar, 'null')" for name in names)
        return "'[' || " + " || ',' || ".join(texts) + " || ']'"

    def rows(self) -> dict[str, dict[str, Any]]:
        with self.catalog.reader() as con:
            return rows_of(con, self.key_sql)

    def follower(self, *, start: str = "now", **request: Any) -> Follower:
        values = {"key": self.key, "table": ORDERS, "kinds": ALL} | request
        follower = Follower(self.catalog, FeedRequest("ops", **values))
        follower.start(start)
        if follower.request.keep:
            follower.follow(self.folder)
        if start == "now":
            follower.rows = self.rows()
        return follower
