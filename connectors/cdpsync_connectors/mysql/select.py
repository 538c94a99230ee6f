"""One read's statement: which columns by which expressions, and which rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors._shared.naming import asked_type, split_pair
from cdpsync_connectors.mysql.catalog import (
    Relation,
    SourceColumn,
    fetch_relations,
    quote_lake_name,
    quote_name,
)
from cdpsync_connectors.mysql.connections import is_mariadb
from cdpsync_connectors.mysql.types import DATED, WIDEST, ColumnExpr, is_open, reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymysql.connections import Connection

    from cdpsync.connector import ReadRequest


@dataclass(frozen=True, slots=True)
class Select:
    """What is read of a relation: one statement for MySQL, and what DuckDB makes of its rows."""

    relation: Relation
    columns: tuple[SourceColumn, ...]
    readings: tuple[ColumnExpr, ...]
    sql: str
    outer: str
    where: str | None


def find_relation(con: Connection[Any], request: ReadRequest) -> Relation:
    """Return what the stream is at this moment; raise ReadError when it is gone or changed."""
    name = request.stream.name
    found = fetch_relations(con, only=split_pair(name, "database.table"), mariadb=is_mariadb(con))
    if not found:
        raise ReadError(
            f'table "{name}" does not exist, or not any more, or this user may not see it. '
            f"See what there is with: cdpsync discover."
        )
    relation = found[0]
    if not relation.columns:
        user = con.user.decode() if isinstance(con.user, bytes) else con.user
        raise ReadError(
            f'table "{name}": no column of it may be read. Run there, as its administrator: '
            f"GRANT SELECT ON {relation.sql} TO {user}."
        )
    known = {column.name for column in relation.columns}
    missing = [column.name for column in request.columns if column.name not in known]
    if request.window and request.window.cursor_field not in known:
        missing.append(request.window.cursor_field)
    if missing:
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(missing))
        raise ReadError(
            f'table "{relation.stream}" has no column {names}, or not any more, or this user '
            f"may not see it. It has: {', '.join(sorted(known))}."
        )
    if not request.columns:
        raise ReadError(f'table "{relation.stream}" has no columns to read.')
    return relation


def select_rows(con: Connection[Any], request: ReadRequest, relation: Relation) -> Select:
    """Return the statement of a read, with every type decided; asks the rows where it must."""
    by_name = {column.name: column for column in relation.columns}
    columns = tuple(by_name[column.name] for column in request.columns)
    conditions = _conditions(request, by_name)
    rows = f"from {relation.sql}" + (f"\nwhere {conditions}" if conditions else "")
    asked = {
        column.name: asked_type(column.name, request, is_open=is_open(column)) for column in columns
    }
    unbound = [c for c in columns if is_open(c) and asked[c.name] is None]
    if unbound:
        asked |= _probe(con, rows, unbound)
    readings = tuple(
        reading(column, relation.stream, asked[column.name], f"c{number}")
        for number, column in enumerate(columns)
    )
    inner = ", ".join(f"{found.inner} as c{number}" for number, found in enumerate(readings))
    outer = ", ".join(
        f"{found.outer} as {quote_lake_name(column.name)}"
        for column, found in zip(columns, readings, strict=True)
    )
    return Select(relation, columns, readings, f"select {inner}\n{rows}", outer, request.where)


def cursor_literal(cursor: Cursor) -> str:
    """Return a cursor's value as SQL, to the microsecond, for a session in UTC."""
    value = cursor.value
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        in_utc = aware.astimezone(UTC).replace(tzinfo=None)
        return f"timestamp'{in_utc.isoformat(sep=' ', timespec='microseconds')}'"
    if isinstance(value, date):
        return f"date'{value.isoformat()}'"
    return str(value) if cursor.type is CursorType.INTEGER else format(Decimal(value), "f")


def _conditions(request: ReadRequest, columns: Mapping[str, SourceColumn]) -> str:
    """Return which rows are wanted. A comment at the end of the user's `where` ends with it."""
    conditions = [f"({request.where}\n)"] if request.where else []
    if request.window:
        column = columns[request.window.cursor_field]
        name = quote_name(column.name)
        wanted = f"{name} >= {cursor_literal(request.window.low)} or {name} is null"
        if column.kind in DATED:  # it is no moment, so it is either NULL or an error, never skipped
            wanted += f" or {name} = '0000-00-00'"
        conditions.append(f"({wanted})")
    return " and ".join(conditions)


def _probe(
    con: Connection[Any], rows: str, columns: Sequence[SourceColumn]
) -> dict[str, str | None]:
    """Return for each column the DECIMAL that holds every value it has now, else VARCHAR.

    One pass over the rows. Trailing zeros behind the point do not count.
    """
    wanted = []
    for column in columns:
        name = quote_name(column.name)
        behind = f"substring_index(cast({name} as char), '.', -1)" if column.scale else "''"
        wanted.append(f"max(length(trim(trailing '0' from {behind})))")
        wanted.append(f"length(nullif(truncate(max(abs({name})), 0), 0))")
    with con.cursor() as cursor:
        cursor.execute(f"select {', '.join(wanted)} {rows}".replace("%", "%%"), ())
        found = cursor.fetchone() or ()
    return {
        column.name: _fitting(column, found[2 * number], found[2 * number + 1])
        for number, column in enumerate(columns)
    }


def _fitting(column: SourceColumn, scale: int | None, digits: int | None) -> str:
    if scale is None:
        return f"DECIMAL({WIDEST},{min(column.scale or 0, WIDEST)})"
    return f"DECIMAL({WIDEST},{scale})" if scale + (digits or 0) <= WIDEST else "VARCHAR"
