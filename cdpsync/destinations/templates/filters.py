"""Liquid's filters, compiled to SQL: `{{ name | upcase | default: "friend" }}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cdpsync.destinations.templates.json_text import children, json_sql, text_sql
from cdpsync.errors import suggest
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duckdb.sqltypes import DuckDBPyType


@dataclass(frozen=True, slots=True)
class Typed:
    """SQL of a value, and its type."""

    sql: str
    type: DuckDBPyType

    @property
    def text(self) -> str:
        """SQL of the value as plain text."""
        return text_sql(self.sql, self.type)

    @property
    def is_text(self) -> bool:
        """Whether it is text, and not JSON."""
        return str(self.type) == "VARCHAR"


Compile: TypeAlias = "Callable[..., str]"


class FilterError(Exception):
    """A filter that is unknown, or does not fit its value or its arguments."""


@dataclass(frozen=True, slots=True)
class _Filter:
    """How a filter is compiled, and how many arguments it takes."""

    compile: Compile
    least: int = 0
    most: int = 0


def apply(name: str, value: Typed, arguments: Sequence[Typed]) -> str:
    """Return the SQL of a filter over a value; raise FilterError."""
    known = _FILTERS.get(name)
    if known is None:
        meant = suggest(name, _FILTERS)
        hint = f' Did you mean "{meant}"?' if meant else f" There are: {', '.join(_FILTERS)}"
        raise FilterError(f'there is no filter "{name}".{hint}')
    if not known.least <= len(arguments) <= known.most:
        raise FilterError(f"the filter {name} takes {_count(known)}, not {len(arguments)}")
    return f"({known.compile(value, *arguments)})"


def names() -> tuple[str, ...]:
    """Return the names of all filters."""
    return tuple(_FILTERS)


def _count(known: _Filter) -> str:
    numbers = {known.least, known.most}
    text = " or ".join(str(number) for number in sorted(numbers))
    return "no argument" if numbers == {0} else f"{text} argument{'s' * (known.most > 1)}"


def _default(value: Typed, other: Typed) -> str:
    """Replace NULL and an empty text. A value of another type than the text keeps its own."""
    if value.is_text:
        return f"coalesce(nullif({value.sql}, ''), {other.text})"
    empty = f"{value.sql} is null"
    if str(value.type) == "JSON":
        empty += f" or {value.sql}::varchar in ('null', '\"\"')"
    if value.type == other.type or not (other.is_text or str(value.type) == "JSON"):
        return f"case when {empty} then {other.sql} else {value.sql} end"
    union = f'union("value" {value.type}, "other" {other.type})'
    return (
        f'case when {empty} then union_value("other" := {other.sql})::{union} '
        f'else union_value("value" := {value.sql})::{union} end'
    )


def _text_function(template: str) -> Compile:
    """Return a filter that is SQL over the value's text, `{0}`, and those of its arguments."""

    def compile_text(value: Typed, *arguments: Typed) -> str:
        return template.format(value.text, *(argument.text for argument in arguments))

    return compile_text


def _number_function(template: str) -> Compile:
    """Return a filter that is SQL over numbers: the value, `{0}`, and its arguments."""

    def compile_number(value: Typed, *arguments: Typed) -> str:
        return template.format(value.sql, *(argument.sql for argument in arguments))

    return compile_number


def _date(value: Typed, form: Typed, zone: Typed | None = None) -> str:
    """Format a time, in UTC or another zone. Text is read as a time first."""
    if value.type.id == "time":
        raise FilterError("the filter date is for dates and timestamps, not for a time of day")
    if value.type.id == "date":
        return f"strftime({value.sql}, {form.text})"
    moment = value.text if value.type.id == "varchar" else value.sql
    zone_sql = zone.text if zone else quote_text("UTC")
    return f"strftime(timezone({zone_sql}, {moment}::timestamptz), {form.text})"


def _size(value: Typed) -> str:
    """Count characters of a text, elements of a list, members of an object."""
    if str(value.type) == "JSON":
        return (
            f"case json_type({value.sql}) when 'ARRAY' then json_array_length({value.sql}) "
            f"when 'OBJECT' then len(json_keys({value.sql})) "
            f"else length({value.text}) end"
        )
    if value.type.id in ("list", "array"):
        return f"len({value.sql})"
    return f"cardinality({value.sql})" if value.type.id == "map" else f"length({value.text})"


def _list_of(value: Typed) -> str:
    """Return a list's elements as texts; JSON may be a list, too."""
    if str(value.type) == "JSON":
        return f"json_extract_string({value.sql}, '$[*]')"
    if value.type.id not in ("list", "array"):
        raise FilterError(f"this filter is for lists, and the value is {value.type}")
    element = children(value.type)[0][1]
    return f"list_transform({value.sql}, lambda part: {text_sql('part', element)})"


def _join(value: Typed, separator: Typed | None = None) -> str:
    """Join the elements of a list; NULL is left out."""
    return f"array_to_string({_list_of(value)}, {separator.text if separator else quote_text(' ')})"


def _element(index: int) -> Compile:
    def compile_element(value: Typed) -> str:
        if value.type.id in ("list", "array"):
            return f"list_extract({value.sql}, {index})"
        return f"list_extract({_list_of(value)}, {index})"

    return compile_element


def _round(value: Typed, digits: Typed | None = None) -> str:
    """Round to so many digits; a decimal stays one."""
    return f"round({value.sql}, {digits.sql})" if digits else f"round({value.sql})"


def _base64(value: Typed) -> str:
    binary = value.sql if value.type.id == "blob" else f"encode({value.text})"
    return f"to_base64({binary})"


def _digest(function: str) -> Compile:
    def compile_digest(value: Typed) -> str:
        return f"{function}({value.sql if value.type.id == 'blob' else value.text})"

    return compile_digest


_FILTERS = {
    "default": _Filter(_default, 1, 1),
    "upcase": _Filter(_text_function("upper({0})")),
    "downcase": _Filter(_text_function("lower({0})")),
    "capitalize": _Filter(_text_function("upper(left({0}, 1)) || lower(substr({0}, 2))")),
    "strip": _Filter(_text_function(r"regexp_replace({0}, '^\s+|\s+$', '', 'g')")),
    "lstrip": _Filter(_text_function(r"regexp_replace({0}, '^\s+', '')")),
    "rstrip": _Filter(_text_function(r"regexp_replace({0}, '\s+$', '')")),
    "append": _Filter(_text_function("concat({0}, {1})"), 1, 1),
    "prepend": _Filter(_text_function("concat({1}, {0})"), 1, 1),
    "replace": _Filter(_text_function("replace({0}, {1}, {2})"), 2, 2),
    "remove": _Filter(_text_function("replace({0}, {1}, '')"), 1, 1),
    "truncate": _Filter(
        _text_function(
            "case when length({0}) > {1}::int then left({0}, {1}::int - 1) || '…' else {0} end"
        ),
        1,
        1,
    ),
    "split": _Filter(_text_function("string_split({0}, {1})"), 1, 1),
    "join": _Filter(_join, 0, 1),
    "first": _Filter(_element(1)),
    "last": _Filter(_element(-1)),
    "size": _Filter(_size),
    "date": _Filter(_date, 1, 2),
    "round": _Filter(_round, 0, 1),
    "ceil": _Filter(_number_function("ceil({0})")),
    "floor": _Filter(_number_function("floor({0})")),
    "abs": _Filter(_number_function("abs({0})")),
    "plus": _Filter(_number_function("{0} + {1}"), 1, 1),
    "minus": _Filter(_number_function("{0} - {1}"), 1, 1),
    "times": _Filter(_number_function("{0} * {1}"), 1, 1),
    "divided_by": _Filter(_number_function("{0} / {1}"), 1, 1),
    "json": _Filter(lambda value: json_sql(value.sql, value.type)),
    "sha256": _Filter(_digest("sha256")),
    "sha1": _Filter(_digest("sha1")),
    "md5": _Filter(_digest("md5")),
    "base64": _Filter(_base64),
    "url_encode": _Filter(_text_function("url_encode({0})")),
}
