"""Columns that are added, dropped, retyped or reordered between runs, and recreated tables."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from support import commands

from cdpsync import project
from cdpsync.errors import ConfigError
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


def configure(shop: Shop, **options: Any) -> None:
    shop.configure({"public.orders": BASE | options})


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


def configure_each(shop: Shop, **options: Any) -> None:
    """Let the project have a table for each kind of change."""
    shop.configure({f"public.{kind}": BASE | options for kind in CHANGES})


def change_each(shop: Shop) -> None:
    """Change each table in its way, and add a row."""
    for kind, (change, _) in CHANGES.items():
        shop.pg.execute(change.replace("orders", kind))
        shop.pg.execute(f"insert into {kind} (id, n, rev) values (3, 30, 3)")


@pytest.fixture
def changing(shop: Shop) -> Shop:
    """A table of two rows for each kind of change, loaded once."""
    for kind in CHANGES:
        shop.pg.execute(f"create table {kind} (id int primary key, n int, v text, rev int)")
        shop.pg.execute(f"insert into {kind} values (1, 10, 'a', 1), (2, 20, 'b', 2)")
    configure_each(shop)
    assert shop.each().keys() == CHANGES.keys()
    return shop


def test_evolve_accepts_a_change_and_notices_it_once(changing: Shop) -> None:
    """New rows arrive, old rows keep their values, and the history says what changed."""
    change_each(changing)
    results = changing.each()
    for kind, (_, message) in CHANGES.items():
        assert results[kind].rows_inserted == 1, kind
        notices = "; ".join(results[kind].notices)
        assert message.split(" (")[0].split(" at the")[0] in notices, kind
        changing.same("id, n, rev", stream=kind, table=f"shop.{kind}")
    assert {result.notices for result in changing.each().values()} == {()}
    records = project.history(project.load(changing.file))
    for kind in CHANGES:
        results_of = [record.result for record in records if record.result.table.name == kind]
        assert [bool(result.notices) for result in results_of] == [False, True, False], kind


@pytest.mark.parametrize("rule", ["freeze", "ask"])
def test_freeze_and_ask_stop_the_table(changing: Shop, rule: str) -> None:
    """Nothing is read until the change is accepted; the message says what changed."""
    configure_each(changing, schema_changes=rule)
    assert not any(result.rows_inserted for result in changing.each().values())
    change_each(changing)
    for failed in changing.run().tables:
        kind = failed.table.name
        assert failed.error.type == "ContractError", kind
        assert CHANGES[kind][1] in failed.error.message
        assert ("--accept-changes" in failed.error.message) is (rule == "ask")
        assert changing.ask(f"select count(*) from shop.{kind}") == [(2,)]
    accepted = changing.each(accept_changes=True)
    assert {kind: result.rows_inserted for kind, result in accepted.items()} == dict.fromkeys(
        CHANGES, 1
    )
    assert not any(result.rows_inserted for result in changing.each().values())


def test_command_in_the_message_accepts_the_change(orders: Shop) -> None:
    """`cdpsync run TABLE --accept-changes` loads the table, and later runs go on."""
    configure(orders, schema_changes="ask")
    orders.pg.execute("alter table orders add w text")
    assert orders.run().status is RunStatus.FAILED
    process = commands.run("run", "shop.orders", "--accept-changes", cwd=orders.folder)
    assert process.returncode == 0, process.stderr
    assert orders.run().status is RunStatus.OK


def test_excluded_columns_may_change(orders: Shop) -> None:
    """Columns that are not read are not frozen."""
    configure(orders, schema_changes="freeze", columns={"exclude": ["v"]})
    (failed,) = orders.run().tables
    assert "gone" in failed.error.message  # the project file left it out
    orders.one(accept_changes=True)
    orders.pg.execute("alter table orders drop v")
    configure(orders, schema_changes="freeze")
    orders.one()


def test_order_of_columns_is_no_change(orders: Shop) -> None:
    """Columns in another order do not stop a frozen table."""
    configure(orders, schema_changes="freeze")
    orders.pg.execute(
        "create table other (rev int, v text, id int primary key, n int);"
        "insert into other select rev, v, id, n from orders; drop table orders;"
        "alter table other rename to orders; insert into orders values (3, 'c', 3, 30)"
    )
    assert orders.one().error is None
    orders.same("id, n, v, rev")


def test_existing_rows_are_not_added_again_with_a_new_column(shop: Shop) -> None:
    """The source fills the column in all rows; rows of the window are still the same rows."""
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


def test_existing_rows_are_not_added_again_with_several_new_columns(shop: Shop) -> None:
    """Some rows were loaded before all of the columns, some between two of them."""
    shop.pg.execute("create table orders (n int, rev int)")
    shop.pg.execute("insert into orders values (1, 1), (2, null)")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "rev", "lookback": 9}})
    shop.one()
    for column in ("a", "b", "c"):
        shop.pg.execute(f"alter table orders add column {column} text default '{column}'")
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
def test_recreated_table_is_read_from_its_start(shop: Shop, mode: str) -> None:
    """Its rows arrive although they are below the cursor of the former table."""
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
    else:  # appended rows stay
        assert shop.ask("select v, count(*) from shop.orders group by 1 order by 1") == [
            ("new", 3), ("old", 4),
        ]  # fmt: skip
    shop.pg.execute("insert into orders values (9, 'new', 4)")
    assert shop.one().rows_inserted == 1
    assert shop.one().notices == ()


@pytest.mark.parametrize("mode", ["incremental", "append_only"])
def test_swapped_table_is_read_from_its_start(shop: Shop, mode: str) -> None:
    """A rebuilt table may have other rows below the old cursor, so it is not continued."""
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
    else:  # rows that the lake has are not appended again
        assert result.rows_inserted == 2
        assert shop.ask("select id, v from shop.orders order by all") == [
            (1, "same"), (2, "other"), (2, "same"), (3, "same"), (4, "same"), (9, "new"),
        ]  # fmt: skip
    assert shop.one().notices == ()


def test_changed_mode_leaves_no_stale_rows(shop: Shop) -> None:
    """The lake has the rows of the new mode, and no row twice: from each mode to each other."""
    modes = ("full_table", "incremental", "append_only")
    changes = {f"{a}_to_{b}": (a, b) for a, b in itertools.permutations(modes, 2)}
    for table in changes:
        shop.pg.execute(f"create table {table} (id int primary key, v text, rev int)")
        shop.pg.execute(f"insert into {table} select i, 'a', i from generate_series(1, 5) i")
    for number in (0, 1):
        options = {table: {"mode": pair[number]} for table, pair in changes.items()}
        shop.configure(
            {f"public.{table}": {**options[table], "cursor_field": "rev"} for table in changes}
        )
        shop.each()
        if number == 0:
            for table in changes:
                shop.pg.execute(f"insert into {table} values (6, 'b', 6)")
    shop.all_same(*changes)
    assert {table: result.rows_in_table for table, result in shop.each().items()} == dict.fromkeys(
        changes, 6
    )
    shop.all_same(*changes)


@pytest.mark.parametrize("change", [
    "alter table orders drop constraint orders_pkey",
    "alter table orders rename to base; create view orders as select * from base",
])  # fmt: skip
def test_key_of_the_last_run_is_used_where_the_source_has_none(orders: Shop, change: str) -> None:
    """The lake knows the key of its rows. A notice says that the source no longer declares it."""
    orders.pg.execute(change)
    orders.pg.execute("update orders set n = 21, rev = 3 where id = 2")
    result = orders.one()
    assert 'add "primary_key: [id]"' in "; ".join(result.notices)
    orders.same()


def test_source_whose_name_a_query_could_not_use_is_refused(orders: Shop) -> None:
    """A lake that has tables of that source keeps working, and says how to name them."""
    config = json.loads(orders.file.read_text())
    config["sources"]["memory"] = config["sources"].pop("shop")
    orders.file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="ambiguous"):
        orders.run()
