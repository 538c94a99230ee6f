"""Merging spooled rows: the highest cursor, the latest row per key, the size of row groups."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import duckdb
import pytest

from cdpsync.extract.spool import highest_cursor, spooled_rows
from cdpsync.load.merge import merge, needs_no_merge
from cdpsync.load.parquet import row_group
from cdpsync.model import (
    Column,
    Cursor,
    CursorType,
    Stream,
    SyncMode,
    TableName,
    TablePlan,
)

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = (Column("id", "INTEGER", nullable=False), Column("at", "TIMESTAMP_NS"))


def plan_of(*, enforced: bool) -> TablePlan:
    """Return the first load of an incremental table keyed by `id`."""
    stream = Stream("orders", "orders", COLUMNS, ("id",), ("at",), key_enforced=enforced)
    return TablePlan(
        source="shop",
        stream=stream,
        table=TableName("shop", "orders"),
        mode=SyncMode.INCREMENTAL,
        columns=COLUMNS,
        primary_key=("id",),
        cursor_field="at",
        cursor_type=CursorType.TIMESTAMP,
    )


@pytest.fixture
def spooled(tmp_path: Path) -> Path:
    """A file with two rows of key 1."""
    file = tmp_path / "0.parquet"
    duckdb.sql(
        """
        select * from (values
            (1, timestamp_ns '2024-01-01 00:00:00.123456789'),
            (1, timestamp_ns '2023-01-01'),
            (2, null)) as rows(id, "at")
        """
    ).write_parquet(str(file))
    return file


def test_cursor_of_nanoseconds_is_rounded_down_to_microseconds(spooled: Path) -> None:
    """A cursor has microseconds, so it may be lower than its value, but never higher."""
    rows = spooled_rows([spooled], COLUMNS)
    cursor = highest_cursor(duckdb.connect(), plan_of(enforced=True), COLUMNS, rows)
    assert cursor == Cursor(CursorType.TIMESTAMP, datetime(2024, 1, 1, 0, 0, 0, 123456))  # noqa: DTZ001


def test_key_that_the_source_does_not_enforce_is_merged(spooled: Path, tmp_path: Path) -> None:
    """Where several rows may share a key, the row with the highest cursor is loaded."""
    plan = plan_of(enforced=False)
    assert not needs_no_merge(plan)
    assert needs_no_merge(plan_of(enforced=True))
    merged = merge(duckdb.connect(), plan, [spooled], COLUMNS, tmp_path)
    assert (merged.rows, merged.duplicates) == (2, 1)


@pytest.mark.parametrize(
    ("columns", "rows"),
    [(1, 122_880), (32, 122_880), (200, 18_432), (1_600, 2_048), (9_999, 2_048)],
)
def test_row_groups_of_wide_tables_have_fewer_rows(columns: int, rows: int) -> None:
    """A row group is in memory until it is written; it has at least one DuckDB vector of rows."""
    assert row_group(columns) == rows
