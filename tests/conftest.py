"""What every test can ask for: a real Postgres, and a fresh database in it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from servers import Database, Server, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One running Postgres for this test process."""
    with postgres() as server:
        yield server


@pytest.fixture
def pg(postgres_server: Server) -> Iterator[Database]:
    """A database of one's own, dropped after the test."""
    with postgres_server.database(f"test_{next(_numbers)}") as database:
        yield database
