"""A Parquet file as a run reads it, and as pyarrow does, with values that can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.file_fuzzing import connection

from cdpsync.connector import ReadRequest
from cdpsync.errors import CdpsyncError
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.files.options import FilesOptions

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Rows:
    """The values of each column by name."""

    columns: dict[str, list[Any]]

    @staticmethod
    def of(table: pa.Table) -> Rows:
        """Return the values of a table of pyarrow; moments as numbers of their own unit."""
        return Rows({name: _values(table.column(name)) for name in table.column_names})


def _values(column: pa.ChunkedArray) -> list[Any]:
    return [value for chunk in column.chunks for value in _plain(chunk)]


def _plain(array: pa.Array) -> Iterator[Any]:
    """Yield values that are equal if nothing is lost: nested ones as tuples, times in ns."""
    type_ = array.type
    if pa.types.is_timestamp(type_) or pa.types.is_time(type_) or pa.types.is_date(type_):
        factor = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}.get(getattr(type_, "unit", ""), 1)
        integers = array.cast(pa.int32() if type_.bit_width == 32 else pa.int64()).to_pylist()
        kind = (str(type_).split("[")[0], bool(getattr(type_, "tz", None)))
        yield from (None if n is None else (*kind, n * factor) for n in integers)
    elif pa.types.is_struct(type_):
        fields = [list(_plain(array.field(number))) for number in range(type_.num_fields)]
        names = [type_.field(number).name for number in range(type_.num_fields)]
        for index, is_valid in enumerate(array.is_valid().to_pylist()):
            pairs = tuple((n, f[index]) for n, f in zip(names, fields, strict=True))
            yield pairs if is_valid else None
    elif pa.types.is_map(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_):
        for scalar in array:
            values = scalar.values
            yield None if values is None else tuple(_plain(values))
    else:
        yield from array.to_pylist()


def read_both(path: str) -> tuple[Rows | str, Rows | str]:
    """Return what a run lands of a file, and what pyarrow reads: rows, or the error's text."""
    return _landed(path), _expected(path)


def _landed(path: str) -> Rows | str:
    source = FilesConnector(FilesOptions.model_validate({"path": path}))
    (stream,) = source.discover()
    if stream.unreadable_reason is not None:
        return stream.unreadable_reason
    try:
        with source.read(ReadRequest(stream, stream.columns)) as (chunk,):
            table = chunk.relation(connection()).to_arrow_table()
    except Exception as error:
        known = error if isinstance(error, CdpsyncError) else source.translate(error)
        if known is None:
            raise
        return known.message
    return Rows.of(table)


def _expected(path: str) -> Rows | str:
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        table.validate(full=True)
        return Rows.of(table)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"


def require_same(landed: Rows, expected: Rows) -> None:
    """Fail unless each value of each column is the same."""
    assert list(landed.columns) == list(expected.columns)
    for name, values in expected.columns.items():
        assert len(landed.columns[name]) == len(values)
        for value, other in zip(landed.columns[name], values, strict=True):
            assert _is_same(value, other), (name, value, other)


def _is_same(value: Any, other: Any) -> bool:
    if isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other):
        return all(_is_same(*pair) for pair in zip(value, other, strict=True))
    if isinstance(value, float) and isinstance(other, float):
        return (math.isnan(value) and math.isnan(other)) or repr(value) == repr(other)
    return type(value) is type(other) and bool(value == other)
