"""Rows far larger than the others of their table, within a small `warehouse.memory`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdpsync import project
from cdpsync.maintain import maintain
from cdpsync.model import TableStatus
from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from support.mysql_server import MariaDatabase
    from support.shop import Shop

pytestmark = pytest.mark.usefixtures("all_cores")

INCREMENTAL = {"mode": "incremental", "cursor_field": "rev"}
_ROWS = "select id, rev, length(body), md5(body) from {} order by id"

# 1,000 small rows, 60 of a megabyte among them.
_DOCS = """
    create table docs (id int primary key, rev int, body text);
    alter table docs alter body set storage external;
    insert into docs
    select i, 1, case when i between 500 and 559 then repeat(md5(i::text), 31250) else i::text end
    from generate_series(1, 1000) i
"""
_MARIA_DOCS = """
    create table docs (id int primary key, rev int, body longtext);
    insert into docs select seq, 1,
        if(seq between 500 and 559, repeat(md5(seq), 31250), seq) from seq_1_to_1000
"""


def _passes_each_step(shop: Shop, expected: list[tuple[object, ...]]) -> None:
    """Load the changed rows, verify and maintain; the lake must have the expected rows."""
    assert shop.one().rows_updated == 60
    assert shop.ask(_ROWS.format("shop.docs")) == expected
    (verified,) = verify(shop.file)
    assert (verified.status, verified.error) == (VerifyStatus.EQUAL, None)
    maintain(project.load(shop.file))
    assert shop.ask(_ROWS.format("shop.docs")) == expected


def test_postgres_loads_large_rows_among_small_ones(shop: Shop) -> None:
    """A worker has 40 MB, and all large rows together would have 60 MB, several times."""
    shop.warehouse["memory"] = "320MB"
    shop.pg.execute(_DOCS)
    shop.configure({"public.docs": INCREMENTAL})
    assert shop.one(threads=3).rows_inserted == 1000
    shop.pg.execute("update docs set rev = 2, body = body || 'x' where id between 500 and 559")
    _passes_each_step(shop, shop.source(_ROWS.format("docs")))


def test_postgres_loads_large_rows_of_a_view_and_of_other_types(shop: Shop) -> None:
    """Sizes that Postgres knows only roughly: compressed values, arrays, JSON, columns of views."""
    shop.warehouse["memory"] = "320MB"
    shop.pg.execute(_DOCS)
    shop.pg.execute(
        "create view doc_view as select id, rev, body || 'v' as body from docs;"
        "create table packed as select id, rev, repeat('x', length(body)) as body from docs;"
        "create table trees as select id, rev, jsonb_build_object('t', body) as body from docs;"
        "create table lists as select id, rev, array[body, null] as body from docs"
    )
    shop.configure({"public.*": {"mode": "full_table"}})
    results = shop.run(threads=3).tables
    assert [result.error for result in results] == [None] * 5
    lengths = {
        table: shop.ask(f"select count(*), sum(length(body::varchar)) from shop.{table}")[0]
        for table in ("doc_view", "packed", "trees")
    }
    total = shop.source("select sum(length(body)) from docs")[0][0]
    assert lengths["doc_view"] == (1000, total + 1000)
    assert lengths["packed"] == (1000, total)
    assert lengths["trees"][0] == 1000
    assert shop.ask("select sum(length(body[1])) from shop.lists") == [(total,)]


def test_row_larger_than_the_memory_is_named(shop: Shop) -> None:
    """The line has the column, the size and our setting; the other table is loaded."""
    shop.warehouse["memory"] = "64MB"
    shop.pg.execute(
        "create table docs (id int primary key, title text, body text);"
        "alter table docs alter body set storage external;"
        "insert into docs select i, 'a title', 'short' from generate_series(1, 100) i;"
        "insert into docs values (101, 'a title', repeat('0123456789', 3000000));"
        "create table small as select 1 as id"
    )
    shop.configure({"public.*": {"mode": "full_table"}})
    docs, small = sorted(shop.run().tables, key=lambda result: result.table)
    assert small.status is TableStatus.OK
    assert docs.error is not None
    message = docs.error.message
    assert message.startswith("shop.docs, all rows: memory ran out (it may use 24MB")
    assert 'Its largest value, of column "body", has about 30MB.' in message
    assert message.endswith(
        "Set a higher warehouse.memory than 64MB, or leave large columns out: "
        "columns: {exclude: [body]}."
    )
    assert "\n" not in message
    assert "memory_limit" not in message
    shop.configure({"public.docs": {"columns": {"exclude": ["body"]}}})
    assert shop.one().rows_inserted == 101


def test_mysql_loads_large_rows_among_small_ones(shop: Shop, maria: MariaDatabase) -> None:
    """As from Postgres."""
    shop.warehouse["memory"] = "320MB"
    maria.execute(_MARIA_DOCS)
    shop.configure({f"{maria.name}.docs": INCREMENTAL}, type="mysql", url=maria.url)
    assert shop.one(threads=3).rows_inserted == 1000
    maria.execute("update docs set rev = 2, body = concat(body, 'x') where id between 500 and 559")
    _passes_each_step(shop, list(maria.rows(_ROWS.format("docs"))))


def test_large_rows_are_deleted_and_marked(shop: Shop) -> None:
    """Rows deleted at the source are removed or marked, however large they are."""
    shop.warehouse["memory"] = "320MB"
    shop.pg.execute(_DOCS)
    for deletes in ("hard", "soft"):
        shop.pg.execute("update docs set rev = rev + 1 where id between 500 and 510")
        shop.configure({"public.docs": {**INCREMENTAL, "name": deletes, "deletes": deletes}})
        assert shop.one(threads=3).rows_inserted in {1000, 999, 998}
        shop.pg.execute(f"delete from docs where id = {520 if deletes == 'hard' else 530}")
        assert shop.one(threads=3).rows_deleted == 1
    marked = shop.ask("select id, length(body) from shop.soft where _deleted_at is not null")
    assert marked == [(530, 1_000_000)]
