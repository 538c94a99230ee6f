"""The three modes against a real Postgres, in every kind of store, compared row for row."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.shop import Shop

    from cdpsync.model import TableResult

pytestmark = pytest.mark.parametrize("shop", ["folder", "s3", "gcs"], indirect=True)

ORDERS = """
    create table {table} (
        id bigint primary key, customer text, amount numeric(10,2), {cursor} {type}
    );
"""

# Three rounds of cursor values for each type: a boundary value that comes again, and later ones.
CURSORS = {
    "by_integer": ("rev", "bigint", ["1", "2", "2"], ["2", "3"], ["3", "7"]),
    "by_date": ("day", "date", ["'2024-01-01'", "'2024-01-02'", "'2024-01-02'"],
             ["'2024-01-02'", "'2024-01-03'"], ["'2024-01-03'", "'2024-02-01'"]),
    "by_timestamp": ("at", "timestamp",
                  ["'2024-01-01 10:00:00.000001'", "'2024-01-01 10:00:00.000002'"] * 2,
                  ["'2024-01-01 10:00:00.000002'", "'2024-01-01 10:00:00.000003'"],
                  ["'2024-01-01 10:00:00.000003'", "'2025-01-01'"]),
    "by_timestamptz": ("updated_at", "timestamptz",
                    ["'2024-03-31 01:59:59.999999+01'", "'2024-03-31 03:00:00+02'"] * 2,
                    ["'2024-03-31 03:00:00+02'", "'2024-03-31 03:00:00.5+02'"],
                    ["'2024-03-31 03:00:00.5+02'", "'2024-10-27 02:30:00+01'"]),
}  # fmt: skip


def configure_each(shop: Shop, mode: str) -> None:
    """Let the project have a table for each type of cursor."""
    options = {kind: {"mode": mode, "cursor_field": name} for kind, (name, *_) in CURSORS.items()}
    shop.configure({f"public.{kind}": options[kind] for kind in CURSORS})


def results_of(shop: Shop) -> dict[str, TableResult]:
    """Run; each table then has the source's rows. Return their results."""
    results = {result.table.name: result for result in shop.run().tables}
    assert {name: result.error for name, result in results.items()} == dict.fromkeys(CURSORS)
    shop.all_same(*CURSORS)
    return results


def test_incremental_follows_the_source_through_three_runs(shop: Shop) -> None:
    """Inserts, updates, ties at the boundary and NULL cursors all arrive, each exactly once.

    A table for each type of cursor.
    """
    for kind, (cursor, type_, first, _, _) in CURSORS.items():
        shop.pg.execute(ORDERS.format(table=kind, cursor=cursor, type=type_))
        for number, value in enumerate(first):
            shop.pg.execute(f"""insert into {kind} values
                ({number}, 'first', {number}.10, {value})""")
        shop.pg.execute(f"insert into {kind} values (90, 'no cursor', 1, null)")
    configure_each(shop, "incremental")
    for kind, result in results_of(shop).items():
        rows = len(CURSORS[kind][2]) + 1
        assert (result.rows_read, result.rows_inserted) == (rows, rows)
        assert result.cursor_before is None

    for kind, (cursor, _, _, second, _) in CURSORS.items():
        shop.pg.execute(f"""
            insert into {kind} values (100, 'tie', 5, {second[0]});
            update {kind} set customer = 'changed', {cursor} = {second[1]} where id = 1;
            insert into {kind} values (91, 'no cursor either', 1, null);
            update {kind} set customer = 'changed too' where id = 90
        """)
    for kind, result in results_of(shop).items():
        assert (result.rows_inserted, result.rows_updated) == (2, 2), kind
        assert result.rows_in_table == len(CURSORS[kind][2]) + 3

    for kind, (cursor, _, _, _, third) in CURSORS.items():
        shop.pg.execute(f"""
            insert into {kind} values (101, 'tie', 5, {third[0]});
            insert into {kind} values (102, 'late', 5, {third[1]});
            update {kind} set {cursor} = {third[1]} where id = 90
        """)
    results = results_of(shop)
    for kind, result in results.items():
        assert (result.rows_inserted, result.rows_updated) == (2, 1), kind

    for kind, again in results_of(shop).items():
        assert (again.rows_inserted, again.rows_updated, again.rows_deleted) == (0, 0, 0)
        assert again.bytes_written == 0
        assert again.cursor_after == results[kind].cursor_after


def test_append_only_keeps_its_rows_while_none_has_a_cursor(shop: Shop) -> None:
    """There is nothing to go on from: all is read, and what the source let go of stays."""
    shop.pg.execute("create table orders (id int, at timestamptz)")
    shop.pg.execute("insert into orders select generate_series(1, 5)")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "at"}})
    shop.one()
    shop.pg.execute("delete from orders where id < 5; insert into orders values (5), (6)")
    result = shop.one()
    assert (result.rows_inserted, result.rows_deleted) == (2, 0)
    shop.pg.execute("insert into orders values (7, now() - interval '1 hour')")
    assert shop.one().rows_inserted == 1
    rows = [(1,), (2,), (3,), (4,), (5,), (5,), (6,), (7,)]
    assert shop.ask("select id from shop.orders order by 1") == rows
    assert shop.one().rows_inserted == 0


def test_append_only_takes_every_row_once(shop: Shop) -> None:
    """Rows that share the boundary, even equal in all columns, and rows without a cursor arrive.

    A table for each type of cursor.
    """
    for kind, (cursor, type_, first, _, _) in CURSORS.items():
        shop.pg.execute(f"create table {kind} (what text, {cursor} {type_})")
        for value in [*first, first[-1]]:
            shop.pg.execute(f"insert into {kind} values ('same', {value})")
        shop.pg.execute(f"insert into {kind} values ('none', null)")
    configure_each(shop, "append_only")
    results_of(shop)

    for kind, (_, _, _, second, _) in CURSORS.items():
        for value in [second[0], second[0], second[1]]:
            shop.pg.execute(f"insert into {kind} values ('same', {value})")
        shop.pg.execute(f"insert into {kind} values ('none', null)")
    for kind, result in results_of(shop).items():
        assert (result.rows_inserted, result.rows_updated) == (4, 0), kind

    for kind, (_, _, _, _, third) in CURSORS.items():
        for value in third:
            shop.pg.execute(f"insert into {kind} values ('third', {value})")
    assert {result.rows_inserted for result in results_of(shop).values()} == {2}
    assert {result.rows_inserted for result in results_of(shop).values()} == {0}


def test_full_table_replaces_the_table(shop: Shop) -> None:
    """Rows changed and deleted at the source are changed and gone in the lake."""
    shop.pg.execute("create table orders (id int primary key, what text)")
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 100) i")
    shop.configure(None)
    result = shop.one()
    assert (result.mode, result.rows_inserted, result.rows_in_table) == ("full_table", 100, 100)
    shop.same()
    shop.pg.execute("update orders set what = 'b' where id < 10; delete from orders where id > 90")
    result = shop.one()
    assert result.rows_in_table == 90
    assert result.rows_inserted - result.rows_deleted == -10
    shop.same()


def test_lookback_reaches_rows_that_came_late(shop: Shop) -> None:
    """A row committed with an older cursor is found within the lookback."""
    shop.pg.execute("create table orders (id int primary key, updated_at timestamptz)")
    shop.pg.execute("insert into orders values (1, '2024-01-01 12:00Z'), (2, '2024-01-01 12:30Z')")
    shop.configure({"public.orders": {
        "mode": "incremental", "cursor_field": "updated_at", "lookback": "10m"}})  # fmt: skip
    shop.one()
    shop.pg.execute("insert into orders values (3, '2024-01-01 12:21Z')")
    shop.one()
    shop.same()
    assert shop.state()["public.orders"]["cursor"]["value"] == "2024-01-01T12:30:00+00:00"


def test_infinite_cursor_values_do_not_end_the_sync(shop: Shop) -> None:
    """`infinity` is landed, but the cursor rests on the last finite value."""
    shop.pg.execute("create table orders (id int primary key, at timestamp)")
    shop.pg.execute(
        "insert into orders values (1, '2024-01-01'), (2, 'infinity'), (3, '-infinity')"
    )
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "at"}})
    assert shop.one().rows_inserted == 3
    shop.pg.execute("insert into orders values (4, '2024-01-02')")
    assert shop.one().rows_inserted == 1
    assert shop.ask('select "at"::varchar from shop.orders order by id') == [
        ("2024-01-01 00:00:00",), ("infinity",), ("-infinity",), ("2024-01-02 00:00:00",),
    ]  # fmt: skip


def test_primary_key_stays_not_null(shop: Shop) -> None:
    """The lake's table keeps NOT NULL on the key's columns, and on no other."""
    shop.pg.execute("create table orders (a int, b int not null, c text, primary key (a, c))")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "a"}})
    shop.one()
    assert shop.ask(
        "select column_name, is_nullable from duckdb_columns() "
        "where table_name = 'orders' order by column_index"
    ) == [("a", False), ("b", True), ("c", False)]


def test_key_that_is_no_key_keeps_the_newest_row(shop: Shop) -> None:
    """Where a person names a key that repeats, the row with the highest cursor wins."""
    shop.pg.execute("create table orders (k int, v text, rev int)")
    shop.pg.execute("insert into orders values (1, 'old', 1), (1, 'new', 2), (2, 'only', 1)")
    shop.configure({"public.orders": {
        "mode": "incremental", "cursor_field": "rev", "primary_key": "k"}})  # fmt: skip
    result = shop.one()
    assert sorted(shop.ask("select k, v from shop.orders")) == [(1, "new"), (2, "only")]
    assert "1 rows shared their key" in result.notices[0]


def test_null_keys_are_keys(shop: Shop) -> None:
    """A key column that may be NULL matches NULL with NULL: the row is updated, not doubled."""
    shop.pg.execute("create table orders (a int, b int, v text, rev int, unique (a, b))")
    shop.pg.execute("insert into orders values (1, null, 'x', 1)")
    shop.configure({"public.orders": {
        "mode": "incremental", "cursor_field": "rev", "primary_key": ["a", "b"]}})  # fmt: skip
    shop.one()
    shop.pg.execute("update orders set v = 'y', rev = 2")
    assert shop.one().rows_updated == 1
    shop.same()


@pytest.mark.parametrize("rows_left", [0, 40])
def test_shrinking_table_is_not_replaced(shop: Shop, rows_left: int) -> None:
    """A full load of less than half the rows fails and leaves the old ones, until it is allowed."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 100) i")
    shop.configure(None)
    shop.one()
    shop.pg.execute(f"delete from orders where id > {rows_left}")
    (failed,) = shop.run().tables
    assert failed.status == "failed"
    assert "--allow-shrink" in failed.error.message
    assert shop.ask("select count(*) from shop.orders") == [(100,)]
    assert shop.one(allow_shrink=True).rows_in_table == rows_left
    shop.same()


def test_columns_where_and_name_shape_the_table(shop: Shop) -> None:
    """Excluded columns never arrive, `where` filters at the source, `name` names the table."""
    shop.pg.execute("create table users (id int primary key, secret text, gone timestamptz)")
    shop.pg.execute("insert into users values (1, 'x', null), (2, 'y', now())")
    options = {"columns": {"exclude": ["secret"]}, "where": "gone is null", "name": "people"}
    shop.configure({"public.users": options})
    shop.one()
    assert shop.ask("select * from shop.people") == [(1, None)]


def test_added_and_widened_columns_keep_the_history(shop: Shop) -> None:
    """A new column is NULL in old rows; a wider type takes the old values with it."""
    shop.pg.execute("create table orders (id int primary key, n int, rev int)")
    shop.pg.execute("insert into orders values (1, 10, 1)")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.one()
    shop.pg.execute("alter table orders alter n type bigint, add extra text")
    shop.pg.execute("insert into orders values (2, 5000000000, 2, 'new')")
    shop.one()
    shop.same("id, n, extra")
    shop.pg.execute("alter table orders drop extra")
    shop.pg.execute("insert into orders values (3, 1, 3)")
    shop.one()
    assert shop.ask("select id, extra from shop.orders order by id") == [
        (1, None), (2, "new"), (3, None),
    ]  # fmt: skip


def test_type_that_does_not_fit_stops_the_table(shop: Shop) -> None:
    """A column that became another thing is named with both types and the way out."""
    shop.pg.execute("create table orders (id int primary key, n int, rev int)")
    shop.pg.execute("insert into orders values (1, 10, 1)")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.one()
    shop.pg.execute("alter table orders alter n type text")
    (failed,) = shop.run().tables
    assert failed.error.type == "ContractError"
    for part in ('"n"', "integer", "text", "--full-refresh"):
        assert part in failed.error.message
    shop.one(full_refresh=True)
    shop.same()


@pytest.mark.parametrize(
    ("type_", "value", "typed"),
    [
        ("bigint", 2**53 + 1, 2**53 + 1),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("timestamptz", "2024-02-29T01:02:03.000004+00:00",
         datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_cursor_is_kept_exactly(shop: Shop, type_: str, value: Any, typed: Any) -> None:
    """The state file holds the highest value as it is, and the result carries it typed."""
    shop.pg.execute(f"create table orders (id int primary key, c {type_})")
    shop.pg.execute(f"insert into orders values (1, '{value}')")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "c"}})
    assert shop.one().cursor_after.value == typed
    assert shop.state()["public.orders"]["cursor"]["value"] == value


def test_future_date_does_not_hide_what_comes_after_it(shop: Shop) -> None:
    """A row of the year 9999 lands, and the rows of today land after it."""
    shop.pg.execute("create table orders (id int primary key, v text, at timestamptz)")
    shop.pg.execute("insert into orders values (1, 'a', '2024-01-01Z'), (2, 'b', '9999-12-31Z')")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "at"}})
    shop.one()
    shop.pg.execute("update orders set v = 'c', at = now() where id = 1")
    shop.pg.execute("insert into orders values (3, 'd', now())")
    result = shop.one()
    assert (result.rows_inserted, result.rows_updated) == (1, 1)
    assert shop.one().rows_inserted == 0
    shop.same()


def test_folder_called_like_a_column_changes_no_value(shop: Shop) -> None:
    """`region=eu` in the path of a project is no column of its tables."""
    shop.folder = shop.folder / "region=eu" / "a*b"
    shop.folder.mkdir(parents=True)
    shop.pg.execute("create table orders (id int primary key, region text, rev int)")
    shop.pg.execute("insert into orders values (1, 'us', 1), (2, 'fr', 2), (3, null, 3)")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.one()
    shop.same()
    shop.pg.execute("update orders set rev = 10 where id = 1")
    assert shop.one().rows_updated == 1
    shop.same()


def test_names_that_look_like_patterns_are_names(shop: Shop) -> None:
    """A table called `ab*` gets its own files, not those of `abc`."""
    for number, name in enumerate(["ab*", "abc", "abd", "q[ab]?", "qa1", "k=v"]):
        shop.pg.execute(f'create table "{name}" as select {number} as k')
    shop.configure(None)
    shop.run()
    for number, name in enumerate(["ab*", "abc", "abd", "q[ab]?", "qa1", "k=v"]):
        assert shop.ask(f'select k from shop."{name}"') == [(number,)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"primary_key": ["a"]}, {"primary_key": ["a", "b"]}),
        ({"primary_key": ["a", "b"], "where": "b = 1"}, {"primary_key": ["a", "b"]}),
    ],
)
def test_other_key_or_where_loads_the_table_anew(shop: Shop, before: dict, after: dict) -> None:
    """What the old setting left out arrives, and the run says that it started over."""
    shop.pg.execute("create table orders (a int, b int, rev int)")
    shop.pg.execute("insert into orders values (1, 1, 1), (1, 2, 2), (2, 1, 3)")
    base = {"mode": "incremental", "cursor_field": "rev"}
    shop.configure({"public.orders": base | before})
    shop.one()
    shop.configure({"public.orders": base | after})
    assert "loaded from the start" in shop.one().notices[0]
    shop.same()


def test_key_that_changes_at_the_source_loads_the_table_anew(shop: Shop) -> None:
    """Rows are not doubled under their new key."""
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("insert into orders values (1, 'a', 1), (2, 'b', 2)")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.one()
    shop.pg.execute("alter table orders add nid uuid default gen_random_uuid()")
    shop.pg.execute("alter table orders drop id, add primary key (nid)")
    shop.pg.execute("insert into orders (v, rev) values ('c', 3)")
    shop.one()
    shop.same("v, rev, nid")


def test_new_column_is_told_of(shop: Shop) -> None:
    """Rows that do not come again have NULL in it, and the run says how to fill them."""
    shop.pg.execute("create table orders (id int primary key, rev int)")
    shop.pg.execute("insert into orders values (1, 1), (2, 2)")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.one()
    shop.pg.execute("alter table orders add d int not null default 7")
    assert "--full-refresh" in shop.one().notices[0]
    shop.one(full_refresh=True)
    shop.same()


def test_row_without_cursor_does_not_replace_a_newer_one(shop: Shop) -> None:
    """Where a key has several rows, the newest stays, run after run."""
    shop.pg.execute("create table orders (id int, rev int, v text)")
    shop.pg.execute("insert into orders values (1, null, 'none'), (1, 10, 'new'), (2, 50, 'later')")
    options = {"mode": "incremental", "cursor_field": "rev", "primary_key": "id"}
    shop.configure({"public.orders": options})
    for _ in range(2):
        shop.one()
        assert sorted(shop.ask("select id, v from shop.orders")) == [(1, "new"), (2, "later")]
