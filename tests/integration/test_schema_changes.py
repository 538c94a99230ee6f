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
    from support.shop import Shop

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
    assert orders.one().error is None
    orders.same("id, n, v, rev")


def test_rows_that_landed_do_not_land_again_with_a_new_column(shop: Shop) -> None:
    """The source fills it into all rows; those of the window are the same rows still."""
    shop.pg.execute(
        "create table orders (n int, rev int);"
        "insert into orders values (1, 1), (1, null), (2, 5), (2, 5), (3, null)"
    )
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "rev", "lookback": 9}})
    shop.one()
    shop.pg.execute("alter table orders add column of_n int not null default 7")
    shop.pg.execute("insert into orders values (2, 5, 8), (4, 6, 9), (3, null, 9)")
    assert shop.one().rows_inserted == 3
    counted = "select n, rev, count(*), count(of_n) from shop.orders group by all order by all"
    assert shop.ask(counted) == [
        (1, 1, 1, 0), (1, None, 1, 0), (2, 5, 3, 1), (3, None, 2, 1), (4, 6, 1, 1),
    ]  # fmt: skip
    assert shop.one().rows_inserted == 0


def test_rows_that_landed_do_not_land_again_with_one_new_column_after_another(shop: Shop) -> None:
    """Some landed before both, some between them."""
    shop.pg.execute("create table orders (n int, rev int)")
    shop.pg.execute("insert into orders values (1, 1), (2, null)")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "rev", "lookback": 9}})
    shop.one()
    for more in ("a", "b", "c"):
        shop.pg.execute(f"alter table orders add column {more} text default '{more}'")
        shop.pg.execute(
            "insert into orders (n, rev) select max(n) + 1, 5 from orders;"
            "insert into orders (n) select max(n) + 1 from orders"
        )
        assert shop.one().rows_inserted == 2
        assert shop.one().rows_inserted == 0
    assert shop.ask("select count(*), count(distinct n), count(a), count(c) from shop.orders") == [
        (8, 8, 6, 2)
    ]


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
    assert "created again" in result.notices[-1]
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


@pytest.mark.parametrize("mode", ["incremental", "append_only"])
def test_swapped_table_is_read_from_its_start(shop: Shop, mode: str) -> None:
    """One that was rebuilt, even past the old cursor, may have other rows below it."""
    create = "create table other (id int primary key, v text, rev int)"
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'same', i from generate_series(1, 4) i")
    shop.configure({"public.orders": {"mode": mode, "cursor_field": "rev"}})
    shop.one()
    shop.pg.execute(create)
    shop.pg.execute("insert into other values (1, 'same', 1), (2, 'other', 2), (9, 'new', 9)")
    shop.pg.execute("insert into other select * from orders where id > 2")
    shop.pg.execute("drop table orders; alter table other rename to orders")
    result = shop.one()
    assert "created again" in result.notices[-1]
    assert (result.rows_read, result.cursor_after.value) == (5, 9)
    if mode == "incremental":
        shop.same()
    else:  # what is there already does not come twice
        assert result.rows_inserted == 2
        assert shop.ask("select id, v from shop.orders order by all") == [
            (1, "same"), (2, "other"), (2, "same"), (3, "same"), (4, "same"), (9, "new"),
        ]  # fmt: skip
    assert shop.one().notices == ()


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
