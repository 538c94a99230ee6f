"""DuckDB values as JSON text and as plain text, exactly, in SQL.

JSON text is concatenated, because DuckDB's JSON functions put numbers through a double: of 4,000
random decimals `json_object` in `json_object` changed 48 %. A column of type JSON is its own text.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, cast

from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from duckdb.sqltypes import DuckDBPyType

_INTEGERS = frozenset({
    "tinyint", "smallint", "integer", "bigint", "hugeint",
    "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint", "bignum",
})  # fmt: skip
_FITS_DOUBLE = frozenset({
    "tinyint", "smallint", "integer", "utinyint", "usmallint", "uinteger",
})  # fmt: skip
_FLOATS = frozenset({"float", "double"})
_TIMESTAMPS = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_us"})
_PLAIN = frozenset({"date", "time", "time_ns", "time with time zone", "interval", "uuid", "bit"})
_LISTS = frozenset({"list", "array"})
_LARGEST_EXACT = 2**53 - 1

_NUMBER = quote_text(r'("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)')
_CHANGED = quote_text(r"[0-9][0-9.]{15}|\.[0-9]*0([^0-9]|$)|[0-9][eE]")  # what a double may change
_NONCE = secrets.token_hex(16)  # no row has it, because it leaves no statement

_RFC_3339 = "'%Y-%m-%dT%H:%M:%S.%fZ'"
_JSON_STRING = quote_text(r'"(?:[^"\\]|\\.)*"')
_NOT_STRICT = quote_text(r"(?i)nan|inf|,\s*[\]}]")

NOT_A_NUMBER = "NaN and Infinity are no numbers in JSON"
NOT_A_TIME = "a time in JSON has a year from 1 to 9999"
NOT_JSON = "its text is not valid JSON"


def children(type_: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """Return the fields of a struct or a union, the element of a list, key and value of a map."""
    return [(name, cast("DuckDBPyType", child)) for name, child in type_.children]


def text_sql(sql: str, type_: DuckDBPyType) -> str:
    """Return SQL of a value as plain text; NULL stays NULL.

    Times are RFC 3339 in UTC, binary values base64, lists and structs their JSON.
    """
    name = type_.id
    if str(type_) == "JSON":
        return json_as_text(sql)
    if name == "varchar":
        return sql
    if name == "decimal":
        return _decimal(sql, type_)
    if name == "blob":
        return f"to_base64({sql})"
    if name in _TIMESTAMPS or name.startswith("timestamp"):
        return _timestamp(sql, name)
    if name == "union":
        return _by_tag(sql, type_, text_sql)
    if name in _LISTS or name in ("struct", "map"):
        return nullable_json(sql, type_)
    return f"{sql}::varchar"


def json_as_text(sql: str) -> str:
    """Return a JSON value as text: a string without its quotes, anything else as it is written."""
    return (
        f"case when starts_with(ltrim({sql}::varchar), '\"') then {sql} ->> '$' "
        f"when {sql}::varchar = 'null' then null else {sql}::varchar end"
    )


def json_sql(sql: str, type_: DuckDBPyType, *, big_as_text: bool = False) -> str:
    """Return SQL of a value's JSON text, which is never NULL.

    `big_as_text`: integers beyond 2^53 are strings. The SQL of the value is repeated, so it should
    be a name.
    """
    return f"coalesce({nullable_json(sql, type_, big_as_text=big_as_text)}, 'null')"


def nullable_json(sql: str, type_: DuckDBPyType, *, big_as_text: bool = False) -> str:
    """Return SQL of a value's JSON text; NULL stays NULL."""
    name = type_.id
    if str(type_) == "JSON":
        return f"{sql}::varchar"
    if _is_exact_in_to_json(type_, big_as_text=big_as_text):
        return f"to_json({sql})::varchar"
    if name in _INTEGERS:
        return _integer(sql) if big_as_text and name not in _FITS_DOUBLE else f"{sql}::varchar"
    if name == "decimal":
        number = _decimal(sql, type_)
        whole = dict(type_.children)["scale"] == 0
        return _integer(sql) if big_as_text and whole else number
    if name in _FLOATS:
        return f"case when not isfinite({sql}) then null else {sql}::varchar end"
    if name == "struct":
        return _struct(sql, type_, big_as_text=big_as_text)
    if name in _LISTS:
        return _list(sql, type_, big_as_text=big_as_text)
    if name == "map":
        return map_sql(sql, type_, big_as_text=big_as_text)
    if name == "union":
        return _by_tag(sql, type_, lambda x, t: nullable_json(x, t, big_as_text=big_as_text))
    if name == "variant":
        return f"{sql}::json::varchar"
    if name in _PLAIN or name.startswith("timestamp"):
        return f"'\"' || {text_sql(sql, type_)} || '\"'"
    return f"to_json({text_sql(sql, type_)})::varchar"


def _is_exact_in_to_json(type_: DuckDBPyType, *, big_as_text: bool) -> bool:
    """Whether DuckDB's to_json writes a type as it should, and faster than text put together."""
    name = type_.id
    if str(type_) == "JSON":
        return False
    if name in ("varchar", "boolean", "enum", "uuid"):
        return True
    if name in _INTEGERS:
        return name != "bignum" and (name in _FITS_DOUBLE or not big_as_text)
    if name == "struct":
        return all(
            field and _is_exact_in_to_json(child, big_as_text=big_as_text)
            for field, child in children(type_)
        )
    if name in _LISTS:
        return _is_exact_in_to_json(_element(type_), big_as_text=big_as_text)
    return False


def _element(type_: DuckDBPyType) -> DuckDBPyType:
    return dict(children(type_))["child"]


def _integer(sql: str) -> str:
    small = f"{sql} between -{_LARGEST_EXACT} and {_LARGEST_EXACT}"
    return f"case when {small} then {sql}::varchar else '\"' || {sql}::varchar || '\"' end"


def _decimal(sql: str, type_: DuckDBPyType) -> str:
    """Return a decimal's digits. DuckDB leaves out the 0 of 0.58 where all digits are decimals."""
    parts = dict(type_.children)
    if parts["precision"] != parts["scale"]:
        return f"{sql}::varchar"
    return f"replace(case when {sql} < 0 then '' else '0' end || {sql}::varchar, '-.', '-0.')"


def _timestamp(sql: str, name: str) -> str:
    """Return RFC 3339 in UTC. A timestamp without a zone is taken as one in UTC."""
    if name == "timestamp with time zone":
        return f"strftime(timezone('UTC', {sql}), {_RFC_3339})"
    if name == "timestamp_ns":  # %n of strftime writes garbage behind it (DuckDB 1.5.5)
        return f"replace({sql}::varchar, ' ', 'T') || 'Z'"
    return f"strftime({sql}::timestamp, {_RFC_3339})"


def _variable(sql: str) -> str:
    """Return the name of a lambda's parameter that the SQL does not have yet."""
    depth = 0
    while f"item{depth}" in sql:
        depth += 1
    return f"item{depth}"


def _list(sql: str, type_: DuckDBPyType, *, big_as_text: bool) -> str:
    element = _element(type_)
    if type_.id == "array":
        sql = f"{sql}::{element}[]"
    item = _variable(sql)
    element_json = json_sql(item, element, big_as_text=big_as_text)
    items = f"list_transform({sql}, lambda {item}: {element_json})"
    return f"'[' || array_to_string({items}, ',') || ']'"


def _struct(sql: str, type_: DuckDBPyType, *, big_as_text: bool) -> str:
    members = (
        f"{quote_text((',' if index else '') + key_text(name) + ':')}, "
        + json_sql(field_sql(sql, name), child, big_as_text=big_as_text)
        for index, (name, child) in enumerate(children(type_))
    )
    body = f"concat('{{', {', '.join(members)}, '}}')"
    return f"case when {sql} is null then null else {body} end"


def field_sql(sql: str, name: str) -> str:
    """Return SQL of a field of a struct."""
    return f"struct_extract({sql}, {quote_text(name)})"


def map_sql(
    sql: str,
    type_: DuckDBPyType,
    *,
    big_as_text: bool = False,
    without: Iterable[str] = (),
) -> str:
    """Return SQL of a map as a JSON object, with or without some of its keys."""
    parts = dict(children(type_))
    entry = _variable(sql)
    entries = f"map_entries({sql})"
    key = text_sql(f"{entry}.key", parts["key"])
    if left_out := ", ".join(map(quote_text, without)):
        entries = f"list_filter({entries}, lambda {entry}: {key} not in ({left_out}))"
    value = json_sql(f"{entry}.value", parts["value"], big_as_text=big_as_text)
    members = f"list_transform({entries}, lambda {entry}: to_json({key}) || ':' || {value})"
    return f"'{{' || array_to_string({members}, ',') || '}}'"


def _by_tag(
    sql: str,
    type_: DuckDBPyType,
    convert: Callable[[str, DuckDBPyType], str],
) -> str:
    members = [(name, child) for name, child in children(type_) if name]
    cases = " ".join(
        f"when {quote_text(name)} then "
        + convert(f"union_extract({sql}, {quote_text(name)})", child)
        for name, child in members
    )
    return f"case union_tag({sql})::varchar {cases} end"


def key_text(key: str) -> str:
    """Return the name of a member as JSON text."""
    return json.dumps(key, ensure_ascii=False)


def numbers_as_text(text: str) -> str:
    """Return SQL of JSON text in which numbers are strings that begin with a nonce.

    DuckDB takes a value out of JSON through a double, and a string as it is. Control characters
    mark the numbers' ends at first, because no valid JSON has them.
    """
    marked = f"regexp_replace({text}, {_NUMBER}, '\\1' || chr(1) || '\\2' || chr(2), 'g')"
    numbers = f"replace({marked}, chr(1) || chr(2), '')"
    return f"replace(replace({numbers}, chr(1), '\"{_NONCE}'), chr(2), '\"')"


def text_as_numbers(text: str) -> str:
    """Return SQL of the JSON text that `numbers_as_text` was given, or a part of it."""
    return f"regexp_replace({text}, '\"{_NONCE}([^\"]*)\"', '\\1', 'g')"


def member_sql(sql: str, path: Sequence[str]) -> str:
    """Return SQL of the value at a path of JSON, with all digits of its numbers."""
    parts = (part.replace("~", "~0").replace("/", "~1") for part in path)
    pointer = quote_text("".join(f"/{part}" for part in parts))
    value = f"json_extract({numbers_as_text(f'{sql}::varchar')}, {pointer})::varchar"
    return (
        f"case when regexp_matches({sql}::varchar, {_CHANGED}) "
        f"then {text_as_numbers(value)}::json else json_extract({sql}, {pointer}) end"
    )


def faults(sql: str, type_: DuckDBPyType) -> dict[str, str]:
    """Return why a value may have no JSON text, each reason with the SQL that tells."""
    name = type_.id
    if str(type_) == "JSON":
        return {NOT_JSON: _not_json(sql)}
    if name in _FLOATS:
        return {NOT_A_NUMBER: f"not isfinite({sql})"}
    if name == "date" or name.startswith("timestamp"):
        return {NOT_A_TIME: _not_a_time(sql, name)}
    if name == "struct":
        fields = [faults(field_sql(sql, field), child) for field, child in children(type_)]
        return _either(fields)
    if name in _LISTS:
        return _of_elements(sql, _element(type_))
    if name == "map":
        return _of_elements(f"map_values({sql})", dict(children(type_))["value"])
    if name == "union":
        members = [
            faults(f"union_extract({sql}, {quote_text(tag)})", child)
            for tag, child in children(type_)
            if tag
        ]
        return _either(members)
    return {}


def _not_a_time(sql: str, name: str) -> str:
    """Return SQL that tells a time that RFC 3339 cannot write, infinity among them."""
    if name == "date":
        return f"{sql} not between date '0001-01-01' and date '9999-12-31'"
    if name == "timestamp_ns":  # from 1677 to 2262
        return f"not isfinite({sql})"
    type_ = "timestamptz" if name == "timestamp with time zone" else "timestamp"
    first, last = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
    zone = "+00" if type_ == "timestamptz" else ""
    return f"{sql} not between {type_} '{first}{zone}' and {type_} '{last}{zone}'"


def _not_json(sql: str) -> str:
    """Return SQL that tells a text that only DuckDB takes for JSON: NaN, a comma at the end."""
    text = f"{sql}::varchar"
    suspicious = f"regexp_matches({text}, {_NOT_STRICT})"
    outside = f"regexp_replace({text}, {_JSON_STRING}, '\"\"', 'g')"
    return (
        f"(not json_valid({text}) or ({suspicious} and regexp_matches({outside}, {_NOT_STRICT})))"
    )


def _of_elements(sql: str, element: DuckDBPyType) -> dict[str, str]:
    item = _variable(sql)
    return {
        reason: f"list_contains(list_transform({sql}, lambda {item}: {fault}), true)"
        for reason, fault in faults(item, element).items()
    }


def _either(several: Iterable[dict[str, str]]) -> dict[str, str]:
    merged: dict[str, list[str]] = {}
    for reasons in several:
        for reason, fault in reasons.items():
            merged.setdefault(reason, []).append(f"coalesce({fault}, false)")
    return {reason: f"({' or '.join(conditions)})" for reason, conditions in merged.items()}
