"""Cursors parsed, written as JSON and as SQL, compared, and moved back by a lookback."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from math import floor

from cdpsync.model import Cursor, CursorType, Lookback

_CURSOR_TYPES = {
    "DATE": CursorType.DATE,
    "TIMESTAMP": CursorType.TIMESTAMP,
    "TIMESTAMP_NS": CursorType.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": CursorType.TIMESTAMPTZ,
}
_INTEGERS = {
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
}
_DIGITS = 100  # more than the digits of any cursor and lookback together
_FIRST_REPEATED, _LAST_REPEATED = 23, 4  # o'clock
REPEATED_HOUR = timedelta(hours=1)
"""How far a clock goes back when daylight saving ends."""

_SQL_TYPE = {
    CursorType.INTEGER: "BIGINT",
    CursorType.DATE: "DATE",
    CursorType.TIMESTAMP: "TIMESTAMP",
    CursorType.TIMESTAMPTZ: "TIMESTAMPTZ",
}


def cursor_type_of(column_type: str) -> CursorType | None:
    """Return the cursor type of a DuckDB column type, or None when it cannot be a cursor."""
    if column_type in _INTEGERS:
        return CursorType.INTEGER
    if column_type.startswith("DECIMAL("):
        return CursorType.DECIMAL
    return _CURSOR_TYPES.get(column_type)


def parse_cursor(type_: CursorType, raw: object) -> Cursor:
    """Parse the cursor that a state file or a person wrote. Raises ValueError."""
    text = str(raw).strip()
    if type_ is CursorType.INTEGER:
        return Cursor(type_, int(text))
    if type_ is CursorType.DECIMAL:
        try:
            return Cursor(type_, Decimal(text))
        except InvalidOperation as error:
            raise ValueError(f"not a number: {text}") from error
    if type_ is CursorType.DATE:
        return Cursor(type_, date.fromisoformat(text))
    moment = datetime.fromisoformat(text)
    if type_ is CursorType.TIMESTAMP:
        if moment.tzinfo is not None:
            raise ValueError(f"must be a timestamp without time zone: {text}")
        return Cursor(type_, moment)
    return Cursor(type_, moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC))


def cursor_json(cursor: Cursor | None) -> int | str | None:
    """Return a cursor's value for JSON: a number for integers, else ISO 8601 or decimal text."""
    if cursor is None:
        return None
    value = cursor.value
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def cursor_sql(cursor: Cursor) -> str:
    """Return a cursor as a typed literal, in SQL of both DuckDB and Postgres."""
    if cursor.type is CursorType.DECIMAL:
        return f"{cursor.value:f}"
    return f"'{cursor_json(cursor)}'::{_SQL_TYPE[cursor.type]}"


def lower_bound(cursor: Cursor, lookback: Lookback | None) -> Cursor:
    """Return the cursor where a read must start: moved back by the lookback.

    Raises ValueError for a duration with a number cursor, or a number with a time cursor.
    """
    if lookback is None:
        return cursor
    value = cursor.value
    if isinstance(value, (int, Decimal)):
        if isinstance(lookback, timedelta):
            raise ValueError(
                f"a lookback that is a duration does not fit a cursor of type {cursor.type}"
            )
        if cursor.type is CursorType.INTEGER:
            return Cursor(cursor.type, floor(value - lookback))
        return Cursor(cursor.type, _subtract(Decimal(value), lookback))
    if not isinstance(lookback, timedelta):
        raise ValueError(f"a lookback that is a number does not fit a cursor of type {cursor.type}")
    try:
        if isinstance(value, datetime):
            return Cursor(cursor.type, value - lookback)
        whole_days = timedelta(days=-(-lookback // timedelta(days=1)))
        return Cursor(cursor.type, value - whole_days)
    except OverflowError:
        if isinstance(value, datetime):
            return Cursor(cursor.type, datetime(1, 1, 1, tzinfo=value.tzinfo))
        return Cursor(cursor.type, date.min)


def may_come_again(cursor: Cursor) -> bool:
    """Whether a cursor may lie in an hour that a clock repeats when daylight saving ends.

    Only a timestamp without zone follows such a clock. Nobody says which one, but all of them go
    back at night: to 23:00 at the earliest (Santiago), from 04:00 at the latest (Athens).
    """
    value = cursor.value
    if cursor.type is not CursorType.TIMESTAMP or not isinstance(value, datetime):
        return False
    return value.hour >= _FIRST_REPEATED or value.hour < _LAST_REPEATED


def _subtract(value: Decimal, lookback: Decimal) -> Decimal:
    """Return the difference, rounded down to the value's digits behind the point."""
    with localcontext(prec=_DIGITS):
        return (value - lookback).quantize(value, rounding=ROUND_FLOOR)


def later(old: Cursor | None, new: Cursor | None) -> Cursor | None:
    """Return the later of two cursors, because a run never moves a cursor backwards."""
    if old is None or new is None or old.type is not new.type:
        return old if new is None else new
    return new if new.value > old.value else old  # type: ignore[operator]  # same type, checked above
