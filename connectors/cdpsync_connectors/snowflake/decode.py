"""Result batches as Snowflake sends them, to Arrow tables that DuckDB reads exactly.

The driver's own `to_arrow` is not exact: it turns scaled numbers into doubles unless told
otherwise, cuts nanoseconds off a whole batch when one value in it is outside the years that
nanoseconds can tell, and does not count the rows of what it downloaded (ArrowIterator and
result_batch.py of snowflake-connector-python 4.8.1). So the batch's own Arrow stream is decoded
here. As that source tells them, the encodings are:

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
from cdpsync_connectors.snowflake.types import TIMESTAMPTZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from cdpsync_connectors.snowflake.types import ColumnExpr

_NANOSECONDS = 9
_WIDEST = 38
_OF_TIME = {"TIME", "TIMESTAMP", "TIMESTAMP_NS", TIMESTAMPTZ}


class InexactError(Exception):
    """A value that the column's type cannot hold; the message says which and why."""


class Batch(Protocol):
    """What is used of the driver's `ArrowResultBatch`; an inline one is `_local`, in base64."""

    rowcount: int
    _local: bool
    _data: str | bytes | None

    def populate_data(self) -> object:
        """Download into `_data`."""


def fetch(batch: Batch, readings: Sequence[ColumnExpr]) -> pa.Table | None:
    """Download a batch and decode it; None where it has no rows. Raises the driver's errors.

    The batch keeps nothing of what was downloaded: memory holds only those that are being read,
    and each may be fetched again.
    """
    data = _download(batch)
    table = decode(data, readings) if data else None
    rows = table.num_rows if table is not None else 0
    if rows != batch.rowcount:
        raise ConnectError(
            f"a part of Snowflake's answer holds {rows} rows where {batch.rowcount} were "
            "announced: it was cut off on its way.",
            retryable=True,
        )
    return table


def _download(batch: Batch) -> bytes:
    if type(batch).__name__ == "JSONResultBatch":
        raise ReadError(
            "Snowflake answers in JSON where Arrow was asked for. Unset the parameter "
            "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT of the user and the account."
        )
    held = copy.copy(batch)
    if not held._local:  # noqa: SLF001 - see below
        held.populate_data()
    data = held._data or b""  # noqa: SLF001 - the driver has no other way to the bytes it received
    return b64decode(data) if isinstance(data, str) else bytes(data)


def decode(data: bytes, readings: Sequence[ColumnExpr]) -> pa.Table:
    """Return the rows of one Arrow stream under their names, in types that tell each value.

    Raises ReadError, naming the column, for a value that the wanted type cannot hold.
    """
    import pyarrow as pa

    table = pa.ipc.open_stream(data).read_all()
    if table.num_columns != len(readings):
        raise ReadError(
            f"Snowflake answered {table.num_columns} columns where {len(readings)} were asked for."
        )
    columns = []
    for field, column, wanted in zip(table.schema, table.columns, readings, strict=True):
        try:
            columns.append(pa.chunked_array(_decoded(field, column, wanted.type)))
        except InexactError as inexact:
            raise ReadError(
                f'column "{wanted.name}": a value {inexact}. Set columns: {{types: '
                f"{{{wanted.name}: {_way_out(wanted.type)}}}}}."
            ) from None
    return pa.table(columns, names=[wanted.name for wanted in readings])


def _decoded(field: pa.Field, column: pa.ChunkedArray, type_: str) -> list[pa.Array]:
    import pyarrow as pa

    metadata = field.metadata or {}
    scale = int(metadata.get(b"scale", b"0"))
    chunks = column.chunks or [pa.array([], field.type)]
    if type_ in _OF_TIME and (pa.types.is_integer(field.type) or pa.types.is_struct(field.type)):
        return [_time(chunk, scale, type_) for chunk in chunks]
    if scale and pa.types.is_integer(field.type):
        return [_scaled(chunk, scale) for chunk in chunks]
    return list(chunks)


def _scaled(whole: pa.Array, scale: int) -> pa.Array:
    """Return integers as the decimals they stand for: the same bits under another type."""
    import pyarrow as pa

    wide = whole.cast(pa.int64()).cast(pa.decimal128(_WIDEST, 0))
    type_ = pa.decimal128(_WIDEST, scale)
    return pa.Array.from_buffers(type_, len(wide), wide.buffers(), wide.null_count, wide.offset)


def _time(array: pa.Array, scale: int, type_: str) -> pa.Array:
    import pyarrow as pa

    unit = _NANOSECONDS if type_ == "TIMESTAMP_NS" else 6
    try:
        counted = _counted(array, scale, unit)
    except pa.ArrowInvalid:
        raise InexactError("is outside the years that its type can tell") from None
    if type_ == "TIME":
        return counted.cast(pa.time64("us"))
    if type_ == "TIMESTAMP_NS":
        return counted.cast(pa.timestamp("ns"))
    return counted.cast(pa.timestamp("us", "UTC" if type_ == TIMESTAMPTZ else None))


def _counted(array: pa.Array, scale: int, unit: int) -> pa.Array:
    """Return times as whole counts of 10^-unit seconds; a remainder is an error."""
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


def _way_out(type_: str) -> str:
    return "timestamp_ns" if type_ == "TIMESTAMP" else "varchar"
