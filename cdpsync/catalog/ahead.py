"""The catalog, read ahead: while the sources are asked, so that nobody waits for it afterwards."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from cdpsync.catalog.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.catalog.file import CatalogFile


class Ahead:
    """A reader of a catalog that a thread opens between `start` and `join`; `close` it at the end.

    What goes wrong meanwhile is not told: it shows when the catalog is opened in earnest.
    """

    def __init__(self, catalog: CatalogFile) -> None:
        self._catalog = catalog
        self._thread = threading.Thread(target=self._open, name="cdpsync-catalog")
        self._stack = ExitStack()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._version: tuple[bytes, int] | None = None

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
            Lake(con).books.cursors()  # at the first question DuckLake reads all it knows of tables
            self._stack, self._con, self._version = stack.pop_all(), con, version

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a reader of the catalog as it is now: this one, or a new one if it has changed."""
        con, self._con = self._con, None
        if con is None or self._version != self._catalog.version():
            self._stack.close()
            with self._catalog.reader() as con:
                yield con
            return
        with self._stack:
            yield con

    def close(self) -> None:
        """Let go of a reader that nobody has borrowed."""
        self._stack.close()
