"""Queries of a project's lake."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake, QueryResult, run_query
from cdpsync.errors import QueryError
from cdpsync.project.workspace import catalog_of
from cdpsync.storage import open_storage
from cdpsync.system.memory import memory_budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.model import (
        Config,
    )


@contextmanager
def open_query(
    config: Config, sql: str, *, at: str | None = None, schema: str | None = None
) -> Iterator[QueryResult]:
    """Run a read-only query on the lake as it is now, or as it was at a snapshot or a time.

    A table named without a schema is one of `schema`. Raises QueryError for SQL that fails or would
    change something, LandingError where the warehouse cannot be read.
    """
    storage = open_storage(config.warehouse)
    try:
        catalog = replace(
            catalog_of(config, storage), memory=memory_budget(config.warehouse.memory).total
        )
        with catalog.reader(at, keep=False) as con:
            Lake(con)  # raises for a lake that a newer cdpsync has written
            yield run_query(con, sql, schema)
    except QueryError as error:
        if error.unread:
            storage.ping(filled=storage.root in error.message)
        raise
