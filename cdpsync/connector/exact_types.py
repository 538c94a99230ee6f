"""The type that holds every value of a column exactly, by the classes and digits of its values."""

from __future__ import annotations

from dataclasses import dataclass

from cdpsync.connector import exact_sql as sql
from cdpsync.model.types import MAX_PRECISION, decimal_of

UNKNOWN = ""
"""The type of a column without values."""

NUMBERS = sql.INTEGER | sql.DECIMAL | sql.FLOAT
_BIGINT_DIGITS = 19
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_TYPE_OF_CLASS = {
    0: UNKNOWN,
    sql.INTEGER: "BIGINT",
    sql.BOOLEAN: "BOOLEAN",
    sql.DATE: "DATE",
    sql.TIMESTAMP: "TIMESTAMP",
    sql.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    sql.TEXT: "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """The classes of a column's values, and the most digits of its numbers."""

    classes: int
    whole_digits: int
    fraction_digits: int

    def type(self, otherwise: str, *, floats: bool) -> str:
        """Return the type for all these values; `floats` says whether a DOUBLE keeps each."""
        if self.classes in _TYPE_OF_CLASS:
            return _TYPE_OF_CLASS[self.classes]
        if not self.classes & ~(sql.INTEGER | sql.DECIMAL):
            fits = self.whole_digits + self.fraction_digits <= MAX_PRECISION
            return f"DECIMAL({MAX_PRECISION},{self.fraction_digits})" if fits else otherwise
        return "DOUBLE" if self.maybe_float and floats else otherwise

    @property
    def maybe_float(self) -> bool:
        """Whether all values are numbers, and some are written as floats are."""
        return bool(self.classes & sql.FLOAT) and not self.classes & ~NUMBERS


def growing_type(stats: ColumnStats, *, floats: bool) -> str | None:
    """Return the type of a column to which later reads add values; None where there is none.

    A decimal keeps room for a BIGINT's digits before the point, so that it can widen later.
    """
    if stats.classes & sql.DECIMAL and not stats.classes & ~(sql.INTEGER | sql.DECIMAL):
        if not stats.fraction_digits:
            return f"DECIMAL({MAX_PRECISION},0)" if stats.whole_digits <= MAX_PRECISION else None
        roomy = _decimal(max(stats.whole_digits, _BIGINT_DIGITS), stats.fraction_digits)
        return roomy or _decimal(stats.whole_digits, stats.fraction_digits)
    return stats.type("", floats=floats) or None


def widened(existing: str, stats: ColumnStats, *, floats: bool) -> str | None:
    """Return the type to which a column of the lake can widen for these values, or None."""
    if not stats.classes:
        return existing
    if not stats.classes & ~(sql.INTEGER | sql.DECIMAL):
        return _widened_number(existing, stats, floats=floats)
    natural = stats.type("", floats=floats)
    return existing if natural == existing else None


def _widened_number(existing: str, stats: ColumnStats, *, floats: bool) -> str | None:
    if existing in {"DOUBLE", "FLOAT"}:
        return "DOUBLE" if floats else None
    digits = _digits(existing)
    if digits is None:
        return None
    if existing in _INTEGERS:
        if not stats.classes & sql.DECIMAL:
            return "BIGINT"
    elif stats.whole_digits <= digits[0] and stats.fraction_digits <= digits[1]:
        return existing
    whole_digits = max(stats.whole_digits, digits[0])
    fraction_digits = max(stats.fraction_digits, digits[1])
    if whole_digits > MAX_PRECISION:
        return None
    return _decimal(whole_digits if fraction_digits else MAX_PRECISION, fraction_digits)


def _digits(type_: str) -> tuple[int, int] | None:
    if type_ in _INTEGERS:
        return _BIGINT_DIGITS, 0
    decimal = decimal_of(type_)
    return (decimal[0] - decimal[1], decimal[1]) if decimal else None


def _decimal(whole_digits: int, fraction_digits: int) -> str | None:
    precision = whole_digits + fraction_digits
    return f"DECIMAL({precision},{fraction_digits})" if precision <= MAX_PRECISION else None
