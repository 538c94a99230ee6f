"""Cursors parsed, written as JSON and as SQL, compared, and moved back by a lookback."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from hashlib import sha256

from cdpsync.model import Cursor, CursorType, Lookback
from cdpsync.model.streams import MAX_STATE
from cdpsync.model.types import MAX_PRECISION, decimal_of

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
_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)
_FIRST_REPEATED, _LAST_REPEATED = 23, 4  # o'clock
_DIGEST = "sha256:"  # which is no JSON, so no state begins with it
REPEATED_HOUR = timedelta(hours=1)
"""How far a clock goes back when daylight saving ends."""

_SQL_TYPE = {
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
    if type_ is CursorType.STATE:
        return Cursor(type_, _valid_state(text))
    if type_ is CursorType.INTEGER:
        return Cursor(type_, int(text))
    if type_ is CursorType.DECIMAL:
        try:
            number = Decimal(text)
        except InvalidOperation as error:
            raise ValueError(f"not a number: {text}") from error
        if not number.is_finite():
            raise ValueError(f"not a number: {text}")
        return Cursor(type_, number)
    if type_ is CursorType.DATE:
        return Cursor(type_, date.fromisoformat(text))
    moment = datetime.fromisoformat(text)
    if type_ is CursorType.TIMESTAMP:
        if moment.tzinfo is not None:
            raise ValueError(f"must be a timestamp without time zone: {text}")
        return Cursor(type_, moment)
    return Cursor(type_, moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC))


def _valid_state(text: str) -> str:
    """Return a state as it was written, because its numbers may have digits that a float loses."""
    if len(text.encode()) > MAX_STATE:
        raise ValueError(
            f"a state has at most {MAX_STATE:,} bytes, this has {len(text.encode()):,}"
        )
    try:
        json.loads(text)
    except RecursionError as error:
        raise ValueError("not JSON: nested too deep") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    return text


def cursor_digest(cursor: Cursor | None) -> Cursor | None:
    """Return a cursor for the history: a state is the begin of its SHA-256, any other is whole."""
    if cursor is None or cursor.type is not CursorType.STATE or _is_digest(str(cursor.value)):
        return cursor
    return Cursor(cursor.type, _DIGEST + sha256(str(cursor.value).encode()).hexdigest()[:12])


def _is_digest(value: str) -> bool:
    return value.startswith(_DIGEST)


def cursor_json(cursor: Cursor | None) -> int | str | None:
    """Return a cursor's value for JSON: a number for integers, else ISO 8601 or decimal text."""
    if cursor is None:
        return None
    value = cursor.value
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def cursor_sql(cursor: Cursor, column_type: str = "") -> str:
    """Return a cursor as a typed literal of DuckDB, for `column >= literal`.

    With the column's type, the literal has that type, so that DuckDB casts no value of the column:
    it skips files only then, and a cast of a large number to the literal's type would fail.
    """
    if isinstance(cursor.value, (int, Decimal)):
        return _number_sql(cursor.value, column_type)
    return f"'{cursor_json(cursor)}'::{_SQL_TYPE[cursor.type]}"


def _number_sql(value: int | Decimal, column_type: str) -> str:
    """Return a number in a type that holds it: the column's, else the narrowest.

    A bound between two values of the column is rounded up, which leaves out no value. One that no
    type can hold becomes the largest or smallest number of 38 digits.
    """
    digits = decimal_of(column_type)
    scale = digits[1] if digits else max(0, -_exponent(value))
    if column_type in _INTEGERS:
        scale = 0
    with localcontext(prec=_DIGITS):
        number = Decimal(value).quantize(Decimal(1).scaleb(-scale), rounding=ROUND_CEILING)
        largest = Decimal(10**MAX_PRECISION - 1).scaleb(-scale)
        number = max(-largest, min(largest, number))
    if digits or scale:
        fits = digits is not None and abs(number).scaleb(scale) < 10 ** digits[0]
        precision = digits[0] if digits and fits else MAX_PRECISION
        return f"'{number:f}'::DECIMAL({precision},{min(scale, MAX_PRECISION)})"
    if column_type == "UBIGINT" and number < 0:
        number = Decimal(0)
    if column_type != "UBIGINT" and int(number) in _INT64:
        return f"'{number:f}'::BIGINT"
    if int(number) in _UINT64:
        return f"'{number:f}'::UBIGINT"
    return f"'{number:f}'::DECIMAL({MAX_PRECISION},0)"


def _exponent(value: int | Decimal) -> int:
    exponent = Decimal(value).normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def lower_bound(cursor: Cursor, lookback: Lookback | None) -> Cursor:
    """Return the cursor where a read must start: moved back by the lookback.

    Raises ValueError for a duration with a number cursor, or a number with a time cursor.
    """
    if lookback is None:
        return cursor
    value = cursor.value
    if isinstance(value, str):
        raise ValueError("a state has no order, so nothing lies below it")
    if isinstance(value, (int, Decimal)):
        if isinstance(lookback, timedelta):
            raise ValueError(
                f"a lookback that is a duration does not fit a cursor of type {cursor.type}"
            )
        if cursor.type is CursorType.INTEGER:
            return Cursor(cursor.type, int(_subtract(Decimal(value), lookback)))
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

    Only a timestamp without zone at the source follows such a clock. Nobody says which one, but
    each goes back at night: to 23:00 at the earliest (Santiago), from 04:00 at the latest (Athens).
    """
    value = cursor.value
    if not isinstance(value, datetime):
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
