"""Sends the changes of one destination, from its position to the lake's transaction.

    changes since the position, and held ones -> events -> outbox -> requests -> one transaction

Events and outbox are files below the project's `.cdpsync/outbox/<destination>`. A process that dies
leaves them, and the next send goes on from them.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.destinations.checks import require_compiled
from cdpsync.destinations.delivery import health as healths
from cdpsync.destinations.delivery.outbox import Outbox
from cdpsync.destinations.delivery.tokens import Tokens
from cdpsync.destinations.events import write_events
from cdpsync.destinations.feed_requests import feed_request
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.destinations.feeds.lake_tables import find_table
from cdpsync.destinations.feeds.positions import newest_position, start_position
from cdpsync.destinations.held import look_at_held
from cdpsync.destinations.places import Places
from cdpsync.destinations.recovery import details_of, unsettled_batches
from cdpsync.destinations.rendering import feed_digest, render
from cdpsync.destinations.sendable import require_health, require_sendable
from cdpsync.destinations.settling import Batch, Settler, added, dispatch, waiting_notice
from cdpsync.errors import ConfigError
from cdpsync.model.deliveries import (
    DeliveryResult,
    DestinationState,
    HealthState,
    MaskWindow,
    Position,
)
from cdpsync.project import catalog_of
from cdpsync.serialize.text import plural
from cdpsync.system import clock, disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import duckdb

    from cdpsync.destinations.feeds.changes import FeedRequest
    from cdpsync.destinations.feeds.feed import Feed
    from cdpsync.model import Config
    from cdpsync.model.destinations import Destination

log = logging.getLogger("cdpsync.destinations")

MANY_ROWS = 10_000
"""A first send of more rows is confirmed by a person."""

POSITION_AGE = timedelta(days=1)
"""A position this old is moved on, although nothing has changed, because it pins snapshots."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """The options of a send; `runner.send` documents them."""

    start: str | None = None
    limit: int | None = None
    tries_held: bool = False
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
        self._tokens = Tokens(self._places.tokens, destination.name)
        self._state = DestinationState(destination.name, destination.source, None)
        self._windows: tuple[MaskWindow, ...] = ()
        self._has_failed = False  # the send before this one
        self._settler = Settler(
            self._catalog, destination, self._places, run_id, started_at=clock.now()
        )

    def send(self) -> DeliveryResult:
        """Send what an earlier process left, and what has changed since; return what came of it.

        An error is this destination's alone: it is the result, and in the history. Raises
        CatalogError where the history cannot be written.
        """
        try:
            return self._send()
        except Exception as error:
            log.debug("%s", self._destination.name, exc_info=error)
            return self._settler.fail(error)

    def _send(self) -> DeliveryResult:
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
            batch = self._prepare(con)
        result = self._deliver(batch) if isinstance(batch, Batch) else batch
        return added(result, earlier)

    @contextmanager
    def _reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend the lake as it is now, with the destination's state."""
        if self._options.is_stopped():
            raise KeyboardInterrupt
        if not self._catalog.exists():
            raise ConfigError(
                f"{self._destination.name}: there is no lake yet. Load it: cdpsync run."
            )
        with self._catalog.reader(keep=False) as con:
            tables = DeliveryTables(con)
            self._state = tables.states().get(self._destination.name, self._state)
            self._windows = tables.masks(self._destination.name)
            latest = tables.latest_deliveries().get(self._destination.name)
            self._has_failed = latest is not None and latest.result.error is not None
            if self._state.health.state is HealthState.STALE:  # unless it is found stale again
                self._state = replace(self._state, health=healths.enable(clock.now()))
            yield con

    def _deliver(self, batch: Batch) -> DeliveryResult:
        """Send an outbox and settle it."""
        health = self._state.health
        dispatched = dispatch(
            self._destination,
            batch.outbox,
            batch.rendering,
            health,
            self._tokens,
            self._options.is_stopped,
        )
        return self._settler.settle(batch, self._state, dispatched)

    # ---- what an earlier process left

    def _left_behind(self, con: duckdb.DuckDBPyConnection) -> Batch | None:
        """Return the outbox of a process that died; None if there is none to go on with.

        If the project file says otherwise now, what is left of it is held, and rendered anew.
        """
        self._places.remove_settled(self._state.outbox)
        for batch in unsettled_batches(con, self._destination, self._places):
            if batch.rendering is not None:
                return batch
            self._settler.notices.append(
                "the project file has changed: what an earlier send left is rendered anew"
            )
            self._settler.settle(batch, self._state, None)
        return None

    # ---- a new outbox

    def _prepare(self, con: duckdb.DuckDBPyConnection) -> Batch | DeliveryResult:
        """Return an outbox of what has changed; a result where there is nothing to send."""
        request = feed_request(con, self._destination, self._places, self._state)
        feed = feed_of(request)
        after = self._position(con, feed)
        if isinstance(after, DeliveryResult):
            return after
        held, has_key = self._held_file(request), bool(request.key)
        if after is not None and not feed.is_behind(con, after):
            if not self._state.held:
                return self._nothing_changed(con, feed.request, after)
            if (result := self._if_too_early(held, has_key=has_key)) is not None:
                return result
        changes = feed.read(con, after)
        self._settler.notices += changes.notices
        if after is None:
            self._confirm(changes.total)
        events = write_events(
            con,
            self._destination,
            self._places.events(self._run_id),
            held=held,
            windows=self._windows,
            now=self._settler.started_at,
            limit=self._options.limit,
            has_key=has_key,
            tries_all=self._options.tries_held,
        )
        if held and (result := self._if_too_early(events.file, has_key=has_key)) is not None:
            events.file.unlink()
            return result
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
            details=details_of(
                self._destination, changes.position, events, feed_id, has_key=has_key
            ),
        )
        return Batch(
            outbox,
            rendering,
            changes.position,
            feed_id,
            events.triggered,
            events.filtered,
            events.masked,
            events.windows,
            has_key=has_key,
        )

    def _if_too_early(self, file: Path | None, *, has_key: bool) -> DeliveryResult | None:
        """Return the result where all changes of a file wait for their next attempt.

        Nothing is saved then, so the error of the last one stays in the history.
        """
        if file is None or self._options.tries_held:
            return None
        waiting = look_at_held(file, has_key=has_key)
        if not waiting.are_all:
            return None
        self._settler.notices.append(waiting_notice(self._destination.name, waiting))
        return replace(self._settler.result(self._state), held=waiting.held)

    def _position(
        self, con: duckdb.DuckDBPyConnection, feed: Feed
    ) -> Position | DeliveryResult | None:
        """Return the position to read from, None for all rows, or the result of only taking one."""
        start: str | datetime | None = self._options.start
        if start is None and self._state.position is None:
            start = self._destination.start
        if start is None:
            self._require_same_feed(feed.request)
            if self._state.position is not None and _lacks_copy(feed):
                self._start_then(feed, self._state.position)
            return self._state.position
        if start == "all":
            feed.request = replace(feed.request, copy=None)  # as if nothing had been delivered
            return None
        moment = _moment(start)
        position = start_position(con, feed.request, moment or "now")
        if moment is None or position is None:
            return self._start_here(con, feed, position)
        if feed.request.table is None or feed.request.keep:
            self._start_then(feed, position)
        return position

    def _start_then(self, feed: Feed, position: Position) -> None:
        """Take what a query, or a table with `keep`, gave at a position for delivered.

        Of a query whose copy is gone, nobody knows what was delivered: raise ConfigError.
        """
        if feed.request.table is None and self._state.config is not None and not self._is_new:
            raise ConfigError(self._where_to_go_on("what was delivered of its query is not known"))
        copy = self._places.copy(f"{self._run_id}-start")
        with self._catalog.reader(str(position.snapshot_id), keep=False) as con:
            feed.read(con, None)
            feed.write_copy(con, copy)
        feed.request = replace(feed.request, copy=copy)

    def _start_here(
        self, con: duckdb.DuckDBPyConnection, feed: Feed, position: Position | None
    ) -> DeliveryResult:
        """Save a position and send nothing."""
        if position is None or position.table_uuid is None:
            self._require_table(con, feed.request)
        require_compiled(con, self._config, self._destination)
        outbox = self._state.outbox
        if feed.request.table is None or feed.request.keep:
            feed.read(con, None)
            feed.write_copy(con, self._places.copy(self._run_id))
            outbox = self._run_id
            if self._held_file(feed.request) is not None:
                self._places.keep_held(self._state.outbox, outbox)
        self._settler.notices.append(
            "it starts here: nothing was sent, and the next send has what changes from now on. To "
            f"send every row: cdpsync send {self._destination.name} --backfill"
        )
        return self._saved(feed.request, position, outbox)

    def _saved(
        self, request: FeedRequest, position: Position | None, outbox: str | None
    ) -> DeliveryResult:
        is_loaded = request.table is None or (position is not None and position.table_uuid)
        digest_of_feed = feed_digest(self._destination, request.key)
        is_same = self._state.config in (None, digest_of_feed)
        state = replace(
            self._state,
            source=self._destination.source,
            position=position,
            outbox=outbox,
            # The key of a table that is not there yet is not known.
            config=digest_of_feed if is_loaded else None,
            held=self._state.held if is_same else 0,
            held_since=self._state.held_since if is_same else None,
            hold=self._destination.hold,
        )
        result = self._settler.result(state)
        self._settler.save(state, result)
        return result

    def _require_same_feed(self, request: FeedRequest) -> None:
        if self._state.config not in (None, feed_digest(self._destination, request.key)):
            raise ConfigError(
                self._where_to_go_on("its table, query or key is another one than before")
            )

    def _where_to_go_on(self, reason: str) -> str:
        name = self._destination.name
        return (
            f'{self._destination.location}: destination "{name}": {reason}. Say where to go on: '
            f"cdpsync send {name} --from now; or send every row: cdpsync send {name} --backfill."
        )

    def _held_file(self, request: FeedRequest) -> Path | None:
        """Return the file of held changes, if there are any, and they are of this feed."""
        state = self._state
        if not state.held or state.outbox is None:
            return None
        if state.config not in (None, feed_digest(self._destination, request.key)):
            held = plural(state.held, "held change")
            self._settler.notices.append(f"{held} of its earlier table or query left out")
            return None
        return self._places.held(state.outbox)

    def _require_table(self, con: duckdb.DuckDBPyConnection, request: FeedRequest) -> None:
        """Raise CatalogError for a table that the lake lacks, and that no source will load."""
        if request.table is not None and request.table.schema not in self._config.sources:
            find_table(con, request)

    def _nothing_changed(
        self, con: duckdb.DuckDBPyConnection, request: FeedRequest, position: Position
    ) -> DeliveryResult:
        """Return an empty result; move a position on that is new, or old and pins snapshots."""
        if self._is_new:
            outbox = self._state.outbox
            if request.copy is not None:
                outbox = self._run_id
                request.copy.rename(self._places.copy(outbox))
                disk.fsync(self._places.folder)
            return self._saved(request, position, outbox)
        if self._settler.started_at - position.snapshot_time >= POSITION_AGE:
            return self._saved(request, newest_position(con, request), self._state.outbox)
        if self._has_failed:  # and does not fail any more
            return self._saved(request, position, self._state.outbox)
        return self._settler.result(self._state)

    @property
    def _is_new(self) -> bool:
        """Whether the position to read from is another one than the state has."""
        return self._options.start is not None or self._state.position is None

    def _confirm(self, rows: int) -> None:
        name = self._destination.name
        if rows > MANY_ROWS and not self._options.confirm(name, rows):
            raise ConfigError(
                f"{name}: this would send {plural(rows, 'row')} for the first time, and nobody has "
                f"confirmed it. Send them: cdpsync send {name} --backfill -y; or only what changes "
                f"from now on: cdpsync send {name} --from now."
            )


def _lacks_copy(feed: Feed) -> bool:
    """Whether a feed compares with a copy of what was delivered, and there is none."""
    keeps = feed.request.table is None or feed.request.keep
    return keeps and feed.request.copy is None


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
