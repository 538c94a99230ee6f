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
    """The change of the catalog after the prefetch."""
    return str(request.param)


def test_prefetched_catalog_is_never_an_old_one(orders: Shop, changed: str) -> None:
    """A later commit is seen, whether it is in the catalog's log or in the file."""
    catalog = _catalog(orders)
    prefetch = CatalogPrefetch(catalog)
    prefetch.start()
    prefetch.join()
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
    with prefetch.reader() as (con, state):
        count = con.execute("select count(*) from lake.shop.orders").fetchone()
    assert count == ((3,) if changed == "nothing" else (2,))
    assert state.saved_states
    assert (state.tables[TableName("shop", "orders")].rows == 3) is (changed == "nothing")
    prefetch.close()


def test_version_differs_with_each_commit(orders: Shop) -> None:
    """So that an old reader is never used as a current one."""
    catalog = _catalog(orders)
    versions = {catalog.version()}
    for number in range(3):
        orders.pg.execute(f"insert into orders values (1{number}, 1{number})")
        orders.one()
        versions.add(catalog.version())
    assert len(versions) == 4


def test_commit_between_the_prefetch_and_the_locks_is_seen(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan uses the catalog's state after the tables are locked."""
    orders.pg.execute("insert into orders values (4, 4)")
    join = CatalogPrefetch.join

    def late_join(prefetch: CatalogPrefetch) -> None:
        join(prefetch)
        monkeypatch.setattr(CatalogPrefetch, "join", join)
        assert orders.one().rows_inserted == 1  # another run, from start to end

    monkeypatch.setattr(CatalogPrefetch, "join", late_join)
    second = orders.one()
    assert (second.rows_inserted, second.rows_in_table) == (0, 4)
    assert second.cursor_before is not None
    assert second.cursor_before.value == 4
    orders.same()


def test_rows_of_an_unchanged_table_are_counted_if_another_program_wrote(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history has the count as long as only cdpsync writes; then the table is counted."""
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


def test_preconnected_connections_are_used_and_none_stays(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection with the source's extension opens before the run, which uses it."""
    from cdpsync import engine

    opened: list[tuple[str, ...]] = []
    connect = engine._connect

    def recorded(extensions: tuple[str, ...], *args: object, **options: object) -> object:
        opened.append(tuple(extensions))
        return connect(extensions, *args, **options)

    monkeypatch.setattr(engine, "_connect", recorded)
    assert session.engine is engine
    orders.one()
    assert opened.count(("postgres_scanner",)) == 1
    assert not engine._preconnected
