r"""Values of a query as exact text: in JSON, in CSV and in a table.

| value                  | JSON                                | CSV and table             |
| ---------------------- | ----------------------------------- | ------------------------- |
| NULL                   | `null`                              | nothing; `NULL`           |
| BOOLEAN                | `true`                              | `true`                    |
| integers               | a number; text beyond 2^53          | digits                    |
| DECIMAL                | text, every digit                   | digits                    |
| FLOAT, DOUBLE          | a number; `"NaN"`, `"Infinity"`     | the same, bare            |
| DATE, TIME, TIMESTAMP  | ISO 8601 text, offset where it has  | ISO 8601                  |
| beyond years 1 to 9999 | DuckDB's text: `"infinity"`         | the same                  |
| INTERVAL               | ISO 8601 duration: `"P1M-1DT2H"`    | the same                  |
| BLOB                   | text as DuckDB casts it: `"ab\xFF"`  | the same                  |
| UUID, ENUM, BIT        | text                                | text                      |
| JSON column            | the JSON itself, digit for digit    | its text                  |
| LIST, STRUCT, MAP      | array, object, object               | the JSON                  |

`cdpsync.catalog.values` lists the types that DuckDB returns as text already.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.model import Column

LARGEST_EXACT = 2**53
"""The largest integer up to which every reader of JSON that uses doubles is exact."""

_quote = json.JSONEncoder(ensure_ascii=False).encode
_BYTES = {
    byte: chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'\"" else f"\\x{byte:02X}"
    for byte in range(256)
}


def json_of(value: object) -> str:
    """Return a value as JSON text."""
    if value is None:
        return "null"
    encode = _JSON.get(type(value))
    return encode(value) if encode else _quote(str(value))


def json_encoders(columns: Sequence[Column]) -> list[Callable[[object], str]]:
    """Return how each column's values are written as JSON."""
    return [_embedded if column.type == "JSON" else json_of for column in columns]


def csv_of(value: object) -> str | None:
    """Return a value as text for CSV; None for NULL."""
    if value is None or type(value) is str:
        return value
    text = json_of(value)
    # CSV drops the quotes of JSON text; an object or an array stays JSON.
    return json.loads(text) if text.startswith('"') else text


def cell_of(value: object) -> str | None:
    """Return a value as text for a table; None for NULL."""
    return str(value) if type(value) is datetime else csv_of(value)


def is_number(column: Column) -> bool:
    """Whether a column has numbers, which a table aligns to the right."""
    kind = column.type.partition("(")[0]
    return kind.endswith("INT") or kind in ("INTEGER", "DECIMAL", "DOUBLE", "FLOAT")


def _integer(value: int) -> str:
    return str(value) if -LARGEST_EXACT <= value <= LARGEST_EXACT else f'"{value}"'


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def _bytes(value: bytes) -> str:
    return _quote(value.decode("latin-1").translate(_BYTES))


def _interval(value: timedelta) -> str:
    """Return an interval as an ISO 8601 duration; only a UNION gives Python's own type."""
    sign = "-" if value < timedelta(0) else ""
    span = abs(value)
    minutes, seconds = divmod(span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{span.microseconds:06d}".rstrip("0") if span.microseconds else ""
    days = f"{sign}{span.days}D" if span.days else ""
    clock = "".join(f"{sign}{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if n)
    clock += f"{sign}{seconds}{fraction}S" if seconds or fraction else ""
    return f'"P{days}{"T" if clock else ""}{clock}"' if span else '"PT0S"'


def _list(value: Sequence[object]) -> str:
    return f"[{', '.join(map(json_of, value))}]"


def _object(value: Mapping[object, object]) -> str:
    pairs = (f"{_quote(csv_of(key) or 'NULL')}: {json_of(item)}" for key, item in value.items())
    return f"{{{', '.join(pairs)}}}"


def _embedded(value: object) -> str:
    """Return a JSON column's value on one line, with every digit of it."""
    if value is None:
        return "null"
    text = str(value)
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _quote(text)  # not JSON, but the whole result must be
    # JSON strings have no bare line ends, so each one here is white space between two tokens.
    return text.replace("\r", " ").replace("\n", " ")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _text_of(value: object) -> str:
    return f'"{value}"'


def _iso(value: date | time) -> str:
    return f'"{value.isoformat()}"'


_JSON: dict[type, Callable[[Any], str]] = {  # Any: each function takes its own type
    bool: lambda value: "true" if value else "false",
    int: _integer,
    float: _float,
    str: _quote,
    Decimal: lambda value: f'"{value:f}"',
    datetime: _iso,
    date: _iso,
    time: _iso,
    timedelta: _interval,
    UUID: _text_of,
    bytes: _bytes,
    list: _list,
    tuple: _list,
    dict: _object,
}
