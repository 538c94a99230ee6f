"""The three modes against a real Postgres, in every kind of store, compared row for row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.shop import Shop

    from cdpsync.model import TableResult

in_each_store = pytest.mark.parametrize("shop", ["folder", "s3", "gcs"], indirect=True)
in_folder_and_s3 = pytest.mark.parametrize("shop", ["folder", "s3"], indirect=True)
in_folder_and_gcs = pytest.mark.parametrize("shop", ["folder", "gcs"], indirect=True)
T = TypeVar("T")

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


def for_store(shop: Shop, cases: dict[str, T]) -> dict[str, T]:
    """Return all of these cases for a lake in a folder, and half of them for each kind of bucket.

    A case does not depend on the store.
    """
    start = {"s3": 0, "gs": 1}.get(shop.warehouse["path"].split("://")[0])
    return cases if start is None else dict(itertools.islice(cases.items(), start, None, 2))


def configure_each(shop: Shop, mode: str, kinds: Iterable[str]) -> None:
    """Let the project have a table for each of these types of cursor."""
    options = {kind: {"mode": mode, "cursor_field": CURSORS[kind][0]} for kind in kinds}
    shop.configure({f"public.{kind}": options[kind] for kind in kinds})


def results_of(shop: Shop) -> dict[str, TableResult]:
    """Run; each table then has the source's rows. Return their results."""
    results = shop.each()
    assert results.keys() == for_store(shop, CURSORS).keys()
    shop.all_same(*results)
    return results


@in_folder_and_s3
def test_incremental_follows_the_source_through_three_runs(shop: Shop) -> None:
    """Inserts, updates, ties at the boundary and NULL cursors all arrive, each exactly once.

    A table for each type of cursor.
    """
    cursors = for_store(shop, CURSORS)
    for kind, (cursor, type_, first, _, _) in cursors.items():
        shop.pg.execute(ORDERS.format(table=kind, cursor=cursor, type=type_))
        for number, value in enumerate(first):
            shop.pg.execute(f"""insert into {kind} values
                ({number}, 'first', {number}.10, {value})""")
        shop.pg.execute(f"insert into {kind} values (90, 'no cursor', 1, null)")
    configure_each(shop, "incremental", cursors)
    for kind, result in results_of(shop).items():
        rows = len(CURSORS[kind][2]) + 1
        assert (result.rows_read, result.rows_inserted) == (rows, rows)
        assert result.cursor_before is None

    for kind, (cursor, _, _, second, _) in cursors.items():
        shop.pg.execute(f"""
            insert into {kind} values (100, 'tie', 5, {second[0]});
            update {kind} set customer = 'changed', {cursor} = {second[1]} where id = 1;
            insert into {kind} values (91, 'no cursor either', 1, null);
            update {kind} set customer = 'changed too' where id = 90
        """)
    for kind, result in results_of(shop).items():
        assert (result.rows_inserted, result.rows_updated) == (2, 2), kind
        assert result.rows_in_table == len(CURSORS[kind][2]) + 3

    for kind, (cursor, _, _, _, third) in cursors.items():
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


@in_folder_and_gcs
def test_append_only_takes_every_row_once(shop: Shop) -> None:
    """Rows that share the boundary, even equal in all columns, and rows without a cursor arrive.

    A table for each type of cursor.
    """
    cursors = for_store(shop, CURSORS)
    for kind, (cursor, type_, first, _, _) in cursors.items():
        shop.pg.execute(f"create table {kind} (what text, {cursor} {type_})")
        for value in [*first, first[-1]]:
            shop.pg.execute(f"insert into {kind} values ('same', {value})")
        shop.pg.execute(f"insert into {kind} values ('none', null)")
    configure_each(shop, "append_only", cursors)
    results_of(shop)

    for kind, (_, _, _, second, _) in cursors.items():
        for value in [second[0], second[0], second[1]]:
            shop.pg.execute(f"insert into {kind} values ('same', {value})")
        shop.pg.execute(f"insert into {kind} values ('none', null)")
    for kind, result in results_of(shop).items():
        assert (result.rows_inserted, result.rows_updated) == (4, 0), kind

    for kind, (_, _, _, _, third) in cursors.items():
        for value in third:
            shop.pg.execute(f"insert into {kind} values ('third', {value})")
    assert {result.rows_inserted for result in results_of(shop).values()} == {2}
    assert {result.rows_inserted for result in results_of(shop).values()} == {0}


History = Generator["dict[str, Any] | None", "TableResult", None]
"""A table's life: yields its options when the source has it, and then wherever a run is due.

It gets the result of each run of its table, which has no error.
"""


def append_only_keeps_its_rows_while_none_has_a_cursor(shop: Shop, t: str) -> History:
    """There is nothing to go on from: all is read, and what the source let go of stays."""
    shop.pg.execute(f"create table {t} (id int, at timestamptz)")
    shop.pg.execute(f"insert into {t} select generate_series(1, 5)")
    yield {"mode": "append_only", "cursor_field": "at"}
    shop.pg.execute(f"delete from {t} where id < 5; insert into {t} values (5), (6)")
    result = yield
    assert (result.rows_inserted, result.rows_deleted) == (2, 0)
    shop.pg.execute(f"insert into {t} values (7, now() - interval '1 hour')")
    result = yield
    assert result.rows_inserted == 1
    rows = [(1,), (2,), (3,), (4,), (5,), (5,), (6,), (7,)]
    assert shop.ask(f"select id from shop.{t} order by 1") == rows
    result = yield
    assert result.rows_inserted == 0


def full_table_replaces_the_table(shop: Shop, t: str) -> History:
    """Rows changed and deleted at the source are changed and gone in the lake."""
    shop.pg.execute(f"create table {t} (id int primary key, what text)")
    shop.pg.execute(f"insert into {t} select i, 'a' from generate_series(1, 100) i")
    result = yield {}
    assert (result.mode, result.rows_inserted, result.rows_in_table) == ("full_table", 100, 100)
    shop.all_same(t)
    shop.pg.execute(f"update {t} set what = 'b' where id < 10; delete from {t} where id > 90")
    result = yield
    assert result.rows_in_table == 90
    assert result.rows_inserted - result.rows_deleted == -10
    shop.all_same(t)


def lookback_reaches_rows_that_came_late(shop: Shop, t: str) -> History:
    """A row committed with an older cursor is found within the lookback."""
    shop.pg.execute(f"create table {t} (id int primary key, updated_at timestamptz)")
    shop.pg.execute(f"insert into {t} values (1, '2024-01-01 12:00Z'), (2, '2024-01-01 12:30Z')")
    yield {"mode": "incremental", "cursor_field": "updated_at", "lookback": "10m"}
    shop.pg.execute(f"insert into {t} values (3, '2024-01-01 12:21Z')")
    yield
    shop.all_same(t)
    assert shop.state()[f"public.{t}"]["cursor"]["value"] == "2024-01-01T12:30:00+00:00"


def infinite_cursor_values_do_not_end_the_sync(shop: Shop, t: str) -> History:
    """`infinity` is landed, but the cursor rests on the last finite value."""
    shop.pg.execute(f"create table {t} (id int primary key, at timestamp)")
    shop.pg.execute(f"insert into {t} values (1, '2024-01-01'), (2, 'infinity'), (3, '-infinity')")
    result = yield {"mode": "incremental", "cursor_field": "at"}
    assert result.rows_inserted == 3
    shop.pg.execute(f"insert into {t} values (4, '2024-01-02')")
    result = yield
    assert result.rows_inserted == 1
    assert shop.ask(f'select "at"::varchar from shop.{t} order by id') == [
        ("2024-01-01 00:00:00",), ("infinity",), ("-infinity",), ("2024-01-02 00:00:00",),
    ]  # fmt: skip


def primary_key_stays_not_null(shop: Shop, t: str) -> History:
    """The lake's table keeps NOT NULL on the key's columns, and on no other."""
    shop.pg.execute(f"create table {t} (a int, b int not null, c text, primary key (a, c))")
    yield {"mode": "incremental", "cursor_field": "a"}
    assert shop.ask(
        "select column_name, is_nullable from duckdb_columns() "
        f"where table_name = '{t}' order by column_index"
    ) == [("a", False), ("b", True), ("c", False)]


def key_that_is_no_key_keeps_the_newest_row(shop: Shop, t: str) -> History:
    """Where a person names a key that repeats, the row with the highest cursor wins."""
    shop.pg.execute(f"create table {t} (k int, v text, rev int)")
    shop.pg.execute(f"insert into {t} values (1, 'old', 1), (1, 'new', 2), (2, 'only', 1)")
    result = yield {"mode": "incremental", "cursor_field": "rev", "primary_key": "k"}
    assert sorted(shop.ask(f"select k, v from shop.{t}")) == [(1, "new"), (2, "only")]
    assert "1 rows shared their key" in result.notices[0]


def null_keys_are_keys(shop: Shop, t: str) -> History:
    """A key column that may be NULL matches NULL with NULL: the row is updated, not doubled."""
    shop.pg.execute(f"create table {t} (a int, b int, v text, rev int, unique (a, b))")
    shop.pg.execute(f"insert into {t} values (1, null, 'x', 1)")
    yield {"mode": "incremental", "cursor_field": "rev", "primary_key": ["a", "b"]}
    shop.pg.execute(f"update {t} set v = 'y', rev = 2")
    result = yield
    assert result.rows_updated == 1
    shop.all_same(t)


def columns_where_and_name_shape_the_table(shop: Shop, t: str) -> History:
    """Excluded columns never arrive, `where` filters at the source, `name` names the table."""
    shop.pg.execute(f"create table {t} (id int primary key, secret text, gone timestamptz)")
    shop.pg.execute(f"insert into {t} values (1, 'x', null), (2, 'y', now())")
    yield {"columns": {"exclude": ["secret"]}, "where": "gone is null", "name": "people"}
    assert shop.ask("select * from shop.people") == [(1, None)]


def added_and_widened_columns_keep_the_history(shop: Shop, t: str) -> History:
    """A new column is NULL in old rows; a wider type takes the old values with it."""
    shop.pg.execute(f"create table {t} (id int primary key, n int, rev int)")
    shop.pg.execute(f"insert into {t} values (1, 10, 1)")
    yield {"mode": "incremental", "cursor_field": "rev"}
    shop.pg.execute(f"alter table {t} alter n type bigint, add extra text")
    shop.pg.execute(f"insert into {t} values (2, 5000000000, 2, 'new')")
    yield
    shop.same("id, n, extra", stream=t, table=f"shop.{t}")
    shop.pg.execute(f"alter table {t} drop extra")
    shop.pg.execute(f"insert into {t} values (3, 1, 3)")
    yield
    assert shop.ask(f"select id, extra from shop.{t} order by id") == [
        (1, None), (2, "new"), (3, None),
    ]  # fmt: skip


def cursor_is_kept_exactly(type_: str, value: Any, typed: Any) -> Callable[[Shop, str], History]:
    """The state file holds the highest value as it is, and the result carries it typed."""

    def history(shop: Shop, t: str) -> History:
        shop.pg.execute(f"create table {t} (id int primary key, c {type_})")
        shop.pg.execute(f"insert into {t} values (1, '{value}')")
        result = yield {"mode": "incremental", "cursor_field": "c"}
        assert result.cursor_after.value == typed
        assert shop.state()[f"public.{t}"]["cursor"]["value"] == value

    return history


def future_date_does_not_hide_what_comes_after_it(shop: Shop, t: str) -> History:
    """A row of the year 9999 lands, and the rows of today land after it."""
    shop.pg.execute(f"create table {t} (id int primary key, v text, at timestamptz)")
    shop.pg.execute(f"insert into {t} values (1, 'a', '2024-01-01Z'), (2, 'b', '9999-12-31Z')")
    yield {"mode": "incremental", "cursor_field": "at"}
    shop.pg.execute(f"update {t} set v = 'c', at = now() where id = 1")
    shop.pg.execute(f"insert into {t} values (3, 'd', now())")
    result = yield
    assert (result.rows_inserted, result.rows_updated) == (1, 1)
    result = yield
    assert result.rows_inserted == 0
    shop.all_same(t)


def key_that_changes_at_the_source_loads_the_table_anew(shop: Shop, t: str) -> History:
    """Rows are not doubled under their new key."""
    shop.pg.execute(f"create table {t} (id int primary key, v text, rev int)")
    shop.pg.execute(f"insert into {t} values (1, 'a', 1), (2, 'b', 2)")
    yield {"mode": "incremental", "cursor_field": "rev"}
    shop.pg.execute(f"alter table {t} add nid uuid default gen_random_uuid()")
    shop.pg.execute(f"alter table {t} drop id, add primary key (nid)")
    shop.pg.execute(f"insert into {t} (v, rev) values ('c', 3)")
    yield
    shop.same("v, rev, nid", stream=t, table=f"shop.{t}")


def new_column_is_told_of(shop: Shop, t: str) -> History:
    """Rows that do not come again have NULL in it, and the run says how to fill them."""
    shop.pg.execute(f"create table {t} (id int primary key, rev int)")
    shop.pg.execute(f"insert into {t} values (1, 1), (2, 2)")
    yield {"mode": "incremental", "cursor_field": "rev"}
    shop.pg.execute(f"alter table {t} add d int not null default 7")
    result = yield
    assert "--full-refresh" in result.notices[0]
    shop.one(f"shop.{t}", full_refresh=True)
    shop.all_same(t)


def row_without_cursor_does_not_replace_a_newer_one(shop: Shop, t: str) -> History:
    """Where a key has several rows, the newest stays, run after run."""
    shop.pg.execute(f"create table {t} (id int, rev int, v text)")
    shop.pg.execute(f"insert into {t} values (1, null, 'none'), (1, 10, 'new'), (2, 50, 'later')")
    options = {"mode": "incremental", "cursor_field": "rev", "primary_key": "id"}
    for due in (options, None):
        yield due
        assert sorted(shop.ask(f"select id, v from shop.{t}")) == [(1, "new"), (2, "later")]


HISTORIES: dict[str, Callable[[Shop, str], History]] = {
    history.__name__: history
    for history in (
        append_only_keeps_its_rows_while_none_has_a_cursor,
        full_table_replaces_the_table,
        lookback_reaches_rows_that_came_late,
        infinite_cursor_values_do_not_end_the_sync,
        primary_key_stays_not_null,
        key_that_is_no_key_keeps_the_newest_row,
        null_keys_are_keys,
        columns_where_and_name_shape_the_table,
        added_and_widened_columns_keep_the_history,
        future_date_does_not_hide_what_comes_after_it,
        key_that_changes_at_the_source_loads_the_table_anew,
        new_column_is_told_of,
        row_without_cursor_does_not_replace_a_newer_one,
    )
} | {
    "cursor_is_kept_exactly_bigint": cursor_is_kept_exactly("bigint", 2**53 + 1, 2**53 + 1),
    "cursor_is_kept_exactly_date": cursor_is_kept_exactly("date", "2024-02-29", date(2024, 2, 29)),
    "cursor_is_kept_exactly_timestamptz": cursor_is_kept_exactly(
        "timestamptz",
        "2024-02-29T01:02:03.000004+00:00",
        datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC),
    ),
}


@in_each_store
def test_each_table_lives_as_its_options_say(shop: Shop) -> None:
    """The histories above, each of a table of its own: what it says fails by itself.

    They are in one project, because a run of many tables takes far less time than many runs.
    """
    lives: dict[str, History] = {}
    tables: dict[str, dict[str, Any]] = {}
    for name, history in for_store(shop, HISTORIES).items():
        lives[name] = history(shop, name)
        tables[name] = next(lives[name]) or {}
    shop.configure({f"public.{name}": options for name, options in tables.items()})
    in_lake = {name: options.get("name", name) for name, options in tables.items()}
    failures: list[Exception] = []
    while lives:
        select = (f"shop.{in_lake[name]}" for name in lives)
        results = {result.table.name: result for result in shop.run(*select).tables}
        for name, life in list(lives.items()):
            result = results[in_lake[name]]
            try:
                assert result.error is None, result.error
                life.send(result)
            except StopIteration:
                del lives[name]
            except Exception as failure:  # noqa: BLE001 - raised below
                failure.add_note(f"in {name}")
                failures.append(failure)
                del lives[name]
    if failures:
        raise ExceptionGroup("histories that went wrong", failures)


@pytest.mark.parametrize(
    ("shop", "rows_left"), [("folder", 0), ("s3", 40), ("gcs", 0)], indirect=["shop"]
)
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


@in_each_store
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


@in_each_store
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
