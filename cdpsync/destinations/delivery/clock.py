"""The clock of a dispatch, which a test replaces, so that retries take no time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from cdpsync.system import clock as system_clock

if TYPE_CHECKING:
    from datetime import datetime


class Clock(Protocol):
    """The time of a dispatch; a test has its own."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def now(self) -> datetime:
        """Return the current time in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait, while no request is under way."""


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
