"""Cursors that are timestamps without a zone, whose clock may repeat an hour."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cdpsync.model import CursorType, SyncMode
from cdpsync.model.cursors import REPEATED_HOUR, cursor_type_of
from cdpsync.plan.configured import table_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync.model import Source, Stream, TableOptions


def naive_cursors(source: Source, streams: Iterable[Stream]) -> list[tuple[str, str]]:
    """Return streams, each with a cursor field that is a timestamp without a zone.

    It is the cursor field that the project file gives the stream; without one, the first such of
    those that the source offers. A table whose `lookback` covers the repeated hour is left out, as
    is one that the project file reads as a whole.
    """
    cursors = []
    for stream in streams:
        options = table_options(source, stream.name)
        if options is not None and _is_settled(options):
            continue
        given = options.cursor_field if options else None
        fields = (given,) if given else stream.cursor_fields
        field = next((name for name in fields if is_naive(stream, name)), None)
        if field is not None:
            cursors.append((stream.name, field))
    return cursors


def is_naive(stream: Stream, name: str) -> bool:
    """Whether a column of the source is a timestamp without a zone, whatever it is in the lake."""
    column = stream.column(name)
    return column is not None and cursor_type_of(column.type) is CursorType.TIMESTAMP


def _is_settled(options: TableOptions) -> bool:
    """Whether a table follows no cursor, or reads the repeated hour in each run."""
    covers_hour = isinstance(options.lookback, timedelta) and options.lookback >= REPEATED_HOUR
    return options.mode is SyncMode.FULL_TABLE or covers_hour
