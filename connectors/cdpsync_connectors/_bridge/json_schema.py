"""The JSON schema of a stream as columns: which types it declares, and which only rows tell.

| in the schema | in the lake |
| --- | --- |
| string; with a format date-time, date | VARCHAR; TIMESTAMP WITH TIME ZONE, DATE |
| date-time without time zone, as Airbyte marks it | TIMESTAMP |
| integer; boolean | BIGINT; BOOLEAN |
| object, array | JSON |
| number, several types, none | as the rows have them: decimals exact |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.model import Column
from cdpsync.model.types import OPEN_DECIMAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TIME = "TIMESTAMP WITH TIME ZONE"
_TYPES = {"integer": "BIGINT", "boolean": "BOOLEAN", "object": "JSON", "array": "JSON"}
_TEXTS = {"date-time": _TIME, "date": "DATE"}
_NAIVE = "timestamp_without_timezone"


def columns_of(
    schema: Mapping[str, Any],  # Any: a JSON schema, as a program writes it
    key: Iterable[str],
) -> tuple[tuple[Column, ...], dict[str, str]]:
    """Return the columns of a schema, and the types that it declares of them."""
    properties = schema.get("properties")
    columns, declared, keys = [], {}, set(key)
    for name, definition in (properties if isinstance(properties, dict) else {}).items():
        kinds = set(_kinds(definition)) - {"null"}
        type_ = _declared(kinds)
        if type_ is not None:
            declared[name] = type_
        shown = type_ or (OPEN_DECIMAL if kinds and kinds <= {"number", "integer"} else "JSON")
        columns.append(Column(name, shown, name not in keys, ", ".join(sorted(kinds))))
    return tuple(columns), declared


def _declared(kinds: set[str]) -> str | None:
    """Return the type that all of these kinds mean; None where only the rows can tell."""
    if len(kinds) == 2 and "string" in kinds:  # a text that should be a time
        (other,) = kinds - {"string"}
        return _text_type(other)
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    return "VARCHAR" if kind == "string" else _TYPES.get(kind) or _text_type(kind)


def _text_type(kind: str) -> str | None:
    return "TIMESTAMP" if kind == _NAIVE else _TEXTS.get(kind)


def _kinds(definition: object) -> Iterable[str]:
    """Go through the kinds of a property: JSON's types, or the formats of texts that are times."""
    if not isinstance(definition, dict):
        return
    for name in ("anyOf", "oneOf", "allOf"):
        for part in definition.get(name) or ():
            yield from _kinds(part)
    types = definition.get("type") or []
    for type_ in [types] if isinstance(types, str) else types:
        format_ = definition.get("format")
        if type_ == "string" and definition.get("airbyte_type") == _NAIVE:
            yield _NAIVE
        elif type_ == "string" and format_ in _TEXTS:
            yield str(format_)
        else:
            yield str(type_)
