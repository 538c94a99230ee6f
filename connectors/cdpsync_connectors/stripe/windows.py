"""A list read by several threads at once, in separate windows of its objects' creation times."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.connector.http.errors import StoppedError
from cdpsync_connectors.stripe.pages import second_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cdpsync.connector.records.parse import Fields
    from cdpsync_connectors.stripe.pages import ListReader

_FIRST_OBJECT = 1_262_304_000  # 2010-01-01, before Stripe's first object
_MIN_SECONDS = 2  # of a window that is worth splitting
_MIN_PAGES = 4  # of a part, if its objects are as dense as those of the last page


@dataclass(frozen=True, slots=True)
class _Window:
    """Objects created from `low` on, and before `high`; None is the open end."""

    low: int | None
    high: int | None

    def params(self) -> dict[str, int]:
        bounds = {"created[gte]": self.low, "created[lt]": self.high}
        return {name: bound for name, bound in bounds.items() if bound is not None}


class WindowReader:
    """Reads a list with several threads; each object is read by exactly one of them.

    Stripe does not tell how objects are spread over time. So one thread begins with the whole
    list. Whenever other threads are idle, a thread whose page is followed by more keeps the newest
    part of its remaining window, and splits the rest among them. The upper end is open: an object
    that is created meanwhile is newer than the first page, and the next run reads it.
    """

    def __init__(
        self,
        lists: ListReader,
        path: str,
        params: Mapping[str, str | int],
        created: str,
        on_page: Callable[[list[Fields]], None],
    ) -> None:
        self._lists = lists
        self._path = path
        self._params = params
        self._created = created
        self._on_page = on_page
        self._waiting: deque[_Window] = deque()
        self._idle = 0
        self._threads = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def read(self, low: int | None, threads: int) -> None:
        """Read all objects created from `low` on; the first error of any thread is raised."""
        self._waiting.append(_Window(low, None))
        self._threads = threads
        workers = [
            threading.Thread(target=self._work, name=f"stripe-{self._lists.stream}-{number}")
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException:  # an interrupt: the workers end with it
            self._fail(StoppedError())
            raise
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while (window := self._next()) is not None:
                self._read(window)
        except BaseException as error:  # noqa: BLE001 - raised again by `read`
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None or isinstance(self._error, StoppedError):
                self._error = error
            self._lists.failed.set()
            self._changed.notify_all()

    def _next(self) -> _Window | None:
        with self._changed:
            self._idle += 1
            self._changed.notify_all()
            while not self._waiting:
                if self._error is not None or self._idle == self._threads:
                    return None
                self._changed.wait()
            if self._error is not None:
                return None
            self._idle -= 1
            return self._waiting.popleft()

    def _read(self, window: _Window) -> None:
        last_ids: list[str] = []
        low, where = window.low, self._lists.where(self._path)
        oldest: int | None = None  # of all pages, so that no part has objects of an earlier page
        while self._error is None:
            params = {**self._params, **_Window(low, window.high).params()}
            page, has_more = self._lists.page_after(self._path, params, last_ids)
            self._on_page(page)
            if not has_more:
                return
            last_ids = [text_of(fields, "id", where) for fields in page]
            times = [second_of(fields, self._created, where) for fields in page]
            oldest = min(times) if oldest is None else min(oldest, *times)
            low = self._split(low, oldest, max(times) - min(times))

    def _split(self, low: int | None, oldest: int, page_seconds: int) -> int | None:
        """Give parts of the window to idle threads; return the new lower end of the own part.

        Each part costs a request that may return nothing, and ends with a page that is not full.
        So a window that seems to have only a few pages is not split.
        """
        if not self._lists.client.has_capacity():
            return low
        start = low if low is not None else min(_FIRST_OBJECT, oldest)
        with self._changed:
            max_parts = (oldest - start) // max(page_seconds * _MIN_PAGES, 1)
            parts = min(self._idle - len(self._waiting) + 1, max_parts)
            if parts < 2 or oldest - start < _MIN_SECONDS:
                return low
            cuts = [start + (oldest - start) * part // parts for part in range(1, parts)]
            for lower, upper in zip([low, *cuts[:-1]], cuts, strict=True):
                if lower is None or lower < upper:
                    self._waiting.append(_Window(lower, upper))
            self._changed.notify_all()
            return cuts[-1]
