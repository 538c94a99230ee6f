"""Parquet files that a load writes from SQL: their size and their row groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.sql import quote_text
from cdpsync.system.memory import row_group_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

_WRITE = """
    copy ({select}) to {file}
    (format parquet, compression zstd, compression_level 1, row_group_size {rows},
        row_group_size_bytes {bytes}, return_stats)
"""
_VALUES_IN_ROW_GROUP = 4_000_000
_VECTOR, _ROW_GROUP = 2_048, 122_880  # rows: DuckDB's own sizes


def write(
    con: duckdb.DuckDBPyConnection, select: str, file: Path, columns: int = 1
) -> tuple[int, int]:
    """Write a SELECT of so many columns to a Parquet file; return its rows and its bytes.

    The order of the rows is not kept, because row groups are limited in bytes only then.
    """
    con.execute(engine.LARGE_ROWS)
    sql = _WRITE.format(
        select=select,
        file=quote_text(str(file)),
        rows=row_group(columns),
        bytes=row_group_bytes(engine.memory_per_thread(con)),
    )
    stats = con.execute(sql).fetchone()
    return (int(stats[1]), int(stats[2])) if stats else (0, 0)


def row_group(columns: int) -> int:
    """Return how many rows of so many columns make a row group, which is in memory as a whole."""
    rows = _VALUES_IN_ROW_GROUP // columns // _VECTOR * _VECTOR
    return max(_VECTOR, min(_ROW_GROUP, rows))
