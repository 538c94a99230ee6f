"""Safe cursors: every transaction that may still add rows below a cursor is noticed."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.servers import postgres

from cdpsync_connectors.postgres import table_read
from cdpsync_connectors.postgres.chunks import PostgresChunk
from cdpsync_connectors.postgres.connections import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Server
    from support.shop import ReplicatedShop, Shop

_NUMBERED = "create table orders (id bigint generated always as identity primary key, v text)"
_COUNTED = "create table orders (id bigint primary key default 0, v text); create sequence q"
_NEXT = "insert into orders select nextval('q'), '{v}'"
_INSERT = "insert into orders (v) values ('{v}')"
_TIMED = (
    "create table orders (id bigint generated always as identity primary key, v text, "
    "at {kind} default {now})"
)
_NOW = {"timestamptz": "now()", "timestamp": "localtimestamp", "date": "current_date"}


def follow(shop: Shop, cursor: str, mode: str = "incremental", **source_options: Any) -> None:
    shop.configure({"public.orders": {"mode": mode, "cursor_field": cursor}}, **source_options)


def timed(shop: Shop, kind: str) -> None:
    """Make a table whose cursor is a time, and read its first row."""
    shop.pg.execute(_TIMED.format(kind=kind, now=_NOW[kind]))
    shop.pg.execute(_INSERT.format(v="first"))
    follow(shop, "at")
    shop.one()


def as_view_begins(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], *, after: bool
) -> None:
    """Act once: before the first snapshot begins, or right after it."""
    begin = Sessions.snapshot
    acts = [act]

    @contextmanager
    def view(self: Sessions, con: psycopg.Connection[Any]) -> Iterator[None]:
        if acts and not after:
            acts.pop()()
        with begin(self, con):
            if acts:
                con.execute("select 1")
                acts.pop()()
            yield

    monkeypatch.setattr(Sessions, "snapshot", view)


def test_number_that_is_taken_before_anything_is_written(shop: Shop) -> None:
    """A transaction that used a sequence has no transaction number yet, but a lock."""
    shop.pg.execute(_COUNTED)
    follow(shop, "id")
    shop.pg.execute(_NEXT.format(v="first"))
    shop.one()
    with psycopg.connect(shop.pg.url) as late:
        ((number,),) = late.execute("select nextval('q')").fetchall()
        shop.pg.execute(_NEXT.format(v="newest"))
        shop.one()
        late.execute("insert into orders values (%s, 'late')", (number,))
    shop.one()
    shop.same()
    assert shop.one().rows_inserted == 0


def test_number_of_an_insert_that_waits_in_a_trigger(shop: Shop) -> None:
    """The row of a statement is not visible before its trigger has ended."""
    shop.pg.execute(_NUMBERED)
    shop.pg.execute(
        """
        create function wait() returns trigger language plpgsql as $$ begin
            if new.v = 'late' then perform pg_advisory_xact_lock(7); end if; return new;
        end $$;
        create trigger wait before insert on orders for each row execute function wait();
        """
    )
    follow(shop, "id", "append_only")
    shop.pg.execute(_INSERT.format(v="first"))
    shop.one()
    late = threading.Thread(target=shop.pg.execute, args=(_INSERT.format(v="late"),))
    with psycopg.connect(shop.pg.url, autocommit=True) as con:
        con.execute("select pg_advisory_lock(7)")
        late.start()
        while not con.execute("select 1 from pg_locks where not granted").fetchone():
            time.sleep(0.01)
        shop.pg.execute(_INSERT.format(v="newest"))
        shop.one()
    late.join()
    shop.one()
    shop.same()


@pytest.mark.parametrize("after", [False, True], ids=["before the view", "in the view"])
def test_number_that_is_taken_as_the_view_begins(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """Whether or not the snapshot shows the number above it."""
    shop.pg.execute(_COUNTED)
    follow(shop, "id")
    shop.pg.execute(_NEXT.format(v="first"))
    shop.one()
    with psycopg.connect(shop.pg.url) as late:
        numbers: list[int] = []

        def take() -> None:
            numbers.append(late.execute("select nextval('q')").fetchall()[0][0])
            shop.pg.execute(_NEXT.format(v="newest"))

        as_view_begins(monkeypatch, take, after=after)
        shop.one()
        late.execute("insert into orders values (%s, 'late')", numbers)
    shop.one()
    shop.same()


def test_writer_that_ends_before_locks_are_fetched(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot misses its row and no lock is left, but it took a transaction number."""
    shop.pg.execute(_COUNTED)
    follow(shop, "id")
    shop.pg.execute(_NEXT.format(v="first"))
    shop.one()
    asks = table_read.is_idle_since
    with psycopg.connect(shop.pg.url) as late:
        ((number,),) = late.execute("select nextval('q')").fetchall()
        shop.pg.execute(_NEXT.format(v="newest"))

        def ends_first(con: psycopg.Connection[Any], own: int) -> bool:
            late.execute("insert into orders values (%s, 'late')", (number,))
            late.commit()
            return asks(con, own)

        monkeypatch.setattr(table_read, "is_idle_since", ends_first)
        shop.one()
    monkeypatch.undo()
    shop.one()
    shop.same()


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from orders",
        "lock table orders in share update exclusive mode",  # as VACUUM and ANALYZE hold it
        "lock table orders in share mode",
    ],
)
def test_number_is_not_held_back_by_readers(shop: Shop, sql: str) -> None:
    """Transactions that do not write hold no number back, however long they last."""
    shop.pg.execute(_NUMBERED)
    follow(shop, "id")
    shop.pg.execute(_INSERT.format(v="first"))
    with psycopg.connect(shop.pg.url) as con:
        con.execute(sql.encode())
        assert shop.one().cursor_after.value == 1
        assert shop.one().rows_read == 1


def test_number_of_a_lock_that_is_held_long_is_read_again(shop: Shop) -> None:
    """The cursor stays and the rows land once; after the lock is released, it moves on."""
    shop.pg.execute(_NUMBERED)
    follow(shop, "id", "append_only")
    shop.pg.execute(_INSERT.format(v="first"))
    shop.one()
    with psycopg.connect(shop.pg.url) as con:
        con.execute("lock table orders in share row exclusive mode")
        assert shop.one().cursor_after.value == 1
    shop.pg.execute(_INSERT.format(v="newest"))
    assert shop.one().cursor_after.value == 2
    shop.same()


def test_number_where_snapshots_cannot_be_exported(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are read in a later snapshot than the one before which the writers were fetched."""
    shop.pg.execute(_NUMBERED)
    shop.pg.execute(_INSERT.format(v="first"))
    shop.pg.execute("revoke execute on function pg_export_snapshot() from public")
    shop.pg.execute(
        "create role no_export login password 'r'; grant pg_read_all_stats to no_export; "
        "grant select on orders to no_export"
    )
    follow(shop, "id", url=shop.pg.url.replace(f"postgres:{shop.pg.password}", "no_export:r"))
    try:
        shop.one()
        reads = PostgresChunk.relation
        with psycopg.connect(shop.pg.url) as late:
            acts = [_INSERT.format(v="late")]

            def relation(self: PostgresChunk, con: Any) -> Any:
                if acts:
                    late.execute(acts.pop().encode())
                    shop.pg.execute(_INSERT.format(v="newest"))
                return reads(self, con)

            monkeypatch.setattr(PostgresChunk, "relation", relation)
            shop.one()
        shop.one()
        shop.same()
    finally:
        shop.pg.execute("drop owned by no_export; drop role no_export")


@pytest.mark.parametrize("kind", _NOW)
def test_time_of_a_transaction_that_begins_before_the_view(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It was not open yet when the horizon was fetched, and the snapshot has later rows."""
    timed(shop, kind)
    with psycopg.connect(shop.pg.url) as late:

        def begin() -> None:
            late.execute(_INSERT.format(v="late").encode())
            shop.pg.execute(_INSERT.format(v="newest"))

        as_view_begins(monkeypatch, begin, after=False)
        shop.one()
    shop.one()
    shop.same()


def test_time_of_a_session_without_tracking(shop: Shop) -> None:
    """With track_activities off, a session shows neither that nor since when it is open."""
    timed(shop, "timestamptz")
    with psycopg.connect(shop.pg.url) as late:
        late.execute("set track_activities = off")
        late.commit()
        late.execute(_INSERT.format(v="late").encode())
        shop.pg.execute(_INSERT.format(v="newest"))
        shop.one()
    shop.one()
    shop.same()


def test_time_of_a_session_without_tracking_for_a_while(shop: Shop) -> None:
    """It shows its transaction again, but not since when."""
    timed(shop, "timestamptz")
    with psycopg.connect(shop.pg.url) as late:
        late.execute(_INSERT.format(v="late").encode())
        late.execute("set track_activities = off")
        late.execute("set track_activities = on")
        shop.pg.execute(_INSERT.format(v="newest"))
        shop.one()
    shop.one()
    shop.same()


@pytest.mark.parametrize("name", ["myapp", "a long name " * 6])
def test_time_of_a_writer_of_the_same_name(shop: Shop, name: str) -> None:
    """A source may have the application's own name; the application's sessions are not ours."""
    timed(shop, "timestamptz")
    follow(shop, "at", application_name=name)
    with psycopg.connect(shop.pg.url, application_name=name) as late:
        late.execute(_INSERT.format(v="late").encode())
        shop.pg.execute(_INSERT.format(v="newest"))
        shop.one()
    shop.one()
    shop.same()


@pytest.fixture(scope="module")
def preparing_server() -> Iterator[Server]:
    """A Postgres where transactions can be prepared."""
    with postgres(max_prepared_transactions="5") as server:
        yield server


@pytest.fixture
def preparing_shop(tmp_path: Path, preparing_server: Server) -> Iterator[Shop]:
    """An empty project over an empty database of that server."""
    from support.shop import Shop

    with preparing_server.database(f"test_{tmp_path.name[-40:]}") as pg:
        yield Shop(tmp_path, pg)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_time_of_a_prepared_transaction(preparing_shop: Shop, kind: str) -> None:
    """Postgres shows when it was prepared, but not when it began."""
    shop = preparing_shop
    timed(shop, kind)
    with psycopg.connect(shop.pg.url, autocommit=True) as late:
        late.execute("begin")
        late.execute(_INSERT.format(v="late").encode())
        shop.pg.execute(_INSERT.format(v="newest"))
        time.sleep(1.1)  # longer than what is left out of the newest rows anyhow
        late.execute("prepare transaction 'late'")
        shop.one()
        late.execute("commit prepared 'late'")
    shop.one()
    shop.same()


def test_number_of_a_transaction_prepared_during_the_wait(
    preparing_shop: Shop,
) -> None:
    """It loses its session's name and stays open."""
    shop = preparing_shop
    shop.pg.execute(_COUNTED)
    follow(shop, "id")
    shop.pg.execute(_NEXT.format(v="first"))
    shop.one()
    with psycopg.connect(shop.pg.url, autocommit=True) as late:
        late.execute("begin")
        ((number,),) = late.execute("select nextval('q')").fetchall()
        shop.pg.execute(_NEXT.format(v="newest"))

        def prepare(*_: object) -> None:
            late.execute("insert into orders values (%s, 'late')", (number,))
            late.execute("prepare transaction 'late'")

        with pytest.MonkeyPatch.context() as patch:
            on_wait(patch, prepare)
            assert shop.one().cursor_after.value == 1
        late.execute("commit prepared 'late'")
    shop.one()
    shop.same()


def on_wait(patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Act at the first wait for the writers."""
    from cdpsync_connectors.postgres import safe_cursor as settled

    acts = [act]

    def sleep(seconds: float) -> None:
        if acts:
            acts.pop()()
        threading.Event().wait(seconds)

    class Clock:
        monotonic = staticmethod(time.monotonic)

    clock = Clock()
    clock.sleep = sleep  # type: ignore[attr-defined]
    patch.setattr(settled, "time", clock)


@pytest.fixture
def standby_shop(replicated_shop: ReplicatedShop) -> ReplicatedShop:
    """A project whose source is the standby alone."""
    replicated_shop.pg.execute(_NUMBERED)
    replicated_shop.pg.execute(_INSERT.format(v="first"))
    return replicated_shop


def _replayed(shop: ReplicatedShop) -> None:
    ((position,),) = shop.source("select pg_current_wal_insert_lsn()::text")
    while shop.replica.psql(f"select pg_last_wal_replay_lsn() >= '{position}'") != "t":
        time.sleep(0.02)


def test_standby_does_not_show_writers_of_numbers(standby_shop: ReplicatedShop) -> None:
    """So the cursor stays, all rows are read each time and land once, and the run says why."""
    shop = standby_shop
    follow(shop, "id", "append_only", url=shop.replica.url, replica=None)
    _replayed(shop)
    result = shop.one()
    assert result.cursor_after is None
    (notice,) = [text for text in result.notices if "is a standby" in text]
    assert "`replica`" in notice
    assert "`lookback`" in notice
    with psycopg.connect(shop.pg.url) as late:
        late.execute(_INSERT.format(v="late").encode())
        shop.pg.execute(_INSERT.format(v="newest"))
        _replayed(shop)
        assert shop.one().rows_in_table == 2
    _replayed(shop)
    assert shop.one().rows_in_table == 3
    shop.same()


def test_lookback_is_trusted_at_a_standby(standby_shop: ReplicatedShop) -> None:
    """A user who sets a lookback states how far below the cursor rows may appear."""
    shop = standby_shop
    rule = {"mode": "incremental", "cursor_field": "id", "lookback": 5}
    shop.configure({"public.orders": rule}, url=shop.replica.url, replica=None)
    _replayed(shop)
    result = shop.one()
    assert result.cursor_after is not None
    assert result.cursor_after.value == 1
    assert result.notices == ()
    with psycopg.connect(shop.pg.url) as late:
        late.execute(_INSERT.format(v="late").encode())
        shop.pg.execute(_INSERT.format(v="newest"))
        _replayed(shop)
        shop.one()
    _replayed(shop)
    shop.one()
    shop.same()
