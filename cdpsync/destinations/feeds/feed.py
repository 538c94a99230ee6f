"""The feed of a destination: what makes the relation `changes` of its table or query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cdpsync.destinations.feeds.query_changes import QueryFeed
from cdpsync.destinations.feeds.table_changes import TableFeed

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from cdpsync.destinations.feeds.changes import FeedRequest, FeedResult
    from cdpsync.model.deliveries import Position


class Feed(Protocol):
    """Finds the changes of a table or a query since a position.

    `con` is one of `CatalogFile.reader(keep=False)`, because temporary tables stay in it.
    """

    request: FeedRequest

    def is_behind(self, con: duckdb.DuckDBPyConnection, position: Position | None) -> bool:
        """Whether `read` may find changes. It reads neither rows nor files of the storage.

        If it is not, the position may be moved to the newest snapshot: `newest_position`.
        """

    def read(self, con: duckdb.DuckDBPyConnection, after: Position | None) -> FeedResult:
        """Make the relation `changes` of what changed since a position; None: of all rows."""

    def write_copy(
        self, con: duckdb.DuckDBPyConnection, target: Path, leave_out: str | None = None
    ) -> bool:
        """Write what is delivered once the changes that `read` made are; return whether it did.

        `leave_out` is a SELECT of the keys (as in `changes`) that stay as they were before. The
        file is synced to the disk, and is `FeedRequest.copy` of the next read. A feed that needs
        none, of a table without `keep`, returns False.
        """


def feed_of(request: FeedRequest) -> Feed:
    """Return the feed of a request."""
    if request.table is None or request.keep:
        return QueryFeed(request)
    return TableFeed(request)
