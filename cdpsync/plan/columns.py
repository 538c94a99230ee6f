"""The columns of a stream that a table takes: those to read, their types, and its primary key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ContractError
from cdpsync.model import DELETED_AT, DELETED_AT_COLUMN, Column, Deletes, SyncMode
from cdpsync.model.types import parse_type
from cdpsync.plan.spelling import suggestion_for
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync.model import Stream
    from cdpsync.plan.configured import ConfiguredTable

_ALL = "*"


def this_kind(stream: Stream) -> str:
    """Return a stream's kind for a message: `this view`, `these files`."""
    is_plural = stream.kind.endswith("s") and not stream.kind.endswith("ss")
    return f"{'these' if is_plural else 'this'} {stream.kind}"


def selected_columns(table: ConfiguredTable, stream: Stream) -> tuple[Column, ...]:
    """Return the columns to read, in the stream's order, and then those that cdpsync adds."""
    names = {column.name for column in stream.columns}
    if table.options.include is not None:
        names = _column_names(table, stream, table.options.include, "columns.include")
    if table.options.exclude is not None:
        names -= _column_names(table, stream, table.options.exclude, "columns.exclude")
    columns = tuple(column for column in stream.columns if column.name in names)
    columns += _added_columns(table, stream)
    if not columns:
        raise ContractError(
            f'{table.location}: stream "{table.name}" has no column to read. Check columns: and '
            "which columns the source's user may read."
        )
    names_by_lower: dict[str, str] = {}
    for column in columns:
        twin = names_by_lower.setdefault(fold_name(column.name), column.name)
        if twin != column.name:
            raise ContractError(
                f'{table.location}: stream "{table.name}": columns "{twin}" and "{column.name}" '
                "differ only in case, which the lake ignores. Exclude one of them: columns: "
                f"{{exclude: [{column.name}]}}."
            )
    return columns


def _column_names(
    table: ConfiguredTable, stream: Stream, names: Iterable[str], key: str
) -> set[str]:
    """Return the names under a key of the project file; the stream must have all of them.

    A stream with an open schema may have columns that it does not list.
    """
    if stream.open_schema:
        return set(names)
    return {named_column(table, stream, name, key).name for name in names}


def _added_columns(table: ConfiguredTable, stream: Stream) -> tuple[Column, ...]:
    """Return the columns that are not the stream's own: the change log's cursor, `_deleted_at`."""
    if table.mode is not SyncMode.INCREMENTAL:
        return ()
    cursor = stream.changes.cursor if stream.changes else None
    columns = [] if cursor is None else [cursor]
    if table.deletes is Deletes.SOFT:
        if stream.column(DELETED_AT):
            raise ContractError(
                f'{table.location}: table "{table.name}": deletes: soft marks rows in a column '
                f"{DELETED_AT}, and there is one of this name in {this_kind(stream)}. Exclude it: "
                f"columns: {{exclude: [{DELETED_AT}]}}; or use deletes: hard."
            )
        columns.append(DELETED_AT_COLUMN)
    return tuple(columns)


def named_column(table: ConfiguredTable, stream: Stream, name: str, key: str) -> Column:
    """Return the column that a key of the project file names. Raises ContractError without one."""
    column = stream.column(name)
    if column is not None:
        return column
    names = [column.name for column in stream.columns]
    suggestion = suggestion_for(name, names)
    hint = f'Did you mean "{suggestion}"? ' if suggestion else ""
    raise ContractError(
        f'{table.location}: {key}: stream "{table.name}" has no column "{name}". {hint}'
        f"It has: {', '.join(names)}."
    )


def configured_types(
    table: ConfiguredTable, stream: Stream, columns: tuple[Column, ...]
) -> dict[str, str]:
    """Return the types that the project file gives to columns that are read.

    The type of `*` is that of every column of the stream without one of its own.
    """
    types = {}
    given_types = dict(table.options.types or {})
    if _ALL in given_types and not stream.column(_ALL):
        if stream.open_schema:
            raise ContractError(
                f'{table.location}: columns.types: "{_ALL}": the columns of stream "{table.name}" '
                "are known only from its rows. Name each column."
            )
        type_of_others = given_types.pop(_ALL)
        others = [column.name for column in columns if stream.column(column.name)]
        given_types = dict.fromkeys(others, type_of_others) | given_types
    for name, text in given_types.items():
        if (
            not stream.open_schema
            and named_column(table, stream, name, "columns.types") not in columns
        ):
            continue
        try:
            types[name] = parse_type(text)
        except ValueError as error:
            raise ContractError(f"{table.location}: columns.types: {name}: {error}.") from error
    return types


def required_key(
    table: ConfiguredTable,
    stream: Stream,
    columns: tuple[Column, ...],
    previous_key: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Return the primary key, all of whose columns are read. Raises ContractError without one.

    Where the source declares none any more, it is the key that the lake's rows were loaded with.
    """
    key = table.options.primary_key or stream.primary_key
    if not key and all(stream.column(name) for name in previous_key):
        key = previous_key
    if not key:
        raise ContractError(
            f'{table.location}: table "{table.name}": incremental needs a primary_key, and the '
            f'source declares none for {this_kind(stream)}. Add "primary_key: [column]", or use '
            "mode: append_only or full_table."
        )
    names = {column.name for column in columns}
    for name in key:
        named_column(table, stream, name, "primary_key")
        if name not in names:
            raise ContractError(
                f'{table.location}: table "{table.name}": the primary key\'s column "{name}" is '
                "among the excluded columns. Keep it, or name another primary_key."
            )
    return key


def optional_key(
    table: ConfiguredTable, stream: Stream, columns: tuple[Column, ...]
) -> tuple[str, ...]:
    """Return the key's columns that are read; the mode needs them only to keep NOT NULL."""
    names = {column.name for column in columns}
    return tuple(name for name in table.options.primary_key or stream.primary_key if name in names)
