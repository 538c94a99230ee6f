"""Checks of destinations, without sending: their values, their tables, their expressions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.judges import Judges
from cdpsync.destinations.events import conditions_of
from cdpsync.destinations.feed_requests import position_request, primary_keys
from cdpsync.destinations.feeds.lake_tables import described, find_table
from cdpsync.destinations.places import Places
from cdpsync.destinations.rendering import render
from cdpsync.destinations.templates.compile import compile_text
from cdpsync.destinations.templates.rows import Row
from cdpsync.engine import first_line
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model import CheckResult, Failure
from cdpsync.model.deliveries import DestinationState
from cdpsync.project import catalog_of

if TYPE_CHECKING:
    import duckdb

    from cdpsync.model import Config
    from cdpsync.model.destinations import Destination


def check(config: Config) -> tuple[CheckResult, ...]:
    """Return whether each destination could be sent to, as far as the lake and its file tell.

    No request is made. Of a table that is not loaded yet, only the project file is checked.
    """
    results = []
    for destination in config.destinations.values():
        start = time.monotonic()
        error = None
        try:
            _require_right(config, destination)
        except CdpsyncError as raised:
            error = Failure.of(raised)
        seconds = time.monotonic() - start
        results.append(
            CheckResult(destination.name, destination.type, error is None, seconds, error)
        )
    return tuple(results)


def _require_right(config: Config, destination: Destination) -> None:
    """Raise ConfigError for a missing value, or for what `require_compiled` refuses."""
    if destination.problem:
        raise ConfigError(destination.problem)
    catalog = catalog_of(config)
    if catalog.exists():
        with catalog.reader(data=False, keep=False) as con:
            require_compiled(con, config, destination)


def require_compiled(
    con: duckdb.DuckDBPyConnection, config: Config, destination: Destination
) -> None:
    """Raise ConfigError for a wrong key, query, expression or rule of an answer."""
    row = _row(con, config, destination)
    if row is None:
        return
    conditions_of(destination, row)
    if destination.mask is not None:
        compile_text(row, destination.mask.by)
    rendering = render(destination, row, "changes", with_attempts=False)
    Judges(destination, rendering.routes).close()


def _row(con: duckdb.DuckDBPyConnection, config: Config, destination: Destination) -> Row | None:
    """Return the columns that feed a destination; None if its table is not loaded yet."""
    import duckdb

    if destination.sql is not None:
        try:
            con.execute("use lake")
            columns = described(con, f"({destination.sql.text})")
        except duckdb.Error as error:
            raise ConfigError(
                f"{destination.sql.location}: sql: {first_line(error)}. Correct the query."
            ) from error
        finally:
            con.execute("use memory")
        return Row({column.name: column.type for column in columns}, destination.alias)
    state = DestinationState(destination.name, destination.source, None)
    places = Places(config, destination.name)
    request = position_request(destination, primary_keys(con), places, state)
    try:
        table = find_table(con, request)
    except ConfigError:
        raise
    except CdpsyncError:
        if destination.table is not None and destination.table.schema in config.sources:
            return None
        raise
    return Row({column.name: column.type for column in table.columns}, destination.alias)
