"""What a destination asks its feed for: kinds of changes, key, and how much of each change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cdpsync.catalog.system_tables import SystemTables
from cdpsync.destinations.changes import FeedRequest
from cdpsync.destinations.rendering import uses_of
from cdpsync.model.destinations import ChangeKind

if TYPE_CHECKING:
    import duckdb

    from cdpsync.destinations.places import Places
    from cdpsync.model.destinations import Destination, DestinationState

_OF_A_CHANGE = frozenset({"event_id", "key", "change", "snapshot_id", "changed_at"})


def feed_request(
    con: duckdb.DuckDBPyConnection,
    destination: Destination,
    places: Places,
    state: DestinationState,
) -> FeedRequest:
    """Return which changes a destination asks for, and what its expressions need of each."""
    primary_key = _primary_key(con, destination)
    used, used_by_deletes = uses_of(destination)
    key = destination.key or primary_key
    wants_deletes = ChangeKind.DELETE in destination.on or destination.on_exit
    columns = used_by_deletes.columns
    needs_last_image = wants_deletes and (
        destination.where is not None or columns is None or bool(columns - {*key, *_OF_A_CHANGE})
    )
    kinds = destination.on | ({ChangeKind.UPDATE} if destination.on_exit else frozenset())
    return FeedRequest(
        destination=destination.name,
        key=key,
        table=destination.table,
        sql=destination.sql.text if destination.sql else None,
        kinds=kinds,
        needs_old=used.old or used_by_deletes.old or destination.on_exit or needs_last_image,
        tells_kind=used.change or not {ChangeKind.INSERT, ChangeKind.UPDATE} <= kinds,
        order=destination.order,
        is_unique=bool(primary_key) and key == primary_key,
        keep=destination.keep,
        copy=places.existing_copy(state.outbox),
    )


def _primary_key(con: duckdb.DuckDBPyConnection, destination: Destination) -> tuple[str, ...]:
    """Return the primary key with which a destination's table was loaded; empty without one."""
    if destination.table is None:
        return ()
    for saved in SystemTables(con).saved_states():
        if saved.table == destination.table and saved.settings:
            return tuple(json.loads(saved.settings).get("primary_key", ()))
    return ()
