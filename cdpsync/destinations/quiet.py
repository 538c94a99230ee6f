"""Finds destinations that have nothing to send, with one look at the catalog for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.destinations.delivery import health as healths
from cdpsync.destinations.feed_requests import position_request, primary_keys
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.destinations.places import Places
from cdpsync.destinations.rendering import feed_digest
from cdpsync.destinations.sender import POSITION_AGE
from cdpsync.errors import CdpsyncError
from cdpsync.model.deliveries import DeliveryResult
from cdpsync.project import catalog_of
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from cdpsync.model import Config, TableName
    from cdpsync.model.deliveries import DestinationState
    from cdpsync.model.destinations import Destination


def quiet_results(config: Config, destinations: Sequence[Destination]) -> list[DeliveryResult]:
    """Return an empty result for each destination that surely has nothing to send.

    It reads neither rows nor files of the storage. Where anything is unusual (an error, a held
    change, an outbox that was left behind), the destination is not among them: its own send tells.
    """
    catalog = catalog_of(config)
    if not catalog.exists():
        return []
    with catalog.reader(data=False, keep=False) as con:
        tables = DeliveryTables(con)
        states, latest, keys = tables.states(), tables.latest_deliveries(), primary_keys(con)
        failed = {name for name, record in latest.items() if record.result.error is not None}
        return [
            DeliveryResult(
                destination.name, destination.source, "ok", states[destination.name].health.state
            )
            for destination in destinations
            if destination.name in states
            and destination.name not in failed
            and _is_quiet(
                con, destination, Places(config, destination.name), states[destination.name], keys
            )
        ]


def _is_quiet(
    con: duckdb.DuckDBPyConnection,
    destination: Destination,
    places: Places,
    state: DestinationState,
    keys: Mapping[TableName, tuple[str, ...]],
) -> bool:
    now = clock.now()
    if (
        destination.problem
        or not destination.enabled
        or state.position is None
        or state.held
        or now - state.position.snapshot_time > POSITION_AGE
        or healths.permit(state.health, now) is not healths.Permit.ALL
        or places.has_left_behind()
    ):
        return False
    try:
        request = position_request(destination, keys, places, state)
        return state.config == feed_digest(destination, request.key) and not feed_of(
            request
        ).is_behind(con, state.position)
    except CdpsyncError:
        return False
