"""A limit on the rows that are read in a second, on average, over all reads of a source."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL = 0.1  # seconds between two checks whether the read must stop
STEP = 20.0
"""The seconds' worth of rows that one chunk has."""


class RowLimiter:
    """One limit for all reads of a source. Safe from many threads."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at = time.monotonic()
        self._guard = threading.Lock()

    def parts(self, rows: float) -> int:
        """Return the number of chunks into which to cut a read of this many rows."""
        return math.ceil(rows / (self.rate * STEP)) or 1

    def wait(self, rows: float, is_stopped: Callable[[], bool]) -> None:
        """Return when this many more rows may be read, or when the read is stopped."""
        with self._guard:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + rows / self.rate
        while (remaining := begin - time.monotonic()) > 0 and not is_stopped():
            time.sleep(min(remaining, _POLL))
