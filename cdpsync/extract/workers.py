"""The threads that read chunks, and their connections to DuckDB."""

from __future__ import annotations

import itertools
import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from cdpsync import engine
from cdpsync.connector import concurrency_limit_of
from cdpsync.extract.source_pools import SourcePools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Connector

T = TypeVar("T")

_MEMORY = "1GB"  # of one worker, before DuckDB spills or refuses
_ROOM = 400_000_000  # bytes of rows that are large, in all workers
_LOOK = 0.1  # seconds until one that waits looks whether it shall stop


class Workers:
    """The threads that read chunks, and the DuckDB connections they keep from chunk to chunk.

    Each connection spills into a folder of its own, called as `spill` with a number: DuckDB numbers
    its files from nought, whoever else writes there, and two would read each other's rows.
    """

    def __init__(self, count: int, spill: Path) -> None:
        self.count = count
        self.stopping = threading.Event()
        self._spill = spill
        self._numbers = itertools.count()
        self._lanes = SourcePools(count, "cdpsync-chunk")
        self._idle: dict[int, queue.LifoQueue[duckdb.DuckDBPyConnection]] = {}
        self._busy: set[duckdb.DuckDBPyConnection] = set()
        self._guard = threading.Lock()
        self._freed = threading.Condition()
        self._taken = 0.0

    def submit(self, connector: Connector, task: Callable[[], T]) -> Future[T]:
        """Run a task that reads from this source on the next worker that is free for it."""
        bounds = concurrency_limit_of(connector)
        return self._lanes.submit(task, id(connector), bounds.chunks if bounds else None)

    @contextmanager
    def reserve_memory(self, wanted: float) -> Iterator[None]:
        """Hold so many bytes of the memory for rows that all share; when there is none, wait."""
        with self._freed:
            while self._taken and self._taken + wanted > _ROOM and not self.stopping.is_set():
                self._freed.wait(_LOOK)
            self._taken += wanted
        try:
            yield
        finally:
            with self._freed:
                self._taken -= wanted
                self._freed.notify_all()

    @contextmanager
    def connection(self, connector: Connector) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection that only this connector's chunks use, with a transaction open.

        One that failed is closed, not lent again.
        """
        import duckdb

        with self._guard:
            idle = self._idle.setdefault(id(connector), queue.LifoQueue())
        try:
            con = idle.get_nowait()
        except queue.Empty:
            con = engine.connect(
                threads=1,
                memory_limit=_MEMORY,
                temp=self._spill.with_name(f"{self._spill.name}-{next(self._numbers)}"),
                extensions=connector.extensions,
            )
            con.execute("set preserve_insertion_order = false")  # or row groups hang on rows alone
        with self._guard:
            self._busy.add(con)
        try:
            con.begin()
            yield con
            con.rollback()
        except BaseException:
            self._release(con)
            # First, and whatever it says: to destroy a connection whose transaction is open on a
            # server that is gone ends the whole process (postgres_scanner 1.5.5).
            with suppress(duckdb.Error):
                con.rollback()
            con.close()
            raise
        self._release(con)
        idle.put(con)

    def _release(self, con: duckdb.DuckDBPyConnection) -> None:
        with self._guard:
            self._busy.discard(con)

    def stop(self) -> None:
        """Ask everything under way to end; what waits is not begun."""
        self.stopping.set()
        self._lanes.shutdown(wait=False, cancel_futures=True)
        with self._guard:
            for con in self._busy:
                con.interrupt()

    def close(self) -> None:
        """Wait for the threads and let go of the connections."""
        self._lanes.shutdown(wait=not self.stopping.is_set(), cancel_futures=True)
        for idle in self._idle.values():
            while not idle.empty():
                idle.get_nowait().close()
