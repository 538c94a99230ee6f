"""The positions of destinations: where they start, and whether their snapshots are still there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes
from cdpsync.errors import ConfigError, StalePositionError
from cdpsync.model.deliveries import Position

if TYPE_CHECKING:
    import duckdb

    from cdpsync.catalog.snapshots import Snapshot
    from cdpsync.destinations.feeds.changes import FeedRequest


def living_snapshots(con: duckdb.DuckDBPyConnection, position: Position) -> tuple[Snapshot, ...]:
    """Return the snapshot of a position and those after it that have not expired.

    Raises StalePositionError when the snapshot has expired, or is another one of the same number,
    because the catalog is an older copy that was written to again.
    """
    snapshots = ducklake_changes.snapshots(con, position.snapshot_id)
    if not snapshots or snapshots[0].id != position.snapshot_id:
        raise StalePositionError(_stale(position, "has expired"))
    if snapshots[0].time != position.snapshot_time:
        raise StalePositionError(_stale(position, "is no longer that of the lake"))
    return snapshots


def _stale(position: Position, reason: str) -> str:
    name = position.destination
    return (
        f'destination "{name}": it was sent up to snapshot {position.snapshot_id} of '
        f"{position.snapshot_time:%Y-%m-%d %H:%M}, which {reason}: what changed since then cannot "
        f"be found. Go on from now: cdpsync send {name} --from now; or send every row: cdpsync "
        f"send {name} --backfill."
    )


def position_at(request: FeedRequest, snapshot: Snapshot, table_uuid: str | None) -> Position:
    """Return the position of a destination at a snapshot."""
    return Position(request.destination, request.source, table_uuid, snapshot.id, snapshot.time)


def newest_position(con: duckdb.DuckDBPyConnection, request: FeedRequest) -> Position:
    """Return the position of a destination that is not behind, at the newest snapshot.

    An old position would keep old snapshots from being expired.
    """
    return _position_at(con, request, ducklake_changes.snapshots(con)[-1])


def start_position(
    con: duckdb.DuckDBPyConnection, request: FeedRequest, start: str | datetime
) -> Position | None:
    """Return where a destination starts: now, at the snapshot of a time, or None for all rows.

    Raises ConfigError for a time before the oldest snapshot that has not expired.
    """
    if start == "all":
        return None
    snapshots = ducklake_changes.snapshots(con)
    snapshot = snapshots[-1]
    if isinstance(start, datetime):
        snapshot = _snapshot_at(request, snapshots, start)
    return _position_at(con, request, snapshot)


def _position_at(
    con: duckdb.DuckDBPyConnection, request: FeedRequest, snapshot: Snapshot
) -> Position:
    """Return a position at a snapshot, of the table that had the name then, if any."""
    identity = None
    if request.table is not None:
        identity = ducklake_changes.table_identity(con, request.table, snapshot.id)
    return position_at(request, snapshot, None if identity is None else identity.uuid)


def _snapshot_at(
    request: FeedRequest, snapshots: tuple[Snapshot, ...], moment: datetime
) -> Snapshot:
    """Return the last snapshot that was committed by a time."""
    earlier = [snapshot for snapshot in snapshots if snapshot.time <= moment]
    if not earlier:
        raise ConfigError(
            f'destination "{request.destination}": start: {moment:%Y-%m-%dT%H:%M:%S%z} is before '
            f"the oldest snapshot of the lake, which is of "
            f"{snapshots[0].time:%Y-%m-%dT%H:%M:%S%z}. Give a time from then on, now, or all."
        )
    return earlier[-1]
