"""Limits on the load of a source. The servers in these tests refuse connections above them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from cdpsync_connectors._shared import rate_limit
from cdpsync_connectors._shared.rate_limit import STEP, RowLimiter

if TYPE_CHECKING:
    from support.mysql_server import MariaDatabase
    from support.shop import Shop

_TABLES = 6

# One page per row.
_PAGES = """
    create table {name} (id int, text text);
    alter table {name} alter text set storage plain;
    insert into {name} select i, repeat('x', 7000) from generate_series(1, {rows}) i;
    vacuum analyze {name}
"""


def _as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(
        parts._replace(netloc=f"{user}:secret-of-{user}@{parts.netloc.split('@')[1]}")
    )


@pytest.mark.parametrize("max_connections", [2, 3, 5])
def test_postgres_never_sees_more_connections_than_max_connections(
    shop: Shop, caplog: pytest.LogCaptureFixture, max_connections: int
) -> None:
    """Several tables of many chunks are read by a role with this connection limit."""
    user = f"gentle_{max_connections}"
    shop.pg.execute(
        f"drop role if exists {user}; "
        f"create role {user} login password 'secret-of-{user}' connection limit {max_connections}; "
        f"grant pg_read_all_data to {user}"
    )
    for number in range(_TABLES):
        shop.pg.execute(
            f"create table t{number} as select i as id, i as rev, repeat('x', 900) as text "
            "from generate_series(1, 2000) i"
        )
    shop.pg.execute(_PAGES.format(name="wide", rows=20_000))
    url = _as_user(shop.pg.url, user)
    rules = {"public.t*": {"mode": "full_table"}, "public.wide": {"mode": "full_table"}}
    shop.configure(rules, url=url, max_connections=max_connections)
    with caplog.at_level("WARNING"):
        tables = shop.run(threads=4).tables
    assert {table.table for table in tables} == {f"shop.t{n}" for n in range(_TABLES)} | {
        "shop.wide"
    }
    assert all(table.error is None for table in tables), tables
    assert not caplog.records
    assert shop.ask("select count(*), sum(id) from shop.wide") == [(20000, 200010000)]


def test_mysql_never_sees_more_connections_than_max_connections(
    shop: Shop, maria: MariaDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """The tables are read by a user of MariaDB that may connect three times."""
    maria.execute("drop user if exists gentle")
    maria.execute("create user gentle identified by 'secret-of-gentle' with max_user_connections 3")
    maria.execute("grant select on *.* to gentle")
    for number in range(_TABLES):
        maria.execute(f"create table t{number} as select seq as id, seq as rev from seq_1_to_20000")
    url = _as_user(maria.url, "gentle")
    shop.configure({"*": {"mode": "full_table"}}, type="mysql", url=url, max_connections=3)
    with caplog.at_level("WARNING"):
        tables = shop.run(threads=6).tables
    assert [table.rows_inserted for table in tables] == [20000] * _TABLES
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_connections": 0}, '"max_connections" must be greater than or equal to 1'),
        ({"max_rate": 0}, '"max_rate" must be greater than 0'),
        ({"max_rate": "fast"}, "max_rate"),
    ],
)
def test_invalid_limits_are_refused(shop: Shop, options: dict[str, object], message: str) -> None:
    """The error comes before the first connection."""
    from cdpsync.errors import ConfigError

    shop.configure({"public.t": {}}, **options)
    with pytest.raises(ConfigError) as raised:
        shop.run()
    assert message.lower() in str(raised.value).lower()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that advances only during sleeps."""
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rate_limit.time, "sleep", sleep)
    return now


def test_row_limiter_keeps_the_average_rate(clock: list[float]) -> None:
    """Each part begins after the time of all rows before it, however large the parts are."""
    limiter = RowLimiter(100)
    begins = []
    for rows in (50, 500, 10, 0, 1000, 1):
        limiter.wait(rows, lambda: False)
        begins.append(clock[0] - 100)
    assert begins == pytest.approx([0, 0.5, 5.5, 5.6, 5.6, 15.6])


def test_row_limiter_stops_waiting_when_the_run_stops(clock: list[float]) -> None:
    """The wait ends early once `is_stopped` returns True."""
    limiter = RowLimiter(1)
    calls = itertools.count()
    limiter.wait(1000, lambda: False)
    limiter.wait(1, lambda: next(calls) > 3)
    assert clock[0] < 101


def test_parts_take_a_few_seconds_each() -> None:
    """A table is read in many short bursts rather than in a few long ones."""
    assert RowLimiter(1000).parts(1000 * STEP * 7) == 7
    assert RowLimiter(1000).parts(10) == 1
    assert RowLimiter(1000).parts(0) == 1


def test_table_with_a_row_limit_is_cut_finer_and_arrives_whole(
    shop: Shop, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres' pages are read in small parts, and the clock shows that the limit was kept."""
    shop.pg.execute(_PAGES.format(name="paced", rows=12_000))
    shop.configure({"public.paced": {"mode": "full_table"}}, max_rate=100)
    result = shop.one(threads=1)
    assert result.rows_inserted == 12000
    assert clock[0] - 100 > 12000 / 100 / 3
