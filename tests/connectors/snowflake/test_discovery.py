"""Discovery of a Snowflake account, its names, and the options of a source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from support.faults import FaultProxy
from support.snowflake_fake import OPTIONS, FakeSnowflake

from cdpsync.connector import ReadRequest
from cdpsync.errors import ConfigError, ConnectError, ReadError
from cdpsync_connectors._shared.naming import split_stream, stream_name
from cdpsync_connectors.snowflake.catalog import lake_name, plain_name
from cdpsync_connectors.snowflake.connector import SnowflakeConnector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.snowflake_server import Account

    from cdpsync.model import Stream


def connector_of(snow: Account, **options: Any) -> SnowflakeConnector:
    settings = {name: value for name, value in snow.options.items() if name != "type"}
    return SnowflakeConnector(SnowflakeConnector.Options(**{**settings, **options}))


def discovered(snow: Account, **options: Any) -> Sequence[Stream]:
    connector = connector_of(snow, **options)
    try:
        return connector.discover()
    finally:
        connector.close()
        connector.close()


def test_table_is_found_with_columns_key_and_rows(snow: Account) -> None:
    """Names as Snowflake shows them, types as the lake will have them, keys in their order."""
    snow.execute(
        "create table orders (region text, id number(18,0), amount number(10,2) not null, "
        "updated_at timestamp_tz, note varchar, primary key (id, region))",
        "insert into orders (region, id, amount) values ('eu', 1, 2.5)",
    )
    (stream,) = discovered(snow)
    assert (stream.name, stream.table, stream.kind) == ("PUBLIC.ORDERS", "orders", "table")
    assert stream.primary_key == ("ID", "REGION")
    assert not stream.key_enforced
    assert stream.estimated_rows == 1
    assert [(column.name, column.type, column.nullable) for column in stream.columns] == [
        ("REGION", "VARCHAR", False),
        ("ID", "BIGINT", False),
        ("AMOUNT", "DECIMAL(10,2)", False),
        ("UPDATED_AT", "TIMESTAMP WITH TIME ZONE", True),
        ("NOTE", "VARCHAR", True),
    ]
    assert stream.cursor_fields == ("UPDATED_AT", "ID", "AMOUNT")


def test_schemas_have_streams_of_their_own(snow: Account) -> None:
    """The default schema drops out of a table's name, another stays, in lower case."""
    snow.execute(
        "create schema raw",
        "create table public.events (id int)",
        "create table raw.events (id int)",
    )
    kinds = {stream.name: (stream.table, stream.kind) for stream in discovered(snow)}
    assert kinds == {
        "PUBLIC.EVENTS": ("events", "table"),
        "RAW.EVENTS": ("raw_events", "table"),
    }
    assert {s.name for s in discovered(snow, schemas=["ra*"])} == {"RAW.EVENTS"}
    assert {s.table for s in discovered(snow, schema="raw")} == {"public_events", "events"}


def test_schemas_that_match_nothing_are_refused(snow: Account) -> None:
    """Also beside one that matches; a schema without tables is one."""
    snow.execute("create table public.events (id int)", "create schema later")
    assert {s.name for s in discovered(snow, schemas=["public", "late*"])} == {"PUBLIC.EVENTS"}
    with pytest.raises(ConfigError, match=r'schemas: "publik" matches no schema. .*PUBLIC'):
        discovered(snow, schemas=["public", "publik"])


def test_other_databases_are_found_by_globs(snow: Account) -> None:
    """A stream outside the default database has its name in front."""
    database = f"{snow.database}_B"
    snow.execute(
        "create table orders (id int)",
        f"create database {database}",
        f"create schema {database}.public",
        f"create table {database}.public.orders (id int)",
    )
    streams = discovered(snow, databases=f"{snow.database}*".lower())
    assert {(stream.name, stream.table) for stream in streams} == {
        ("PUBLIC.ORDERS", "orders"),
        (f"{database}.PUBLIC.ORDERS", f"{database.lower()}_public_orders"),
    }


def test_globs_that_match_no_database_are_told(snow: Account) -> None:
    """Rather an error than a source without streams."""
    connector = connector_of(snow, databases=["NOSUCH_*"])
    with pytest.raises(ReadError, match=rf"NOSUCH_\* matches none .*{snow.database}"):
        connector.check()
    connector.close()


def test_other_database_is_read(snow: Account) -> None:
    """A name of three parts leads to its own table."""
    database = f"{snow.database}_C"
    snow.execute(
        f"create database {database}",
        f"create schema {database}.public",
        f"create table {database}.public.orders (id number(9,0))",
        f"insert into {database}.public.orders values (7)",
    )
    import duckdb

    connector = connector_of(snow, databases=database)
    (stream,) = connector.discover()
    with connector.read(ReadRequest(stream, stream.columns)) as chunks:
        assert [c.relation(duckdb.connect()).fetchall() for c in chunks] == [[(7,)]]
    connector.close()


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"IS_DYNAMIC": "YES"}, "dynamic table"),
        ({"IS_ICEBERG": "YES"}, "iceberg table"),
        ({"IS_HYBRID": "YES"}, "hybrid table"),
        ({"TABLE_TYPE": "EXTERNAL TABLE", "ROW_COUNT": None}, "external table"),
        ({"TABLE_TYPE": "MATERIALIZED VIEW"}, "materialized view"),
        ({"TABLE_TYPE": "VIEW"}, "view"),
        ({"TABLE_TYPE": "SOMETHING NEW"}, "something new"),
    ],
)
def test_every_kind_of_table_is_a_stream(
    row: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever can be selected from can be synced; only hybrid tables enforce their keys."""
    fake = FakeSnowflake([("ID", "NUMBER", 38, 0)], table=row, key=["ID"])
    monkeypatch.setattr("snowflake.connector.connect", fake.connect)
    (stream,) = SnowflakeConnector(SnowflakeConnector.Options(**OPTIONS)).discover()
    assert stream.kind == kind
    assert stream.key_enforced is (kind == "hybrid table")
    assert stream.estimated_rows == row.get("ROW_COUNT", 7)


@pytest.mark.parametrize(("kind", "has_identity"), [("BASE TABLE", True), ("VIEW", False)])
def test_table_that_is_replaced_has_another_identity(
    monkeypatch: pytest.MonkeyPatch, kind: str, has_identity: bool
) -> None:
    """CREATE OR REPLACE TABLE gives another CREATED. A view is often replaced by the same one."""
    identities = []
    for day in (1, 2):
        created = datetime(2024, 1, day, tzinfo=UTC)
        row = {"TABLE_TYPE": kind, "CREATED": created}
        fake = FakeSnowflake([("ID", "NUMBER", 38, 0)], table=row)
        monkeypatch.setattr("snowflake.connector.connect", fake.connect)
        connector = SnowflakeConnector(SnowflakeConnector.Options(**OPTIONS))
        identities += [stream.identity for stream in connector.discover()]
        connector.close()
    assert (identities[0] != identities[1]) == has_identity


def test_dropped_table_or_column_is_named(snow: Account) -> None:
    """Between discovery and reading a table, or a column of it, may go."""
    snow.execute("create table orders (id int, note text)")
    connector = connector_of(snow)
    (stream,) = connector.discover()
    snow.execute("alter table orders drop column note")
    request = ReadRequest(stream, stream.columns)
    with pytest.raises(ReadError, match=r'has no column "NOTE".* It has: ID'):
        connector.read(request).__enter__()
    snow.execute("drop table orders")
    with pytest.raises(ReadError, match=r'"PUBLIC\.ORDERS" does not exist'):
        connector.read(request).__enter__()
    connector.close()


# Beside the error, a thread of the driver fails that would cancel the statement over there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_connection_that_is_lost_is_told_and_mended(snow: Account) -> None:
    """The driver gives up after network_timeout, not never; the same connector goes on later."""
    snow.execute("create table orders (id int)")
    with FaultProxy(snow.port) as proxy:
        where = {"host": "127.0.0.1", "port": proxy.port, "protocol": "http", "network_timeout": 1}
        connector = connector_of(snow, connect_options=where)
        connector.discover()
        proxy.refuse = True
        proxy.kill_all()
        with pytest.raises(ConnectError, match="the connection was lost") as lost:
            connector.discover()
        assert lost.value.retryable
        proxy.refuse = False
        assert len(connector.discover()) == 1
        connector.close()


def test_nothing_listening_is_told_with_its_address() -> None:
    """The address that was tried, and what to check."""
    where = {"host": "127.0.0.1", "port": 1, "protocol": "http"}
    options = {**OPTIONS, "connect_options": where, "connect_timeout": 1}
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1 as reader: nothing listens there"):
        SnowflakeConnector(SnowflakeConnector.Options(**options)).check()


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("PUBLIC", "ORDERS"), "PUBLIC.ORDERS"),
        (("PUBLIC", "my.table"), 'PUBLIC."my.table"'),
        (("A", "B", 'say "hi"'), 'A.B."say ""hi"""'),
        (("PUBLIC", "Größe"), "PUBLIC.Größe"),
    ],
)
def test_stream_name_is_read_back(parts: tuple[str, ...], name: str) -> None:
    """A name tells its parts, whatever signs they hold."""
    assert stream_name(parts) == name
    assert split_stream(name) == parts


def test_plain_names_become_lower_case() -> None:
    """A quoted name stays unchanged."""
    assert lake_name(("RAW", "ORDERS_2$")) == "raw_orders_2$"
    assert lake_name(("RAW", "Orders")) == "raw_Orders"
    assert plain_name("shop") == "SHOP"
    assert plain_name('"shop"') == "shop"


WRONG = [
    ({"password": None}, "exactly one way to log in"),
    ({"token": "t"}, "not password and token"),
    ({"user": None}, "password needs a user"),
    ({"passphrase": "x"}, "without a private key"),
    ({"account": "https://x.snowflakecomputing.com"}, "account identifier alone"),
    ({"database": None}, "give a database, or databases"),
    ({"statement_timeout": "soon"}, "a duration such as"),
    ({"connect_options": {"password": "x"}}, "beside connect_options"),
    ({"authenticator": "okta", "password": None}, "externalbrowser"),
]


@pytest.mark.parametrize(("options", "reason"), WRONG)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], reason: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(ValidationError, match=reason):
        SnowflakeConnector.Options(**{**OPTIONS, **options})


def test_options_show_no_secret() -> None:
    """Neither printed nor in an error."""
    options = SnowflakeConnector.Options(**{**OPTIONS, "password": "zq-secret"})
    assert "zq-secret" not in repr(options)
    assert "zq-secret" not in str(options)
