"""Discovery of a Postgres database, and the errors of `check`."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import ValidationError
from support.faults import FaultProxy
from support.postgres_reading import connected
from support.servers import free_port

from cdpsync.errors import ConfigError, ConnectError
from cdpsync.model import Column, Stream
from cdpsync.redact import redact
from cdpsync_connectors.postgres.connections import Sessions
from cdpsync_connectors.postgres.connector import PostgresConnector
from cdpsync_connectors.postgres.parameters import libpq_parameters

if TYPE_CHECKING:
    from support.servers import Database


def streams(pg: Database, **options: Any) -> dict[str, Stream]:
    with connected(pg.url, **options) as connector:
        return {stream.name: stream for stream in connector.discover()}


def test_every_kind_of_relation_is_one_stream(pg: Database) -> None:
    """Partitions belong to their parent; the system's tables are not listed."""
    pg.execute("""
        create table orders (id int primary key, note text);
        create view open_orders as select * from orders;
        create materialized view totals as select count(*) as n from orders;
        create table events (at date, id int) partition by range (at);
        create table events_2020 partition of events
            for values from ('2020-01-01') to ('2021-01-01') partition by range (id);
        create table events_2020_low partition of events_2020 for values from (0) to (100);
        create schema audit;
        create table audit.log (id int);
        create temp table gone (id int);
    """)
    listed = streams(pg)
    assert {name: (s.kind, s.table) for name, s in listed.items()} == {
        "public.orders": ("table", "orders"),
        "public.open_orders": ("view", "open_orders"),
        "public.totals": ("materialized view", "totals"),
        "public.events": ("table", "events"),
        "audit.log": ("table", "audit_log"),
    }
    assert set(streams(pg, schemas=["aud*"])) == {"audit.log"}
    assert streams(pg, default_schema="audit")["audit.log"].table == "log"


def test_schemas_that_match_nothing_are_told(pg: Database) -> None:
    """Even beside a glob that matches; a schema without tables counts as a match.

    Discovery goes on with the others; the check refuses.
    """
    pg.execute("create table orders (id int); create schema later")
    assert set(streams(pg, schemas=["public", "later"])) == {"public.orders"}
    message = r'schemas: "publik" matches no schema. There are: later, public.'
    with connected(pg.url, schemas=["public", "publik"]) as connector:
        assert [stream.name for stream in connector.discover()] == ["public.orders"]
        (unmatched,) = connector.unmatched_patterns
        assert unmatched.streams == "publik.*"
        assert re.search(message, unmatched.message)
        with pytest.raises(ConfigError, match=message):
            connector.check()


def test_columns_come_in_order_with_their_real_types(pg: Database) -> None:
    """Domains are resolved, dropped columns are left out, generated ones are listed."""
    pg.execute("""
        create domain cents as numeric(12,2);
        create table t (
            dropped int, id bigint generated always as identity, price cents not null,
            "Tags" text[][], amount numeric, twice int generated always as (2) stored,
            at timestamptz,
            primary key (at, id)
        );
        alter table t drop column dropped;
    """)
    listed = streams(pg)["public.t"]
    assert listed.columns == (
        Column("id", "BIGINT", nullable=False, source_type="bigint"),
        Column("price", "DECIMAL(12,2)", nullable=False, source_type="cents domain numeric(12,2)"),
        Column("Tags", "VARCHAR[][]", source_type="text[]"),
        Column("amount", "DECIMAL(38,?)", source_type="numeric"),
        Column("twice", "INTEGER", source_type="integer"),
        Column("at", "TIMESTAMP WITH TIME ZONE", False, "timestamp with time zone"),
    )
    assert listed.primary_key == ("at", "id")


def test_key_of_an_inheritance_parent_is_ignored(pg: Database) -> None:
    """In plain inheritance two of a parent's rows may have the same key; in partitions never."""
    pg.execute("""
        create table parent (id int primary key, name text not null);
        create table child (more text) inherits (parent);
        create table alone (id int primary key);
        create table parted (id int primary key) partition by range (id);
        create table parted_low partition of parted for values from (0) to (100);
    """)
    listed = streams(pg)
    assert listed["public.parent"].primary_key == ()
    assert [column.nullable for column in listed["public.parent"].columns] == [False, False]
    assert listed["public.alone"].primary_key == ("id",)
    assert listed["public.parted"].primary_key == ("id",)


def test_likely_cursors_come_first(pg: Database) -> None:
    """A time of change, a time of creation, the key, then every other column with an order."""
    pg.execute("""
        create table t (n int, at date, created_at timestamp, id bigint primary key,
            updated_at timestamptz, updated_by text, modified_count int, x numeric)
    """)
    expected = ("updated_at", "created_at", "id", "n", "at", "modified_count")
    assert streams(pg)["public.t"].cursor_fields == expected


def test_row_estimates_are_the_catalog_s_or_none(pg: Database) -> None:
    """Unknown before the first ANALYZE; for a parent, the sum of its leaves."""
    pg.execute("""
        create table t (i int);
        create table p (i int) partition by range (i);
        create table p1 partition of p for values from (0) to (100);
        create table p2 partition of p for values from (100) to (1000);
        insert into p select generate_series(1, 500);
        create view v as select * from t;
    """)
    before = streams(pg)
    assert [before[f"public.{n}"].estimated_rows for n in "tpv"] == [None, None, None]
    pg.execute("insert into t select generate_series(1, 10); analyze")
    after = streams(pg)
    assert [after[f"public.{n}"].estimated_rows for n in "tpv"] == [10, 500, None]


def test_unreadable_tables_are_listed(pg: Database) -> None:
    """Only a read of them fails."""
    pg.execute("create table t (i int); create role watcher login password 'watcher-pw'")
    try:
        url = pg.url.replace("postgres:" + pg.password, "watcher:watcher-pw")
        with connected(url) as connector:
            assert [stream.name for stream in connector.discover()] == ["public.t"]
    finally:
        pg.execute("drop owned by watcher; drop role watcher")


def test_hostile_names_are_listed_unchanged(pg: Database) -> None:
    """A part with a dot or a quote is quoted, so that two tables never share a name."""
    pg.execute("""
        create schema "a.b"; create table "a.b".c (i int);
        create schema a; create table a."b.c" (i int);
        create table "He said ""%s {}"" é" (i int);
    """)
    assert set(streams(pg)) == {'"a.b".c', 'a."b.c"', 'public."He said ""%s {}"" é"'}


def test_thousand_tables_are_discovered_by_four_statements(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as many for any number of tables: one lists the tables, two ask whose they are."""
    original, statements = psycopg.Connection.execute, []

    def counted(con: psycopg.Connection[Any], *arguments: Any, **options: Any) -> Any:
        statements.append(arguments)
        return original(con, *arguments, **options)

    columns = ", ".join(f"c{n} numeric(10,2)" for n in range(20))
    pg.execute(f"""
        do $$ begin for n in 1..1000 loop
            execute format('create table t%s (id int primary key, {columns})', n);
            if n % 200 = 0 then commit; end if;
        end loop; end $$;
    """)
    with connected(pg.url) as connector:
        connector.check()
        monkeypatch.setattr(psycopg.Connection, "execute", counted)
        assert len(connector.discover()) == 1000
    assert len(statements) <= 4  # the first checks the idle connection


def refusal(url: str, **options: Any) -> str:
    with connected(url, **options) as connector, pytest.raises(ConnectError) as caught:
        connector.check()
    assert "\n" not in caught.value.message
    return caught.value.message


def test_check_says_what_to_fix(pg: Database) -> None:
    """Each failed login names the address, the problem and the next step; never the password."""
    pg_url, closed = pg.url, free_port()
    wrong = refusal(pg_url.replace(pg.password, "not-the-password"))
    assert "password was refused" in wrong
    assert f"127.0.0.1:{pg.port}/{pg.name} as postgres" in wrong
    assert "not-the-password" not in wrong
    assert "nothing listens" in refusal(pg_url.replace(str(pg.port), str(closed)))
    assert "no such database" in refusal(pg_url.replace(pg.name, "nowhere"))
    assert "host name is not known" in refusal(pg_url.replace("127.0.0.1", "nowhere.invalid"))
    assert "sslmode: prefer" in refusal(pg_url, sslmode="require")
    assert "asks for a password" in refusal(pg_url.replace(f":{pg.password}", ""))


@pytest.mark.parametrize(
    ("parameter", "problem"),
    [
        (":99999/", "the port is not between 1 and 65535"),
        ("?channel_binding=require&sslmode=disable", "take channel_binding=require out"),
        ("?require_auth=none", "Take require_auth out"),
        ("?require_auth=rot13", 'require_auth cannot be "rot13"'),
        ("?connect_timeout=soon", "the value of connect_timeout is not a number"),
        ("?target_session_attrs=standby", "Check the source's options and url"),
    ],
)
def test_check_does_not_advise_to_try_a_wrong_parameter_again(
    pg: Database, parameter: str, problem: str
) -> None:
    """No retry helps against what the URL asks for, and the message says what to change."""
    url = pg.url + parameter
    if parameter.startswith(":"):
        url = pg.url.replace(f":{pg.port}/", parameter)
    with connected(url) as connector, pytest.raises(ConnectError) as caught:
        connector.check()
    assert problem in caught.value.message
    assert "Try again" not in caught.value.message
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("url", "option", "environment", "seconds"),
    [
        ("", None, None, "10"),
        ("?connect_timeout=33", None, "5", "33"),
        ("?connect_timeout=33", 3, "5", "3"),
        ("", None, "5", "5"),
    ],
)
def test_connect_timeout_of_the_url_holds_unless_the_source_has_one(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    option: int | None,
    environment: str | None,
    seconds: str,
) -> None:
    """The option's default is not one that the source has."""
    if environment:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", environment)
    values = {"url": f"postgresql://u@localhost/x{url}", "connect_timeout": option}
    options = PostgresConnector.Options.model_validate(values)
    assert libpq_parameters(options.parameters())["connect_timeout"] == seconds


def test_check_says_when_the_server_is_full(pg: Database) -> None:
    """The error is retryable, unlike a wrong password."""
    pg.execute("create role crowd login connection limit 0 password 'crowd-pw'")
    try:
        url = pg.url.replace("postgres:" + pg.password, "crowd:crowd-pw")
        with connected(url) as connector, pytest.raises(ConnectError) as caught:
            connector.check()
        assert "no free connection" in caught.value.message
        assert caught.value.retryable
    finally:
        pg.execute("drop role crowd")


def test_check_ends_after_connect_timeout(pg: Database) -> None:
    """`connect_timeout` limits the wait."""
    with FaultProxy(pg.port) as proxy:
        proxy.delay = 30
        message = refusal(pg.url.replace(str(pg.port), str(proxy.port)), connect_timeout=2)
    assert "no answer in time" in message


def test_check_passes_by_url_parts_and_keywords(pg: Database) -> None:
    """An address can be given in three ways."""
    parts = {"host": "127.0.0.1", "port": pg.port, "user": "postgres", "database": pg.name}
    for values in ({"url": pg.url}, {"url": pg.dsn}, {**parts, "password": pg.password}):
        options = PostgresConnector.Options.model_validate(values)
        assert pg.password not in repr(options)
        connector = PostgresConnector(options)
        connector.check()
        connector.close()
        connector.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"url": "mysql://u:hunter22@h/d"},
        {"url": "postgresql://u:hunter22@h/d", "host": "h"},
        {"host": "h", "password": "hunter22", "colour": "blue"},
        {"url": "postgresql://u:hunter22@h/d", "port": 0},
        {"url": "postgresql://u:hunter22@h/d", "on_nan": "ignore"},
        {"url": "postgresql://u:hunter22@h/d", "statement_timeout": "soon"},
    ],
)
def test_wrong_options_are_refused_without_showing_secrets(options: dict[str, Any]) -> None:
    """The messages of pydantic can be shown unchanged."""
    with pytest.raises(ValidationError) as caught:
        PostgresConnector.Options.model_validate(options)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "u:S3cret/w0rdy@127.0.0.1:1/x",
        "u:S3cret/w0rdy@127.0.0.1",
        "u:1234/w0rdy@127.0.0.1:1/x",
        "u:p@ssW0rd@host/x",
        "u:p@ssW0rd@host/x?options=a@b",
        "u:p@S3cret/w0rdy@host/x",
        "u:p@S3cret?w0rdy@host/x",
        "u:S3cret?w0rdy@host/x",
        "u:S3cret#w0rdy@host/x",
        "u:S3cret/1?w0rdy@host/x",
        "us/er:S3cret@host/x",
        "u:S3cret/w0rdy",
    ],
)
def test_a_password_that_is_not_encoded_is_refused(address: str) -> None:
    """Otherwise libpq takes a part of it as host or database, which messages show."""
    with pytest.raises(ValidationError) as caught:
        PostgresConnector.Options.model_validate({"url": f"postgresql://{address}"})
    (problem,) = caught.value.errors()
    message = str(problem["ctx"]["error"])
    assert problem["type"] == "value_error"
    assert "percent-encoded (@ as %40, / as %2F" in message or "write postgresql://" in message
    for part in ("S3cret", "w0rdy", "W0rd", "1234", "127.0.0.1"):
        assert part not in message
    planted = [part for part in ("S3cret", "w0rdy", "ssW0rd") if part in address]
    assert planted
    for part in planted:
        assert part not in redact(f"to {part}:5432")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/x?options=a@b",
        "postgresql://h:5432/x?options=a@b",
        "postgresql://[::1]:5432/x?options=a@b",
        "postgresql://h1:1,h2:2/x?options=a@b",
        "postgresql://u:p%40ss%2Fword@h:5432/x?options=a@b",
        "postgresql://u:p@h?options=a@b",
        "postgresql://u:p:q@h/x",
        "postgresql://u@h/x",
        "postgresql:///x?host=/tmp&password=p@ss/w0rdy",
        "postgresql://",
        "host=h password=p@ss/w0rdy",
    ],
)
def test_at_sign_outside_of_the_login_is_accepted(url: str) -> None:
    """In the values of a query and in keywords, an `@` needs no encoding."""
    PostgresConnector.Options.model_validate({"url": url})


def test_location_hides_text_that_is_not_a_host() -> None:
    """Only names, addresses and sockets are shown, even if libpq accepts other text as a host."""
    shown = {
        "h": "h:5432/d",
        "::1": "::1:5432/d",
        "/var/run": "/var/run:5432/d",
        "ssW0rd@host": "***:5432/d",
        "u:ssW0rd": "***:5432/d",
    }
    for host, place in shown.items():
        assert Sessions({"host": host, "port": "5432", "dbname": "d"}, None).location == place
    odd = Sessions({"host": "h", "port": "Secret", "dbname": "word@host/x"}, None)
    assert odd.location == "h:***/***"


def test_an_address_that_cannot_be_parsed_is_a_config_error() -> None:
    """An unencoded `%` in a password breaks a URL; the message shows no part of it."""
    with connected("postgresql://u:%zhunter22@h/d") as connector, pytest.raises(ConfigError) as e:
        connector.check()
    assert "percent-encoded" in e.value.message
    assert "hunter" not in e.value.message


def test_importing_the_connector_imports_no_driver() -> None:
    """`--help` must stay fast."""
    script = (
        "import sys, cdpsync_connectors.postgres.connector;"
        "sys.exit(any(name in sys.modules for name in ('psycopg', 'duckdb', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
