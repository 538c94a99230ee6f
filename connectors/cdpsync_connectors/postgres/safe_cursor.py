"""How far a read of Postgres is settled: what open transactions may still add lies beyond.

A transaction that commits after the read brings rows with cursors that were given before it: the
moment at which it began, a number from a sequence. So the cursor rests where no such row can
appear below it, and the next read takes up the rest again.

- A time is capped by the beginning of the oldest transaction that is open.
- A number is settled when every transaction that might have taken a lower one has ended: all that
  held a writer's lock once the number was there to see.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

from cdpsync.model import Cursor, CursorType
from cdpsync.model.cursors import cursor_type_of
from cdpsync_connectors.postgres.catalog import quote_name
from cdpsync_connectors.postgres.transactions import Writers, fetch_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import psycopg

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.postgres.catalog import Relation
    from cdpsync_connectors.postgres.chunks import PostgresChunk
    from cdpsync_connectors.postgres.transactions import Horizon

LONG = timedelta(minutes=10)
"""From when on an open transaction is worth a word."""

_PATIENCE = 1.0  # seconds to wait for the transactions that write, most of which are short
_PAUSE = 0.02
_ANYWHERE = timedelta(hours=16)  # by how much clocks differ from UTC at most, and then some
_ZONE_STEP = timedelta(minutes=15)  # zones differ by multiples of it


def cursor_kind(request: ReadRequest) -> CursorType | None:
    """Return what type the cursor has, before there is any row."""
    column = request.stream.column(request.cursor_field or "")
    return cursor_type_of(request.types.get(column.name, column.type)) if column else None


def settled_number(con: psycopg.Connection[Any], relation: Relation, field: str) -> int | None:
    """Return the highest number that was there once, when all who wrote at that time have ended.

    Who takes a lower one holds a lock since before, so who begins to write later has higher ones.
    None where there is none, or where one of them has not ended after a second. To be asked before
    the view begins, and of the primary.
    """
    row = con.execute(f"select max({quote_name(field)}) from {relation.sql}".encode()).fetchone()
    if row is None or row[0] is None or not _all_end(con):
        return None
    return int(row[0])


def _all_end(con: psycopg.Connection[Any]) -> bool:
    """Whether everybody who writes now comes to an end within the time that we wait."""
    earlier = last = fetch_writers(con)
    pending = last.all
    deadline = time.monotonic() + _PATIENCE
    while pending:
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
        now = fetch_writers(con)
        pending = still_open(pending, earlier, last, now)
        earlier, last = last, now
    return True


def still_open(
    pending: frozenset[str], earlier: Writers, last: Writers, now: Writers
) -> frozenset[str]:
    """Return who of some writers is open; one that is prepared goes on under another name.

    It may have had both names when it was seen `last`, but not `earlier`.
    """
    there = pending & now.all
    gone = pending - there - last.prepared
    return there | (now.prepared - earlier.prepared) if gone else there


class Limit(Protocol):
    """What a highest cursor is brought down to."""

    def __call__(self, highest: Cursor) -> Cursor | None:
        """Return the cursor below which no row can appear any more; None: it stays as it was."""


@dataclass(frozen=True, slots=True)
class NumberLimit:
    """The settled number; None where there is none."""

    settled: int | None

    def __call__(self, highest: Cursor) -> Cursor | None:
        """Return the smaller of the two numbers."""
        if self.settled is None or isinstance(highest.value, date):
            return None
        return replace(highest, value=min(highest.value, self.settled))


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The moment before which nothing was open; `until` returns one after the rows were seen."""

    horizon: Horizon
    until: Callable[[], datetime]

    def __call__(self, highest: Cursor) -> Cursor | None:
        """Return the earlier of the two moments."""
        return capped_by_time(highest, self.horizon, self.until)


def unlimited(highest: Cursor) -> Cursor | None:
    """Leave the highest cursor as it is."""
    return highest


class SettledChunks:
    """The chunks of a read, and how far it is settled; see `cdpsync.connector.CursorLimited`.

    `horizon` is None where nothing was open.
    """

    def __init__(
        self,
        chunks: Sequence[PostgresChunk],
        request: ReadRequest,
        limit: Limit,
        horizon: Horizon | None = None,
    ) -> None:
        self._chunks = chunks
        self._request = request
        self._limit = limit
        self._horizon = horizon

    def __iter__(self) -> Iterator[PostgresChunk]:
        """Return the chunks."""
        return iter(self._chunks)

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return the highest cursor below which no row can appear any more."""
        if highest is None:
            return None
        reached = self._limit(highest)
        if reached is None:
            self._tell("stays where it was")
        elif isinstance(reached.value, date):  # a datetime too
            self._tell(f"rests at {reached.value}")
        return reached

    def _tell(self, where: str) -> None:
        horizon = self._horizon
        if horizon is None:
            return
        if horizon.is_standby and not isinstance(self._limit, TimeLimit):
            self._request.on_notice(
                f"the cursor {where}, and rows from there on are read again each time: this server "
                "is a standby, which does not know who is writing numbers at its primary. Put the "
                "primary's address under `url` and this one under `replica`; or give the table a "
                "`lookback`."
            )
        elif horizon.oldest and horizon.at - horizon.oldest > LONG:
            self._request.on_notice(
                f"the cursor {where}: {horizon.who} has had a transaction open since "
                f"{horizon.oldest:%Y-%m-%d %H:%M:%S} UTC; rows since then are read again each "
                "time until it ends"
            )


def capped_by_time(cursor: Cursor, horizon: Horizon, until: Callable[[], datetime]) -> Cursor:
    """Return a cursor of time moved back to where nothing was open, if it lies beyond.

    What clock a timestamp without zone follows is not known: so it moves back by as long as
    passed from there until the rows were seen, unless it lies before that by any clock; by whole
    seconds, so that it is the same where nothing is new.
    """
    value = cursor.value
    if cursor.type is CursorType.TIMESTAMPTZ and isinstance(value, datetime):
        return replace(cursor, value=min(value, horizon.reaches))
    before = (horizon.reaches.astimezone(UTC) - _ANYWHERE).replace(tzinfo=None)
    if isinstance(value, datetime):
        if value <= before:
            return cursor
        passed = timedelta(seconds=ceil((until() - horizon.reaches).total_seconds()))
        return replace(cursor, value=max(before, value - passed))
    if not isinstance(value, date) or value <= before.date():
        return cursor
    return replace(cursor, value=value - days_between(horizon.reaches, until()))


def days_between(since: datetime, until: datetime) -> timedelta:
    """Return by how many days the dates of two moments differ at most, by any clock."""
    first, last = (moment.timestamp() // _ZONE_STEP.total_seconds() for moment in (since, until))
    return timedelta(days=0 if first == last else (until - since).days + 1)
