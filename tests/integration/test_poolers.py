"""A source behind a real pgbouncer: what others share with us, and pools that are small."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.pooler import pgbouncer
from support.postgres_reading import connected, read_chunks, request_for
from support.shop import Shop

from cdpsync import project
from cdpsync.errors import ReadError
from cdpsync.verify.verifier import verify
from cdpsync_connectors.postgres import keepalive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Database, Server

_TABLES = 6
_POOLS = [("transaction", 1), ("session", 2), ("transaction", 3)]
_SETTINGS = "select name, setting, source from pg_settings order by name"


class PooledShop(Shop):
    """A project whose source is reached through a pooler."""

    pooled: Database

    def as_application(self, sql: str) -> None:
        with psycopg.connect(self.pooled.url) as con:
            con.execute(sql)

    def configure(self, tables: dict[str, Any] | None, **source: Any) -> None:
        super().configure(tables, **{"url": self.pooled.url, **source})


@contextmanager
def pooled_shop(folder: Path, pg: Database, **settings: str | int) -> Iterator[PooledShop]:
    with pgbouncer(pg, **settings) as pooler:
        shop = PooledShop(folder, pg)
        shop.pooled = pooler.database(pg)
        yield shop


def settings_of_all(pooled: Database, count: int) -> list[Any]:
    """Return the settings of each of the pool's connections, as an application sees them."""
    with ExitStack() as stack:
        cons = [
            stack.enter_context(psycopg.connect(pooled.url, prepare_threshold=None))
            for _ in range(count)
        ]
        return sorted((con.execute(_SETTINGS).fetchall() for con in cons), key=repr)


@pytest.mark.parametrize("size", [1, 4])
def test_application_in_the_same_pool_notices_nothing(
    tmp_path: Path, pg: Database, size: int
) -> None:
    """Every setting is what it was, also those that the application made, and it can write."""
    pg.execute(
        "create table orders (id int primary key, v text);"
        "insert into orders select i, 'v' from generate_series(1, 10) i;"
        "create table secret (id int primary key); alter table secret enable row level security"
    )
    with pooled_shop(tmp_path, pg, default_pool_size=size, query_wait_timeout=8) as shop:
        with ExitStack() as stack:
            for _ in range(size):
                con = stack.enter_context(psycopg.connect(shop.pooled.url))
                con.execute("set work_mem = '5MB'")
        before = settings_of_all(shop.pooled, size)
        shop.configure({"public.*": {"mode": "full_table"}}, statement_timeout="20s")
        loaded = project.load(shop.file)
        assert [result.error for result in project.check(loaded)] == [None, None]
        assert [table.error for table in shop.run(threads=2).tables] == [None, None]
        verify(shop.file)
        assert settings_of_all(shop.pooled, size) == before
        for number in range(size):
            with psycopg.connect(shop.pooled.url) as con:
                con.execute("insert into orders values (%s, 'new')", (100 + number,))


@pytest.mark.parametrize(("mode", "size"), _POOLS)
def test_pool_that_is_smaller_than_our_threads(
    tmp_path: Path, pg: Database, caplog: pytest.LogCaptureFixture, mode: str, size: int
) -> None:
    """Six tables arrive, no connection is lost on the way, and the run says what to set."""
    for number in range(_TABLES):
        pg.execute(
            f"create table t{number} (id int primary key, v text);"
            f"insert into t{number} select i, 'v' from generate_series(1, 2000) i"
        )
    settings = {"pool_mode": mode, "default_pool_size": size, "query_wait_timeout": 8}
    with pooled_shop(tmp_path, pg, **settings) as shop:
        shop.configure({"public.*": {"mode": "incremental", "cursor_field": "id"}})
        with caplog.at_level("WARNING"):
            tables = shop.run(threads=4).tables
        assert [(t.error, t.rows_inserted) for t in tables] == [(None, 2000)] * _TABLES
        assert not caplog.records
        notices = [notice for table in tables for notice in table.notices]
        assert len(notices) == 1
        assert f"max_connections: {size} on the source" in notices[0]
        shop.configure({"public.*": {"mode": "full_table"}}, max_connections=size)
        assert [t.error for t in shop.run(threads=4).tables] == [None] * _TABLES


def test_transaction_that_waits_for_its_readers_is_kept_awake(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler ends idle transactions; the snapshot of a long read is none of them."""
    monkeypatch.setattr(keepalive, "INTERVAL", 0.1)
    pg.execute("create table t as select i as id from generate_series(1, 1000) i")
    with (
        pgbouncer(pg, idle_transaction_timeout=1) as pooler,
        connected(pooler.database(pg).url) as connector,
        connector.read(request_for(connector, "public.t")) as chunks,
    ):
        time.sleep(2)
        assert len(read_chunks(connector, chunks).rows) == 1000


@pytest.mark.parametrize(("mode", "cursor"), [("incremental", "id"), ("append_only", "at")])
def test_late_commit_of_the_application_in_the_same_pool(
    tmp_path: Path, pg: Database, mode: str, cursor: str
) -> None:
    """Its transactions are not taken for ours, and ours hold no cursor back."""
    pg.execute(
        "create table orders (id bigint generated always as identity primary key, v text, "
        "at timestamptz default now())"
    )
    with pooled_shop(tmp_path, pg, default_pool_size=6) as shop:
        shop.configure({"public.orders": {"mode": mode, "cursor_field": cursor}})
        shop.as_application("insert into orders (v) values ('first')")
        shop.one()
        with psycopg.connect(shop.pooled.url) as late:
            late.execute("insert into orders (v) values ('late')")
            shop.as_application("insert into orders (v) values ('newest')")
            assert shop.one().rows_in_table == 2
        assert shop.one().rows_in_table == 3
        shop.same()
        assert shop.one().rows_inserted == 0


def test_transaction_that_has_written_nothing_yet_is_not_taken_for_ours(
    tmp_path: Path, pg: Database
) -> None:
    """It runs on a connection that was ours before, and whose name must not stay there."""
    pg.execute("create table orders (id serial primary key, v text, at timestamptz default now())")
    with pooled_shop(tmp_path, pg, default_pool_size=6) as shop:
        shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "at"}})
        shop.as_application("insert into orders (v) values ('first')")
        shop.one()
        with ExitStack() as stack:
            waiting = [stack.enter_context(psycopg.connect(shop.pooled.url)) for _ in range(3)]
            for con in waiting:
                con.execute("select 1")
            shop.as_application("insert into orders (v) values ('newest')")
            shop.one()
            for con in waiting:
                con.execute("insert into orders (v) values ('late')")
        assert shop.one().rows_in_table == 5
        shop.same()


@pytest.mark.parametrize("limit", [1, 2])
def test_role_with_few_connections(
    tmp_path: Path, postgres_server: Server, pg: Database, limit: int
) -> None:
    """The server says how many it gives, and so many are used."""
    user = f"few_{limit}"
    pg.execute(
        f"drop role if exists {user}; "
        f"create role {user} login password 'r' connection limit {limit};"
        f"grant pg_read_all_data to {user};"
        "create table t (id int primary key); insert into t values (1)"
    )
    shop = Shop(tmp_path, pg)
    url = pg.url.replace(f"postgres:{pg.password}", f"{user}:r")
    shop.configure({"public.t": {"mode": "incremental", "cursor_field": "id"}}, url=url)
    result = shop.one()
    assert result.rows_inserted == 1
    assert [f"max_connections: {limit} on" in notice for notice in result.notices] == [True]
    pg.execute("insert into t values (2)")
    assert shop.one().rows_inserted == 1


def test_table_that_changes_between_its_plan_and_its_only_connection(pg: Database) -> None:
    """With one connection nothing holds a lock in between, so the change is noticed."""
    pg.execute("create table t as select i as id from generate_series(1, 10) i")
    with connected(pg.url, max_connections=1) as connector:
        request = request_for(connector, "public.t")
        with connector.read(request) as chunks:
            pg.execute("alter table t add extra int")
            with pytest.raises(ReadError, match="changed as its read began"):
                read_chunks(connector, chunks)
        with connector.read(request) as chunks:
            pg.execute("truncate t")
            assert read_chunks(connector, chunks).rows == []
