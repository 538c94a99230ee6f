"""Snowflake: one SELECT a table, its answer fetched in parallel as Arrow, exactly.

A stream is called what Snowflake shows, `SCHEMA.TABLE` in the default database and
`DATABASE.SCHEMA.TABLE` elsewhere: `PUBLIC.ORDERS`, and `PUBLIC.orders` for a table that was
created as "orders". In the lake a name that is plain upper case becomes lower case, the default
database and, in it, the default schema drop out: `orders`, `raw_events`, `other_public_orders`.
Columns keep the name they have.

Snowflake runs the statement once and keeps its whole answer, as it was at that moment, in parts of
its own choosing; each part is a chunk. Their addresses hold for about six hours.
"""

from __future__ import annotations

from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync_connectors._shared.naming import likely_cursors, refuse_idle, split_stream, stream_name
from cdpsync_connectors.snowflake.catalog import (
    Relation,
    fetch_databases,
    fetch_relations,
    fetch_schemas,
    lake_name,
    quote_name,
)
from cdpsync_connectors.snowflake.connections import Session
from cdpsync_connectors.snowflake.errors import translate_reading
from cdpsync_connectors.snowflake.options import SnowflakeOptions
from cdpsync_connectors.snowflake.select import SnowflakeChunk, find_relation, select
from cdpsync_connectors.snowflake.types import can_order, is_time, natural_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import ReadRequest
    from cdpsync.errors import ConnectorError

_SYSTEM = {"SNOWFLAKE"}  # the account's own, which only a glob by that name means


class SnowflakeConnector:
    """A Snowflake account as a source."""

    Options: ClassVar[type[BaseModel]] = SnowflakeOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, SnowflakeOptions):
            raise TypeError(
                f"SnowflakeConnector takes SnowflakeOptions, not {type(options).__name__}"
            )
        self._options = options
        self._session = Session(options)

    def check(self) -> None:
        """Return when the account lets us in, and role and warehouse can read the catalog."""
        for database in self._databases()[:1]:
            self._session.ask(
                f"select count(*) as c from {quote_name(database)}.information_schema.tables"
            )

    def discover(self) -> Sequence[Stream]:
        """Return every table and view, of any kind, in the wanted databases and schemas."""
        relations = [
            relation
            for database in self._databases()
            for relation in fetch_relations(self._session.ask, database, self._wants)
        ]
        self._refuse_idle({relation.schema for relation in relations})
        return [self._stream(relation) for relation in relations]

    def _refuse_idle(self, filled: set[str]) -> None:
        """Refuse a glob of `schemas` that means none, in any of the wanted databases."""
        idle = [
            glob
            for glob in self._options.schemas or ()
            if not any(_matches(name, (glob,)) for name in filled)
        ]
        if idle:
            ask, databases = self._session.ask, self._databases()
            names = sorted({name for one in databases for name in fetch_schemas(ask, one)})
            refuse_idle(self._session.place, "schema", idle, names, matches=_matches)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[SnowflakeChunk]]:
        """Run the statement, and hand over the parts of its answer; see `Connector.read`."""
        place = self._place(request.stream.name)
        relation = find_relation(self._session.ask, place, request)
        statement = select(relation, request)
        batches = self._session.query(statement.sql, request.where)
        yield [
            SnowflakeChunk(f"part {number} of {len(batches)}", batch, statement.readings)
            for number, batch in enumerate(batches, start=1)
        ] or [SnowflakeChunk("no rows", None, statement.readings)]

    def translate(self, error: Exception) -> ConnectorError | None:
        """Name an error that came out of reading a chunk; None when it is not Snowflake's."""
        return translate_reading(error, self._session.place)

    def close(self) -> None:
        """Log out. May be called twice."""
        self._session.close()

    def _databases(self) -> list[str]:
        globs = self._options.databases
        if globs is None:
            return [self._options.database] if self._options.database else []
        seen = fetch_databases(self._session.ask)
        found = [
            name
            for name in seen
            if _matches(name, globs) and (name not in _SYSTEM or name in globs)
        ]
        if not found:
            raise ReadError(
                f"{self._session.place}: databases: {', '.join(globs)} matches none that the role "
                f"may see: {', '.join(seen) or 'none at all'}."
            )
        return found

    def _wants(self, schema: str) -> bool:
        globs = self._options.schemas
        return globs is None or _matches(schema, globs)

    def _place(self, stream: str) -> tuple[str, str, str]:
        """Return database, schema and table of a stream."""
        *database, schema, table = split_stream(stream)
        return (database[0] if database else self._options.database or ""), schema, table

    def _stream(self, relation: Relation) -> Stream:
        parts = (relation.database, relation.schema, relation.name)
        at_home = relation.database == self._options.database
        named = parts[1:] if at_home else parts
        shown = named[1:] if at_home and relation.schema == self._options.schema_ else named
        key = relation.primary_key
        return Stream(
            name=stream_name(named),
            table=lake_name(shown),
            columns=tuple(
                Column(c.name, natural_type(c), not (c.required or c.name in key), c.display)
                for c in relation.columns
            ),
            primary_key=key,
            cursor_fields=cursor_fields(relation),
            estimated_rows=relation.estimated_rows,
            kind=relation.kind,
            key_enforced=relation.kind == "hybrid table",
        )


def _matches(name: str, globs: Iterable[str]) -> bool:
    """Whether a glob means a name; one in lower case means the plain name in upper case too."""
    return any(fnmatchcase(name, glob) or fnmatchcase(name, glob.upper()) for glob in globs)


def cursor_fields(relation: Relation) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first."""
    able = [(column.name, is_time(column)) for column in relation.columns if can_order(column)]
    return likely_cursors(able, relation.primary_key)
