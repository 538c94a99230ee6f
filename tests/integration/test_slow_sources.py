"""Slow sources and wide tables: the run ends, with all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.faults import FaultProxy

from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from support.shop import Shop


def through(shop: Shop, proxy: FaultProxy, tables: dict[str, dict[str, str]]) -> None:
    """Configure the project so that it reaches its source through a proxy."""
    shop.configure(tables, url=shop.pg.url.replace(f":{shop.pg.port}/", f":{proxy.port}/"))


def test_source_that_trickles_is_read_to_its_end(shop: Shop) -> None:
    """A source that sends a kilobyte a second is slow but alive, so no timeout ends the read."""
    shop.pg.execute("create table orders as select i as id, md5(i::text) as v "
                    "from generate_series(1, 40) i")  # fmt: skip
    with FaultProxy(shop.pg.port) as proxy:
        through(shop, proxy, {"public.orders": {}})
        proxy.rate = 1 << 10
        assert shop.run().status is RunStatus.OK
    shop.same()


def test_tables_with_the_most_columns_that_postgres_allows(shop: Shop) -> None:
    """1,000 and 1,600 columns arrive, and arrive again when they change."""
    for count in (1000, 1600):
        columns = ", ".join(f"c{number} int" for number in range(1, count))
        shop.pg.execute(f"create table wide{count} (id int primary key, {columns})")
        shop.pg.execute(f"insert into wide{count} (id, c1, c{count - 1}) values (1, 2, 3)")
    mode = {"mode": "incremental", "cursor_field": "c1"}
    shop.configure({"public.wide1000": mode, "public.wide1600": mode})
    assert shop.run().status is RunStatus.OK
    shop.pg.execute("update wide1600 set c1 = 5, c1599 = 7")
    assert shop.run().status is RunStatus.OK
    for count in (1000, 1600):
        name = f"wide{count}"
        shop.same(stream=f"public.{name}", table=f"shop.{name}")
    assert shop.ask("select c1599 from shop.wide1600") == [(7,)]
