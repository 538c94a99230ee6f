"""The safe cursor of a read: below it, no open transaction can add a row any more.

A transaction that commits after the read adds rows whose cursors were assigned earlier: the time
at which the transaction began, a number from a sequence. So the next read starts at the safe
cursor, and reads the rows above it again.

- A time is safe before the start of the oldest open transaction.
- A number is safe when every transaction that may have taken a lower one has ended: all that held
  a writer's lock when that number was already visible.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from cdpsync.model.cursors import cursor_type_of
from cdpsync.sql import quote_name
from cdpsync_connectors._shared.time_limit import capped_by_time
from cdpsync_connectors.postgres.transactions import Writers, fetch_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import psycopg

    from cdpsync.connector import ReadRequest
    from cdpsync.model import Cursor, CursorType
    from cdpsync_connectors.postgres.catalog import Relation
    from cdpsync_connectors.postgres.chunks import PostgresChunk
    from cdpsync_connectors.postgres.transactions import Horizon

LONG = timedelta(minutes=10)
"""The age from which an open transaction is worth a notice."""

_PATIENCE = 1.0  # seconds to wait for the transactions that write, most of which are short
_PAUSE = 0.02


def cursor_kind(request: ReadRequest) -> CursorType | None:
    """Return the type of the cursor, which is known before the first row."""
    column = request.stream.column(request.cursor_field or "")
    return cursor_type_of(request.types.get(column.name, column.type)) if column else None


def safe_number(con: psycopg.Connection[Any], relation: Relation, field: str) -> int | None:
    """Return the highest visible number, once every transaction that writes now has ended.

    A transaction that will commit a lower number holds a lock already, so one that begins to write
    later takes higher numbers. None for a table without numbers, or where one of the transactions
    has not ended after a second. Call it before the snapshot begins, and on the primary.
    """
    row = con.execute(f"select max({quote_name(field)}) from {relation.sql}".encode()).fetchone()
    if row is None or row[0] is None or not _all_end(con):
        return None
    return int(row[0])


def _all_end(con: psycopg.Connection[Any]) -> bool:
    """Whether every transaction that writes now ends within the time that we wait."""
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
    """Return which of `pending` still run.

    PREPARE TRANSACTION renames a transaction, and both names may show for a moment. So when a
    pending name vanishes, every prepared transaction that is new since `earlier` counts as its
    successor. Only a name that was already prepared when it was seen `last` has none.
    """
    visible = pending & now.all
    vanished = pending - visible - last.prepared
    return visible | (now.prepared - earlier.prepared) if vanished else visible


class Limit(Protocol):
    """A rule that lowers the highest cursor of a read to a safe one."""

    def __call__(self, highest: Cursor) -> Cursor | None:
        """Return the safe cursor; None where the saved one must stay."""


@dataclass(frozen=True, slots=True)
class NumberLimit:
    """The highest safe number; None where there is none."""

    safe_until: int | None

    def __call__(self, highest: Cursor) -> Cursor | None:
        """Return the smaller of the two numbers."""
        if self.safe_until is None or isinstance(highest.value, date):
            return None
        return replace(highest, value=min(highest.value, self.safe_until))


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The open transactions; `read_until` returns a moment after the last row was read."""

    horizon: Horizon
    read_until: Callable[[], datetime]

    def __call__(self, highest: Cursor) -> Cursor | None:
        """Return the earlier of the two moments."""
        return capped_by_time(highest, self.horizon.safe_until, self.read_until)


def unlimited(highest: Cursor) -> Cursor | None:
    """Return the highest cursor as it is."""
    return highest


class CursorLimitedChunks:
    """The chunks of a read with their safe cursor; see `cdpsync.connector.CursorLimited`.

    `horizon` is None where no transaction was open.
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
        safe = self._limit(highest)
        if safe is None:
            self._notice("stays where it was")
        elif isinstance(safe.value, date):  # a datetime is a date too
            self._notice(f"stays at {safe.value}")
        return safe

    def _notice(self, position: str) -> None:
        """Report the transaction, or the standby, that keeps the cursor back."""
        horizon = self._horizon
        if horizon is None:
            return
        if horizon.is_standby and not isinstance(self._limit, TimeLimit):
            self._request.on_notice(
                f"the cursor {position}, and rows from there on are read again each time, because "
                "this server is a standby, which does not know the transactions that write at its "
                "primary. Put the primary's address under `url` and this one under `replica`; or "
                "give the table a `lookback`."
            )
        elif horizon.oldest and horizon.at - horizon.oldest > LONG:
            self._request.on_notice(
                f"the cursor {position}: {horizon.owner} has had a transaction open since "
                f"{horizon.oldest:%Y-%m-%d %H:%M:%S} UTC; rows since then are read again each "
                "time until it ends"
            )
