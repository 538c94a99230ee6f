"""Supervises a dispatch: keeps the health of its destination, and knows when to stop."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery import health as rules
from cdpsync.destinations.delivery.health import Permit, Transition
from cdpsync.destinations.delivery.results import Stop, StopReason
from cdpsync.model.deliveries import Health, HealthState
from cdpsync.redact import redact

if TYPE_CHECKING:
    from datetime import datetime

    from cdpsync.destinations.delivery.results import Tally

_REFUSED_LOGINS = 3
_FEWEST_DEAD = 20
_YEAR = 365 * 86_400.0  # seconds

LONGEST_WAIT = 300.0
"""Seconds that a destination may let a run wait without taking anything."""


def later(moment: datetime, seconds: float) -> datetime:
    """Return the time so many seconds later; a year later for what is longer."""
    return moment + timedelta(seconds=min(seconds, _YEAR))


class Supervisor:
    """The health of a destination during a dispatch, and the `stop` once there is a reason."""

    def __init__(self, destination: str, health: Health) -> None:
        self._destination = destination
        self.health = health
        self.transitions: list[Transition] = []
        self.stop: Stop | None = None
        self.is_probe = False
        self._refused_logins = 0
        self._asking_since: float | None = None

    def begin(self, now: datetime) -> None:
        """Look whether anything may be sent, or a probe alone."""
        permit = rules.permit(self.health, now)
        self.is_probe = permit is Permit.PROBE
        if permit is Permit.NOTHING:
            self._stop_sending(now)

    def most_requests(self, connections: int) -> int:
        """Return how many requests may be under way."""
        if self.is_probe:
            return 1
        if self.health.state is HealthState.HEALTHY:
            return connections
        return max(connections // 2, 1)

    def charge(self, faults: int, slowness: float, now: datetime, reason: str) -> None:
        """Charge the health for answers that came together; stop if it is quarantined then."""
        charged = rules.charge(
            self.health, errors=faults, slowness=slowness, now=now, reason=redact(reason)
        )
        self._set_health(charged, now)
        if charged.state is HealthState.QUARANTINED:
            self._stop_sending(now)

    def end_probe(self, error: str | None, now: datetime) -> None:
        """Go on after a probe that was answered; stop after one that failed with this error."""
        self.is_probe = False
        if error is None:
            self._set_health(rules.probe_passed(self.health, now), now)
        else:
            self._set_health(rules.probe_failed(self.health, now, redact(error)), now)
            self._stop_sending(now)

    def count_login(self, error: str | None) -> bool:
        """Count an answer, of refused credentials with this error; return whether all are held."""
        if error is None:
            self._refused_logins = 0
            return False
        self._refused_logins += 1
        if self._refused_logins >= _REFUSED_LOGINS:
            self._set_stop(
                StopReason.CREDENTIALS,
                f"the credentials were refused ({error}). Check them; the changes are held, and "
                "the next send goes on with them",
            )
        return self._refused_logins >= _REFUSED_LOGINS

    def refuse_login(self, error: str, advice: str) -> None:
        """Stop because no access token is given to these credentials."""
        self._set_stop(
            StopReason.CREDENTIALS,
            f"the credentials were refused: the token request was answered {error}. {advice}; the "
            "changes are held, and the next send goes on with them",
        )

    def lack_token(self, attempts: int, error: str) -> None:
        """Stop because no access token came, though it was asked for again and again."""
        self._set_stop(
            StopReason.TOKENLESS,
            f"there is no access token after {attempts} attempts ({error}). The changes are held, "
            "and the next send goes on with them",
        )

    def disable(self, error: str, now: datetime) -> None:
        """Disable a destination that says that it is gone."""
        self._set_health(rules.disable(self.health, now, redact(error)), now)
        self._set_stop(
            StopReason.GONE,
            f"it is gone ({error}), and is disabled now. Check its url, then: cdpsync destinations "
            f"enable {self._destination}",
        )

    def pause(self, until: float, now: float, error: str) -> None:
        """Note that the destination asks for a pause; stop once it only asks, and takes nothing.

        `until` and `now` are seconds of a clock that never goes back.
        """
        if self._asking_since is None:
            self._asking_since = now
        if until - self._asking_since > LONGEST_WAIT:
            self._set_stop(
                StopReason.ASKED_TO_WAIT,
                f"it asks to wait again and again, and took nothing for {LONGEST_WAIT / 60:.0f} "
                f"minutes ({error}). The changes are held, and the next send goes on with them",
            )

    def count_delivery(self) -> None:
        """Note that a request was taken: the destination works."""
        self._refused_logins = 0
        self._asking_since = None

    def wait_for_later_run(self, seconds: float, now: datetime, error: str) -> None:
        """Stop because the destination asks to wait for longer than a run does."""
        until = later(now, seconds)
        self._set_stop(
            StopReason.ASKED_TO_WAIT,
            f"it asks to wait {seconds:,.0f} s ({error}). The changes are held; send again then",
            until,
        )

    def look_at_dead_letters(self, tally: Tally, error: str) -> None:
        """Stop where most changes are refused: the configuration is likelier wrong than they."""
        self.stop_if_most(tally.dead, tally.dead + tally.delivered, error)

    def stop_if_most(self, dead: int, settled: int, error: str) -> None:
        """Stop if more than half of what is settled is dead, and there is enough of it to tell."""
        if dead >= _FEWEST_DEAD and dead * 2 > settled:
            self._set_stop(
                StopReason.MOSTLY_DEAD,
                f"{dead:,} of {settled:,} changes were refused, the last with: {error}. The others "
                "are held; check the configuration, then send again",
            )

    def _stop_sending(self, now: datetime) -> None:
        """Stop because of the health."""
        reason = f" ({self.health.reason})" if self.health.reason else ""
        if self.health.state is HealthState.QUARANTINED:
            moment = rules.next_probe(self.health, now)
            self._set_stop(
                StopReason.QUARANTINED,
                f"it failed too often{reason} and is quarantined. The changes are held; one is "
                f"sent as a probe from {moment:%Y-%m-%d %H:%M} UTC on",
            )
        else:
            self._set_stop(
                StopReason.DISABLED,
                f"it is {self.health.state}{reason}. The changes are held; once it works again: "
                f"cdpsync destinations enable {self._destination}",
            )

    def _set_stop(self, reason: StopReason, message: str, until: datetime | None = None) -> None:
        """Keep the first reason, because later ones follow from requests that were under way."""
        if self.stop is None:
            self.stop = Stop(reason, redact(message), until)

    def _set_health(self, changed: Health, now: datetime) -> None:
        if (moved := rules.transition(self.health, changed, now)) is not None:
            self.transitions.append(moved)
        self.health = changed
