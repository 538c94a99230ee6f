"""JSON records as Python reads them: a strict reader without DuckDB."""

from __future__ import annotations

import codecs
import json
import math
from decimal import Decimal
from typing import Any

from support.file_dialects import UnreadableError

BLANK = b" \t\r\n\x0b\x0c"  # white space that may stand around a record


class Pairs(list[tuple[str, Any]]):
    """An object as pairs of key and value, in which repeated keys remain."""


def read_json_records(content: bytes) -> list[dict[str, Any]]:
    """Return each record's values by key: of lines, else of one list, or of records in a row.

    Raises UnreadableError if one of them is not one object.
    """
    lines = [line.strip(BLANK) for line in content.split(b"\n") if line.strip(BLANK)]
    try:
        return _records([parse(_decoded(line)) for line in lines])
    except UnreadableError:
        return _records(_documents(_decoded(content.removeprefix(codecs.BOM_UTF8))))


_SPACE = BLANK.decode()
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, object_pairs_hook=Pairs)


def _documents(text: str) -> list[Any]:
    """Return the values of one list, or those that stand one behind another."""
    text = text.lstrip(_SPACE)
    if text.startswith("["):
        return _items(text[1:].lstrip(_SPACE))
    documents: list[Any] = []
    while text:
        document, text = _next_value(text)
        documents.append(document)
    return documents


def _items(text: str) -> list[Any]:
    """Return the values of a list, by its text behind the bracket."""
    items = []
    while items or not text.startswith("]"):
        item, text = _next_value(text)
        items.append(item)
        if text.startswith("]"):
            break
        if not text.startswith(","):
            raise UnreadableError("neither a comma nor the end of the list")
        text = text[1:].lstrip(_SPACE)
    if text[1:].strip(_SPACE):
        raise UnreadableError("text behind the list")
    return items


def _next_value(text: str) -> tuple[Any, str]:
    """Return the value that a text begins with, and the text behind it without white space."""
    try:
        value, end = _DECODER.raw_decode(text)
    except ValueError as error:
        raise UnreadableError(str(error)) from error
    return value, text[end:].lstrip(_SPACE)


def _records(parsed: list[Any]) -> list[dict[str, Any]]:
    records = []
    for record in parsed:
        if not isinstance(record, Pairs):
            raise UnreadableError("not an object")
        keys = [key for key, _ in record]
        if len(set(keys)) < len(keys) or "" in keys:
            raise UnreadableError("keys that are not distinct, or empty")
        records.append(dict(record))
    return records


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeError as error:
        raise UnreadableError(str(error)) from error


def parse(text: str) -> Any:
    """Return a JSON value with exact numbers: Decimals; floats only for NaN and infinity."""
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=Pairs)
    except ValueError as error:
        raise UnreadableError(str(error)) from error


def is_json_value(value: object, type_: str, parsed: Any) -> bool:
    """Whether a landed value is the one that Python reads from the JSON, by its column's type."""
    if parsed is None or value is None:
        return value is None and parsed is None
    if type_ == "JSON":
        return isinstance(value, str) and _same(parse(value), parsed)
    if type_ == "VARCHAR":
        return isinstance(parsed, str) and value == parsed
    if type_ == "BOOLEAN":
        return value is parsed
    if isinstance(parsed, float):  # NaN or infinity
        return isinstance(value, float) and repr(value) == repr(parsed)
    if not isinstance(parsed, Decimal) or isinstance(value, bool):
        return False
    if type_ == "DOUBLE":
        return isinstance(value, float) and repr(value) == repr(float(parsed))
    return isinstance(value, int | Decimal) and Decimal(value) == parsed


def _same(left: Any, right: Any) -> bool:
    """Whether two values are equal with the digits of their numbers; NaN is equal to NaN."""
    if isinstance(left, list) and isinstance(right, list):
        return (
            type(left) is type(right)
            and len(left) == len(right)
            and all(_same(one, other) for one, other in zip(left, right, strict=True))
        )
    if isinstance(left, tuple) and isinstance(right, tuple):
        return left[0] == right[0] and _same(left[1], right[1])
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and repr(left) == repr(right)
