"""What was seen of a column's values to the type that holds every one of them exactly."""

from __future__ import annotations

from dataclasses import dataclass

from cdpsync.model.types import decimal_of
from cdpsync_connectors._shared import exact_sql as sql

UNKNOWN = ""
"""The type of a column in which no value was seen."""

WIDEST = 38
NUMBERS = sql.INTEGER | sql.DECIMAL | sql.FLOAT
_BIGINT_DIGITS = 19
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_ALONE = {
    0: UNKNOWN,
    sql.INTEGER: "BIGINT",
    sql.BOOLEAN: "BOOLEAN",
    sql.DATE: "DATE",
    sql.TIMESTAMP: "TIMESTAMP",
    sql.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    sql.TEXT: "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one column's values are: their classes, and the digits of the numbers among them."""

    classes: int
    whole: int
    fraction: int

    def type(self, otherwise: str, *, floats: bool) -> str:
        """Return the type for all these values; `floats` says whether a DOUBLE keeps each."""
        if self.classes in _ALONE:
            return _ALONE[self.classes]
        if not self.classes & ~(sql.INTEGER | sql.DECIMAL):
            fits = self.whole + self.fraction <= WIDEST
            return f"DECIMAL({WIDEST},{self.fraction})" if fits else otherwise
        return "DOUBLE" if self.maybe_float and floats else otherwise

    @property
    def maybe_float(self) -> bool:
        """Whether all values are numbers, and some are written as floats are."""
        return bool(self.classes & sql.FLOAT) and not self.classes & ~NUMBERS


def growing_type(seen: Seen, *, floats: bool) -> str | None:
    """Return the type of a column that is added to again and again; None where there is none.

    A decimal leaves room for a BIGINT's digits before the point, so that it can get more digits
    behind it later.
    """
    if seen.classes & sql.DECIMAL and not seen.classes & ~(sql.INTEGER | sql.DECIMAL):
        if not seen.fraction:
            return f"DECIMAL({WIDEST},0)" if seen.whole <= WIDEST else None
        return _decimal(max(seen.whole, _BIGINT_DIGITS), seen.fraction) or _decimal(
            seen.whole, seen.fraction
        )
    return seen.type("", floats=floats) or None


def joined_with(held: str, seen: Seen, *, floats: bool) -> str | None:
    """Return the type into which a column held as `held` can grow for these values, or None."""
    if not seen.classes:
        return held
    if not seen.classes & ~(sql.INTEGER | sql.DECIMAL):
        return _joined_number(held, seen, floats=floats)
    natural = seen.type("", floats=floats)
    return held if natural == held else None


def _joined_number(held: str, seen: Seen, *, floats: bool) -> str | None:
    if held in {"DOUBLE", "FLOAT"}:
        return "DOUBLE" if floats else None
    digits = _digits(held)
    if digits is None:
        return None
    if held in _INTEGERS:
        if not seen.classes & sql.DECIMAL:
            return "BIGINT"
    elif seen.whole <= digits[0] and seen.fraction <= digits[1]:
        return held
    whole, fraction = max(seen.whole, digits[0]), max(seen.fraction, digits[1])
    return _decimal(whole if fraction else WIDEST, fraction) if whole <= WIDEST else None


def _digits(type_: str) -> tuple[int, int] | None:
    if type_ in _INTEGERS:
        return _BIGINT_DIGITS, 0
    found = decimal_of(type_)
    return (found[0] - found[1], found[1]) if found else None


def _decimal(whole: int, fraction: int) -> str | None:
    return f"DECIMAL({whole + fraction},{fraction})" if whole + fraction <= WIDEST else None
