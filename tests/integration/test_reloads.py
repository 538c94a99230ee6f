"""A `full_table` that is read again: what equals the lake is not written, with a key row by row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cdpsync import maintain, project
from cdpsync.load.upload import Uploader

if TYPE_CHECKING:
    from support.shop import Shop

    from cdpsync.model import TableResult

in_each_store = pytest.mark.parametrize("shop", ["folder", "s3"], indirect=True)

# A value of each kind, beside those that are easily taken for it.
VALUES = """
    create table orders (
        what text, real float8, list int[], words text[], bytes bytea, doc json, id uuid,
        amount numeric(38, 2), at timestamptz, digits numeric
    );
    insert into orders select '', 0.0, '{}', '{}', '', '{}', gen_random_uuid(), 0, 'infinity';
    insert into orders (what) values (null), ('NULL');
    insert into orders (digits) values (1), (1.55), (null);
    insert into orders (real) values ('NaN'), ('-0.0'), (null);
    insert into orders (list) values ('{null}'), ('{0}'), ('{1,2}');
    insert into orders (words) values ('{"NULL"}'), ('{null}'), ('{"a, b"}'), ('{a,b}'), ('{""}');
"""

# Values that change to one that DuckDB's `hash()` or `=` takes for the same.
NEIGHBOURS = {
    "minus zero": ("a float8", "0.0::float8", "'-0.0'::float8"),
    "null and empty": ("a text", "''", "null"),
    "empty list": ("a int[]", "'{}'::int[]", "null"),
    "list of null": ("a int[]", "'{}'::int[]", "'{null}'::int[]"),
    "two letters": ("a text", "'abcdefg1hijklmn1xyzxyzxyz'", "'abcdefgqhijklmnqxyzxyzxyz'"),
    "two signs": ("a bytea", r"'\x00000000000000410000000000000041'::bytea",
                  r"'\x00000000000000c100000000000000c1'::bytea"),
    "halves of a uuid": ("a uuid", "'00000000-0000-0001-0000-000000000002'::uuid",
                         "'00000000-0000-0002-0000-000000000001'::uuid"),
    "text of a json": ("a json", "'{}'::json", "'{ }'::json"),
}  # fmt: skip


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were queued for upload, as they are queued."""
    sizes: list[int] = []
    submit = Uploader.submit

    def listed(uploader: Uploader, task: Any, size: int) -> Any:
        sizes.append(size)
        return submit(uploader, task, size)

    monkeypatch.setattr(Uploader, "submit", listed)
    return sizes


def counts(result: TableResult) -> tuple[int, int, int]:
    return result.rows_inserted, result.rows_updated, result.rows_deleted


def snapshots(shop: Shop) -> list[tuple[int, str]]:
    """Return each snapshot with the tables, other than our own, that it changed."""
    with project.catalog_of(project.load(shop.file)).reader() as con:
        return con.execute(
            "select snapshot_id, changes::varchar from ducklake_snapshots('lake') "
            "where commit_message not like '%: unchanged' order by 1"
        ).fetchall()


def changes(shop: Shop, since: int) -> list[tuple[Any, ...]]:
    """Return what DuckLake's change feed of shop.orders lists after a snapshot."""
    with project.catalog_of(project.load(shop.file)).reader() as con:
        last = con.execute("select max(snapshot_id) from ducklake_snapshots('lake')").fetchone()
        assert last
        feed = f"ducklake_table_changes('lake', 'shop', 'orders', {since + 1}, {last[0]})"
        return con.execute(f"select change_type, id, what from {feed} order by all").fetchall()


@in_each_store
def test_unchanged_table_is_not_written(shop: Shop, uploads: list[int]) -> None:
    """No row, no file and no snapshot is added, nothing is uploaded, and the run still counts."""
    shop.pg.execute(VALUES)
    shop.configure({"public.orders": {"every": "1h"}})
    first = shop.one()
    before = snapshots(shop), shop.ask("select filename, count(*) from shop.orders group by 1")
    uploads.clear()
    result = shop.one()
    assert counts(result) == (0, 0, 0)
    assert (result.rows_read, result.rows_in_table) == (first.rows_read, first.rows_in_table)
    assert result.bytes_written == 0
    assert not uploads
    assert before == (
        snapshots(shop),
        shop.ask("select filename, count(*) from shop.orders group by 1"),
    )
    (status,) = project.status(project.load(shop.file))
    assert status.last_success_at is not None
    assert status.rows == first.rows_in_table
    history = project.history(project.load(shop.file))
    assert [record.result.rows_inserted for record in history] == [0, first.rows_inserted]
    assert shop.run(due=True).tables[0].status == "skipped"


@in_each_store
def test_only_the_rows_that_differ_are_exchanged(shop: Shop, uploads: list[int]) -> None:
    """With a key, the change feed lists the row that changed, the new and the vanished one."""
    shop.pg.execute("create table orders (id int primary key, what text)")
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 100) i")
    shop.configure(None)
    shop.one()
    last = snapshots(shop)[-1][0]
    uploads.clear()
    shop.pg.execute("update orders set what = 'b' where id = 1; delete from orders where id = 2")
    shop.pg.execute("insert into orders values (101, 'new')")
    result = shop.one()
    assert counts(result) == (1, 1, 1)
    assert result.rows_in_table == 100
    assert len(uploads) == 1
    assert changes(shop, last) == [
        ("delete", 1, "a"), ("delete", 2, "a"), ("insert", 1, "b"), ("insert", 101, "new"),
    ]  # fmt: skip
    shop.same()
    assert counts(shop.one()) == (0, 0, 0)
    shop.same()


def test_value_beside_its_neighbour_is_another(shop: Shop) -> None:
    """What `hash()` or `=` take for the same is told apart, and lands."""
    for name, (column, old, _) in NEIGHBOURS.items():
        shop.pg.execute(f'create table "{name}" (k int, {column})')
        shop.pg.execute(f'insert into "{name}" select i, {old} from generate_series(1, 3) i')
    shop.configure(None)
    shop.run()
    assert {counts(result) for result in shop.run().tables} == {(0, 0, 0)}
    for name, (_, _, new) in NEIGHBOURS.items():
        shop.pg.execute(f'update "{name}" set a = {new} where k = 2')
    assert {counts(result) for result in shop.run().tables} == {(3, 0, 3)}
    for name in NEIGHBOURS:
        values = shop.ask(f'select a::varchar from shop."{name}" order by k')
        assert values[0] == values[2] != values[1], name
    assert {counts(result) for result in shop.run().tables} == {(0, 0, 0)}


def test_rows_without_a_key_are_a_multiset(shop: Shop) -> None:
    """Equal rows are counted: a third one is a change, also where another row left."""
    shop.pg.execute("create table orders (what text)")
    shop.pg.execute("insert into orders values ('a'), ('a'), ('b'), ('b'), ('b')")
    shop.configure(None)
    shop.one()
    shop.pg.execute(
        "delete from orders where what = 'b'; insert into orders values ('a'), ('b'), ('b')"
    )
    assert counts(shop.one()) == (5, 0, 5)
    shop.same()
    shop.pg.execute("truncate orders; insert into orders values ('b'), ('a'), ('b'), ('a'), ('a')")
    assert counts(shop.one()) == (0, 0, 0)


def test_key_that_several_rows_share_is_replaced(shop: Shop) -> None:
    """A configured key that is NULL or repeated says nothing of a row: the table is whole again."""
    shop.pg.execute('create table orders (id int, what text, side int, "first" int, k0 int)')
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 50) i")
    shop.pg.execute("insert into orders values (null, 'a'), (null, 'b'), (7, 'b')")
    shop.configure({"public.orders": {"primary_key": ["id"]}})
    shop.one()
    assert counts(shop.one()) == (0, 0, 0)
    shop.pg.execute("update orders set what = 'c' where id = 1")
    assert counts(shop.one()) == (0, 1, 0)
    shop.same()
    for change in ("insert into orders values (7, 'c')", "delete from orders where id is null"):
        shop.pg.execute(change)
        result = shop.one()
        assert result.rows_inserted == result.rows_in_table
        shop.same()


def test_what_others_did_to_the_lake_is_undone(shop: Shop) -> None:
    """Rows are compared with those in the lake, not with what a run once wrote."""
    shop.pg.execute("create table orders (id int primary key, what text)")
    shop.pg.execute("create table events (what text)")
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 50) i")
    shop.pg.execute("insert into events select 'a' from generate_series(1, 50) i")
    shop.configure(None)
    shop.run()
    with project.catalog_of(project.load(shop.file)).writer() as con:
        con.execute("update lake.shop.orders set what = 'b' where id = 3")
        con.execute("delete from lake.shop.orders where id = 4")
        con.execute("insert into lake.shop.orders values (99, 'a'), (5, 'a')")
        con.execute("update lake.shop.events set what = 'b' where rowid = 3")
    assert [counts(result) for result in shop.run().tables] == [(50, 0, 50), (50, 0, 51)]
    shop.same()
    shop.same(stream="public.events", table="shop.events")
    with project.catalog_of(project.load(shop.file)).writer() as con:
        con.execute("update lake.shop.orders set what = 'b' where id = 3")
        con.execute("delete from lake.shop.orders where id = 4")
    assert [counts(result) for result in shop.run().tables] == [(0, 0, 0), (1, 1, 0)]
    shop.same()


def test_refresh_and_new_columns_write_the_table_anew(shop: Shop) -> None:
    """`--full-refresh` writes what is equal, too; a column that changed does so."""
    shop.pg.execute("create table orders (id int primary key)")
    shop.pg.execute("insert into orders select generate_series(1, 50)")
    shop.configure(None)
    shop.one()
    assert counts(shop.one(full_refresh=True)) == (50, 0, 50)
    for change in ("add what text", "alter id type bigint", "drop what"):
        shop.pg.execute(f"alter table orders {change}")
        assert counts(shop.one()) == (50, 0, 50), change
        assert counts(shop.one()) == (0, 0, 0), change
    shop.same()


def test_file_that_was_lost_is_written_again(shop: Shop) -> None:
    """A table whose files cannot be read is not compared, but replaced."""
    shop.pg.execute("create table orders (id int)")
    shop.pg.execute("insert into orders select generate_series(1, 50)")
    shop.configure(None)
    shop.one()
    for (file,) in shop.ask("select distinct filename from shop.orders"):
        Path(file).unlink()
    assert counts(shop.one()) == (50, 0, 50)
    shop.same()


@in_each_store
def test_table_beyond_the_spool_is_uploaded_while_it_is_read(
    shop: Shop, uploads: list[int]
) -> None:
    """It is compared all the same, and the uploaded files of an equal table are removed."""
    shop.pg.execute("create table orders (id int primary key, what text)")
    shop.pg.execute("insert into orders select i, md5(i::text) from generate_series(1, 9) i")
    shop.warehouse["spool"] = {"max": "1kB"}
    shop.configure(None)
    shop.one()
    uploads.clear()
    assert counts(shop.one()) == (0, 0, 0)
    assert uploads
    steps = maintain.maintain(project.load(shop.file), dry_run=True)
    assert [step.count for step in steps if step.step == "orphans"] == []
    shop.pg.execute("update orders set what = 'b' where id = 1")
    assert counts(shop.one()) == (9, 0, 9)
    shop.same()
