"""The dialect of a text file: what divides it into records, fields and NULLs."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdpsync_connectors.files.value_formats import ValueFormats

DELIMITERS = (",", ";", "\t", "|")
"""The usual delimiters, of which one is found in the header if the user names none."""

_NAMES = {"\t": "a tab (\\t)"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The signs of a CSV file, and whether its first record is a header.

    `delimiter_is_set` tells that the user named the delimiter. No `quote` means that quotes are
    text. An unquoted field that is one of `nulls` is NULL; with `empty_as_null` a quoted empty
    field is NULL, too. With `has_origin` the last two fields of a record are the line where it
    begins, and its text. `values` are the notations of numbers and times.
    """

    delimiter: str
    header: bool = True
    quote: str = '"'
    nulls: tuple[str, ...] = ("",)
    empty_as_null: bool = False
    delimiter_is_set: bool = True
    has_origin: bool = False
    values: ValueFormats = field(default_factory=ValueFormats)

    @property
    def origin_fields(self) -> int:
        """How many fields of a record are no columns."""
        return 2 if self.has_origin else 0


def delimiter_name(delimiter: str) -> str:
    """Return a delimiter for a message."""
    return _NAMES.get(delimiter, f'"{delimiter}"')
