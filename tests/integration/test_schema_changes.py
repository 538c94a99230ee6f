"""Columns that come, go, change or change places between two runs, and tables made anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cdpsync import project
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from conftest import Shop

BASE = {"mode": "incremental", "cursor_field": "rev"}


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A table of two rows, loaded once."""
    shop.pg.execute("create table orders (id int primary key, n int, v text, rev int)")
    shop.pg.execute("insert into orders values (1, 10, 'a', 1), (2, 20, 'b', 2)")
    configure(shop)
    shop.one()
    return shop


def configure(shop: Shop, **more: Any) -> None:
    shop.configure({"public.orders": BASE | more})


CHANGES = {
    "added": ("alter table orders add w text", 'column "w" is new at the source (text)'),
    "dropped": ("alter table orders drop v", 'column "v" is gone at the source'),
    "renamed": ("alter table orders rename v to w",
                'column "v" is gone at the source (perhaps it is "w" now)'),
    "widened": ("alter table orders alter n type bigint",
                'column "n" was integer and is bigint at the source'),
    "narrowed": ("alter table orders alter n type smallint",
                 'column "n" was integer and is smallint at the source'),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_evolve_takes_a_change_and_tells_of_it_once(orders: Shop, kind: str) -> None:
    """The rows arrive, old ones keep what they had, and the history says what changed."""
    change, told = CHANGES[kind]
    orders.pg.execute(change)
    orders.pg.execute("insert into orders (id, n, rev) values (3, 30, 3)")
    result = orders.one()
    assert result.rows_inserted == 1
    assert told.split(" (")[0].split(" at the")[0] in "; ".join(result.notices)
    orders.same("id, n, rev")
    assert orders.one().notices == ()
    records = project.history(project.load(orders.file))
    assert [bool(record.result.notices) for record in records] == [False, True, False]


@pytest.mark.parametrize("rule", ["freeze", "ask"])
@pytest.mark.parametrize("kind", CHANGES)
def test_freeze_and_ask_stop_the_table(orders: Shop, kind: str, rule: str) -> None:
    """Nothing is read until the change is taken; the message says what changed and how."""
    change, told = CHANGES[kind]
    configure(orders, schema_changes=rule)
    assert orders.one().rows_inserted == 0
    orders.pg.execute(change)
    orders.pg.execute("insert into orders (id, n, rev) values (3, 30, 3)")
    (failed,) = orders.run().tables
    assert failed.error.type == "ContractError"
    assert told in failed.error.message
    assert ("--accept-changes" in failed.error.message) is (rule == "ask")
    assert orders.ask("select count(*) from shop.orders") == [(2,)]
    assert orders.one(accept_changes=True).rows_inserted == 1
    assert orders.one().rows_inserted == 0


def test_accept_changes_is_typed(orders: Shop) -> None:
    """As the message says it."""
    configure(orders, schema_changes="ask")
    orders.pg.execute("alter table orders add w text")
    assert orders.run().status is RunStatus.FAILED
    command = [str(Path(sys.executable).with_name("cdpsync")), "run", "shop.orders"]
    done = subprocess.run([*command, "--accept-changes"], cwd=orders.folder, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert orders.run().status is RunStatus.OK


def test_excluded_columns_may_change_as_they_like(orders: Shop) -> None:
    """What is not read is not frozen."""
    configure(orders, schema_changes="freeze", columns={"exclude": ["v"]})
    (failed,) = orders.run().tables
    assert "gone" in failed.error.message  # the project file left it out
    orders.one(accept_changes=True)
    orders.pg.execute("alter table orders drop v")
    configure(orders, schema_changes="freeze")
    orders.one()


def test_columns_in_another_order_are_the_same_columns(orders: Shop) -> None:
    """Their places mean nothing, in a frozen table either."""
    configure(orders, schema_changes="freeze")
    orders.pg.execute(
        "create table other (rev int, v text, id int primary key, n int);"
        "insert into other select rev, v, id, n from orders; drop table orders;"
        "alter table other rename to orders; insert into orders values (3, 'c', 3, 30)"
    )
    assert orders.one().rows_inserted == 1
    orders.same("id, n, v, rev")


@pytest.mark.parametrize("mode", ["incremental", "append_only"])
def test_table_made_anew_is_read_from_its_start(shop: Shop, mode: str) -> None:
    """Its rows are older than the cursor of the former one, and arrive all the same."""
    create = "create table orders (id int primary key, v text, rev int)"
    shop.pg.execute(create)
    shop.pg.execute("insert into orders select i, 'old', 100 + i from generate_series(1, 4) i")
    shop.configure({"public.orders": {"mode": mode, "cursor_field": "rev"}})
    shop.one()
    shop.pg.execute("drop table orders")
    shop.pg.execute(create)
    shop.pg.execute("insert into orders select i, 'new', i from generate_series(1, 3) i")
    result = shop.one()
    assert "made anew" in result.notices[-1]
    assert result.cursor_after.value == 3
    if mode == "incremental":
        shop.same()
    else:  # what was appended stays
        assert shop.ask("select v, count(*) from shop.orders group by 1 order by 1") == [
            ("new", 3), ("old", 4),
        ]  # fmt: skip
    shop.pg.execute("insert into orders values (9, 'new', 4)")
    assert shop.one().rows_inserted == 1
    assert shop.one().notices == ()


def test_swapped_table_that_goes_on_is_gone_on_with(orders: Shop) -> None:
    """One that was rebuilt beside the old one and renamed has newer rows: those are read."""
    orders.pg.execute(
        "create table other (like orders including all); insert into other table orders;"
        "drop table orders; alter table other rename to orders;"
        "insert into orders values (3, 30, 'c', 3)"
    )
    result = orders.one()
    assert (result.rows_inserted, result.rows_read) == (1, 2)
    orders.same()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("full_table", "incremental"),
        ("full_table", "append_only"),
        ("incremental", "full_table"),
        ("incremental", "append_only"),
        ("append_only", "incremental"),
        ("append_only", "full_table"),
    ],
)
def test_changed_mode_leaves_no_ghosts(shop: Shop, before: str, after: str) -> None:
    """Whatever the old mode had kept, the lake has what the new one says, and no row twice."""
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'a', i from generate_series(1, 5) i")
    for mode in (before, after):
        shop.configure({"public.orders": {"mode": mode, "cursor_field": "rev"}})
        shop.one()
        if mode == before:
            shop.pg.execute("insert into orders values (6, 'b', 6)")
    shop.same()
    assert shop.one().rows_in_table == 6
    shop.same()
