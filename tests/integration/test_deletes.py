"""Rows deleted at the source: kept, removed or marked, as the project file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cdpsync.model import RunStatus, TableStatus

if TYPE_CHECKING:
    from support.shop import Shop

MARKS = "select id, _deleted_at is not null from shop.orders order by id"


def configure(shop: Shop, deletes: str, **more: Any) -> None:
    """Configure `deletes` for the table of orders."""
    options = {"mode": "incremental", "cursor_field": "rev", "deletes": deletes, **more}
    shop.configure({"public.orders": options})


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A table of ten rows at the source."""
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'v' || i, i from generate_series(1, 10) i")
    return shop


def test_hard_removes_rows_deleted_at_the_source(orders: Shop) -> None:
    """Rows are removed whatever their cursor, and counted as deleted."""
    configure(orders, "hard")
    orders.one()
    orders.pg.execute("delete from orders where id in (2, 9)")
    orders.pg.execute("update orders set v = 'new', rev = 11 where id = 3")
    orders.pg.execute("insert into orders values (12, 'x', 12)")
    result = orders.one()
    assert (result.rows_inserted, result.rows_updated, result.rows_deleted) == (1, 1, 2)
    assert result.rows_in_table == 9
    orders.same()
    again = orders.one()
    assert (again.rows_inserted, again.rows_updated, again.rows_deleted) == (0, 0, 0)
    assert again.bytes_written == 0


def test_soft_marks_deleted_rows_and_unmarks_restored_ones(orders: Shop) -> None:
    """A marked row keeps its values. A restored row loses the mark, even if it is unchanged."""
    configure(orders, "soft")
    orders.one()
    assert not any(marked for _, marked in orders.ask(MARKS))
    orders.pg.execute("create table away as select * from orders where id in (2, 9)")
    orders.pg.execute("delete from orders where id in (2, 9)")
    result = orders.one()
    assert (result.rows_inserted, result.rows_updated, result.rows_deleted) == (0, 0, 2)
    assert result.rows_in_table == 10
    assert [id_ for id_, marked in orders.ask(MARKS) if marked] == [2, 9]
    assert orders.ask("select v from shop.orders where id = 9") == [("v9",)]
    assert orders.one().rows_deleted == 0
    orders.pg.execute("insert into orders select * from away where id = 2")
    orders.pg.execute("insert into orders values (9, 'again', 20)")
    assert orders.one().rows_updated == 2
    assert not any(marked for _, marked in orders.ask(MARKS))
    orders.same("id, v, rev")


def test_reload_of_a_soft_table_keeps_marked_rows(orders: Shop) -> None:
    """Marked rows and those deleted since are marked, all of them where the table was swapped for
    another; a changed `where` marks no row. A load of less than half of the rows is refused."""
    configure(orders, "soft")
    orders.one()
    orders.pg.execute("delete from orders where id = 2")
    assert orders.one().rows_deleted == 1
    orders.pg.execute("delete from orders where id = 9")
    orders.one(full_refresh=True)
    assert [id_ for id_, marked in orders.ask(MARKS) if marked] == [2, 9]
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    orders.pg.execute("delete from orders where id > 3")
    with pytest.raises(AssertionError, match="more than half"):
        orders.one(full_refresh=True)
    orders.pg.execute("insert into orders select i, 'v' || i, i from generate_series(4, 8) i")
    configure(orders, "soft", where="id <> 1")
    orders.one()
    assert orders.ask(MARKS) == [(i, i in {2, 9}) for i in (2, 3, 4, 5, 6, 7, 8, 9)]
    orders.pg.execute("create table other as select id + 100 as id, v, rev from orders")
    orders.pg.execute("alter table other add primary key (id)")
    orders.pg.execute("drop table orders")
    orders.pg.execute("alter table other rename to orders")
    orders.one()
    assert [i for i, marked in orders.ask(MARKS) if not marked] == [101, *range(103, 109)]


def test_soft_adds_the_mark_to_an_existing_table(orders: Shop) -> None:
    """A table that was loaded without marks gets the column, and its deleted rows get a mark."""
    configure(orders, "ignore")
    orders.one()
    orders.pg.execute("delete from orders where id = 1")
    assert orders.one().rows_deleted == 0
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    configure(orders, "soft")
    assert orders.one().rows_deleted == 1
    assert [id_ for id_, marked in orders.ask(MARKS) if marked] == [1]


def test_hard_after_soft_removes_marked_rows(orders: Shop) -> None:
    """When `deletes` changes, no marked row stays."""
    configure(orders, "soft")
    orders.one()
    orders.pg.execute("delete from orders where id < 3")
    orders.one()
    configure(orders, "hard")
    assert orders.one().rows_deleted == 2
    orders.same("id, v, rev")


@pytest.mark.parametrize(("deletes", "remaining"), [("hard", 0), ("soft", 4)])
def test_loss_of_most_rows_is_an_error_until_it_is_allowed(
    orders: Shop, deletes: str, remaining: int
) -> None:
    """An emptied or shrunken table at the source does not empty the lake's."""
    configure(orders, deletes)
    orders.one()
    orders.pg.execute(f"delete from orders where id > {remaining}")
    (failed,) = orders.run().tables
    assert failed.status is TableStatus.FAILED
    assert f"{10 - remaining} of its 10 rows" in failed.error.message
    assert "--allow-shrink" in failed.error.message
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    assert orders.one(allow_shrink=True).rows_deleted == 10 - remaining


def test_keys_are_compared_every_deletes_every(orders: Shop) -> None:
    """Between two comparisons deleted rows stay, and runs read no keys."""
    configure(orders, "hard", deletes_every="1h")
    orders.one()
    orders.pg.execute("delete from orders where id = 1")
    assert orders.one().rows_deleted == 0
    configure(orders, "hard", deletes_every="1s")
    orders.pg.execute("select pg_sleep(1.2)")
    assert orders.one().rows_deleted == 1
    orders.same()


def test_composite_and_null_keys_are_compared_whole(shop: Shop) -> None:
    """A row whose key shares one column with a deleted key, or has a NULL, stays."""
    shop.pg.execute("create table orders (a int, b text, rev int, unique (a, b))")
    shop.pg.execute("insert into orders values (1, 'x', 1), (1, null, 1), (2, 'x', 1), (2, 'y', 1)")
    configure(shop, "hard", primary_key=["a", "b"])
    shop.one()
    shop.pg.execute("delete from orders where a = 1 and b is null")
    assert shop.one().rows_deleted == 1
    shop.same()


def test_row_that_no_longer_passes_where_is_deleted(orders: Shop) -> None:
    """For the table, such a row does not exist at the source."""
    configure(orders, "hard", where="v <> 'gone'")
    orders.one()
    orders.pg.execute("update orders set v = 'gone' where id = 5")
    assert orders.one().rows_deleted == 1
    assert orders.ask("select count(*) from shop.orders where id = 5") == [(0,)]


@pytest.mark.parametrize("mode", ["append_only", "full_table"])
def test_soft_needs_incremental(orders: Shop, mode: str) -> None:
    """Other modes do not find rows by their key. The message says what to do."""
    configure(orders, "soft", mode=mode)
    result = orders.run()
    assert result.status is RunStatus.FAILED
    assert "needs mode: incremental" in result.tables[0].error.message
