"""Every difference between source and lake is found, by key and kind; equal data gives none."""

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
    """A table of twenty rows at the source, one with NULLs, one that will not be settled."""
    shop.pg.execute("create table orders (id int primary key, v text, amt numeric(12,2), rev int)")
    shop.pg.execute(
        "insert into orders select i, 'v' || i, i / 4.0, i from generate_series(1, 20) i;"
        "update orders set v = null, amt = null where id = 7"
    )
    return shop


def configure(shop: Shop, mode: str = "incremental", **more: Any) -> None:
    shop.configure({"public.orders": {**MODES[mode], **more}})


def plant(shop: Shop, *statements: str) -> None:
    """Write to the lake behind everybody's back."""
    with project.catalog_of(project.load(shop.file)).writer() as con:
        for statement in statements:
            con.execute(statement)


def one(shop: Shop, **choices: Any) -> VerifyResult:
    """Verify the one table, which could be compared."""
    (verdict,) = verify(shop.file, **choices)
    assert verdict.error is None, verdict.error
    return verdict


def told(verdict: VerifyResult) -> list[tuple[str, ...]]:
    """Return the differences as (kind, key…)."""
    assert verdict.compared
    return [(d.kind.value, *(text for _, text in d.key)) for d in verdict.compared.listed]


def counted(verdict: VerifyResult) -> dict[str, int]:
    assert verdict.compared
    return {kind.value: n for kind, n in verdict.compared.counts.items()}


def cli(shop: Shop, *argv: str) -> Any:
    return CliRunner().invoke(app, ["-c", str(shop.file), "verify", *argv])


@pytest.mark.parametrize("mode", MODES)
def test_equal_tables_are_equal(orders: Shop, mode: str) -> None:
    """After a run nothing differs, in any mode, whatever was updated between runs."""
    configure(orders, mode)
    orders.one()
    verdict = one(orders)
    assert (verdict.status, counted(verdict)) == (VerifyStatus.EQUAL, {})
    assert verdict.compared.source.rows == verdict.compared.lake.rows == 20
    orders.pg.execute("update orders set v = 'new', rev = 30 where id = 3")
    orders.one()
    assert one(orders).status is VerifyStatus.EQUAL


@pytest.mark.parametrize("mode", ["incremental", "full_table"])
def test_each_kind_is_found_by_key_and_mended(orders: Shop, mode: str) -> None:
    """Missing, stale, extra and doubled rows; the repair touches these and no others."""
    configure(orders, mode, **({"deletes": "hard"} if mode == "incremental" else {}))
    orders.one()
    before = orders.state()
    plant(
        orders,
        "delete from lake.shop.orders where id in (2, 5)",
        "update lake.shop.orders set v = 'bad' where id = 9",
        "update lake.shop.orders set v = 'no null' where id = 7",
        "insert into lake.shop.orders values (99, 'ghost', 1, 1)",
        "insert into lake.shop.orders select * from lake.shop.orders where id = 4",
    )
    verdict = one(orders)
    assert told(verdict) == [
        *(("extra", "4"), ("extra", "99")),
        *(("missing", "2"), ("missing", "5")),
        *(("stale", "7"), ("stale", "9")),
    ]
    assert verdict.status is VerifyStatus.DIFFERENT
    assert (verdict.compared.source.rows, verdict.compared.lake.rows) == (20, 20)
    repaired = one(orders, repair=True)
    assert (repaired.status, told(repaired)) == (VerifyStatus.REPAIRED, told(verdict))
    assert one(orders).status is VerifyStatus.EQUAL
    orders.same()
    assert orders.state() == before
    record = project.history(project.load(orders.file), (), None)[0].result
    assert record.notices == ("repaired by cdpsync verify",)
    assert (record.rows_read, record.rows_updated, record.rows_deleted) == (5, 2, 3)
    assert (record.rows_inserted, record.rows_in_table) == (3, 20)


@pytest.mark.parametrize("keyed", [True, False])
def test_rows_without_a_key_are_compared_as_often_as_they_are(orders: Shop, keyed: bool) -> None:
    """A row that is missing, doubled or changed in a table that is appended to, and the mending."""
    if not keyed:
        orders.pg.execute("alter table orders drop constraint orders_pkey")
        orders.pg.execute("insert into orders select * from orders where id in (4, 5)")
    configure(orders, "append_only")
    orders.one()
    plant(
        orders,
        "delete from lake.shop.orders where id = 4",
        "insert into lake.shop.orders select * from lake.shop.orders where id = 11",
        "insert into lake.shop.orders select * from lake.shop.orders where id = 11",
        "update lake.shop.orders set v = 'bad' where id = 9",
    )
    assert counted(one(orders)) == {"missing": 2 if keyed else 3, "extra": 3, "gone": 1}
    assert one(orders, repair=True).status is VerifyStatus.REPAIRED
    assert counted(one(orders)) == {"gone": 1}  # what was once there stays, as append_only says
    plant(orders, "delete from lake.shop.orders where v = 'bad'")
    orders.same()


def test_full_table_without_a_key(orders: Shop) -> None:
    """Whole rows are compared; the lake's changed row is extra, the source's is missing."""
    orders.pg.execute("alter table orders drop constraint orders_pkey")
    configure(orders, "full_table")
    orders.one()
    plant(orders, "update lake.shop.orders set v = 'bad' where id = 9")
    assert counted(one(orders)) == {"missing": 1, "extra": 1}
    assert one(orders, repair=True).status is VerifyStatus.REPAIRED
    orders.same()


def test_what_the_next_run_reads_is_no_error(orders: Shop) -> None:
    """New and changed rows since the last run are told, and left to it, also by a repair."""
    configure(orders)
    orders.one()
    orders.pg.execute("update orders set v = 'new', rev = 21 where id = 3")
    orders.pg.execute("insert into orders values (21, 'x', 1, 22), (22, 'y', 1, null)")
    verdict = one(orders, repair=True)
    assert (verdict.status, counted(verdict)) == (VerifyStatus.EQUAL, {"newer": 3})
    assert verdict.notices == ("3 rows are not synced yet: the next run reads them",)
    assert orders.ask("select count(*) from shop.orders") == [(20,)]
    orders.one()
    orders.same()


@pytest.mark.parametrize("deletes", ["ignore", "hard", "soft"])
def test_rows_deleted_at_the_source(orders: Shop, deletes: str) -> None:
    """Kept on purpose they are told; else they are extra until the run that takes them out."""
    configure(orders, deletes=deletes)
    orders.one()
    orders.pg.execute("delete from orders where id in (2, 3)")
    verdict = one(orders)
    if deletes == "ignore":
        assert (verdict.status, counted(verdict)) == (VerifyStatus.EQUAL, {"gone": 2})
        assert verdict.notices == (
            "2 rows were deleted at the source, and are kept (deletes: ignore)",
        )
        return
    assert told(verdict) == [("extra", "2"), ("extra", "3")]
    orders.one()
    assert counted(one(orders)) == {}


def test_marked_rows_are_neither_extra_nor_right_when_they_are_there(orders: Shop) -> None:
    """A mark on a row that the source has is stale; the repair takes it away."""
    configure(orders, deletes="soft")
    orders.one()
    plant(orders, "update lake.shop.orders set _deleted_at = now() where id = 6")
    assert told(one(orders)) == [("stale", "6")]
    assert one(orders, repair=True).status is VerifyStatus.REPAIRED
    assert orders.ask("select count(*) from shop.orders where _deleted_at is not null") == [(0,)]
    assert counted(one(orders)) == {}


def test_repair_marks_what_is_gone_where_it_is_to_be_kept(orders: Shop) -> None:
    """As the run would; what is there twice goes once, and what has come back is no marked row."""
    configure(orders, deletes="soft", deletes_every="1d")
    orders.one()
    orders.pg.execute("delete from orders where id in (2, 3)")
    plant(orders, "insert into lake.shop.orders from lake.shop.orders where id in (3, 4)")
    verdict = one(orders, repair=True)
    assert (verdict.status, counted(verdict)["extra"]) == (VerifyStatus.REPAIRED, 4)
    assert orders.ask("select id from shop.orders where _deleted_at is not null order by 1") == [
        (2,), (3,),
    ]  # fmt: skip
    assert orders.ask("select count(*), count(distinct id) from shop.orders") == [(20, 20)]
    assert counted(one(orders)) == {}
    orders.pg.execute("insert into orders (id) values (2)")
    assert orders.one().status is TableStatus.OK


def test_repair_does_not_empty_a_table(orders: Shop) -> None:
    """A source that seems to have lost most rows takes nothing out of the lake."""
    configure(orders, deletes="hard")
    orders.one()
    orders.pg.execute("delete from orders where id > 4")
    (verdict,) = verify(orders.file, repair=True)
    assert verdict.status is VerifyStatus.FAILED
    assert "16 of its 20 rows are not at the source" in verdict.error.message
    assert orders.ask("select count(*) from shop.orders") == [(20,)]


def test_options_of_a_table_are_honoured(orders: Shop) -> None:
    """Its name, where, columns and types decide what is compared."""
    said = {"name": "people", "where": "id > 5 -- not all", "types": None}
    said["columns"] = {"exclude": ["v"], "types": {"amt": "varchar", "id": "bigint"}}
    del said["types"]
    configure(orders, **said)
    orders.one()
    assert counted(one(orders)) == {}
    orders.pg.execute("update orders set v = 'unseen' where id = 8; delete from orders where id=1")
    assert counted(one(orders)) == {}
    plant(orders, "update lake.shop.people set amt = '0' where id = 8")
    assert told(one(orders)) == [("stale", "8")]
    assert one(orders, repair=True).status is VerifyStatus.REPAIRED
    assert counted(one(orders)) == {}


def test_new_column_of_the_source_is_told_and_not_compared(orders: Shop) -> None:
    """It is not in the lake yet: no row is wrong for that."""
    configure(orders)
    orders.one()
    orders.pg.execute("alter table orders add column more int default 5")
    verdict = one(orders)
    assert verdict.status is VerifyStatus.EQUAL
    assert verdict.notices == ('column "more" is not in the lake yet, and was not compared',)


def test_tables_that_cannot_be_compared_say_why(orders: Shop) -> None:
    """One that was never loaded is skipped; one whose type has changed fails, by column."""
    configure(orders)
    (verdict,) = verify(orders.file)
    assert verdict.status is VerifyStatus.SKIPPED
    assert verdict.notices == ("it was never loaded: cdpsync run shop.orders",)
    orders.one()
    orders.pg.execute("alter table orders alter column v type bytea using null")
    (verdict,) = verify(orders.file)
    assert verdict.status is VerifyStatus.FAILED
    assert 'column "v" is VARCHAR in the lake and arrives as BLOB' in verdict.error.message


def test_composite_keys_with_nulls(shop: Shop) -> None:
    """NULL in a key is a value like others."""
    shop.pg.execute("create table orders (a int, b text, v text, rev int)")
    shop.pg.execute("insert into orders select i % 5, nullif(i % 3, 0), i, i from "
                    "generate_series(1, 15) i")  # fmt: skip
    configure(shop, primary_key=["a", "b"], deletes="hard")
    shop.one()
    plant(
        shop,
        "delete from lake.shop.orders where a = 1 and b is null",
        "update lake.shop.orders set v = 'bad' where a = 2 and b = '1'",
    )
    assert told(one(shop)) == [("missing", "1", None), ("stale", "2", "1")]
    assert one(shop, repair=True).status is VerifyStatus.REPAIRED
    shop.same()


def test_newest_row_counts_where_the_source_repeats_a_key(shop: Shop) -> None:
    """The lake has one row a key: the one that a run keeps."""
    shop.pg.execute("create table orders (id int, v text, rev int)")
    shop.pg.execute("insert into orders values (1, 'old', 1), (1, 'new', 2), (2, 'x', 1)")
    configure(shop, primary_key=["id"])
    shop.one()
    assert counted(one(shop)) == {}
    shop.pg.execute("insert into orders values (3, 'later', 9)")
    shop.one()
    plant(
        shop,
        "update lake.shop.orders set v = 'old', rev = 1 where id = 1",
        "update lake.shop.orders set v = 'bad' where id = 2",
    )
    assert told(one(shop)) == [("stale", "1"), ("stale", "2")]
    assert one(shop, repair=True).status is VerifyStatus.REPAIRED
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
    """No false alarm of any value; where one becomes NULL, or NULL becomes one, it is found."""
    columns = ", ".join(f"c{n} {type_}" for n, type_ in enumerate(EXOTIC))
    shop.pg.execute(f"create table orders (id int primary key, rev int, {columns})")
    for number in range(len(EXOTIC) + 1):
        shop.pg.execute(f"insert into orders values ({number}, 1, {', '.join(EXOTIC.values())})")
    shop.pg.execute("insert into orders (id, rev) values (1000, 1), (1001, 50)")
    configure(shop, mode)
    shop.one()
    assert counted(one(shop)) == {}
    plant(
        shop,
        *(f"update lake.shop.orders set c{n} = null where id = {n}" for n in range(len(EXOTIC))),
    )
    verdict = one(shop)
    if mode == "append_only":
        assert counted(verdict) == {"missing": len(EXOTIC), "gone": len(EXOTIC)}
        return
    assert told(verdict) == [("stale", str(n)) for n in range(len(EXOTIC))]
    assert one(shop, repair=True).status is VerifyStatus.REPAIRED
    assert counted(one(shop)) == {}


def test_repair_asks_for_the_keys_alone(orders: Shop) -> None:
    """Of a thousand rows only those in error are read again."""
    orders.pg.execute("insert into orders select i, 'w', 1, 5 from generate_series(21, 1000) i")
    configure(orders)
    orders.one()
    plant(orders, "delete from lake.shop.orders where id in (500, 501)")
    one(orders, repair=True)
    record = project.history(project.load(orders.file), (), None)[0].result
    assert (record.rows_read, record.rows_inserted) == (2, 2)


@pytest.mark.parametrize("key", ["int", "text"])
def test_sample_looks_at_a_share(shop: Shop, key: str) -> None:
    """About as many rows as asked for, the same on both sides; a fault in all rows shows."""
    shop.pg.execute(f"create table orders (id {key} primary key, v text, rev int)")
    shop.pg.execute("insert into orders select i, 'v' || i, i from generate_series(1, 2000) i")
    configure(shop)
    shop.one()
    verdict = one(shop, sample=Sample(percent=10))
    assert (verdict.share, counted(verdict)) == (10, {})
    assert 100 < verdict.compared.source.rows < 300
    plant(shop, "update lake.shop.orders set v = 'bad' where rev < 2000")
    verdict = one(shop, sample=Sample(rows=100))
    assert verdict.share == 20
    assert verdict.compared.wrong >= verdict.compared.source.rows - 1 > 30


def test_rows_written_meanwhile_are_no_differences(orders: Shop, monkeypatch: Any) -> None:
    """Inserts, updates and late commits between the lake's copy and the source's view."""
    from cdpsync.verify import verifier as module

    configure(orders)
    orders.one()
    with psycopg.connect(orders.pg.url) as late:
        late.execute("insert into orders values (100, 'late', 1, 22)")
        orders.pg.execute("insert into orders values (101, 'newest', 1, 40)")
        orders.one()
        real = module.extract

        def later(*args: Any, **said: Any) -> Any:
            late.commit()
            orders.pg.execute("update orders set v = 'x', rev = 50 where id = 2")
            orders.pg.execute("insert into orders values (102, 'y', 1, 51)")
            return real(*args, **said)

        monkeypatch.setattr(module, "extract", later)
        verdict = one(orders)
    assert verdict.status is VerifyStatus.EQUAL
    assert verdict.compared.counts[DiffKind.NEWER] == 3


def test_source_of_files_is_verified_and_mended_too(shop: Shop) -> None:
    """A source that cannot be asked for keys is read whole."""
    folder = shop.folder / "in"
    folder.mkdir()
    rows = "".join(f"{n},v{n}\n" for n in range(1, 51))
    (folder / "things.csv").write_text("id,v\n" + rows)
    table = {"things": {"mode": "full_table", "primary_key": ["id"]}}
    files = {"type": "files", "path": "./in/*.csv", "tables": table}
    shop.file.write_text(json.dumps({"warehouse": shop.warehouse, "sources": {"shop": files}}))
    shop.one()
    assert counted(one(shop)) == {}
    plant(
        shop,
        "delete from lake.shop.things where id = 3",
        "update lake.shop.things set v = 'bad' where id = 8",
    )
    assert counted(one(shop)) == {"missing": 2, "extra": 1}
    assert one(shop, repair=True).status is VerifyStatus.REPAIRED
    assert counted(one(shop)) == {}
    assert shop.ask("select count(*), count(distinct v) from shop.things") == [(50, 50)]


CHANGES = {
    "a row": "update orders set v = 'new' where id = 3",
    "every row the same": "update orders set v = 'v3'",
    "all rows": "update orders set v = v || '!'",
    "a row that leaves": "delete from orders where id = 3",
    "a column made anew": "alter table orders drop column v;"
    "alter table orders add column v text default 'new'",
    "the table made anew": "create table other as select * from orders; drop table orders;"
    "update other set v = 'x' where id = 5; alter table other rename to orders;"
    "alter table orders add primary key (id)",
    "the table rewritten": "alter table orders alter column v type text using v || '!'",
    "emptied": "truncate orders",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_known_of_unchanged_pages_is_never_stale(orders: Shop, change: str) -> None:
    """A second verification reads what changed at the source, in whatever way."""
    configure(orders, "full_table")
    orders.one()
    orders.pg.execute("vacuum full orders")
    assert counted(one(orders)) == {}
    orders.pg.execute(CHANGES[change])
    found = counted(one(orders))
    orders.one(allow_shrink=True)
    assert found, change
    assert counted(one(orders)) == {}


def test_unchanged_pages_are_not_read_again(orders: Shop) -> None:
    """What was made of them is kept until they change, and no longer; damage to it is mended."""
    configure(orders, "full_table")
    orders.one()
    kept = orders.folder / ".cdpsync/verified/shop/orders"
    one(orders)
    (first,) = kept.iterdir()
    made = first.stat().st_mtime_ns
    one(orders)
    assert [file.stat().st_mtime_ns for file in kept.iterdir()] == [made]
    first.write_bytes(first.read_bytes()[:100])
    assert counted(one(orders)) == {}
    orders.pg.execute("update orders set v = 'new' where id = 3")
    assert told(one(orders)) == [("stale", "3")]
    (second,) = kept.iterdir()
    assert second.stat().st_mtime_ns != made


def test_command_tells_and_ends_with_its_code(orders: Shop) -> None:
    """0 for equal, 5 for a difference, 0 for one that was repaired, 2 for a wrong sample."""
    configure(orders, deletes="hard")
    orders.one()
    assert cli(orders).exit_code == 0
    plant(orders, "delete from lake.shop.orders where id <= 12")
    shown = cli(orders)
    assert shown.exit_code == 5
    assert "shop.orders: missing: id=1\n" in shown.stdout
    assert "shop.orders: … and 2 more: -o json" in shown.stdout
    answer = cli(orders, "-o", "json")
    (said,) = json.loads(answer.stdout)
    assert (said["status"], said["missing"], said["rows_lake"]) == ("different", 12, 8)
    assert said["differences"][11] == {"kind": "missing", "key": {"id": "12"}}
    assert said["cursor_source"] == {"min": "1", "max": "20"}
    assert said["cursor_lake"] == {"min": "13", "max": "20"}
    csv = cli(orders, "-o", "csv")
    assert csv.stdout.splitlines()[1].startswith("shop,public.orders,shop.orders,incremental,diff")
    assert cli(orders, "--repair").exit_code == 0
    assert cli(orders).exit_code == 0
    assert cli(orders, "--sample", "lots").exit_code == 2
    assert cli(orders, "--sample", "0%").exit_code == 2
    assert cli(orders, "shop.nothing").exit_code == 2
    orders.pg.execute("drop table orders")
    assert cli(orders).exit_code == 1


def test_repair_waits_for_no_run(orders: Shop) -> None:
    """A table that is being synced is not repaired; it is verified all the same."""
    from cdpsync.system import locks

    configure(orders)
    orders.one()
    folder = project.locks_folder(project.load(orders.file))
    with locks.hold(folder, ["shop.orders"], "other", "now"):
        assert one(orders).status is VerifyStatus.EQUAL
        with pytest.raises(LockHeldError):
            verify(orders.file, repair=True)
