"""Postgres as a source: its catalogs as streams, its rows exactly, through DuckDB's scanner.

A read holds one REPEATABLE READ transaction, and every chunk imports its snapshot. So chunks that
several connections read at once are parts of one moment.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.connector import ConcurrencyLimit
from cdpsync.errors import ConnectorError, ReadError
from cdpsync.model import Column, Stream
from cdpsync.sql import quote_name
from cdpsync_connectors._shared.naming import (
    likely_cursors,
    matches,
    require_matches,
    split_pair,
    unmatched_schemas,
)
from cdpsync_connectors._shared.rate_limit import RowLimiter
from cdpsync_connectors.postgres.catalog import Relation, fetch_relations, fetch_schemas
from cdpsync_connectors.postgres.connections import Sessions
from cdpsync_connectors.postgres.errors import translate_connecting, translate_reading
from cdpsync_connectors.postgres.options import PostgresOptions
from cdpsync_connectors.postgres.replica import Replica
from cdpsync_connectors.postgres.snapshots import SnapshotExporter
from cdpsync_connectors.postgres.table_read import ReadSource, TableRead
from cdpsync_connectors.postgres.types import natural_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg
    from pydantic import BaseModel

    from cdpsync.connector import ReadRequest, UnmatchedPattern
    from cdpsync_connectors.postgres.chunks import PostgresChunk


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
        limit = options.max_connections
        self.concurrency_limit = (
            None if limit is None else ConcurrencyLimit(limit // 2, limit - limit // 2)
        )
        max_open = None if self.concurrency_limit is None else self.concurrency_limit.tables
        timeout = options.statement_timeout
        self._primary = Sessions(options.parameters(), timeout, max_open)
        self._replica: Replica | None = None
        self._rows = self._primary
        if options.replica is not None:
            self._rows = Sessions(options.replica_parameters(), timeout, max_open)
            self._replica = Replica(self._rows)
        self._source = ReadSource(
            sessions=self._rows,
            replica=self._replica,
            exporter=SnapshotExporter(self._rows),
            limiter=None if options.max_rate is None else RowLimiter(options.max_rate),
            nan_is_null=options.on_nan == "null",
            translated=self._translated,
        )

    def check(self) -> None:
        """Return when the database accepts the login and answers; else raise ConnectError."""
        with self._primary.lend() as con, self._translated(connecting=True):
            con.execute("select 1 from pg_catalog.pg_class limit 1").fetchone()
            if self._replica is not None:
                self._replica.check(con)
            require_matches(self._unmatched_schemas(con))

    def discover(self) -> Sequence[Stream]:
        """Return every table, view, materialised view, foreign table and partitioned parent."""
        with self._primary.lend() as con, self._translated():
            self.unmatched_patterns = self._unmatched_schemas(con)
            relations = fetch_relations(con)
        globs = self._options.schemas
        return [self._stream(relation) for relation in relations if matches(relation.schema, globs)]

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
        with ExitStack() as stack:
            con = stack.enter_context(self._rows.lend())
            primary = stack.enter_context(self._primary.lend()) if self._replica else con
            parts = split_pair(request.stream.name, "schema.table")
            table = ".".join(quote_name(part) for part in parts)
            with self._translated(table):
                chunks = TableRead(self._source, request, con, primary, stack).open()
            yield chunks
            listed = list(chunks)
            if len(listed) > 1 or listed[0].snapshot.exported_id is None:
                # A lost connection would have lost the lock on the table, and then a rewrite may
                # have moved rows to other pages between two chunks.
                with self._translated(table):
                    con.execute("select")

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return our error for one raised by reading a chunk; None when it is not Postgres'."""
        if isinstance(error, ConnectorError):
            return error
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
            known_error = translate_reading(error, location, user, table)
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
