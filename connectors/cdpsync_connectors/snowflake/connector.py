"""Snowflake as a source: one SELECT a table, whose result is fetched in parallel as Arrow, exactly.

A stream has the name that Snowflake shows: `SCHEMA.TABLE` in the default database and
`DATABASE.SCHEMA.TABLE` in another one, such as `PUBLIC.ORDERS`, or `PUBLIC.orders` for a table that
was created as "orders". In the lake, a plain upper-case name becomes lower case; the default
database, and its default schema, are left out: `orders`, `raw_events`, `other_public_orders`.
Column names stay unchanged.

Snowflake runs the statement once and stores its whole result, as of that moment, in parts whose
size it chooses. Each part is a chunk. Their addresses are valid for about six hours.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync.sql import quote_name
from cdpsync_connectors._shared.naming import (
    likely_cursors,
    split_stream,
    stream_name,
    unmatched_schemas,
)
from cdpsync_connectors.snowflake.catalog import (
    Relation,
    fetch_databases,
    fetch_relations,
    fetch_schemas,
    lake_name,
)
from cdpsync_connectors.snowflake.connections import Sessions
from cdpsync_connectors.snowflake.errors import translate_reading
from cdpsync_connectors.snowflake.identity import fetch_source_identity
from cdpsync_connectors.snowflake.options import SnowflakeOptions, matches_plain
from cdpsync_connectors.snowflake.select import SnowflakeChunk, find_relation, select_rows
from cdpsync_connectors.snowflake.type_changes import keeps_values
from cdpsync_connectors.snowflake.types import can_order, is_time, natural_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import ReadRequest, UnmatchedPattern
    from cdpsync.errors import ConnectorError
    from cdpsync.model import SourceIdentity

_SYSTEM = {"SNOWFLAKE"}  # the account's own; a glob must name it


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
        self.unmatched_patterns: tuple[UnmatchedPattern, ...] = ()
        self._sessions = Sessions(options)

    def check(self) -> None:
        """Return when the login is accepted, and role and warehouse can read the catalog."""
        for database in self._databases()[:1]:
            self._sessions.ask(
                f"select count(*) as c from {quote_name(database)}.information_schema.tables"
            )

    def discover(self) -> Sequence[Stream]:
        """Return every table and view, of any kind, in the selected databases and schemas."""
        relations = [
            relation
            for database in self._databases()
            for relation in fetch_relations(self._sessions.ask, database, self._is_selected)
        ]
        self.unmatched_patterns = self._unmatched_schemas({rel.schema for rel in relations})
        return [self._stream(relation) for relation in relations]

    def _unmatched_schemas(self, schemas: set[str]) -> tuple[UnmatchedPattern, ...]:
        """Return the globs of `schemas` that match no schema.

        `schemas` are those with tables. Only if one of the globs matches none of them, Snowflake
        is asked for the others.
        """
        unmatched = [
            glob
            for glob in self._options.schemas or ()
            if not any(matches_plain(name, (glob,)) for name in schemas)
        ]
        if not unmatched:
            return ()
        ask, databases = self._sessions.ask, self._databases()
        names = sorted({name for db in databases for name in fetch_schemas(ask, db)})
        location = self._sessions.location
        patterns = unmatched_schemas(
            location, "schema", unmatched, names, matches=matches_plain, streams="*{}.*"
        )
        # A glob in lower case means the name in upper case, too, and most names are.
        return tuple(replace(pattern, streams=pattern.streams.upper()) for pattern in patterns)

    def source_identity(self) -> SourceIdentity | None:
        """Return the account and the default database; see `Identified.source_identity`."""
        return fetch_source_identity(self._sessions.ask)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[SnowflakeChunk]]:
        """Run the statement, and return the parts of its result; see `Connector.read`."""
        table = self._split(request.stream.name)
        relation = find_relation(self._sessions.ask, table, request)
        statement = select_rows(relation, request)
        batches = self._sessions.query(statement.sql, request.where)
        yield [
            SnowflakeChunk(f"part {number} of {len(batches)}", batch, statement.exprs)
            for number, batch in enumerate(batches, start=1)
        ] or [SnowflakeChunk("no rows", None, statement.exprs)]

    def keeps_values(self, before: str, after: str, lake_type: str) -> bool:
        """Whether old rows keep their values; see `TypeChangeAware.keeps_values`."""
        return keeps_values(before, after, lake_type)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return our error for one raised by reading a chunk; None when it is not Snowflake's."""
        return translate_reading(error, self._sessions.location)

    def close(self) -> None:
        """Log out. May be called twice."""
        self._sessions.close()

    def _databases(self) -> list[str]:
        globs = self._options.databases
        if globs is None:
            return [self._options.database] if self._options.database else []
        names = fetch_databases(self._sessions.ask)
        selected = [
            name
            for name in names
            if matches_plain(name, globs) and (name not in _SYSTEM or name in globs)
        ]
        if not selected:
            raise ReadError(
                f"{self._sessions.location}: databases: {', '.join(globs)} matches none that the "
                f"role may see: {', '.join(names) or 'it may see none'}."
            )
        return selected

    def _is_selected(self, schema: str) -> bool:
        globs = self._options.schemas
        return globs is None or matches_plain(schema, globs)

    def _split(self, stream: str) -> tuple[str, str, str]:
        """Return database, schema and name of a stream's table."""
        *database, schema, table = split_stream(stream)
        return (database[0] if database else self._options.database or ""), schema, table

    def _stream(self, relation: Relation) -> Stream:
        parts = (relation.database, relation.schema, relation.name)
        in_default_database = relation.database == self._options.database
        stream_parts = parts[1:] if in_default_database else parts
        in_default_schema = in_default_database and relation.schema == self._options.schema_
        key = relation.primary_key
        return Stream(
            name=stream_name(stream_parts),
            table=lake_name(stream_parts[1:] if in_default_schema else stream_parts),
            columns=tuple(
                Column(c.name, natural_type(c), not (c.required or c.name in key), c.display)
                for c in relation.columns
            ),
            primary_key=key,
            cursor_fields=cursor_fields(relation),
            estimated_rows=relation.estimated_rows,
            kind=relation.kind,
            key_enforced=relation.kind == "hybrid table",
            identity=relation.created,
        )


def cursor_fields(relation: Relation) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first."""
    ordered = [(column.name, is_time(column)) for column in relation.columns if can_order(column)]
    return likely_cursors(ordered, relation.primary_key)
