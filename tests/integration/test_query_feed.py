"""A query's feed gives the difference of its result to what was delivered, key by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.feed_lake import ALL, FeedLake, Follower

from cdpsync.destinations.changes import FeedRequest
from cdpsync.errors import ConfigError

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
