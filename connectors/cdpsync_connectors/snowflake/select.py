"""One read: its statement, and the chunks of its result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.sql import quote_name
from cdpsync_connectors._shared.relations import (
    cursor_text,
    require_columns,
    require_relation,
    user_conditions,
    window_conditions,
)
from cdpsync_connectors.snowflake.catalog import fetch_relations, quote_literal
from cdpsync_connectors.snowflake.decode import fetch, in_small_parts
from cdpsync_connectors.snowflake.types import can_order, column_expr

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync.connector import ReadRequest
    from cdpsync.model import Cursor
    from cdpsync_connectors.snowflake.catalog import Ask, Relation, SourceColumn
    from cdpsync_connectors.snowflake.decode import Batch
    from cdpsync_connectors.snowflake.types import ColumnExpr

_MIDNIGHT = datetime.min.time()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for Snowflake, and how each column of its result is read."""

    sql: str
    exprs: tuple[ColumnExpr, ...]


@dataclass(frozen=True, slots=True)
class SnowflakeChunk:
    """A part of the result; `batch` is None for a result without any part."""

    label: str
    batch: Batch | None
    exprs: tuple[ColumnExpr, ...]

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the part; see `cdpsync.connector.Chunk`."""
        table = fetch(self.batch, self.exprs) if self.batch is not None else None
        if table is None:
            columns = (f"cast(null as {e.type}) as {quote_name(e.name)}" for e in self.exprs)
            return con.sql(f"select {', '.join(columns)} where false")
        columns = (
            f"cast({quote_name(e.name)} as {e.type}) as {quote_name(e.name)}" for e in self.exprs
        )
        return con.from_arrow(in_small_parts(table)).project(", ".join(columns))


def find_relation(ask: Ask, table: tuple[str, str, str], request: ReadRequest) -> Relation:
    """Return the stream's relation as it is now; raise ReadError when it was dropped or changed.

    `table` is its database, schema and name.
    """
    database, schema, name = table
    relations = fetch_relations(ask, database, lambda _: True, (schema, name))
    relation = require_relation(relations, request, hidden="the role")
    require_columns(relation.columns, request)
    return relation


def select_rows(relation: Relation, request: ReadRequest) -> Statement:
    """Return the statement of a read, with every type decided."""
    by_name = {column.name: column for column in relation.columns}
    exprs = tuple(
        column_expr(by_name[column.name], request.types.get(column.name), request.stream.name)
        for column in request.columns
    )
    listed = ",\n    ".join(f"{e.select} as {quote_name(e.name)}" for e in exprs)
    conditions = _conditions(request, by_name)
    filtered = f"\nwhere {' and '.join(conditions)}" if conditions else ""
    limit = "" if request.limit is None else f"\nlimit {request.limit}"
    return Statement(f"select {listed}\nfrom {relation.sql}{filtered}{limit}", exprs)


def _conditions(request: ReadRequest, columns: dict[str, SourceColumn]) -> list[str]:
    conditions = user_conditions(request)
    if request.window:
        column = columns[request.window.cursor_field]
        low = cursor_literal(request.window.low, column)
        conditions.append(f"({' or '.join(window_conditions(quote_name(column.name), low))})")
    return conditions


def cursor_literal(cursor: Cursor, column: SourceColumn) -> str:
    """Return a cursor's value as SQL that compares with its column, to the microsecond.

    Raises ReadError where the column's type has changed into one that a cursor cannot follow.
    """
    value = cursor.value
    if not can_order(column):
        raise ReadError(
            f'the cursor_field "{column.name}" is {column.display} now. Choose another one.'
        )
    if not isinstance(value, date):
        return cursor_text(value)
    if column.kind == "DATE" and not isinstance(value, datetime):
        return f"{quote_literal(cursor_text(value))}::date"
    text = cursor_text(value if isinstance(value, datetime) else datetime.combine(value, _MIDNIGHT))
    if column.kind in {"TIMESTAMP_LTZ", "TIMESTAMP_TZ"}:
        return f"{quote_literal(text + ' +00:00')}::timestamp_tz"
    return f"{quote_literal(text)}::timestamp_ntz"
