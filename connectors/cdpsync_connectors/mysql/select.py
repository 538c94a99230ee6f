"""The statement of one read: its columns as expressions, and its conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.sql import plain_number, quote_name
from cdpsync_connectors._shared.naming import split_pair
from cdpsync_connectors._shared.relations import (
    bound_types,
    cursor_text,
    probed_digits,
    require_columns,
    require_relation,
    user_conditions,
    window_conditions,
)
from cdpsync_connectors.mysql.catalog import Relation, SourceColumn, backquote, fetch_relations
from cdpsync_connectors.mysql.connections import is_mariadb
from cdpsync_connectors.mysql.errors import BAD_VIEW, error_code, invalid_view
from cdpsync_connectors.mysql.types import DATED, ColumnExpr, column_expr, empty_scale, is_open

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymysql.connections import Connection

    from cdpsync.connector import ReadRequest
    from cdpsync.model import Cursor
    from cdpsync_connectors._shared.relations import Digits

_VIEWER = "this user"


@dataclass(frozen=True, slots=True)
class Select:
    """One read of a relation: the statement for MySQL, and DuckDB's select list over its rows."""

    relation: Relation
    columns: tuple[SourceColumn, ...]
    exprs: tuple[ColumnExpr, ...]
    sql: str
    outer: str
    where: str | None


def find_relation(con: Connection[Any], request: ReadRequest) -> Relation:
    """Return the stream's relation as it is now; raise ReadError when it was dropped or changed."""
    table = split_pair(request.stream.name, "database.table")
    relations = fetch_relations(con, table=table, mariadb=is_mariadb(con))
    relation = require_relation(relations, request, hidden=_VIEWER)
    problem = None if relation.columns else view_problem(con, relation)
    if problem:
        raise ReadError(problem)
    if not relation.columns:
        user = con.user.decode() if isinstance(con.user, bytes) else con.user
        raise ReadError(
            f'table "{request.stream.name}": this user may read none of its columns. Run there, '
            f"as its administrator: GRANT SELECT ON {relation.sql} TO {user}."
        )
    require_columns(relation.columns, request, hidden=_VIEWER)
    return relation


def view_problem(con: Connection[Any], relation: Relation) -> str | None:
    """Return the message of a view without columns that the server cannot run; else None."""
    import pymysql

    if relation.kind != "view":
        return None
    try:
        with con.cursor() as cursor:
            cursor.execute(f"select 1 from {relation.sql} limit 0".replace("%", "%%"), ())
    except pymysql.Error as error:
        is_invalid = error_code(error) in BAD_VIEW
        return invalid_view(relation.stream, str(error.args[1])) if is_invalid else None
    return None


def select_rows(con: Connection[Any], request: ReadRequest, relation: Relation) -> Select:
    """Return the statement of a read. A probe of the rows decides the types that nothing binds."""
    by_name = {column.name: column for column in relation.columns}
    columns = tuple(by_name[column.name] for column in request.columns)
    conditions = _conditions(request, by_name)
    rows = f"from {relation.sql}" + (f"\nwhere {conditions}" if conditions else "")
    types = bound_types(columns, request, is_open, partial(_probe, con, rows), empty_scale)
    exprs = tuple(
        _column_expr(column, request, types[column.name], f"c{number}")
        for number, column in enumerate(columns)
    )
    inner = ", ".join(f"{expr.inner} as c{number}" for number, expr in enumerate(exprs))
    outer = ", ".join(
        f"{expr.outer} as {quote_name(column.name)}"
        for column, expr in zip(columns, exprs, strict=True)
    )
    limit = "" if request.limit is None else f"\nlimit {request.limit}"
    sql = f"select {inner}\n{rows}{limit}"
    return Select(relation, columns, exprs, sql, outer, request.where)


def _column_expr(
    column: SourceColumn, request: ReadRequest, type_: str | None, alias: str
) -> ColumnExpr:
    is_guessed = is_open(column) and column.name not in request.types
    expr = column_expr(column, request.stream.name, type_, alias, is_guessed=is_guessed)
    if is_guessed and expr.type == "VARCHAR":
        return replace(expr, outer=plain_number(expr.outer))
    return expr


def cursor_literal(cursor: Cursor) -> str:
    """Return a cursor's value as SQL, to the microsecond, for a session in UTC."""
    text = cursor_text(cursor.value)
    if isinstance(cursor.value, datetime):
        return f"timestamp'{text}'"
    return f"date'{text}'" if isinstance(cursor.value, date) else text


def _conditions(request: ReadRequest, columns: Mapping[str, SourceColumn]) -> str:
    conditions = user_conditions(request)
    if request.window:
        column = columns[request.window.cursor_field]
        name = backquote(column.name)
        alternatives = [*window_conditions(name, cursor_literal(request.window.low))]
        if column.kind in DATED:  # a zero date is read as NULL or is an error; never skip it
            alternatives.append(f"{name} = '0000-00-00'")
        conditions.append(f"({' or '.join(alternatives)})")
    return " and ".join(conditions)


def _probe(
    con: Connection[Any], rows: str, columns: Sequence[SourceColumn]
) -> dict[str, Digits | None]:
    """Return the digits that each column's values need now, by one pass over the rows.

    Trailing zeros behind the point do not count.
    """
    expressions = []
    for column in columns:
        name = backquote(column.name)
        fraction = f"substring_index(cast({name} as char), '.', -1)" if column.scale else "''"
        expressions.append(f"max(length(trim(trailing '0' from {fraction})))")
        expressions.append(f"length(nullif(truncate(max(abs({name})), 0), 0))")
    with con.cursor() as cursor:
        cursor.execute(f"select {', '.join(expressions)} {rows}".replace("%", "%%"), ())
        figures = cursor.fetchone() or ()
    return probed_digits([column.name for column in columns], figures)
