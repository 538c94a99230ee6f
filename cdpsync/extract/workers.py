"""The threads that read chunks, with their connections to DuckDB."""

from __future__ import annotations

import itertools
import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from cdpsync import engine
from cdpsync.connector import concurrency_limit_of
from cdpsync.extract.source_pools import SourcePools
from cdpsync.system.memory import memory_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.system.memory import MemoryBudget

T = TypeVar("T")

_STOP_CHECK = 0.1  # seconds between two looks at `stopping` while a worker waits for memory


class Workers:
    """The threads that read chunks, and DuckDB connections that are reused from chunk to chunk.

    Each connection spills into a folder of its own, named `spill` and a number. DuckDB numbers
    its spill files from 0 in any folder, so two connections in one folder would read each other's
    rows.

    Each connection has its part of the memory. A chunk for which that is too little is read again
    alone: it waits until no other chunk is read, and has the memory of all workers.
    """

    def __init__(self, count: int, spill: Path, budget: MemoryBudget | None = None) -> None:
        self.count = count
        self.budget = budget or memory_budget(None, count)
        self.stopping = threading.Event()
        self._spill = spill
        self._numbers = itertools.count()
        self._pools = SourcePools(count, "cdpsync-chunk")
        self._idle: dict[int, queue.LifoQueue[duckdb.DuckDBPyConnection]] = {}
        self._busy: set[duckdb.DuckDBPyConnection] = set()
        self._lock = threading.Lock()
        self._memory_freed = threading.Condition()
        self._reserved_memory = 0.0
        self._reading = 0
        self._waiting_alone = 0
        self._is_alone = False

    def submit(self, connector: Connector, task: Callable[[], T]) -> Future[T]:
        """Run a task that reads from this source on the next worker that is free for it."""
        limit = concurrency_limit_of(connector)
        return self._pools.submit(task, id(connector), limit.chunks if limit else None)

    @contextmanager
    def reserve_memory(self, size: float, *, alone: bool = False) -> Iterator[None]:
        """Reserve bytes of the memory for large rows, which all workers share.

        Waits until enough is free. The only task gets any size, so that no row is too large. A task
        that wants to be alone waits for those that run, and those that come later wait for it.
        """
        with self._memory_freed:
            self._waiting_alone += alone
            while not self._fits(size, alone) and not self.stopping.is_set():
                self._memory_freed.wait(_STOP_CHECK)
            self._waiting_alone -= alone
            self._is_alone = alone
            self._reading += 1
            self._reserved_memory += size
        try:
            yield
        finally:
            with self._memory_freed:
                self._reading -= 1
                self._is_alone = False
                self._reserved_memory -= size
                self._memory_freed.notify_all()

    def _fits(self, size: float, alone: bool) -> bool:
        if alone:
            return not self._reading
        if self._is_alone or self._waiting_alone:
            return False
        total = self._reserved_memory + size
        return not self._reserved_memory or total <= self.budget.large_rows

    @contextmanager
    def connection(
        self, connector: Connector, *, alone: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection that only this connector's chunks use, with a transaction open.

        `alone`: it has the memory of all workers, because no other is lent meanwhile. After an
        error the connection is closed and never lent again.
        """
        import duckdb

        with self._lock:
            idle = self._idle.setdefault(id(connector), queue.LifoQueue())
        try:
            con = idle.get_nowait()
        except queue.Empty:
            con = self._connect(connector)
        if alone:
            engine.limit_memory(con, self.budget.reading)
        with self._lock:
            self._busy.add(con)
        try:
            con.begin()
            yield con
            con.rollback()
        except BaseException:
            self._release(con)
            # The rollback comes before the close, and its own error is ignored: destroying a
            # connection with a transaction open on a server that is down ends the whole process
            # (postgres_scanner 1.5.5).
            with suppress(duckdb.Error):
                con.rollback()
            con.close()
            raise
        self._release(con)
        if alone:
            con.close()  # because it has the memory of all workers
        else:
            idle.put(con)

    def _connect(self, connector: Connector) -> duckdb.DuckDBPyConnection:
        con = engine.connect(
            threads=1,
            memory_limit=self.budget.worker,
            temp=self._spill.with_name(f"{self._spill.name}-{next(self._numbers)}"),
            extensions=connector.extensions,
        )
        con.execute(engine.LARGE_ROWS)
        return con

    def _release(self, con: duckdb.DuckDBPyConnection) -> None:
        with self._lock:
            self._busy.discard(con)

    def stop(self) -> None:
        """Interrupt the running tasks, and cancel those that have not started."""
        self.stopping.set()
        self._pools.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for con in self._busy:
                con.interrupt()

    def close(self) -> None:
        """Wait for the threads, unless they are stopping, and close the idle connections."""
        self._pools.shutdown(wait=not self.stopping.is_set(), cancel_futures=True)
        for idle in self._idle.values():
            while not idle.empty():
                idle.get_nowait().close()
