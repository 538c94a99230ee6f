"""What a destination asks its feed for: kinds of changes, key, and how much of each change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog.system_tables import SystemTables
from cdpsync.destinations.feeds.changes import FeedRequest
from cdpsync.destinations.rendering import uses_of
from cdpsync.model.destinations import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

    from cdpsync.destinations.places import Places
    from cdpsync.model import TableName
    from cdpsync.model.deliveries import DestinationState
    from cdpsync.model.destinations import Destination

_LEAVING = frozenset({ChangeKind.UPDATE, ChangeKind.DELETE})  # a row can leave `where` by both
_OF_A_CHANGE = frozenset({"event_id", "key", "change", "snapshot_id", "changed_at"})


def feed_request(
    con: duckdb.DuckDBPyConnection,
    destination: Destination,
    places: Places,
    state: DestinationState,
) -> FeedRequest:
    """Return which changes a destination asks for, and what its expressions need of each.

    Raises ConfigError for an expression that is no SQL.
    """
    request = position_request(destination, primary_keys(con), places, state)
    used, used_by_deletes = uses_of(destination)
    wants_deletes = ChangeKind.DELETE in destination.on or destination.on_exit
    columns = used_by_deletes.columns
    needs_last_image = wants_deletes and (
        destination.where is not None
        or columns is None
        or bool(columns - {*request.key, *_OF_A_CHANGE})
    )
    return replace(
        request,
        needs_old=used.old or used_by_deletes.old or destination.on_exit or needs_last_image,
        tells_kind=used.change or not {ChangeKind.INSERT, ChangeKind.UPDATE} <= request.kinds,
    )


def position_request(
    destination: Destination,
    keys: Mapping[TableName, tuple[str, ...]],
    places: Places,
    state: DestinationState,
) -> FeedRequest:
    """Return what tells where a destination is, and whether it is behind.

    `keys` are the primary keys of the tables in the lake.
    """
    primary_key = keys.get(destination.table, ()) if destination.table else ()
    key = destination.key or primary_key
    return FeedRequest(
        destination=destination.name,
        key=key,
        table=destination.table,
        sql=destination.sql.text if destination.sql else None,
        kinds=destination.on | (_LEAVING if destination.on_exit else frozenset()),
        order=destination.order,
        is_unique=bool(primary_key) and key == primary_key,
        keep=destination.keep,
        copy=places.existing_copy(state.outbox),
    )


def primary_keys(con: duckdb.DuckDBPyConnection) -> dict[TableName, tuple[str, ...]]:
    """Return the primary keys with which the tables of the lake were loaded."""
    return {
        saved.table: tuple(json.loads(saved.settings).get("primary_key", ()))
        for saved in SystemTables(con).saved_states()
        if saved.settings
    }
