"""The queue of a dispatch: which parcel may be sent next, and when there will be one."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.destinations.delivery.key_order import KeyOrder
    from cdpsync.destinations.delivery.limits import RateLimiter
    from cdpsync.destinations.delivery.requests import Parcel

_READ_AHEAD = 2_000  # changes that wait for others of their keys
_BATCHES_AHEAD = 50

NEVER = math.inf


class ParcelQueue:
    """Hands out parcels: those to be sent again when their time comes, then those of the reader.

    Times are seconds of a clock that never goes back. With `order`, a parcel waits for earlier
    changes of its keys.
    """

    def __init__(
        self,
        parcels: Iterator[Parcel],
        limiter: RateLimiter,
        order: KeyOrder | None,
        *,
        has_batches: bool,
    ) -> None:
        self._read_ahead = _BATCHES_AHEAD if has_batches else _READ_AHEAD
        self._parcels, self._limiter, self._order = parcels, limiter, order
        self._ready: deque[Parcel] = deque()
        self._later: list[tuple[float, int, Parcel]] = []
        self._numbers = itertools.count()
        self._paused_until = 0.0
        self._is_read = False
        self.wakes_at = NEVER
        """When the next parcel may be sent, after `next` had none; NEVER: after an answer."""

    def next(self, now: float) -> Parcel | None:
        """Return a parcel to send now, or None."""
        if now < self._paused_until:
            self.wakes_at = self._paused_until
            return None
        parcel = self._due(now) or self._from_reader()
        if parcel is None:
            self.wakes_at = self._later[0][0] if self._later else NEVER
            return None
        if (delay := self._limiter.delay(parcel.rows, now)) > 0:
            self._ready.appendleft(parcel)
            self.wakes_at = now + delay
            return None
        self._limiter.take(parcel.rows, now)
        return parcel

    def _due(self, now: float) -> Parcel | None:
        if self._ready:
            return self._ready.popleft()
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2]
        return None

    def _from_reader(self) -> Parcel | None:
        while not self._is_read:
            if self._order is not None and self._order.waiting > self._read_ahead:
                return None
            parcel = next(self._parcels, None)
            if parcel is None:
                self._is_read = True
            elif self._order is None or self._may_go(self._order, parcel):
                return parcel
        return None

    def _may_go(self, order: KeyOrder, parcel: Parcel) -> bool:
        """Whether a parcel waits for no other; one behind a held change is held too."""
        if order.is_held(parcel):
            order.hold(parcel)
            return False
        return order.add(parcel)

    def put_first(self, parcel: Parcel) -> None:
        """Send this parcel before all others."""
        self._ready.appendleft(parcel)

    def put_later(self, parcel: Parcel, at: float) -> None:
        """Send this parcel again at that time."""
        heapq.heappush(self._later, (at, next(self._numbers), parcel))

    def put_halves(self, parcel: Parcel, halves: tuple[Parcel, Parcel]) -> None:
        """Send the halves of a batch: one after the other, where the order of changes counts."""
        first, second = halves
        for half in halves:
            half.attempts = 0
            half.earlier, half.first_at = parcel.earlier + parcel.attempts, parcel.first_at
            half.whole = parcel.whole or parcel
        if self._order is None:
            self._ready.extendleft((second, first))
        else:
            first.then = (second, *parcel.then)
            self._ready.appendleft(first)

    def settle(self, parcel: Parcel) -> None:
        """Let parcels go on that waited for this one, which is delivered or dead."""
        if self._order is None:
            return
        if parcel.then:
            following, *others = parcel.then
            following.then = tuple(others)
            self._ready.appendleft(following)
        else:
            self._ready.extend(self._order.settle(parcel.whole or parcel))

    def hold(self, parcel: Parcel) -> None:
        """Drop a parcel that is held until the next run, and those that waited for it."""
        if self._order is not None:
            self._order.hold_all(parcel.whole or parcel)

    def pause(self, until: float) -> None:
        """Hand out nothing until then."""
        self._paused_until = max(self._paused_until, until)
