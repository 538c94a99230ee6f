"""The contract a connector fulfils: say what there is, hand over chunks, name what went wrong.

A connector is a class with these members, published under the entry-point group
`cdpsync.connectors`. It imports its driver inside its methods, so that naming a connector in
`--help` or in an error costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync.errors import ConnectorError
    from cdpsync.model import Column, Cursor, Stream, Window


class ConnectorOptions(BaseModel):
    """Base of every connector's `Options`: an unknown key is an error, values do not change.

    Declare secrets as `pydantic.SecretStr`, and URLs that may hold a password too: whatever
    stands in such a field is hidden in every message, log line and repr.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    follows_changes: ClassVar[bool] = False
    """Whether streams have `changes`, so that `incremental` needs no cursor_field."""


class DatabaseOptions(ConnectorOptions):
    """Base of the `Options` of a database that others work with, too: how hard it may be asked.

    `max_connections` are ours at any moment: one table needs two at least, of which one holds the
    view and the other reads. `max_rate` is in rows a second, over all tables of the source.
    """

    max_connections: Annotated[int, Field(ge=2)] | None = None
    max_rate: Annotated[float, Field(gt=0)] | None = None


def ignore(_: object) -> None:
    """Hear, and do nothing."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Keys:
    """Rows by their key: `values` has a text per column, in the manner of DuckDB, never NULL."""

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """One of `parts` equal shares of a stream: where an integer's absolute rest is `part`."""

    column: str
    parts: int
    part: int


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What one run wants of one stream.

    `columns` are those to read, in order; with `changes`, its cursor stands among them. `types`
    are DuckDB types the user asked for by name; `landed` are those the lake's table has already:
    both bind a column whose type the source leaves open. `window` is None for a read of every
    row. `workers` is how many chunks will be read at once.

    `cursor_field` is set for every read of a table that has one; `looks_back` where the user says
    from how far below its cursor rows are read again. `deletions` asks a stream whose
    `changes` tell of them for rows that are gone, too, with the column `_deleted_at` (TIMESTAMP
    WITH TIME ZONE, NULL in rows that are there). `include` and `exclude` are the file's own words
    for the columns: an open stream drops what they keep out.

    `only` says which rows would do: a connector that can ask for just these saves the others;
    whoever asked leaves out what comes beside them. `steady` asks for chunks that another read
    will cut in the same way, and that are `Lasting` where that is possible.

    `again` are the chunks of an earlier read whose view was lost: to be cut in the same way, where
    that is possible, but smaller where they are among `stuck`, which it could not get through.

    For connectors whose `read` fetches the rows itself, before it hands over chunks: `folder` is
    a private place on disk that lasts as long as the read, `tell` takes how many rows are
    fetched so far, `is_stopped` says when to give up, and `notify` puts a sentence into the
    run's record.
    """

    stream: Stream
    columns: tuple[Column, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    landed: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    window: Window | None = None
    workers: int = 1
    cursor_field: str | None = None
    looks_back: bool = False
    deletions: bool = False
    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    only: Keys | Share | None = None
    steady: bool = False
    again: tuple[Chunk, ...] = ()
    stuck: tuple[Chunk, ...] = ()
    folder: Path | None = None
    tell: Callable[[int], None] = ignore
    notify: Callable[[str], None] = ignore
    is_stopped: Callable[[], bool] = _never


class Chunk(Protocol):
    """A part of a stream: the unit of parallelism, retry and progress."""

    @property
    def label(self) -> str:
        """What this chunk is, for a message: `pages 0 to 8191`."""

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return this chunk's rows, with exactly the requested columns, typed as in the lake.

        The connection has a transaction open; it is rolled back after the rows are read. It is
        the worker's own and comes back for other chunks of the same source, so what is attached
        to it can be kept. May be called again after a failure, on another connection.
        """


@runtime_checkable
class Lasting(Protocol):
    """What a chunk may be beside: one that can tell, without its rows, whether they changed."""

    @property
    def place(self) -> str | None:
        """What part of what this is, and how it is read; None: it cannot be told again.

        Where a chunk of another read has the same place, unchanged rows give the same values.
        """

    @property
    def moment(self) -> str:
        """When this is: for `is_as_at` of another chunk of this place."""

    def is_as_at(self, con: DuckDBPyConnection, moment: str, rows: int) -> bool:
        """Whether the rows are those of that moment, when they were so many: no more, no fewer.

        Called with the connection that `relation` was called with, in the same transaction.
        """


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a source may be read at once, in one run."""

    tables: int
    chunks: int


@runtime_checkable
class Bounded(Protocol):
    """What a connector may be beside: one whose source bears only so much."""

    @property
    def bounds(self) -> Bounds | None:
        """How much that is; None: as much as the run has threads for."""


def bounds_of(connector: Connector) -> Bounds | None:
    """Return how much of a source may be read at once; None: nothing is said of it."""
    return connector.bounds if isinstance(connector, Bounded) else None


@runtime_checkable
class Settled(Protocol):
    """What `read` may hand over in place of a plain list: chunks that know how far they reach."""

    def __iter__(self) -> Iterator[Chunk]:
        """Return the chunks."""

    def cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return where the next read may start, given the highest cursor among the rows.

        Lower where rows with a lower cursor may still appear; higher where the source was asked
        for all changes up to a moment after the last of them. Called after every chunk was read,
        while the view is still open.
        """


@runtime_checkable
class Heavy(Protocol):
    """What a chunk may be beside: one whose rows are so large that few are read at once."""

    @property
    def memory(self) -> float:
        """About how many bytes a worker holds of it at a time."""


class Connector(Protocol):
    """A source system. Made once per run from its validated `Options`, used from many threads."""

    Options: ClassVar[type[BaseModel]]
    extensions: ClassVar[tuple[str, ...]]
    """DuckDB extensions that `Chunk.relation` needs loaded in its connection."""

    def __init__(self, options: BaseModel) -> None: ...

    def check(self) -> None:
        """Return when the source can be reached and read; else raise, saying what to fix."""

    def discover(self) -> Sequence[Stream]:
        """Return every stream the credentials can see, with its columns and key.

        Raises where the source cannot be asked. One stream that cannot be read is `refused`.
        """

    def read(self, request: ReadRequest) -> AbstractContextManager[Iterable[Chunk]]:
        """Hold one consistent view of the stream open, and hand over its chunks.

        There is at least one chunk, so that a table without rows still has its columns; every
        row of the view is in exactly one chunk. What is handed over may be `Settled`.
        """

    def translate(self, error: Exception) -> ConnectorError | None:
        """Name a driver's error that came out of reading a chunk; None when it is not known."""

    def close(self) -> None:
        """Let go of every connection. May be called twice."""
