"""Which tables are compared with the lake by all threads of DuckDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdpsync.extract.chunk_writer import SpoolFile
from cdpsync.extract.table import Extracted
from cdpsync.load import comparison
from cdpsync.model import LakeTable, Stream, SyncMode, TableName, TablePlan

TABLE = TableName("shop", "orders")


@pytest.mark.parametrize(
    ("existing", "incoming", "size", "is_small"),
    [
        (1000, 1, 2_000, True),
        (1000, 0, 0, True),
        (None, 1, 2_000, False),
        (1_000_000, 1, 2_000, False),
        (1000, 1_000_000, 9_000_000, False),
        (1000, 60, 600_000_000, False),
    ],
)
def test_few_rows_are_compared_by_a_single_thread(
    existing: int | None, incoming: int, size: int, is_small: bool
) -> None:
    """A table of unknown size, many rows and large rows have all threads."""
    lake_table = LakeTable(TABLE, (), rows=existing)
    stream = Stream("public.orders", "orders", ())
    plan = TablePlan("shop", stream, TABLE, SyncMode.INCREMENTAL, (), lake_table=lake_table)
    file = SpoolFile(Path("f.parquet"), incoming, size)
    assert comparison.is_small(plan, Extracted((file,), ())) is is_small
