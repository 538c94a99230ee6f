"""Thread pools for the tasks of a run: one for all sources, and one for each limited source."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


class SourcePools:
    """Runs at most `count` tasks at once, and fewer for a source with a lower limit.

    A limited source has threads of its own, so that tasks that wait for it delay no other source.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._shared_pool = self._new_pool(count)
        self._pools: dict[Hashable, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def submit(
        self, task: Callable[[], T], source: Hashable, limit: int | None, *, apart: bool = False
    ) -> Future[T]:
        """Run a task of a source on the next thread that is free for it.

        `apart`: the source has threads of its own in any case, because its tasks wait for others.
        """
        if apart:
            limit = self._count if limit is None else min(limit, self._count)
        elif limit is None or limit >= self._count:
            return self._shared_pool.submit(task)
        with self._lock:
            if source not in self._pools:
                self._pools[source] = self._new_pool(limit)
            pool = self._pools[source]
        return pool.submit(task)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """Accept no further task, as ThreadPoolExecutor.shutdown does."""
        with self._lock:
            pools = [self._shared_pool, *self._pools.values()]
        for pool in pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _new_pool(self, count: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(count, thread_name_prefix=self._name)
