"""Comparisons of new rows with the lake: whether one is small, and what its errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.errors import LandingError
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.extract.table import Extracted
    from cdpsync.model import TablePlan

# Rows of the lake's table, rows read and their bytes: fewer are compared by a single thread,
# because a second one costs more processor time than it takes off the first (measured: 11 ms with
# one, 24 ms with two, for 1,000 rows).
_FEW_ROWS, _FEW_BYTES = 200_000, 16_000_000


def is_small(plan: TablePlan, extracted: Extracted | None) -> bool:
    """Whether few rows are compared, as far as that is known."""
    existing = plan.lake_table.rows if plan.lake_table else None
    if existing is None or existing > _FEW_ROWS:
        return False
    if extracted is None:
        return True
    return extracted.rows <= _FEW_ROWS and sum(f.bytes for f in extracted.files) <= _FEW_BYTES


@contextmanager
def translated_errors(plan: TablePlan, folder: Path) -> Iterator[None]:
    """Raise LandingError for an error of DuckDB."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        message = engine.first_line(error)
        hint = disk.disk_hint(message)
        if hint:
            raise LandingError(f"{folder}: {hint}; nothing was committed.") from error
        advice = engine.retyped_advice(message, plan.table)
        raise LandingError(
            f"{plan.table}: the new rows could not be compared with the lake ({message}). "
            f"{advice and f'{advice}. '}Nothing was committed."
        ) from error
