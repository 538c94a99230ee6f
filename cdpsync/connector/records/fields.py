"""One field of an API's records: the kinds and digits of its values, and each value's exact text.

A value is stored as text with one letter before it: `s` and a string's content, or `j` and any
other value's JSON as it was written. So no number ever passes through a float.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite

import msgspec

from cdpsync.connector import exact_sql as sql
from cdpsync.connector.exact_types import ColumnStats
from cdpsync.connector.records.times import fits_time

_DOUBLE_DIGITS = 15  # a double keeps every number of so many digits
_SHORT = 18  # digits that always fit 64 bits
_BIGINT = range(-(2**63), 2**63)
_QUOTE, _TRUE, _FALSE, _OBJECT, _ARRAY = b'"tf{['
_TEXT = sql.TEXT
_text = msgspec.json.Decoder(str)
_json = msgspec.json.Encoder()


class Field:
    """One field over all records: its key in the files on disk, and the kinds of its values."""

    __slots__ = (
        *("_begin", "classes", "fits", "floats", "fraction_digits", "key", "name", "text_begin"),
        *("times", "whole_digits"),
    )

    def __init__(self, name: str, key: str, times: str = "") -> None:
        self.name = name
        self.key = key
        self._begin = f'"{key}":'.encode()
        self.text_begin = self._begin + b'"s'
        self.classes = 0
        self.whole_digits = 0
        self.fraction_digits = 0
        self.floats = True  # whether a DOUBLE keeps each number
        self.times = times  # the type of times that the texts may have
        self.fits = fits_time(times) if times else None  # while each text has

    @property
    def values(self) -> ColumnStats:
        """The kinds and digits of all values, from which the column's type is chosen."""
        return ColumnStats(self.classes, self.whole_digits, self.fraction_digits)

    def encode(self, raw: bytes) -> bytes:
        """Record the kind of a value that is not null; return it as a member of the file's JSON."""
        first = raw[0]
        if first == _QUOTE:
            return self._encode_text(raw)
        if first in (_OBJECT, _ARRAY):
            self.classes |= sql.NESTED
            return self._begin + _json.encode("j" + raw.decode())
        if first in (_TRUE, _FALSE):
            self.classes |= sql.BOOLEAN
        else:
            self._record_number(raw)
        return self._begin + b'"j' + raw + b'"'

    def _encode_text(self, raw: bytes) -> bytes:
        """Encode a text: as it was written, unless it has escapes, which DuckDB may refuse."""
        self.classes |= _TEXT
        has_escapes = b"\\" in raw
        if self.fits is not None or has_escapes:
            text = _text.decode(raw) if has_escapes else raw[1:-1].decode()
            if self.fits is not None and not self.fits(text):
                self.fits = None
            if has_escapes:
                return self._begin + _json.encode("s" + text)
        return self.text_begin + raw[1:]

    def _record_number(self, raw: bytes) -> None:
        whole, _, fraction = raw.partition(b".")
        if not whole.isdigit() or (fraction and not fraction.isdigit()):
            self._record_rare_number(raw.decode())
            return
        digits = len(whole)
        if not fraction and digits <= _SHORT:  # most numbers of most APIs
            self.classes |= sql.INTEGER
        elif not fraction:
            self._record_rare_number(raw.decode())
            return
        else:
            self.classes |= sql.DECIMAL
            if whole == b"0":
                digits = 0
            if len(fraction) > self.fraction_digits:
                self.fraction_digits = len(fraction)
        if digits + len(fraction) > _DOUBLE_DIGITS and self.floats:
            self.floats = double_keeps(raw.decode())
        if digits > self.whole_digits:
            self.whole_digits = digits

    def _record_rare_number(self, text: str) -> None:
        """Record a number with a sign or an exponent, or one that may be too long for 64 bits."""
        class_, whole_digits, fraction_digits = number_kind(text)
        self.classes |= class_
        self.whole_digits = max(self.whole_digits, whole_digits)
        self.fraction_digits = max(self.fraction_digits, fraction_digits)
        if self.floats and (class_ == sql.FLOAT or whole_digits + fraction_digits > _DOUBLE_DIGITS):
            self.floats = double_keeps(text)


def number_kind(text: str) -> tuple[int, int, int]:
    """Return a JSON number's class, and how many digits it has before and behind the point.

    A zero with a minus sign and a number with an exponent are floats, because no other type keeps
    them.
    """
    digits = text.removeprefix("-")
    integer, _, fraction = digits.partition(".")
    if "e" in text or "E" in text or (text != digits and not digits.strip("0.")):
        return sql.FLOAT, 0, 0
    integer = integer.lstrip("0")
    if not fraction:
        fits = len(integer) <= _SHORT or (len(integer) == _SHORT + 1 and int(text) in _BIGINT)
        return (sql.INTEGER if fits else sql.DECIMAL), len(integer), 0
    return sql.DECIMAL, len(integer), len(fraction)


def double_keeps(text: str) -> bool:
    """Whether a double, printed as short as possible, equals this number."""
    value = float(text)
    return isfinite(value) and Decimal(repr(value)) == Decimal(text)
