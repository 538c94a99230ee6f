"""What a run knows without asking again: a catalog read ahead, and how many rows a table has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdpsync import project
from cdpsync.catalog import CatalogFile, CatalogPrefetch, Lake
from cdpsync.model import TableName
from cdpsync.sync import session

if TYPE_CHECKING:
    from support.shop import Shop

_ORDERS = {"public.orders": {"mode": "incremental", "cursor_field": "rev"}}


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A table of three rows, loaded."""
    shop.pg.execute("create table orders (id int primary key, rev int)")
    shop.pg.execute("insert into orders values (1, 1), (2, 2), (3, 3)")
    shop.configure(_ORDERS)
    shop.one()
    return shop


def _catalog(shop: Shop) -> CatalogFile:
    return project.catalog_of(project.load(shop.file))


@pytest.fixture(params=["nothing", "log", "file"])
def changed(request: pytest.FixtureRequest) -> str:
    """What happens to the catalog after it was read ahead."""
    return str(request.param)


def test_catalog_that_was_read_ahead_is_never_an_old_one(orders: Shop, changed: str) -> None:
    """A commit meanwhile is seen, whether it lies in the catalog's log or in the file."""
    catalog = _catalog(orders)
    ahead = CatalogPrefetch(catalog)
    ahead.start()
    ahead.join()
    log = catalog.path.with_name(catalog.path.name + ".wal")
    crashed = {}
    if changed != "nothing":
        with catalog.writer() as con:
            con.execute("delete from lake.shop.orders where id = 2")
            crashed = {file: file.read_bytes() for file in (catalog.path, log)}
    if changed == "log":  # as a process leaves it that dies now
        assert crashed[log]
        for file, content in crashed.items():
            file.write_bytes(content)
    with ahead.reader() as (con, recorded):
        left = con.execute("select count(*) from lake.shop.orders").fetchone()
    assert left == ((3,) if changed == "nothing" else (2,))
    assert recorded.saved_states
    assert (recorded.tables[TableName("shop", "orders")].rows == 3) is (changed == "nothing")
    ahead.close()


def test_version_differs_with_each_commit(orders: Shop) -> None:
    """So that no reader is taken for one of now that is of before."""
    catalog = _catalog(orders)
    versions = {catalog.version()}
    for number in range(3):
        orders.pg.execute(f"insert into orders values (1{number}, 1{number})")
        orders.one()
        versions.add(catalog.version())
    assert len(versions) == 4


def test_run_that_commits_between_reading_ahead_and_the_locks_is_heeded(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is made of what the catalog says once the tables are locked."""
    orders.pg.execute("insert into orders values (4, 4)")
    join = CatalogPrefetch.join

    def late(ahead: CatalogPrefetch) -> None:
        join(ahead)
        monkeypatch.setattr(CatalogPrefetch, "join", join)
        assert orders.one().rows_inserted == 1  # another run, from start to end

    monkeypatch.setattr(CatalogPrefetch, "join", late)
    second = orders.one()
    assert (second.rows_inserted, second.rows_in_table) == (0, 4)
    assert second.cursor_before is not None
    assert second.cursor_before.value == 4
    orders.same()


def test_rows_of_a_quiet_table_are_counted_once_somebody_else_wrote(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history knows the count as long as cdpsync alone writes; then the table is asked."""
    counted: list[str] = []
    rows = Lake.rows
    monkeypatch.setattr(
        Lake, "rows", lambda lake, table: counted.append(table) or rows(lake, table)
    )
    assert orders.one().rows_in_table == 3
    assert not counted
    with _catalog(orders).writer() as con:
        con.execute("insert into lake.shop.orders values (99, 0)")
    assert orders.one().rows_in_table == 4
    assert counted


def test_maintenance_and_failures_leave_the_count_known(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upkeep, a repair or a failed run are no other writers."""
    from cdpsync.maintain.maintenance import maintain

    for number in range(4, 8):
        orders.pg.execute(f"insert into orders values ({number}, {number})")
        orders.one()
    list(maintain(project.load(orders.file)))
    monkeypatch.setattr(Lake, "rows", None)
    assert orders.one().rows_in_table == 7


def test_connections_ahead_are_used_and_not_left(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection with the source's extension is made ahead of the run, and is the one used."""
    from cdpsync import engine

    made: list[tuple[str, ...]] = []
    connect = engine._connect

    def seen(wanted: tuple[str, ...], *args: object, **more: object) -> object:
        made.append(tuple(wanted))
        return connect(wanted, *args, **more)

    monkeypatch.setattr(engine, "_connect", seen)
    assert session.engine is engine
    orders.one()
    assert made.count(("postgres_scanner",)) == 1
    assert not engine._preconnected
