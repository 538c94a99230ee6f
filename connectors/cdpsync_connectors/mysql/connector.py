"""MySQL and MariaDB: their catalogs as streams, their rows by the binary protocol, exactly.

A read is one SELECT, which InnoDB answers from one view of the data; its rows go from the wire
into Arrow's columns, block by block, in bounded memory. See docs/decisions/0008.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.connector import ConcurrencyLimit
from cdpsync.errors import ConfigError, ConnectorError, ReadError
from cdpsync.model import Column, Stream
from cdpsync_connectors._shared.naming import likely_cursors, matches, refuse_idle
from cdpsync_connectors._shared.rate_limit import RowLimiter
from cdpsync_connectors.mysql.catalog import Relation, fetch_relations, fetch_schemas
from cdpsync_connectors.mysql.connections import Sessions, is_mariadb
from cdpsync_connectors.mysql.errors import translate_reading
from cdpsync_connectors.mysql.options import MysqlOptions
from cdpsync_connectors.mysql.select import find_relation, select_rows
from cdpsync_connectors.mysql.stream import MysqlChunk, Reads
from cdpsync_connectors.mysql.types import DATED, natural_type, read_marker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import BaseModel
    from pymysql.connections import Connection

    from cdpsync.connector import ReadRequest


class MysqlConnector:
    """A MySQL server, 5.7 or newer, or a MariaDB, 10.2 or newer, as a source."""

    Options: ClassVar[type[BaseModel]] = MysqlOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, MysqlOptions):
            raise TypeError(f"MysqlConnector takes MysqlOptions, not {type(options).__name__}")
        self._options = options
        self._address = options.address()
        most = options.max_connections
        self.concurrency_limit = None if most is None else ConcurrencyLimit(most - 1, most - 1)
        self._pace = None if options.max_rate is None else RowLimiter(options.max_rate)
        self._sessions = Sessions(self._address, options.statement_timeout, idle=1 if most else 2)
        self._reads = Reads()

    def check(self) -> None:
        """Return when the server lets us in and there is a database to read; else raise."""
        with self._sessions.lend() as con, self._translated():
            if not self._schemas(con):
                raise ConfigError(
                    f"{self._address.place}: there is no database that {self._address.user} may "
                    "see. Grant it SELECT on one."
                )

    def discover(self) -> Sequence[Stream]:
        """Return every table and view of the databases asked for."""
        with self._sessions.lend() as con, self._translated():
            schemas = self._schemas(con)
            relations = fetch_relations(con, schemas, mariadb=is_mariadb(con))
        return [self._stream(relation) for relation in relations]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[MysqlChunk]]:
        """Hand over the one chunk of the stream; see `Connector.read`."""
        with self._sessions.lend() as con, self._translated(request.stream.name, request.where):
            select = select_rows(con, request, find_relation(con, request))
        zero_is_null = self._options.zero_dates == "null"
        chunk = MysqlChunk(
            "all rows",
            self._sessions,
            select,
            zero_is_null,
            self._reads,
            request.is_stopped,
            self._pace,
        )
        try:
            yield [chunk]
        finally:
            chunk.close()

    def translate(self, error: Exception) -> ConnectorError | None:
        """Name an error that came out of reading a chunk; None when it is not MySQL's."""
        if isinstance(error, ConnectorError):
            return error
        text = str(error)
        guarded = read_marker(text)
        if guarded is not None:
            return ReadError(f"{self._address.place}: {guarded}")
        return self._reads.find(text)

    def close(self) -> None:
        """Let go of every connection. May be called twice."""
        self._sessions.close()

    def _schemas(self, con: Connection[Any]) -> list[str]:
        """Return the databases to read: those asked for, else the address's own, else all.

        Raises ConfigError for a glob that matches none.
        """
        globs = self._options.schemas
        if globs is None and self._address.database:
            return [self._address.database]
        names = fetch_schemas(con)
        refuse_idle(self._address.place, "database", globs or (), names)
        return [name for name in names if matches(name, globs)]

    @contextmanager
    def _translated(self, table: str = "", where: str | None = None) -> Iterator[None]:
        import pymysql

        try:
            yield
        except pymysql.Error as error:
            raise translate_reading(error, self._address, table, where) from error

    def _stream(self, relation: Relation) -> Stream:
        keeps_name = relation.schema == self._address.database
        zero_is_null = self._options.zero_dates == "null"
        return Stream(
            name=relation.stream,
            table=relation.name if keeps_name else f"{relation.schema}_{relation.name}",
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
        )


_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}


def cursor_fields(relation: Relation) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first."""
    able = [
        (column.name, column.kind in DATED)
        for column in relation.columns
        if column.kind in DATED | _INTEGERS
    ]
    return likely_cursors(able, relation.primary_key)
