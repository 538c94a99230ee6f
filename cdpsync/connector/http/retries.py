"""How often a request is sent again, and the pauses between."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from cdpsync.connector.http.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 6  # so a failing server gets 15 seconds
TRIES_FIRST = 3  # before the first answer, because the address may be wrong
TRIES_LIMITED = 12  # because a rate limit passes

_FIRST_PAUSE = 0.5  # seconds; doubled before each further try
_LONGEST_PAUSE = 8.0
_LOOK = 0.1  # seconds between two looks whether the read must stop


def pause_after(attempt: int) -> float:
    """Return how many seconds to wait after an attempt, of which the first is 1."""
    longest = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - spreads the tries of many threads


def sleep(seconds: float, is_stopped: Callable[[], bool]) -> None:
    """Wait; raise StoppedError once the read is to stop."""
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        if is_stopped():
            raise StoppedError
        time.sleep(min(remaining, _LOOK))
