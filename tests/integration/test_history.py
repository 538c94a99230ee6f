"""The history of runs: which runs count as a sync, and the history of older versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdpsync import maintain, project
from cdpsync.model import RunKind
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from support.shop import Shop

# The statements that turn the system tables of a version into those of the one before.
_TO_FORMAT = {
    4: "alter table lake.cdpsync.cursors drop column source_identity",
    3: "alter table lake.cdpsync.cursors drop column missing_since",
    2: "alter table lake.cdpsync.runs drop column kind",
    1: """
        alter table lake.cdpsync.cursors drop column deletes_at;
        alter table lake.cdpsync.cursors drop column columns;
        alter table lake.cdpsync.cursors drop column identity;
    """,
}


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """Ten orders that are due each hour, synced, and one row of them lost from the lake."""
    shop.pg.execute("create table orders as select i as id, i as v from generate_series(1, 10) i")
    shop.pg.execute("alter table orders add primary key (id)")
    options = {"mode": "incremental", "cursor_field": "v", "every": "1h"}
    shop.configure({"public.orders": options})
    shop.one()
    return shop


def lose_a_row(shop: Shop) -> None:
    with project.catalog_of(project.load(shop.file)).writer() as con:
        con.execute("delete from lake.shop.orders where id = 3")


def downgrade(shop: Shop, version: int) -> None:
    """Turn the system tables into those of an earlier version of cdpsync."""
    with project.catalog_of(project.load(shop.file)).writer() as con:
        for step in range(max(_TO_FORMAT), version - 1, -1):
            con.execute(_TO_FORMAT[step])
        con.execute(f"update lake.cdpsync.meta set format_version = {version}")


def kinds(shop: Shop) -> list[RunKind]:
    return [record.kind for record in project.history(project.load(shop.file))]


def test_repair_does_not_count_as_a_sync(orders: Shop) -> None:
    """A table that failed since and was repaired is due since, and was last synced before."""
    config = project.load(orders.file)
    (before,) = project.status(config)
    orders.pg.execute("alter table orders rename to elsewhere")
    orders.run()
    (failure, _) = project.history(config)
    orders.pg.execute("alter table elsewhere rename to orders")
    lose_a_row(orders)
    (verdict,) = verify(orders.file, repair=True)
    assert verdict.repaired == 1
    (after,) = project.status(config)
    assert (before.status, after.status) == ("ok", "failed")
    assert (after.last_success_at, after.next_due_at) == (
        before.last_success_at,
        failure.finished_at,
    )
    assert kinds(orders) == [RunKind.REPAIR, RunKind.RUN, RunKind.RUN]
    assert orders.one(due=True).status == "ok"
    (synced,) = project.status(config)
    assert synced.next_due_at == synced.last_success_at + synced.every
    assert orders.one(due=True).status == "skipped"


def test_table_whose_last_run_failed_is_due(orders: Shop) -> None:
    """The next run tries it again, whatever its interval; then it is not due again."""
    assert orders.one(due=True).status == "skipped"
    orders.pg.execute("alter table orders rename to elsewhere")
    orders.run()
    (failed,) = orders.run(due=True).tables
    assert failed.status == "failed"
    orders.pg.execute("alter table elsewhere rename to orders")
    assert orders.one(due=True).status == "ok"
    assert orders.one(due=True).status == "skipped"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_catalog_of_an_older_version_is_read_and_upgraded(orders: Shop, version: int) -> None:
    """`status`, `query` and the history read it as it is; the next run upgrades it."""
    lose_a_row(orders)
    verify(orders.file, repair=True)
    orders.run()
    config = project.load(orders.file)
    ids = [record.run_id for record in project.history(config)]
    downgrade(orders, version)
    (state,) = project.status(config)
    assert (state.status, state.rows) == ("ok", 10)
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    assert [record.run_id for record in project.history(config)] == ids
    orders.pg.execute("insert into orders values (11, 11)")
    assert orders.one().rows_inserted == 1
    assert kinds(orders) == [RunKind.RUN, RunKind.RUN, RunKind.REPAIR, RunKind.RUN]
    assert [record.run_id for record in project.history(config)][1:] == ids
    orders.same()


@pytest.mark.parametrize("version", [1, 2])
def test_maintain_upgrades_the_catalog_of_an_older_version(orders: Shop, version: int) -> None:
    """Upkeep needs no run before it; a preview of it changes nothing."""
    downgrade(orders, version)
    config = project.load(orders.file)
    maintain.maintain(config, dry_run=True)
    maintain.maintain(config)
    assert orders.one().rows_inserted == 0
    assert kinds(orders) == [RunKind.RUN, RunKind.RUN]


def test_status_names_the_cursor_before_a_first_run(shop: Shop) -> None:
    """It is the project file's, for a table whose mode uses one."""
    shop.pg.execute("create table orders (id int primary key); create table plans (id int)")
    defaults = {"mode": "incremental", "cursor_field": "id"}
    shop.configure({"public.orders": {}, "public.plans": {"mode": "full_table"}}, defaults=defaults)
    for _ in range(2):
        overviews = project.status(project.load(shop.file))
        assert {overview.table: overview.cursor_field for overview in overviews} == {
            "shop.orders": "id",
            "shop.plans": None,
        }
        shop.run()
