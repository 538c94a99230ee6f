"""The statement of one read: its columns as expressions, its conditions, and Postgres' plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cdpsync.connector import KeyFilter
from cdpsync.errors import ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync.sql import fold_name, quote_name, quote_names, quote_text
from cdpsync_connectors._shared.naming import split_pair
from cdpsync_connectors._shared.relations import (
    bound_type,
    bound_types,
    cursor_text,
    probed_digits,
    require_columns,
    require_relation,
    user_conditions,
    where_error,
    window_conditions,
)
from cdpsync_connectors.postgres.catalog import Relation, SourceColumn, fetch_relations
from cdpsync_connectors.postgres.chunks import Select
from cdpsync_connectors.postgres.types import EMPTY_SCALE, MappingContext, column_expr, is_open

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psycopg

    from cdpsync.connector import ReadRequest, RowSlice
    from cdpsync_connectors._shared.relations import Digits

_INT8 = range(-(2**63), 2**63)
_CAST_OF_CURSOR = {
    CursorType.INTEGER: "int8",
    CursorType.DECIMAL: "numeric",
    CursorType.DATE: "date",
    CursorType.TIMESTAMP: "timestamp",
    CursorType.TIMESTAMPTZ: "timestamptz",
}


def find_relation(con: psycopg.Connection[Any], request: ReadRequest) -> Relation:
    """Return the stream's relation as it is now; raise ReadError when it was dropped or changed."""
    relations = fetch_relations(con, split_pair(request.stream.name, "schema.table"))
    relation = require_relation(relations, request)
    require_columns(relation.columns, request)
    _reject_case_duplicates(request)
    return relation


def _reject_case_duplicates(request: ReadRequest) -> None:
    """Raise ReadError for two columns whose names differ only in case.

    They would be one column in the lake, because DuckDB's names ignore case.
    """
    names: dict[str, str] = {}
    for column in request.columns:
        earlier_name = names.setdefault(fold_name(column.name), column.name)
        if earlier_name != column.name:
            raise ReadError(
                f'table "{request.stream.name}": columns "{earlier_name}" and "{column.name}" '
                "would be one column in the lake, where names ignore case. Leave one out: "
                f"columns: {{exclude: [{column.name}]}}."
            )


def select_rows(
    con: psycopg.Connection[Any], request: ReadRequest, relation: Relation, *, nan_is_null: bool
) -> Select:
    """Return the statement of a read. A probe of the rows decides the types that nothing binds."""
    context = MappingContext(relation.stream, con.info.server_version, nan_is_null)
    by_name = {column.name: column for column in relation.columns}
    columns = [by_name[column.name] for column in request.columns]
    windows = _windows(request, by_name, context)
    draft = Select(relation, (), "", _conditions(request), windows)
    with _blaming_where(request):
        types = bound_types(
            columns, request, is_open, partial(_probe, con, draft), lambda _: EMPTY_SCALE
        )
    inner, outer, lake_types = [], [], []
    for number, column in enumerate(columns):
        # In a key, a NaN is an error, because a key cannot be NULL.
        in_key = column.name in relation.primary_key
        is_guessed = is_open(column) and column.name not in request.types
        own_context = replace(
            context, nan_is_null=nan_is_null and not in_key, is_guessed=is_guessed
        )
        expr = column_expr(column, own_context, types[column.name], f"c{number}")
        inner.append(expr.inner)
        lake_types.append(expr.type)
        outer.append(f"{expr.outer or f'c{number}'} as {quote_name(column.name)}")
    return replace(
        draft,
        inner=tuple(inner),
        outer=", ".join(outer),
        columns=tuple(column.name for column in columns),
        types=tuple(lake_types),
        limit=request.limit,
    )


def explain(con: psycopg.Connection[Any], select: Select, request: ReadRequest) -> dict[str, Any]:
    """Return Postgres' plan of the statement.

    Raises the errors that the statement would raise: a missing privilege, a wrong `where`.
    """
    with _blaming_where(request):
        row = con.execute(f"explain (format json) {select.full_sql()}".encode()).fetchone()
    plan: dict[str, Any] = row[0][0]["Plan"] if row else {}
    return plan


@contextmanager
def _blaming_where(request: ReadRequest) -> Iterator[None]:
    """Name the user's `where` in the error of a statement that Postgres does not understand."""
    import psycopg

    try:
        yield
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        if not request.where or isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise
        message = error.diag.message_primary or str(error)
        raise where_error(f'table "{request.stream.name}"', request.where, message) from error


def cursor_literal(cursor: Cursor) -> str:
    """Return a cursor's value as SQL, to the microsecond."""
    zone = "+00" if cursor.type is CursorType.TIMESTAMPTZ else ""
    is_large = isinstance(cursor.value, int) and cursor.value not in _INT8
    type_ = "numeric" if is_large else _CAST_OF_CURSOR[cursor.type]
    return f"{quote_text(cursor_text(cursor.value) + zone)}::{type_}"


def _windows(
    request: ReadRequest, columns: Mapping[str, SourceColumn], context: MappingContext
) -> tuple[str, ...]:
    if not request.window:
        return ()
    column = columns[request.window.cursor_field]
    type_ = bound_type(column.name, request, is_open=is_open(column))
    value = column_expr(column, context, type_, "c").inner if type_ else quote_name(column.name)
    return window_conditions(value, cursor_literal(request.window.low))


def _conditions(request: ReadRequest) -> tuple[str, ...]:
    filters = [_filter_condition(request.row_filter)] if request.row_filter else []
    return (*user_conditions(request), *filters)


def _filter_condition(row_filter: KeyFilter | RowSlice) -> str:
    """Return the filter as a condition; Postgres parses each text as the column's type."""
    if not isinstance(row_filter, KeyFilter):
        column, parts = quote_name(row_filter.column), row_filter.parts
        return f"abs({column}::int8 % {parts}) = {row_filter.part}"
    if not row_filter.values:
        return "false"
    keys = ", ".join(f"({', '.join(map(quote_text, key))})" for key in row_filter.values)
    return f"({quote_names(row_filter.columns)}) in ({keys})"


def _probe(
    con: psycopg.Connection[Any], draft: Select, columns: Sequence[SourceColumn]
) -> dict[str, Digits | None]:
    """Return the digits that each column's values need now, by one pass over the rows.

    Trailing zeros behind the point do not count.
    """
    version = con.info.server_version
    scale = "min_scale" if version >= 130000 else "scale"
    not_finite = "'NaN', 'Infinity', '-Infinity'" if version >= 140000 else "'NaN'"
    expressions = []
    for column in columns:
        name = quote_name(column.name)
        finite = f"filter (where {name} not in ({not_finite}))"
        expressions.append(f"max({scale}({name})) {finite}")
        expressions.append(f"length(nullif(trunc(max(abs({name})) {finite}), 0)::text)")
    statement = replace(draft, inner=tuple(expressions)).full_sql()
    figures = con.execute(statement.encode()).fetchone() or ()
    return probed_digits([column.name for column in columns], figures)
