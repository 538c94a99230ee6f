"""One read: the statement, its window, and the chunks of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors.snowflake.catalog import fetch_relations, quote_literal, quote_name
from cdpsync_connectors.snowflake.decode import fetch
from cdpsync_connectors.snowflake.types import can_order, reading

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
    """What Snowflake is asked, and how each column of its answer is read."""

    sql: str
    readings: tuple[ColumnExpr, ...]


@dataclass(frozen=True, slots=True)
class SnowflakeChunk:
    """A part of the answer; None for an answer that has not even an empty part."""

    label: str
    batch: Batch | None
    readings: tuple[ColumnExpr, ...]

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the part; see `cdpsync.connector.Chunk`."""
        table = fetch(self.batch, self.readings) if self.batch is not None else None
        if table is None:
            columns = (f"cast(null as {r.type}) as {quote_name(r.name)}" for r in self.readings)
            return con.sql(f"select {', '.join(columns)} where false")
        columns = (
            f"cast({quote_name(r.name)} as {r.type}) as {quote_name(r.name)}" for r in self.readings
        )
        return con.from_arrow(table).project(", ".join(columns))


def find_relation(ask: Ask, place: tuple[str, str, str], request: ReadRequest) -> Relation:
    """Return what the stream is at this moment; raise ReadError when it is gone or changed."""
    database, schema, name = place
    found = fetch_relations(ask, database, lambda _: True, (schema, name))
    stream = request.stream.name
    if not found:
        raise ReadError(
            f'table "{stream}" does not exist, or not any more, or the role may not see it. '
            "See what there is with: cdpsync discover."
        )
    relation = found[0]
    known = {column.name for column in relation.columns}
    wanted = [column.name for column in request.columns]
    wanted += [request.window.cursor_field] if request.window else []
    missing = [quote_name(name) for name in dict.fromkeys(wanted) if name not in known]
    if missing:
        raise ReadError(
            f'table "{stream}" has no column {", ".join(missing)}, or not any more. '
            f"It has: {', '.join(sorted(known))}."
        )
    return relation


def select(relation: Relation, request: ReadRequest) -> Statement:
    """Return the statement of a read, with every type decided."""
    by_name = {column.name: column for column in relation.columns}
    readings = tuple(
        reading(by_name[column.name], request.types.get(column.name), request.stream.name)
        for column in request.columns
    )
    if not readings:
        raise ReadError(f'table "{request.stream.name}" has no columns to read.')
    listed = ",\n    ".join(f"{r.select} as {quote_name(r.name)}" for r in readings)
    conditions = _conditions(request, by_name)
    filtered = f"\nwhere {' and '.join(conditions)}" if conditions else ""
    return Statement(f"select {listed}\nfrom {relation.sql}{filtered}", readings)


def _conditions(request: ReadRequest, columns: dict[str, SourceColumn]) -> list[str]:
    """Return which rows are wanted. A comment at the end of the user's `where` ends with it."""
    conditions = [f"({request.where}\n)"] if request.where else []
    if request.window:
        column = columns[request.window.cursor_field]
        name, low = quote_name(column.name), cursor_literal(request.window.low, column)
        conditions.append(f"({name} >= {low} or {name} is null)")
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
        return format(Decimal(value), "f")
    if column.kind == "DATE" and not isinstance(value, datetime):
        return f"{quote_literal(value.isoformat())}::date"
    moment = value if isinstance(value, datetime) else datetime.combine(value, _MIDNIGHT)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    text = moment.isoformat(sep=" ", timespec="microseconds")
    if column.kind in {"TIMESTAMP_LTZ", "TIMESTAMP_TZ"}:
        return f"{quote_literal(text + ' +00:00')}::timestamp_tz"
    return f"{quote_literal(text)}::timestamp_ntz"
