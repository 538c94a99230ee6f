"""The settings of the fuzzing tests of files, and a folder and a connection of each example."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import duckdb
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

_FEW = 30
_EXAMPLES = int(os.environ.get("CDPSYNC_FUZZ") or _FEW)

fuzz = settings(
    max_examples=_EXAMPLES,
    derandomize=_EXAMPLES == _FEW,  # else each run tries others, and failures are tried again
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

plain = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""The settings of a property that the suite tries only, always with the same examples."""


@cache
def connection() -> duckdb.DuckDBPyConnection:
    """Return the connection of this process, with the settings of a run."""
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'; set threads = 1")
    return con


@contextmanager
def fuzz_connection(
    folders: pytest.TempPathFactory,
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Lend a connection like a run's, and a folder that is empty."""
    folder = folders.mktemp("fuzz")
    try:
        yield connection(), folder
    finally:
        shutil.rmtree(folder)
