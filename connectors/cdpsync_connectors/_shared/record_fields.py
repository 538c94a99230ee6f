"""What is seen of a record's fields while records arrive: JSON kinds, digits, and one exact text.

A value is kept as text with one letter before it: `s` and what a string says, or `j` and any
other value's JSON as it was written. So no number ever passes through a float.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.exact_types import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOUBLE_DIGITS = 15  # a double keeps every number of so many digits
_SHORT = 18  # digits that always fit 64 bits
_BIGINT = range(-(2**63), 2**63)
_NULL, _QUOTE, _TRUE, _FALSE, _OBJECT, _ARRAY = b'n"tf{['
_TEXT = sql.TEXT
_text = msgspec.json.Decoder(str)


class Field:
    """One field over all records: which place it has on disk, and what its values were."""

    __slots__ = ("classes", "floats", "fraction", "key", "name", "whole")

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.classes = 0
        self.whole = 0
        self.fraction = 0
        self.floats = True  # whether a DOUBLE keeps each number

    @property
    def seen(self) -> Seen:
        """What the values were, for choosing a type."""
        return Seen(self.classes, self.whole, self.fraction)

    def keep(self, raw: bytes) -> str:
        """Return a value that is not null as it is kept on disk, and remember its kind."""
        first = raw[0]
        if first == _QUOTE:
            self.classes |= _TEXT
            return "s" + (_text.decode(raw) if b"\\" in raw else raw[1:-1].decode())
        if first in (_OBJECT, _ARRAY):
            self.classes |= sql.NESTED
        elif first in (_TRUE, _FALSE):
            self.classes |= sql.BOOLEAN
        else:
            self._number(raw)
        return "j" + raw.decode()

    def _number(self, raw: bytes) -> None:
        if len(raw) <= _SHORT and raw.isdigit():  # most numbers of most APIs
            self.classes |= sql.INTEGER
            if len(raw) > self.whole:
                self.whole = len(raw)
            return
        text = raw.decode()
        class_, whole, fraction = number_kind(text)
        self.classes |= class_
        self.whole = max(self.whole, whole)
        self.fraction = max(self.fraction, fraction)
        if self.floats and (class_ == sql.FLOAT or whole + fraction > _DOUBLE_DIGITS):
            self.floats = double_keeps(text)


def number_kind(text: str) -> tuple[int, int, int]:
    """Return a JSON number's class, and its digits before and behind the point.

    A zero with a minus sign and whatever has an exponent are floats: nothing else keeps them.
    """
    digits = text.removeprefix("-")
    whole, _, fraction = digits.partition(".")
    if "e" in text or "E" in text or (text != digits and not digits.strip("0.")):
        return sql.FLOAT, 0, 0
    whole = whole.lstrip("0")
    if not fraction:
        fits = len(whole) <= _SHORT or (len(whole) == _SHORT + 1 and int(text) in _BIGINT)
        return (sql.INTEGER if fits else sql.DECIMAL), len(whole), 0
    return sql.DECIMAL, len(whole), len(fraction)


def double_keeps(text: str) -> bool:
    """Whether a double, printed as short as it can be, is this number."""
    value = float(text)
    return isfinite(value) and Decimal(repr(value)) == Decimal(text)


def refuse_twice(raw: msgspec.Raw, fields: Mapping[str, msgspec.Raw], where: str) -> None:
    """Raise ReadError when a record without spaces names a field twice: one would be lost.

    Each field takes its name, its value and four signs; names with escapes are looked at anew.
    """
    if len(raw) == 1 + sum(map(len, fields)) + 4 * len(fields) + sum(map(len, fields.values())):
        return
    import json

    pairs = json.loads(bytes(raw), object_pairs_hook=list)
    names = [name for name, _ in pairs]
    twice = next((name for name in fields if names.count(name) > 1), None)
    if twice is not None:
        raise ReadError(f"{where}: a record names its field {twice!r} twice; one would be lost.")
