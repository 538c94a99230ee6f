"""Decodes rows of MySQL's binary protocol to Arrow columns: all rows of a block at once, by numpy.

In each row, a column starts where the one before it ends. So a block is decoded column by column,
with one position per row. Text and bytes are not copied, because Arrow's views point into the
block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync_connectors.mysql.protocol import Block, Field

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]

TINY, SHORT, LONG, FLOAT, DOUBLE, TIMESTAMP, LONGLONG, INT24 = 1, 2, 3, 4, 5, 7, 8, 9
DATE, TIME, DATETIME, YEAR, NEWDATE = 10, 11, 12, 13, 14
_FIXED: dict[int, tuple[str, str, int]] = {  # signed, unsigned, bytes on the wire
    TINY: ("<i1", "<u1", 1),
    SHORT: ("<i2", "<u2", 2),
    YEAR: ("<i2", "<i2", 2),
    LONG: ("<i4", "<u4", 4),
    INT24: ("<i4", "<u4", 4),
    LONGLONG: ("<i8", "<u8", 8),
    FLOAT: ("<f4", "<f4", 4),
    DOUBLE: ("<f8", "<f8", 8),
}
_INLINE = 12  # bytes that an Arrow view stores itself
_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype="<u8")
_HEADS = np.array([(1 << 8 * min(n, 4)) - 1 for n in range(_INLINE + 1)], dtype="<u4")
_TAILS = np.array([(1 << 8 * max(n - 4, 0)) - 1 for n in range(_INLINE + 1)], dtype="<u8")
_VIEW = np.dtype([("length", "<i4"), ("head", "<u4"), ("tail", "<u8")])

_DAY, _SECOND = 86_400_000_000, 1_000_000  # in microseconds
_NO_DATE = np.int32(-(2**31))


def _month_starts() -> NDArray[np.int32]:
    """Return the day before each month, from 1970, by year * 16 + month; else `_NO_DATE`."""
    months = np.arange("0000-01", "10000-02", dtype="datetime64[M]")
    number = months.astype(np.int64) + 1970 * 12
    days_before = np.full(10_001 * 16, _NO_DATE, dtype=np.int32)
    days_before[number // 12 * 16 + number % 12 + 1] = (
        months.astype("datetime64[D]").astype(np.int64) - 1
    )
    return days_before


_STARTS = _month_starts()
_MONTH = np.arange(len(_STARTS)) % 16
_NEXT = np.where(_MONTH < 12, np.arange(len(_STARTS)) + 1, np.arange(len(_STARTS)) + 5)
_LENGTHS = np.where(
    _STARTS == _NO_DATE, 0, _STARTS[np.minimum(_NEXT, len(_STARTS) - 1)] - _STARTS
).astype(np.int32)


def _days(month: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return days since 1970 for year * 16 + month and a day; `_NO_DATE` for an invalid date."""
    month = np.minimum(month, 10_000 * 16 - 1)
    is_valid = (day > 0) & (day <= _LENGTHS[month])
    return np.where(is_valid, _STARTS[month] + day.astype(np.int32), _NO_DATE)


class BadValueError(Exception):
    """A value that the column's type cannot hold: the column's number, and the value as text."""

    def __init__(self, column: int, value: str, problem: str) -> None:
        super().__init__(value)
        self.column, self.value, self.problem = column, value, problem


class UnexpectedTypeError(Exception):
    """A column that the server sends as another type than expected."""


@dataclass(frozen=True, slots=True)
class ArrowSchema:
    """A column of the result in Arrow: its type, and whether a zero date is NULL."""

    arrow: pa.DataType
    zero_is_null: bool = False


_WIRE_TYPES: dict[str, set[int]] = {
    "integer": {TINY, SHORT, YEAR, LONG, INT24, LONGLONG},
    "real": {FLOAT, DOUBLE},
    "date": {DATE, NEWDATE},
    "datetime": {DATETIME, TIMESTAMP},
    "timestamptz": {DATETIME, TIMESTAMP},
    "time": {TIME},
}
_NOT_TEXT = set(_FIXED) | set().union(*_WIRE_TYPES.values())


def arrow_type(kind: str, field: Field) -> pa.DataType:
    """Return the Arrow type of a column. Raises UnexpectedTypeError when it is of another kind."""
    text = kind in {"text", "bytes"}
    if (text and field.type in _NOT_TEXT) or (not text and field.type not in _WIRE_TYPES[kind]):
        raise UnexpectedTypeError(f"the server sends type {field.type} for a column of kind {kind}")
    if kind in {"integer", "real"}:
        signed, unsigned, _ = _FIXED[field.type]
        return pa.from_numpy_dtype(np.dtype(unsigned if field.unsigned else signed))
    types = {
        "date": pa.date32(),
        "datetime": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
        "time": pa.time64("us"),
        "bytes": pa.binary_view(),
    }
    return types.get(kind, pa.string_view())


def record_batch(
    block: Block, fields: Sequence[Field], columns: Sequence[ArrowSchema]
) -> pa.RecordBatch:
    """Return a block's rows. Raises BadValueError for the first value that does not fit."""
    data, rows = block.data, block.rows
    walk = _Walk(data, rows + 1 + (len(fields) + 9) // 8)
    arrays = []
    for number, (field, column) in enumerate(zip(fields, columns, strict=True)):
        bit = number + 2
        null: Mask | None = (data[rows + 1 + bit // 8] & (1 << bit % 8)) != 0
        if null is not None and not null.any():
            null = None
        arrays.append(_column(walk, number, field, column, null))
    return pa.record_batch(arrays, schema=schema_of(columns))


def schema_of(columns: Sequence[ArrowSchema]) -> pa.Schema:
    """Return the names and types of the decoded rows."""
    return pa.schema([(f"c{n}", column.arrow) for n, column in enumerate(columns)])


class _Walk:
    """A block's bytes, and for each row the position of the next column."""

    def __init__(self, data: NDArray[np.uint8], at: Positions) -> None:
        self.data, self.at = data, at
        self.buffer = pa.py_buffer(data)

    def numbers(self, dtype: str, at: Positions) -> NDArray[Any]:
        """Return the numbers at these offsets, which need no alignment."""
        size = np.dtype(dtype).itemsize
        at_each_byte = np.ndarray((len(self.data) - size + 1,), dtype, self.data, strides=(1,))
        return at_each_byte[at]

    def fixed(self, dtype: str, size: int, null: Mask | None) -> NDArray[Any]:
        """Return one number of every row."""
        values = self.numbers(dtype, self.at)
        self.at = self.at + size if null is None else self.at + np.where(null, 0, size)
        return values

    def lengths(self, null: Mask | None) -> tuple[Positions, Positions]:
        """Return start and length of the text in every row; the length of NULL is 0."""
        length = self.data[self.at].astype(np.int64)
        begin = self.at + 1
        if null is not None:
            length[null] = 0
            begin = np.where(null, self.at, begin)
        if length.size and length.max() > 250:
            for sign, size in ((252, 2), (253, 3), (254, 8)):
                long_rows = np.flatnonzero(length == sign)
                if long_rows.size:
                    wide = self.numbers("<u8", self.at[long_rows] + 1) & _BYTES[size]
                    length[long_rows] = wide.astype(np.int64)
                    begin[long_rows] += size
        self.at = begin + length
        return begin, length


def _column(
    walk: _Walk, number: int, field: Field, column: ArrowSchema, null: Mask | None
) -> pa.Array[Any]:
    if field.type in _FIXED:
        signed, unsigned, size = _FIXED[field.type]
        values = walk.fixed(unsigned if field.unsigned else signed, size, null)
        return _array(column.arrow, values, null)
    if field.type in {DATE, NEWDATE, DATETIME, TIMESTAMP}:
        days, micros, null = _moments(walk, number, column, null)
        if pa.types.is_date32(column.arrow):
            return _array(column.arrow, days, null)
        return _array(column.arrow, days.astype(np.int64) * _DAY + micros, null)
    if field.type == TIME:
        return _array(column.arrow, _times(walk, number, null), null)
    return _texts(walk, number, column, null)


def _array(type_: pa.DataType, values: NDArray[Any], null: Mask | None) -> pa.Array[Any]:
    buffers = [_validity(null), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(type_, len(values), buffers)


def _validity(null: Mask | None) -> pa.Buffer | None:
    return None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))


def _texts(walk: _Walk, number: int, column: ArrowSchema, null: Mask | None) -> pa.Array[Any]:
    begin, length = walk.lengths(null)
    views = np.empty(len(begin), dtype=_VIEW)
    views["length"] = length
    inline = np.minimum(length, _INLINE)
    views["head"] = walk.numbers("<u4", begin) & _HEADS[inline]
    inside = walk.numbers("<u8", begin + 4) & _TAILS[inline]
    if (
        length.size and length.max() > _INLINE
    ):  # a longer text is an offset, and its buffer is number 0
        inside = np.where(length <= _INLINE, inside, begin.astype("<u8") << np.uint64(32))
    views["tail"] = inside
    buffers = [_validity(null), pa.py_buffer(views), walk.buffer]
    array = pa.Array.from_buffers(column.arrow, len(begin), buffers)
    if pa.types.is_string_view(column.arrow):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise BadValueError(number, "…", "has text that is not valid UTF-8") from error
    return array


def _moments(
    walk: _Walk, number: int, column: ArrowSchema, null: Mask | None
) -> tuple[NDArray[np.int32], NDArray[np.int64], Mask | None]:
    """Return days since 1970, microseconds of the day, and the mask of NULLs.

    A moment is sent as 0, 4, 7 or 11 bytes, without trailing zeros.
    """
    at = walk.at
    length = walk.data[at].astype(np.int64)
    if null is not None:
        length[null] = 0
    walk.at = at + 1 + length if null is None else at + np.where(null, 0, 1 + length)
    month = walk.numbers("<u2", at + 1) * np.int64(16) + walk.data[at + 3]
    day = walk.data[at + 4].astype(np.int64)
    if length.size and length.min() == 0:
        month[length == 0] = day[length == 0] = 0
    days = _days(month, day)
    micros = np.zeros(len(at), dtype=np.int64)
    if length.size and length.max() > 4:
        timed = length > 4
        micros = _clock(walk, at + 5, timed)
        has_micros = length > 7
        if has_micros.any():
            micros += np.where(has_micros, walk.numbers("<u4", at + 8), 0)
    odd = days == _NO_DATE
    if null is not None:
        odd &= ~null
    if odd.any():
        zero = odd & (month == 0) & (day == 0) & (micros == 0)
        wrong = odd if not column.zero_is_null else odd & ~zero
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            text = _moment_text(int(month[first]), int(day[first]), int(micros[first]))
            problem = "is a zero date" if zero[first] else "is not a day of the calendar"
            raise BadValueError(number, text, problem)
        null = zero if null is None else null | zero
    return days, micros, null


def _clock(walk: _Walk, at: Positions, is_sent: Mask) -> NDArray[np.int64]:
    """Return the microseconds of an hour, a minute and a second; 0 where they are not sent."""
    hour, minute, second = (walk.data[at + n].astype(np.int64) for n in range(3))
    micros = ((hour * 60 + minute) * 60 + second) * _SECOND
    return np.where(is_sent, micros, 0)


def _times(walk: _Walk, number: int, null: Mask | None) -> NDArray[np.int64]:
    """Return microseconds since midnight; a time is 0, 8 or 12 bytes, with sign and days."""
    at = walk.at
    length = walk.data[at].astype(np.int64)
    if null is not None:
        length[null] = 0
    walk.at = at + 1 + length if null is None else at + np.where(null, 0, 1 + length)
    is_sent = length > 0
    micros = _clock(walk, at + 6, is_sent)
    micros += np.where(is_sent, walk.numbers("<u4", at + 2), 0).astype(np.int64) * _DAY
    micros += np.where(length > 8, walk.numbers("<u4", at + 9), 0)
    micros *= np.where(is_sent & (walk.data[at + 1] == 1), -1, 1)
    wrong = (micros < 0) | (micros > _DAY)
    if wrong.any():
        value = int(micros[np.flatnonzero(wrong)[0]])
        raise BadValueError(number, _time_text(value), "is not a time of day")
    return micros


def _moment_text(month: int, day: int, micros: int) -> str:
    date = f"{month // 16:04}-{month % 16:02}-{day:02}"
    return f"{date} {_time_text(micros)}" if micros else date


def _time_text(micros: int) -> str:
    seconds, micros_left = divmod(abs(micros), _SECOND)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return ("-" if micros < 0 else "") + text + (f".{micros_left:06}" if micros_left else "")
