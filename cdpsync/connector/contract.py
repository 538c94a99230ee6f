"""The contract between cdpsync and a connector: what a source system must offer.

A connector is a class with the members of `Connector`, published under the entry-point group
`cdpsync.connectors`. It imports its driver inside its methods, so that naming a connector in
`--help` or in an error costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from cdpsync.model.plan import derived_table_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync.errors import ConnectorError
    from cdpsync.model import Column, Cursor, SourceIdentity, Stream, Window


class ConnectorOptions(BaseModel):
    """Base of every connector's `Options`: an unknown key is an error, values do not change.

    Declare secrets as `pydantic.SecretStr`, and URLs that may hold a password too: the value of
    such a field is hidden in every message, log line and repr.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    follows_changes: ClassVar[bool] = False
    """Whether streams have `changes`, so that `incremental` needs no cursor_field."""

    follows_states: ClassVar[bool] = False
    """Whether these streams go on from states: then no mode of theirs needs a cursor_field."""

    follows_cursors: ClassVar[bool] = True
    """Whether a stream can be read from a cursor on. If not, its only mode is `full_table`."""

    ignores_case: ClassVar[bool] = False
    """Whether a name in the project file means a stream or column of another case, if only one.

    For sources that change the case of names themselves, unless they are quoted.
    """

    @property
    def omitted_schema(self) -> str | None:
        """The schema that is left out of the lake's table names; None: there is no such schema.

        A stream `public.orders` of this schema becomes the table `orders`, one of another schema
        `audit_orders`. The name of a table is derived by this rule until its stream is discovered.
        """
        return None

    def default_table(self, stream: str) -> str:
        """Return the name in the lake that `discover` will give the table of a stream."""
        return derived_table_name(stream, self.omitted_schema)

    def selects(self, stream: str) -> bool:  # noqa: ARG002 - for those that narrow
        """Whether these options ask for a stream of this name, if the source has it.

        A stream that is in the lake and is asked for is reported as missing when `discover` does
        not find it. Options that narrow what is discovered, such as `schemas:`, answer for it.
        """
        return True


class DatabaseOptions(ConnectorOptions):
    """Base of the `Options` of a database that serves others too: limits on its load.

    `max_connections` bounds our connections at any moment. One table needs at least two: one
    holds the snapshot, the other reads. `max_rate` is in rows a second, over all tables of the
    source.
    """

    max_connections: Annotated[int, Field(ge=2)] | None = None
    max_rate: Annotated[float, Field(gt=0)] | None = None


def ignore(_: object) -> None:
    """Do nothing: the default callback."""


def _ignore_rejected(file: Path, count: int) -> None:
    """Do nothing, where only the rows are asked for."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Rows by their key: `values` has one text per column, as DuckDB prints it, never NULL."""

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class RowSlice:
    """One of `parts` equal parts of a stream: rows with abs(`column`) modulo `parts` = `part`."""

    column: str
    parts: int
    part: int


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """The rows and columns of one stream that one run asks for.

    `columns` are those to read, in order; with `changes`, its cursor is among them. `types` are
    DuckDB types that the user gave by name; `lake_types` are the types of columns that the lake's
    table has already. Both decide the type of a column whose type the source leaves open. With
    `replaces`, the rows replace the lake's, so that `lake_types` decide only for columns without a
    value. A value that does not fit such a type of the lake is an `OpenTypeError`. Then the read is
    tried again with `lake_digits`: for each decimal column of the lake that has a value, the most
    digits before and behind the point; for a column of text, more than any decimal has. The type
    then has room for these and for the rows of this read. `window` is None for a read of every row.
    `workers` is how many chunks are read at once.

    `cursor_field` is set for every read of a table that has one, `saved_cursor` where an earlier
    read of the table ended at one. `follows_state` is set for a read that goes on from the state in
    `saved_cursor`, or begins without one: its chunks are `CursorLimited`, and their `safe_cursor`
    is the next state. Without it a stream that has states is read whole. `looks_back` is set where
    the user gave a lookback, so that rows below the cursor are read again. `include_deletes` asks a
    stream whose `changes` report deletions for deleted rows too, with the column `_deleted_at`
    (TIMESTAMP WITH TIME ZONE, NULL in rows that exist). `include` and `exclude` are the project
    file's patterns for columns: a stream with an open schema drops the columns that they exclude.

    `row_filter` is an optional hint. The connector may return more rows; the caller filters again.
    `limit` is another: no more rows are needed, whichever they are; the caller drops any others.

    `stable_chunks` asks for chunks that another read will cut in the same way, and that are
    `VersionedChunk`s where that is possible.

    `previous_chunks` are the chunks of an earlier read whose snapshot was lost. They are to be cut
    in the same way where that is possible, but smaller where they are among `failed_chunks`,
    because the source hung up before these were read to their end.

    For connectors whose `read` fetches the rows itself before it returns chunks: `folder` is a
    private directory that lasts as long as the read, `on_progress` takes the number of rows
    fetched so far, `is_stopped` says when to give up, and `on_notice` adds a sentence to the run's
    record.

    `on_rejected` takes records that the source has and that are no rows, because a user asked to
    set them aside: a Parquet file with the columns of `REJECTED_COLUMNS`, and how many they are. It
    is called at most once, before the chunks are returned, and takes the file away. They become the
    table `…__rejected`, in the commit of the rows.
    """

    stream: Stream
    columns: tuple[Column, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    lake_types: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    window: Window | None = None
    workers: int = 1
    cursor_field: str | None = None
    saved_cursor: Cursor | None = None
    follows_state: bool = False
    looks_back: bool = False
    include_deletes: bool = False
    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    row_filter: KeyFilter | RowSlice | None = None
    limit: int | None = None
    stable_chunks: bool = False
    previous_chunks: tuple[Chunk, ...] = ()
    failed_chunks: tuple[Chunk, ...] = ()
    folder: Path | None = None
    on_progress: Callable[[int], None] = ignore
    on_notice: Callable[[str], None] = ignore
    on_rejected: Callable[[Path, int], None] = _ignore_rejected
    is_stopped: Callable[[], bool] = _never
    replaces: bool = False
    lake_digits: Mapping[str, tuple[int, int]] | None = None


class Chunk(Protocol):
    """A part of a stream: the unit of parallelism, retry and progress."""

    @property
    def label(self) -> str:
        """Name of this chunk for a message: `pages 0 to 8191`."""

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return this chunk's rows, with exactly the requested columns, typed as in the lake.

        A stream with an open schema may have other columns, and lack any but the key and cursor.

        The connection has a transaction open, which is rolled back after the rows are read. It
        belongs to the worker and is used again for other chunks of the same source, so whatever
        is attached to it may stay. May be called again after a failure, on another connection.
        """


@runtime_checkable
class VersionedChunk(Protocol):
    """Optional: a chunk that can report, without reading its rows, whether they changed."""

    @property
    def key(self) -> str | None:
        """Identifies the rows and the expressions that read them; None: not comparable.

        Chunks with equal keys and unchanged rows give equal values.
        """

    @property
    def version(self) -> str:
        """The moment of this chunk's snapshot, for `is_unchanged_since` of a later chunk."""

    def is_unchanged_since(self, con: DuckDBPyConnection, version: str, rows: int) -> bool:
        """Whether the rows are exactly those of that version, which had `rows` rows.

        Called with the connection that `relation` was called with, in the same transaction.
        """


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """The most tables and chunks of a source that one run reads at once."""

    tables: int
    chunks: int


@runtime_checkable
class Limited(Protocol):
    """Optional: a connector whose source allows only so many reads at once."""

    @property
    def concurrency_limit(self) -> ConcurrencyLimit | None:
        """The limit; None: as many as the run has threads."""


@runtime_checkable
class TypeChangeAware(Protocol):
    """Optional: a connector that knows what a new type at the source does to the old rows."""

    def keeps_values(self, before: str, after: str, lake_type: str) -> bool:
        """Whether each old row still has the value that the lake has, of `lake_type`.

        The column's type has changed at the source from `before` to `after`, both as in
        `Column.source_type`. False where the source may have converted a value to another one:
        no cursor tells of such rows.
        """


def concurrency_limit_of(connector: Connector) -> ConcurrencyLimit | None:
    """Return how much of a source may be read at once; None: it sets no limit."""
    return connector.concurrency_limit if isinstance(connector, Limited) else None


@dataclass(frozen=True, slots=True)
class UnmatchedPattern:
    """A pattern of a connector's options that selects nothing at the source.

    `streams` is the glob of the streams that it would select. `message` names the option and its
    place, and what there is to select.
    """

    streams: str
    message: str


@runtime_checkable
class PatternAware(Protocol):
    """Optional: a connector whose options select streams by patterns, such as `schemas:`."""

    @property
    def unmatched_patterns(self) -> Sequence[UnmatchedPattern]:
        """The patterns for which the last `discover` found nothing. Their tables fail."""


def unmatched_patterns_of(connector: Connector) -> Sequence[UnmatchedPattern]:
    """Return the patterns for which a connector found nothing; none, if it reports none."""
    return connector.unmatched_patterns if isinstance(connector, PatternAware) else ()


@runtime_checkable
class Identified(Protocol):
    """Optional: a connector that can tell its source from another one, whatever the address."""

    def source_identity(self) -> SourceIdentity | None:
        """Return which account, server or database the source is; None: that is not known.

        It is kept beside the cursors of the source's tables. A table whose rows are of another
        source is not read on. Called after `discover`. The same for as long as the data is: after a
        restart, by another address or user, and on a replica.
        """


def source_identity_of(connector: Connector) -> SourceIdentity | None:
    """Return which source a connector reads; None where it cannot tell."""
    return connector.source_identity() if isinstance(connector, Identified) else None


@runtime_checkable
class CursorLimited(Protocol):
    """Optional: what `read` may return in place of a list: chunks that limit the next cursor."""

    def __iter__(self) -> Iterator[Chunk]:
        """Return the chunks."""

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return where the next read may start, given the highest cursor among the rows.

        It is lower where rows with a lower cursor may still appear. It is higher where the source
        was asked for all changes up to a moment after the last of them. Of a read that follows a
        state, `highest` is the state it went on from, and the result the next one: JSON text of at
        most `MAX_STATE` bytes. None: the same one. Called after every chunk was read, while the
        snapshot is still open.
        """


@runtime_checkable
class SizedChunk(Protocol):
    """Optional: a chunk whose rows are so large that few chunks are read at once."""

    @property
    def memory(self) -> float:
        """About how many bytes a worker holds of it at a time."""


@runtime_checkable
class FrugalChunk(Protocol):
    """Optional: a chunk that can be read in less memory, and more slowly.

    It is asked for after a read of the chunk has run out of memory.
    """

    def with_less_memory(self) -> Chunk:
        """Return a chunk with the same rows and columns."""

    def largest_value(self, con: DuckDBPyConnection) -> tuple[str, int] | None:
        """Return the column of the largest value, and about how many bytes it has."""


class Connector(Protocol):
    """A source system. Made once per run from its validated `Options`, used from many threads."""

    Options: ClassVar[type[BaseModel]]
    extensions: ClassVar[tuple[str, ...]]
    """DuckDB extensions that `Chunk.relation` needs loaded in its connection."""

    def __init__(self, options: BaseModel) -> None: ...

    def check(self) -> None:
        """Return when the source can be reached and read; otherwise raise, saying what to fix."""

    def discover(self) -> Sequence[Stream]:
        """Return every stream the credentials can see, with its columns and key.

        Raises where the source cannot be reached. A single stream that cannot be read has an
        `unreadable_reason`.
        """

    def read(self, request: ReadRequest) -> AbstractContextManager[Iterable[Chunk]]:
        """Hold one consistent snapshot of the stream open, and return its chunks.

        There is at least one chunk, so that a table without rows still has its columns. Every row
        of the snapshot is in exactly one chunk. The chunks may be `CursorLimited`.
        """

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return a driver's error, raised by any method or chunk, as ours; None if unknown."""

    def close(self) -> None:
        """Close every connection. May be called twice."""
