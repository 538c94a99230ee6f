"""Rows that DuckLake shows as changed, though only their files changed, are sent to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.feed_lake import ALL, ORDERS, FeedLake, Follower

from cdpsync.destinations.feeds.changes import FeedRequest
from cdpsync.destinations.feeds.lake_tables import find_table
from cdpsync.destinations.feeds.positions import living_snapshots
from cdpsync.destinations.feeds.row_sets import changed_rows
from cdpsync.errors import StalePositionError
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


# ---- what DuckLake's feed shows of each way to write


@each_way
def test_merge_is_an_update_though_its_rows_are_deleted_and_inserted(lake, request_) -> None:
    """A run deletes by key and adds a file: other rowids, so rows are paired by key."""
    ops = lake.follower(**request_)
    lake.merge("select 1 as id, 'new' as v union all select 9, 'new'")
    assert brief(ops.follow()) == [("insert", 9, "new"), ("update", 1, "new")]


@each_way
def test_update_and_merge_into_of_others_are_updates(lake: FeedLake, request_) -> None:
    """Images of one rowid are paired, too; a row that was written as it was is none."""
    ops = lake.follower(**request_)
    lake.write_as_other("update lake.shop.orders set v = if(id = 2, 'new', v) where id in (1, 2)")
    lake.write_as_other(
        "merge into lake.shop.orders as t using (values (3, 'm'), (8, 'm')) as s(id, v) "
        "on t.id = s.id when matched then update set v = s.v when not matched then insert"
    )
    expected = [("insert", 8, "m"), ("update", 2, "new"), ("update", 3, "m")]
    assert brief(ops.follow()) == expected


@each_way
@pytest.mark.parametrize("task", ["compact", "rewrite", "merge_files"])
def test_compaction_alone_sends_nothing(lake: FeedLake, request_, task: str) -> None:
    """Nor does it make a destination look behind, so that nothing is read."""
    for number in range(3):
        lake.merge(f"select {number + 10} as id, 'new' as v")
    lake.delete("id in (4, 12)")
    ops = lake.follower(**request_)
    before = lake.snapshots()[-1]
    getattr(lake, task)()
    assert lake.snapshots()[-1] > before
    assert not ops.is_behind()
    assert ops.changes() == []


@each_way
@pytest.mark.parametrize("task", ["compact", "rewrite", "merge_files"])
def test_changes_around_a_compaction_are_sent_once(lake: FeedLake, request_, task: str) -> None:
    """Those before it were moved by it, and those after it delete rows that it wrote."""
    ops = lake.follower(**request_)
    lake.merge("select 1 as id, 'new' as v union all select 9, 'new'")
    lake.delete("id = 0")
    getattr(lake, task)()
    lake.merge("select 2 as id, 'late' as v")
    lake.delete("id = 3")
    getattr(lake, task)()
    assert brief(ops.changes()) == [
        ("delete", 0, None if request_ == {} else "first"),
        ("delete", 3, None if request_ == {} else "first"),
        ("insert", 9, "new"), ("update", 1, "new"), ("update", 2, "late"),
    ]  # fmt: skip
    ops.follow()
    assert ops.follow() == []


def test_compaction_by_another_writer_sends_nothing(lake: FeedLake) -> None:
    """It has no message of ours; so its rows are netted out."""
    ops = lake.follower()
    lake.write_as_other(
        "create or replace temp table kept as from lake.shop.orders",
        "delete from lake.shop.orders where filename is not null",
        "insert into lake.shop.orders from kept",
    )
    assert ops.is_behind()
    assert ops.follow() == []


def test_message_of_another_author_or_table_hides_no_change(lake: FeedLake) -> None:
    """A snapshot is taken for a compaction only if we wrote it, of this very table."""
    ops = lake.follower()
    lake.merge("select 1 as id, 'new' as v", by="x: shop.orders2, compacted")
    with lake.catalog.writer() as con:
        con.execute("begin; insert into lake.shop.orders values (7, 'o')")
        con.execute("call ducklake_set_commit_message('lake', 'me', 'x: shop.orders, compacted')")
        con.execute("commit")
    assert brief(ops.follow()) == [("insert", 7, "o"), ("update", 1, "new")]


@each_way
def test_replaced_table_is_compared_by_key(lake: FeedLake, request_) -> None:
    """`full_table` shows every row as inserted and none as deleted, and hides what came before."""
    ops = lake.follower(**request_)
    lake.merge("select 1 as id, 'new' as v")
    lake.replace("select * from lake.shop.orders where id <> 0 union all select 9, 'r'")
    lake.merge("select 2 as id, 'late' as v")
    changes = ops.follow()
    expected = [("delete", 0, "first"), ("insert", 9, "r"), ("update", 1, "new")]
    assert brief(changes) == [*expected, ("update", 2, "late")]
    lake.replace()
    assert ops.is_behind()
    assert ops.follow() == []


def test_replaced_table_without_a_key_is_compared_row_by_row(lake: FeedLake) -> None:
    """Equal rows cancel as often as both have them."""
    lake.key = ()
    lake.write("insert into lake.shop.orders values (1, 'first'), (1, 'first')")
    events = Follower(lake.catalog, FeedRequest("ops", (), ORDERS, kinds=ALL))
    events.start()
    lake.replace(
        "select * from (select distinct * from lake.shop.orders) where id <> 4 "
        "union all select 9, 'r' from range(2)"
    )
    changes = events.changes()
    expected = [("delete", 1, "first")] * 2 + [("delete", 4, "first")] + [("insert", 9, "r")] * 2
    assert brief(changes) == expected
    assert len({change.key for change in changes}) == 5


# ---- snapshots that have expired


def test_expired_position_is_told_with_both_ways_on(lake: FeedLake) -> None:
    """Also when nothing seems to have changed: what expired snapshots did is unknown."""
    ops = lake.follower()
    lake.merge("select 1 as id, 'new' as v")
    lake.expire(*lake.snapshots()[:-1])
    for read in (ops.is_behind, ops.changes):
        with pytest.raises(StalePositionError, match="has expired") as raised:
            read()
        assert "cdpsync send ops --from now" in raised.value.message
        assert "cdpsync send ops --backfill" in raised.value.message


def test_position_of_another_history_is_told(lake: FeedLake) -> None:
    """A catalog that was restored from a copy has other snapshots of the same numbers."""
    copy = lake.folder / "copy.ducklake"
    lake.catalog.export(copy)
    lake.merge("select 1 as id, 'lost' as v")
    ops = lake.follower()
    copy.replace(lake.catalog.path)
    with pytest.raises(StalePositionError, match="has expired"):
        ops.is_behind()
    lake.merge("select 2 as id, 'other' as v")
    with pytest.raises(StalePositionError, match="no longer that of the lake"):
        ops.changes()


@each_way
def test_row_of_an_expired_snapshot_that_was_compacted_is_sent(lake: FeedLake, request_) -> None:
    """It stands only in the compaction's file, and the compaction must not be left out then."""
    ops = lake.follower(**request_)
    lake.merge("select 100 as id, 'a' as v")
    lake.merge("select 200 as id, 'b' as v")
    expired = lake.snapshots()[-1]
    lake.compact()
    lake.merge("select 300 as id, 'c' as v")
    lake.expire(expired)
    expected = [("insert", 100, "a"), ("insert", 200, "b"), ("insert", 300, "c")]
    assert brief(ops.follow()) == expected
    assert ops.follow() == []


def test_no_change_is_missed_when_all_between_has_expired(lake: FeedLake) -> None:
    """The files that only expired snapshots named are gone, too."""
    ops = lake.follower(needs_old=True)
    for number in range(4):
        lake.merge(f"select unnest([1, {number + 20}]) as id, 'v{number}' as v")
        lake.delete(f"id = {number + 19}")
    lake.expire(*[id_ for id_ in lake.snapshots()[:-1] if id_ > ops.position.snapshot_id])
    assert brief(ops.follow()) == [("insert", 23, "v3"), ("update", 1, "v3")]


def test_gap_without_any_change_sends_nothing(lake: FeedLake) -> None:
    """A compaction, a rewrite and a reload whose snapshots have expired change no row."""
    ops = lake.follower()
    lake.write("create table lake.shop.other (id int)")
    lake.compact()
    lake.rewrite()
    lake.write("drop table lake.shop.other")
    first, *_, last = [id_ for id_ in lake.snapshots() if id_ > ops.position.snapshot_id]
    lake.expire(*range(first, last))
    assert ops.follow() == []


@pytest.mark.parametrize("request_", [{}, {"needs_old": True}], ids=["kinds", "old"])
def test_row_that_was_inserted_and_compacted_is_an_insert(lake: FeedLake, request_) -> None:
    """Its first deletion is that of the compaction, and no image of before the position."""
    ops = lake.follower(**request_)
    lake.merge("select 9 as id, 'new' as v")
    lake.compact()
    lake.merge("select 9 as id, 'newer' as v")
    (change,) = ops.follow()
    assert (change.kind, change.row, change.old) == ("insert", {"id": 9, "v": "newer"}, None)


def test_duckdb_loses_no_deleted_row_to_a_condition_on_snapshots(lake: FeedLake) -> None:
    """DuckLake 1.5.5 returns one of five rows where it gets the condition into its scan."""
    ops = lake.follower()
    lake.write_as_other("update lake.shop.orders set v = 'u' where id in (3, 4)")
    lake.delete("id in (0, 1)")
    with lake.catalog.reader() as con:
        table, snapshots = find_table(con, ops.request), living_snapshots(con, ops.position)
        deleted = con.execute(f"from {changed_rows('deletions', table, snapshots, ())}").fetchall()
    assert sorted(row[2] for row in deleted) == [0, 1, 3, 4]
