"""`verify` finds every difference between source and lake, by key and kind, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from cdpsync import project
from cdpsync.cli.main import app
from cdpsync.errors import LockHeldError
from cdpsync.model import TableStatus
from cdpsync.model.verification import DiffKind, Sample, VerifyResult, VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from support.shop import Shop

MODES = {
    "incremental": {"mode": "incremental", "cursor_field": "rev"},
    "append_only": {"mode": "append_only", "cursor_field": "rev"},
    "full_table": {"mode": "full_table"},
}


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A project whose source has a table of twenty rows, one of them with NULLs."""
    shop.pg.execute("create table orders (id int primary key, v text, amt numeric(12,2), rev int)")
    shop.pg.execute(
        "insert into orders select i, 'v' || i, i / 4.0, i from generate_series(1, 20) i;"
        "update orders set v = null, amt = null where id = 7"
    )
    return shop


def configure(shop: Shop, mode: str = "incremental", **options: Any) -> None:
    shop.configure({"public.orders": {**MODES[mode], **options}})


def change_lake(shop: Shop, *statements: str) -> None:
    """Change the lake without a run, so that it differs from the source."""
    with project.catalog_of(project.load(shop.file)).writer() as con:
        for statement in statements:
            con.execute(statement)


def verify_one(shop: Shop, **choices: Any) -> VerifyResult:
    """Verify the only table; assert that it could be compared."""
    (result,) = verify(shop.file, **choices)
    assert result.error is None, result.error
    return result


def differences(result: VerifyResult) -> list[tuple[str, ...]]:
    """Return the listed differences as (kind, key…)."""
    assert result.compared
    return [
        (difference.kind.value, *(text for _, text in difference.key))
        for difference in result.compared.listed
    ]


def counts(result: VerifyResult) -> dict[str, int]:
    assert result.compared
    return {kind.value: n for kind, n in result.compared.counts.items()}


def counts_of_each(shop: Shop) -> dict[str, dict[str, int]]:
    """Verify each table; return its counts by its name."""
    return {result.table.name: counts(result) for result in verify(shop.file)}


def cli(shop: Shop, *argv: str) -> Any:
    return CliRunner().invoke(app, ["-c", str(shop.file), "verify", *argv])


@pytest.mark.parametrize("mode", MODES)
def test_equal_tables_are_equal(orders: Shop, mode: str) -> None:
    """After a run nothing differs, in any mode, whatever was updated between runs."""
    configure(orders, mode)
    orders.one()
    result = verify_one(orders)
    assert (result.status, counts(result)) == (VerifyStatus.EQUAL, {})
    assert result.compared.source.rows == result.compared.lake.rows == 20
    orders.pg.execute("update orders set v = 'new', rev = 30 where id = 3")
    orders.one()
    assert verify_one(orders).status is VerifyStatus.EQUAL


@pytest.mark.parametrize("mode", ["incremental", "full_table"])
def test_each_kind_is_found_by_key_and_repaired(orders: Shop, mode: str) -> None:
    """Missing, stale, extra and doubled rows; the repair touches these and no others."""
    configure(orders, mode, **({"deletes": "hard"} if mode == "incremental" else {}))
    orders.one()
    before = orders.state()
    change_lake(
        orders,
        "delete from lake.shop.orders where id in (2, 5)",
        "update lake.shop.orders set v = 'bad' where id = 9",
        "update lake.shop.orders set v = 'no null' where id = 7",
        "insert into lake.shop.orders values (99, 'ghost', 1, 1)",
        "insert into lake.shop.orders select * from lake.shop.orders where id = 4",
    )
    result = verify_one(orders)
    assert differences(result) == [
        *(("extra", "4"), ("extra", "99")),
        *(("missing", "2"), ("missing", "5")),
        *(("stale", "7"), ("stale", "9")),
    ]
    assert result.status is VerifyStatus.DIFFERENT
    assert (result.compared.source.rows, result.compared.lake.rows) == (20, 20)
    repaired = verify_one(orders, repair=True)
    assert (repaired.status, differences(repaired)) == (VerifyStatus.REPAIRED, differences(result))
    assert verify_one(orders).status is VerifyStatus.EQUAL
    orders.same()
    assert orders.state() == before
    record = project.history(project.load(orders.file), (), None)[0].result
    assert record.notices == ("repaired by cdpsync verify",)
    assert (record.rows_read, record.rows_updated, record.rows_deleted) == (5, 2, 3)
    assert (record.rows_inserted, record.rows_in_table) == (3, 20)


@pytest.mark.parametrize("keyed", [True, False])
def test_rows_without_a_key_are_compared_by_their_number(orders: Shop, keyed: bool) -> None:
    """A row that is missing, doubled or changed in a table that is appended to, and its repair."""
    if not keyed:
        orders.pg.execute("alter table orders drop constraint orders_pkey")
        orders.pg.execute("insert into orders select * from orders where id in (4, 5)")
    configure(orders, "append_only")
    orders.one()
    change_lake(
        orders,
        "delete from lake.shop.orders where id = 4",
        "insert into lake.shop.orders select * from lake.shop.orders where id = 11",
        "insert into lake.shop.orders select * from lake.shop.orders where id = 11",
        "update lake.shop.orders set v = 'bad' where id = 9",
    )
    assert counts(verify_one(orders)) == {"missing": 2 if keyed else 3, "extra": 3, "gone": 1}
    assert verify_one(orders, repair=True).status is VerifyStatus.REPAIRED
    assert counts(verify_one(orders)) == {"gone": 1}  # append_only keeps the old version of the row
    change_lake(orders, "delete from lake.shop.orders where v = 'bad'")
    orders.same()


def test_full_table_without_a_key(orders: Shop) -> None:
    """Whole rows are compared; the lake's changed row is extra, the source's is missing."""
    orders.pg.execute("alter table orders drop constraint orders_pkey")
    configure(orders, "full_table")
    orders.one()
    change_lake(orders, "update lake.shop.orders set v = 'bad' where id = 9")
    assert counts(verify_one(orders)) == {"missing": 1, "extra": 1}
    assert verify_one(orders, repair=True).status is VerifyStatus.REPAIRED
    orders.same()


def test_rows_that_the_next_run_reads_are_not_errors(orders: Shop) -> None:
    """Rows that are new or changed since the last run are counted, and a repair leaves them."""
    configure(orders)
    orders.one()
    orders.pg.execute("update orders set v = 'new', rev = 21 where id = 3")
    orders.pg.execute("insert into orders values (21, 'x', 1, 22), (22, 'y', 1, null)")
    result = verify_one(orders, repair=True)
    assert (result.status, counts(result)) == (VerifyStatus.EQUAL, {"newer": 3})
    assert result.notices == ("3 rows are not synced yet: the next run reads them",)
    assert orders.ask("select count(*) from shop.orders") == [(20,)]
    orders.one()
    orders.same()


@pytest.mark.parametrize("deletes", ["ignore", "hard", "soft"])
def test_rows_deleted_at_the_source(orders: Shop, deletes: str) -> None:
    """Rows kept on purpose are counted as gone; others are extra until a run deletes them."""
    configure(orders, deletes=deletes)
    orders.one()
    orders.pg.execute("delete from orders where id in (2, 3)")
    result = verify_one(orders)
    if deletes == "ignore":
        assert (result.status, counts(result)) == (VerifyStatus.EQUAL, {"gone": 2})
        assert result.notices == (
            "2 rows were deleted at the source, and are kept (deletes: ignore)",
        )
        return
    assert differences(result) == [("extra", "2"), ("extra", "3")]
    orders.one()
    assert counts(verify_one(orders)) == {}


def test_marked_row_that_the_source_has_is_stale(orders: Shop) -> None:
    """A repair removes the mark of a row that the source has."""
    configure(orders, deletes="soft")
    orders.one()
    change_lake(orders, "update lake.shop.orders set _deleted_at = now() where id = 6")
    assert differences(verify_one(orders)) == [("stale", "6")]
    assert verify_one(orders, repair=True).status is VerifyStatus.REPAIRED
    assert orders.ask("select count(*) from shop.orders where _deleted_at is not null") == [(0,)]
    assert counts(verify_one(orders)) == {}


def test_repair_marks_deleted_rows_with_soft_deletes(orders: Shop) -> None:
    """As a run would: a doubled row is deleted once, and a row that came back is not marked."""
    configure(orders, deletes="soft", deletes_every="1d")
    orders.one()
    orders.pg.execute("delete from orders where id in (2, 3)")
    change_lake(orders, "insert into lake.shop.orders from lake.shop.orders where id in (3, 4)")
    result = verify_one(orders, repair=True)
    assert (result.status, counts(result)["extra"]) == (VerifyStatus.REPAIRED, 4)
    assert orders.ask("select id from shop.orders where _deleted_at is not null order by 1") == [
        (2,), (3,),
    ]  # fmt: skip
    assert orders.ask("select count(*), count(distinct id) from shop.orders") == [(20, 20)]
    assert counts(verify_one(orders)) == {}
    orders.pg.execute("insert into orders (id) values (2)")
    assert orders.one().status is TableStatus.OK


def test_repair_does_not_empty_a_table(orders: Shop) -> None:
    """Where the source has lost most of its rows, the lake keeps its own."""
    configure(orders, deletes="hard")
    orders.one()
    orders.pg.execute("delete from orders where id > 4")
    (result,) = verify(orders.file, repair=True)
    assert result.status is VerifyStatus.FAILED
    assert "16 of its 20 rows are not at the source" in result.error.message
    assert orders.ask("select count(*) from shop.orders") == [(20,)]


def test_options_of_a_table_are_honoured(orders: Shop) -> None:
    """Its name, where, columns and types decide what is compared."""
    columns = {"exclude": ["v"], "types": {"amt": "varchar", "id": "bigint"}}
    configure(orders, name="people", where="id > 5 -- not all", columns=columns)
    orders.one()
    assert counts(verify_one(orders)) == {}
    orders.pg.execute("update orders set v = 'unseen' where id = 8; delete from orders where id=1")
    assert counts(verify_one(orders)) == {}
    change_lake(orders, "update lake.shop.people set amt = '0' where id = 8")
    assert differences(verify_one(orders)) == [("stale", "8")]
    assert verify_one(orders, repair=True).status is VerifyStatus.REPAIRED
    assert counts(verify_one(orders)) == {}


def test_new_column_of_the_source_gives_a_notice_and_is_not_compared(orders: Shop) -> None:
    """No row is wrong because of a column that is not in the lake yet."""
    configure(orders)
    orders.one()
    orders.pg.execute("alter table orders add column more int default 5")
    result = verify_one(orders)
    assert result.status is VerifyStatus.EQUAL
    assert result.notices == ('column "more" is not in the lake yet, and was not compared',)


def test_tables_that_cannot_be_compared_say_why(orders: Shop) -> None:
    """A table that was never loaded is skipped; a changed type fails and names the column."""
    configure(orders)
    (result,) = verify(orders.file)
    assert result.status is VerifyStatus.SKIPPED
    assert result.notices == ("it was never loaded: cdpsync run shop.orders",)
    orders.one()
    orders.pg.execute("alter table orders alter column v type bytea using null")
    (result,) = verify(orders.file)
    assert result.status is VerifyStatus.FAILED
    for part in ('"v"', "text", "bytea", "cdpsync run shop.orders --full-refresh"):
        assert part in result.error.message


def test_composite_keys_with_nulls(shop: Shop) -> None:
    """NULL in a key is compared like any other value."""
    shop.pg.execute("create table orders (a int, b text, v text, rev int)")
    shop.pg.execute("insert into orders select i % 5, nullif(i % 3, 0), i, i from "
                    "generate_series(1, 15) i")  # fmt: skip
    configure(shop, primary_key=["a", "b"], deletes="hard")
    shop.one()
    change_lake(
        shop,
        "delete from lake.shop.orders where a = 1 and b is null",
        "update lake.shop.orders set v = 'bad' where a = 2 and b = '1'",
    )
    assert differences(verify_one(shop)) == [("missing", "1", None), ("stale", "2", "1")]
    assert verify_one(shop, repair=True).status is VerifyStatus.REPAIRED
    shop.same()


def test_newest_row_counts_where_the_source_repeats_a_key(shop: Shop) -> None:
    """The lake has one row per key: the one that a run keeps."""
    shop.pg.execute("create table orders (id int, v text, rev int)")
    shop.pg.execute("insert into orders values (1, 'old', 1), (1, 'new', 2), (2, 'x', 1)")
    configure(shop, primary_key=["id"])
    shop.one()
    assert counts(verify_one(shop)) == {}
    shop.pg.execute("insert into orders values (3, 'later', 9)")
    shop.one()
    change_lake(
        shop,
        "update lake.shop.orders set v = 'old', rev = 1 where id = 1",
        "update lake.shop.orders set v = 'bad' where id = 2",
    )
    assert differences(verify_one(shop)) == [("stale", "1"), ("stale", "2")]
    assert verify_one(shop, repair=True).status is VerifyStatus.REPAIRED
    assert shop.ask("select id, v from shop.orders order by id") == [
        (1, "new"),
        (2, "x"),
        (3, "later"),
    ]


EXOTIC = {
    "smallint": "-32768",
    "bigint": "9223372036854775807",
    "oid": "4294967295",
    "real": "'NaN'",
    "double precision": "'-0'",
    "numeric(10,2)": "1.10",
    "numeric(38,0)": "9" * 38,
    "numeric": "2.500",
    "boolean": "false",
    "uuid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    "date": "'4713-01-01 BC'",
    "time": "'24:00:00'",
    "timestamp": "'infinity'",
    "timestamptz": "'0044-03-15 00:00:00.000001+00 BC'",
    "text": "''",
    "char(5)": "'a'",
    "json": """'{"b": 1,  "a": [1e999, 0.10]}'""",
    "jsonb": "'[1.10]'",
    "bytea": r"'\x00ff5c'",
    "interval": "'1 mon -2 days'",
    "inet": "'10.0.0.0/8'",
    "point": "'(1.5,-0)'",
    "int4range": "'[1,5]'",
    "integer[]": "'{1,NULL,3}'",
    "float8[]": "'{NaN,-Infinity,5e-324,NULL}'",
    "numeric(10,2)[]": "'{1.10,NULL}'",
    "timestamptz[]": "'{2020-01-01 00:00+02,-infinity}'",
    "text[]": """'{a,NULL,"NULL"}'""",
    "jsonb[]": """array['{"a": [1]}']::jsonb[]""",
    "bytea[]": r"array['\x00ff', null]::bytea[]",
    "integer[][]": "'{{1,2},{3,NULL}}'",
}


@pytest.mark.parametrize("mode", MODES)
def test_every_type_is_compared(shop: Shop, mode: str) -> None:
    """No value gives a false difference; a value that became NULL is found."""
    columns = ", ".join(f"c{n} {type_}" for n, type_ in enumerate(EXOTIC))
    shop.pg.execute(f"create table orders (id int primary key, rev int, {columns})")
    for number in range(len(EXOTIC) + 1):
        shop.pg.execute(f"insert into orders values ({number}, 1, {', '.join(EXOTIC.values())})")
    shop.pg.execute("insert into orders (id, rev) values (1000, 1), (1001, 50)")
    configure(shop, mode)
    shop.one()
    assert counts(verify_one(shop)) == {}
    change_lake(
        shop,
        *(f"update lake.shop.orders set c{n} = null where id = {n}" for n in range(len(EXOTIC))),
    )
    result = verify_one(shop)
    if mode == "append_only":
        assert counts(result) == {"missing": len(EXOTIC), "gone": len(EXOTIC)}
        return
    assert differences(result) == [("stale", str(n)) for n in range(len(EXOTIC))]
    assert verify_one(shop, repair=True).status is VerifyStatus.REPAIRED
    assert counts(verify_one(shop)) == {}


def test_repair_asks_for_the_keys_alone(orders: Shop) -> None:
    """Only the wrong rows are read again, of a thousand."""
    orders.pg.execute("insert into orders select i, 'w', 1, 5 from generate_series(21, 1000) i")
    configure(orders)
    orders.one()
    change_lake(orders, "delete from lake.shop.orders where id in (500, 501)")
    verify_one(orders, repair=True)
    record = project.history(project.load(orders.file), (), None)[0].result
    assert (record.rows_read, record.rows_inserted) == (2, 2)


@pytest.mark.parametrize("key", ["int", "text"])
def test_sample_compares_a_part_of_the_rows(shop: Shop, key: str) -> None:
    """A sample has about as many rows as asked for, the same on both sides."""
    shop.pg.execute(f"create table orders (id {key} primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'v' || i, i from generate_series(1, 2000) i")
    configure(shop)
    shop.one()
    result = verify_one(shop, sample=Sample(percent=10))
    assert (result.share, counts(result)) == (10, {})
    assert 100 < result.compared.source.rows < 300
    change_lake(shop, "update lake.shop.orders set v = 'bad' where rev < 2000")
    result = verify_one(shop, sample=Sample(rows=100))
    assert result.share == 20
    assert result.compared.wrong >= result.compared.source.rows - 1 > 30


def test_rows_written_during_a_verification_are_not_differences(
    orders: Shop, monkeypatch: Any
) -> None:
    """Inserts, updates and late commits between the lake's copy and the source's view."""
    from cdpsync.verify import verifier

    configure(orders)
    orders.one()
    with psycopg.connect(orders.pg.url) as late:
        late.execute("insert into orders values (100, 'late', 1, 22)")
        orders.pg.execute("insert into orders values (101, 'newest', 1, 40)")
        orders.one()
        extract = verifier.extract

        def write_then_extract(*args: Any, **options: Any) -> Any:
            late.commit()
            orders.pg.execute("update orders set v = 'x', rev = 50 where id = 2")
            orders.pg.execute("insert into orders values (102, 'y', 1, 51)")
            return extract(*args, **options)

        monkeypatch.setattr(verifier, "extract", write_then_extract)
        result = verify_one(orders)
    assert result.status is VerifyStatus.EQUAL
    assert result.compared.counts[DiffKind.NEWER] == 3


def test_source_of_files_is_verified_and_repaired(shop: Shop) -> None:
    """A source that cannot be asked for keys is read whole."""
    folder = shop.folder / "in"
    folder.mkdir()
    rows = "".join(f"{n},v{n}\n" for n in range(1, 51))
    (folder / "things.csv").write_text("id,v\n" + rows)
    table = {"things": {"mode": "full_table", "primary_key": ["id"]}}
    files = {"type": "files", "path": "./in/*.csv", "tables": table}
    shop.file.write_text(json.dumps({"warehouse": shop.warehouse, "sources": {"shop": files}}))
    shop.one()
    assert counts(verify_one(shop)) == {}
    change_lake(
        shop,
        "delete from lake.shop.things where id = 3",
        "update lake.shop.things set v = 'bad' where id = 8",
    )
    assert counts(verify_one(shop)) == {"missing": 2, "extra": 1}
    assert verify_one(shop, repair=True).status is VerifyStatus.REPAIRED
    assert counts(verify_one(shop)) == {}
    assert shop.ask("select count(*), count(distinct v) from shop.things") == [(50, 50)]


CHANGES = {
    "a row": "update orders set v = 'new' where id = 3",
    "every row the same": "update orders set v = 'v3'",
    "all rows": "update orders set v = v || '!'",
    "a deleted row": "delete from orders where id = 3",
    "a recreated column": "alter table orders drop column v;"
    "alter table orders add column v text default 'new'",
    "a recreated table": "create table other as select * from orders; drop table orders;"
    "update other set v = 'x' where id = 5; alter table other rename to orders;"
    "alter table orders add primary key (id)",
    "a rewritten table": "alter table orders alter column v type text using v || '!'",
    "an emptied table": "truncate orders",
}


def test_cached_digests_are_never_stale(orders: Shop) -> None:
    """A second verification reads the rows that any kind of change has changed.

    A table for each kind.
    """
    changes = {change.replace(" ", "_"): sql for change, sql in CHANGES.items()}
    for table in changes:
        orders.pg.execute(f"create table {table} as table orders")
        orders.pg.execute(f"alter table {table} add primary key (id)")
        orders.pg.execute(f"vacuum full {table}")
    orders.configure({f"public.{table}": MODES["full_table"] for table in changes})
    orders.each()
    assert counts_of_each(orders) == {table: {} for table in changes}
    for table, sql in changes.items():
        orders.pg.execute(sql.replace("orders", table))
    assert [table for table, different in counts_of_each(orders).items() if not different] == []
    orders.each(allow_shrink=True)
    assert counts_of_each(orders) == {table: {} for table in changes}


def test_unchanged_pages_are_not_read_again(orders: Shop) -> None:
    """Their digests are cached until the pages change; a damaged cache file is made again."""
    configure(orders, "full_table")
    orders.one()
    cache_folder = orders.folder / ".cdpsync/verified/shop/orders"
    verify_one(orders)
    (first,) = cache_folder.iterdir()
    made_at = first.stat().st_mtime_ns
    verify_one(orders)
    assert [file.stat().st_mtime_ns for file in cache_folder.iterdir()] == [made_at]
    first.write_bytes(first.read_bytes()[:100])
    assert counts(verify_one(orders)) == {}
    orders.pg.execute("update orders set v = 'new' where id = 3")
    assert differences(verify_one(orders)) == [("stale", "3")]
    (second,) = cache_folder.iterdir()
    assert second.stat().st_mtime_ns != made_at


def test_command_reports_differences_and_exits_with_its_code(orders: Shop) -> None:
    """0 for equal, 5 for a difference, 0 for one that was repaired, 2 for a wrong sample."""
    configure(orders, deletes="hard")
    orders.one()
    assert cli(orders).exit_code == 0
    change_lake(orders, "delete from lake.shop.orders where id <= 12")
    shown = cli(orders)
    assert shown.exit_code == 5
    assert "shop.orders: missing: id=1\n" in shown.stdout
    assert "shop.orders: … and 2 more: -o json" in shown.stdout
    answer = cli(orders, "-o", "json")
    (table,) = json.loads(answer.stdout)
    assert (table["status"], table["missing"], table["rows_lake"]) == ("different", 12, 8)
    assert table["differences"][11] == {"kind": "missing", "key": {"id": "12"}}
    assert table["cursor_source"] == {"min": "1", "max": "20"}
    assert table["cursor_lake"] == {"min": "13", "max": "20"}
    csv = cli(orders, "-o", "csv")
    assert csv.stdout.splitlines()[1].startswith("shop,public.orders,shop.orders,incremental,diff")
    assert cli(orders, "--repair").exit_code == 0
    assert cli(orders).exit_code == 0
    assert cli(orders, "--sample", "lots").exit_code == 2
    assert cli(orders, "--sample", "0%").exit_code == 2
    assert cli(orders, "shop.nothing").exit_code == 2
    orders.pg.execute("drop table orders")
    assert cli(orders).exit_code == 1


def test_repair_does_not_wait_for_a_run(orders: Shop) -> None:
    """A table on which a run works is not repaired, but it is verified."""
    from cdpsync.system import locks

    configure(orders)
    orders.one()
    folder = project.locks_folder(project.load(orders.file))
    with locks.hold(folder, ["shop.orders"], "other", "now"):
        assert verify_one(orders).status is VerifyStatus.EQUAL
        with pytest.raises(LockHeldError):
            verify(orders.file, repair=True)
