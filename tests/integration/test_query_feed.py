"""A query's feed gives the difference of its result to what was delivered, key by key."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.feed_lake import ALL, FeedLake, Follower

from cdpsync.destinations.feeds.changes import FeedRequest
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.errors import ConfigError
from cdpsync.model import TableName

if TYPE_CHECKING:
    from pathlib import Path

TOTALS = "select v, count(*) as orders, sum(id) as ids from shop.orders group by all"


@pytest.fixture
def lake(tmp_path: Path) -> FeedLake:
    lake = FeedLake(tmp_path)
    lake.create()
    lake.merge("select i as id, if(i < 5, 'low', 'high') as v from range(10) as r(i)")
    return lake


def follower(
    lake: FeedLake, sql: str = TOTALS, key: tuple[str, ...] = ("v",), **values
) -> Follower:
    return Follower(lake.catalog, FeedRequest("people", key, sql=sql, kinds=ALL, **values))


@pytest.mark.parametrize("needs_old", [False, True])
def test_changed_groups_alone_are_sent(lake: FeedLake, needs_old: bool) -> None:
    """New groups are inserts, groups without rows deletes; all others stay unsent."""
    people = follower(lake, needs_old=needs_old)
    assert [change.kind for change in people.follow(lake.folder)] == ["insert"] * 2
    assert people.follow(lake.folder) == []
    lake.merge("select 9 as id, 'top' as v")
    sent = {(c.kind, c.key): (c.row, c.old) for c in people.follow(lake.folder)}
    high = {"v": "high", "orders": 5, "ids": 35}
    assert sent == {
        ("update", '["high"]'): (high | {"orders": 4, "ids": 26}, high if needs_old else None),
        ("insert", '["top"]'): ({"v": "top", "orders": 1, "ids": 9}, None),
    }
    lake.delete("v = 'top'")
    (deleted,) = people.follow(lake.folder)
    rest = {"orders": 1, "ids": 9} if needs_old else {"orders": None, "ids": None}
    assert (deleted.kind, deleted.row) == ("delete", {"v": "top"} | rest)
    assert deleted.old == (deleted.row if needs_old else None)


def test_query_is_skipped_until_a_table_of_it_changes(lake: FeedLake) -> None:
    """Neither another table's commit nor a compaction makes it run again."""
    people = follower(lake)
    assert people.is_behind()
    people.follow(lake.folder)
    lake.write("create table lake.shop.other (id int)", "insert into lake.shop.other values (1)")
    lake.compact()
    lake.rewrite()
    assert not people.is_behind()
    lake.merge("select 1 as id, 'x' as v")
    assert people.is_behind()


@pytest.mark.parametrize(
    ("sql", "key", "words"),
    [
        ("select id, v from shop.orders", ("v",), 'is shared by 5 rows'),
        ("select if(id = 3, null, id) as id from shop.orders", ("id",), "has NULL"),
        ("select id from shop.orders", ("idd",), 'Did you mean "id"?'),
        ("select nothing from shop.orders", ("id",), '"nothing" not found'),
        ("select 1 as id; select 2 as id", ("id",), "exactly one SELECT"),
        ("delete from shop.orders", ("id",), "exactly one SELECT"),
    ],
)  # fmt: skip
def test_wrong_query_or_key_is_told(lake: FeedLake, sql: str, key: tuple, words: str) -> None:
    """The error names the destination and an example."""
    with pytest.raises(ConfigError, match='destination "people": ') as raised:
        follower(lake, sql, key).follow(lake.folder)
    assert words in raised.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "select id, now() as t from shop.orders",
        "select id from shop.orders where current_date > '2026-01-01'",
        "select id from shop.recent",
        "select id from shop.orders join read_csv('{folder}/names.csv') as n using (id)",
    ],
)
def test_query_whose_result_may_change_alone_runs_each_time(lake: FeedLake, sql: str) -> None:
    """It asks for the time, or reads a view or a file, which have no snapshots."""
    (lake.folder / "names.csv").write_text("id\n1\n")
    lake.write("create view lake.shop.recent as select * from lake.shop.orders where id > 5")
    people = follower(lake, sql.format(folder=lake.folder), ("id",))
    people.follow(lake.folder)
    assert people.is_behind()


@pytest.mark.parametrize(
    "sql",
    [
        "select id, sum(c.n) as n from shop.orders o join shop.other c using (id) group by id",
        "with other as (from shop.other) select o.id from Shop.ORDERS o natural join other",
        'select id from lake."shop".orders where exists (select 1 from shop.other as x)',
        "select id from shop.orders, unnest([1]) union all select id + 100 from shop.other",
    ],
)
def test_tables_of_a_query_are_found(lake: FeedLake, sql: str) -> None:
    """With USING, aliases, WITH, subqueries and other cases of their names."""
    lake.write("create table lake.shop.other as select 1 as id, 2 as n",
               "create table lake.shop.third as select 1 as id")  # fmt: skip
    people = follower(lake, sql, ("id",))
    people.follow(lake.folder)
    lake.write("insert into lake.shop.third values (1)", table=TableName("shop", "third"))
    assert not people.is_behind()
    lake.write("insert into lake.shop.other values (1, 2)", table=TableName("shop", "other"))
    assert people.is_behind()


def test_keys_that_are_left_out_come_again(lake: FeedLake) -> None:
    """The copy keeps of them what was delivered before: nothing, or the row of then."""
    people = follower(lake)
    feed = feed_of(people.request)
    first, second = lake.folder / "first.parquet", lake.folder / "second.parquet"
    with lake.catalog.reader(keep=False) as con:
        feed.read(con, None)
        assert feed.write_copy(con, first, """select key from changes where key = '["low"]'""")
    assert first.stat().st_mode & 0o777 == 0o600
    (change,) = people.changes(copy=first)
    assert (change.kind, change.key) == ("insert", '["low"]')
    lake.merge("select 9 as id, 'top' as v")
    feed = feed_of(replace(people.request, copy=first))
    with lake.catalog.reader(keep=False) as con:
        feed.read(con, None)
        assert feed.write_copy(con, second, """select key from changes where key = '["high"]'""")
    (change,) = people.changes(copy=second)
    assert (change.kind, change.key) == ("update", '["high"]')


def test_old_values_of_every_type_are_exact(lake: FeedLake) -> None:
    """Also of types that Parquet has not, and of a column that changed its type since."""
    values = """
        select 1 as id, {v} as changing, 170141183460469231731687303715884105727::hugeint as h,
            interval '1 month 2 days 3.000004 seconds' as i, 0.1::float as f, '-0.0'::double as z,
            1234567890123456789012345678901234.5678::decimal(38, 4) as d, '\\x00a'::blob as b,
            [{{'a': 'x, y', 'b': null}}] as nested, map {{'k': [1, null]}} as m, '{{"a": 1.10}}'::json as j,
            timestamptz '2026-01-01 00:00:00.000001+00' as t, '1.5'::varchar as text,
            'NULL' as word, null::int as nothing, '10101'::bit as bits, uuid() is null as u
        from shop.orders where id = 1
    """  # noqa: E501 - values
    people = follower(lake, values.format(v="1"), ("id",), needs_old=True)
    (inserted,) = people.follow(lake.folder)
    people.request = replace(people.request, sql=values.format(v="'2'"))
    (updated,) = people.changes()
    assert updated.kind == "update"
    assert updated.old == inserted.row | {"changing": "1"}
    assert math.copysign(1, updated.old["z"]) == -1


def test_widened_type_of_a_column_sends_nothing(lake: FeedLake) -> None:
    """The copy compares the texts of values."""
    people = follower(lake, "select id, v from shop.orders", ("id",))
    people.follow(lake.folder)
    lake.write("alter table lake.shop.orders alter column id type bigint")
    assert people.follow(lake.folder) == []


def test_kept_table_needs_no_snapshot(lake: FeedLake) -> None:
    """With `keep`, a destination goes on though its position has expired."""
    people = lake.follower(keep=True, needs_old=True)
    assert people.request.copy is not None
    lake.merge("select 1 as id, 'new' as v")
    lake.delete("id = 2")
    lake.expire(*lake.snapshots()[:-1])
    assert people.is_behind()
    changes = {change.kind: change for change in people.follow(lake.folder)}
    assert changes["update"].old == {"id": 1, "v": "low"}
    assert changes["delete"].old == {"id": 2, "v": "low"}
    assert people.follow(lake.folder) == []


def test_table_named_changes_can_be_queried(lake: FeedLake) -> None:
    """The relation of the feed before does not hide it."""
    lake.write("create table lake.main.changes as select 5 as id",
               "create table lake.shop.changes as select 6 as id")  # fmt: skip
    with lake.catalog.reader(keep=False) as con:
        for _ in range(2):
            for table in ("changes", "shop.changes"):
                people = follower(lake, f"select id from {table}", ("id",))
                people.con = con
                (change,) = people.changes()
                assert change.row == {"id": 5 if table == "changes" else 6}
