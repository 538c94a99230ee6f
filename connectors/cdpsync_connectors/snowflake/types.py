"""The mapping of Snowflake types to types of the lake, and the SQL that reads each exactly.

| Snowflake | lake | remarks |
| --- | --- | --- |
| NUMBER(p,0), p <= 4, 9, 18 | SMALLINT, INTEGER, BIGINT | by the declared precision |
| NUMBER(p,0), p > 18; INT and the like are NUMBER(38,0) | DECIMAL(p,0) | every digit |
| NUMBER(p,s) | DECIMAL(p,s) | every digit |
| FLOAT, DOUBLE, REAL | DOUBLE | with NaN and infinities |
| DECFLOAT | VARCHAR | its digits |
| BOOLEAN, DATE | BOOLEAN, DATE | unchanged |
| VARCHAR, CHAR, TEXT | VARCHAR | unchanged |
| BINARY | BLOB | unchanged |
| TIME(s) | TIME | a value with nanoseconds is an error |
| TIMESTAMP_NTZ(s) | TIMESTAMP | a value with nanoseconds is an error |
| TIMESTAMP_LTZ(s), TIMESTAMP_TZ(s) | TIMESTAMP WITH TIME ZONE | the moment; nanoseconds an error |
| VARIANT, OBJECT, ARRAY, MAP, structured types | JSON | TO_JSON |
| GEOGRAPHY, GEOMETRY | JSON | ST_ASGEOJSON |
| VECTOR | DOUBLE[] | exact for its floats and integers |
| INTERVAL …, UUID, FILE, all else | VARCHAR | cast to VARCHAR by Snowflake |

Alternatives for `columns: {types: …}`: VARCHAR for all except BINARY, VECTOR and JSON types (times
then have nine digits, and TIMESTAMP_LTZ and TIMESTAMP_TZ their offset); integers and wider decimals
for NUMBER, each value checked; TIMESTAMP_NS (1677 to 2262) and TIMESTAMP WITH TIME ZONE (as UTC)
for TIMESTAMP_NTZ; TIMESTAMP for DATE; JSON and UUID for text.

By default a timestamp is declared with nine digits, but few have a value with more than six. Many
use the year 9999 for "never", which nanoseconds cannot express. So timestamps have microseconds,
and a value with more digits is an error. information_schema does not contain the digits
(docs.snowflake.com/en/sql-reference/info-schema/columns: DATETIME_PRECISION "not applicable").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.model.types import MAX_PRECISION, decimal_of
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from cdpsync_connectors.snowflake.catalog import SourceColumn

TIMESTAMPTZ = "TIMESTAMP WITH TIME ZONE"
_INTEGER_BY_DIGITS = ((4, "SMALLINT"), (9, "INTEGER"), (18, "BIGINT"))
_TYPES = {
    "BINARY": "BLOB",
    "VARBINARY": "BLOB",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "DOUBLE": "DOUBLE",
    "FLOAT": "DOUBLE",
    "REAL": "DOUBLE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "TIMESTAMP_LTZ": TIMESTAMPTZ,
    "TIMESTAMP_TZ": TIMESTAMPTZ,
    "VECTOR": "DOUBLE[]",
}
_TEXTS = {"TEXT", "VARCHAR", "CHAR", "CHARACTER", "STRING"}
_NUMBERS = {"NUMBER", "DECIMAL", "NUMERIC", "INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT"}
_NESTED = {"VARIANT", "OBJECT", "ARRAY", "MAP"}
_GEOMETRIES = {"GEOGRAPHY", "GEOMETRY"}
_FORMATS = {
    "TIME": "HH24:MI:SS.FF9",
    "TIMESTAMP_NTZ": "YYYY-MM-DD HH24:MI:SS.FF9",
    "DATETIME": "YYYY-MM-DD HH24:MI:SS.FF9",
    "TIMESTAMP_LTZ": "YYYY-MM-DD HH24:MI:SS.FF9 TZH:TZM",
    "TIMESTAMP_TZ": "YYYY-MM-DD HH24:MI:SS.FF9 TZH:TZM",
}
_INTEGER = r"(U?(TINY|SMALL|BIG)INT|U?INTEGER)"
_ALTERNATIVES = {
    "DATE": ("TIMESTAMP", "VARCHAR"),
    "TIME": ("VARCHAR",),
    "TIMESTAMP": ("TIMESTAMP_NS", TIMESTAMPTZ, "VARCHAR"),
    TIMESTAMPTZ: ("VARCHAR",),
    "VARCHAR": ("JSON", "UUID"),
    "DOUBLE": ("VARCHAR",),
    "BOOLEAN": ("VARCHAR",),
    "JSON": ("VARCHAR",),
}
_ORDERED = {"DATE", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "DATETIME"} | _NUMBERS


@dataclass(frozen=True, slots=True)
class ColumnExpr:
    """The expression that reads a column in Snowflake, and its name and type in the lake."""

    name: str
    type: str
    select: str


def natural_type(column: SourceColumn) -> str:
    """Return the type in the lake that holds every value the column can have."""
    if column.kind in _NUMBERS:
        return _number(column)
    if column.kind in _NESTED | _GEOMETRIES:
        return "JSON"
    return _TYPES.get(column.kind, "VARCHAR")


def can_order(column: SourceColumn) -> bool:
    """Whether a cursor may follow the column."""
    return column.kind in _ORDERED


def is_time(column: SourceColumn) -> bool:
    """Whether the column holds dates or timestamps."""
    return column.kind in _ORDERED - _NUMBERS


def column_expr(column: SourceColumn, requested_type: str | None, stream: str) -> ColumnExpr:
    """Return how to read a column, as the type that the user set, or as its natural one.

    Raises ReadError for a type that would not be exact, naming those that are.
    """
    natural = natural_type(column)
    type_ = requested_type or natural
    if type_ != natural and not _is_exact(natural, type_):
        raise ReadError(
            f'stream "{stream}": column "{column.name}" is {column.display}, which cannot be read '
            f"exactly as {type_.lower()}. It can be: {', '.join(_choices(natural))}."
        )
    return ColumnExpr(column.name, type_, _select(column, type_))


def _number(column: SourceColumn) -> str:
    precision = MAX_PRECISION if column.precision is None else column.precision
    scale = column.scale or 0
    if scale:
        return f"DECIMAL({max(precision, scale)},{scale})"
    integers = [type_ for digits, type_ in _INTEGER_BY_DIGITS if precision <= digits]
    return integers[0] if integers else f"DECIMAL({precision},0)"


def _is_exact(natural: str, type_: str) -> bool:
    digits = decimal_of(natural)
    if not digits and not re.fullmatch(_INTEGER, natural):
        return type_ in _ALTERNATIVES.get(natural, ())
    scale = digits[1] if digits else 0
    decimal = decimal_of(type_)
    if decimal:  # each value is checked for too many digits before the point
        return decimal[1] >= scale
    return type_ == "VARCHAR" or (scale == 0 and re.fullmatch(_INTEGER, type_) is not None)


def _choices(natural: str) -> list[str]:
    """Return the types that a column can be read as, its natural one first."""
    digits = decimal_of(natural)
    if digits and digits[1]:
        return [natural.lower(), f"decimal(p,s) with s >= {digits[1]}", "varchar"]
    if digits or re.fullmatch(_INTEGER, natural):
        return [natural.lower(), "integers", "decimal(p,s)", "varchar"]
    return [type_.lower() for type_ in (natural, *_ALTERNATIVES.get(natural, ()))]


def _select(column: SourceColumn, type_: str) -> str:
    name = quote_name(column.name)
    if column.kind in _NESTED:
        return f"to_json({name}::variant)"
    if column.kind in _GEOMETRIES:
        return f"to_json(st_asgeojson({name})::variant)"
    if type_ == "VARCHAR" and column.kind in _FORMATS:
        return f"to_varchar({name}, '{_FORMATS[column.kind]}')"
    needs_no_cast = _NUMBERS | _TEXTS | set(_TYPES)
    return name if column.kind in needs_no_cast else f"{name}::varchar"
