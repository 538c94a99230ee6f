"""Which MySQL type becomes which type of the lake, and the SQL that reads it exactly.

| MySQL, MariaDB | lake | how |
| --- | --- | --- |
| tinyint, tinyint(1), bool | TINYINT | never a BOOLEAN: it may hold 2 |
| smallint, mediumint, int, bigint | SMALLINT, INTEGER, INTEGER, BIGINT | as they are |
| tinyint, smallint … bigint unsigned | UTINYINT, USMALLINT, UINTEGER, UINTEGER, UBIGINT | as is |
| float, double | FLOAT, DOUBLE | in binary, bit by bit |
| decimal(p,s), p <= 38 | DECIMAL(p,s) | by its text |
| decimal(p,s), p > 38 | DECIMAL(38,t), else VARCHAR | t from the first load; never rounded |
| bit(1) | BOOLEAN | |
| bit(2) to bit(64) | UBIGINT | |
| year | SMALLINT | 0000 is 0 |
| date | DATE | a zero date is an error, or NULL (`zero_dates`) |
| datetime | TIMESTAMP | to the microsecond; zero dates as above |
| timestamp | TIMESTAMP WITH TIME ZONE | read in UTC; zero dates as above |
| time | TIME | below 0 or past 24:00:00 an error |
| char, varchar, tinytext … longtext | VARCHAR | of any character set |
| enum, set | VARCHAR | |
| json, MariaDB's json | JSON | an error where DuckDB's JSON refuses it |
| binary, varbinary, tinyblob … longblob | BLOB | as they are |
| geometry, point … | BLOB | MySQL's own form: 4 bytes of SRID, then WKB |
| vector | BLOB | as it is |
| uuid | UUID | |
| inet4, inet6, xmltype, all else | VARCHAR | as the server casts it to text |

Any column but one of bytes can be asked for as varchar. Generated and invisible columns are read
like others. Measured: the textual protocol prints a FLOAT with six digits, so rows come by the
binary one; connectorx 0.4.6 reads unsigned bigint as DOUBLE and decimal(65,30) as decimal(38,10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdpsync.errors import ReadError
from cdpsync.model.types import decimal_of, parse_type
from cdpsync_connectors.mysql.catalog import SourceColumn, quote_literal, quote_name

OPEN_DECIMAL = "DECIMAL(38,?)"
WIDEST = 38
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
_SHAPES = {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"}
_SHAPES |= {"multipolygon", "geometrycollection", "geomcollection"}
_OTHERS = {
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
# How a type travels: which kind of values the rows hold, see `_mysql_columns.arrow_type`.
_WIRES = {
    "FLOAT": "real",
    "DOUBLE": "real",
    "DATE": "date",
    "TIMESTAMP": "datetime",
    TIMESTAMPTZ: "timestamptz",
    "TIME": "time",
    "BLOB": "bytes",
}
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_WHOLE |= {f"U{type_}" for type_ in _WHOLE}
DATED = {"date", "datetime", "timestamp"}

BEGIN, END = "[cdpsync: ", " :cdpsync]"
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class ColumnExpr:
    """How a column is read: its type in the lake, and how it travels there.

    `inner` is what MySQL selects, `outer` what DuckDB makes of it.
    """

    type: str
    wire: str
    inner: str
    outer: str


def is_open(column: SourceColumn) -> bool:
    """Whether only the rows can tell how many digits the column needs."""
    return column.kind == "decimal" and (column.precision or 0) > WIDEST


def natural_type(column: SourceColumn) -> str:
    """Return the type the column has in the lake when nobody asks for another."""
    kind = column.kind
    if kind in _INTEGERS:
        return ("U" if column.unsigned else "") + _INTEGERS[kind]
    if kind == "decimal":
        return OPEN_DECIMAL if is_open(column) else f"DECIMAL({column.precision},{column.scale})"
    if kind == "bit":
        return "BOOLEAN" if column.precision == 1 else "UBIGINT"
    if kind in _BYTES or kind in _SHAPES:
        return "BLOB"
    if column.json:
        return "JSON"
    return _OTHERS.get(kind, "VARCHAR")


def reading(column: SourceColumn, stream: str, asked: str | None, alias: str) -> ColumnExpr:
    """Return how to read a column, as `asked` or as it naturally is, selected under this alias.

    Raises ReadError where the type asked for cannot hold the values exactly.
    """
    natural = natural_type(column)
    target = natural if asked is None else _spelled(asked)
    if target == OPEN_DECIMAL:
        target = f"DECIMAL({WIDEST},{min(column.scale or 0, WIDEST)})"
    guard = _Guard(stream, column.name, alias)
    if target == natural:
        return _natural(column, guard, natural)
    found = _printed(column, guard, natural) if target == "VARCHAR" else None
    found = found or _retyped(column, guard, natural, target)
    if found is None:
        raise ReadError(_refusal(column, stream, natural, asked or target))
    return found


def _spelled(asked: str) -> str:
    try:
        return parse_type(asked)
    except ValueError:
        return asked


def _natural(column: SourceColumn, guard: _Guard, type_: str) -> ColumnExpr:
    name, alias = quote_name(column.name), guard.alias
    if type_ in _WIRES:
        return ColumnExpr(type_, _WIRES[type_], name, f"{alias}::{type_}")
    if column.kind == "bit":
        return ColumnExpr(type_, "integer", f"cast({name} as unsigned)", f"{alias}::{type_}")
    if type_ in _WHOLE:
        return ColumnExpr(type_, "integer", name, f"{alias}::{type_}")
    if type_ == "JSON":
        return ColumnExpr(type_, "text", name, guard.parsed("JSON"))
    if column.kind in _TEXTS or column.kind == "decimal":
        outer = alias if type_ == "VARCHAR" else f"{alias}::{type_}"
        return ColumnExpr(type_, "text", name, outer)
    return ColumnExpr(type_, "text", f"cast({name} as char)", f"{alias}::{type_}")


def _printed(column: SourceColumn, guard: _Guard, natural: str) -> ColumnExpr | None:
    """Read a column as text: the server's, but for numbers, which it would round or pad."""
    if natural == "BLOB":
        return None
    if column.kind in _INTEGERS or natural in {"FLOAT", "DOUBLE", "UBIGINT", "SMALLINT", "BOOLEAN"}:
        plain = _natural(column, guard, "UBIGINT" if column.kind == "bit" else natural)
        return ColumnExpr("VARCHAR", plain.wire, plain.inner, f"{plain.outer}::VARCHAR")
    name = quote_name(column.name)
    inner = name if column.kind in _TEXTS | {"decimal", "json"} else f"cast({name} as char)"
    return ColumnExpr("VARCHAR", "text", inner, guard.alias)


def _retyped(column: SourceColumn, guard: _Guard, natural: str, target: str) -> ColumnExpr | None:
    """Read a column as another type, where each value is looked at, or no value can change."""
    number = target in _WHOLE or decimal_of(target) is not None
    name, alias = quote_name(column.name), guard.alias
    if column.kind == "bit" or natural in _WHOLE:
        if not (number or target in {"BOOLEAN", "DOUBLE"}):
            return None
        whole = "UBIGINT" if column.kind == "bit" else natural
        plain = _natural(column, guard, whole)
        return ColumnExpr(target, plain.wire, plain.inner, guard.back_and_forth(whole, target))
    if number and (column.kind == "decimal" or column.kind in _TEXTS):
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
    """The checks of one column, as SQL of DuckDB; `alias` is its name in what MySQL sends."""

    stream: str
    column: str
    alias: str

    def parsed(self, target: str) -> str:
        """Return text as a type that has one reading of it, or an error."""
        return self._or_stop(f"try_cast({self.alias} as {target})", "true", target)

    def number(self, target: str) -> str:
        """Return the text of a number, where no digit behind the point is lost."""
        scale = (decimal_of(target) or (0, 0))[1]
        rest = f"rtrim(substr(split_part({self.alias}, '.', 2), {scale + 1}), '0') = ''"
        form = f"regexp_full_match({self.alias}, '-?[0-9]+([.][0-9]+)?')"
        return self._or_stop(f"try_cast({self.alias} as {target})", f"{form} and {rest}", target)

    def back_and_forth(self, natural: str, target: str) -> str:
        """Return a number as another type, where it comes back as it was."""
        cast = f"try_cast({self.alias} as {target})"
        return self._or_stop(cast, f"try_cast({cast} as {natural}) = {self.alias}", target)

    def _or_stop(self, value: str, condition: str, target: str) -> str:
        where = f'table "{self.stream}", column "{self.column}": the value '
        way_out = (
            f" does not fit {target}. Set columns: {{types: {{{self.column}: varchar}}}} to keep "
            "it as text, and run this table with --full-refresh."
        )
        before, after = quote_literal(BEGIN + where), quote_literal(way_out + END)
        stop = f"error({before} || left({self.alias}::VARCHAR, {_SHOWN}) || {after})"
        return (
            f"(case when {self.alias} is null then null when {condition} and {value} is not null "
            f"then {value} else {stop} end)::{target}"
        )


def read_marker(text: str) -> str | None:
    """Return the message that one of these guards put into an error's text, or None."""
    found = re.search(re.escape(BEGIN) + r"(.*?)" + re.escape(END), text, re.DOTALL)
    return " ".join(found[1].split()) if found else None


def _refusal(column: SourceColumn, stream: str, natural: str, asked: str) -> str:
    possible = {
        "BLOB": "",
        "FLOAT": "double, varchar",
        "DATE": "timestamp, varchar",
        "TIMESTAMP": "timestamptz, varchar",
        TIMESTAMPTZ: "timestamp, varchar",
    }.get(natural, "varchar")
    if natural in _WHOLE or column.kind in {"decimal", "bit"}:
        possible = "decimal(p,s), tinyint to bigint, varchar"
    elif column.kind in _TEXTS:
        possible = "json, uuid, decimal(p,s), tinyint to bigint"
    listed = ", ".join(filter(None, (natural.lower().replace("?", "s"), possible)))
    return (
        f'table "{stream}", column "{column.name}": {column.display} cannot be read as '
        f"{asked.lower()} without a loss. Possible: {listed}."
    )
