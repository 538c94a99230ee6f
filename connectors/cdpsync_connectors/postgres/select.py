"""One read's statement: which columns by which expressions, which rows, and what it would cost."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cdpsync.connector import KeyFilter
from cdpsync.errors import ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors._shared.naming import asked_type, split_pair
from cdpsync_connectors.postgres.catalog import (
    Relation,
    SourceColumn,
    fetch_relations,
    quote_literal,
    quote_name,
)
from cdpsync_connectors.postgres.chunks import Select
from cdpsync_connectors.postgres.types import SCALE_OF_NOTHING, WIDEST, Manner, is_open, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psycopg

    from cdpsync.connector import Bucket, ReadRequest

_TYPE_OF_CURSOR = {
    CursorType.INTEGER: "int8",
    CursorType.DECIMAL: "numeric",
    CursorType.DATE: "date",
    CursorType.TIMESTAMP: "timestamp",
    CursorType.TIMESTAMPTZ: "timestamptz",
}


def find_relation(con: psycopg.Connection[Any], request: ReadRequest) -> Relation:
    """Return what the stream is at this moment; raise ReadError when it is gone or changed."""
    found = fetch_relations(con, split_pair(request.stream.name, "schema.table"))
    if not found:
        raise ReadError(
            f'table "{request.stream.name}" does not exist, or not any more. '
            f"See what there is with: cdpsync discover."
        )
    relation = found[0]
    known = {column.name for column in relation.columns}
    missing = [column.name for column in request.columns if column.name not in known]
    if request.window and request.window.cursor_field not in known:
        missing.append(request.window.cursor_field)
    if missing:
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(missing))
        raise ReadError(
            f'table "{relation.stream}" has no column {names}, or not any more. '
            f"It has: {', '.join(sorted(known))}."
        )
    _refuse_twins(relation, request)
    return relation


def _refuse_twins(relation: Relation, request: ReadRequest) -> None:
    """Raise for two columns that the lake, where case does not count, could not tell apart."""
    if not request.columns:
        raise ReadError(f'table "{relation.stream}" has no columns to read.')
    seen: dict[str, str] = {}
    for column in request.columns:
        other = seen.setdefault(column.name.lower(), column.name)
        if other != column.name:
            raise ReadError(
                f'table "{relation.stream}": columns "{other}" and "{column.name}" are one name in '
                f"the lake, where case does not count. Leave one out: "
                f"columns: {{exclude: [{column.name}]}}."
            )


def select_rows(
    con: psycopg.Connection[Any], request: ReadRequest, relation: Relation, *, nan_is_null: bool
) -> Select:
    """Return the statement of a read, with every type decided; asks the rows where it must."""
    manner = Manner(relation.stream, con.info.server_version, nan_is_null)
    by_name = {column.name: column for column in relation.columns}
    columns = [by_name[column.name] for column in request.columns]
    asked = {
        column.name: asked_type(column.name, request, is_open=is_open(column)) for column in columns
    }
    conditions = _conditions(request)
    draft = Select(relation, (), "", conditions, _windows(request, by_name, manner))
    unbound = [c for c in columns if is_open(c) and asked[c.name] is None]
    if unbound:
        with _blaming_where(request):
            asked |= _probe(con, draft, unbound)
    inner, outer, types = [], [], []
    for number, column in enumerate(columns):
        # A key cannot be NULL, so there a NaN is an error.
        own = replace(manner, nan_is_null=nan_is_null and column.name not in relation.primary_key)
        found = reading(column, own, asked[column.name], f"c{number}")
        inner.append(found.inner)
        types.append(found.type)
        outer.append(f"{found.outer or f'c{number}'} as {quote_name(column.name)}")
    return replace(
        draft,
        inner=tuple(inner),
        outer=", ".join(outer),
        reads=tuple(column.name for column in columns),
        types=tuple(types),
    )


def explain(con: psycopg.Connection[Any], select: Select, request: ReadRequest) -> dict[str, Any]:
    """Return Postgres' plan; raise what it would raise: no right to read, a wrong `where`."""
    with _blaming_where(request):
        row = con.execute(f"explain (format json) {select.whole()}".encode()).fetchone()
    plan: dict[str, Any] = row[0][0]["Plan"] if row else {}
    return plan


@contextmanager
def _blaming_where(request: ReadRequest) -> Iterator[None]:
    """Say of a statement that Postgres does not understand that the user's `where` is in it."""
    import psycopg

    try:
        yield
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        if not request.where or isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise
        raise ReadError(
            f'table "{request.stream.name}": where: {" ".join(request.where.split())}: '
            f"{error.diag.message_primary or error}."
        ) from error


def cursor_literal(cursor: Cursor) -> str:
    """Return a cursor's value as SQL, to the microsecond."""
    value = cursor.value
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        in_utc = aware.astimezone(UTC).replace(tzinfo=None)
        zone = "+00" if cursor.type is CursorType.TIMESTAMPTZ else ""
        text = in_utc.isoformat(sep=" ", timespec="microseconds") + zone
    elif isinstance(value, date):
        text = value.isoformat()
    else:
        text = format(Decimal(value), "f")
    return f"{quote_literal(text)}::{_TYPE_OF_CURSOR[cursor.type]}"


def _windows(
    request: ReadRequest, columns: Mapping[str, SourceColumn], manner: Manner
) -> tuple[str, ...]:
    """Return where the cursor of a row may be: at its bound and above, or nowhere."""
    if not request.window:
        return ()
    column = columns[request.window.cursor_field]
    asked = asked_type(column.name, request, is_open=is_open(column))
    value = reading(column, manner, asked, "c").inner if asked else quote_name(column.name)
    # Also where it is declared NOT NULL: NOT VALID, or of a foreign table, that is no promise.
    return (f"{value} >= {cursor_literal(request.window.low)}", f"{value} is null")


def _conditions(request: ReadRequest) -> tuple[str, ...]:
    """Return which rows are wanted. A comment at the end of the user's `where` ends with it."""
    conditions = [f"({request.where}\n)"] if request.where else []
    if request.row_filter:
        conditions.append(_only(request.row_filter))
    return tuple(conditions)


def _only(only: KeyFilter | Bucket) -> str:
    """Return the condition of just these rows; Postgres reads each text as the column's type."""
    if not isinstance(only, KeyFilter):
        return f"abs({quote_name(only.column)}::int8 % {only.parts}) = {only.part}"
    if not only.values:
        return "false"
    names = ", ".join(quote_name(name) for name in only.columns)
    values = ", ".join(f"({', '.join(map(quote_literal, value))})" for value in only.values)
    return f"({names}) in ({values})"


def _probe(
    con: psycopg.Connection[Any], draft: Select, columns: Sequence[SourceColumn]
) -> dict[str, str | None]:
    """Return for each column the DECIMAL that holds every value it has now, else VARCHAR.

    One pass over the rows. Trailing zeros behind the point do not count.
    """
    version = con.info.server_version
    scale = "min_scale" if version >= 130000 else "scale"
    odd = "'NaN', 'Infinity', '-Infinity'" if version >= 140000 else "'NaN'"
    wanted = []
    for column in columns:
        name = quote_name(column.name)
        finite = f"filter (where {name} not in ({odd}))"
        wanted.append(f"max({scale}({name})) {finite}")
        wanted.append(f"length(nullif(trunc(max(abs({name})) {finite}), 0)::text)")
    row = con.execute(replace(draft, inner=tuple(wanted)).whole().encode()).fetchone() or ()
    return {
        column.name: _fitting(row[2 * number], row[2 * number + 1])
        for number, column in enumerate(columns)
    }


def _fitting(scale: int | None, digits: int | None) -> str:
    if scale is None:
        return f"DECIMAL({WIDEST},{SCALE_OF_NOTHING})"
    return f"DECIMAL({WIDEST},{scale})" if scale + (digits or 0) <= WIDEST else "VARCHAR"
