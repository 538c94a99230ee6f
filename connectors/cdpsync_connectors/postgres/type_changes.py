"""Changes of a column's type in Postgres that keep every value of the old rows.

`alter table … type` converts the old rows, by a cast that a person may choose (`using`). An
implicit cast refuses an integer that is too large, but it rounds numbers and seconds, pads char(n),
drops the blanks at the end of a text that is too long, and reads a naive timestamp in the session's
time zone. jsonb orders the keys of json anew.

A domain is its base type here, and an enum its labels, because a name of either can change while
each value stays. A label that was renamed is another value in each old row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

# As the catalog displays a type: a name, in quotes where it is an odd one, what a domain stands
# for, and the labels of an enum. Earlier versions saved the name alone.
_NAME = r"""(?:"(?:[^"]|"")*"|(?! domain | enum\()[^"])+"""
_DISPLAY = re.compile(
    rf"(?P<name>{_NAME})(?: domain (?P<base>{_NAME}))?(?: enum\((?P<labels>.*)\))?", re.DOTALL
)
_LABEL = re.compile(r"E?'(?:[^']|'')*'")


@dataclass(frozen=True, slots=True)
class _UserType:
    """A type by its name, the type that it stands for, and its labels if that is an enum."""

    name: str
    type: DeclaredType
    labels: tuple[str, ...] | None


def keeps_values(before: str, after: str, lake_type: str) -> bool:
    """Whether old rows keep their values in the lake; see `TypeChangeAware.keeps_values`."""
    before_type, after_type = _user_type(before), _user_type(after)
    if before_type.name == before and before_type.name == after_type.name:
        return True  # an earlier version saved no more than the name
    old, new = before_type.type, after_type.type
    if before_type.labels is not None and after_type.labels is not None:
        return old.lists == new.lists and _in_order(before_type.labels, after_type.labels)
    if old == new:
        return before_type.labels == after_type.labels
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


def _user_type(display: str) -> _UserType:
    match = _DISPLAY.fullmatch(display)
    if match is None:
        return _UserType(display, declared_type(display), None)
    labels = None if match["labels"] is None else tuple(_LABEL.findall(match["labels"]))
    return _UserType(match["name"], declared_type(match["base"] or match["name"]), labels)


def _in_order(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """Whether each old label is a label, in the same order, which only renamed ones can change."""
    remaining = iter(new)
    return all(label in remaining for label in old)


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
