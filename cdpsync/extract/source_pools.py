"""Threads for the sources: common ones, and a few of its own where one bears only so much."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


class SourcePools:
    """At most `count` tasks at once; of a source with a bound, no more than that.

    A source with a bound has threads of its own, so that what waits for it stops no other.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._common = self._pool(count)
        self._own: dict[Hashable, ThreadPoolExecutor] = {}
        self._guard = threading.Lock()

    def submit(self, task: Callable[[], T], source: Hashable, bound: int | None) -> Future[T]:
        """Run a task of a source on the next thread that is free for it."""
        if bound is None or bound >= self._count:
            return self._common.submit(task)
        with self._guard:
            if source not in self._own:
                self._own[source] = self._pool(bound)
            own = self._own[source]
        return own.submit(task)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Take nothing more; as ThreadPoolExecutor does."""
        with self._guard:
            pools = [self._common, *self._own.values()]
        for pool in pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _pool(self, count: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(count, thread_name_prefix=self._name)
