"""Reasons for which a dispatch stops, in sentences with the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.destinations import health as health_rules
from cdpsync.destinations.results import Stop, StopReason
from cdpsync.model.destinations import Health, HealthState

if TYPE_CHECKING:
    from datetime import datetime


def not_sent(health: Health, now: datetime) -> Stop:
    """Return the stop of a destination whose health lets nothing be sent."""
    reason = f" ({health.reason})" if health.reason else ""
    if health.state is HealthState.QUARANTINED:
        moment = health_rules.next_probe(health, now)
        return Stop(
            StopReason.QUARANTINED,
            f"it failed too often{reason} and is quarantined. The changes are held; one is sent as "
            f"a probe from {moment:%Y-%m-%d %H:%M} UTC on",
        )
    return Stop(
        StopReason.DISABLED,
        f"it is {health.state}{reason}. The changes are held; once it works again: cdpsync "
        "destinations enable",
    )


def mostly_dead(dead: int, of: int, error: str) -> Stop:
    """Return the stop of a destination that refuses most changes."""
    return Stop(
        StopReason.MOSTLY_DEAD,
        f"{dead:,} of {of:,} changes were refused, the last with: {error}. The others are held; "
        "check the configuration, then send again",
    )
