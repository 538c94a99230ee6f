"""Changes of a column's type in Snowflake that keep every value of the old rows."""

from __future__ import annotations

from cdpsync_connectors._shared.type_changes import NumberRange, declared_type, keeps_numbers

_MAX_PRECISION = 38


def keeps_values(before: str, after: str, lake_type: str) -> bool:
    """Whether old rows keep their values in the lake; see `TypeChangeAware.keeps_values`.

    `alter table` changes only digits and lengths. Any other new type is of a table that was
    replaced.
    """
    old, new = declared_type(before), declared_type(after)
    if old == new:
        return True
    if old.name != "NUMBER" or new.name != "NUMBER":
        return False
    ranges = (
        NumberRange(type_.digits[0] - type_.digits[1], type_.digits[1])
        if len(type_.digits) == 2
        else NumberRange(_MAX_PRECISION, 0)
        for type_ in (old, new)
    )
    return keeps_numbers(*ranges, as_text=lake_type == "VARCHAR", may_clamp=False)
