"""Values on their way from DuckDB to Python: exact, and text where Python has no place for them."""

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

    Decode = Callable[[Any], object]  # Any: each takes what its type is fetched as, never None


@dataclass(frozen=True, slots=True)
class ValueReader:
    """How the values of a type are fetched: cast to `text`, from there to `type`, then decoded.

    Both are DuckDB types that are written as they can be read. A way that is not `needed` gives
    what DuckDB hands out by itself.
    """

    text: str
    type: str
    decode: Decode | None = None
    needed: bool = True

    def sql(self, name: str) -> str:
        """Return what is to be selected in place of a column."""
        text = f"cast({name} as {self.text})"
        return text if self.text == self.type else f"cast({text} as {self.type})"


def readers_for(
    con: duckdb.DuckDBPyConnection, types: Sequence[DuckDBPyType]
) -> dict[int, ValueReader]:
    """Return how the columns of these types are fetched: those that need it, by their place.

    Inside a UNION or a VARIANT values stay as DuckDB hands them out: nothing tells of what type
    they were.
    """
    ways = {place: _way(type_) for place, type_ in enumerate(types)}
    return {place: way for place, way in ways.items() if way.needed and _is_sql(con, way.text)}


def _is_sql(con: duckdb.DuckDBPyConnection, type_: str) -> bool:
    """Whether a type can be written: one of a struct without names, inside a UNION, cannot."""
    import duckdb

    try:
        con.sqltype(type_)
    except duckdb.Error:
        return False
    return True


def _way(type_: DuckDBPyType) -> ValueReader:
    leaf = _LEAVES.get(type_.id)
    if leaf is not None:
        return leaf
    nested = _NESTED.get(type_.id)
    return nested(type_) if nested else ValueReader(str(type_), str(type_), needed=False)


# ---- what holds others: fetched as it is, of parts that are fetched in their way


def _children(type_: DuckDBPyType) -> list[tuple[str, Any]]:  # Any: a type, or an array's size
    return list(type_.children)


def _list(type_: DuckDBPyType) -> ValueReader:
    (_, child), *size = _children(type_)
    way, sign = _way(child), f"[{size[0][1] if size else ''}]"
    kind = tuple if size else list

    def decode(values: Iterable[object]) -> object:
        return kind(_all(way.decode, values))

    return ValueReader(way.text + sign, way.type + sign, decode if way.decode else None, way.needed)


def _struct(type_: DuckDBPyType) -> ValueReader:
    """Return the way of a struct; one without names has some while it is cast."""
    names, parts = zip(*_children(type_), strict=True)
    named = all(names)
    names = names if named else tuple(f"part{at}" for at in range(len(parts)))
    ways = [_way(part) for part in parts]
    decoders = {n: way.decode for n, way in zip(names, ways, strict=True) if way.decode}

    def decode(value: dict[str, object]) -> object:
        found = {n: one(value[n]) for n, one in decoders.items() if value[n] is not None}
        decoded = value | found
        return decoded if named else tuple(decoded.values())

    return ValueReader(
        _written("STRUCT", names, [way.text for way in ways]),
        _written("STRUCT", names, [way.type for way in ways]),
        decode if decoders or not named else None,
        any(way.needed for way in ways),
    )


def _written(kind: str, names: Sequence[str], types: Sequence[str]) -> str:
    parts = (f"{quote_name(name)} {type_}" for name, type_ in zip(names, types, strict=True))
    return f"{kind}({', '.join(parts)})"


def _map(type_: DuckDBPyType) -> ValueReader:
    """Return the way of a map: a dict, or lists of `key` and `value` where a key is no scalar."""
    (_, key_type), (_, value_type) = _children(type_)
    key, value = _way(key_type), _way(value_type)

    def decode(held: dict[Any, Any]) -> object:
        if key_type.id in _NESTED:
            keys, values = held["key"], held["value"]
            return {"key": _all(key.decode, keys), "value": _all(value.decode, values)}
        return dict(zip(_all(key.decode, held), _all(value.decode, held.values()), strict=True))

    return ValueReader(
        f"MAP({key.text}, {value.text})",
        f"MAP({key.type}, {value.type})",
        decode if key.decode or value.decode else None,
        key.needed or value.needed,
    )


_NESTED = {"list": _list, "array": _list, "struct": _struct, "map": _map}


# ---- what stands alone


def _date(text: str) -> date | str:
    """Return a date; DuckDB's text outside the years 1 to 9999, and of infinity."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def _moment(text: str) -> datetime | str:
    """Return a timestamp; DuckDB's text outside the years 1 to 9999, and of infinity."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _with_t(text: str) -> str:
    return text.replace(" ", "T")


_DAYS = re.compile(r"(-?\d+) (year|month|day)s?")
_CLOCK = re.compile(r"(-?)(\d+):(\d+):(\d+)(\.\d+)?$")


def duration(text: str) -> str:
    """Return an interval, as DuckDB writes it, as an ISO 8601 duration.

    Each part has its own sign, as in Postgres: `1 year -3 days 04:00:00` is `P1Y-3DT4H`.
    """
    days = "".join(f"{number}{unit[0].upper()}" for number, unit in _DAYS.findall(text))
    clock = ""
    if found := _CLOCK.search(text):
        sign, hours, minutes, seconds, fraction = found.groups(default="")
        numbers = (str(int(hours)), str(int(minutes)), f"{int(seconds)}{fraction}")
        said = zip(numbers, "HMS", strict=True)
        clock = "".join(f"{sign}{number}{unit}" for number, unit in said if number != "0")
    return f"P{days}{clock and f'T{clock}'}" if days or clock else "PT0S"


_LEAVES = {
    # DuckDB hands out a FLOAT as the double next to it; its own text is the shortest that means it.
    "float": ValueReader("VARCHAR", "DOUBLE"),
    "date": ValueReader("VARCHAR", "VARCHAR", _date),
    "timestamp": ValueReader("VARCHAR", "VARCHAR", _moment),
    "timestamp_s": ValueReader("VARCHAR", "VARCHAR", _moment),
    "timestamp_ms": ValueReader("VARCHAR", "VARCHAR", _moment),
    "timestamp with time zone": ValueReader("VARCHAR", "VARCHAR", _moment),
    "timestamp_ns": ValueReader("VARCHAR", "VARCHAR", _with_t),
    "time_ns": ValueReader("VARCHAR", "VARCHAR"),
    "interval": ValueReader("VARCHAR", "VARCHAR", duration),
}


def _all(decode: Decode | None, values: Iterable[object]) -> list[object]:
    if decode is None:
        return list(values)
    return [None if value is None else decode(value) for value in values]
