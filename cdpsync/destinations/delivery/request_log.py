"""The log of requests, for -v: each that failed, and some of those that were taken."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.answers import Outcome

if TYPE_CHECKING:
    from cdpsync.destinations.delivery.connections import HttpAnswer
    from cdpsync.destinations.delivery.requests import Parcel

log = logging.getLogger("cdpsync.destinations.delivery")

_LOGGED = 100  # one of so many requests that were taken


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Logs requests of an outbox, without their URLs and bodies, which may have secrets."""

    destination: str
    outbox: str

    def note_some(self, parcel: Parcel, answer: HttpAnswer, number: int) -> None:
        """Log a request that was taken, if its number is a multiple of a hundred."""
        if number % _LOGGED == 0:
            self.note(parcel, answer, Outcome.TAKEN, "")

    def note(self, parcel: Parcel, answer: HttpAnswer, outcome: Outcome, error: str) -> None:
        """Log a request with what came of it. `error` has no secret."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        fields = {
            "destination": self.destination,
            "outbox": self.outbox,
            "changes": [parcel.first, parcel.last],
            "attempt": parcel.earlier + parcel.attempts + 1,
            "status": answer.status,
            "ms": round(answer.seconds * 1000, 1),
            "outcome": outcome.value,
            "error": error,
        }
        message = f"{self.destination}: {outcome.value} ({answer.status}) {error}".rstrip()
        log.debug("%s", message, extra={"event": "request", "fields": fields})

    def note_token(self, answer: HttpAnswer, error: str) -> None:
        """Log a token request that brought no token. `error` has no secret."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        fields = {"destination": self.destination, "status": answer.status, "error": error}
        message = f"{self.destination}: no access token: {error}"
        log.debug("%s", message, extra={"event": "token", "fields": fields})
