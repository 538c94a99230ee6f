"""The state of destinations at rest: health, what they are behind, dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.catalog.snapshots import table_history
from cdpsync.destinations.selection import selected
from cdpsync.model import Failure
from cdpsync.model.deliveries import DestinationOverview, Health, HealthState
from cdpsync.project import catalog_of, locks_folder
from cdpsync.system import locks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

    from cdpsync.model import Config
    from cdpsync.model.deliveries import DeliveryRecord, DestinationState
    from cdpsync.model.destinations import Destination

LOCK = "destination {}"
"""The name of a destination's lock, beside those of tables."""


def overviews(config: Config, select: Sequence[str] = ()) -> tuple[DestinationOverview, ...]:
    """Return an overview of each destination of the project file."""
    destinations = selected(config, select)
    if not destinations:
        return ()
    catalog = catalog_of(config)
    if not catalog.exists():
        return tuple(
            _overview(config, destination, None, None, 0, None) for destination in destinations
        )
    with catalog.reader(data=False) as con:
        tables = DeliveryTables(con)
        states, latest, dead = tables.states(), tables.latest_deliveries(), tables.dead_counts()
        return tuple(
            _overview(
                config,
                destination,
                states.get(destination.name),
                latest.get(destination.name),
                dead.get(destination.name, 0),
                _newer_rows(con, destination, states.get(destination.name)),
            )
            for destination in destinations
        )


def _overview(
    config: Config,
    destination: Destination,
    state: DestinationState | None,
    last: DeliveryRecord | None,
    dead: int,
    newer: tuple[int, datetime | None] | None,
) -> DestinationOverview:
    health = state.health if state else Health()
    held = state.held if state else 0
    error = last.result.error if last else None
    if destination.problem:
        error = Failure("ConfigError", destination.problem)
    rows, since = newer or (None, None)
    behind = None if rows is None and not held else (rows or 0) + held
    held_since = state.held_since if state else None
    moments = [moment for moment in (held_since, since) if moment is not None]
    return DestinationOverview(
        name=destination.name,
        type=destination.type,
        source=destination.source,
        status=_status(config, destination, health, last),
        state=health.state,
        every=destination.every,
        last_run_at=last.started_at if last else None,
        last_delivery_at=state.last_delivery_at if state else None,
        next_due_at=last.started_at + destination.every
        if last and destination.every and destination.enabled
        else None,
        behind_rows=behind,
        behind_since=min(moments, default=None),
        held=held,
        dead_letters=dead,
        reason=health.reason,
        error=error,
        notices=last.result.notices if last else (),
    )


def _status(
    config: Config, destination: Destination, health: Health, last: DeliveryRecord | None
) -> str:
    if not destination.enabled or health.state is HealthState.DISABLED:
        return "disabled"
    if locks.holder(locks_folder(config), LOCK.format(destination.name)) is not None:
        return "running"
    if destination.problem:
        return "failed"
    return last.result.status if last else "never"


def _newer_rows(
    con: duckdb.DuckDBPyConnection, destination: Destination, state: DestinationState | None
) -> tuple[int, datetime | None] | None:
    """Return how many rows came to the table after the position, and when the first did.

    Rows that were only deleted are not counted, because the catalog knows them by file alone.
    """
    if destination.table is None or state is None or state.position is None:
        return None
    identity = ducklake_changes.table_identity(con, destination.table)
    if identity is None:
        return None
    position = state.position.snapshot_id
    snapshots = ducklake_changes.snapshots(con, position)
    if identity.uuid != state.position.table_uuid:
        later = [
            snapshot for snapshot in snapshots if snapshot.id >= max(identity.created, position + 1)
        ]
    else:
        history = table_history(snapshots, position, destination.table, identity.id)
        changed = set(history.changed)
        later = [snapshot for snapshot in snapshots if snapshot.id in changed]
    if not later:
        return 0, None
    rows = ducklake_changes.rows_written(con, identity.id, [snapshot.id for snapshot in later])
    return rows, later[0].time
