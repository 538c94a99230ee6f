"""Changes of a column's type in Postgres that keep every value of the old rows.

`alter table … type` converts the old rows, by a cast that a person may choose (`using`). An
implicit cast refuses an integer that is too large, but it rounds numbers and seconds, pads char(n),
drops the blanks at the end of a text that is too long, and reads a naive timestamp in the session's
time zone. jsonb orders the keys of json anew.
"""

from __future__ import annotations

from cdpsync_connectors._shared.type_changes import (
    DeclaredType,
    NumberRange,
    declared_type,
    integer_range,
    keeps_digits,
    keeps_numbers,
)

_INTEGERS = {"smallint": 16, "integer": 32, "bigint": 64}
_TEXTS = ("character varying", "text", "citext")
_TIMES = {
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "time with time zone",
}
_SECOND_DIGITS = 6


def keeps_values(before: str, after: str, lake_type: str) -> bool:
    """Whether old rows keep their values in the lake; see `TypeChangeAware.keeps_values`."""
    old, new = declared_type(before), declared_type(after)
    if old == new:
        return True
    if old.lists != new.lists:
        return False
    as_text = lake_type.startswith("VARCHAR")
    old_numbers, new_numbers = _numbers(old), _numbers(new)
    if old_numbers and new_numbers:
        return keeps_numbers(old_numbers, new_numbers, as_text=as_text, may_clamp=False)
    if _is_text(old) and _is_text(new):
        return keeps_digits(old, new)
    if old.name in _TIMES and new.name == old.name:
        return _second_digits(new) >= _second_digits(old)
    if old.name in {"bit", "bit varying"} and new.name == "bit varying":
        return keeps_digits(old, new)
    pairs = {("jsonb", "json")}
    if not as_text:
        pairs |= {("real", "double precision"), ("date", "timestamp without time zone")}
    return (old.name, new.name) in pairs and not new.digits


def _numbers(type_: DeclaredType) -> NumberRange | None:
    if type_.name in _INTEGERS:
        return integer_range(_INTEGERS[type_.name])
    if type_.name != "numeric":
        return None
    if not type_.digits:
        return NumberRange(None, None)
    precision, scale = type_.digits
    return NumberRange(precision - scale, scale)


def _is_text(type_: DeclaredType) -> bool:
    return type_.name.rpartition(".")[2] in _TEXTS  # citext is in the schema of its extension


def _second_digits(type_: DeclaredType) -> int:
    return type_.digits[0] if type_.digits else _SECOND_DIGITS
