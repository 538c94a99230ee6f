"""Rate limit of requests: in no second does the server receive more than the allowed number."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.connector.http.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BUSY_SHARE = 0.95  # of all slots in use: beyond it, more threads would only wait
_SLACK = 0.02  # seconds that a machine may take to send a request that is ready
_STOP_CHECK = 0.1  # seconds after which a waiting thread asks again whether the read is stopped


@dataclass(slots=True)
class EndpointLimit:
    """Requests in flight and the times when recent ones ended; `max_requests` in `period`."""

    max_requests: float = float("inf")
    period: float = 1.0  # seconds
    in_flight: int = 0
    ended: deque[float] = field(default_factory=deque)
    paused_until: float = 0.0

    def set_rate(self, rate: float) -> None:
        """Allow `rate` requests a second."""
        self.period = max(1.0, 1.0 / rate)
        self.max_requests = max(1, int(rate * self.period))

    def wait_time(self, now: float) -> float:
        """Return for how many seconds no request may begin; 0 if one may begin now."""
        while self.ended and self.ended[0] <= now - self.period:
            self.ended.popleft()
        if now < self.paused_until:
            return self.paused_until - now
        if self.in_flight + len(self.ended) < self.max_requests:
            return 0.0
        return self.ended[0] + self.period - now if self.ended else _STOP_CHECK

    def pause(self, until: float) -> None:
        """Allow no request before this time."""
        self.paused_until = max(self.paused_until, until)


class RequestLimiter:
    """Limits the requests of all threads of one source, in total and by endpoint.

    A slot is free again one second after the server must have received its request. The time of
    sending does not tell that, because the request may be delayed on its way. The time of the
    response does: the server had the request at least half of the fastest round trip earlier. So
    the server never receives more than `rate` in a second, however the machine or the network
    delays the requests.
    """

    def __init__(self, rate: float, concurrency: int) -> None:
        self._concurrency = concurrency
        self._total = EndpointLimit()
        self._total.set_rate(rate)
        self._endpoints: dict[str, EndpointLimit] = {}
        self._fastest = float("inf")
        self._changed = threading.Condition()

    @contextmanager
    def slot(self, endpoint: str, is_stopped: Callable[[], bool]) -> Iterator[None]:
        """Hold a slot for one request to this endpoint; raise StoppedError if the read stops."""
        limit = self._begin(endpoint, is_stopped)
        began = time.monotonic()
        try:
            yield
        finally:
            self._end(limit, began)

    def has_capacity(self) -> bool:
        """Whether enough slots are free that more threads would get more responses."""
        with self._changed:
            is_free = self._total.in_flight < self._concurrency
            if not is_free or self._total.wait_time(time.monotonic()) > 0:
                return False
            in_use = self._total.in_flight + len(self._total.ended)
            return in_use <= self._total.max_requests * _BUSY_SHARE

    def pause(self, seconds: float, endpoint: str | None = None) -> None:
        """Let no request begin for this time: none to this endpoint, or none at all."""
        with self._changed:
            until = time.monotonic() + seconds
            (self._total if endpoint is None else self._limit(endpoint)).pause(until)

    def limit_endpoint(self, endpoint: str, rate: float) -> None:
        """Allow this endpoint `rate` requests a second from now on."""
        with self._changed:
            self._limit(endpoint).set_rate(rate)

    def _limit(self, endpoint: str) -> EndpointLimit:
        return self._endpoints.setdefault(endpoint, EndpointLimit())

    def _begin(self, endpoint: str, is_stopped: Callable[[], bool]) -> EndpointLimit:
        with self._changed:
            limit = self._limit(endpoint)
            while True:
                if is_stopped():
                    raise StoppedError
                now = time.monotonic()
                wait = max(self._total.wait_time(now), limit.wait_time(now))
                if self._total.in_flight >= self._concurrency:
                    wait = wait or _STOP_CHECK
                if wait <= 0:
                    break
                self._changed.wait(min(wait, _STOP_CHECK))
            limit.in_flight += 1
            self._total.in_flight += 1
            return limit

    def _end(self, limit: EndpointLimit, began: float) -> None:
        with self._changed:
            now = time.monotonic()
            self._fastest = min(self._fastest, now - began)
            for counted in (limit, self._total):
                counted.in_flight -= 1
                counted.ended.append(now - max(0.0, self._fastest / 2 - _SLACK))
            self._changed.notify_all()
