"""Checks of what a connector's methods return, with the method's name in the message.

Each raises ReadError, because the connector breaks its contract and nothing was read.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from cdpsync.connector import ConcurrencyLimit, concurrency_limit_of
from cdpsync.errors import ReadError
from cdpsync.model import Column, Cursor, CursorType, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync.connector import Chunk, Connector, CursorLimited, ReadRequest

_HELP = "docs/writing-a-connector.md has an example"


def discovered_streams(connector: Connector) -> tuple[Stream, ...]:
    """Return what `discover` found: streams, each with its columns."""
    streams = connector.discover()
    method = f"{type(connector).__name__}.discover"
    for stream in _items(streams, method, "Stream objects"):
        if not isinstance(stream, Stream):
            raise _broken(method, f"must return Stream objects, not {_kind(stream)}")
        for column in _items(stream.columns, method, "a Stream whose columns are a tuple"):
            if not isinstance(column, Column):
                raise _broken(method, f"must return columns as Column objects, not {_kind(column)}")
    return tuple(streams)


def require_limit(connector: Connector) -> None:
    """Check the limit of reads, because it is asked for later where an error would end the run."""
    limit: object = concurrency_limit_of(connector)
    if limit is not None and not isinstance(limit, ConcurrencyLimit):
        method = f"{type(connector).__name__}.concurrency_limit"
        raise _broken(method, f"must be a ConcurrencyLimit or None, not {_kind(limit)}")


@contextmanager
def opened_read(connector: Connector, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
    """Open a read, and yield what it yields; see `chunks_of`."""
    method = f"{type(connector).__name__}.read"
    reading = connector.read(request)
    if not (hasattr(reading, "__enter__") and hasattr(reading, "__exit__")):
        raise _broken(
            method, f"must be a context manager, not return {_kind(reading)}: add @contextmanager"
        )
    try:
        with reading as chunks:
            yield chunks
    except RuntimeError as error:
        if not str(error).startswith("generator didn't"):  # as contextlib says of other generators
            raise
        raise _broken(method, "must yield once: a list of all the chunks") from error


def chunks_of(connector: Connector, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Return the chunks of a read as a list."""
    method = f"{type(connector).__name__}.read"
    listed = list(_items(chunks, method, "a list of Chunk objects", verb="yield"))
    for chunk in listed:
        if not callable(getattr(chunk, "relation", None)) or not hasattr(chunk, "label"):
            raise _broken(
                method,
                f"must yield Chunk objects, with label and relation, in a list; not {_kind(chunk)}",
            )
    return cast("list[Chunk]", listed)


def relation_of(chunk: Chunk, con: DuckDBPyConnection) -> DuckDBPyRelation:
    """Return a chunk's rows."""
    import duckdb

    relation: object = chunk.relation(con)
    if not isinstance(relation, duckdb.DuckDBPyRelation):
        raise _broken(
            f"{type(chunk).__name__}.relation",
            f"must return a relation of DuckDB, not {_kind(relation)}: con.sql(…), or "
            "con.from_arrow(…) for a pyarrow.RecordBatchReader",
        )
    return relation


def safe_cursor_of(chunks: CursorLimited, highest: Cursor | None) -> Cursor | None:
    """Return where the next read may start."""
    cursor: object = chunks.safe_cursor(highest)
    if cursor is not None and not isinstance(cursor, Cursor):
        method = f"{type(chunks).__name__}.safe_cursor"
        raise _broken(method, f"must return a Cursor or None, not {_kind(cursor)}")
    return cursor


def state_of(chunks: CursorLimited, previous: Cursor | None) -> Cursor | None:
    """Return the state from which the next read goes on; None: there is no new one."""
    state = safe_cursor_of(chunks, previous)
    method = f"{type(chunks).__name__}.safe_cursor"
    if state is not None and (state.type is not CursorType.STATE or not _is_json(state.value)):
        raise _broken(method, "must return a Cursor of type STATE, whose value is JSON text")
    return state


def _is_json(value: object) -> bool:
    try:
        json.loads(str(value))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, str)


def _items(value: object, method: str, what: str, *, verb: str = "return") -> Iterator[object]:
    if isinstance(value, str | bytes | dict) or not hasattr(value, "__iter__"):
        raise _broken(method, f"must {verb} {what}, not {_kind(value)}")
    return iter(cast("Iterable[object]", value))


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _broken(method: str, what: str) -> ReadError:
    return ReadError(f"{method} {what}. {_HELP}.")
