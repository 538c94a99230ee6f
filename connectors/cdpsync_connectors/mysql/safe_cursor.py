"""The safe cursor of a read of MySQL: below it, no open transaction can add a row any more.

- A number is safe if it was visible before all who wrote then have ended: AUTO_INCREMENT hands
  out rising numbers, so whoever has a lower one was writing by then.
- A time is safe before the start of the oldest statement or transaction that may be writing.

See docs/decisions/0022.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cdpsync.model import Cursor, CursorType
from cdpsync.model.cursors import cursor_type_of
from cdpsync_connectors._shared.time_limit import capped_by_time
from cdpsync_connectors.mysql.catalog import backquote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymysql.connections import Connection

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.mysql.catalog import Relation
    from cdpsync_connectors.mysql.stream import MysqlChunk
    from cdpsync_connectors.mysql.transactions import Observation, WriterWatch

LONG = timedelta(minutes=10)
"""The age from which an open transaction is worth a notice."""


class CursorLimitedChunks:
    """The one chunk of a read, with its safe cursor; see `cdpsync.connector.CursorLimited`.

    `highest_before` is the highest cursor that was visible before the writers were observed; None
    for a table without any, and for a time that was not asked for. `observation` is None where
    nothing is newer than the saved cursor, so that nobody needed to be waited for.
    """

    def __init__(
        self,
        chunk: MysqlChunk,
        request: ReadRequest,
        highest_before: Cursor | None,
        observation: Observation | None,
    ) -> None:
        self._chunk = chunk
        self._request = request
        self._highest_before = highest_before
        self._observation = observation

    def __iter__(self) -> Iterator[MysqlChunk]:
        """Return the chunk."""
        return iter([self._chunk])

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return the highest cursor below which no row can appear any more."""
        if highest is None:
            return None
        observation = self._observation
        if observation is None:
            return _lower(highest, self._request.saved_cursor)
        if isinstance(highest.value, date):  # a datetime is a date too
            safe: Cursor | None = capped_by_time(highest, observation.safe_until, self._read_until)
        else:
            safe = _lower(highest, self._highest_before) if observation.is_quiet else None
        self._notice(observation, safe)
        return safe

    def _read_until(self) -> datetime:
        """Return a moment of the server's clock after the snapshot was opened."""
        observation = self._observation
        if observation is None:
            raise AssertionError("a time without an observation is not limited by it")
        passed = max(self._chunk.opened_at) - observation.began
        return observation.at + timedelta(seconds=passed)

    def _notice(self, observation: Observation, safe: Cursor | None) -> None:
        """Report the transaction that keeps the cursor back, and since when."""
        oldest = observation.oldest
        if oldest is None or observation.at - oldest.since < LONG:
            return
        position = "stays where it was" if safe is None else f"stays at {safe.value}"
        self._request.on_notice(
            f"the cursor {position}: {oldest.owner} has had a transaction open since "
            f"{oldest.since:%Y-%m-%d %H:%M:%S} UTC; rows since then are read again each time until "
            "it ends"
        )


def limited(
    con: Connection[Any],
    chunk: MysqlChunk,
    request: ReadRequest,
    relation: Relation,
    watch: WriterWatch,
) -> CursorLimitedChunks:
    """Return the chunk with its safe cursor. Call it before the chunk's rows are read.

    A quiet table costs one question, for its highest cursor. The writers are observed only where
    that is new.
    """
    type_ = _cursor_type(request)
    is_number = type_ in {CursorType.INTEGER, CursorType.DECIMAL}
    field = request.cursor_field or ""
    highest = None
    if is_number or field in relation.indexed:
        highest = _highest(con, relation, field, type_)
        if not _is_newer(highest, request.saved_cursor):
            return CursorLimitedChunks(chunk, request, highest, None)
    observation = watch.observe(con, of_times=not is_number, is_stopped=request.is_stopped)
    return CursorLimitedChunks(chunk, request, highest, observation)


def _cursor_type(request: ReadRequest) -> CursorType | None:
    """Return the type of the cursor, which is known before the first row."""
    column = request.stream.column(request.cursor_field or "")
    return cursor_type_of(request.types.get(column.name, column.type)) if column else None


def _highest(
    con: Connection[Any], relation: Relation, field: str, type_: CursorType | None
) -> Cursor | None:
    """Return the highest cursor that is visible now; None where there is none, or no valid one."""
    with con.cursor() as cursor:
        cursor.execute(f"select max({backquote(field)}) from {relation.sql}".replace("%", "%%"), ())
        row = cursor.fetchone()
    value = row[0] if row else None
    if type_ is None or not isinstance(value, (int, Decimal, date)):  # a zero date arrives as text
        return None
    if type_ is CursorType.TIMESTAMPTZ and isinstance(value, datetime):
        value = value.replace(tzinfo=UTC)
    return Cursor(type_, value)


def _is_newer(highest: Cursor | None, saved: Cursor | None) -> bool:
    """Whether a table has a row above its saved cursor, or that is not known."""
    if saved is None or highest is None or not _are_comparable(highest, saved):
        return True
    return bool(highest.value > saved.value)  # type: ignore[operator]  # of one type, see above


def _lower(highest: Cursor, limit: Cursor | None) -> Cursor | None:
    """Return the lower of two cursors of a number or a time; None without a limit."""
    if limit is None or not _are_comparable(highest, limit):
        return None
    return replace(highest, value=min(highest.value, limit.value))


def _are_comparable(one: Cursor, other: Cursor) -> bool:
    """Whether two cursors are numbers of any kind, or times of one kind."""
    numbers = (int, Decimal)
    if isinstance(one.value, numbers):
        return isinstance(other.value, numbers)
    return type(one.value) is type(other.value)
