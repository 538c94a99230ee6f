"""Changes of a column's type at a database: those that keep every value of the old rows.

A database may rewrite the rows that exist when a column's type changes: it rounds, pads, cuts, or
reads a time in some zone. Nothing here asks it, so only conversions that cannot do so count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DECLARED = re.compile(r"^(.*?)\s*(?:\((-?\d+(?:,\s*-?\d+)*)\))?\s*([^()\[\]]*)((?:\[\])*)$")


@dataclass(frozen=True, slots=True)
class DeclaredType:
    """A type as a database declares it: `numeric(10,2)[]` has name, digits and one list."""

    name: str
    digits: tuple[int, ...] = ()
    lists: int = 0


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The numbers that a type can hold: digits before and behind the point; None: any number.

    `low` and `high` are the bounds of an integer type.
    """

    whole: int | None
    scale: int | None
    low: int | None = None
    high: int | None = None


def declared_type(display: str) -> DeclaredType:
    """Return a type that a database's catalog displays, in its parts."""
    match = _DECLARED.match(display.strip())
    if match is None:
        return DeclaredType(display)
    name, digits, rest, lists = match.groups()
    parts = tuple(int(part) for part in digits.split(",")) if digits else ()
    return DeclaredType(" ".join(filter(None, (name, rest.strip()))), parts, len(lists) // 2)


def integer_range(bits: int, *, signed: bool = True) -> NumberRange:
    """Return the numbers of an integer type of so many bits."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return NumberRange(len(str(high)), 0, low, high)


def keeps_numbers(old: NumberRange, new: NumberRange, *, as_text: bool, may_clamp: bool) -> bool:
    """Whether each number stays the same; `as_text` asks for its digits as they are printed.

    `may_clamp`: the database may replace a number that the new type cannot hold by another one.
    Otherwise it refuses the change.
    """
    if as_text and new.scale is not None and new.scale != old.scale:
        return False
    if new.scale is not None and (old.scale is None or new.scale < old.scale):
        return False
    return not may_clamp or _contains(new, old)


def _contains(outer: NumberRange, inner: NumberRange) -> bool:
    if outer.low is not None and outer.high is not None:
        if inner.low is None or inner.high is None:
            return False
        return outer.low <= inner.low and inner.high <= outer.high
    return outer.whole is None or (inner.whole is not None and inner.whole <= outer.whole)


def keeps_digits(old: DeclaredType, new: DeclaredType) -> bool:
    """Whether a limit (of a text's length, of a second's digits) is not lower than before."""
    if not new.digits:
        return True
    return bool(old.digits) and new.digits[0] >= old.digits[0]
