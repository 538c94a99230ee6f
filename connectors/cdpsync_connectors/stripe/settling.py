"""Reads the objects that settle: from pending to available, of which no event tells.

https://docs.stripe.com/api/balance_transactions/object: `status` and `available_on`.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cdpsync_connectors.stripe.changes import LATE_EVENTS
from cdpsync_connectors.stripe.pages import parse_list, second_of, text_of

if TYPE_CHECKING:
    from cdpsync.connector.records.parse import Fields
    from cdpsync_connectors.stripe.reader import StreamReader


def read_settling(reader: StreamReader, low: int | None) -> datetime:
    """Add the objects created from `low` on, or all; return where the next read must begin.

    That is at the oldest one that is still pending, however long it stays so. `_updated_at` is
    when an object was created, and once it is available, when it became so.
    """
    start = _server_time(reader) - LATE_EVENTS
    pending = _Oldest(int(start.timestamp()))
    where = reader.lists.where(reader.stream.path)

    def mark(fields: Fields) -> int:
        created = second_of(fields, "created", where)
        if text_of(fields, "status", where) == "available":
            return max(created, second_of(fields, "available_on", where))
        pending.add(created)
        return created

    if low is None:
        reader.read_all(mark)
    else:
        reader.read_created_since(low, mark)
    return datetime.fromtimestamp(pending.second, UTC)


class _Oldest:
    """The lowest of the seconds that several threads add."""

    def __init__(self, second: int) -> None:
        self.second = second
        self._guard = threading.Lock()

    def add(self, second: int) -> None:
        with self._guard:
            self.second = min(self.second, second)


def _server_time(reader: StreamReader) -> datetime:
    """Return the time of Stripe's clock before the read."""
    path, client = reader.stream.path, reader.client
    where = reader.lists.where(path)
    response = client.get(path, {"limit": 1}, where=where, is_stopped=reader.lists.is_stopped)
    parse_list(response.body, where)  # because a proxy has a clock, too
    return response.server_time(client.address)
