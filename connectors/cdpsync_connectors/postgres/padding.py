"""The padding of a read with large rows: how many rows Postgres sends for each of a relation.

DuckDB reads 2,048 rows into a vector, however large they are. See docs/decisions/0019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync_connectors.postgres.catalog import Relation, SourceColumn

VECTOR_ROWS = 2_048
_BYTES_PER_ROW = 4_096  # of a row, for which one more is sent: a vector then holds some 8 MB
_FEWER_ROWS = 16  # times, where a first attempt ran out of memory
_LITTLE = 1_000_000  # bytes stored out of line, below which rows cannot be large in many vectors

# The types whose values are short, and those whose length is known without fetching the value.
_SHORT = {
    *("bool", "char", "date", "float4", "float8", "int2", "int4", "int8", "interval", "money"),
    *("cidr", "inet", "macaddr", "macaddr8", "name", "numeric", "oid", "point", "time"),
    *("timestamp", "timestamptz", "timetz", "uuid"),
}
_TEXTS = {"bpchar", "bytea", "text", "varchar"}
_SHORT_TEXT = 64  # characters
_HEADER = 4  # added to the length in a type's modifier
_COMPRESSED = 4  # the stored size of other types is that after compression: about so many times


def padding_of(relation: Relation, names: Sequence[str], row_bytes: float) -> str | None:
    """Return how many rows to send for each; None where no row is large.

    `row_bytes` is about what a row takes on disk; 0 where that is unknown.
    """
    has_stored = relation.toast_bytes is None or relation.toast_bytes >= _LITTLE
    large = large_columns(relation, names)
    if row_bytes < _BYTES_PER_ROW and not (large and has_stored):
        return None
    return _rows(large, len(names) - len(large), 1)


def careful_padding_of(relation: Relation, names: Sequence[str]) -> str:
    """Return how many rows to send for each where memory is short: a vector holds 0.5 MB."""
    large = large_columns(relation, names)
    return _rows(large, len(names) - len(large), _FEWER_ROWS)


def large_columns(relation: Relation, names: Sequence[str]) -> list[SourceColumn]:
    """Return those of the named columns whose values may be large."""
    columns = {column.name: column for column in relation.columns}
    return [columns[name] for name in names if _may_be_large(columns[name])]


def _may_be_large(column: SourceColumn) -> bool:
    if column.dimensions:
        return True
    if column.kind in {"varchar", "bpchar"}:
        return not _HEADER < column.modifier <= _SHORT_TEXT + _HEADER
    return column.kind not in _SHORT


def _rows(large: Sequence[SourceColumn], short_columns: int, times: int) -> str:
    sizes = [str(8 * short_columns), *map(size_of, large)]
    size = f"({' + '.join(sizes)})" + (f" * {times}" if times > 1 else "")
    return f"least({VECTOR_ROWS}, 1 + {size} / {_BYTES_PER_ROW})::int"


def size_of(column: SourceColumn) -> str:
    """Return Postgres' expression for about how many bytes a value has; it fetches no value."""
    name = quote_name(column.name)
    if column.kind in _TEXTS and not column.dimensions:
        return f"coalesce(octet_length({name}), 0)::int8"
    return f"coalesce(pg_column_size({name}), 0)::int8 * {_COMPRESSED}"
