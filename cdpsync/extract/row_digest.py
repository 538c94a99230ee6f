"""Digest of a set of rows in SQL: the same for the same rows in any order and any files.

It is the number of rows with two sums of 64-bit hashes. DuckDB's `hash()` alone is not enough,
measured with DuckDB 1.5.5: it is equal for 0.0 and -0.0, for NULL, [] and [NULL], and for texts
that differ in certain pairs of bytes, eight apart. So other values than numbers and times are
hashed as text, and each sum has its own hashes. docs/decisions/0021 says more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.model.types import decimal_of
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from cdpsync.model import Column

# Their values have at most 64 bits, and DuckDB hashes each to another number.
_HASHED_AS_NUMBER = re.compile(r"BOOLEAN|U?(TINY|SMALL|BIG)INT|U?INTEGER|DATE|TIME(STAMP.*)?")
_FLOATS = {"FLOAT", "DOUBLE"}
_MOST_DIGITS = 18  # of a decimal that is a 64-bit number inside DuckDB

# The second hash sees a text three bytes later than the first. `hash()` takes eight bytes at a
# time, so no two texts have equal hashes in both for the same reason.
_SHIFT, _SHIFT_BYTES = "'+++'", r"'\x2B\x2B\x2B'::blob"

# MD5 takes four times as long, but no second copy of large values, of which memory has many.
_SECOND_OF_TEXT = """
    case when {length}({text}) < 1000 then hash({shift} || {text}) else md5_number_lower({text}) end
"""

_DIGEST = """
    select count(*), coalesce(sum({first}), 0)::hugeint, coalesce(sum({second}), 0)::hugeint
    from ({rows})
"""


@dataclass(frozen=True, slots=True)
class RowDigest:
    """How many rows a set has, and the sums of their two hashes."""

    rows: int = 0
    first: int = 0
    second: int = 0

    def __add__(self, other: RowDigest) -> RowDigest:
        return RowDigest(
            self.rows + other.rows, self.first + other.first, self.second + other.second
        )


def digest_of(con: duckdb.DuckDBPyConnection, rows: str, columns: Sequence[Column]) -> RowDigest:
    """Return the digest of a SELECT's rows over these columns, which have these types in it."""
    first, second = row_hashes(columns)
    row = con.execute(_DIGEST.format(first=first, second=second, rows=rows)).fetchone()
    return RowDigest(*row) if row else RowDigest()


def row_hashes(columns: Iterable[Column]) -> tuple[str, str]:
    """Return two independent 64-bit hashes of a row in SQL."""
    first: list[str] = []
    second: list[str] = ["'second'"]
    for column in columns:
        values, shifted_values = _hashed_values(column)
        first += values
        second[1:1] = shifted_values
    # The outer hash mixes the bits, because a sum of unmixed ones stays equal when two rows
    # exchange a value.
    return f"hash(hash({', '.join(first)}))", f"hash(hash({', '.join(second)}))"


def _hashed_values(column: Column) -> tuple[list[str], list[str]]:
    """Return what the first and the second hash take of a column."""
    name, type_ = quote_name(column.name), column.type
    digits, _ = decimal_of(type_) or (_MOST_DIGITS + 1, 0)
    if _HASHED_AS_NUMBER.fullmatch(type_) or digits <= _MOST_DIGITS:
        return [name], [name]
    if type_ in _FLOATS:
        values = [name, f"{name} = 0 and signbit({name})"]
        return values, values
    if type_ == "BLOB":
        return [name], [
            _SECOND_OF_TEXT.format(length="octet_length", text=name, shift=_SHIFT_BYTES)
        ]
    text = name if type_ == "VARCHAR" else f"cast({name} as varchar)"
    return [text], [_SECOND_OF_TEXT.format(length="strlen", text=text, shift=_SHIFT)]
