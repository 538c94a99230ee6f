"""Types that change at a source: old and new values are equal afterwards, or the table stops."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest
from support.type_pairs import MYSQL, POSTGRES, Sample

from cdpsync import project
from cdpsync.errors import QueryError
from cdpsync.maintain import maintain
from cdpsync.model.verification import VerifyStatus
from cdpsync.storage import open_storage
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from support.mysql_server import MariaDatabase
    from support.shop import Shop

INCREMENTAL = {"mode": "incremental", "cursor_field": "rev"}
APPENDED = {"mode": "append_only", "cursor_field": "rev"}


@dataclass
class Pairs:
    """Tables of a few rows each, whose column `v` changes from one type to another."""

    shop: Shop
    schema: str
    samples: Mapping[str, Sample]
    execute: Callable[[str], Any]
    alter: str
    refused: type[Exception]
    tables: dict[str, tuple[str, str]] = field(default_factory=dict)

    def create(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Create a table for each pair whose change the source accepts for some old values."""
        for old, new in pairs:
            table = f"t{len(self.tables)}"
            for values in self.samples[old].old:
                self.fill("probe", old, values)
                try:
                    self.execute(self.alter.format(table="probe", new=new))
                except self.refused:
                    self.execute("drop table probe")
                    continue
                self.execute("drop table probe")
                self.fill(table, old, values)
                self.tables[table] = (old, new)
                break

    def fill(self, table: str, type_: str, values: Iterable[str]) -> None:
        """Create a table of these values. Its key falls while its cursor rises."""
        rows = ", ".join(f"({-number}, {number}, {v})" for number, v in enumerate(values))
        self.execute(f"create table {table} (id int primary key, rev int, v {type_})")
        self.execute(f"insert into {table} values {rows}")

    def change(self) -> None:
        """Change every column's type, and insert rows with values of the new type."""
        for table, (_, new) in self.tables.items():
            self.execute(self.alter.format(table=table, new=new))
            for number, value in enumerate(self.samples[new].new, start=90):
                self.execute(f"insert into {table} values ({number}, {number}, {value})")

    def check(self, **options: Any) -> set[tuple[str, str]]:
        """Load, change, load: no table ends ok with other values than the source's.

        Each that stopped names the command that loads it, which then makes it equal. Return its
        pairs.
        """
        self.shop.configure({f"{self.schema}.t*": options})
        assert {result.error for result in self.shop.run().tables} == {None}
        self.change()
        stopped = {
            str(result.table): result.error.message
            for result in self.shop.run().tables
            if result.error is not None
        }
        for result in verify(self.shop.file):
            pair = self.tables[result.table.name]
            if str(result.table) not in stopped:
                assert result.status is VerifyStatus.EQUAL, (pair, result.error or result.compared)
        for table, message in stopped.items():
            pair = self.tables[table.partition(".")[2]]
            assert f"cdpsync run {table} --full-refresh" in message, (pair, message)
        loaded = []
        for result in self.shop.run(*stopped, full_refresh=True).tables:
            if result.error is None:
                loaded.append(str(result.table))
            else:  # the server made a value that the lake cannot hold, a zero date for example
                assert "to keep it as text" in result.error.message
        results = verify(self.shop.file, loaded)
        assert {result.status for result in results} == {VerifyStatus.EQUAL}
        return {self.tables[table.partition(".")[2]] for table in stopped}


def postgres_pairs(shop: Shop, con: psycopg.Connection[Any]) -> Pairs:
    con.execute("set timezone = 'America/New_York'")
    con.execute("create type mood as enum ('a', 'b', 'x')")
    alter = "alter table {table} alter v type {new} using v::{new}"
    return Pairs(shop, "public", POSTGRES, con.execute, alter, psycopg.Error)


def mysql_pairs(shop: Shop, maria: MariaDatabase, con: Any) -> Pairs:
    """A session without strict mode, so that the server rounds, cuts and clamps."""
    shop.pg = maria  # type: ignore[assignment]  # it has a url, too
    configure = shop.configure
    shop.configure = lambda tables: configure(tables, type="mysql")  # type: ignore[method-assign]
    con.execute("set time_zone = '-05:00', sql_mode = ''")
    alter = "alter table {table} modify v {new}"
    return Pairs(shop, maria.name, MYSQL, con.execute, alter, pymysql.MySQLError)


def chosen(
    samples: Mapping[str, Sample], some: Iterable[tuple[str, str]]
) -> Iterable[tuple[str, str]]:
    """Return the pairs to try: some, or with CDPSYNC_EACH_PAIR every one (`make types`)."""
    if "CDPSYNC_EACH_PAIR" in os.environ:
        return itertools.permutations(samples, 2)
    return sorted(some)


KEPT = {
    ("integer", "bigint"), ("bigint", "smallint"), ("real", "double precision"),
    ("varchar(3)", "text"), ("numeric(10,2)", "numeric"), ("date", "timestamp"),
    ("timestamp(3)", "timestamp"), ("jsonb", "json"), ("integer[]", "bigint[]"),
}  # fmt: skip
STOPPED = {
    ("text", "json"), ("text", "jsonb"), ("json", "jsonb"), ("date", "timestamptz"),
    ("timestamp", "timestamptz"), ("timestamptz", "timestamp"), ("char(4)", "text"),
    ("text", "varchar(3)"), ("timestamp", "timestamp(3)"), ("numeric(8,4)", "numeric(10,2)"),
    ("text", "char(4)"), ("bigint", "double precision"), ("inet", "text"), ("uuid", "text"),
}  # fmt: skip


@pytest.mark.parametrize("options", [INCREMENTAL, APPENDED])
def test_postgres_types(shop: Shop, options: dict[str, Any]) -> None:
    """A change that keeps each old value goes on; one that may not stops with the command."""
    with psycopg.connect(shop.pg.url, autocommit=True) as con:
        pairs = postgres_pairs(shop, con)
        pairs.create(chosen(POSTGRES, KEPT | STOPPED))
        assert set(pairs.tables.values()) >= KEPT | STOPPED
        assert pairs.check(**options) & (KEPT | STOPPED) == STOPPED


def test_mysql_types(shop: Shop, maria: MariaDatabase) -> None:
    """The same, where the server may round, cut and clamp without an error."""
    kept = {
        ("int", "bigint"), ("char(4)", "varchar(9)"), ("enum('a','b')", "enum('b','x','a')"),
        ("varchar(5)", "text"), ("float", "double"), ("date", "datetime"),
        ("decimal(10,2)", "decimal(50,20)"), ("varbinary(4)", "blob"),
    }  # fmt: skip
    stopped = {
        ("datetime", "timestamp null"), ("timestamp null", "datetime"), ("text", "json"),
        ("bigint", "int"), ("int", "int unsigned"), ("varchar(9)", "varchar(5)"),
        ("datetime(6)", "datetime"), ("decimal(8,4)", "decimal(10,2)"), ("varchar(5)", "char(4)"),
    }  # fmt: skip
    with maria.connect() as con, con.cursor() as cursor:
        pairs = mysql_pairs(shop, maria, cursor)
        pairs.create(chosen(MYSQL, kept | stopped))
        assert set(pairs.tables.values()) >= kept | stopped
        assert pairs.check(**INCREMENTAL) & (kept | stopped) == stopped


NAMED = """
    create type mood as enum ('sad', 'it''s ok');
    create domain price as numeric(10,2);
    create domain prices as price[];
    create table orders (id int primary key, rev int, m mood, ms mood[], p price, ps prices);
    insert into orders values (1, 1, 'sad', '{sad}', 1.50, '{2.25}'), (2, 2, null, null, null, null)
"""


@pytest.mark.parametrize(
    "change",
    [
        "alter type mood rename to feeling",
        "alter domain price rename to cost; alter domain prices rename to costs",
        "alter type mood add value 'fine' before 'sad'",
        "create schema old; alter type mood set schema old; alter domain price set schema old",
        "alter table orders alter p type numeric(12,2)",
    ],
)
@pytest.mark.parametrize("options", [INCREMENTAL, APPENDED])
def test_renamed_type_goes_on(shop: Shop, options: dict[str, Any], change: str) -> None:
    """An enum by another name, or with more labels, and a domain by another name, keep each row."""
    shop.pg.execute(NAMED)
    shop.configure({"public.orders": options})
    shop.one()
    shop.pg.execute(f"{change}; insert into orders values (3, 3, 'sad', '{{sad}}', 3, '{{4}}')")
    result = shop.one()
    assert (result.rows_inserted, result.rows_updated) == (1, 0)
    assert verify(shop.file)[0].status is VerifyStatus.EQUAL
    assert shop.one().notices == ()


@pytest.mark.parametrize("options", [INCREMENTAL, APPENDED])
def test_renamed_label_stops_or_reloads(shop: Shop, options: dict[str, Any]) -> None:
    """Each old row with the label is another one at the source, and no cursor tells of it."""
    shop.pg.execute(NAMED)
    shop.configure({"public.orders": options})
    shop.one()
    shop.pg.execute("alter type mood rename value 'sad' to 'blue'")
    (result,) = shop.run().tables
    assert result.error is not None
    assert "enum('sad', 'it''s ok') and is mood enum('blue', 'it''s ok')" in result.error.message
    assert "cdpsync run shop.orders --full-refresh" in result.error.message
    if options is INCREMENTAL:
        shop.configure({"public.orders": options | {"deletes": "hard"}})
        assert 'the new type of "m"' in "; ".join(shop.one().notices)
    else:
        shop.one(full_refresh=True)
    assert verify(shop.file)[0].status is VerifyStatus.EQUAL


def test_reload_follows_where_it_loses_nothing(shop: Shop) -> None:
    """With deletes: hard the lake has no row that the source lacks, so the table is replaced."""
    shop.pg.execute("create table orders (id int primary key, rev int, v timestamp)")
    shop.pg.execute("insert into orders values (1, 1, '2024-07-01 10:00'), (2, 2, null)")
    shop.configure({"public.orders": INCREMENTAL | {"deletes": "hard"}})
    shop.one()
    shop.pg.execute(
        "set timezone = 'America/New_York'; alter table orders alter v type timestamptz;"
        "insert into orders values (3, 3, '2024-07-01 14:00+00')"
    )
    result = shop.one()
    assert 'the new type of "v" may have changed old rows' in "; ".join(result.notices)
    shop.same()
    assert shop.one().notices == ()


def test_unreadable_table_stops_no_other(shop: Shop) -> None:
    """Earlier versions made JSON of any text. Each command names the table and its way out."""
    shop.configure({"public.*": INCREMENTAL})
    for table in ("js", "orders"):
        shop.pg.execute(f"create table {table} (id int primary key, rev int, v text)")
    for number in (1, 2):
        shop.pg.execute(f"insert into js select {number}{number} + i, {number}, '' "
                        "from generate_series(1, 3) i")  # fmt: skip
        shop.pg.execute(f"insert into orders values ({number}, {number}, '')")
        shop.run()
    config = project.load(shop.file)
    with project.catalog_of(config, open_storage(config.warehouse)).writer() as con:
        con.execute("alter table lake.shop.js alter v type json")
        con.execute("delete from lake.shop.js where id in (12, 13)")  # so its file is rewritten
    advice = "cdpsync run shop.js --full-refresh"
    js, orders = verify(shop.file)
    assert (js.status, orders.status) == (VerifyStatus.FAILED, VerifyStatus.EQUAL)
    assert advice in js.error.message
    with pytest.raises(QueryError, match="cdpsync run TABLE --full-refresh"):
        shop.ask("select * from shop.js")
    js, orders = shop.run().tables
    assert advice in js.error.message
    assert orders.error is None
    for file in (shop.folder / "warehouse").rglob("js/*.parquet"):
        file.unlink()
    steps = {(step.step, step.table): step for step in maintain(config)}
    assert ("merge", "shop.orders") in steps
    assert steps["failed", "shop.js"].error.message.startswith("shop.js: its files could not be")
    assert shop.one("shop.js", full_refresh=True).notices == ()
    assert shop.one("shop.js").notices == ()
    shop.same(stream="public.js", table="shop.js")


def test_letters_beyond_ascii_keep_their_case(shop: Shop) -> None:
    """DuckDB ignores the case of a to z only, so these are two columns, in each mode."""
    shop.pg.execute(
        'create table orders (id int primary key, rev int, "Ä" text, "ä" text);'
        "insert into orders values (1, 1, 'A', 'a')"
    )
    for mode in ("full_table", "incremental", "append_only"):
        shop.configure({"public.orders": INCREMENTAL | {"mode": mode}})
        shop.one()
        shop.pg.execute("insert into orders select 1 + max(id), 1 + max(rev), 'B', 'b' from orders")
        shop.one()
        shop.same()
    assert verify(shop.file)[0].status is VerifyStatus.EQUAL
