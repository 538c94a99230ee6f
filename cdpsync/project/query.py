"""Opens a question to the lake of a project."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake, QueryResult, run_query
from cdpsync.errors import QueryError
from cdpsync.project.workspace import catalog_of
from cdpsync.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.model import (
        Config,
    )


@contextmanager
def open_query(config: Config, sql: str, *, at: str | None = None) -> Iterator[QueryResult]:
    """Ask the lake, as it is now or was at a snapshot's number or a time. Changes nothing.

    Raises QueryError for SQL that fails or would change something, LandingError where that is
    the warehouse's fault.
    """
    storage = open_storage(config.warehouse)
    try:
        with catalog_of(config, storage).reader(at, keep=False) as con:
            Lake(con)  # refuses a lake that a newer cdpsync keeps
            yield run_query(con, sql)
    except QueryError as error:
        if error.unread:
            storage.ping(filled=storage.root in error.message)
        raise
