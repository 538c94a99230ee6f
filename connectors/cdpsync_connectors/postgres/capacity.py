"""The number of connections that a source gives us at once, and who may use them.

A table needs one connection that keeps its snapshot open, and one that reads. Where the source
gives only one, a table is read over it, without a snapshot that others share.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync.connector import ConcurrencyLimit
from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_OF_A_POOL = 8
"""The most connections that we take of a pooler, where `max_connections` does not say more."""

_STOP_CHECK = 0.1  # seconds between two looks at `is_stopped` while a table waits


class Capacity:
    """The connections of one source. Safe from many threads.

    `configured` is the user's limit; None: the source is asked, and its refusals are counted.
    """

    def __init__(self, configured: int | None) -> None:
        self._is_configured = configured is not None
        self._most = configured
        self._most_tables: int | None = None
        self._reading = 0
        self._notice: str | None = None
        self._changed = threading.Condition()

    @property
    def is_known(self) -> bool:
        """Whether nothing is left to find out."""
        return self._most is not None

    @property
    def is_single(self) -> bool:
        """Whether the source gives one connection, so that a read cannot share its snapshot."""
        return self._most == 1

    @property
    def limit(self) -> ConcurrencyLimit | None:
        """The most tables and chunks at once; None: as many as the run has threads."""
        if self._most is None:
            return None
        tables = max(1, self._most // 2)
        return ConcurrencyLimit(
            min(tables, self._most_tables or tables), max(1, self._most - tables)
        )

    def learn(self, most: int, wanted: int, *, is_pooled: bool) -> None:
        """Take the number of connections that the source gives now, of those that we want."""
        with self._changed:
            self._most = max(1, most)
        if self._most < wanted:
            self._explain(is_pooled=is_pooled)

    def learn_tables(self, most: int) -> None:
        """Take the number of tables that the primary of a replica allows at once."""
        self._most_tables = max(1, most)

    def refused(self) -> None:
        """Take note that the source refused a connection: go on with fewer."""
        if self._is_configured:
            return
        with self._changed:
            self._most = 2 if self._most is None or self._most > 2 else 1
        self._explain(is_pooled=False)

    def take_notice(self) -> str | None:
        """Return the sentence on a small limit, the first time."""
        with self._changed:
            notice, self._notice = self._notice, None
        return notice

    @contextmanager
    def table(self, is_stopped: Callable[[], bool]) -> Iterator[None]:
        """Wait until one more table may be read, and count it."""
        with self._changed:
            while (limit := self.limit) is not None and self._reading >= limit.tables:
                if is_stopped():
                    raise ReadError("stopped.")
                self._changed.wait(_STOP_CHECK)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    def _explain(self, *, is_pooled: bool) -> None:
        giver = "the pooler before the server" if is_pooled else "the server"
        count = "one connection" if self._most == 1 else f"{self._most} connections"
        advice = ", so that this is not tried out in each run" if is_pooled else ""
        self._notice = (
            f"{giver} gives this source {count} at once, so fewer tables and parts of tables are "
            f"read at the same time. Give it more; or set max_connections: {self._most} on the "
            f"source{advice}"
        )
