"""The connection that reads the files of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """One DuckDB for this process, because a new one takes longer than most of these reads."""
    with duckdb.connect() as con:
        con.execute("set threads = 1")
        yield con


@pytest.fixture
def con(database: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection like a run's."""
    with database.cursor() as con:
        con.execute("set timezone = 'UTC'")
        yield con
