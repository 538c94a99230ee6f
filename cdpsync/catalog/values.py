"""Exact values from DuckDB: text where Python has no type for a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import duckdb
    from duckdb.sqltypes import DuckDBPyType

    Decode = Callable[[Any], object]  # Any: a fetched value of the reader's type, never None


@dataclass(frozen=True, slots=True)
class ValueReader:
    """The steps that read the values of a type: cast to `text`, cast to `type`, then decode.

    `text` and `type` are DuckDB types in SQL. A reader that is not `needed` gives the same values
    as DuckDB's own fetch.
    """

    text: str
    type: str
    decode: Decode | None = None
    needed: bool = True

    def sql(self, name: str) -> str:
        """Return the SQL expression to select instead of a column."""
        text = f"cast({name} as {self.text})"
        return text if self.text == self.type else f"cast({text} as {self.type})"


def readers_for(
    con: duckdb.DuckDBPyConnection, types: Sequence[DuckDBPyType]
) -> dict[int, ValueReader]:
    """Return the readers of the columns that need one, by the column's index.

    Inside a UNION or a VARIANT values stay as DuckDB fetches them, because their types are unknown.
    """
    readers = {index: _reader(type_) for index, type_ in enumerate(types)}
    return {
        index: reader
        for index, reader in readers.items()
        if reader.needed and _is_sql(con, reader.text)
    }


def _is_sql(con: duckdb.DuckDBPyConnection, type_: str) -> bool:
    """Whether a type has SQL; a struct without names inside a UNION has none."""
    import duckdb

    try:
        con.sqltype(type_)
    except duckdb.Error:
        return False
    return True


def _reader(type_: DuckDBPyType) -> ValueReader:
    scalar = _SCALARS.get(type_.id)
    if scalar is not None:
        return scalar
    nested = _NESTED.get(type_.id)
    return nested(type_) if nested else ValueReader(str(type_), str(type_), needed=False)


# ---- nested types: fetched as they are, with each part read by its own reader


def _children(type_: DuckDBPyType) -> list[tuple[str, Any]]:  # Any: a type, or an array's size
    return list(type_.children)


def _list(type_: DuckDBPyType) -> ValueReader:
    (_, child), *size = _children(type_)
    item, suffix = _reader(child), f"[{size[0][1] if size else ''}]"
    kind = tuple if size else list

    def decode(values: Iterable[object]) -> object:
        return kind(_decode_all(item.decode, values))

    return ValueReader(
        item.text + suffix, item.type + suffix, decode if item.decode else None, item.needed
    )


def _struct(type_: DuckDBPyType) -> ValueReader:
    """Return the reader of a struct. One without names gets some for the cast."""
    names, parts = zip(*_children(type_), strict=True)
    named = all(names)
    names = names if named else tuple(f"part{index}" for index in range(len(parts)))
    readers = [_reader(part) for part in parts]
    decoders = {
        name: reader.decode for name, reader in zip(names, readers, strict=True) if reader.decode
    }

    def decode(value: dict[str, object]) -> object:
        decoded = value | {
            name: decode_part(value[name])
            for name, decode_part in decoders.items()
            if value[name] is not None
        }
        return decoded if named else tuple(decoded.values())

    return ValueReader(
        _type_sql("STRUCT", names, [reader.text for reader in readers]),
        _type_sql("STRUCT", names, [reader.type for reader in readers]),
        decode if decoders or not named else None,
        any(reader.needed for reader in readers),
    )


def _type_sql(kind: str, names: Sequence[str], types: Sequence[str]) -> str:
    parts = (f"{quote_name(name)} {type_}" for name, type_ in zip(names, types, strict=True))
    return f"{kind}({', '.join(parts)})"


def _map(type_: DuckDBPyType) -> ValueReader:
    """Return the reader of a map: a dict, or lists of `key` and `value` if keys are nested."""
    (_, key_type), (_, value_type) = _children(type_)
    key, value = _reader(key_type), _reader(value_type)

    def decode(fetched: dict[Any, Any]) -> object:
        if key_type.id in _NESTED:
            return {
                "key": _decode_all(key.decode, fetched["key"]),
                "value": _decode_all(value.decode, fetched["value"]),
            }
        keys = _decode_all(key.decode, fetched)
        return dict(zip(keys, _decode_all(value.decode, fetched.values()), strict=True))

    return ValueReader(
        f"MAP({key.text}, {value.text})",
        f"MAP({key.type}, {value.type})",
        decode if key.decode or value.decode else None,
        key.needed or value.needed,
    )


_NESTED = {"list": _list, "array": _list, "struct": _struct, "map": _map}


# ---- scalar types


def _date(text: str) -> date | str:
    """Return a date, or DuckDB's text outside the years 1 to 9999 and for infinity."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def _timestamp(text: str) -> datetime | str:
    """Return a timestamp, or DuckDB's text outside the years 1 to 9999 and for infinity."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _with_t(text: str) -> str:
    return text.replace(" ", "T")


_DAYS = re.compile(r"(-?\d+) (year|month|day)s?")
_CLOCK = re.compile(r"(-?)(\d+):(\d+):(\d+)(\.\d+)?$")


def duration(text: str) -> str:
    """Return DuckDB's text of an interval as an ISO 8601 duration.

    Each part has its own sign, as in Postgres: `1 year -3 days 04:00:00` is `P1Y-3DT4H`.
    """
    days = "".join(f"{number}{unit[0].upper()}" for number, unit in _DAYS.findall(text))
    clock = ""
    if match := _CLOCK.search(text):
        sign, hours, minutes, seconds, fraction = match.groups(default="")
        numbers = (str(int(hours)), str(int(minutes)), f"{int(seconds)}{fraction}")
        parts = zip(numbers, "HMS", strict=True)
        clock = "".join(f"{sign}{number}{unit}" for number, unit in parts if number != "0")
    return f"P{days}{clock and f'T{clock}'}" if days or clock else "PT0S"


_SCALARS = {
    # DuckDB converts a FLOAT to the exact double; its text is the shortest that means the FLOAT.
    "float": ValueReader("VARCHAR", "DOUBLE"),
    "date": ValueReader("VARCHAR", "VARCHAR", _date),
    "timestamp": ValueReader("VARCHAR", "VARCHAR", _timestamp),
    "timestamp_s": ValueReader("VARCHAR", "VARCHAR", _timestamp),
    "timestamp_ms": ValueReader("VARCHAR", "VARCHAR", _timestamp),
    "timestamp with time zone": ValueReader("VARCHAR", "VARCHAR", _timestamp),
    "timestamp_ns": ValueReader("VARCHAR", "VARCHAR", _with_t),
    "time_ns": ValueReader("VARCHAR", "VARCHAR"),
    "interval": ValueReader("VARCHAR", "VARCHAR", duration),
}


def _decode_all(decode: Decode | None, values: Iterable[object]) -> list[object]:
    if decode is None:
        return list(values)
    return [None if value is None else decode(value) for value in values]
