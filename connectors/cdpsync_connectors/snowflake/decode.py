"""Decodes Snowflake's result batches to Arrow tables that DuckDB reads exactly.

The driver's own `to_arrow` is not exact. By default it turns scaled numbers into doubles. It cuts
the nanoseconds of a whole batch when one value is outside the years that nanoseconds can express.
And it does not count the downloaded rows (ArrowIterator and result_batch.py of
snowflake-connector-python 4.8.1). So this module decodes the batch's Arrow stream. According to
that source, the encodings are:

- FIXED: int8 to int64, as wide as the batch needs, scaled by the field's `scale`; or a decimal128.
- TIME: int32 or int64, scaled.
- TIMESTAMP_NTZ, TIMESTAMP_LTZ: int64, scaled; or a struct of `epoch` (seconds) and `fraction`
  (nanoseconds, never negative).
- TIMESTAMP_TZ: a struct of `epoch` (scaled), `timezone`; or of `epoch` (seconds), `fraction`,
  `timezone`. The moment is `epoch` alone, whatever the timezone.
"""

from __future__ import annotations

import copy
from base64 import b64decode
from typing import TYPE_CHECKING, Protocol

from cdpsync.errors import ConnectError, ReadError
from cdpsync.model.types import MAX_PRECISION
from cdpsync_connectors.snowflake.types import TIMESTAMPTZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from cdpsync_connectors.snowflake.types import ColumnExpr

_NANOSECONDS = 9
_PART_BYTES = 8_000_000  # of rows that DuckDB takes at once
_TIME_TYPES = {"TIME", "TIMESTAMP", "TIMESTAMP_NS", TIMESTAMPTZ}


class InexactError(Exception):
    """A value that the column's type cannot hold; the message gives the reason."""


class Batch(Protocol):
    """The used members of the driver's `ArrowResultBatch`; an inline one is `_local`, in base64."""

    rowcount: int
    _local: bool
    _data: str | bytes | None

    def populate_data(self) -> object:
        """Download into `_data`."""


def fetch(batch: Batch, exprs: Sequence[ColumnExpr]) -> pa.Table | None:
    """Download a batch and decode it; None where it has no rows. Raises the driver's errors.

    The batch does not keep the downloaded bytes, so that memory holds only the batches that are
    being read. A batch may be fetched again.
    """
    data = _download(batch)
    table = decode(data, exprs) if data else None
    rows = table.num_rows if table is not None else 0
    if rows != batch.rowcount:
        raise ConnectError(
            f"a part of Snowflake's result has {rows} rows instead of the announced "
            f"{batch.rowcount}: it was cut off during the download.",
            retryable=True,
        )
    return table


def _download(batch: Batch) -> bytes:
    if type(batch).__name__ == "JSONResultBatch":
        raise ReadError(
            "Snowflake answers in JSON instead of Arrow. Unset the parameter "
            "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT of the user and the account."
        )
    copied = copy.copy(batch)
    if not copied._local:  # noqa: SLF001 - see below
        copied.populate_data()
    data = copied._data or b""  # noqa: SLF001 - the driver has no public access to the bytes
    return b64decode(data) if isinstance(data, str) else bytes(data)


def decode(data: bytes, exprs: Sequence[ColumnExpr]) -> pa.Table:
    """Return the rows of one Arrow stream, with their names, in types that hold each value.

    Raises ReadError, naming the column, for a value that the lake's type cannot hold.
    """
    import pyarrow as pa

    table = pa.ipc.open_stream(data).read_all()
    if table.num_columns != len(exprs):
        raise ReadError(f"Snowflake sent {table.num_columns} columns instead of {len(exprs)}.")
    columns = []
    for field, column, expr in zip(table.schema, table.columns, exprs, strict=True):
        try:
            columns.append(pa.chunked_array(_decoded(field, column, expr.type)))
        except InexactError as inexact:
            raise ReadError(
                f'column "{expr.name}": a value {inexact}. Set columns: {{types: '
                f"{{{expr.name}: {_exact_alternative(expr.type)}}}}}."
            ) from None
    return pa.table(columns, names=[expr.name for expr in exprs])


def in_small_parts(table: pa.Table) -> pa.Table:
    """Return the rows of a table in parts of at most 8 MB, or of one row.

    DuckDB takes at most one part at a time, and holds it several times.
    """
    import pyarrow as pa

    if table.num_rows < 2 or table.nbytes <= _PART_BYTES:
        return table
    half = table.num_rows // 2
    return pa.concat_tables(
        [in_small_parts(table.slice(0, half)), in_small_parts(table.slice(half))]
    )


def _decoded(field: pa.Field, column: pa.ChunkedArray, type_: str) -> list[pa.Array]:
    import pyarrow as pa

    metadata = field.metadata or {}
    scale = int(metadata.get(b"scale", b"0"))
    chunks = column.chunks or [pa.array([], field.type)]
    if type_ in _TIME_TYPES and (pa.types.is_integer(field.type) or pa.types.is_struct(field.type)):
        return [_time(chunk, scale, type_) for chunk in chunks]
    if scale and pa.types.is_integer(field.type):
        return [_scaled(chunk, scale) for chunk in chunks]
    return list(chunks)


def _scaled(integers: pa.Array, scale: int) -> pa.Array:
    """Return integers as decimals of a scale: the same bits with another type."""
    import pyarrow as pa

    wide = integers.cast(pa.int64()).cast(pa.decimal128(MAX_PRECISION, 0))
    type_ = pa.decimal128(MAX_PRECISION, scale)
    return pa.Array.from_buffers(type_, len(wide), wide.buffers(), wide.null_count, wide.offset)


def _time(array: pa.Array, scale: int, type_: str) -> pa.Array:
    import pyarrow as pa

    unit = _NANOSECONDS if type_ == "TIMESTAMP_NS" else 6
    try:
        counted = _counted(array, scale, unit)
    except pa.ArrowInvalid:
        raise InexactError("is outside the years of its type") from None
    if type_ == "TIME":
        return counted.cast(pa.time64("us"))
    if type_ == "TIMESTAMP_NS":
        return counted.cast(pa.timestamp("ns"))
    return counted.cast(pa.timestamp("us", "UTC" if type_ == TIMESTAMPTZ else None))


def _counted(array: pa.Array, scale: int, unit: int) -> pa.Array:
    """Return times as integer counts of 10^-unit seconds; a remainder is an error."""
    import pyarrow as pa
    from pyarrow import compute

    if not pa.types.is_struct(array.type):
        return _rescaled(array.cast(pa.int64()), scale, unit)
    epoch = compute.struct_field(array, "epoch")
    if array.type.get_field_index("fraction") < 0:
        return _rescaled(epoch, scale, unit)
    fraction = compute.struct_field(array, "fraction").cast(pa.int64())
    return compute.add_checked(_rescaled(epoch, 0, unit), _rescaled(fraction, _NANOSECONDS, unit))


def _rescaled(counts: pa.Array, scale: int, unit: int) -> pa.Array:
    """Return counts of 10^-scale as counts of 10^-unit."""
    import pyarrow as pa
    from pyarrow import compute

    step = pa.scalar(10 ** abs(scale - unit), pa.int64())
    if scale <= unit:
        return compute.multiply_checked(counts, step)
    coarse = compute.divide(counts, step)
    if compute.any(compute.not_equal(compute.multiply(coarse, step), counts)).as_py():
        raise InexactError("has nanoseconds, which its type in the lake cannot hold")
    return coarse


def _exact_alternative(type_: str) -> str:
    return "timestamp_ns" if type_ == "TIMESTAMP" else "varchar"
