"""The horizon from Postgres' statistics, the limits of a cursor, and the locks of a read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.postgres_reading import connected, read_back, read_chunks, request_for

from cdpsync.errors import ConnectError, ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors._shared.time_limit import capped_by_time, days_between
from cdpsync_connectors.postgres import transactions
from cdpsync_connectors.postgres.connections import Sessions
from cdpsync_connectors.postgres.safe_cursor import still_open
from cdpsync_connectors.postgres.transactions import UNSEEN, Horizon, Writers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Database

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def quiet(at: datetime = NOON, oldest: datetime | None = None, **changes: Any) -> Horizon:
    return Horizon(**{"at": at, "oldest": oldest, "owner": None, **_PLAIN, **changes})


_PLAIN = {"is_standby": False, "has_unseen": False}


@pytest.fixture
def horizon_of(pg: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that returns the horizon for a pg_stat_activity with only this row."""
    sql = transactions._OPEN.replace("pg_catalog.pg_stat_activity", "activity")
    monkeypatch.setattr(transactions, "_OPEN", sql)

    def fetch(**row: Any) -> Horizon:
        usual = {"pid": 1, "usename": "app", "backend_type": "client backend", "state": "active"}
        shown = {**usual, "application_name": "app", **row}
        with psycopg.connect(pg.url, autocommit=True, application_name="cdpsync") as con:
            con.execute("create temp table activity as select * from pg_stat_activity limit 0")
            names = ", ".join(shown)
            marks = ", ".join(f"%({name})s" for name in shown)
            insert = f"insert into activity (datname, {names}) values (current_database(), {marks})"
            con.execute(insert.encode(), shown)
            return transactions.fetch_horizon(con)

    return fetch


@pytest.mark.parametrize(
    "type_", ["client backend", "pg_cron", "my job", "logical replication apply worker"]
)
def test_every_session_that_may_write_counts(horizon_of: Any, type_: str) -> None:
    """The authors of an extension choose the type names of its workers."""
    horizon = horizon_of(backend_type=type_, state=None, xact_start=NOON)
    assert horizon.safe_until <= NOON
    assert horizon.owner == "process 1 of user app"


@pytest.mark.parametrize("type_", ["autovacuum worker", "walsender", "parallel worker"])
def test_sessions_that_never_write_do_not_count(horizon_of: Any, type_: str) -> None:
    """A VACUUM of hours does not hold a cursor back."""
    horizon = horizon_of(backend_type=type_, xact_start=NOON)
    assert (horizon.oldest, horizon.has_unseen) == (None, False)


def test_idle_worker_without_a_state_is_not_unseen(horizon_of: Any) -> None:
    """Workers of extensions never show a state, even when idle."""
    assert not horizon_of(backend_type="pg_cron launcher", state=None).has_unseen


def test_statement_that_has_just_begun_counts(horizon_of: Any) -> None:
    """A session shows as active before it shows its transaction."""
    assert horizon_of(query_start=NOON).oldest == NOON
    assert horizon_of(query_start=NOON, state="idle").oldest is None


@pytest.mark.parametrize(
    "row",
    [
        {"backend_type": None, "state": None},
        {"state": None},
        {"state": "disabled"},
        {"state": "idle in transaction"},
        {"state": "idle in transaction (aborted)"},
    ],
)
def test_session_that_shows_no_times_is_unseen(horizon_of: Any, row: dict[str, Any]) -> None:
    """Because we lack the right to see it, or because it shows nothing to anybody."""
    horizon = horizon_of(**row)
    assert horizon.has_unseen
    assert horizon.safe_until == horizon.at - UNSEEN


def test_own_sessions_count_only_if_they_write(horizon_of: Any) -> None:
    """They are recognised by their name, and by not writing."""
    assert horizon_of(application_name="cdpsync", xact_start=NOON).oldest is None
    assert horizon_of(application_name="cdpsync", xact_start=NOON, backend_xid="7").oldest == NOON


def test_horizon_excludes_the_last_second() -> None:
    """A session reads the clock before it shows its transaction."""
    assert quiet().safe_until == NOON - _SECOND
    assert quiet(oldest=NOON - _SECOND / 2).safe_until == NOON - _SECOND
    assert quiet(oldest=NOON - _SECOND * 3).safe_until == NOON - _SECOND * 3
    assert quiet(is_standby=True).safe_until == NOON - UNSEEN


@given(
    open_for=st.timedeltas(timedelta(), timedelta(days=3)),
    view_after=st.timedeltas(timedelta(), timedelta(hours=30)),
    read_share=st.floats(0, 1),
    commit_share=st.floats(0, 1),
    offset=st.integers(-48, 56),
)
def test_no_row_of_an_open_transaction_is_below_the_safe_cursor(
    open_for: timedelta, view_after: timedelta, read_share: float, commit_share: float, offset: int
) -> None:
    """That holds for any clock that the column follows, and for any moment of the late commit."""
    horizon = quiet(oldest=NOON - open_for)
    until = NOON + view_after
    clock = timedelta(minutes=15 * offset)

    def shown(share: float) -> datetime:
        moment = horizon.safe_until + (until - horizon.safe_until) * share
        return (moment + clock).replace(tzinfo=None)

    highest, late = shown(read_share), shown(commit_share)
    stamp = capped_by_time(Cursor(CursorType.TIMESTAMP, highest), horizon.safe_until, lambda: until)
    assert stamp.value <= late
    day = capped_by_time(Cursor(CursorType.DATE, highest.date()), horizon.safe_until, lambda: until)
    assert day.value <= late.date()


def test_old_times_are_not_moved() -> None:
    """No new row can have them by any clock, so no row is read twice."""
    for value in (datetime(2026, 3, 3, 12), datetime(1, 1, 1)):  # noqa: DTZ001 - a bare one
        old = Cursor(CursorType.TIMESTAMP, value)
        assert capped_by_time(old, quiet().safe_until, lambda: NOON) == old
    yesterday = Cursor(CursorType.DATE, date(2026, 3, 3))
    assert capped_by_time(yesterday, quiet().safe_until, lambda: NOON) == yesterday
    today = Cursor(CursorType.DATE, date(2026, 3, 4))
    assert capped_by_time(today, quiet().safe_until, lambda: NOON) == today


def test_dates_differ_if_midnight_may_be_between() -> None:
    """Somewhere it is midnight at each quarter of an hour."""
    quarter = datetime(2026, 3, 4, 12, 15, tzinfo=UTC)
    assert days_between(quarter, quarter + _SECOND) == timedelta(0)
    assert days_between(quarter - _SECOND, quarter) == timedelta(days=1)
    assert days_between(quarter, quarter + timedelta(hours=30)) == timedelta(days=2)


def test_prepared_writer_is_still_open() -> None:
    """It counts under its new name, even if both names showed before."""

    def writers(names: str = "", prepared: str = "") -> Writers:
        ready = frozenset(prepared.split())
        return Writers(frozenset(names.split()) | ready, ready)

    pending = frozenset({"5/1"})
    before, both, after = writers("5/1"), writers("5/1", "700"), writers("", "700")
    assert still_open(pending, before, before, after) == {"700"}
    assert still_open(pending, before, before, both) == pending
    assert still_open(pending, before, both, after) == {"700"}
    ended = writers("6/1", "701")
    assert still_open(frozenset({"700"}), before, after, ended) == frozenset()
    assert still_open(pending, before, before, writers("6/1")) == frozenset()


_PARTS = """
    create table orders (id int, v text) partition by list (id);
    create table o1 partition of orders for values in (1);
    create table o2 partition of orders default;
    insert into orders select n % 4 + 1, 'x' || n from generate_series(1, 20) n;
    create view shown as select * from orders;
    create materialized view kept as select * from orders
"""
_REFILL = "truncate o1; insert into o1 select 1, 'new' || n from generate_series(1, 3) n"
_REWRITE = "alter table orders add extra uuid default gen_random_uuid()"


@pytest.fixture
def run_between(pg: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that takes SQL to run, some times, between a read's snapshot and its locks."""
    begin = Sessions.snapshot
    todo: list[str] = []

    @contextmanager
    def view(self: Sessions, con: psycopg.Connection[Any]) -> Iterator[None]:
        with begin(self, con):
            con.execute("select 1")
            if todo:
                with psycopg.connect(pg.url) as con:
                    con.execute(todo.pop().encode())
            yield

    monkeypatch.setattr(Sessions, "snapshot", view)
    return lambda sql, times=1: todo.extend([sql] * times)


@pytest.mark.parametrize("stream", ["orders", "shown"])
@pytest.mark.parametrize("sql", [_REFILL, _REWRITE], ids=["truncate", "alter"])
def test_table_that_is_rewritten_as_a_read_begins(
    pg: Database, run_between: Any, stream: str, sql: str
) -> None:
    """It is read in its new state, because older snapshots see none of its rows."""
    pg.execute(_PARTS)
    run_between(sql)
    rows = read_back(pg.url, f"public.{stream}").rows
    assert len(rows) == int(pg.psql("select count(*) from orders"))


def test_rewrite_is_noticed_with_column_grants_only(pg: Database, run_between: Any) -> None:
    """A user who may read only some columns cannot lock a table by name."""
    pg.execute(_PARTS)
    pg.execute("create role some_columns login password 'r'")
    pg.execute("grant select (v) on orders to some_columns")
    url = pg.url.replace(f"postgres:{pg.password}", "some_columns:r")
    run_between(_REFILL)
    try:
        with connected(url) as connector:
            request = request_for(connector, "public.orders")
            only = tuple(column for column in request.columns if column.name == "v")
            with connector.read(replace(request, columns=only)) as chunks:
                assert len(read_chunks(connector, chunks).rows) == 18
    finally:
        pg.execute("drop owned by some_columns; drop role some_columns")


def test_materialized_view_is_complete_after_a_refresh(pg: Database, run_between: Any) -> None:
    """A materialised view is rewritten at each REFRESH."""
    pg.execute(_PARTS)
    run_between(f"{_REFILL}; refresh materialized view kept")
    assert len(read_back(pg.url, "public.kept").rows) == 18


def test_table_that_is_emptied_again_and_again_is_an_error(pg: Database, run_between: Any) -> None:
    """The error is one line, and no row is read."""
    pg.execute(_PARTS)
    run_between(_REFILL, 9)
    with pytest.raises(ReadError, match="emptied or rewritten each of the 5 times"):
        read_back(pg.url, "public.orders")


def test_lost_snapshot_is_noticed_where_it_cannot_be_exported(pg: Database) -> None:
    """Its locks are lost too, so rows that another connection read may be of several moments."""
    pg.execute(_PARTS)
    with connected(pg.url) as connector, pytest.raises(ConnectError) as lost:  # noqa: PT012
        connector._source.exporter._is_possible = False
        with connector.read(request_for(connector, "public.orders")) as chunks:
            assert len(read_chunks(connector, chunks).rows) == 20
            pg.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'cdpsync' and state = 'idle in transaction'"
            )
    assert lost.value.retryable
