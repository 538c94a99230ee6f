"""A snapshot's text says whether it changed the rows of a table, or only moved them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cdpsync.catalog.snapshots import Snapshot, TableHistory, compaction_message, table_history
from cdpsync.model import TableName

ORDERS = TableName("shop", "orders")
MERGE = "inserted_into_table:2,deleted_from_table:2"


def snapshot(
    id_: int, changes: str | None, message: str = "x: shop.orders", author: str | None = "cdpsync"
) -> Snapshot:
    return Snapshot(id_, datetime(2026, 1, 1, tzinfo=UTC), author, message, changes)


def history(*snapshots: Snapshot, after: int = 4) -> TableHistory:
    return table_history([snapshot(after, "inserted_into_table:2"), *snapshots], after, ORDERS, 2)


@pytest.mark.parametrize(
    "changes",
    [
        None, "", "altered_table:2", "merge_adjacent:2", "inserted_into_table:22,dropped_table:1",
        'created_table:"shop"."inserted_into_table:2"',
        'created_table:"a"."b",inserted_into_table:12',
    ],
)  # fmt: skip
def test_snapshot_that_changes_no_row_of_the_table(changes: str | None) -> None:
    """Other tables, and names that look like changes, do not count."""
    assert history(snapshot(5, changes)).is_empty


def test_compactions_are_told_from_commits() -> None:
    """By our author, our message and this table's name, or by DuckLake's own word."""
    compacted = compaction_message("run", ORDERS)
    result = history(
        snapshot(5, MERGE),
        snapshot(6, MERGE, compacted),
        snapshot(7, "rewrite_delete:2", author=None),
        snapshot(8, MERGE, compaction_message("run", TableName("shop", "orders2"))),
        snapshot(9, "rewrite_delete:3,inserted_into_table:3"),
    )
    assert (result.changed, result.moved) == ((5, 8), (6, 7))
    assert not result.by_others
    assert not result.has_gap


@pytest.mark.parametrize(
    ("later", "by_others"),
    [
        (snapshot(5, MERGE, author=None), True),
        (snapshot(5, MERGE, compaction_message("run", ORDERS), author="me"), True),
        (snapshot(5, "inserted_into_table:3", author=None), False),
        (snapshot(5, f"rewrite_delete:2,{MERGE}"), True),
        (snapshot(5, "something_new:2"), False),
    ],
)
def test_other_writers_are_those_of_this_table(later: Snapshot, by_others: bool) -> None:
    """What is not known of them is netted out; a rewrite beside other changes, too."""
    assert history(later).by_others == by_others


def test_expired_snapshot_is_a_gap() -> None:
    """Then nobody knows what happened, so the table is not surely the same."""
    assert history(snapshot(6, None)).has_gap
    assert not history(snapshot(6, None)).is_empty
    assert not history().has_gap
    assert history().is_empty


@pytest.mark.parametrize(
    ("changes", "deletes"),
    [("inserted_into_table:2", False), (MERGE, True), ("deleted_from_table:2", True)],
)
def test_deletes_are_seen(changes: str, deletes: bool) -> None:
    """A merge deletes, too."""
    assert history(snapshot(5, changes)).deletes == deletes
