"""Sends the changes of one destination, from its position to the lake's transaction.

    changes since the position, and held ones -> events -> outbox -> requests -> one transaction

Events and outbox are files below the project's `.cdpsync/outbox/<destination>`. A process that dies
leaves them, and the next send goes on from them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.destinations.delivery import health as healths
from cdpsync.destinations.delivery import outbox as outboxes
from cdpsync.destinations.delivery.dispatch import Dispatcher
from cdpsync.destinations.delivery.outbox import Outbox
from cdpsync.destinations.delivery.supervisor import Supervisor
from cdpsync.destinations.events import Events, write_events
from cdpsync.destinations.feed_requests import feed_request
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.destinations.feeds.positions import newest_position, start_position
from cdpsync.destinations.held import events_in
from cdpsync.destinations.places import Places
from cdpsync.destinations.rendering import digest, feed_digest, render
from cdpsync.destinations.settling import Batch, Settler
from cdpsync.destinations.templates.compile import row_of
from cdpsync.errors import CdpsyncError, ConfigError, DeliveryError, StalePositionError
from cdpsync.model import Failure
from cdpsync.model.destinations import (
    DeliveryResult,
    DestinationState,
    Health,
    HealthState,
    MaskWindow,
    Position,
)
from cdpsync.project import catalog_of
from cdpsync.redact import redact
from cdpsync.serialize.text import plural
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from cdpsync.destinations.feeds.changes import FeedRequest
    from cdpsync.destinations.feeds.feed import Feed
    from cdpsync.model import Config
    from cdpsync.model.destinations import Destination

MANY_ROWS = 10_000
"""A first send of more rows is confirmed by a person."""

POSITION_AGE = timedelta(days=1)
"""A position this old is moved on, although nothing has changed, because it pins snapshots."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """The options of a send; `runner.send` documents them."""

    start: str | None = None
    limit: int | None = None
    confirm: Callable[[str, int], bool] = lambda _name, _rows: False
    is_stopped: Callable[[], bool] = lambda: False


class Sender:
    """One send to one destination. The caller holds the destination's lock."""

    def __init__(
        self, config: Config, destination: Destination, run_id: str, options: SendOptions
    ) -> None:
        self._config, self._destination, self._options = config, destination, options
        self._run_id, self._catalog = run_id, catalog_of(config)
        self._places = Places(config, destination.name)
        self._state = DestinationState(destination.name, destination.source, None)
        self._windows: tuple[MaskWindow, ...] = ()
        self._settler = Settler(
            self._catalog, destination, self._places, run_id, started_at=clock.now()
        )

    def send(self) -> DeliveryResult:
        """Send what an earlier process left, and what has changed since; return what came of it.

        Raises ConfigError, CatalogError, and DeliveryError where nothing may be sent now.
        """
        require_sendable(self._destination)
        earlier = None
        with self._reader() as con:
            require_health(self._destination, self._state.health)
            left = self._left_behind(con)
        if left is not None:
            earlier = self._deliver(left)
            if earlier.error is not None:
                return earlier
        with self._reader() as con:
            try:
                batch = self._prepare(con)
            except StalePositionError as error:
                self._save_stale(error)
                raise
        result = self._deliver(batch) if isinstance(batch, Batch) else batch
        return _added(result, earlier)

    @contextmanager
    def _reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend the lake as it is now, with the destination's state."""
        if not self._catalog.exists():
            raise ConfigError(
                f"{self._destination.name}: there is no lake yet. Load it: cdpsync run."
            )
        with self._catalog.reader(keep=False) as con:
            tables = DeliveryTables(con)
            self._state = tables.states().get(self._destination.name, self._state)
            self._windows = tables.masks(self._destination.name)
            if self._state.health.state is HealthState.STALE:  # unless it is found stale again
                self._state = replace(self._state, health=healths.enable(clock.now()))
            yield con

    def _deliver(self, batch: Batch) -> DeliveryResult:
        """Send an outbox and settle it."""
        dispatched = None
        if batch.outbox.rows:
            dispatched = Dispatcher(
                self._destination,
                batch.outbox,
                batch.rendering.routes,
                marks=batch.rendering.marks,
                health=self._state.health,
            ).send()
        return self._settler.settle(batch, self._state, dispatched)

    def _save_stale(self, error: StalePositionError) -> None:
        """Save that the changes since the position cannot be found any more."""
        stale = Health(HealthState.STALE, since=clock.now(), reason="its position has expired")
        state = replace(self._state, health=stale)
        self._settler.save(state, replace(failed(self._destination, error), state=stale.state))

    # ---- what an earlier process left

    def _left_behind(self, con: duckdb.DuckDBPyConnection) -> Batch | None:
        """Return the outbox of a process that died; None if there is none to go on with.

        If the project file says otherwise now, what is left of it is held, and rendered anew.
        """
        self._places.remove_settled(self._state.outbox)
        for outbox in outboxes.pending(self._places.folder):
            batch = self._recovered(con, outbox)
            if outbox.meta.details["config"] == digest(self._destination):
                return batch
            self._settler.notices.append(
                "the project file has changed: what an earlier send left is rendered anew"
            )
            self._settler.settle(batch, self._state, None)
        return None

    def _recovered(self, con: duckdb.DuckDBPyConnection, outbox: Outbox) -> Batch:
        details, destination = outbox.meta.details, self._destination
        events = events_in(self._places.events(outbox.id))
        table_uuid, snapshot_id, moment = details["position"]
        return Batch(
            outbox,
            render(
                destination,
                row_of(con, events, destination.alias),
                events,
                nonce=outbox.meta.nonce,
            ),
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
            tuple(
                MaskWindow(text, datetime.fromisoformat(start), seen)
                for text, start, seen in details["windows"]
            ),
        )

    # ---- a new outbox

    def _prepare(self, con: duckdb.DuckDBPyConnection) -> Batch | DeliveryResult:
        """Return an outbox of what has changed; a result where there is nothing to send."""
        request = feed_request(con, self._destination, self._places, self._state)
        feed = feed_of(request)
        after = self._position(con, feed)
        if isinstance(after, DeliveryResult):
            return after
        if not self._state.held and after is not None and not feed.is_behind(con, after):
            return self._nothing_changed(con, request, after)
        changes = feed.read(con, after)
        self._settler.notices += changes.notices
        if after is None:
            self._confirm(changes.total)
        events = write_events(
            con,
            self._destination,
            self._places.events(self._run_id),
            held=self._places.held(self._state.outbox) if self._state.outbox else None,
            windows=self._windows,
            now=self._settler.started_at,
            limit=self._options.limit,
        )
        feed.write_copy(con, self._places.copy(self._run_id))
        rendering = render(
            self._destination, events.row, events.relation, with_attempts=bool(events.held)
        )
        batch_limits = self._destination.batch
        feed_id = feed_digest(self._destination, request.key)
        outbox = Outbox.create(
            con,
            rendering.select,
            self._places.folder / self._run_id,
            nonce=rendering.nonce,
            order=self._destination.order,
            item_bytes=batch_limits.item_bytes if batch_limits else None,
            details=self._details(changes.position, events, changes.total, feed_id),
        )
        return Batch(
            outbox,
            rendering,
            changes.position,
            feed_id,
            changes.total,
            events.filtered,
            events.masked,
            events.windows,
        )

    def _details(
        self, position: Position, events: Events, triggered: int, feed: str
    ) -> dict[str, Any]:  # Any: JSON
        """Return what a later process has to know of an outbox, if this one dies."""
        moment = position.snapshot_time.isoformat()
        return {
            "position": [position.table_uuid, position.snapshot_id, moment],
            "config": digest(self._destination),
            "feed": feed,
            "triggered": triggered,
            "filtered": events.filtered,
            "masked": events.masked,
            "windows": [[w.hash, w.start.isoformat(), w.seen] for w in events.windows],
        }

    def _position(
        self, con: duckdb.DuckDBPyConnection, feed: Feed
    ) -> Position | DeliveryResult | None:
        """Return the position to read from, None for all rows, or the result of only taking one."""
        start: str | datetime | None = self._options.start
        if start is None and self._state.position is None:
            start = self._destination.start
        if start is None:
            self._require_same_feed(feed.request)
            return self._state.position
        if start == "all":
            return None
        moment = _moment(start)
        position = start_position(con, feed.request, moment or "now")
        if moment is None or position is None:
            return self._start_here(con, feed, position)
        if feed.request.table is None or feed.request.keep:
            self._start_then(feed, position)
        return position

    def _start_then(self, feed: Feed, position: Position) -> None:
        """Take what a query, or a table with `keep`, gave at a position for delivered."""
        copy = self._places.copy(f"{self._run_id}-start")
        with self._catalog.reader(str(position.snapshot_id), keep=False) as con:
            feed.read(con, None)
            feed.write_copy(con, copy)
        feed.request = replace(feed.request, copy=copy)

    def _start_here(
        self, con: duckdb.DuckDBPyConnection, feed: Feed, position: Position | None
    ) -> DeliveryResult:
        """Save a position and send nothing."""
        outbox = self._state.outbox
        if feed.request.table is None or feed.request.keep:
            feed.read(con, None)
            feed.write_copy(con, self._places.copy(self._run_id))
            outbox = self._run_id
            self._places.keep_held(self._state.outbox, outbox)
        self._settler.notices.append(
            "it starts here: nothing was sent, and the next send has what changes from now on. To "
            f"send every row: cdpsync send {self._destination.name} --backfill"
        )
        return self._saved(feed.request, position, outbox)

    def _saved(
        self, request: FeedRequest, position: Position | None, outbox: str | None
    ) -> DeliveryResult:
        state = replace(
            self._state,
            source=self._destination.source,
            position=position,
            outbox=outbox,
            config=feed_digest(self._destination, request.key),
            hold=self._destination.hold,
        )
        result = self._settler.result(state)
        self._settler.save(state, result, windows=self._windows)
        return result

    def _require_same_feed(self, request: FeedRequest) -> None:
        known = self._state.config
        if known is not None and known != feed_digest(self._destination, request.key):
            name = self._destination.name
            raise ConfigError(
                f'{self._destination.location}: destination "{name}": its table, query or key is '
                f"another one than before. Say where to go on: cdpsync send {name} --from now; or "
                f"send every row: cdpsync send {name} --backfill."
            )

    def _nothing_changed(
        self, con: duckdb.DuckDBPyConnection, request: FeedRequest, position: Position
    ) -> DeliveryResult:
        """Return an empty result; move a position on that is old, so that it pins nothing."""
        if self._settler.started_at - position.snapshot_time < POSITION_AGE:
            return self._settler.result(self._state)
        return self._saved(request, newest_position(con, request), self._state.outbox)

    def _confirm(self, rows: int) -> None:
        name = self._destination.name
        if rows > MANY_ROWS and not self._options.confirm(name, rows):
            raise ConfigError(
                f"{name}: this would send {plural(rows, 'row')} for the first time, and nobody has "
                f"confirmed it. Send them: cdpsync send {name} --backfill -y; or only what changes "
                f"from now on: cdpsync send {name} --from now."
            )


def require_sendable(destination: Destination) -> None:
    """Raise ConfigError for a destination whose values are missing, or that is switched off."""
    if destination.problem:
        raise ConfigError(destination.problem)
    if not destination.enabled:
        raise ConfigError(
            f'{destination.location}: destination "{destination.name}" has enabled: false.'
        )


def require_health(destination: Destination, health: Health) -> None:
    """Raise DeliveryError for a destination whose health lets nothing be sent now."""
    supervisor = Supervisor(destination.name, health)
    supervisor.begin(clock.now())
    if supervisor.stop is not None:
        raise DeliveryError(supervisor.stop.message)


def failed(destination: Destination, error: Exception) -> DeliveryResult:
    """Return the result of a destination whose send ended with an error."""
    message = error.message if isinstance(error, CdpsyncError) else redact(str(error))
    return DeliveryResult(
        destination.name,
        destination.source,
        "failed",
        HealthState.HEALTHY,
        error=Failure(type(error).__name__, message),
    )


def _added(result: DeliveryResult, earlier: DeliveryResult | None) -> DeliveryResult:
    """Return a result with the counts of an earlier one of the same send."""
    if earlier is None:
        return result
    names = (
        "triggered", "filtered", "masked", "succeeded", "dead", "retried", "requests", "bytes_sent",
    )  # fmt: skip
    sums = {name: getattr(result, name) + getattr(earlier, name) for name in names}
    notices = tuple(dict.fromkeys((*earlier.notices, *result.notices)))
    return replace(result, notices=notices, **sums)


def _moment(start: str | datetime) -> datetime | None:
    """Return the time that a start names; None for now. Raises ConfigError for neither."""
    if isinstance(start, datetime):
        return start
    if start == "now":
        return None
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise ConfigError(
            f"--from {start}: must be now, all, or a time such as 2026-01-31T12:00:00."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
