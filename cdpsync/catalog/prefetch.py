"""The catalog, read ahead: while the sources are asked, so that nobody waits for it afterwards."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from cdpsync.catalog.lake import Lake
from cdpsync.model.state import ProjectState

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.catalog.file import CatalogFile


class CatalogPrefetch:
    """A reader of a catalog that a thread opens between `start` and `join`; `close` it at the end.

    It is asked what the lake remembers, too, for which DuckLake reads all it knows of tables.

    What goes wrong meanwhile is not told: it shows when the catalog is opened in earnest.
    """

    def __init__(self, catalog: CatalogFile) -> None:
        self._catalog = catalog
        self._thread = threading.Thread(target=self._open, name="cdpsync-catalog")
        self._stack = ExitStack()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._version: tuple[bytes, int] | None = None
        self._recorded = ProjectState()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread: a process that ends while DuckDB opens ends by abort()."""
        self._thread.join()

    def _open(self) -> None:
        with suppress(Exception), ExitStack() as stack:
            if not self._catalog.exists():
                self._catalog.warm()
                return
            version = self._catalog.version()
            con = stack.enter_context(self._catalog.reader())
            self._recorded = Lake(con).state()
            self._stack, self._con, self._version = stack.pop_all(), con, version

    @contextmanager
    def reader(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, ProjectState]]:
        """Lend a reader of the catalog as it is now, and what the lake remembers.

        That is what was opened and read ahead, or if the catalog has changed since, it is new.
        """
        con, self._con = self._con, None
        if con is None or self._version != self._catalog.version():
            self._stack.close()
            with self._catalog.reader() as con:
                yield con, Lake(con).state()
            return
        with self._stack:
            yield con, self._recorded

    def close(self) -> None:
        """Let go of a reader that nobody has borrowed."""
        self._stack.close()
