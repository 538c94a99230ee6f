"""What is asked of Postgres' statistics, and what follows from the answers."""

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
from cdpsync_connectors.postgres import transactions
from cdpsync_connectors.postgres.connections import Sessions
from cdpsync_connectors.postgres.safe_cursor import capped_by_time, days_between, still_open
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
    """A function that returns the horizon where pg_stat_activity has just this row."""
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
def test_whatever_may_write_counts(horizon_of: Any, type_: str) -> None:
    """Workers of extensions are called as their authors like."""
    horizon = horizon_of(backend_type=type_, state=None, xact_start=NOON)
    assert horizon.safe_until <= NOON
    assert horizon.owner == "process 1 of user app"


@pytest.mark.parametrize("type_", ["autovacuum worker", "walsender", "parallel worker"])
def test_what_writes_no_rows_does_not_count(horizon_of: Any, type_: str) -> None:
    """A VACUUM of hours holds nothing back."""
    horizon = horizon_of(backend_type=type_, xact_start=NOON)
    assert (horizon.oldest, horizon.has_unseen) == (None, False)


def test_worker_outside_of_a_transaction_is_no_secret(horizon_of: Any) -> None:
    """Workers of extensions say no state, also when they do nothing."""
    assert not horizon_of(backend_type="pg_cron launcher", state=None).has_unseen


def test_statement_that_has_just_begun_counts(horizon_of: Any) -> None:
    """It is said to be active before it is said to be in a transaction."""
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
def test_session_that_does_not_tell_is_unseen(horizon_of: Any, row: dict[str, Any]) -> None:
    """For want of the right to see it, or because it tells nobody."""
    horizon = horizon_of(**row)
    assert horizon.has_unseen
    assert horizon.safe_until == horizon.at - UNSEEN


def test_our_own_sessions_do_not_count_while_they_only_read(horizon_of: Any) -> None:
    """By a name that nobody else has; and who writes is not ours."""
    assert horizon_of(application_name="cdpsync", xact_start=NOON).oldest is None
    assert horizon_of(application_name="cdpsync", xact_start=NOON, backend_xid="7").oldest == NOON


def test_horizon_keeps_off_the_last_second() -> None:
    """A session reads the clock before it tells of its transaction."""
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
def test_no_row_of_an_open_transaction_lies_below(
    open_for: timedelta, view_after: timedelta, read_share: float, commit_share: float, offset: int
) -> None:
    """Whatever clock the column follows: what the view has is seen, and others may still come."""
    horizon = quiet(oldest=NOON - open_for)
    until = NOON + view_after
    clock = timedelta(minutes=15 * offset)

    def shown(share: float) -> datetime:
        moment = horizon.safe_until + (until - horizon.safe_until) * share
        return (moment + clock).replace(tzinfo=None)

    highest, late = shown(read_share), shown(commit_share)
    stamp = capped_by_time(Cursor(CursorType.TIMESTAMP, highest), horizon, lambda: until)
    assert stamp.value <= late
    day = capped_by_time(Cursor(CursorType.DATE, highest.date()), horizon, lambda: until)
    assert day.value <= late.date()


def test_old_times_rest_where_they_are() -> None:
    """Nothing new has them by any clock, so nothing is read twice."""
    for value in (datetime(2026, 3, 3, 12), datetime(1, 1, 1)):  # noqa: DTZ001 - a bare one
        old = Cursor(CursorType.TIMESTAMP, value)
        assert capped_by_time(old, quiet(), lambda: NOON) == old
    yesterday = Cursor(CursorType.DATE, date(2026, 3, 3))
    assert capped_by_time(yesterday, quiet(), lambda: NOON) == yesterday
    today = Cursor(CursorType.DATE, date(2026, 3, 4))
    assert capped_by_time(today, quiet(), lambda: NOON) == today


def test_days_differ_where_midnight_may_lie_between() -> None:
    """Somewhere it is midnight at each quarter of an hour."""
    quarter = datetime(2026, 3, 4, 12, 15, tzinfo=UTC)
    assert days_between(quarter, quarter + _SECOND) == timedelta(0)
    assert days_between(quarter - _SECOND, quarter) == timedelta(days=1)
    assert days_between(quarter, quarter + timedelta(hours=30)) == timedelta(days=2)


def test_writer_that_is_prepared_is_still_open() -> None:
    """It is found under its new name, though it may have had both when it was last seen."""

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
def in_between(pg: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that takes what happens, so often, between a view's snapshot and its locks."""
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
    pg: Database, in_between: Any, stream: str, sql: str
) -> None:
    """It is read as it is then: older views see nothing of what was in it."""
    pg.execute(_PARTS)
    in_between(sql)
    rows = read_back(pg.url, f"public.{stream}").rows
    assert len(rows) == int(pg.psql("select count(*) from orders"))


def test_column_grants_do_not_keep_a_read_from_seeing_it(pg: Database, in_between: Any) -> None:
    """Who may read some columns may lock nothing by name."""
    pg.execute(_PARTS)
    pg.execute("create role some_columns login password 'r'")
    pg.execute("grant select (v) on orders to some_columns")
    url = pg.url.replace(f"postgres:{pg.password}", "some_columns:r")
    in_between(_REFILL)
    try:
        with connected(url) as connector:
            request = request_for(connector, "public.orders")
            only = tuple(column for column in request.columns if column.name == "v")
            with connector.read(replace(request, columns=only)) as chunks:
                assert len(read_chunks(connector, chunks).rows) == 18
    finally:
        pg.execute("drop owned by some_columns; drop role some_columns")


def test_refreshed_view_is_whole(pg: Database, in_between: Any) -> None:
    """A materialised view is rewritten at each REFRESH."""
    pg.execute(_PARTS)
    in_between(f"{_REFILL}; refresh materialized view kept")
    assert len(read_back(pg.url, "public.kept").rows) == 18


def test_table_that_is_emptied_again_and_again_is_an_error(pg: Database, in_between: Any) -> None:
    """One line, and nothing of it is read."""
    pg.execute(_PARTS)
    in_between(_REFILL, 9)
    with pytest.raises(ReadError, match="emptied or rewritten each of the 5 times"):
        read_back(pg.url, "public.orders")


def test_view_that_is_lost_is_noticed_where_snapshots_do_not_travel(pg: Database) -> None:
    """Its locks went with it: what was read by another connection may be of no one moment."""
    pg.execute(_PARTS)
    with connected(pg.url) as connector, pytest.raises(ConnectError) as lost:  # noqa: PT012
        connector._snapshots_travel = False
        with connector.read(request_for(connector, "public.orders")) as chunks:
            assert len(read_chunks(connector, chunks).rows) == 20
            pg.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'cdpsync' and state = 'idle in transaction'"
            )
    assert lost.value.retryable
