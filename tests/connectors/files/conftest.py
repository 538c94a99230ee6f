"""The connection that reads the files of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection like a run's."""
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'; set threads = 1")
        yield con
