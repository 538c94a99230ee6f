"""Postgres as a source: its catalogs as streams, its rows exactly, through DuckDB's scanner.

A read holds one REPEATABLE READ transaction, and every chunk imports its snapshot. So chunks that
several connections read at once are parts of one moment.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.errors import ConnectorError, ReadError
from cdpsync.model import Column, Stream
from cdpsync.sql import quote_name
from cdpsync_connectors._shared.naming import (
    likely_cursors,
    matches,
    require_matches,
    split_pair,
    stream_name,
    unmatched_schemas,
)
from cdpsync_connectors._shared.rate_limit import RowLimiter
from cdpsync_connectors.postgres.capacity import MOST_OF_A_POOL, Capacity
from cdpsync_connectors.postgres.catalog import Relation, fetch_relations, fetch_schemas
from cdpsync_connectors.postgres.connections import Sessions
from cdpsync_connectors.postgres.encoding import (
    fetch_unreadable,
    has_readable_names,
    is_refused_text,
    refused_text_message,
)
from cdpsync_connectors.postgres.errors import (
    RefusedTextError,
    is_refused_for_number,
    translate_connecting,
    translate_reading,
)
from cdpsync_connectors.postgres.identity import fetch_source_identity
from cdpsync_connectors.postgres.locks import is_lock_timeout, lock_message, qualified_name
from cdpsync_connectors.postgres.options import PostgresOptions
from cdpsync_connectors.postgres.replica import Replica
from cdpsync_connectors.postgres.snapshots import SnapshotExporter
from cdpsync_connectors.postgres.table_read import ReadSource, TableRead
from cdpsync_connectors.postgres.type_changes import keeps_values
from cdpsync_connectors.postgres.types import natural_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import psycopg
    from pydantic import BaseModel

    from cdpsync.connector import ConcurrencyLimit, ReadRequest, UnmatchedPattern
    from cdpsync.model import SourceIdentity
    from cdpsync_connectors.postgres.chunks import PostgresChunk

_SMALL = 100_000  # rows of a table that is surely one chunk


class PostgresConnector:
    """A Postgres database, version 10 or later, as a source."""

    Options: ClassVar[type[BaseModel]] = PostgresOptions
    extensions: ClassVar[tuple[str, ...]] = ("postgres_scanner",)

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, PostgresOptions):
            raise TypeError(
                f"PostgresConnector takes PostgresOptions, not {type(options).__name__}"
            )
        self._options = options
        self.unmatched_patterns: tuple[UnmatchedPattern, ...] = ()
        self._identity: SourceIdentity | None = None
        self._capacity = Capacity(options.max_connections)
        self._primary = self._sessions(options.parameters())
        self._replica: Replica | None = None
        self._rows = self._primary
        if options.replica is not None:
            self._rows = self._sessions(options.replica_parameters())
            self._replica = Replica(self._rows)
        self._source = ReadSource(
            sessions=self._rows,
            primary=self._primary,
            replica=self._replica,
            exporter=SnapshotExporter(self._rows),
            limiter=None if options.max_rate is None else RowLimiter(options.max_rate),
            nan_is_null=options.on_nan == "null",
            is_single=lambda: self._capacity.is_single,
            translated=self._translated,
        )
        self._limit_idle()

    @property
    def concurrency_limit(self) -> ConcurrencyLimit | None:
        """The most tables and chunks at once, as `max_connections` or the server allows."""
        return self._capacity.limit

    def check(self) -> None:
        """Return when the database accepts the login and answers; else raise ConnectError."""
        with self._primary.lend() as con, self._translated(connecting=True):
            con.execute("select 1 from pg_catalog.pg_class limit 1").fetchone()
            if self._replica is not None:
                self._replica.check(con)
            require_matches(self._unmatched_schemas(con))

    def discover(self) -> Sequence[Stream]:
        """Return every table, view, materialised view, foreign table and partitioned parent."""
        globs = self._options.schemas
        unreadable: list[Stream] = []
        with self._translated(), self._primary.lend() as con:
            self._identity = fetch_source_identity(con)
            self.unmatched_patterns = self._unmatched_schemas(con)
            try:
                relations = fetch_relations(con)
            except self._primary.driver_error() as error:
                if not is_refused_text(error):
                    raise
                self._primary.begin(con)
                unreadable = [
                    _unreadable(schema, name)
                    for schema, name in fetch_unreadable(con)
                    if matches(schema, globs)
                ]
                relations = fetch_relations(con, names_condition=has_readable_names())
            self._learn_capacity(con, relations)
        streams = [
            self._stream(relation) for relation in relations if matches(relation.schema, globs)
        ]
        return streams + unreadable

    def source_identity(self) -> SourceIdentity | None:
        """Return the cluster and the database; see `Identified.source_identity`."""
        return self._identity

    def _unmatched_schemas(self, con: psycopg.Connection[Any]) -> tuple[UnmatchedPattern, ...]:
        globs = self._options.schemas
        if globs is None:
            return ()
        return unmatched_schemas(self._primary.location, "schema", globs, fetch_schemas(con))

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[PostgresChunk]]:
        """Hold one snapshot of the stream open, and return its chunks; see `Connector.read`.

        With a cursor, the chunks are `CursorLimited`.
        """
        parts = split_pair(request.stream.name, "schema.table")
        table = ".".join(quote_name(part) for part in parts)
        with self._capacity.table(request.is_stopped), ExitStack() as stack:
            notice = self._capacity.take_notice()
            if notice is not None:
                request.on_notice(notice)
            if self._capacity.is_single:
                with self._translated(table), ExitStack() as planning:
                    con = planning.enter_context(self._rows.lend())
                    chunks = self._open(request, con, planning)
                with self._blaming_columns(request, table):
                    yield chunks
                return
            con = stack.enter_context(self._rows.lend())
            with self._translated(table):
                chunks = self._open(request, con, stack)
            with self._blaming_columns(request, table):
                yield chunks
            listed = list(chunks)
            if len(listed) > 1 or not listed[0].snapshot.is_one_moment:
                # A lost connection would have lost the lock on the table, and then a rewrite may
                # have moved rows to other pages between two chunks.
                with self._translated(table):
                    con.execute("select")

    def _open(
        self, request: ReadRequest, con: psycopg.Connection[Any], stack: ExitStack
    ) -> Iterable[PostgresChunk]:
        """Return the chunks of a read; its snapshot is open on `con` until `stack` is closed."""
        if self._replica is None:
            return TableRead(self._source, request, con, con, stack).open()
        with self._primary.lend() as primary:
            return TableRead(self._source, request, con, primary, stack).open()

    @contextmanager
    def _blaming_columns(self, request: ReadRequest, table: str) -> Iterator[None]:
        """Name the column in the error of a text that cannot be sent as UTF-8."""
        try:
            yield
        except RefusedTextError as error:
            names = [column.name for column in request.columns]
            with self._translated(table):
                message = refused_text_message(self._rows, request.stream.name, table, names)
            raise ReadError(message or error.message) from error

    def _sessions(self, parameters: Mapping[str, str]) -> Sessions:
        options = self._options
        return Sessions(
            parameters,
            options.statement_timeout,
            lock_timeout=options.lock_timeout,
            name=options.session_name,
            on_refused=self._refused,
        )

    def _learn_capacity(self, con: psycopg.Connection[Any], relations: Sequence[Relation]) -> None:
        """Find out how many connections there are for us, where nobody has said so."""
        if self._capacity.is_known:
            return
        is_small = all(
            relation.estimated_rows is not None and relation.estimated_rows < _SMALL
            for relation in relations
        )
        wanted = min(max(2 * len(relations), 2), MOST_OF_A_POOL) if is_small else MOST_OF_A_POOL
        most = _count_connections(self._primary, con, wanted)
        if self._rows is not self._primary:
            self._capacity.learn_tables(most)
            with self._rows.lend() as replica_con:
                most = _count_connections(self._rows, replica_con, wanted)
        self._capacity.learn(most, wanted, is_pooled=self._rows.is_pooled)
        self._limit_idle()

    def _refused(self) -> None:
        """Go on with fewer connections than the one that was refused."""
        self._capacity.refused()
        self._limit_idle()

    def _limit_idle(self) -> None:
        """Let no more connections wait than may be open, and none where there is only one."""
        limit = self._capacity.limit
        if limit is not None:
            most = 0 if self._capacity.is_single else limit.tables
            self._primary.max_open = self._rows.max_open = most

    def keeps_values(self, before: str, after: str, lake_type: str) -> bool:
        """Whether old rows keep their values; see `TypeChangeAware.keeps_values`."""
        return keeps_values(before, after, lake_type)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return our error for one raised by reading a chunk; None when it is not Postgres'."""
        if isinstance(error, ConnectorError):
            return error
        if is_refused_for_number(error):
            self._refused()
        return translate_reading(error, self._rows.location, quote_name(self._rows.user))

    def close(self) -> None:
        """Close every connection. May be called twice."""
        self._primary.close()
        self._rows.close()

    @contextmanager
    def _translated(self, table: str | None = None, *, connecting: bool = False) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            location, user = self._rows.location, quote_name(self._rows.user)
            if connecting:
                raise translate_connecting(error, location) from error
            if is_refused_for_number(error):
                self._refused()
            if table is not None and is_lock_timeout(error):
                raise ReadError(lock_message(self._rows, table)) from error
            qualify = partial(qualified_name, self._rows, table or "")
            known_error = translate_reading(error, location, user, table, qualify)
            raise known_error or ReadError(str(error)) from error

    def _stream(self, relation: Relation) -> Stream:
        is_default = relation.schema == self._options.omitted_schema
        key = relation.primary_key
        return Stream(
            name=relation.stream,
            table=relation.name if is_default else f"{relation.schema}_{relation.name}",
            columns=tuple(
                Column(c.name, natural_type(c), not (c.required or c.name in key), c.display)
                for c in relation.columns
            ),
            primary_key=key,
            cursor_fields=cursor_fields(relation),
            estimated_rows=relation.estimated_rows,
            kind=relation.kind,
            has_safe_cursor=True,
            identity=relation.identity,
            rewrite=relation.rewrite,
        )


def _count_connections(sessions: Sessions, con: psycopg.Connection[Any], wanted: int) -> int:
    """Return how many connections there are for us, the lent one included."""
    if sessions.is_pooled:
        return sessions.count_connections(con, wanted)
    return sessions.free_connections or wanted


def _unreadable(schema: str, name: str) -> Stream:
    """Return the stream of a table whose name, or that of a column, is no UTF-8."""
    return Stream(
        name=stream_name((schema, name)),
        table=name,
        columns=(),
        unreadable_reason=(
            f'table "{schema}.{name}": its name, or that of a column, has bytes that are no UTF-8 '
            "and are written here as \\ and three octal digits. Rename it there, or leave it out: "
            f'tables: {{"{schema}.{name}": {{enabled: false}}}}.'
        ),
    )


_ORDERED = {"int2", "int4", "int8", "date", "timestamp", "timestamptz"}


def cursor_fields(relation: Relation) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first."""
    ordered = [
        (column.name, not column.kind.startswith("int"))
        for column in relation.columns
        if column.kind in _ORDERED and not column.dimensions
    ]
    return likely_cursors(ordered, relation.primary_key)
