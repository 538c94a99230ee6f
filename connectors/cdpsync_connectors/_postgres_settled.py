"""How far a read of Postgres is settled: what open transactions may still add lies beyond.

A transaction that commits after the read brings rows with cursors that were given before it: the
moment at which it began, a number from a sequence. So the cursor rests where no such row can
appear below it, and the next read takes up the rest again.

- A time is capped by the beginning of the oldest transaction that is open.
- A number is settled when every transaction that wrote while it was the highest has ended. That
  of the newest row is not: who wrote a lower one may have begun later and still be open. Nor is
  the highest of rows that are older than every open transaction: its own may have been long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cdpsync.cursors import cursor_type_of
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors._postgres_sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors._postgres_chunks import PostgresChunk
    from cdpsync_connectors._postgres_sql import Relation

UNSEEN = timedelta(minutes=5)
"""How long a transaction is taken to be open where its beginning cannot be seen."""

LONG = timedelta(minutes=10)
"""From when on an open transaction is worth a word."""

_PATIENCE = 1.0  # seconds to wait for the transactions that write, most of which are short
_PAUSE = 0.02

# Every session that may write here; not ours, which only read. Of other users' sessions only a
# member of pg_read_all_stats is told when their transaction began (PostgreSQL's documentation,
# "The Cumulative Statistics System"); which transactions they are in is told to all.
_OPEN = """
    with open as (
        select pid, usename, xact_start, state, backend_xid::text as writes,
            backend_xid is not null or backend_xmin is not null as works
        from pg_catalog.pg_stat_activity
        where pid <> pg_backend_pid() and datname = current_database()
            and (application_name <> current_setting('application_name')
                or current_setting('application_name') = '')
            and (coalesce(backend_type, 'client backend') in ('client backend', 'background worker')
                or backend_type like 'logical replication%')
    ), prepared as (
        select transaction::text as writes, prepared as xact_start
        from pg_catalog.pg_prepared_xacts where database = current_database()
    )
    select clock_timestamp(),
        least((select min(xact_start) from open), (select min(xact_start) from prepared)),
        pg_is_in_recovery() or exists (select 1 from open where state is null),
        (select pid || ' of user ' || usename from open where xact_start is not null
            order by xact_start limit 1),
        array(select writes from open where writes is not null union select writes from prepared),
        exists (select 1 from open where works) or exists (select 1 from prepared),
        txid_snapshot_xmin(txid_current_snapshot())
"""

_SNAPSHOT = """
    select txid_snapshot_xmin(s), txid_snapshot_xmax(s) from txid_current_snapshot() as t(s)
"""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What was open in the database at one moment.

    `oldest` is when the first of the open transactions began, where that can be seen, and `who`
    it is; `has_unseen`: there may be older ones. `writers` are the numbers of those that have
    written, `works` whether any session was in a statement.
    """

    at: datetime
    oldest: datetime | None
    has_unseen: bool
    who: str | None
    writers: frozenset[str]
    works: bool
    xmin: int

    @property
    def reaches(self) -> datetime:
        """The moment before which nothing is open."""
        known = min(self.oldest or self.at, self.at)
        return min(known, self.at - UNSEEN) if self.has_unseen else known


def fetch_horizon(con: psycopg.Connection[Any]) -> Horizon:
    """Return what is open now."""
    row = con.execute(_OPEN.encode()).fetchone()
    if row is None:
        raise AssertionError("a select without a table has a row")
    at, oldest, has_unseen, who, writers, works, xmin = row
    return Horizon(at, oldest, has_unseen, who, frozenset(writers), works, xmin)


def is_quiet(con: psycopg.Connection[Any], before: Horizon) -> bool:
    """Whether nothing was open when the view of this connection began, nor shortly before."""
    row = con.execute(_SNAPSHOT.encode()).fetchone()
    return row is not None and row[0] == row[1] and not before.works and not before.has_unseen


def follows_number(request: ReadRequest) -> bool:
    """Whether the cursor counts: a time can be told without looking at any row."""
    column = request.stream.column(request.cursor_field or "")
    type_ = request.types.get(column.name, column.type) if column else ""
    return cursor_type_of(type_) in {CursorType.INTEGER, CursorType.DECIMAL}


def settled_number(con: psycopg.Connection[Any], relation: Relation, field: str) -> int | None:
    """Return the highest number that was there once, when all who wrote at that time have ended.

    None where there is none, or where one of them has not ended after a second. To be asked before
    the view begins.
    """
    row = con.execute(f"select max({quote_name(field)}) from {relation.sql}".encode()).fetchone()
    then = fetch_horizon(con)
    deadline = time.monotonic() + _PATIENCE
    while True:
        now = fetch_horizon(con)
        if not (then.writers & now.writers) and not (then.has_unseen and now.xmin <= then.xmin):
            return None if row is None or row[0] is None else int(row[0])
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE)


class SettledChunks:
    """The chunks of a read, and how far it is settled; see `cdpsync.connector.Settled`.

    `ceiling` is the settled number, None where there is none; a time has its own ceiling. A read
    of a quiet database has none.
    """

    def __init__(
        self,
        chunks: Sequence[PostgresChunk],
        request: ReadRequest,
        horizon: Horizon,
        *,
        quiet: bool,
        ceiling: int | None = None,
    ) -> None:
        self._chunks = chunks
        self._request = request
        self._horizon = horizon
        self._quiet = quiet
        self._ceiling = ceiling

    def __iter__(self) -> Iterator[PostgresChunk]:
        """Return the chunks."""
        return iter(self._chunks)

    def cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return the highest cursor below which no row can appear any more."""
        if highest is None:
            return None
        if isinstance(highest.value, date):  # a datetime too
            capped = capped_by_time(highest, self._horizon)
            self._tell(f"rests at {capped.value}")
            return capped
        if self._quiet:
            return highest
        if self._ceiling is None:
            self._tell("stays where it was")
            return None
        return replace(highest, value=min(highest.value, self._ceiling))

    def _tell(self, where: str) -> None:
        horizon = self._horizon
        if horizon.oldest and horizon.at - horizon.oldest > LONG:
            who = f"process {horizon.who}" if horizon.who else "a prepared transaction"
            self._request.notify(
                f"the cursor {where}: {who} has had a transaction open since "
                f"{horizon.oldest:%Y-%m-%d %H:%M:%S} UTC; rows since then are read again each "
                "time until it ends"
            )


def capped_by_time(cursor: Cursor, horizon: Horizon) -> Cursor:
    """Return a cursor of time moved back to where nothing was open, if it lies beyond.

    What clock a timestamp without zone follows is not known: it moves back by as long as the
    oldest transaction has been open.
    """
    value = cursor.value
    if cursor.type is CursorType.TIMESTAMPTZ and isinstance(value, datetime):
        return replace(cursor, value=min(value, horizon.reaches))
    open_for = horizon.at - horizon.reaches
    if not open_for or not isinstance(value, date):
        return cursor
    if isinstance(value, datetime):
        return replace(cursor, value=value - open_for)
    return replace(cursor, value=value - timedelta(days=open_for.days + 1))
