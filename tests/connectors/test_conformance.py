"""Every connector here keeps every promise of the contract; and one that does not is told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

import pytest

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync.testing import PromiseError, conforms
from cdpsync_connectors.files import FilesConnector
from cdpsync_connectors.postgres import PostgresConnector

if TYPE_CHECKING:
    from pathlib import Path

    from servers import Database

ORDERS = """
    create table orders (
        id bigint primary key, day date, at timestamptz, rev int, amount numeric(12,2),
        free numeric, note text, data jsonb, raw bytea, tags text[]
    );
    insert into orders
    select i, date '2024-01-01' + i / 7, timestamptz '2024-01-01Z' + i / 5 * interval '1 second',
        nullif(i % 10, 3), i * 1.01, i / 3.0, repeat(chr(65 + i % 26), i % 50),
        jsonb_build_object('n', i), decode(md5(i::text), 'hex'), array['a', i::text, null]
    from generate_series(1, 3000) i;
    insert into orders values (0, null, null, null, null, null, null, null, null, null);
    create view large as select * from orders where id > 1000;
    create table "Empty ""one; two" (id int primary key, "strange; name" text)
"""


def test_postgres(pg: Database) -> None:
    """Over tables, a view, an empty table with strange names."""
    pg.execute(ORDERS)
    broken = [
        {"url": re.sub(r":[^:@/]+@", ":wrong-password@", pg.url)},
        {"url": "postgresql://nobody:hunter2@127.0.0.1:1/none"},
        {"url": pg.url.rsplit("/", 1)[0] + "/no_such_database"},
    ]
    conforms(PostgresConnector, {"url": pg.url}, broken=broken)


def test_files(tmp_path: Path) -> None:
    """Over files of every format."""
    (tmp_path / "a.csv").write_text('id,v\n1,x\n2,\n3,""\n')
    (tmp_path / "b.jsonl").write_text('{"id": 1, "v": [1.10]}\n{"id": 2}\n')
    broken = [{"path": str(tmp_path / "none/*.csv")}]
    conforms(FilesConnector, {"path": str(tmp_path)}, broken=broken)


class BrokenOptions(ConnectorOptions):
    """Nothing to say."""


class Rows:
    """A chunk that forgets rows when it is read again."""

    label = "all"
    reads = 0

    def relation(self, con):
        Rows.reads += 1
        return con.sql(f"select range::bigint as id from range({Rows.reads})")


class Broken:
    """A connector that breaks promises."""

    Options: ClassVar[type] = BrokenOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, _):
        self.closed = False

    def check(self):
        raise ReadError("two\nlines")

    def discover(self):
        return [Stream("things", "things", (Column("id", "VARCHAR"),), ("key",), ("id",))]

    def read(self, _):
        from contextlib import nullcontext

        return nullcontext([Rows()])

    def translate(self, _):
        return ReadError("mine")

    def close(self):
        if self.closed:
            raise ReadError("closed before")
        self.closed = True


def test_broken_promises_are_told_by_name() -> None:
    """One report names every promise that does not hold, with its reason."""
    with pytest.raises(PromiseError) as error:
        conforms(Broken, {})
    told = str(error.value)
    for part in (
        "Broken breaks",
        "check() returns where the source can be read",
        "close() may be called twice",
        "its key is no column",
        "discovered as",
        "rows are",
        "reading a stream that does not exist went well",
        "an error of somebody else",
    ):
        assert part in told
