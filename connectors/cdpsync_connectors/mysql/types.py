"""The mapping of MySQL types to types of the lake, and the SQL that reads each exactly.

| MySQL, MariaDB | lake | remarks |
| --- | --- | --- |
| tinyint, tinyint(1), bool | TINYINT | never a BOOLEAN: it may hold 2 |
| smallint, mediumint, int, bigint | SMALLINT, INTEGER, INTEGER, BIGINT | unchanged |
| tinyint, smallint … bigint unsigned | UTINYINT, USMALLINT, UINTEGER, UINTEGER, UBIGINT | |
| float, double | FLOAT, DOUBLE | in binary, bit by bit |
| decimal(p,s), p <= 38 | DECIMAL(p,s) | by its text |
| decimal(p,s), p > 38 | DECIMAL(38,t), else VARCHAR | t from the rows; never rounded |
| bit(1) | BOOLEAN | |
| bit(2) to bit(64) | UBIGINT | |
| year | SMALLINT | 0000 is 0 |
| date | DATE | a zero date is an error, or NULL (`zero_dates`) |
| datetime | TIMESTAMP | to the microsecond; zero dates as above |
| timestamp | TIMESTAMP WITH TIME ZONE | read in UTC; zero dates as above |
| time | TIME | below 0 or past 24:00:00 an error |
| char, varchar, tinytext … longtext | VARCHAR | of any character set |
| enum, set | VARCHAR | |
| json, MariaDB's json | JSON | an error if DuckDB's JSON does not accept it |
| binary, varbinary, tinyblob … longblob | BLOB | unchanged |
| geometry, point … | BLOB | MySQL's own form: 4 bytes of SRID, then WKB |
| vector | BLOB | unchanged |
| uuid | UUID | |
| inet4, inet6, xmltype, all else | VARCHAR | as the server casts it to text |

Every column except one of bytes can be read as varchar. Generated and invisible columns are read
like others. Measured: the textual protocol prints a FLOAT with six digits, so rows are sent by the
binary one. connectorx 0.4.6 reads unsigned bigint as DOUBLE and decimal(65,30) as decimal(38,10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdpsync.errors import ReadError
from cdpsync.model.types import MAX_PRECISION, OPEN_DECIMAL, decimal_of, parse_type
from cdpsync.sql import quote_text
from cdpsync_connectors.mysql.catalog import SourceColumn, backquote

TIMESTAMPTZ = "TIMESTAMP WITH TIME ZONE"

_INTEGERS = {
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "mediumint": "INTEGER",
    "int": "INTEGER",
    "bigint": "BIGINT",
}
_TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"}
_BYTES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"}
_GEOMETRIES = {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"}
_GEOMETRIES |= {"multipolygon", "geometrycollection", "geomcollection"}
_OTHER_TYPES = {
    "float": "FLOAT",
    "double": "DOUBLE",
    "year": "SMALLINT",
    "date": "DATE",
    "datetime": "TIMESTAMP",
    "timestamp": TIMESTAMPTZ,
    "time": "TIME",
    "json": "JSON",
    "uuid": "UUID",
}
# The kind of values that rows have for a type; see `decode.arrow_type`.
_WIRE_KINDS = {
    "FLOAT": "real",
    "DOUBLE": "real",
    "DATE": "date",
    "TIMESTAMP": "datetime",
    TIMESTAMPTZ: "timestamptz",
    "TIME": "time",
    "BLOB": "bytes",
}
_INTEGER_TYPES = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_INTEGER_TYPES |= {f"U{type_}" for type_ in _INTEGER_TYPES}
DATED = {"date", "datetime", "timestamp"}

BEGIN, END = "[cdpsync: ", " :cdpsync]"
_GUESSED = "[cdpsync guessed: "
_MAX_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class ColumnExpr:
    """The expressions that read a column: `inner` for MySQL, `outer` for DuckDB, and its type.

    `wire_kind` is the kind of values that MySQL sends.
    """

    type: str
    wire_kind: str
    inner: str
    outer: str


def is_open(column: SourceColumn) -> bool:
    """Whether only the rows show how many digits the column needs."""
    return column.kind == "decimal" and (column.precision or 0) > MAX_PRECISION


def empty_scale(column: SourceColumn) -> int:
    """Return the scale of an open decimal that has no value yet."""
    return min(column.scale or 0, MAX_PRECISION)


def natural_type(column: SourceColumn) -> str:
    """Return the column's type in the lake, unless the user sets another."""
    kind = column.kind
    if kind in _INTEGERS:
        return ("U" if column.unsigned else "") + _INTEGERS[kind]
    if kind == "decimal":
        return OPEN_DECIMAL if is_open(column) else f"DECIMAL({column.precision},{column.scale})"
    if kind == "bit":
        return "BOOLEAN" if column.precision == 1 else "UBIGINT"
    if kind in _BYTES or kind in _GEOMETRIES:
        return "BLOB"
    if column.json:
        return "JSON"
    return _OTHER_TYPES.get(kind, "VARCHAR")


def column_expr(
    column: SourceColumn, stream: str, type_: str | None, alias: str, *, is_guessed: bool = False
) -> ColumnExpr:
    """Return how to read a column as this type, or as its natural one, selected under an alias.

    `is_guessed`: only earlier rows gave the column its type.

    Raises ReadError where the type cannot hold the values exactly.
    """
    natural = natural_type(column)
    target = natural if type_ is None else _normalized(type_)
    if target == OPEN_DECIMAL:
        target = f"DECIMAL({MAX_PRECISION},{empty_scale(column)})"
    guard = _Guard(stream, column.name, alias, is_guessed)
    if target == natural:
        return _natural(column, guard, natural)
    expr = _printed(column, guard, natural) if target == "VARCHAR" else None
    expr = expr or _retyped(column, guard, natural, target)
    if expr is None:
        raise ReadError(_inexact_message(column, stream, natural, type_ or target))
    return expr


def _normalized(type_: str) -> str:
    try:
        return parse_type(type_)
    except ValueError:
        return type_


def _natural(column: SourceColumn, guard: _Guard, type_: str) -> ColumnExpr:
    name, alias = backquote(column.name), guard.alias
    if type_ in _WIRE_KINDS:
        return ColumnExpr(type_, _WIRE_KINDS[type_], name, f"{alias}::{type_}")
    if column.kind == "bit":
        return ColumnExpr(type_, "integer", f"cast({name} as unsigned)", f"{alias}::{type_}")
    if type_ in _INTEGER_TYPES:
        return ColumnExpr(type_, "integer", name, f"{alias}::{type_}")
    if type_ == "JSON":
        return ColumnExpr(type_, "text", name, guard.parsed("JSON"))
    if column.kind in _TEXTS or column.kind == "decimal":
        outer = alias if type_ == "VARCHAR" else f"{alias}::{type_}"
        return ColumnExpr(type_, "text", name, outer)
    return ColumnExpr(type_, "text", f"cast({name} as char)", f"{alias}::{type_}")


def _printed(column: SourceColumn, guard: _Guard, natural: str) -> ColumnExpr | None:
    """Read a column as text: printed by the server, but numbers by DuckDB, which does not round."""
    if natural == "BLOB":
        return None
    if column.kind in _INTEGERS or natural in {"FLOAT", "DOUBLE", "UBIGINT", "SMALLINT", "BOOLEAN"}:
        plain = _natural(column, guard, "UBIGINT" if column.kind == "bit" else natural)
        return ColumnExpr("VARCHAR", plain.wire_kind, plain.inner, f"{plain.outer}::VARCHAR")
    name = backquote(column.name)
    inner = name if column.kind in _TEXTS | {"decimal", "json"} else f"cast({name} as char)"
    return ColumnExpr("VARCHAR", "text", inner, guard.alias)


def _retyped(column: SourceColumn, guard: _Guard, natural: str, target: str) -> ColumnExpr | None:
    """Read a column as another type: each value is checked, unless none can change."""
    is_number = target in _INTEGER_TYPES or decimal_of(target) is not None
    name, alias = backquote(column.name), guard.alias
    if column.kind == "bit" or natural in _INTEGER_TYPES:
        if not (is_number or target in {"BOOLEAN", "DOUBLE"}):
            return None
        integer = "UBIGINT" if column.kind == "bit" else natural
        plain = _natural(column, guard, integer)
        outer = guard.round_trip(integer, target)
        return ColumnExpr(target, plain.wire_kind, plain.inner, outer)
    if is_number and (column.kind == "decimal" or column.kind in _TEXTS):
        return ColumnExpr(target, "text", name, guard.number(target))
    if column.kind in _TEXTS and target in {"JSON", "UUID"}:
        return ColumnExpr(target, "text", name, guard.parsed(target))
    widening = {
        ("FLOAT", "DOUBLE"): "real",
        ("DATE", "TIMESTAMP"): "date",
        ("TIMESTAMP", TIMESTAMPTZ): "timestamptz",
        (TIMESTAMPTZ, "TIMESTAMP"): "datetime",
    }.get((natural, target))
    return ColumnExpr(target, widening, name, f"{alias}::{target}") if widening else None


@dataclass(frozen=True, slots=True)
class _Guard:
    """The checks of one column in DuckDB's SQL; `alias` is its name among the columns sent."""

    stream: str
    column: str
    alias: str
    is_guessed: bool = False

    def parsed(self, target: str) -> str:
        """Return text parsed as a type, or an error."""
        return self._or_stop(f"try_cast({self.alias} as {target})", "true", target)

    def number(self, target: str) -> str:
        """Return the text of a number as a type, if no digit behind the point is lost."""
        scale = (decimal_of(target) or (0, 0))[1]
        no_more_digits = f"rtrim(substr(split_part({self.alias}, '.', 2), {scale + 1}), '0') = ''"
        is_number = f"regexp_full_match({self.alias}, '-?[0-9]+([.][0-9]+)?')"
        return self._or_stop(
            f"try_cast({self.alias} as {target})", f"{is_number} and {no_more_digits}", target
        )

    def round_trip(self, natural: str, target: str) -> str:
        """Return a number as another type, if casting it back gives the same number."""
        cast = f"try_cast({self.alias} as {target})"
        return self._or_stop(cast, f"try_cast({cast} as {natural}) = {self.alias}", target)

    def _or_stop(self, value: str, condition: str, target: str) -> str:
        where = f'table "{self.stream}", column "{self.column}": the value '
        advice = (
            f" does not fit {target}. Set columns: {{types: {{{self.column}: varchar}}}} to keep "
            "it as text, and run this table with --full-refresh."
        )
        begin = _GUESSED if self.is_guessed else BEGIN
        before, after = quote_text(begin + where), quote_text(advice + END)
        stop = f"error({before} || left({self.alias}::VARCHAR, {_MAX_SHOWN}) || {after})"
        return (
            f"(case when {self.alias} is null then null when {condition} and {value} is not null "
            f"then {value} else {stop} end)::{target}"
        )


def read_marker(text: str) -> str | None:
    """Return the message that one of these guards put into an error's text, or None."""
    begin = f"(?:{re.escape(BEGIN)}|{re.escape(_GUESSED)})"
    match = re.search(begin + r"(.*?)" + re.escape(END), text, re.DOTALL)
    return " ".join(match[1].split()) if match else None


def is_of_guess(text: str) -> bool:
    """Whether the message is about a type that only earlier rows gave to the column."""
    return _GUESSED in text


def _inexact_message(column: SourceColumn, stream: str, natural: str, type_: str) -> str:
    possible = {
        "BLOB": "",
        "FLOAT": "double, varchar",
        "DATE": "timestamp, varchar",
        "TIMESTAMP": "timestamptz, varchar",
        TIMESTAMPTZ: "timestamp, varchar",
    }.get(natural, "varchar")
    if natural in _INTEGER_TYPES or column.kind in {"decimal", "bit"}:
        possible = "decimal(p,s), tinyint to bigint, varchar"
    elif column.kind in _TEXTS:
        possible = "json, uuid, decimal(p,s), tinyint to bigint"
    listed = ", ".join(filter(None, (natural.lower().replace("?", "s"), possible)))
    return (
        f'table "{stream}", column "{column.name}": {column.display} cannot be read as '
        f"{type_.lower()} without loss. Possible types: {listed}."
    )
