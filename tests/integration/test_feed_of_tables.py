"""A feed follows tables of every kind: keys, schema changes, soft deletes, starts and orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.feed_lake import ALL, ORDERS, FeedLake, Follower

from cdpsync.destinations.feeds.changes import FeedRequest
from cdpsync.errors import CatalogError, ConfigError
from cdpsync.model import TableName
from cdpsync.model.destinations import ChangeKind, ChangeOrder

if TYPE_CHECKING:
    from pathlib import Path

    from support.feed_lake import Change

UPSERTS = frozenset({ChangeKind.INSERT, ChangeKind.UPDATE})
each_way = pytest.mark.parametrize(
    "request_", [{}, {"needs_old": True}, {"order": ChangeOrder.EACH}], ids=["kinds", "old", "each"]
)


@pytest.fixture
def lake(tmp_path: Path) -> FeedLake:
    lake = FeedLake(tmp_path)
    lake.create()
    lake.merge("select i as id, 'first' as v from range(5) as r(i)")
    return lake


def brief(changes: list[Change]) -> list[tuple[str, int, str | None]]:
    return sorted((change.kind, change.row["id"], change.row["v"]) for change in changes)


# ---- schemas


@each_way
def test_changed_schema_alone_sends_nothing(lake: FeedLake, request_) -> None:
    """Added, renamed, widened and dropped columns change no row; old images have them, too."""
    lake.write("alter table lake.shop.orders add column extra int")
    lake.merge("select 1 as id, 'first' as v, 7 as extra")
    ops = lake.follower(**request_)
    lake.write("alter table lake.shop.orders add column note varchar default 'none'")
    lake.write("alter table lake.shop.orders rename column v to word")
    lake.write("alter table lake.shop.orders alter column id type bigint")
    lake.write("alter table lake.shop.orders drop column extra")
    assert not ops.is_behind()
    assert ops.changes() == []
    lake.merge("select 1 as id, 'new' as word, 'n' as note")
    (change,) = ops.take()
    assert change.row == {"id": 1, "word": "new", "note": "n"}
    if request_:
        assert change.old == {"id": 1, "word": "first", "note": "none"}


@each_way
@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [("varchar", "cast(id as varchar)", "2"), ("json", "to_json(id)", "2")],
)
def test_converted_column_is_compared_in_its_new_type(
    lake: FeedLake, request_, type_: str, value: str, expected: str
) -> None:
    """A conversion writes each row anew, and DuckLake shows NULL for what was there before."""
    lake.write("alter table lake.shop.orders add column number int",
               "update lake.shop.orders set number = id")  # fmt: skip
    ops = lake.follower(**request_)
    lake.write(
        f"alter table lake.shop.orders add column new {type_}",
        f"update lake.shop.orders set new = {value.replace('id', 'number')}",
        "alter table lake.shop.orders drop column number",
        "alter table lake.shop.orders rename column new to number",
    )
    lake.merge("select 2 as id, 'new' as v, '5' as number")
    lake.delete("id = 3")
    changes = {change.kind: change for change in ops.take()}
    assert set(changes) == {"update", "delete"}
    assert changes["update"].row == {"id": 2, "v": "new", "number": "5"}
    if request_:
        assert changes["update"].old == {"id": 2, "v": "first", "number": expected}


def test_missing_table_and_key_are_told(lake: FeedLake) -> None:
    """The error names what there is."""
    ops = lake.follower()
    wrong = Follower(lake.catalog, FeedRequest("ops", ("idd",), ORDERS))
    with pytest.raises(ConfigError, match=r'no column "idd"\. Did you mean "id"'):
        wrong.changes()
    absent = Follower(lake.catalog, FeedRequest("ops", (), TableName("shop", "order")))
    with pytest.raises(CatalogError, match=r'no table shop\.order\. Did you mean "shop\.orders"'):
        absent.is_behind()
    lake.write("drop table lake.shop.orders")
    for read in (ops.is_behind, ops.changes):
        with pytest.raises(CatalogError, match=r"no table shop\.orders"):
            read()


@each_way
def test_table_that_was_dropped_and_created_again_is_compared(lake: FeedLake, request_) -> None:
    """Its rows are told from those at the position, though the table is another one."""
    ops = lake.follower(**request_)
    lake.write("drop table lake.shop.orders")
    lake.create("id bigint, v varchar, extra int")
    lake.merge("select i as id, if(i = 2, 'new', 'first') as v, null::int as extra "
               "from range(1, 7) as r(i)")  # fmt: skip
    expected = [("delete", 0, "first"), ("insert", 5, "first"), ("insert", 6, "first")]
    assert brief(ops.take()) == [*expected, ("update", 2, "new")]


@pytest.mark.parametrize("name", ["rowid", "snapshot_id", "SNAPSHOT_ID"])
@each_way
def test_columns_of_ducklakes_own_names_are_no_trouble(lake: FeedLake, request_, name) -> None:
    """A column of the table hides DuckLake's; then the table is compared with itself before."""
    lake.create(f"id int, v varchar, {name} varchar")
    lake.merge(f"select i as id, 'first' as v, 'mine' as {name} from range(3) as r(i)")
    ops = lake.follower(**request_)
    lake.merge(f"select 1 as id, 'new' as v, 'mine' as {name}")
    lake.delete("id = 2")
    assert brief(ops.follow()) == [("delete", 2, "first"), ("update", 1, "new")]
    everything = lake.follower(start="all", **request_)
    assert [change.kind for change in everything.follow()] == ["insert"] * 2


# ---- keys


@each_way
def test_keys_are_exact_texts(tmp_path: Path, request_) -> None:
    """Several columns, NULL, quotes, types whose values are equal in another one."""
    lake = FeedLake(tmp_path, key=('a "b"', "n", "t"))
    lake.create('"a ""b""" varchar, n decimal(38, 2), t timestamptz, v varchar')
    keys = [
        ("'x'", "1", "null"), ("null", "1", "null"), ("'null'", "1", "null"),
        ("'\"'", "12345678901234567890123456789012345.67", "'2026-01-01 00:00:00.000001+00'"),
        ("'\"'", "12345678901234567890123456789012345.68", "'2026-01-01 00:00:00.000001+00'"),
        ("'[1,2'", "null", "'infinity'"),
    ]  # fmt: skip
    values = " union all ".join(
        f'select {a}::varchar as "a ""b""", {n}::decimal(38, 2) as n, {t}::timestamptz as t, '
        f"'first' as v"
        for a, n, t in keys
    )
    lake.merge(values)
    ops = lake.follower(**request_)
    assert len(ops.rows) == len(keys)
    lake.merge(f"select * replace ('new' as v) from ({values})")
    assert [change.kind for change in ops.changes()] == ["update"] * len(keys)
    lake.delete('"a ""b""" is null')
    changes = ops.follow()
    assert [change.key for change in changes if change.kind == "delete"] == ['[null,"1.00",null]']
    assert ops.rows == lake.rows()


def test_rows_that_share_a_key_are_told(lake: FeedLake) -> None:
    """The newest is sent, and a key of which a row stays is not deleted."""
    by_value = {"key": ("v",), "is_unique": False}
    ops = lake.follower(start="all", **by_value)
    (change,) = ops.follow()
    assert (change.kind, change.row) == ("insert", {"id": 4, "v": "first"})
    (notice,) = ops.result.notices
    assert "4 rows of shop.orders share their key (v) with a newer one" in notice
    assert '["first"]' in notice
    lake.delete("id = 1")
    assert ops.follow() == []
    lake.delete("v = 'first'")
    assert [change.kind for change in ops.follow()] == ["delete"]


@pytest.mark.parametrize("order", ChangeOrder)
def test_each_row_of_a_table_without_a_key_is_an_event(lake: FeedLake, order) -> None:
    """Equal rows are two events. What others update or delete comes, too."""
    events = Follower(lake.catalog, FeedRequest("ops", (), ORDERS, kinds=ALL, order=order))
    events.start()
    lake.write("insert into lake.shop.orders values (9, 'same'), (9, 'same')")
    lake.compact()
    assert brief(events.changes()) == [("insert", 9, "same")] * 2
    assert len({change.key for change in events.take()}) == 2
    lake.compact()
    lake.rewrite()
    assert not events.is_behind()
    lake.write_as_other("update lake.shop.orders set v = 'new' where id = 1")
    lake.write_as_other("delete from lake.shop.orders where id = 9")
    expected = [("delete", 9, "same")] * 2 + [("update", 1, "new")]
    assert brief(events.take()) == expected


# ---- deletes


def soft(lake: FeedLake, rows: str) -> None:
    lake.merge(f"select id, v, d::timestamptz as _deleted_at from (values {rows}) as t(id, v, d)")


@each_way
def test_soft_delete_counts_as_a_delete(lake: FeedLake, request_) -> None:
    """A mark is a delete, its removal an insert, and a marked row that changes is nothing."""
    lake.write("alter table lake.shop.orders add column _deleted_at timestamptz")
    ops = lake.follower(**request_)
    soft(lake, "(1, 'first', '2026-01-01'), (2, 'new', null), (8, 'never', '2026-01-01')")
    expected = [("delete", 1, "first"), ("update", 2, "new")]
    assert brief(ops.changes()) == expected
    assert brief(ops.changes(kinds=UPSERTS)) == expected[1:]
    assert brief(ops.changes(kinds=UPSERTS, tells_kind=False)) == expected[1:]
    ops.follow()
    soft(lake, "(1, 'still', '2026-01-01'), (8, 'new', null)")
    assert brief(ops.follow()) == [("insert", 8, "new")]
    soft(lake, "(1, 'back', null), (8, 'new', '2026-01-02')")
    assert brief(ops.follow()) == [("delete", 8, "new"), ("insert", 1, "back")]
    everything = lake.follower(start="all", **request_)
    assert len(everything.follow()) == 5


def test_soft_deletes_of_a_replaced_table_that_removes_them(lake: FeedLake) -> None:
    """A row that was marked, and is not in the new table, was deleted before."""
    lake.write("alter table lake.shop.orders add column _deleted_at timestamptz")
    soft(lake, "(1, 'first', '2026-01-01')")
    ops = lake.follower()
    lake.replace("select id, v from lake.shop.orders where id not in (1, 2)")
    assert brief(ops.changes()) == [("delete", 2, "first")]


# ---- orders and events


def test_each_change_of_a_key_comes_in_its_order(lake: FeedLake) -> None:
    """With the image before it, through compactions, and without those that change nothing."""
    ops = lake.follower(order=ChangeOrder.EACH)
    lake.merge("select 1 as id, 'a' as v union all select 7, 'a'")
    lake.compact()
    lake.merge("select 1 as id, 'b' as v")
    lake.write_as_other("update lake.shop.orders set v = v")
    lake.delete("id in (1, 7)")
    lake.merge("select 1 as id, 'c' as v")
    changes = [change for change in ops.follow() if change.key == '["1"]']
    images = [(c.kind, c.old and c.old["v"], c.row["v"]) for c in changes]
    assert images == [
        ("update", "first", "a"), ("update", "a", "b"), ("delete", "b", "b"), ("insert", None, "c"),
    ]  # fmt: skip


@each_way
def test_event_has_the_same_id_whenever_it_is_read(lake: FeedLake, request_) -> None:
    """Also after other commits and compactions. Another kind, snapshot or name has another."""
    ops = lake.follower(**request_)
    lake.merge("select 1 as id, 'new' as v union all select 9, 'new'")
    first = {change.key: change.event_id for change in ops.changes()}
    assert len(set(first.values())) == 2
    lake.write("create table lake.shop.other (id int)")
    lake.compact()
    assert {change.key: change.event_id for change in ops.changes()} == first
    other = {change.event_id for change in ops.changes(destination="other")}
    assert not other & set(first.values())
    lake.merge("select 1 as id, 'newer' as v")
    later = {change.key: change.event_id for change in ops.changes()}
    assert later['["9"]'] == first['["9"]']
    assert later['["1"]'] != first['["1"]']


def test_change_has_the_time_of_its_snapshot(lake: FeedLake) -> None:
    """Of one that has expired, the time of the next."""
    ops = lake.follower()
    lake.merge("select 1 as id, 'new' as v")
    lake.merge("select 2 as id, 'new' as v")
    with lake.catalog.reader() as con:
        times = dict(
            con.execute("select snapshot_id, snapshot_time from lake.snapshots()").fetchall()
        )
    changes = ops.changes()
    assert [change.changed_at for change in changes] == [times[c.snapshot_id] for c in changes]
    one, two = (change.snapshot_id for change in changes)
    lake.expire(one)
    assert [change.changed_at for change in ops.changes()] == [times[two]] * 2


# ---- starts


def test_start_at_a_time_is_the_snapshot_of_then(lake: FeedLake) -> None:
    """Changes since then are sent, also if the table was replaced or created since."""
    with lake.catalog.reader() as con:
        (moment,) = con.execute("select max(snapshot_time) from lake.snapshots()").fetchone()
    lake.merge("select 1 as id, 'new' as v")
    lake.replace()
    ops = lake.follower()
    ops.start(moment)
    assert brief(ops.follow()) == [("update", 1, "new")]
    lake.write("create table lake.shop.other (id int, v varchar)")
    lake.write("insert into lake.shop.other values (1, 'x')", table=TableName("shop", "other"))
    other = Follower(lake.catalog, FeedRequest("ops", ("id",), TableName("shop", "other")))
    other.start(moment)
    assert brief(other.follow()) == [("insert", 1, "x")]


def test_start_before_the_oldest_snapshot_is_told(lake: FeedLake) -> None:
    """The error names the oldest time that is possible."""
    with pytest.raises(
        ConfigError, match=r"before the oldest snapshot of the lake, which is of 20"
    ):
        lake.follower().start(datetime.now(UTC) - timedelta(days=400))


@each_way
def test_start_with_all_sends_each_row_once(lake: FeedLake, request_) -> None:
    """Then only what changes."""
    ops = lake.follower(start="all", **request_)
    assert ops.is_behind()
    assert [change.kind for change in ops.follow()] == ["insert"] * 5
    assert ops.rows == lake.rows()
    assert not ops.is_behind()
    assert ops.follow() == []
