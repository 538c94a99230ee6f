"""MySQL and MariaDB as sources: their catalogs as streams, their rows exactly, in binary.

A read is one SELECT, which InnoDB answers from one snapshot of the data. Its rows are decoded to
Arrow columns, block by block, in bounded memory. See docs/decisions/0008.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.connector import ConcurrencyLimit
from cdpsync.errors import ConfigError, ConnectorError, OpenTypeError, ReadError
from cdpsync.model import Column, Stream
from cdpsync_connectors._shared.naming import (
    likely_cursors,
    matches,
    require_matches,
    unmatched_schemas,
)
from cdpsync_connectors._shared.rate_limit import RowLimiter
from cdpsync_connectors.mysql.catalog import (
    Relation,
    TableIds,
    fetch_relations,
    fetch_schemas,
    fetch_table_ids,
)
from cdpsync_connectors.mysql.connections import Sessions, is_mariadb, server_name
from cdpsync_connectors.mysql.errors import translate_reading
from cdpsync_connectors.mysql.identity import fetch_source_identity
from cdpsync_connectors.mysql.locks import translate_table
from cdpsync_connectors.mysql.options import MysqlOptions
from cdpsync_connectors.mysql.safe_cursor import limited
from cdpsync_connectors.mysql.select import find_relation, select_rows, view_problem
from cdpsync_connectors.mysql.stream import MysqlChunk, StreamErrors
from cdpsync_connectors.mysql.transactions import WriterWatch, unsafe_reason
from cdpsync_connectors.mysql.type_changes import keeps_values
from cdpsync_connectors.mysql.types import DATED, is_of_guess, natural_type, read_marker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import BaseModel
    from pymysql.connections import Connection

    from cdpsync.connector import ReadRequest, UnmatchedPattern
    from cdpsync.model import SourceIdentity


class MysqlConnector:
    """A MySQL server, version 5.7 or later, or a MariaDB, 10.2 or later, as a source."""

    Options: ClassVar[type[BaseModel]] = MysqlOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, MysqlOptions):
            raise TypeError(f"MysqlConnector takes MysqlOptions, not {type(options).__name__}")
        self._options = options
        self.unmatched_patterns: tuple[UnmatchedPattern, ...] = ()
        self._identity: SourceIdentity | None = None
        self._address = options.address()
        limit = options.max_connections
        self.concurrency_limit = None if limit is None else ConcurrencyLimit(limit - 1, limit - 1)
        self._limiter = None if options.max_rate is None else RowLimiter(options.max_rate)
        self._sessions = Sessions(
            self._address,
            options.statement_timeout,
            max_idle=1 if limit else 2,
            lock_timeout=options.lock_timeout,
        )
        self._errors = StreamErrors()
        self._watch = WriterWatch()

    def check(self) -> None:
        """Return when the server accepts the login and has a database to read; else raise."""
        with self._sessions.lend() as con, self._translated():
            schemas = self._schemas(con)
            require_matches(self.unmatched_patterns)
            if not schemas:
                raise ConfigError(
                    f"{self._address.location}: {self._address.user} may see no database. Grant it "
                    "SELECT on one."
                )

    def discover(self) -> Sequence[Stream]:
        """Return every table and view of the selected databases."""
        with self._sessions.lend() as con, self._translated():
            self._identity = fetch_source_identity(con, self._address)
            schemas = self._schemas(con)
            if not schemas:
                return []
            mariadb = is_mariadb(con)
            relations = fetch_relations(con, schemas, mariadb=mariadb)
            reason, server = unsafe_reason(con, self._address.user), server_name(con)
            ids = TableIds() if reason else fetch_table_ids(con, mariadb=mariadb)
            problems = {
                relation.stream: view_problem(con, relation)
                for relation in relations
                if not relation.columns
            }
        return [
            replace(
                self._stream(relation, reason),
                identity=_identity(relation, server, ids),
                rewrite=_rewrite(relation, ids),
                unreadable_reason=problems.get(relation.stream),
            )
            for relation in relations
        ]

    def source_identity(self) -> SourceIdentity | None:
        """Return the server; see `Identified.source_identity`."""
        return self._identity

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[MysqlChunk]]:
        """Return the one chunk of the stream; see `Connector.read`."""
        with self._sessions.lend() as con, self._translated(request.stream.name, request.where):
            relation = find_relation(con, request)
            chunks = self._chunks(con, request, relation)
        try:
            yield chunks
        finally:
            for chunk in chunks:
                chunk.close()

    def _chunks(
        self, con: Connection[Any], request: ReadRequest, relation: Relation
    ) -> Iterable[MysqlChunk]:
        """Return the one chunk of a read, which limits the next cursor where the server can tell.

        Raises ReadError where somebody holds a lock on the table for too long.
        """
        import pymysql

        try:
            chunk = MysqlChunk(
                "all rows",
                self._sessions,
                select_rows(con, request, relation),
                self._options.zero_dates == "null",
                self._errors,
                request.is_stopped,
                self._limiter,
            )
            follows_cursor = request.cursor_field is not None and request.stream.has_safe_cursor
            is_comparison = request.row_filter is not None or request.stable_chunks
            if is_comparison or not follows_cursor:
                return [chunk]
            return limited(con, chunk, request, relation, self._watch)
        except pymysql.Error as error:
            raise translate_table(error, self._sessions, relation, request.where, con) from error

    def keeps_values(self, before: str, after: str, lake_type: str) -> bool:
        """Whether old rows keep their values; see `TypeChangeAware.keeps_values`."""
        return keeps_values(before, after, lake_type)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return our error for one raised by reading a chunk; None when it is not MySQL's."""
        if isinstance(error, ConnectorError):
            return error
        text = str(error)
        message = read_marker(text)
        if message is not None:
            error_class = OpenTypeError if is_of_guess(text) else ReadError
            return error_class(f"{self._address.location}: {message}")
        return self._errors.take(text)

    def close(self) -> None:
        """Close every connection. May be called twice."""
        self._sessions.close()

    def _schemas(self, con: Connection[Any]) -> list[str]:
        """Return the databases to read: those of `schemas`, else the address's own, else all.

        Keeps the globs that match no database in `unmatched_patterns`.
        """
        globs = self._options.schemas
        if globs is None and self._address.database:
            return [self._address.database]
        names = fetch_schemas(con)
        self.unmatched_patterns = unmatched_schemas(
            self._address.location, "database", globs or (), names
        )
        return [name for name in names if matches(name, globs)]

    @contextmanager
    def _translated(self, table: str = "", where: str | None = None) -> Iterator[None]:
        import pymysql

        try:
            yield
        except pymysql.Error as error:
            raise translate_reading(error, self._address, table, where) from error

    def _stream(self, relation: Relation, unsafe_reason: str) -> Stream:
        is_default = relation.schema == self._address.database
        zero_is_null = self._options.zero_dates == "null"
        reason = unsafe_reason or _engine_reason(relation)
        return Stream(
            name=relation.stream,
            table=relation.name if is_default else f"{relation.schema}_{relation.name}",
            columns=tuple(
                Column(
                    c.name,
                    natural_type(c),
                    nullable=not c.required or (zero_is_null and c.kind in DATED),
                    source_type=c.display,
                )
                for c in relation.columns
            ),
            primary_key=relation.primary_key,
            cursor_fields=cursor_fields(relation),
            estimated_rows=relation.estimated_rows,
            kind=relation.kind,
            has_safe_cursor=not reason,
            unsafe_cursor_reason=reason,
            rebuild_changes_identity=True,
        )


def _identity(relation: Relation, server: str, ids: TableIds) -> str | None:
    """Return what tells a table from a later one of its name; an ALTER may change it.

    That is InnoDB's id, which only a user with PROCESS sees, or the time at which it was made or
    altered. Each is compared with its like on the same server only.
    """
    name = relation.schema, relation.name
    if name in ids.partitions:
        return f"{server} partitions"
    if relation.created is None:
        return None
    number = ids.tables.get(name)
    created = relation.created.replace(" ", "T")
    return f"{server} created {created}" if number is None else f"{server} innodb {number}"


_OLDEST = 16  # partitions; some of them are there in each run, although partitions come and go


def _rewrite(relation: Relation, ids: TableIds) -> str | None:
    """Return the ids of a table's oldest partitions: a TRUNCATE changes all of them."""
    numbers = ids.partitions.get((relation.schema, relation.name))
    return ",".join(map(str, sorted(numbers)[:_OLDEST])) if numbers else None


# InnoDB shows its transactions. Those with locks on whole tables show each row as it is written.
_SAFE_ENGINES = {"innodb", "myisam", "aria", "memory", "csv", "archive"}


def _engine_reason(relation: Relation) -> str:
    """Return why a table's storage engine does not show its open transactions, or ""."""
    if relation.engine is None or relation.engine.lower() in _SAFE_ENGINES:
        return ""
    return (
        f"its storage engine {relation.engine} does not show which transactions are open. Give the "
        "table a lookback"
    )


_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}


def cursor_fields(relation: Relation) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first."""
    ordered = [
        (column.name, column.kind in DATED)
        for column in relation.columns
        if column.kind in DATED | _INTEGERS
    ]
    return likely_cursors(ordered, relation.primary_key)
