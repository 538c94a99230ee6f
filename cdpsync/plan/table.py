"""A wanted table, and what is remembered of it, to what a run will do. Pure: no I/O, no clock."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cdpsync.errors import ContractError, ReadError, suggest
from cdpsync.model import (
    DELETED_AT,
    DELETED_AT_COLUMN,
    Column,
    Cursor,
    CursorType,
    Deletes,
    Lookback,
    Stream,
    SyncMode,
    TablePlan,
    Window,
)
from cdpsync.model.cursors import cursor_type_of, lower_bound
from cdpsync.model.types import parse_type
from cdpsync.plan.resume import PreviousState, ResumePoint, resume_from, settings_changed
from cdpsync.plan.schedule import is_due
from cdpsync.plan.schema_changes import column_types, diff_columns, enforce_schema_policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync.plan.configured import ConfiguredTable


DEFAULT_LOOKBACK = timedelta(minutes=5)
"""How long a transaction is taken to last, where the source does not tell what is still open."""


def table_plan(
    one: ConfiguredTable,
    remembered: PreviousState,
    *,
    full_refresh: bool,
    allow_shrink: bool,
    now: datetime,
    accept_changes: bool = False,
) -> TablePlan:
    """Return what a run will do with a table.

    Raises ReadError when the source has no such stream or refuses it, ContractError when a mode
    lacks what it needs there. Each names the line of the project file, or what cannot be read.
    """
    stream = _existing(one)
    columns = _chosen(one, stream)
    full_refresh = full_refresh or remembered.reset
    incremental = one.mode is SyncMode.INCREMENTAL
    cursor_field = _cursor_field(one, stream)
    cursor_type = None if cursor_field is None else _cursor_type(one, cursor_field, columns)
    key = _key(one, stream, columns) if incremental else _known_key(one, stream, columns)
    _refuse_wrong_lookback(one, cursor_type)
    _refuse_wrong_deletes(one, stream)
    lookback = _lookback(one, stream, cursor_type)
    settings = _settings(one, stream, key)
    start = resume_from(one, remembered, cursor_field, cursor_type, settings, now)
    if full_refresh:
        start = ResumePoint()
    known, replace = remembered.saved_state, start.replaces or remembered.lake_table is None
    changed = []
    if not stream.open_schema:
        changed = diff_columns(known.columns if known else None, column_types(columns))
    enforce_schema_policy(one, changed, accepted=accept_changes or full_refresh)
    notices = []
    if start.reason and remembered.lake_table:
        verb = "loaded" if replace else "read"
        notices = [f"{verb} from the start: {start.reason}"]
    if not replace:
        notices += _changed_notices(one, remembered, columns, settings)
    told = " ".join(notices)
    notices += [change for change in changed if change.split(" is new")[0] not in told]
    return TablePlan(
        source=one.source,
        stream=stream,
        table=one.table,
        mode=one.mode,
        columns=columns,
        primary_key=key,
        cursor_field=cursor_field,
        cursor_type=cursor_type,
        cursor_before=start.cursor,
        window=_window(start.cursor, cursor_field, lookback),
        lookback=lookback,
        where=one.options.where,
        types=_types(one, columns),
        lake_table=remembered.lake_table,
        replace=replace,
        full_refresh=full_refresh,
        allow_shrink=allow_shrink or bool(one.options.allow_shrink),
        every=one.options.every,
        location=one.location,
        settings=settings,
        notices=tuple(notices),
        include=one.options.include,
        exclude=one.options.exclude,
        deletes=one.deletes,
        compares_keys=not replace and _compares_keys(one, stream, remembered, now),
        saved_state=known,
    )


def _settings(one: ConfiguredTable, stream: Stream, key: tuple[str, ...]) -> str:
    """Return what of the project file a table's rows depend on.

    It is kept in the catalog, which may be published, and `where` may hold a secret: so that goes
    by its digest.
    """
    where = one.options.where and sha256(one.options.where.encode()).hexdigest()[:32]
    said: dict[str, object] = {"primary_key": key, "where": where}
    if stream.changes and one.deletes is not Deletes.IGNORE:
        said["deletes"] = one.deletes
    return json.dumps(said)


def _changed_notices(
    one: ConfiguredTable, remembered: PreviousState, columns: Iterable[Column], settings: str
) -> list[str]:
    """Return what a person should know of a table that is added to and whose making changed."""
    if remembered.lake_table is None:
        return []
    refresh = f"cdpsync run {one.table} --full-refresh"
    held = {column.name.lower() for column in remembered.lake_table.columns}
    notices = [
        f'column "{column.name}" is new, and NULL in rows that do not come again, until {refresh}'
        for column in columns
        if column.name.lower() not in held and not (one.stream and one.stream.open_schema)
    ]
    if settings_changed(remembered.saved_state, settings):
        notices.append(f"where has changed: older rows that it now lets in need {refresh}")
    return notices


def _compares_keys(
    one: ConfiguredTable, stream: Stream, remembered: PreviousState, now: datetime
) -> bool:
    """Whether rows that are gone must be found by their keys, and the time for it has come."""
    if one.deletes is Deletes.IGNORE or (stream.changes and stream.changes.includes_deletes):
        return False
    last = remembered.saved_state.deletes_at if remembered.saved_state else None
    return one.mode is SyncMode.INCREMENTAL and is_due(one.options.deletes_every, last, now)


def _refuse_wrong_deletes(one: ConfiguredTable, stream: Stream) -> None:
    if one.deletes is Deletes.IGNORE or one.mode is SyncMode.INCREMENTAL:
        return
    if one.mode is SyncMode.FULL_TABLE and one.deletes is Deletes.HARD:
        return  # that is what it does
    raise ContractError(
        f'{one.location}: table "{one.name}": deletes: {one.deletes} needs mode: incremental, '
        f"which finds rows of this {stream.kind} again by their key. Use that, or deletes: ignore."
    )


_NUMBERS = {CursorType.INTEGER, CursorType.DECIMAL}


def _refuse_wrong_lookback(one: ConfiguredTable, cursor_type: CursorType | None) -> None:
    lookback = one.options.lookback
    if cursor_type is None or lookback is None:
        return
    if isinstance(lookback, timedelta) is (cursor_type in _NUMBERS):
        raise ContractError(
            f'{one.location}: table "{one.name}": the lookback does not fit a cursor of type '
            f"{cursor_type}. Use a duration (10m) for time cursors and a plain number for numbers."
        )


def _existing(one: ConfiguredTable) -> Stream:
    if one.stream is None:
        hint = f'Did you mean "{one.near}"? ' if one.near else ""
        raise ReadError(
            f'{one.location}: stream "{one.name}" does not exist at source "{one.source}", or may '
            f"not be seen. {hint}See what there is: cdpsync discover {one.source}."
        )
    if one.stream.unreadable_reason is not None:
        raise ReadError(one.stream.unreadable_reason)
    return one.stream


def _chosen(one: ConfiguredTable, stream: Stream) -> tuple[Column, ...]:
    names = [column.name for column in stream.columns]
    chosen = set(names)
    if one.options.include is not None:
        chosen = _named(one, stream, one.options.include, "columns.include")
    if one.options.exclude is not None:
        chosen -= _named(one, stream, one.options.exclude, "columns.exclude")
    columns = tuple(column for column in stream.columns if column.name in chosen)
    columns += _own_columns(one, stream)
    if not columns:
        raise ContractError(
            f'{one.location}: stream "{one.name}" has no column to read. Check columns: and what '
            "the user of the source may see."
        )
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.name.lower(), column.name)
        if other != column.name:
            raise ContractError(
                f'{one.location}: stream "{one.name}": columns "{other}" and "{column.name}" '
                "differ only in case, which the lake does not tell apart. Exclude one: columns: "
                f"{{exclude: [{column.name}]}}."
            )
    return columns


def _named(one: ConfiguredTable, stream: Stream, names: Iterable[str], where: str) -> set[str]:
    """Return the columns of these names; an open stream may have more than it listed."""
    if stream.open_schema:
        return set(names)
    return {_column(one, stream, name, where).name for name in names}


def _own_columns(one: ConfiguredTable, stream: Stream) -> tuple[Column, ...]:
    """Return the columns that are not the source's: when a row changed, and when it left."""
    if one.mode is not SyncMode.INCREMENTAL:
        return ()
    own = [] if stream.changes is None else [stream.changes.cursor]
    if one.deletes is Deletes.SOFT:
        if stream.column(DELETED_AT):
            raise ContractError(
                f'{one.location}: table "{one.name}": deletes: soft marks rows in a column '
                f"{DELETED_AT}, and the {stream.kind} has one of this name. Exclude it: columns: "
                f"{{exclude: [{DELETED_AT}]}}; or use deletes: hard."
            )
        own.append(DELETED_AT_COLUMN)
    return tuple(own)


def _column(one: ConfiguredTable, stream: Stream, name: str, where: str) -> Column:
    found = stream.column(name)
    if found is not None:
        return found
    names = [column.name for column in stream.columns]
    near = suggest(name, names)
    hint = f'Did you mean "{near}"? ' if near else ""
    raise ContractError(
        f'{one.location}: {where}: stream "{one.name}" has no column "{name}". {hint}'
        f"It has: {', '.join(names)}."
    )


def _cursor_field(one: ConfiguredTable, stream: Stream) -> str | None:
    field = one.options.cursor_field
    if one.mode is SyncMode.FULL_TABLE:
        return None
    if one.mode is SyncMode.INCREMENTAL and stream.changes:
        own = stream.changes.cursor.name
        if field not in {None, own}:
            raise ContractError(
                f'{one.location}: table "{one.name}": incremental follows the log of changes that '
                f'this source keeps, not "{field}". Leave cursor_field out, or use mode: '
                "append_only."
            )
        return own
    if field is None:
        likely = stream.cursor_fields[0] if stream.cursor_fields else None
        advice = f'Add "cursor_field: {likely}", or use' if likely else "Use"
        raise ContractError(
            f'{one.location}: table "{one.name}": {one.mode} needs a cursor_field. {advice} '
            "mode: full_table."
        )
    return field


def _cursor_type(one: ConfiguredTable, field: str, columns: tuple[Column, ...]) -> CursorType:
    stream = _existing(one)
    column = next((column for column in columns if column.name == field), None)
    if column is None:
        _column(one, stream, field, "cursor_field")
        raise ContractError(
            f'{one.location}: table "{one.name}": the cursor_field "{field}" is among the excluded '
            "columns. Keep it, or choose another."
        )
    type_ = cursor_type_of(
        one.options.types.get(field, column.type) if one.options.types else column.type
    )
    offered = type_ is not CursorType.DECIMAL or field in stream.cursor_fields
    if type_ is None or not offered:
        raise ContractError(
            f'{one.location}: table "{one.name}": cursor_field "{field}" is '
            f"{column.source_type or column.type}; a cursor is an integer, a date or a timestamp. "
            f"{_alternatives(stream)}"
        )
    return type_


def _alternatives(stream: Stream) -> str:
    if stream.cursor_fields:
        return f"It could be: {', '.join(stream.cursor_fields)}. Or use mode: full_table."
    return "Use mode: full_table."


def _key(one: ConfiguredTable, stream: Stream, columns: tuple[Column, ...]) -> tuple[str, ...]:
    key = one.options.primary_key or stream.primary_key
    if not key:
        raise ContractError(
            f'{one.location}: table "{one.name}": incremental needs a primary_key, and the source '
            f'declares none for this {stream.kind}. Add "primary_key: [column]", or use mode: '
            "append_only or full_table."
        )
    names = {column.name for column in columns}
    for name in key:
        _column(one, stream, name, "primary_key")
        if name not in names:
            raise ContractError(
                f'{one.location}: table "{one.name}": the primary key\'s column "{name}" is among '
                "the excluded columns. Keep it, or name another primary_key."
            )
    return key


def _known_key(
    one: ConfiguredTable, stream: Stream, columns: tuple[Column, ...]
) -> tuple[str, ...]:
    """Return the key where it is no more than information: which columns stay NOT NULL."""
    names = {column.name for column in columns}
    return tuple(name for name in one.options.primary_key or stream.primary_key if name in names)


def _lookback(
    one: ConfiguredTable, stream: Stream, cursor_type: CursorType | None
) -> Lookback | None:
    """Return how far behind its cursor a read begins: for rows that were committed late."""
    if cursor_type is None or one.options.lookback is not None:
        return one.options.lookback if cursor_type else None
    is_time = cursor_type in {CursorType.TIMESTAMP, CursorType.TIMESTAMPTZ}
    return DEFAULT_LOOKBACK if is_time and not (stream.has_safe_cursor or stream.changes) else None


def _window(
    before: Cursor | None, cursor_field: str | None, lookback: Lookback | None
) -> Window | None:
    if cursor_field is None or before is None:
        return None
    return Window(cursor_field, lower_bound(before, lookback))


def _types(one: ConfiguredTable, columns: tuple[Column, ...]) -> dict[str, str]:
    stream = _existing(one)
    types = {}
    for name, text in (one.options.types or {}).items():
        if not stream.open_schema and _column(one, stream, name, "columns.types") not in columns:
            continue
        try:
            types[name] = parse_type(text)
        except ValueError as error:
            raise ContractError(f"{one.location}: columns.types: {name}: {error}.") from error
    return types
