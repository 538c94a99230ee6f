"""What real runs do to a table comes to its destinations as it was at the source, and no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.feed_lake import ALL, ORDERS, Follower

from cdpsync import maintain, project
from cdpsync.catalog import Lake, ducklake_changes, transaction
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.destinations.feeds.changes import FeedRequest
from cdpsync.maintain import compact, orphans
from cdpsync.maintain.pins import expiry_limit
from cdpsync.model.deliveries import DestinationState
from cdpsync.model.destinations import ChangeOrder

if TYPE_CHECKING:
    from support.shop import Shop

INCREMENTAL = {"mode": "incremental", "cursor_field": "rev"}
each_way = pytest.mark.parametrize(
    "request_", [{}, {"needs_old": True}, {"order": ChangeOrder.EACH}], ids=["kinds", "old", "each"]
)


def loaded(shop: Shop, **options: Any) -> Shop:
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'first', i from generate_series(1, 20) i")
    shop.configure({"public.orders": options})
    shop.one()
    return shop


def follower(shop: Shop, **request: Any) -> Follower:
    catalog = project.catalog_of(project.load(shop.file))
    values = {"key": ("id",), "table": ORDERS, "kinds": ALL} | request
    ops = Follower(catalog, FeedRequest("ops", **values))
    ops.start()
    return ops


def sent(ops: Follower) -> list[tuple[str, int, str | None]]:
    return sorted((change.kind, change.row["id"], change.row["v"]) for change in ops.take())


@each_way
def test_incremental_runs_send_what_changed_at_the_source(
    shop: Shop, request_, monkeypatch
) -> None:
    """Through the compactions at the end of runs, `maintain`, and runs without changes."""
    monkeypatch.setattr(compact, "_MIN_SMALL_FILES", 2)
    loaded(shop, **INCREMENTAL, deletes="hard")
    ops = follower(shop, **request_)
    shop.one()
    assert not ops.is_behind()
    shop.pg.execute("""
        update orders set v = 'new', rev = 30 where id in (1, 2);
        delete from orders where id = 3;
        insert into orders values (40, 'new', 40)
    """)
    shop.one()
    messages = shop.ask("select commit_message from lake.snapshots()")
    assert any((message or "").endswith("shop.orders, compacted") for (message,) in messages)
    last = None if request_ == {} else "first"
    updates = [("update", 1, "new"), ("update", 2, "new")]
    assert sent(ops) == [("delete", 3, last), ("insert", 40, "new"), *updates]
    maintain.maintain(project.load(shop.file))
    shop.one()
    assert not ops.is_behind()
    assert sent(ops) == []
    shop.pg.execute("update orders set v = 'newer', rev = 50 where id = 40")
    shop.one()
    maintain.maintain(project.load(shop.file))
    assert sent(ops) == [("update", 40, "newer")]


@each_way
def test_marks_of_runs_are_deletes(shop: Shop, request_) -> None:
    """A run marks what the source has deleted, and removes the mark of what is back."""
    loaded(shop, **INCREMENTAL, deletes="soft")
    ops = follower(shop, **request_)
    shop.pg.execute("delete from orders where id in (4, 5)")
    shop.one()
    assert sent(ops) == [("delete", 4, "first"), ("delete", 5, "first")]
    shop.pg.execute("insert into orders values (4, 'first', 4)")
    shop.one()
    assert sent(ops) == [("insert", 4, "first")]


@each_way
@pytest.mark.parametrize("changed", [0, 1, 15])
def test_full_reload_sends_what_differs(shop: Shop, request_, changed: int, monkeypatch) -> None:
    """Whether a run exchanges a few rows by key, or replaces the table as a whole."""
    monkeypatch.setattr("cdpsync.load.reload._ALWAYS_EXCHANGED", 2)
    loaded(shop, mode="full_table")
    ops = follower(shop, **request_)
    shop.pg.execute(f"update orders set v = 'new' where id <= {changed}")
    shop.one()
    assert ops.is_behind() == (changed > 0)
    before, changes = ops.position.table_uuid, sent(ops)
    assert changes == sorted(("update", number, "new") for number in range(1, changed + 1))
    assert (ops.position.table_uuid != before) == (changed == 15)
    shop.one("shop.orders", full_refresh=True)
    assert sent(ops) == []


@each_way
def test_changed_type_of_a_column_sends_no_row(shop: Shop, request_) -> None:
    """A run loads the table again, and the values of before are compared in the new type."""
    loaded(shop, **INCREMENTAL)
    shop.pg.execute("alter table orders add column n int; update orders set n = id, rev = rev + 40")
    shop.one()
    ops = follower(shop, **request_)
    shop.pg.execute("alter table orders alter column n type text, add column extra int")
    shop.pg.execute("update orders set v = 'new', rev = 99 where id = 1")
    shop.one(full_refresh=True)
    assert sent(ops) == [("update", 1, "new")]


def test_rows_of_append_only_are_events(shop: Shop) -> None:
    """Each comes once, also equal ones."""
    shop.pg.execute("create table orders (id int, v text, rev int)")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "rev"}})
    shop.pg.execute("insert into orders values (1, 'first', 1)")
    shop.one()
    events = follower(shop, key=())
    shop.pg.execute("insert into orders values (1, 'first', 2), (1, 'first', 2), (2, 'x', 3)")
    shop.one()
    maintain.maintain(project.load(shop.file))
    assert sent(events) == [("insert", 1, "first")] * 2 + [("insert", 2, "x")]
    shop.one()
    assert sent(events) == []


# ---- expiry


def save(shop: Shop, ops: Follower, hold: timedelta) -> None:
    """Save the position, as a send does."""
    with project.catalog_of(project.load(shop.file)).writer() as con:
        Lake(con).system_tables.prepare()
        tables = DeliveryTables(con)
        tables.prepare()
        state = DestinationState("ops", "shop.orders", position=ops.position, hold=hold)
        with transaction(con, "sent"):
            tables.save(state)


@pytest.mark.parametrize("by", ["maintain", "expire"])
def test_expiry_keeps_what_a_destination_needs(shop: Shop, monkeypatch, by: str) -> None:
    """Snapshots before its position go; none after, however old, within `hold`."""
    monkeypatch.setattr(orphans, "GRACE", timedelta(0))
    shop.warehouse = {**shop.warehouse, "keep": "0s"}
    loaded(shop, **INCREMENTAL)
    ops = follower(shop)
    save(shop, ops, timedelta(days=30))
    config = project.load(shop.file)

    def upkeep() -> list[int]:
        if by == "maintain":
            maintain.maintain(config)
        else:
            maintain.expire(project.catalog_of(config), config.warehouse.keep)
        return [id_ for (id_,) in shop.ask("select snapshot_id from lake.snapshots()")]

    for number in range(3):
        shop.pg.execute(f"update orders set v = 'v{number}', rev = {30 + number} where id = 1")
        shop.one()
        assert ops.position.snapshot_id == min(upkeep())
    assert sent(ops) == [("update", 1, "v2")]
    save(shop, ops, timedelta(0))
    assert ops.position.snapshot_id < min(upkeep())  # it was held no longer


def test_later_snapshots_with_an_earlier_time_are_kept(shop: Shop, monkeypatch) -> None:
    """The clock was set back after the position: its snapshot is not the oldest by time."""
    loaded(shop, **INCREMENTAL)
    ops = follower(shop)
    catalog, moment = project.catalog_of(project.load(shop.file)), ops.position.snapshot_time
    save(shop, ops, timedelta(days=30))
    with catalog.reader(data=False) as con:
        later = [
            replace(snapshot, time=moment - timedelta(hours=1)) if snapshot.id > 1 else snapshot
            for snapshot in ducklake_changes.snapshots(con)
            if snapshot.id != ops.position.snapshot_id
        ]
        position = [s for s in ducklake_changes.snapshots(con) if s.id == ops.position.snapshot_id]
        in_order = sorted([*later, *position], key=lambda snapshot: snapshot.id)
        monkeypatch.setattr(ducklake_changes, "snapshots", lambda _: tuple(in_order))
        limit = expiry_limit(con, moment + timedelta(days=1), moment + timedelta(days=2))
    assert limit == moment - timedelta(hours=1)
