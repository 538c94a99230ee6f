"""The clock of a dispatch, which a test replaces, so that retries take no time."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Protocol

from cdpsync.system import clock as system_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_LAST_MOMENT = 2.0  # seconds


class Clock(Protocol):
    """The time of a dispatch; a test has its own."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def now(self) -> datetime:
        """Return the current time in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait, while no request is under way."""


class Interruption:
    """Ends a dispatch that is interrupted, after a moment for the answers that are under way."""

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped
        self._ends_at = math.inf

    def has_come(self, now: float, in_flight: int) -> bool:
        """Whether nothing is to be started any more; KeyboardInterrupt once the moment is over."""
        if self._ends_at == math.inf and self._is_stopped():
            self._ends_at = now + _LAST_MOMENT
        if now >= self._ends_at or (self._ends_at != math.inf and not in_flight):
            raise KeyboardInterrupt
        return self._ends_at != math.inf


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return system_clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
