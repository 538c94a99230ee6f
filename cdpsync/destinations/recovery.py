"""Finds the outboxes of processes that died while they sent to a destination."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cdpsync.destinations.delivery import outbox as outboxes
from cdpsync.destinations.held import events_in
from cdpsync.destinations.rendering import digest, render
from cdpsync.destinations.settling import Batch
from cdpsync.destinations.templates.compile import row_of
from cdpsync.model.deliveries import MaskWindow, Position

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.destinations.events import Events
    from cdpsync.destinations.places import Places
    from cdpsync.destinations.rendering import Rendering
    from cdpsync.model.destinations import Destination


def details_of(
    destination: Destination, position: Position, events: Events, feed: str, *, has_key: bool
) -> dict[str, Any]:  # Any: JSON
    """Return what a later process has to know of an outbox, if this one dies."""
    return {
        "position": [
            position.table_uuid,
            position.snapshot_id,
            position.snapshot_time.isoformat(),
        ],
        "config": digest(destination),
        "feed": feed,
        "has_key": has_key,
        "triggered": events.triggered,
        "filtered": events.filtered,
        "masked": events.masked,
        "windows": [[w.hash, w.start.isoformat(), w.seen] for w in events.windows],
    }


def unsettled_batches(
    con: duckdb.DuckDBPyConnection, destination: Destination, places: Places
) -> Iterator[Batch]:
    """Yield each outbox that no transaction has settled, the oldest first.

    One that was rendered by another project file has no rendering, because it is not to be sent.
    """
    for outbox in outboxes.pending(places.folder):
        details = outbox.meta.details
        table_uuid, snapshot_id, moment = details["position"]
        windows = (
            MaskWindow(text, datetime.fromisoformat(start), seen)
            for text, start, seen in details["windows"]
        )
        yield Batch(
            outbox,
            _rendering(con, destination, places, outbox),
            Position(
                destination.name,
                destination.source,
                table_uuid,
                snapshot_id,
                datetime.fromisoformat(moment),
            ),
            details["feed"],
            details["triggered"],
            details["filtered"],
            details["masked"],
            tuple(windows),
            is_recovered=True,
            has_key=details["has_key"],
        )


def _rendering(
    con: duckdb.DuckDBPyConnection, destination: Destination, places: Places, outbox: Outbox
) -> Rendering | None:
    if outbox.meta.details["config"] != digest(destination):
        return None
    events = events_in(places.events(outbox.id))
    row = row_of(con, events, destination.alias)
    return render(destination, row, events, nonce=outbox.meta.nonce)
