"""A thread that keeps open transactions awake, where a pooler or a server ends idle ones."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

INTERVAL = 2.0
"""Seconds between two statements in an idle transaction; usual limits begin at 5."""


class KeepAlive:
    """Sends an empty SELECT in each transaction that it keeps. Safe from many threads.

    psycopg lets the threads of one connection wait for each other, statement by statement.
    """

    def __init__(self) -> None:
        self._kept: set[psycopg.Connection[Any]] = set()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    @contextmanager
    def keep(self, con: psycopg.Connection[Any]) -> Iterator[None]:
        """Keep the open transaction of a connection awake."""
        with self._changed:
            self._kept.add(con)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cdpsync-keepalive", daemon=True
                )
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._kept.discard(con)

    def close(self) -> None:
        """Let the thread end now, if it has nothing to do."""
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(INTERVAL)
                if not self._kept:
                    self._thread = None
                    return
                kept = list(self._kept)
            for con in kept:
                self._wake(con)

    def _wake(self, con: psycopg.Connection[Any]) -> None:
        import psycopg

        status = con.info.transaction_status
        if status is not psycopg.pq.TransactionStatus.INTRANS or con not in self._kept:
            return  # it is working, or its transaction has ended
        try:
            con.execute("select")
        except psycopg.Error:  # whoever reads in this snapshot gets the error
            with self._changed:
                self._kept.discard(con)
