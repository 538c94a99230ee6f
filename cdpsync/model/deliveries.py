"""Deliveries: the position and health of a destination, what came of sends, and dead letters."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cdpsync.model.results import Failure


class HealthState(StrEnum):
    """How a destination answers.

    Degraded: half of the connections. Quarantined: nothing is sent but a probe now and then.
    Disabled: nothing is sent until `cdpsync destinations enable`. Stale: its position has expired.
    """

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    QUARANTINED = "quarantined"
    DISABLED = "disabled"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a destination has been sent: a snapshot, with its time.

    `table` is what feeds it, `shop.orders` or `sql`. `table_uuid` is that of the table in this
    snapshot; None for a query, and where there was no table yet.
    """

    destination: str
    table: str
    table_uuid: str | None
    snapshot_id: int
    snapshot_time: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a destination between two runs. `tokens` are of 10,000.

    `since` is the time of the last change of state, or of the last probe; `counted_at` that of
    the tokens, which come back with time.
    """

    state: HealthState = HealthState.HEALTHY
    tokens: float = 10_000.0
    since: datetime | None = None
    probes: int = 0
    reason: str | None = None
    counted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DestinationState:
    """What is kept of a destination between two runs.

    `outbox` is the id of its last settled change set, whose files say what is held: `held` changes,
    the oldest since `held_since`. `config` is a digest of what its position is about: source and
    key. `hold` is how long its position keeps snapshots from expiring.
    """

    name: str
    source: str
    position: Position | None
    health: Health = field(default_factory=Health)
    outbox: str | None = None
    config: str | None = None
    held: int = 0
    held_since: datetime | None = None
    last_delivery_at: datetime | None = None
    hold: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class MaskWindow:
    """How often a mask has seen a value since the start of its window; the value is a hash."""

    hash: str
    start: datetime
    seen: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A change that a destination refused, or that could not be delivered in time."""

    id: str
    destination: str
    source: str
    key: str
    change: str
    snapshot_id: int
    event_id: str
    method: str | None
    url: str | None
    body: str | None
    status: int | None
    response: str | None
    error: str
    attempts: int
    first_at: datetime
    last_at: datetime
    replayed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of one destination in one run.

    triggered = filtered + masked + sent; sent = succeeded + held + dead. `seconds`, `p50_ms` and
    `p95_ms` are of requests. `status` is ok, failed or skipped, and `state` the health
    afterwards; None: it was not looked at.
    """

    destination: str
    source: str
    status: str
    state: HealthState | None
    triggered: int = 0
    filtered: int = 0
    masked: int = 0
    succeeded: int = 0
    held: int = 0
    dead: int = 0
    retried: int = 0
    requests: int = 0
    bytes_sent: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    seconds: float = 0.0
    error: Failure | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """What came of one destination in one run, as the history has it."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    result: DeliveryResult


@dataclass(frozen=True, slots=True)
class DestinationOverview:
    """A destination in `status`: its health, what it is behind, its last delivery.

    `behind_rows` are held changes, and those rows of its table that came after its position, as far
    as the catalog tells; None: not known. `behind_since` is the time of the oldest.
    """

    name: str
    type: str
    source: str
    status: str
    state: HealthState
    every: timedelta | None = None
    last_run_at: datetime | None = None
    last_delivery_at: datetime | None = None
    next_due_at: datetime | None = None
    behind_rows: int | None = None
    behind_since: datetime | None = None
    held: int = 0
    dead_letters: int = 0
    reason: str | None = None
    error: Failure | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of a send: one result per destination. `status` is ok, partial or failed."""

    run_id: str
    status: str
    started_at: datetime
    finished_at: datetime
    destinations: tuple[DeliveryResult, ...]


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """A request as it would be sent, its secrets starred; with an answer where it was sent.

    `error` says why it cannot be sent, or what the answer means. `response` has 4 kB at most.
    """

    destination: str
    key: str | None
    change: str | None
    method: str | None
    url: str | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    status: int | None = None
    response: str | None = None
    milliseconds: float | None = None
    error: str | None = None
