"""Rows paced: on average no more of them in a second than the source's owner allows."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK = 0.1  # seconds until a waiting thread looks whether it shall stop
STEP = 20.0
"""For how many seconds' worth of rows are read at one go."""


class RowLimiter:
    """One pace for all reads of a source, whichever thread makes them."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at = time.monotonic()
        self._guard = threading.Lock()

    def parts(self, rows: float) -> int:
        """Return in how many parts so many rows are best read."""
        return math.ceil(rows / (self.rate * STEP)) or 1

    def wait(self, rows: float, is_stopped: Callable[[], bool]) -> None:
        """Return when so many rows more may be read, or when told to stop."""
        with self._guard:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + rows / self.rate
        while (left := begin - time.monotonic()) > 0 and not is_stopped():
            time.sleep(min(left, _LOOK))
