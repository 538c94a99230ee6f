"""Every connector of this repository keeps every promise; one that does not is reported."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, ClassVar

import pytest
from support.stripe_server import KEY, fake_stripe

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ReadError
from cdpsync.model import Column, SourceIdentity, Stream
from cdpsync.testing import PromiseError, conforms
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.postgres.connector import PostgresConnector
from cdpsync_connectors.snowflake.connector import SnowflakeConnector
from cdpsync_connectors.stripe.connector import StripeConnector

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Database, Server
    from support.snowflake_server import Account

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


@pytest.mark.parametrize("version", [15, None])
def test_postgres(request: pytest.FixtureRequest, version: int | None) -> None:
    """Over tables, a view, and an empty table with strange names; on the newest version, and 15."""
    if version is None:
        check_postgres(request.getfixturevalue("pg"))
        return
    server: Server = request.getfixturevalue("postgres_15_server")
    assert server.psql("show server_version").startswith("15.")
    with server.database("conforms") as database:
        check_postgres(database)


def check_postgres(pg: Database) -> None:
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


def test_unreadable_stream_is_reported(tmp_path: Path) -> None:
    """A stream that cannot be read breaks promises, unless it is not selected."""
    (tmp_path / "a.csv").write_text("id,v\n1,x\n")
    (tmp_path / "b.csv").write_text("id,v\n1\n")
    conforms(FilesConnector, {"path": str(tmp_path)}, streams=["a"])
    with pytest.raises(PromiseError, match=r"b cannot be read: .*b\.csv, line 2"):
        conforms(FilesConnector, {"path": str(tmp_path)})


SNOWFLAKE_ORDERS = (
    """
    create table orders (
        id number(38,0) primary key, day date, changed timestamp_ntz(9), seen timestamp_tz,
        rev number(9,0), amount number(12,2), price float, doc variant, raw binary, ok boolean,
        t time, note text
    )
    """,
    """
    insert into orders
    select seq4(), dateadd(day, seq4() % 90, '2024-01-01'::date),
        dateadd(second, seq4() % 200, '2024-01-01'::timestamp_ntz),
        dateadd(second, seq4() % 200, '2024-01-01 00:00:00+00:00'::timestamp_tz),
        nullif(seq4() % 10, 3), seq4() * 1.01, seq4() / 3.0, parse_json('{"n": 1}'), null, true,
        '10:00:00.5'::time, 'note ' || seq4()
    from table(generator(rowcount => 500))
    """,
    "insert into orders (id) values (100000)",
    'create table "Empty ""one; two" (id int primary key, "strange; name" text)',
)


def test_snowflake(snow: Account) -> None:
    """Over a local server: a table with each of its types, an empty table, strange names."""
    snow.execute(*SNOWFLAKE_ORDERS)
    options = {name: value for name, value in snow.options.items() if name != "type"}
    unreachable = {"connect_options": {"host": "127.0.0.1", "port": 1, "protocol": "http"}}
    broken = [
        {**unreachable, "connect_timeout": 1},
        {"password": None, "private_key": "zq-no-key-at-all"},
        {"token": "zq-one-too-many"},
    ]
    conforms(SnowflakeConnector, options, broken=broken)


def test_stripe() -> None:
    """Over lists of each kind: with `created` and without, per customer, empty, a single object."""
    with fake_stripe() as stripe:
        stripe.now = int(time.time()) - 3600
        for number in range(230):
            moment = stripe.now - number // 3 * 60
            stripe.add("charges", created=moment, amount=number, fee={"rate": 1.5}, note=None)
        stripe.add("customers", email="a@b", metadata={"a": '"1"'})
        stripe.add("payment_methods", customer="cus_00000001")
        stripe.add("invoiceitems", quantity_decimal="1.5")
        stripe.add("tax_rates", percentage=8.875)
        options = {"api_key": KEY, "api_base": stripe.url, "max_rate": 10_000}
        broken = [
            {"api_key": "sk_live_wrong"},
            {"api_base": "http://127.0.0.1:1"},
            {"api_version": "1999-01-01"},
        ]
        streams = (
            "account",
            "charges",
            "customers",
            "invoice_items",
            "payment_methods",
            "quotes",
            "tax_rates",
        )
        conforms(StripeConnector, options, broken=broken, streams=streams)


class BrokenOptions(ConnectorOptions):
    """No options."""


class Rows:
    """A chunk that gives other rows each time it is read."""

    label = "all"
    reads = 0

    def relation(self, con):
        Rows.reads += 1
        return con.sql(f"select range::bigint as id from range({Rows.reads})")


class Broken:
    """A connector that breaks promises."""

    Options: ClassVar[type] = BrokenOptions
    extensions: ClassVar[tuple[str, ...]] = ()
    instances = 0

    def __init__(self, _):
        self.closed = False
        Broken.instances += 1
        self.number = str(Broken.instances)

    def check(self):
        raise ReadError("two\nlines")

    def source_identity(self):
        return SourceIdentity({"instance": (self.number,)}, f"instance {self.number}")

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


def test_broken_promises_are_reported_by_name() -> None:
    """One report names every broken promise, with its reason."""
    with pytest.raises(PromiseError) as error:
        conforms(Broken, {})
    report = str(error.value)
    for part in (
        "Broken breaks",
        "check() returns where the source can be read",
        "close() may be called twice",
        "source_identity() gave",
        "its key is not a column",
        "discovered as",
        "rows are",
        "reading a stream that does not exist raised no error",
        "an error of another library",
    ):
        assert part in report
