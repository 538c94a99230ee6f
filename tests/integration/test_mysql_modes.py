"""The three modes against a real MariaDB, compared with the source row for row."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from support.faults import FaultProxy
from support.mysql_shop import MysqlShop

from cdpsync import project
from cdpsync.model.verification import VerifyStatus
from cdpsync.project import edit
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

    from support.mysql_server import MariaDatabase

    from cdpsync.model import TableResult


@pytest.fixture
def shop(tmp_path: Path, maria: MariaDatabase) -> MysqlShop:
    """An empty project over an empty database."""
    return MysqlShop(tmp_path, maria)  # type: ignore[arg-type]  # see MysqlShop


# Three rounds of cursor values for each type: a boundary value that comes again, and later ones.
CURSORS = {
    "integer": ("rev", "bigint unsigned", ["1", "2", "2"], ["2", "3"], ["3", "7"]),
    "unsigned": ("rev", "bigint unsigned",
                 ["9223372036854775807", "9223372036854775809", "9223372036854775809"],
                 ["9223372036854775809", "18446744073709551614"],
                 ["18446744073709551614", "18446744073709551615"]),
    "date": ("day", "date", ["'2024-01-01'", "'2024-01-02'", "'2024-01-02'"],
             ["'2024-01-02'", "'2024-01-03'"], ["'2024-01-03'", "'2024-02-01'"]),
    "datetime": ("at", "datetime(6)",
                 ["'2024-01-01 10:00:00.000001'", "'2024-01-01 10:00:00.000002'"] * 2,
                 ["'2024-01-01 10:00:00.000002'", "'2024-01-01 10:00:00.000003'"],
                 ["'2024-01-01 10:00:00.000003'", "'2025-01-01'"]),
    "timestamp": ("updated_at", "timestamp(6) null",
                  ["'2024-03-31 01:59:59.999999'", "'2024-03-31 03:00:00'"] * 2,
                  ["'2024-03-31 03:00:00'", "'2024-03-31 03:00:00.5'"],
                  ["'2024-03-31 03:00:00.5'", "'2024-10-27 02:30:00'"]),
}  # fmt: skip


def configure_each(shop: MysqlShop, mode: str) -> None:
    """Let the project have a table for each type of cursor."""
    options = {kind: {"mode": mode, "cursor_field": name} for kind, (name, *_) in CURSORS.items()}
    shop.configure({f"{shop.db.name}.by_{kind}": options[kind] for kind in CURSORS})


def results_of(shop: MysqlShop) -> dict[str, TableResult]:
    """Run; each table then has the source's rows. Return their results."""
    results = {name.removeprefix("by_"): result for name, result in shop.each().items()}
    assert results.keys() == CURSORS.keys()
    for kind in CURSORS:
        shop.same_rows(f"by_{kind}")
    return results


def test_incremental_follows_the_source_through_three_runs(shop: MysqlShop) -> None:
    """Inserts, updates, ties at the boundary and NULL cursors all arrive, each exactly once.

    A table for each type of cursor.
    """
    for kind, (cursor, type_, first, _, _) in CURSORS.items():
        rows = [f"({number}, 'first', {number}.10, {value})" for number, value in enumerate(first)]
        shop.db.execute(
            f"create table by_{kind} (id bigint primary key, customer varchar(40), "
            f"amount decimal(10,2), {cursor} {type_});\n"
            f"insert into by_{kind} values {', '.join(rows)}, (90, 'no cursor', 1, null)"
        )
    configure_each(shop, "incremental")
    for kind, result in results_of(shop).items():
        rows_at_source = len(CURSORS[kind][2]) + 1
        assert (result.rows_read, result.rows_inserted) == (rows_at_source, rows_at_source), kind
        assert result.cursor_before is None

    for kind, (cursor, _, _, second, _) in CURSORS.items():
        shop.db.execute(
            f"insert into by_{kind} values (100, 'tie', 5, {second[0]});\n"
            f"update by_{kind} set customer = 'changed', {cursor} = {second[1]} where id = 1;\n"
            f"insert into by_{kind} values (91, 'no cursor either', 1, null);\n"
            f"update by_{kind} set customer = 'changed too', {cursor} = null where id = 90"
        )
    for kind, result in results_of(shop).items():
        assert (result.rows_inserted, result.rows_updated) == (2, 2), kind
        assert result.rows_in_table == len(CURSORS[kind][2]) + 3

    for kind, (cursor, _, _, _, third) in CURSORS.items():
        shop.db.execute(
            f"insert into by_{kind} values (101, 'tie', 5, {third[0]});\n"
            f"insert into by_{kind} values (102, 'late', 5, {third[1]});\n"
            f"update by_{kind} set {cursor} = {third[1]} where id = 90"
        )
    results = results_of(shop)
    for kind, result in results.items():
        assert (result.rows_inserted, result.rows_updated) == (2, 1), kind

    for kind, again in results_of(shop).items():
        assert (again.rows_inserted, again.rows_updated, again.rows_deleted) == (0, 0, 0), kind
        assert again.cursor_after == results[kind].cursor_after


def test_append_only_takes_every_row_once(shop: MysqlShop) -> None:
    """Rows that share the boundary, even equal in all columns, and rows without a cursor arrive.

    A table for each type of cursor.
    """

    def insert(kind: str, what: str, values: list[str]) -> None:
        rows = ", ".join(f"('{what}', {value})" for value in values)
        shop.db.execute(f"insert into by_{kind} values {rows}")

    for kind, (cursor, type_, first, _, _) in CURSORS.items():
        shop.db.execute(f"create table by_{kind} (what text, {cursor} {type_})")
        insert(kind, "same", [*first, first[-1]])
        insert(kind, "none", ["null"])
    configure_each(shop, "append_only")
    results_of(shop)

    for kind, (_, _, _, second, _) in CURSORS.items():
        insert(kind, "same", [second[0], second[0], second[1]])
        insert(kind, "none", ["null"])
    for kind, result in results_of(shop).items():
        assert (result.rows_inserted, result.rows_updated) == (4, 0), kind

    for kind, (_, _, _, _, third) in CURSORS.items():
        insert(kind, "third", third)
    assert {result.rows_inserted for result in results_of(shop).values()} == {2}
    assert {result.rows_inserted for result in results_of(shop).values()} == {0}


def test_full_table_replaces_the_table(shop: MysqlShop) -> None:
    """The lake follows rows that are changed and deleted at the source, run after run."""
    shop.db.execute("create table orders (id int primary key, what text)")
    shop.db.execute("insert into orders select seq, 'a' from seq_1_to_100")
    shop.configure(None)
    result = shop.one()
    assert (result.mode, result.rows_inserted, result.rows_in_table) == ("full_table", 100, 100)
    shop.same_rows()
    shop.db.execute("update orders set what = 'b' where id < 10")
    shop.db.execute("delete from orders where id > 90")
    result = shop.one()
    assert result.rows_in_table == 90
    assert result.rows_inserted - result.rows_deleted == -10
    shop.same_rows()
    shop.db.execute("insert into orders values (200, null)")
    assert shop.one().rows_in_table == 91
    shop.same_rows()


def test_empty_table_and_wide_decimals_keep_their_types(shop: MysqlShop) -> None:
    """A table without rows has its columns; the first rows give a wide decimal a type for good."""
    shop.db.execute(
        "create table orders (id int primary key, amount decimal(65,30), seen timestamp null)"
    )
    shop.configure({shop.orders: {"mode": "incremental", "cursor_field": "id"}})
    assert shop.one().rows_in_table == 0
    shop.db.execute("insert into orders values (1, 1.25, '2024-01-01')")
    assert shop.one().rows_inserted == 1
    shop.db.execute("insert into orders values (2, 2.5, null)")
    assert shop.one().rows_inserted == 1
    assert shop.ask("select distinct typeof(amount), typeof(seen) from shop.orders") == [
        ("DECIMAL(38,2)", "TIMESTAMP WITH TIME ZONE")
    ]
    amounts = [Decimal("1.25"), Decimal("2.5")]  # the source writes 30 digits behind the point
    assert shop.ask("select amount from shop.orders order by id") == [(n,) for n in amounts]
    assert verify(shop.file)[0].status is VerifyStatus.EQUAL


def test_zero_dates_as_null_come_once(shop: MysqlShop) -> None:
    """Every run reads the rows whose cursor is a zero date, and they land once."""
    shop.db.execute(
        "create table orders (id int primary key, day datetime not null);\nset sql_mode = '';\n"
        "insert into orders values (1, '0000-00-00'), (2, '2024-01-01')"
    )
    shop.configure({shop.orders: {"mode": "incremental", "cursor_field": "day"}}, zero_dates=None)
    assert shop.one().rows_inserted == 2
    shop.db.execute("set sql_mode = '';\ninsert into orders values (3, '0000-00-00')")
    assert shop.one().rows_inserted == 1
    assert shop.one().rows_inserted == 0
    assert shop.ask("select id from shop.orders where day is null order by id") == [(1,), (3,)]


def test_cut_connection_never_lands_half_a_table(shop: MysqlShop) -> None:
    """If every attempt is cut, the table fails and stays unchanged; the next run has every row."""
    shop.db.execute("create table orders (id int primary key, what varchar(200))")
    shop.db.execute("insert into orders select seq, repeat('x', 150) from seq_1_to_60000")
    with FaultProxy(shop.db.port) as proxy:
        shop.url = shop.db.url.replace(f":{shop.db.port}/", f":{proxy.port}/")
        shop.configure(None)
        proxy.cut_after = 3_000_000
        error = shop.run(threads=1).tables[0].error
        assert error is not None
        assert error.type == "ConnectError"
        proxy.cut_after = None
        assert shop.one().rows_in_table == 60_000
    shop.same_rows()


def test_discover_and_check_go_through_the_project(shop: MysqlShop) -> None:
    """The connector is found by its name, and its streams are named by database and table."""
    shop.db.execute("create table orders (id int primary key)")
    shop.configure(None)
    loaded = project.load(shop.file)
    assert [check.ok for check in project.check(loaded)] == [True, True]
    assert shop.run().tables[0].table == "shop.orders"


def test_verify_finds_and_repairs_differences(shop: MysqlShop) -> None:
    """Equal tables are equal; a row that the lake lost is found by its key and read again.

    A table in each mode.
    """
    modes = ("incremental", "append_only", "full_table")
    for mode in modes:
        shop.db.execute(
            f"create table {mode} (id int primary key, v text, amt decimal(12,2), rev int);\n"
            f"insert into {mode} select seq, concat('v', seq), seq / 4, seq from seq_1_to_50"
        )
    cursor = {"cursor_field": "rev"}
    shop.configure(
        {
            f"{shop.db.name}.{mode}": {"mode": mode, **(cursor if mode != "full_table" else {})}
            for mode in modes
        }
    )
    assert [result.rows_inserted for result in shop.each().values()] == [50] * 3
    verdicts = [(verdict.error, verdict.status) for verdict in verify(shop.file)]
    assert verdicts == [(None, VerifyStatus.EQUAL)] * 3
    with project.catalog_of(project.load(shop.file)).writer() as con:
        for mode in modes:
            con.execute(f"delete from lake.shop.{mode} where id in (3, 8)")
    verdicts = [(verdict.status, verdict.repaired) for verdict in verify(shop.file, repair=True)]
    assert verdicts == [(VerifyStatus.REPAIRED, 2)] * 3
    for mode in modes:
        shop.same_rows(mode)


def test_locked_table_fails_and_the_others_go_on(shop: MysqlShop) -> None:
    """A migration's LOCK TABLES costs its table a minute at most, by name, and no other one."""
    shop.db.execute("create table orders (id int primary key);\ncreate table other (id int)")
    shop.configure(None, lock_timeout="1s")
    with closing(shop.db.connect()) as con, con.cursor() as cursor:
        cursor.execute("lock tables orders write")
        results = {str(result.table): result for result in shop.run().tables}
    assert results["shop.other"].status == "ok"
    error = results["shop.orders"].error
    assert error is not None
    assert "was locked for longer than lock_timeout (1 s)" in error.message


def test_unsigned_keys_beyond_63_bits_are_followed(shop: MysqlShop) -> None:
    """By a cursor that was set by hand, with a lookback, through verify and its repair."""
    shop.db.execute("create table orders (id bigint unsigned primary key, v int)")
    shop.db.execute("insert into orders values (9223372036854775809, 1), (3, 1)")
    options = {"mode": "incremental", "cursor_field": "id", "lookback": 5, "deletes": "hard"}
    shop.configure({shop.orders: options})
    shop.one()
    shop.db.execute("insert into orders values (18446744073709551615, 1)")
    shop.db.execute("delete from orders where id = 9223372036854775809")
    result = shop.one()
    assert (result.rows_inserted, result.rows_deleted) == (1, 1)
    assert result.cursor_after.value == 18446744073709551615
    shop.same_rows()
    config = project.load(shop.file)
    for value in ("9223372036854775808", "2", "18446744073709551616"):
        edit.set_cursor(config, "shop.orders", value)
        assert shop.one().rows_inserted == 0
        assert verify(shop.file)[0].status is VerifyStatus.EQUAL
    shop.db.execute("update orders set v = 2 where id = 3")
    assert verify(shop.file, repair=True)[0].status is VerifyStatus.REPAIRED
    shop.same_rows()
