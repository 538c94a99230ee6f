"""Results of a dispatch: its counts, why it stopped, and how long answers took."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from cdpsync.destinations.delivery.health import Transition
    from cdpsync.model.deliveries import Health

_TICKS = 10_000  # per second: the precision of latencies
_KINDS_OF_FAULTS = 100


class StopReason(StrEnum):
    """Why a dispatch ended before all changes were tried."""

    CREDENTIALS = "credentials refused"
    TOKENLESS = "no access token"
    GONE = "gone"
    QUARANTINED = "quarantined"
    DISABLED = "disabled"
    ASKED_TO_WAIT = "asked to wait"
    MOSTLY_DEAD = "mostly dead"


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a dispatch stopped; `message` is a sentence with the next step, without a place.

    `until`: before then nothing is to be tried again.
    """

    reason: StopReason
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DispatchResult:
    """What came of the changes of an outbox in one dispatch.

    `delivered` and `dead` count what this dispatch settled; `held` is what is not settled, of which
    `untried` was never sent. `faults` are messages of failed and refused requests, the most
    frequent first. Which change is what, `Outbox.settlements` says.
    """

    delivered: int
    held: int
    dead: int
    untried: int
    retried: int
    requests: int
    bytes_sent: int
    seconds: float
    p50_ms: float | None
    p95_ms: float | None
    health: Health
    transitions: tuple[Transition, ...] = ()
    stop: Stop | None = None
    faults: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Tally:
    """Counts of a dispatch that is under way."""

    delivered: int = 0
    dead: int = 0
    retried: int = 0
    requests: int = 0
    answers: int = 0
    bytes_sent: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    _latencies: Counter[int] = field(default_factory=Counter)

    def answer(self, seconds: float) -> None:
        """Count an answer that took so long."""
        self.answers += 1
        self._latencies[int(seconds * _TICKS)] += 1

    def fault(self, message: str) -> None:
        """Count a failed or refused request by its message."""
        if message in self.faults or len(self.faults) < _KINDS_OF_FAULTS:
            self.faults[message] += 1

    def percentile_ms(self, share: float) -> float | None:
        """Return the time within which this share of the answers came, in milliseconds."""
        rank = share * self._latencies.total()
        passed = 0
        for ticks, count in sorted(self._latencies.items()):
            passed += count
            if passed >= rank:
                return ticks * 1000 / _TICKS
        return None

    def result(
        self,
        *,
        held: int,
        untried: int,
        seconds: float,
        health: Health,
        transitions: tuple[Transition, ...],
        stop: Stop | None,
    ) -> DispatchResult:
        """Return the result of the dispatch that has these counts."""
        return DispatchResult(
            delivered=self.delivered,
            held=held,
            dead=self.dead,
            untried=untried,
            retried=self.retried,
            requests=self.requests,
            bytes_sent=self.bytes_sent,
            seconds=seconds,
            p50_ms=self.percentile_ms(0.5),
            p95_ms=self.percentile_ms(0.95),
            health=health,
            transitions=transitions,
            stop=stop,
            faults=tuple(self.faults.most_common()),
        )
