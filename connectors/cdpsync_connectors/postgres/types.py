"""The mapping of Postgres types to types of the lake, and the SQL that reads each exactly.

| Postgres | lake | remarks |
| --- | --- | --- |
| smallint, integer, bigint | SMALLINT, INTEGER, BIGINT | unchanged |
| oid | BIGINT | cast |
| real, double precision | FLOAT, DOUBLE | with NaN, infinities and -0.0 |
| numeric(p,s), p <= 38 | DECIMAL(p,s) | NaN is NULL, or an error (`on_nan`) |
| numeric(3,-2), numeric(2,5) | DECIMAL(5,0), DECIMAL(5,5) | the digits they can have |
| numeric, numeric(p > 38) | DECIMAL(38,s), else VARCHAR | s from the rows; never rounded |
| boolean, uuid, date, time | BOOLEAN, UUID, DATE, TIME | BC, `infinity` and 24:00:00 kept |
| timestamp, timestamptz | TIMESTAMP, TIMESTAMP WITH TIME ZONE | past 294247-01-10 an error |
| text, varchar | VARCHAR | unchanged; as BLOB, the bytes as they are stored |
| char(n) | VARCHAR | with its blanks |
| json, jsonb | JSON | an error if DuckDB's JSON does not accept it (lone surrogates) |
| bytea | BLOB | unchanged |
| domains | as their base type | |
| arrays of the above | lists, as deep as declared | numeric[] without (p,s) is VARCHAR[] |
| char(n)[], interval[], inet[], enum[] … | VARCHAR[] | elements as psql prints them |
| interval, timetz, enums, "char", name, money, inet, cidr, macaddr | VARCHAR | as psql prints it |
| bit, ranges, composites, xml, tsvector, point, reg…, all else | VARCHAR | as psql prints it |

DuckDB's scanner alone is not exact (measured with 1.5.5): it reads numeric NaN as 0, numeric
without (p,s) as DOUBLE and domains as text. It strips char(n), wraps timestamps after the year
294247 into BC, drops the lower bounds of arrays, and fails on arrays of several dimensions. A
Parquet INTERVAL is cut to milliseconds and never negative, so intervals are sent as text. A cast
to text differs from what psql prints for inet (it adds /32), so each type's own output function
is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.model.types import MAX_PRECISION, OPEN_DECIMAL
from cdpsync.sql import plain_number, quote_name
from cdpsync_connectors.postgres.guards import Guard, element_wise, json_lists, text_array

if TYPE_CHECKING:
    from cdpsync_connectors.postgres.catalog import SourceColumn

EMPTY_SCALE = 9  # of a numeric without declared digits and without a value yet

TIMESTAMPTZ = "TIMESTAMP WITH TIME ZONE"
_PLAIN = {
    "bool": "BOOLEAN",
    "bytea": "BLOB",
    "date": "DATE",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "text": "VARCHAR",
    "time": "TIME",
    "uuid": "UUID",
    "varchar": "VARCHAR",
}
_TYPES = _PLAIN | {
    "json": "JSON",
    "jsonb": "JSON",
    "oid": "BIGINT",
    "timestamp": "TIMESTAMP",
    "timestamptz": TIMESTAMPTZ,
}
_RANGES = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
}
_IN_POSTGRES = {
    "TINYINT": "int2",
    "SMALLINT": "int2",
    "INTEGER": "int4",
    "BIGINT": "int8",
    "DOUBLE": "float8",
    "TIMESTAMP": "timestamp",
    TIMESTAMPTZ: "timestamptz",
}
_EXACT = "decimal(p,s), tinyint, smallint, integer, bigint"
_FROM_TEXT = f"{_EXACT}, json, uuid, date, timestamp, timestamptz, blob"
_POSSIBLE_TYPES = {
    "int2": f"{_EXACT}, double",
    "int4": f"{_EXACT}, double",
    "int8": _EXACT,
    "oid": _EXACT,
    "numeric": _EXACT,
    "float4": "double",
    "date": "timestamp",
    "timestamp": "timestamptz",
    "text": _FROM_TEXT,
    "varchar": _FROM_TEXT,
    "bpchar": _FROM_TEXT,
}
_TEXT_FORMS = {
    "UUID": ("uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"),
    "DATE": ("date", r"^\d{4}-\d\d-\d\d$"),
    "TIMESTAMP": ("timestamp", r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?$"),
    TIMESTAMPTZ: (
        "timestamptz",
        r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)$",
    ),
}
_UNHEX = "unhex(substr({x}, 3))"
_TEXTS = {"text", "varchar", "bpchar"}
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?$"


@dataclass(frozen=True, slots=True)
class ColumnExpr:
    """The expressions that read a column: `inner` for Postgres, `outer` for DuckDB, and its type.

    `outer` is None where DuckDB takes the value unchanged.
    """

    type: str
    inner: str
    outer: str | None = None


@dataclass(frozen=True, slots=True)
class MappingContext:
    """The facts beside the column itself on which its mapping depends.

    `is_guessed`: only earlier rows gave the column its type.
    """

    stream: str
    server_version: int
    nan_is_null: bool
    is_guessed: bool = False


def decimal_of(column: SourceColumn) -> tuple[int, int] | None:
    """Return the (precision, scale) that holds every value of a numeric; None if unknown."""
    if column.kind != "numeric" or column.modifier < 4:
        return None
    packed = column.modifier - 4
    precision, scale = (packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    return (precision, scale) if precision <= MAX_PRECISION else None


def is_open(column: SourceColumn) -> bool:
    """Whether only the rows show how many digits the column needs."""
    return column.kind == "numeric" and column.dimensions == 0 and decimal_of(column) is None


def natural_type(column: SourceColumn) -> str:
    """Return the column's type in the lake, unless the user sets another."""
    if is_open(column):
        return OPEN_DECIMAL
    decimal = decimal_of(column)
    element = f"DECIMAL({decimal[0]},{decimal[1]})" if decimal else _TYPES.get(column.kind)
    return (element or "VARCHAR") + "[]" * column.dimensions


def column_expr(
    column: SourceColumn, context: MappingContext, type_: str | None, alias: str
) -> ColumnExpr:
    """Return how to read a column as this type, or as its natural one, selected under an alias.

    Raises ReadError where the type cannot hold the values exactly.
    """
    target = normalized_type(type_) if type_ else natural_type(column)
    guard = Guard(context.stream, column.name, alias, context.is_guessed)
    if target == OPEN_DECIMAL:
        target = f"DECIMAL({MAX_PRECISION},{EMPTY_SCALE})"
    if target == "VARCHAR" and context.is_guessed:
        return _guessed_text(column, guard, context)
    if target == "VARCHAR" and (column.dimensions or column.kind not in _TEXTS):
        return ColumnExpr(target, _printed(column))
    if column.dimensions or target.endswith("[]"):
        expr = _list(column, guard, context, target)
    else:
        expr = _scalar(column, guard, context, target)
    if expr is None:
        raise ReadError(_inexact_message(column, context, type_ or target))
    return expr


def normalized_type(type_: str) -> str:
    """Return a type that a person wrote, in DuckDB's spelling."""
    name = " ".join(type_.upper().split())
    lists = "[]" * name.count("[]")
    name = name.replace("[]", "").strip()
    name = re.sub(r"^(?:NUMERIC|DECIMAL)\s*\(\s*(\d+)\s*\)$", r"DECIMAL(\1,0)", name)
    name = re.sub(r"^(?:NUMERIC|DECIMAL)\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)$", r"DECIMAL(\1,\2)", name)
    aliases = {"TEXT": "VARCHAR", "INT": "INTEGER", "TIMESTAMPTZ": TIMESTAMPTZ, "BOOL": "BOOLEAN"}
    return aliases.get(name, name) + lists


def _plain(column: SourceColumn) -> str:
    """Return the column as the base type of its domains; without a cast if it has no domain."""
    name = quote_name(column.name)
    if not column.domain or not column.kind:
        return name
    return f"{name}::pg_catalog.{quote_name(column.kind)}{'[]' if column.dimensions else ''}"


def _printed(column: SourceColumn) -> str:
    """Return the text that psql prints, which a cast to text may not give; NULL stays NULL."""
    return f"pg_catalog.textin({column.output}({quote_name(column.name)}))"


def _scalar(
    column: SourceColumn, guard: Guard, context: MappingContext, target: str
) -> ColumnExpr | None:
    kind, value = column.kind, _plain(column)
    if kind == "numeric":
        return _number(column, guard, context, target)
    if kind in _TEXTS:
        return _text(column, guard, target)
    if target == natural_type(column):
        if kind in _PLAIN:
            return ColumnExpr(target, value)
        if kind in {"timestamp", "timestamptz"}:
            return ColumnExpr(target, guard.timestamp(value, kind))
        if kind == "oid":
            return ColumnExpr(target, f"{value}::pg_catalog.int8")
        if kind in {"json", "jsonb"}:
            return ColumnExpr(target, f"{value}::text", guard.json())
        return ColumnExpr(target, _printed(column))
    if kind in {"int2", "int4", "int8", "oid"}:
        if target == "DOUBLE" and kind in {"int2", "int4"}:
            return ColumnExpr(target, f"{value}::float8")
        base = f"{value}::int8" if kind == "oid" else value
        return _exact_number(f"{base}::numeric", guard, target, "")
    widening = {
        ("float4", "DOUBLE"): f"{value}::float8",
        ("date", "TIMESTAMP"): guard.timestamp(f"{value}::timestamp", "timestamp"),
        ("timestamp", TIMESTAMPTZ): guard.timestamp(f"({value} at time zone 'UTC')", "timestamptz"),
    }.get((kind, target))
    return ColumnExpr(target, widening) if widening else None


def _number(
    column: SourceColumn, guard: Guard, context: MappingContext, target: str
) -> ColumnExpr | None:
    """Read a numeric: without a check if as declared, else with a guard."""
    value, declared = _plain(column), decimal_of(column)
    if declared and target == natural_type(column):
        checked = guard.without_nan(value) if not context.nan_is_null else f"nullif({value}, 'NaN')"
        return ColumnExpr(target, f"({checked})::numeric({declared[0]},{declared[1]})")
    not_finite = _not_finite(context) if not declared else "'NaN'"
    return _exact_number(value, guard, target, not_finite if context.nan_is_null else "")


def _not_finite(context: MappingContext) -> str:
    """Return the values of a numeric that no decimal has, as a list in SQL."""
    return "'NaN', 'Infinity', '-Infinity'" if context.server_version >= 140000 else "'NaN'"


def _guessed_text(column: SourceColumn, guard: Guard, context: MappingContext) -> ColumnExpr:
    """Read a numeric as text, only because no decimal holds its values.

    The text does not depend on whether the column was a decimal before: no zeros at its end, and
    NULL in place of what a decimal does not have.
    """
    value = _printed(column)
    if context.nan_is_null:
        value = f"case when {_plain(column)} in ({_not_finite(context)}) then null else {value} end"
    return ColumnExpr("VARCHAR", value, plain_number(guard.alias))


def _exact_number(value: str, guard: Guard, target: str, nulls: str) -> ColumnExpr | None:
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", target)
    if decimal:
        precision, scale = int(decimal[1]), int(decimal[2])
        if scale > precision or not 1 <= precision <= MAX_PRECISION:
            return None
        return ColumnExpr(target, guard.decimal(value, precision, scale, nulls))
    if target in _RANGES:
        low, high = _RANGES[target]
        cast = f"::{_IN_POSTGRES[target]}"
        outer = f"{guard.alias}::TINYINT" if target == "TINYINT" else None
        return ColumnExpr(target, guard.integer(value, low, high, nulls, target) + cast, outer)
    return None


def _text(column: SourceColumn, guard: Guard, target: str) -> ColumnExpr | None:
    value = _plain(column)
    if column.kind == "bpchar":
        length = column.modifier - 4
        if (
            target == "VARCHAR" and length > 0
        ):  # DuckDB adds the blanks, which is cheaper than sending them
            alias = guard.alias
            padded = f"case when length({alias}) = {length} then {alias}"
            return ColumnExpr(target, value, f"{padded} else rpad({alias}, {length}, ' ') end")
        value = _printed(column)
    if target == "VARCHAR":
        return ColumnExpr(target, value)
    if target == "JSON":
        return ColumnExpr(target, value, guard.json())
    if target == "BLOB":  # the bytes as they are stored, whatever the encoding says of them
        encoding = "pg_catalog.getdatabaseencoding()"
        return ColumnExpr(target, f"pg_catalog.convert_to({value}::text, {encoding})")
    if target in _TEXT_FORMS:
        type_, form = _TEXT_FORMS[target]
        return ColumnExpr(target, guard.matching(value, form, type_, target))
    number = guard.matching(value, _NUMBER, "numeric", target)
    return _exact_number(number, guard, target, "")


def _list(
    column: SourceColumn, guard: Guard, context: MappingContext, target: str
) -> ColumnExpr | None:
    """Read an array as a list; check its shape, because Postgres does not enforce it."""
    depth, element = target.count("[]"), target.replace("[]", "")
    if not column.dimensions or not depth:
        return None
    value = _plain(column)
    if column.kind == "numeric" and element != "VARCHAR":
        nulled = f"array_replace({value}, 'NaN', null)"
        value = nulled if context.nan_is_null else guard.list_without_nan(value)
    expr = _flat_list(column, guard, value, element)
    if expr is None:
        return None
    if depth > 1:
        expr = _deep_list(column, guard, expr, depth)
    inner = guard.shape(quote_name(column.name), depth, target, expr.inner)
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)\[\]", target)
    if decimal:  # a CASE loses the digits of its branches, and the scanner needs them
        inner = f"{inner}::numeric({decimal[1]},{decimal[2]})[]"
    return ColumnExpr(target, inner, expr.outer)


def _flat_list(column: SourceColumn, guard: Guard, value: str, element: str) -> ColumnExpr | None:
    """Return how to read an array of one dimension, without the check of its shape."""
    target, kind, natural = f"{element}[]", column.kind, natural_type(column).replace("[]", "")
    if element == "VARCHAR":
        plain = kind in {"text", "varchar"}
        return ColumnExpr(target, value if plain else text_array(column, quote_name(column.name)))
    if element == natural:
        return _natural_list(column, guard, value, target)
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", element)
    if decimal and kind in {"numeric", "int2", "int4", "int8"}:
        return ColumnExpr(
            target, guard.list_cast(value, f"numeric({decimal[1]},{decimal[2]})", target)
        )
    by_width = ["SMALLINT", "INTEGER", "BIGINT"]
    both_integers = natural in by_width and element in by_width
    if both_integers and by_width.index(element) > by_width.index(natural):
        return ColumnExpr(target, f"{value}::{_IN_POSTGRES[element]}[]")
    if element == "DOUBLE" and kind in {"int2", "int4", "float4"}:
        return ColumnExpr(target, f"{value}::float8[]")
    return None


def _natural_list(column: SourceColumn, guard: Guard, value: str, target: str) -> ColumnExpr:
    kind, decimal = column.kind, decimal_of(column)
    if decimal:
        return ColumnExpr(target, value)
    if kind == "bytea":
        outer = element_wise(guard.alias, 1, _UNHEX)
        return ColumnExpr(target, text_array(column, value), outer)
    if kind in {"json", "jsonb"}:
        return ColumnExpr(target, text_array(column, value), f"{guard.alias}::JSON[]")
    if kind in {"timestamp", "timestamptz"}:
        return ColumnExpr(target, guard.list_of_timestamps(value, kind))
    return ColumnExpr(target, f"{value}::int8[]" if kind == "oid" else value)


def _deep_list(column: SourceColumn, guard: Guard, flat: ColumnExpr, depth: int) -> ColumnExpr:
    """Return the list with more dimensions, sent as JSON, because the scanner reads only one."""
    element, lists = flat.type.removesuffix("[]"), "[]" * depth
    is_natural = element == natural_type(column).replace("[]", "") or element == "VARCHAR"
    numeric = column.kind == "numeric" and element != "VARCHAR"
    if is_natural and not numeric:
        inner = json_lists(column, text_array(column, quote_name(column.name)))
    else:
        inner = json_lists(column, f"({flat.inner})::text[]")
    outer = f"{guard.alias}::JSON::VARCHAR{lists}"
    if element == "BLOB":
        outer = element_wise(outer, depth, _UNHEX)
    elif element != "VARCHAR":
        outer = f"{outer}::{element}{lists}"
    return ColumnExpr(element + lists, inner, outer)


def _inexact_message(column: SourceColumn, context: MappingContext, type_: str) -> str:
    natural = natural_type(column).lower()
    possible = _POSSIBLE_TYPES.get(column.kind, "") if not column.dimensions else ""
    if column.dimensions:
        element = natural.replace("[]", "")
        possible = f"{element}[][] and deeper, varchar[]"
    listed = [natural.replace("?", "s"), *possible.split(", "), "varchar"]
    choices = ", ".join(dict.fromkeys(filter(None, listed)))
    return (
        f'table "{context.stream}", column "{column.name}": {column.display} cannot be read as '
        f"{type_.lower()} without loss. Possible types: {choices}."
    )
