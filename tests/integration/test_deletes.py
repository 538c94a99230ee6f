"""Rows that leave the source: kept, removed, or marked, as the project file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cdpsync.model import RunStatus, TableStatus

if TYPE_CHECKING:
    from support.shop import Shop

MARKS = "select id, _deleted_at is not null from shop.orders order by id"


def configure(shop: Shop, deletes: str, **more: Any) -> None:
    """Say what becomes of rows that leave."""
    said = {"mode": "incremental", "cursor_field": "rev", "deletes": deletes, **more}
    shop.configure({"public.orders": said})


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A table of ten rows at the source."""
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'v' || i, i from generate_series(1, 10) i")
    return shop


def test_hard_removes_what_left(orders: Shop) -> None:
    """Rows deleted at the source leave the lake, whatever their cursor; counts say so."""
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


def test_soft_marks_what_left_and_unmarks_what_is_back(orders: Shop) -> None:
    """A marked row keeps its values; one that comes back, even unchanged, loses the mark."""
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


def test_soft_of_an_older_table_adds_the_mark(orders: Shop) -> None:
    """A table that was kept without marks gets the column, and its gone rows their mark."""
    configure(orders, "ignore")
    orders.one()
    orders.pg.execute("delete from orders where id = 1")
    assert orders.one().rows_deleted == 0
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    configure(orders, "soft")
    assert orders.one().rows_deleted == 1
    assert [id_ for id_, marked in orders.ask(MARKS) if marked] == [1]


def test_hard_after_soft_removes_what_was_marked(orders: Shop) -> None:
    """No ghost stays of a table whose deletes changed."""
    configure(orders, "soft")
    orders.one()
    orders.pg.execute("delete from orders where id < 3")
    orders.one()
    configure(orders, "hard")
    assert orders.one().rows_deleted == 2
    orders.same("id, v, rev")


@pytest.mark.parametrize("deletes", ["hard", "soft"])
@pytest.mark.parametrize("left", [0, 4])
def test_most_rows_gone_is_an_error_until_it_is_allowed(
    orders: Shop, deletes: str, left: int
) -> None:
    """An emptied or shrunken source does not empty the lake."""
    configure(orders, deletes)
    orders.one()
    orders.pg.execute(f"delete from orders where id > {left}")
    (failed,) = orders.run().tables
    assert failed.status is TableStatus.FAILED
    assert f"{10 - left} of its 10 rows" in failed.error.message
    assert "--allow-shrink" in failed.error.message
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    assert orders.one(allow_shrink=True).rows_deleted == 10 - left


def test_keys_are_compared_as_often_as_is_said(orders: Shop) -> None:
    """Between two comparisons rows that left stay, and the runs read no keys."""
    configure(orders, "hard", deletes_every="1h")
    orders.one()
    orders.pg.execute("delete from orders where id = 1")
    assert orders.one().rows_deleted == 0
    configure(orders, "hard", deletes_every="1s")
    orders.pg.execute("select pg_sleep(1.2)")
    assert orders.one().rows_deleted == 1
    orders.same()


def test_composite_and_null_keys_leave_alone_what_is_there(shop: Shop) -> None:
    """Keys of several columns, some NULL, are compared whole."""
    shop.pg.execute("create table orders (a int, b text, rev int, unique (a, b))")
    shop.pg.execute("insert into orders values (1, 'x', 1), (1, null, 1), (2, 'x', 1), (2, 'y', 1)")
    configure(shop, "hard", primary_key=["a", "b"])
    shop.one()
    shop.pg.execute("delete from orders where a = 1 and b is null")
    assert shop.one().rows_deleted == 1
    shop.same()


def test_where_decides_which_keys_there_are(orders: Shop) -> None:
    """A row that no longer passes `where` has left, as far as the table is concerned."""
    configure(orders, "hard", where="v <> 'gone'")
    orders.one()
    orders.pg.execute("update orders set v = 'gone' where id = 5")
    assert orders.one().rows_deleted == 1
    assert orders.ask("select count(*) from shop.orders where id = 5") == [(0,)]


@pytest.mark.parametrize("mode", ["append_only", "full_table"])
def test_soft_needs_incremental(orders: Shop, mode: str) -> None:
    """Where no row is found again by its key, none can be marked; the message says what to do."""
    configure(orders, "soft", mode=mode)
    result = orders.run()
    assert result.status is RunStatus.FAILED
    assert "needs mode: incremental" in result.tables[0].error.message
