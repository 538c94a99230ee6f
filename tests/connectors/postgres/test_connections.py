"""Connections: what a URL may say, what must be ours, and what a message says to set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.postgres_reading import connected, read_back, read_chunks, request_for

from cdpsync.errors import CdpsyncError, ConfigError, ConnectError, ReadError
from cdpsync_connectors.postgres.connector import PostgresConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Database, Server


def refusal(url: str, **options: Any) -> CdpsyncError:
    with connected(url, **options) as connector, pytest.raises(CdpsyncError) as caught:
        connector.check()
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII", "UTF8"])
def test_text_is_utf8_whatever_the_url_says(pg: Database, encoding: str) -> None:
    """A wrong client_encoding would store other characters, and verify would call them equal."""
    pg.execute("create table t as select 'Ã© €' as c")
    for url in (
        f"{pg.url}?client_encoding={encoding}",
        f"{pg.url}?options=-c%20client_encoding%3D{encoding}",
        f"{pg.dsn} client_encoding={encoding}",
    ):
        assert read_back(url, "public.t").column() == ["Ã© €"]


def test_settings_of_url_and_role_change_no_value(pg: Database) -> None:
    """Nor does the environment of a replication tool."""
    pg.execute(
        "create table t as select timestamptz '2026-07-01 12:00+02' as c, interval '1 day' as i"
    )
    plain = read_back(pg.url, "public.t").rows
    options = "-c datestyle=german -c timezone=Asia/Tokyo -c intervalstyle=iso_8601"
    url = f"{pg.url}?options={options.replace(' ', '%20').replace('=', '%3D')}&replication=database"
    assert read_back(url, "public.t").rows == plain


@pytest.mark.parametrize(
    "query",
    [
        "pgbouncer=true",
        "schema=public",
        "schema=public&pgbouncer=true",
        "gssencmode=disable&schema=public",
    ],
)
def test_parameters_of_frameworks_are_accepted(pg: Database, query: str) -> None:
    """`pgbouncer` asks for what always holds here, `schema` for the tables of one schema."""
    pg.execute("create table t (id int); create schema other; create table other.u (id int)")
    with connected(f"{pg.url}?{query}") as connector:
        names = [stream.name for stream in connector.discover()]
    expected = ["public.t"] if "schema" in query else ["other.u", "public.t"]
    assert names == expected


def test_schema_of_the_url_is_the_default_schema() -> None:
    """What the file says itself wins over the URL."""
    url = "postgresql://u:p@h/d?schema=sales&pgbouncer=true"
    options = PostgresConnector.Options.model_validate({"url": url})
    assert (options.schemas, options.default_schema) == (("sales",), "sales")
    own = {"url": url, "schemas": ["a", "b"], "default_schema": "a"}
    options = PostgresConnector.Options.model_validate(own)
    assert (options.schemas, options.default_schema) == (("a", "b"), "a")


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("connection_limit=5", "set max_connections on the source"),
        ("pool_timeout=5", 'parameter "pool_timeout"'),
        ("statement_cache_size=0", "Leave it out"),
        ("currentSchema=a", "schemas and default_schema"),
        ("frobnicate=1", 'parameter "frobnicate", which Postgres does not know'),
        ("ssl=false", "sslmode"),
        ("alone", 'parameter "alone"'),
    ],
)
def test_unknown_parameter_is_named(query: str, advice: str) -> None:
    """With what to write in its place, where there is something."""
    error = refusal(f"postgresql://user:topsecret@127.0.0.1:1/d?{query}")
    assert isinstance(error, ConfigError)
    assert advice in error.message
    assert "topsecret" not in error.message


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sslmode=no-verify", 'sslmode cannot be "no-verify". Write sslmode=require'),
        ("channel_binding=maybe", 'channel_binding cannot be "maybe"'),
        ("target_session_attrs=x", "target_session_attrs"),
        ("service=nowhere", "pg_service.conf"),
        ("keepalives_idle=x", "the value of keepalives_idle is not a number"),
        ("sslnegotiation=direct", "weak sslmode"),
    ],
)
def test_wrong_value_is_no_lost_connection(query: str, message: str) -> None:
    """psycopg begins such errors as those of a broken connection."""
    error = refusal(f"postgresql://user:topsecret@127.0.0.1:1/d?{query}")
    assert isinstance(error, ConnectError)
    assert message in error.message
    assert not error.retryable


def test_grant_for_a_view_with_the_rights_of_its_reader(pg: Database) -> None:
    """The view is granted, the table below it is not; a function needs another grant."""
    pg.execute(
        "drop role if exists invoker; create role invoker login password 'r';"
        'create schema below; create table below."Base" (id int);'
        "grant usage on schema public, below to invoker;"
        'create view v with (security_invoker = true) as select * from below."Base";'
        "create function secret() returns int language sql as 'select 1';"
        "revoke execute on function secret() from public;"
        "create view w as select 1 as id where secret() = 1;"
        "grant select on v, w to invoker"
    )
    url = pg.url.replace(f"postgres:{pg.password}", "invoker:r")
    with pytest.raises(ReadError, match=r'GRANT SELECT ON below\."Base" TO "invoker"'):
        read_back(url, "public.v")
    with pytest.raises(ReadError, match=r"GRANT EXECUTE ON FUNCTION secret TO"):
        read_back(url, "public.w")
    pg.execute('grant select on below."Base" to invoker')
    assert read_back(url, "public.v").rows == []


@pytest.mark.parametrize("connections", [1, None])
@pytest.mark.parametrize("stream", ["t", "v", "p"])
def test_holder_of_a_lock_is_named(pg: Database, stream: str, connections: int | None) -> None:
    """A read waits for a lock no longer than lock_timeout; also that of a view or a partition."""
    pg.execute(
        "create table t (id int); create view v as select * from t;"
        "create table p (id int) partition by range (id);"
        "create table p1 partition of p for values from (0) to (9)"
    )
    locked = {"v": "t", "p": "p1"}.get(stream, stream)
    with connected(pg.url, lock_timeout="200ms", max_connections=connections) as connector:
        request = request_for(connector, f"public.{stream}")
        with psycopg.connect(pg.url, application_name="migration") as holder:
            pid = holder.info.backend_pid
            holder.execute(f"lock table {locked} in access exclusive mode".encode())
            with pytest.raises(ReadError) as caught, connector.read(request) as chunks:
                read_chunks(connector, chunks)
        message = caught.value.message
        assert f"{locked} is locked by process {pid} (user postgres" in message
        assert "migration" in message
        assert "lock_timeout" in message
        assert not caught.value.retryable
        with connector.read(request) as chunks:
            assert read_chunks(connector, chunks).rows == []


@pytest.fixture
def ascii_database(postgres_server: Server) -> Iterator[Database]:
    """A database that does not check its text."""
    name = "ascii_only"
    postgres_server.psql(f"drop database if exists {name}")
    postgres_server.psql(
        f"create database {name} encoding 'SQL_ASCII' template template0 locale 'C'"
    )
    with psycopg.connect(postgres_server.url, autocommit=True, dbname=name) as con:
        con.execute("set client_encoding = 'SQL_ASCII'")
        con.execute(b"create table good as select 1 as id, 'plain'::text as c")
        con.execute(b"create table bad as select 1 as id, 'fine'::text as a, 'caf\xe9'::text as c")
        con.execute(b'create table "caf\xe9" (id int)')
    yield replace(postgres_server, name=name)
    postgres_server.psql(f"drop database {name} with (force)")


def test_bytes_that_are_no_utf8(ascii_database: Database) -> None:
    """The column is named, its bytes can be read, and one name does not stop the other tables."""
    url = ascii_database.url
    with connected(url) as connector:
        streams = {stream.name: stream for stream in connector.discover()}
    assert streams["public.good"].unreadable_reason is None
    reason = streams[r"public.caf\351"].unreadable_reason
    assert reason is not None
    assert "Rename it there" in reason
    assert read_back(url, "public.good").column() == ["plain"]
    with (
        connected(url) as connector,
        pytest.raises(ReadError, match=r'table "public\.bad", column "c"') as caught,
        connector.read(request_for(connector, "public.bad")) as chunks,
    ):
        read_chunks(connector, chunks)
    assert "types: {c: blob}" in caught.value.message
    assert read_back(url, "public.bad", types={"c": "blob"}).column() == ["\\x636166e9"]
