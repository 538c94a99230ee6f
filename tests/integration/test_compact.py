"""A run looks after the tables it adds to: few files, no row touched, nothing hangs on it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from cdpsync import compact, maintain, project
from cdpsync.errors import CatalogError

if TYPE_CHECKING:
    from conftest import Shop

pytestmark = pytest.mark.usefixtures("all_cores")

STORES = pytest.mark.parametrize("shop", ["folder", "s3", "gcs"], indirect=True)
TABLES = {
    "public.orders": {"mode": "incremental", "cursor_field": "rev"},
    "public.events": {"mode": "append_only", "cursor_field": "rev"},
}


def change(shop: Shop, number: int) -> None:
    """Change a tenth of the orders, and add some orders and events."""
    shop.pg.execute(f"""
        update orders set rev = {number}, v = 'in {number}' where id % 10 = {number % 10};
        insert into orders select i, {number}, 'new'
            from generate_series({number * 100}, {number * 100 + 99}) i;
        insert into events select 'same', {number} from generate_series(1, 50)
    """)


def files(shop: Shop, table: str) -> int:
    sql = f"select count(distinct filename) from shop.{table}"
    return shop.ask(sql)[0][0]


@pytest.fixture
def grown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A lake with three small commits, one before they are many."""
    monkeypatch.setattr(compact, "_MANY", 4)
    shop.pg.execute("create table orders (id int primary key, rev int, v text)")
    shop.pg.execute("create table events (kind text, rev int)")
    shop.configure(TABLES)
    for number in range(3):
        change(shop, number)
        assert all(one.error is None for one in shop.run().tables)
    assert files(shop, "orders") == 3
    return shop


@STORES
def test_many_small_files_become_one(grown: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The result of the run, every row, and every older snapshot are what they would be."""
    before = grown.ask("select count(*), sum(rev) from shop.orders")
    (snapshot,) = grown.ask("select max(snapshot_id) from lake.snapshots()")[0]
    change(grown, 3)
    with caplog.at_level(logging.INFO, "cdpsync.compact"):
        results = {one.table: one for one in grown.run().tables}
    assert "shop.orders: 4 files of" in caplog.text
    assert results["shop.orders"].rows_inserted == 100
    assert results["shop.orders"].rows_updated == 30
    assert files(grown, "orders") == files(grown, "events") == 1
    grown.same()
    grown.same(stream="public.events", table="shop.events")
    config = project.load(grown.file)
    with project.open_query(
        config, "select count(*), sum(rev) from shop.orders", at=str(snapshot)
    ) as old:
        assert list(old.rows()) == before
    again = {one.table: one for one in grown.run().tables}
    assert all(one.rows_inserted + one.rows_updated == 0 for one in again.values())
    for number in range(4, 10):
        change(grown, number)
        assert all(one.error is None for one in grown.run().tables)
    grown.same()
    grown.same(stream="public.events", table="shop.events")
    assert files(grown, "orders") < 4


def test_much_deleted_files_are_rewritten(grown: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that lost a fifth of its rows is read no longer than what is left of it."""
    monkeypatch.setattr(compact, "_SMALL", 0)
    grown.pg.execute("update orders set rev = 3 where rev < 2")
    assert grown.one("shop.orders").rows_updated > 150
    assert files(grown, "orders") == 2
    grown.same()


def test_compaction_that_fails_is_a_warning(
    grown: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run went well and says so; what it left behind is found by maintenance."""

    def refused(*_: object) -> None:
        raise CatalogError("the catalog refused.")

    change(grown, 3)
    with monkeypatch.context() as patch:
        patch.setattr(compact, "_replace", refused)
        assert all(one.error is None for one in grown.run().tables)
    assert "shop.orders: its small files stay as they are: the catalog refused." in caplog.text
    assert files(grown, "orders") == 4
    grown.same()
    done = {one.step: one.count for one in maintain.maintain(project.load(grown.file))}
    assert done["orphans"] == 2
    grown.same()


def test_table_with_a_column_called_filename_is_left_alone(grown: Shop) -> None:
    """Its own column hides which row is in which file."""
    grown.pg.execute("alter table orders add column filename text")
    change(grown, 3)
    assert grown.run("shop.orders").tables[0].error is None
    grown.same("id, rev, v, filename")
