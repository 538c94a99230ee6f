"""Health of a destination: errors and slow answers take tokens, time brings them back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cdpsync.model.deliveries import Health, HealthState

# The numbers of PostHog's watcher of its functions:
# https://github.com/PostHog/posthog/tree/master/nodejs/src/cdp
FULL = 10_000.0
REFILL = 10.0
"""Tokens that come back in a second."""
ERROR_COST = 100.0
"""Tokens of an answer 5xx, a network error or a timeout."""

FAST = 0.1
"""Seconds of an answer that costs nothing."""

_SLOW, _SLOW_COST = 5.0, 20.0  # seconds; tokens of an answer that takes so long
_DEGRADED_AT = 0.8 * FULL
_SLOWNESS_LEAVES = 10 * ERROR_COST
_LOCKED = timedelta(seconds=60)
_PROBES = tuple(timedelta(minutes=minutes) for minutes in (10, 20, 40))


class Permit(StrEnum):
    """How much may be sent now: all, by half of the connections, one row, or nothing."""

    ALL = "all"
    HALF = "half"
    PROBE = "probe"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, of which a user is notified once."""

    before: HealthState
    after: HealthState
    at: datetime
    reason: str


def slowness_cost(seconds: float) -> float:
    """Return the tokens of an answer that took so long: none up to 0.1 s, at most 20 from 5 s."""
    return _SLOW_COST * min(max(seconds - FAST, 0.0) / (_SLOW - FAST), 1.0)


def permit(health: Health, now: datetime) -> Permit:
    """Return how much may be sent to a destination now."""
    match health.state:
        case HealthState.HEALTHY:
            return Permit.ALL
        case HealthState.DEGRADED:
            return Permit.HALF
        case HealthState.QUARANTINED:
            return Permit.PROBE if now >= next_probe(health, now) else Permit.NOTHING
        case _:
            return Permit.NOTHING


def next_probe(health: Health, now: datetime) -> datetime:
    """Return when a quarantined destination gets its next probe."""
    wait = _PROBES[min(health.probes, len(_PROBES) - 1)]
    return (health.since or now - wait) + wait


def charge(health: Health, *, errors: int, slowness: float, now: datetime, reason: str) -> Health:
    """Return the health after so many errors and tokens of slow answers, and the time until now.

    Errors alone lead to quarantine: a destination that answers, however slowly, is degraded only.
    """
    if health.state not in (HealthState.HEALTHY, HealthState.DEGRADED):
        return health
    tokens = _refilled(health, now)
    tokens = max(tokens - slowness, min(tokens, _SLOWNESS_LEAVES)) - errors * ERROR_COST
    counted = replace(health, tokens=tokens, counted_at=now)
    if tokens < 0:
        return _moved(replace(counted, probes=0), HealthState.QUARANTINED, now, reason)
    if tokens <= _DEGRADED_AT:
        return _moved(counted, HealthState.DEGRADED, now, reason or "slow answers")
    is_locked = health.since is not None and now - health.since < _LOCKED
    return counted if is_locked else _moved(counted, HealthState.HEALTHY, now, "")


def probe_passed(health: Health, now: datetime) -> Health:
    """Return the health of a quarantined destination that took its probe: degraded, at 80 %."""
    health = replace(health, tokens=_DEGRADED_AT, counted_at=now, probes=0)
    return _moved(health, HealthState.DEGRADED, now, "the probe was taken")


def probe_failed(health: Health, now: datetime, reason: str) -> Health:
    """Return the health of one that failed its probe: after the third it is disabled."""
    probes = health.probes + 1
    if probes >= len(_PROBES):
        return disable(replace(health, probes=probes), now, f"{probes} probes failed: {reason}")
    return replace(health, probes=probes, since=now, reason=reason)


def disable(health: Health, now: datetime, reason: str) -> Health:
    """Return the health of a destination that gets nothing until a user enables it."""
    return _moved(health, HealthState.DISABLED, now, reason)


def enable(now: datetime) -> Health:
    """Return the health of a destination that a user enabled: healthy, with all tokens."""
    return Health(HealthState.HEALTHY, FULL, now, counted_at=now)


def transition(before: Health, after: Health, now: datetime) -> Transition | None:
    """Return the change of state between two values, or None."""
    if before.state == after.state:
        return None
    return Transition(before.state, after.state, now, after.reason or "")


def _refilled(health: Health, now: datetime) -> float:
    """Return the tokens with those of the time since they were counted; a clock may go back."""
    if health.counted_at is None:
        return health.tokens
    seconds = max((now - health.counted_at).total_seconds(), 0.0)
    return min(health.tokens + REFILL * seconds, FULL)


def _moved(health: Health, state: HealthState, now: datetime, reason: str) -> Health:
    if health.state == state:
        return health
    return replace(health, state=state, since=now, reason=reason or None)
