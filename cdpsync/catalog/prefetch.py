"""The catalog prefetch: a thread reads the catalog while the run connects to its sources."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.catalog.lake import Lake
from cdpsync.model.state import ProjectState

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.catalog.file import CatalogFile


class CatalogPrefetch:
    """A reader of a catalog that a thread opens between `start` and `join`; `close` it at the end.

    The thread reads the lake's state too, because DuckLake then loads all definitions of tables.
    It ignores errors, because they come again when `reader` opens the catalog. The reader uses a
    single thread of DuckDB, until a query is larger than most.
    """

    def __init__(self, catalog: CatalogFile) -> None:
        self._catalog = catalog
        self._thread = threading.Thread(target=self._open, name="cdpsync-catalog")
        self._stack = ExitStack()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._version: tuple[bytes, int] | None = None
        self._state = ProjectState()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread, because a process that exits while DuckDB opens is aborted."""
        self._thread.join()

    def _open(self) -> None:
        with suppress(Exception), ExitStack() as stack:
            if not self._catalog.exists():
                self._catalog.warm()
                return
            version = self._catalog.version()
            con = stack.enter_context(self._catalog.reader())
            con.execute(engine.ONE_THREAD)
            self._state = Lake(con).state()
            self._stack, self._con, self._version = stack.pop_all(), con, version

    @contextmanager
    def reader(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, ProjectState]]:
        """Lend a reader of the catalog as it is now, with the state of the lake.

        It is the prefetched one, unless the catalog has changed since; then it is a new one.
        """
        con, self._con = self._con, None
        if con is None or self._version != self._catalog.version():
            self._stack.close()
            with self._catalog.reader() as con:
                con.execute(engine.ONE_THREAD)
                yield con, Lake(con).state()
            return
        with self._stack:
            yield con, self._state

    def close(self) -> None:
        """Close a reader that was not lent."""
        self._stack.close()
