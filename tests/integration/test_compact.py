"""A run compacts the tables it adds to: few files, no changed row, and never a failed run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from cdpsync import maintain, project
from cdpsync.errors import CatalogError
from cdpsync.maintain import compact

if TYPE_CHECKING:
    from support.shop import Shop

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
def lake(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A lake with three small commits; the fourth makes enough small files to compact."""
    monkeypatch.setattr(compact, "_MIN_SMALL_FILES", 4)
    shop.pg.execute("create table orders (id int primary key, rev int, v text)")
    shop.pg.execute("create table events (kind text, rev int)")
    shop.configure(TABLES)
    for number in range(3):
        change(shop, number)
        assert all(result.error is None for result in shop.run().tables)
    assert files(shop, "orders") == 3
    return shop


@STORES
@pytest.mark.usefixtures("all_cores")
def test_many_small_files_become_one(lake: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The result of the run, every row and every older snapshot are as without compaction."""
    before = lake.ask("select count(*), sum(rev) from shop.orders")
    (snapshot,) = lake.ask("select max(snapshot_id) from lake.snapshots()")[0]
    change(lake, 3)
    with caplog.at_level(logging.INFO, "cdpsync.maintain.compact"):
        results = {result.table: result for result in lake.run().tables}
    assert "shop.orders: 4 files of" in caplog.text
    assert results["shop.orders"].rows_inserted == 100
    assert results["shop.orders"].rows_updated == 30
    assert files(lake, "orders") == files(lake, "events") == 1
    lake.same()
    lake.same(stream="public.events", table="shop.events")
    config = project.load(lake.file)
    with project.open_query(
        config, "select count(*), sum(rev) from shop.orders", at=str(snapshot)
    ) as old:
        assert list(old.rows()) == before
    again = {result.table: result for result in lake.run().tables}
    assert all(result.rows_inserted + result.rows_updated == 0 for result in again.values())


def test_compacted_file_is_compacted_again(lake: Shop) -> None:
    """With the small files that later runs add to it."""
    for number in range(3, 7):  # the first and the last of these compact
        change(lake, number)
        assert all(result.error is None for result in lake.run().tables)
    lake.same()
    lake.same(stream="public.events", table="shop.events")
    assert files(lake, "orders") < 4


def test_files_with_many_deleted_rows_are_rewritten(
    lake: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of whose rows more than a fifth is deleted is rewritten without them."""
    monkeypatch.setattr(compact, "_SMALL_FILE", 0)
    lake.pg.execute("update orders set rev = 3 where rev < 2")
    assert lake.one("shop.orders").rows_updated > 150
    assert files(lake, "orders") == 2
    lake.same()


def test_compaction_that_fails_is_a_warning(
    lake: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run succeeds, and maintenance removes the files that the compaction left."""

    def refused(*_: object) -> None:
        raise CatalogError("the catalog refused.")

    change(lake, 3)
    with monkeypatch.context() as patch:
        patch.setattr(compact, "_replace", refused)
        assert all(result.error is None for result in lake.run().tables)
    assert "shop.orders: its small files stay as they are: the catalog refused." in caplog.text
    assert files(lake, "orders") == 4
    lake.same()
    steps = {step.step: step.count for step in maintain.maintain(project.load(lake.file))}
    assert steps["orphans"] == 2
    lake.same()


def test_table_with_a_column_called_filename_is_not_compacted(lake: Shop) -> None:
    """Its own column hides the file of each row."""
    lake.pg.execute("alter table orders add column filename text")
    change(lake, 3)
    assert lake.run("shop.orders").tables[0].error is None
    lake.same("id, rev, v, filename")
