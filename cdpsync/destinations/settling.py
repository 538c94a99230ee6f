"""Settles an outbox: one transaction with position, health, held changes, dead letters, record."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.catalog.transaction import transaction
from cdpsync.destinations.delivery.dispatch import Dispatcher
from cdpsync.destinations.delivery.journal import DELIVERED
from cdpsync.destinations.delivery.refusals import dead_letters
from cdpsync.destinations.held import Waiting, write_held
from cdpsync.destinations.sendable import failed
from cdpsync.errors import StalePositionError
from cdpsync.model import Failure
from cdpsync.model.deliveries import (
    DeliveryRecord,
    DeliveryResult,
    DestinationState,
    Health,
    HealthState,
)
from cdpsync.serialize.text import plural
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from cdpsync.catalog import CatalogFile
    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.destinations.delivery.results import DispatchResult
    from cdpsync.destinations.delivery.tokens import Tokens
    from cdpsync.destinations.places import Places
    from cdpsync.destinations.rendering import Rendering
    from cdpsync.model.deliveries import DeadLetter, MaskWindow, Position
    from cdpsync.model.destinations import Destination


@dataclass(frozen=True, slots=True)
class Batch:
    """An outbox to send, with what its transaction will say.

    Without a `rendering` it is not sent any more. `is_recovered`: a process has died over it.
    """

    outbox: Outbox
    rendering: Rendering | None
    position: Position
    feed: str
    triggered: int = 0
    filtered: int = 0
    masked: int = 0
    windows: tuple[MaskWindow, ...] = ()
    is_recovered: bool = False
    has_key: bool = True


def dispatch(
    destination: Destination,
    outbox: Outbox,
    rendering: Rendering | None,
    health: Health,
    tokens: Tokens,
    is_stopped: Callable[[], bool] = lambda: False,
) -> DispatchResult | None:
    """Send an outbox; None where it is empty, or is not to be sent any more.

    Raises KeyboardInterrupt once `is_stopped` says so; the journal has what was answered.
    """
    if not outbox.rows or rendering is None:
        return None
    return Dispatcher(
        destination,
        outbox,
        rendering.routes,
        marks=rendering.marks,
        health=health,
        tokens=tokens,
        is_stopped=is_stopped,
    ).send()


@dataclass(slots=True)
class Settler:
    """Commits what came of the sends of one destination in one run."""

    catalog: CatalogFile
    destination: Destination
    places: Places
    run_id: str
    started_at: datetime
    notices: list[str] = field(default_factory=list)
    _start: float = field(default_factory=time.monotonic)

    def settle(
        self, batch: Batch, state: DestinationState, dispatched: DispatchResult | None
    ) -> DeliveryResult:
        """Save in one transaction what came of an outbox; then remove its files.

        Held changes are in a file that counts from this transaction on, because the state names the
        outbox.
        """
        outbox = batch.outbox
        settlements = outbox.settlements()
        held = write_held(
            self.places.events(outbox.id),
            outbox,
            settlements,
            self.places.held(outbox.id),
            is_recovered=batch.is_recovered,
            not_before=dispatched.stop.until if dispatched and dispatched.stop else None,
            has_key=batch.has_key,
        )
        letters = tuple(
            dead_letters(
                outbox,
                settlements,
                destination=self.destination,
                routes=batch.rendering.routes if batch.rendering else {},
                marks=batch.rendering.marks if batch.rendering else {},
            )
        )
        delivered = settlements.count(DELIVERED)
        state = replace(
            state,
            source=self.destination.source,
            position=batch.position,
            health=dispatched.health if dispatched else state.health,
            outbox=outbox.id,
            config=batch.feed,
            held=held.held,
            held_since=held.since,
            last_delivery_at=clock.now() if delivered else state.last_delivery_at,
            hold=self.destination.hold,
        )
        result = replace(
            self.result(state),
            triggered=batch.triggered,
            filtered=batch.filtered,
            masked=batch.masked,
            succeeded=delivered,
            held=held.held,
            dead=len(letters),
        )
        result = with_dispatch(result, dispatched, held)
        self.save(state, result, letters, batch.windows)
        outbox.remove()
        self.places.remove_settled(outbox.id)
        return result

    def fail(self, error: Exception) -> DeliveryResult:
        """Record a send that ended with an error; the state stays, so that nothing is lost."""
        if not self.catalog.exists():
            return failed(self.destination, error)
        with self.catalog.reader(data=False) as con:
            states = DeliveryTables(con).states()
        name = self.destination.name
        state = states.get(name, DestinationState(name, self.destination.source, None))
        if isinstance(error, StalePositionError):
            stale = Health(HealthState.STALE, since=clock.now(), reason="its position has expired")
            state = replace(state, health=stale)
        result = failed(self.destination, error, state.health.state)
        self.save(state, replace(result, seconds=time.monotonic() - self._start))
        return result

    def save(
        self,
        state: DestinationState,
        result: DeliveryResult,
        letters: Sequence[DeadLetter] = (),
        windows: Sequence[MaskWindow] | None = None,
    ) -> None:
        """Commit the state with what came of a send. `windows` None: those of masks stay."""
        record = DeliveryRecord(self.run_id, self.started_at, clock.now(), result)
        with self.catalog.writer(data=False) as con:
            Lake(con).system_tables.prepare()
            tables = DeliveryTables(con)
            tables.prepare()
            with transaction(con, f"{self.run_id}: sent to {self.destination.name}"):
                tables.save(state)
                tables.record(record)
                tables.add_dead_letters(letters)
                if windows is not None and self.destination.mask is not None:
                    tables.save_masks(self.destination.name, windows)

    def result(self, state: DestinationState) -> DeliveryResult:
        """Return the result of a send that went well, without its counts."""
        return DeliveryResult(
            self.destination.name,
            self.destination.source,
            "ok",
            state.health.state,
            seconds=time.monotonic() - self._start,
            notices=tuple(self.notices),
        )


def waiting_notice(destination: str, held: Waiting) -> str:
    """Return how many changes wait, until when, and how to try them at once."""
    return (
        f"{plural(held.waiting, 'held change')} for later: {next_attempt(held)}; at once: cdpsync "
        f"send {destination}"
    )


def next_attempt(held: Waiting) -> str:
    """Return when the next attempt is due."""
    if held.next_at is None:
        return "the next send tries them first"
    return f"the next attempt is due at {held.next_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def with_dispatch(
    result: DeliveryResult, dispatched: DispatchResult | None, held: Waiting | None = None
) -> DeliveryResult:
    """Return a result with the figures of a dispatch, and its error.

    `held` is all that is held now, also what was not tried; None for a replay, which holds nothing.
    """
    waits = held is not None and held.waiting and not (dispatched and dispatched.held)
    if held is not None and waits:
        notice = waiting_notice(result.destination, held)
        result = replace(result, notices=(*result.notices, notice))
    if dispatched is None:
        return result
    notices = [
        f"{moved.before} -> {moved.after}: {moved.reason}" for moved in dispatched.transitions
    ]
    if result.dead:
        letters = plural(result.dead, "dead letter")
        notices.append(f"{letters}: cdpsync dead show {result.destination}")
    error = None
    if dispatched.stop is not None:
        error = Failure("DeliveryError", dispatched.stop.message)
    elif dispatched.held:
        fault = dispatched.faults[0][0] if dispatched.faults else "not sent"
        count = plural(dispatched.held, "change")
        due = "they stay dead letters" if held is None else next_attempt(held)
        error = Failure("DeliveryError", f"{count} held ({fault}); {due}")
    return replace(
        result,
        status="failed" if error else "ok",
        error=error,
        retried=dispatched.retried,
        requests=dispatched.requests,
        bytes_sent=dispatched.bytes_sent,
        p50_ms=dispatched.p50_ms,
        p95_ms=dispatched.p95_ms,
        notices=(*result.notices, *notices),
    )


def added(result: DeliveryResult, earlier: DeliveryResult | None) -> DeliveryResult:
    """Return a result with the counts of an earlier one of the same send."""
    if earlier is None:
        return result
    names = (
        "triggered", "filtered", "masked", "succeeded", "dead", "retried", "requests", "bytes_sent",
    )  # fmt: skip
    sums = {name: getattr(result, name) + getattr(earlier, name) for name in names}
    notices = tuple(dict.fromkeys((*earlier.notices, *result.notices)))
    return replace(result, notices=notices, **sums)
