"""Changes of a column's type in MySQL that keep every value of the old rows.

Without a strict `sql_mode`, `alter table … modify` replaces a value that does not fit by the
nearest one that does. So only a type that holds every value of the old one counts.
"""

from __future__ import annotations

import re

from cdpsync_connectors._shared.type_changes import (
    DeclaredType,
    NumberRange,
    declared_type,
    integer_range,
    keeps_digits,
    keeps_numbers,
)

_INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_MEMBER = re.compile(r"'((?:[^']|'')*)'")
_LARGE_TEXTS = ("tinytext", "text", "mediumtext", "longtext")
_LARGE_BYTES = ("tinyblob", "blob", "mediumblob", "longblob")
_TINY = 63  # characters of four bytes, which always fit 255 bytes
_TINY_BYTES = 255


def keeps_values(before: str, after: str, lake_type: str) -> bool:
    """Whether old rows keep their values in the lake; see `TypeChangeAware.keeps_values`."""
    old, new = _declared(before), _declared(after)
    if old == new:
        return True
    if before.startswith(("enum(", "set(")):
        return _keeps_members(before, after)
    as_text = lake_type == "VARCHAR"
    old_numbers, new_numbers = _numbers(old), _numbers(new)
    if old_numbers and new_numbers:
        return keeps_numbers(old_numbers, new_numbers, as_text=as_text, may_clamp=True)
    if old.name in {"datetime", "timestamp", "time"} and new.name == old.name:
        return _first(new) >= _first(old)
    if (old.name, new.name) in {("float", "double"), ("date", "datetime")}:
        return not as_text and (old.name != "float" or not (old.digits or new.digits))
    if old.name == new.name == "bit":
        return keeps_digits(old, new) and lake_type == "UBIGINT"
    texts = _keeps_text(old, new, ("char", "varchar"), _LARGE_TEXTS, _TINY)
    return texts or _keeps_text(old, new, ("varbinary",), _LARGE_BYTES, _TINY_BYTES)


def _declared(display: str) -> DeclaredType:
    """Return a type without its comment, and integers without their display width."""
    text = re.sub(r"/\*.*?\*/| zerofill", "", display.lower()).strip()
    type_ = declared_type(text)
    is_integer = type_.name.removesuffix(" unsigned") in _INTEGERS
    return DeclaredType(type_.name) if is_integer else type_


def _numbers(type_: DeclaredType) -> NumberRange | None:
    name = type_.name.removesuffix(" unsigned")
    is_unsigned = name != type_.name
    if name in _INTEGERS:
        return integer_range(_INTEGERS[name], signed=not is_unsigned)
    if name != "decimal" or is_unsigned:
        return None
    precision, scale = type_.digits if len(type_.digits) == 2 else (10, 0)
    return NumberRange(precision - scale, scale)


def _keeps_members(before: str, after: str) -> bool:
    """Whether an enum or a set becomes one that has its members too, or a text with room."""
    kind = before.partition("(")[0]
    members = [match.replace("''", "'") for match in _MEMBER.findall(before)]
    if after.startswith(f"{kind}("):
        return set(members) <= {match.replace("''", "'") for match in _MEMBER.findall(after)}
    longest = max(map(len, members), default=0) if kind == "enum" else len(",".join(members))
    new = _declared(after)
    return new.name in _LARGE_TEXTS[1:] or (new.name == "varchar" and _first(new) >= longest)


def _keeps_text(
    old: DeclaredType,
    new: DeclaredType,
    limited: tuple[str, ...],
    large: tuple[str, ...],
    tiny: int,
) -> bool:
    """Whether the new type has room for each text of the old one, and does not strip its blanks.

    MySQL reads a char(n) without its blanks, and so does the lake.
    """
    if old.name in limited and new.name in limited:
        becomes_char = new.name == "char" and old.name != "char"
        return not becomes_char and keeps_digits(old, new)
    if old.name in limited and new.name in large:
        return new.name != large[0] or _first(old) <= tiny
    return (
        old.name in large and new.name in large and large.index(old.name) <= large.index(new.name)
    )


def _first(type_: DeclaredType) -> int:
    return type_.digits[0] if type_.digits else 0
