"""The snapshots that destinations still need: those from their positions on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake_changes
from cdpsync.catalog.delivery_tables import DeliveryTables

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb


def expiry_limit(con: duckdb.DuckDBPyConnection, older_than: datetime, now: datetime) -> datetime:
    """Return the time before which snapshots may expire: `older_than`, or an earlier one.

    No snapshot from the oldest position on may, because the changes since then could not be found
    without it. Later ones may have an earlier time, because the clock was set back.
    """
    pinned = DeliveryTables(con).pinned(now)
    if pinned is None:
        return older_than
    snapshots = ducklake_changes.snapshots(con)
    positions = [number for number, snapshot in enumerate(snapshots) if snapshot.time == pinned]
    needed = snapshots[positions[0] :] if positions else ()
    return min([older_than, pinned, *(snapshot.time for snapshot in needed)])
