"""Requests paced so that the server never sees more than so many in any second."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync_connectors.stripe.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOM = 0.95  # of all places taken: beyond it, more threads would only wait
_SLACK = 0.02  # seconds that a machine may take to send what it has at hand
_LOOK = 0.1  # seconds until a waiting thread looks whether it shall stop


@dataclass(slots=True)
class EndpointLimit:
    """Requests under way, and when the last ones ended; `most` in `span` seconds."""

    most: float = float("inf")
    span: float = 1.0
    under_way: int = 0
    ended: deque[float] = field(default_factory=deque)
    closed_until: float = 0.0

    def limit(self, rate: float) -> None:
        """Allow `rate` requests a second."""
        self.span = max(1.0, 1.0 / rate)
        self.most = max(1, int(rate * self.span))

    def wait(self, now: float) -> float:
        """Return for how many seconds no request may begin; 0 when one may."""
        while self.ended and self.ended[0] <= now - self.span:
            self.ended.popleft()
        if now < self.closed_until:
            return self.closed_until - now
        if self.under_way + len(self.ended) < self.most:
            return 0.0
        return self.ended[0] + self.span - now if self.ended else _LOOK

    def close(self, until: float) -> None:
        """Allow no request before this time."""
        self.closed_until = max(self.closed_until, until)


class RequestLimiter:
    """One pace for all requests of a source, whichever thread makes them.

    A request's place is free again a second after the server must have seen it: not when it was
    sent, since it may be held up, but when its answer came, less half of the fastest answer's
    time, which is what an answer's way back takes at least. So the server never sees more than
    `rate` in a second, however this machine or the network delays them.
    """

    def __init__(self, rate: float, concurrency: int) -> None:
        self._concurrency = concurrency
        self._all = EndpointLimit()
        self._all.limit(rate)
        self._lanes: dict[str, EndpointLimit] = {}
        self._fastest = float("inf")
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, lane: str, is_stopped: Callable[[], bool]) -> Iterator[None]:
        """Hold a place for one request to this endpoint; raise StoppedError when told to stop."""
        own = self._begin(lane, is_stopped)
        began = time.monotonic()
        try:
            yield
        finally:
            self._end(own, began)

    def has_room(self) -> bool:
        """Whether a good part of the places is free, so that more threads would do more."""
        with self._changed:
            free = self._all.under_way < self._concurrency
            if not free or self._all.wait(time.monotonic()) > 0:
                return False
            return self._all.under_way + len(self._all.ended) <= self._all.most * _ROOM

    def rest(self, seconds: float, lane: str | None = None) -> None:
        """Let no request begin for a while: to this endpoint, or to any."""
        with self._changed:
            until = time.monotonic() + seconds
            (self._all if lane is None else self._lane(lane)).close(until)

    def slow(self, lane: str, rate: float) -> None:
        """Keep to a rate of its own at this endpoint, from now on."""
        with self._changed:
            self._lane(lane).limit(rate)

    def _lane(self, name: str) -> EndpointLimit:
        return self._lanes.setdefault(name, EndpointLimit())

    def _begin(self, name: str, is_stopped: Callable[[], bool]) -> EndpointLimit:
        with self._changed:
            own = self._lane(name)
            while True:
                if is_stopped():
                    raise StoppedError
                now = time.monotonic()
                wait = max(self._all.wait(now), own.wait(now))
                if self._all.under_way >= self._concurrency:
                    wait = wait or _LOOK
                if wait <= 0:
                    break
                self._changed.wait(min(wait, _LOOK))
            own.under_way += 1
            self._all.under_way += 1
            return own

    def _end(self, own: EndpointLimit, began: float) -> None:
        with self._changed:
            now = time.monotonic()
            self._fastest = min(self._fastest, now - began)
            for lane in (own, self._all):
                lane.under_way -= 1
                lane.ended.append(now - max(0.0, self._fastest / 2 - _SLACK))
            self._changed.notify_all()
