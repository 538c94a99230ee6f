"""Holds the cursor of an API's list back to the moment when its read began.

A list is read page by page while its records change. A record that changes behind the reader's back
is missed, and one that changes ahead of it is read with a later time. So the next read starts no
later than this one did, by the clock of the API: its header `Date`, RFC 9110, section 6.6.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync.connector.http.waits import http_date
from cdpsync.model import Cursor, CursorType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.connector import Chunk
    from cdpsync.connector.http.request import Answer


@dataclass(frozen=True, slots=True)
class LimitedChunks:
    """Chunks of a list whose read began at `began_at` by the API's clock; None if it has none."""

    chunks: Sequence[Chunk]
    began_at: datetime | None

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.chunks)

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return the highest cursor, or the beginning of the read if that is earlier."""
        if highest is None or self.began_at is None or highest.type is not CursorType.TIMESTAMPTZ:
            return highest
        value = highest.value
        if isinstance(value, datetime) and value > self.began_at:
            return replace(highest, value=self.began_at)
        return highest


def began_at(answer: Answer, seconds: float) -> datetime | None:
    """Return when a request was sent, by the API's clock, given how long its answer took."""
    moment = http_date(answer.headers.get("date", ""))
    return None if moment is None else moment - timedelta(seconds=int(seconds) + 1)
