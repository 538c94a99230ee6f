"""A cursor of time, moved back to the moment from which rows may still appear."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING

from cdpsync.model import Cursor, CursorType

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_UTC_OFFSET = timedelta(hours=16)  # more than any clock differs from UTC
_ZONE_STEP = timedelta(minutes=15)  # zones differ by multiples of it


def capped_by_time(
    cursor: Cursor, safe_until: datetime, read_until: Callable[[], datetime]
) -> Cursor:
    """Return a cursor of time, moved back to the safe moment if it is later.

    A timestamp without zone follows a clock that we do not know. So it moves back by the time that
    passed between the safe moment and `read_until`, unless it is safe by any clock. It moves by
    whole seconds, so that the next read without new rows gives the same cursor.
    """
    value = cursor.value
    if cursor.type is CursorType.TIMESTAMPTZ and isinstance(value, datetime):
        return replace(cursor, value=min(value, safe_until))
    safe_by_any_clock = (safe_until.astimezone(UTC) - _MAX_UTC_OFFSET).replace(tzinfo=None)
    if isinstance(value, datetime):
        if value <= safe_by_any_clock:
            return cursor
        passed = timedelta(seconds=ceil((read_until() - safe_until).total_seconds()))
        return replace(cursor, value=max(safe_by_any_clock, value - passed))
    if not isinstance(value, date) or value <= safe_by_any_clock.date():
        return cursor
    return replace(cursor, value=value - days_between(safe_until, read_until()))


def days_between(since: datetime, until: datetime) -> timedelta:
    """Return by how many days the dates of two moments differ at most, by any clock."""
    first, last = (moment.timestamp() // _ZONE_STEP.total_seconds() for moment in (since, until))
    return timedelta(days=0 if first == last else (until - since).days + 1)
