"""Limits of a destination: requests or changes in an interval, and answers that ask to wait."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cdpsync.model.destinations import Rate

_MARGIN = 1.02  # of an interval, because requests travel at different speeds
_LATEST_DELAY = 10_000_000  # a larger number of seconds in X-RateLimit-Reset is a time
_AFTER = ("retry-after", "retry-after-ms")
_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")


class RateLimiter:
    """Keeps to each of some rates, in any interval of their length, wherever it begins."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._windows = [_window(rate) for rate in rates]

    def delay(self, rows: int, now: float) -> float:
        """Return the seconds until a request with so many changes may be sent: 0 if now."""
        return max((window.delay(rows, now) for window in self._windows), default=0.0)

    def take(self, rows: int, now: float) -> None:
        """Count a request that is sent now."""
        for window in self._windows:
            window.take(rows, now)


@dataclass(slots=True)
class _Window:
    """The requests of the last `seconds`, of which there may be `count`, or so many changes."""

    count: int
    seconds: float
    of_rows: bool
    sent: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def delay(self, rows: int, now: float) -> float:
        """Return the seconds until there is room. A request above the whole limit goes alone."""
        self._forget(now)
        excess = self.total + (rows if self.of_rows else 1) - self.count
        if excess <= 0 or not self.sent:
            return 0.0
        for moment, units in self.sent:
            excess -= units
            if excess <= 0:
                return moment + self.seconds - now
        return self.sent[-1][0] + self.seconds - now

    def take(self, rows: int, now: float) -> None:
        units = rows if self.of_rows else 1
        self.sent.append((now, units))
        self.total += units

    def _forget(self, now: float) -> None:
        while self.sent and self.sent[0][0] <= now - self.seconds:
            self.total -= self.sent.popleft()[1]


def _window(rate: Rate) -> _Window:
    """Return the window of a rate; of less than one request per interval, a longer interval."""
    count = max(math.floor(rate.count), 1)
    return _Window(count, rate.per.total_seconds() * count / rate.count * _MARGIN, rate.of_rows)


def asked_delay(headers: Mapping[str, str], response: object, now: datetime) -> float | None:
    """Return how many seconds an answer asks to wait, or None.

    That is Retry-After (seconds, or a date), `retry_after` in the body (seconds, as Discord sends
    it), or the time at which a limit is reset. `headers` have lower-case names.
    """
    for name in _AFTER:
        if (delay := _seconds(headers.get(name, ""), now)) is not None:
            return delay / 1000 if name.endswith("-ms") else delay
    if isinstance(response, dict):
        value = response.get("retry_after")
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    for name in _RESETS:
        if (delay := _seconds(headers.get(name, ""), now)) is not None:
            return delay
    return None


def _seconds(text: str, now: datetime) -> float | None:
    """Return the seconds of a number (of seconds, or since 1970) or of an HTTP date."""
    text = text.strip()
    if re.fullmatch(r"\d{1,15}(\.\d+)?", text):
        number = float(text)
        if number > _LATEST_DELAY * 1000:  # milliseconds since 1970
            number /= 1000
        return number if number < _LATEST_DELAY else max(number - now.timestamp(), 0.0)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)
