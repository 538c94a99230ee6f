"""The three modes against a local Snowflake, three rounds each, compared row for row."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support.lake_reading import lake_rows

from cdpsync import sync

if TYPE_CHECKING:
    from pathlib import Path

    from support.snowflake_server import Account

    from cdpsync.model import TableResult

# Three rounds of cursor values for each type: a boundary value that comes again, and later ones.
CURSORS = {
    "integer": ("number(10,0)", ["1", "2", "2"], ["2", "3"], ["3", "7"]),
    "number(38,0)": ("number(38,0)", ["9007199254740992", "9007199254740993"] * 2,
                     ["9007199254740993", "9007199254740994"],
                     ["9007199254740994", "9007199254740999"]),
    "number(12,2)": ("number(12,2)", ["1.00", "1.01", "1.01"], ["1.01", "1.02"], ["1.02", "2.50"]),
    "date": ("date", ["'2024-01-01'", "'2024-01-02'", "'2024-01-02'"],
             ["'2024-01-02'", "'2024-01-03'"], ["'2024-01-03'", "'2024-02-01'"]),
    "timestamp_ntz": ("timestamp_ntz",
                      ["'2024-01-01 10:00:00.000001'", "'2024-01-01 10:00:00.000002'"] * 2,
                      ["'2024-01-01 10:00:00.000002'", "'2024-01-01 10:00:00.000003'"],
                      ["'2024-01-01 10:00:00.000003'", "'2025-01-01'"]),
    "timestamp_ltz": ("timestamp_ltz",
                      ["'2024-03-31 01:59:59.999999+01:00'", "'2024-03-31 03:00:00+02:00'"] * 2,
                      ["'2024-03-31 03:00:00+02:00'", "'2024-03-31 03:00:00.5+02:00'"],
                      ["'2024-03-31 03:00:00.5+02:00'", "'2024-10-27 02:30:00+01:00'"]),
    "timestamp_tz": ("timestamp_tz",
                     ["'2024-03-31 01:59:59.999999+01:00'", "'2024-03-31 03:00:00+02:00'"] * 2,
                     ["'2024-03-31 03:00:00+02:00'", "'2024-03-31 03:00:00.5+02:00'"],
                     ["'2024-03-31 03:00:00.5+02:00'", "'2024-10-27 02:30:00+01:00'"]),
}  # fmt: skip
TABLES = {f"by_{re.sub('[^a-z0-9]+', '_', kind).strip('_')}": CURSORS[kind] for kind in CURSORS}
"""The same, by the name of a table of its own."""


@dataclass
class Project:
    """A project folder whose source `sf` is its own database in a local Snowflake."""

    folder: Path
    snow: Account

    @property
    def file(self) -> Path:
        return self.folder / "cdpsync.yml"

    def configure(self, tables: dict[str, Any] | None, **source: Any) -> None:
        """Write the project file anew (JSON is YAML too)."""
        settings = {**self.snow.options, **source}
        if tables is not None:
            settings["tables"] = tables
        project = {"warehouse": {"path": "./warehouse"}, "sources": {"sf": settings}}
        self.file.write_text(json.dumps(project, indent=1))

    def one(self, **choices: Any) -> TableResult:
        """Run, and return the result of the one table, which went well."""
        (result,) = sync.run(self.file, **choices).tables
        assert result.error is None, result.error
        return result

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return lake_rows(sql, self.file)

    def same(self, columns: str = "*", table: str = "orders") -> None:
        """Assert that the lake has the source's rows: each one, as often as there.

        Times are compared as text: the driver hands out fakesnow's NULL as the year 1970.
        """
        at_source = sorted(map(_plain, self.snow.ask(f"select {columns} from {table}")))
        in_lake = sorted(map(_plain, self.ask(f"select {columns} from sf.{table}")))
        assert in_lake == at_source, table


def _plain(row: tuple[Any, ...]) -> str:
    """Return a row as text in which 1, 1.0 and Decimal(1) are one number."""
    return repr([_plain_value(value) for value in row])


def _plain_value(value: Any) -> Any:
    is_number = isinstance(value, int | Decimal)
    return format(Decimal(value).normalize(), "f") if is_number else value


@pytest.fixture
def shop(tmp_path: Path, snow: Account) -> Project:
    """An empty project over an empty database."""
    return Project(tmp_path, snow)


def configure_each(shop: Project, mode: str) -> None:
    """Let the project have a table for each type of cursor."""
    options = {"mode": mode, "cursor_field": "REV"}
    shop.configure({f"PUBLIC.{table.upper()}": options for table in TABLES})


def results_of(shop: Project, columns: str) -> dict[str, TableResult]:
    """Run; each table then has the source's rows. Return their results."""
    results = {result.table.name.lower(): result for result in sync.run(shop.file).tables}
    assert {table: result.error for table, result in results.items()} == dict.fromkeys(TABLES)
    for table in TABLES:
        shop.same(columns, table)
    return results


def test_incremental_follows_the_source_through_three_runs(shop: Project) -> None:
    """Inserts, updates, ties at the boundary and NULL cursors all arrive, each exactly once.

    A table for each type of cursor.
    """
    columns = "id, what, amount, rev::varchar"
    for table, (type_, first, _, _) in TABLES.items():
        shop.snow.execute(
            f"create table {table} "
            f"(id int primary key, what text, amount number(10,2), rev {type_})",
            *(
                f"insert into {table} values ({number}, 'first', {number}.10, {value})"
                for number, value in enumerate(first)
            ),
            f"insert into {table} values (90, 'no cursor', 1, null)",
        )
    configure_each(shop, "incremental")
    for table, result in results_of(shop, columns).items():
        rows = len(TABLES[table][1]) + 1
        assert (result.rows_read, result.rows_inserted) == (rows, rows), table

    for table, (_, _, second, _) in TABLES.items():
        shop.snow.execute(
            f"insert into {table} values (100, 'tie', 5, {second[0]})",
            f"update {table} set what = 'changed', rev = {second[1]} where id = 1",
            f"insert into {table} values (91, 'no cursor either', 1, null)",
            f"update {table} set what = 'changed too' where id = 90",
        )
    for table, result in results_of(shop, columns).items():
        assert (result.rows_inserted, result.rows_updated) == (2, 2), table

    for table, (_, _, _, third) in TABLES.items():
        shop.snow.execute(
            f"insert into {table} values (101, 'tie', 5, {third[0]})",
            f"insert into {table} values (102, 'late', 5, {third[1]})",
            f"update {table} set rev = {third[1]} where id = 90",
        )
    results = results_of(shop, columns)
    for table, result in results.items():
        assert (result.rows_inserted, result.rows_updated) == (2, 1), table

    for table, again in results_of(shop, columns).items():
        assert (again.rows_inserted, again.rows_updated, again.rows_deleted) == (0, 0, 0), table
        assert again.cursor_after == results[table].cursor_after


def test_append_only_takes_every_row_once(shop: Project) -> None:
    """Rows that share the boundary, even equal in all columns, and rows without a cursor arrive.

    A table for each type of cursor.
    """
    columns = "what, rev::varchar"

    def insert(table: str, text: str, *values: str) -> None:
        shop.snow.execute(*(f"insert into {table} values ('{text}', {value})" for value in values))

    for table, (type_, first, _, _) in TABLES.items():
        shop.snow.execute(f"create table {table} (what text, rev {type_})")
        insert(table, "same", *first, first[-1], "null")
    configure_each(shop, "append_only")
    results_of(shop, columns)

    for table, (_, _, second, _) in TABLES.items():
        insert(table, "same", second[0], second[0], second[1], "null")
    for table, result in results_of(shop, columns).items():
        assert (result.rows_inserted, result.rows_updated) == (4, 0), table

    for table, (_, _, _, third) in TABLES.items():
        insert(table, "third", *third)
    assert {result.rows_inserted for result in results_of(shop, columns).values()} == {2}
    assert {result.rows_inserted for result in results_of(shop, columns).values()} == {0}


def test_full_table_replaces_the_table_through_three_runs(shop: Project) -> None:
    """The lake follows rows that are changed and deleted at the source."""
    shop.snow.execute(
        "create table orders (id int primary key, what text)",
        *(f"insert into orders values ({number}, 'a')" for number in range(10)),
    )
    shop.configure(None)
    assert shop.one().rows_in_table == 10
    shop.same()
    shop.snow.execute(
        "update orders set what = 'b' where id < 3", "delete from orders where id > 7"
    )
    assert shop.one().rows_in_table == 8
    shop.same()
    shop.snow.execute("delete from orders")
    assert shop.one(allow_shrink=True).rows_in_table == 0
    assert shop.ask("select * from sf.orders") == []


def test_empty_table_has_its_columns_and_types(shop: Project) -> None:
    """A table without rows arrives with its columns and types."""
    shop.snow.execute("create table orders (id int, amount number(10,2), doc variant, t time)")
    shop.configure(None)
    assert shop.one().rows_in_table == 0
    assert shop.ask(
        "select column_name, data_type from duckdb_columns() where table_name = 'orders' "
        "order by column_index"
    ) == [("ID", "DECIMAL(38,0)"), ("AMOUNT", "DECIMAL(10,2)"), ("DOC", "JSON"), ("T", "TIME")]


def test_key_that_repeats_keeps_the_newest_row(shop: Project) -> None:
    """Snowflake does not enforce primary keys: of equal keys, only the newest row lands."""
    shop.snow.execute("create table orders (id int, what text, rev int)")
    rows = ["(1, 'old', 1)", "(1, 'new', 2)", "(2, 'only', 1)"]
    shop.snow.execute(*(f"insert into orders values {row}" for row in rows))
    options = {"mode": "incremental", "cursor_field": "REV", "primary_key": ["ID"]}
    shop.configure({"PUBLIC.ORDERS": options})
    assert "shared their key" in shop.one().notices[0]
    assert shop.ask("select id, what from sf.orders order by id") == [(1, "new"), (2, "only")]


def test_lookback_of_a_number_reaches_rows_that_came_late(shop: Project) -> None:
    """A row with an older number is found within the lookback."""
    shop.snow.execute(
        "create table orders (id int primary key)",
        "insert into orders values (100)",
        "insert into orders values (120)",
    )
    shop.configure({"PUBLIC.ORDERS": {"mode": "incremental", "cursor_field": "ID", "lookback": 15}})
    shop.one()
    shop.snow.execute("insert into orders values (106)", "insert into orders values (103)")
    assert shop.one().rows_inserted == 1


def test_where_and_columns_shape_the_table(shop: Project) -> None:
    """`where` filters at the source, excluded columns never arrive, types are as asked for."""
    shop.snow.execute(
        "create table orders (id int primary key, secret text, gone timestamp_ntz)",
        "insert into orders values (1, 'x', null)",
        "insert into orders values (2, 'y', '2024-01-01')",
    )
    columns = {"exclude": ["SECRET"], "types": {"ID": "integer"}}
    where = "gone is null -- and nothing else"
    shop.configure({"PUBLIC.ORDERS": {"columns": columns, "where": where, "name": "open_orders"}})
    shop.one()
    assert shop.ask("select typeof(id), * from sf.open_orders") == [("INTEGER", 1, None)]


def test_deleted_rows_leave_with_deletes_hard(shop: Project) -> None:
    """Where deletes are found by reading the keys, that works over Snowflake too."""
    shop.snow.execute(
        "create table orders (id int primary key, rev int)",
        *(f"insert into orders values ({number}, {number})" for number in range(5)),
    )
    options = {"mode": "incremental", "cursor_field": "REV", "deletes": "hard"}
    shop.configure({"PUBLIC.ORDERS": options})
    shop.one()
    shop.snow.execute("delete from orders where id = 2")
    assert shop.one().rows_deleted == 1
    shop.same()


@pytest.mark.parametrize("mode", ["incremental", "append_only", "full_table"])
def test_table_that_is_replaced_is_read_from_its_start(shop: Project, mode: str) -> None:
    """CREATE OR REPLACE TABLE, as dbt does each night: rows below the old cursor arrive, too."""
    cursor = {} if mode == "full_table" else {"cursor_field": "REV"}
    shop.configure({"PUBLIC.ORDERS": {"mode": mode, **cursor}})
    make = "create or replace table orders (id int primary key, rev int)"
    shop.snow.execute(make, "insert into orders values (1, 90), (2, 91)")
    shop.one()
    shop.snow.execute(make, "insert into orders values (1, 10), (7, 11)")
    notices = shop.one().notices
    assert any("created again at the source" in notice for notice in notices) is bool(cursor)
    if mode == "append_only":
        assert shop.ask("select id, rev from sf.orders order by rev") == [
            (1, 10),
            (7, 11),
            (1, 90),
            (2, 91),
        ]
    else:
        shop.same()
    assert shop.one().rows_inserted == 0
