"""The plan of one table, from its configuration and its previous state. Pure: no I/O, no clock."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING

from cdpsync.errors import ContractError, ReadError
from cdpsync.model import (
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
from cdpsync.model.cursors import REPEATED_HOUR, cursor_type_of, lower_bound, may_come_again
from cdpsync.plan.columns import (
    configured_types,
    named_column,
    optional_key,
    required_key,
    selected_columns,
    this_kind,
)
from cdpsync.plan.configured import unfollowed_mode
from cdpsync.plan.naive_cursors import is_naive
from cdpsync.plan.notices import key_notice, notices_of
from cdpsync.plan.resume import (
    ROW_FORMAT,
    PreviousState,
    ResumePoint,
    resume_from,
    with_loaded_format,
)
from cdpsync.plan.schedule import is_due
from cdpsync.plan.schema_changes import (
    ColumnChange,
    column_types,
    diff_columns,
    enforce_schema_policy,
)
from cdpsync.plan.source_identity import source_of, without_stream_identity
from cdpsync.plan.type_changes import keeps_any_value, restart_after, rewritten_columns

if TYPE_CHECKING:
    from cdpsync.model import SourceIdentity
    from cdpsync.plan.configured import ConfiguredTable
    from cdpsync.plan.type_changes import KeepsValues


DEFAULT_LOOKBACK = timedelta(minutes=5)
"""The longest expected transaction, for sources that do not report which ones are open."""

DEFAULT_NUMBERS = Decimal(1000)
"""How many numbers others may take and commit meanwhile: 3 a second in these five minutes."""


def table_plan(
    table: ConfiguredTable,
    previous: PreviousState,
    *,
    full_refresh: bool,
    allow_shrink: bool,
    now: datetime,
    accept_changes: bool = False,
    source_identity: SourceIdentity | None = None,
    accept_source: bool = False,
    keeps_values: KeepsValues = keeps_any_value,
) -> TablePlan:
    """Return what a run will do with a table.

    Raises ReadError where the source has no such stream or cannot read it, ConfigError where it
    knows no such mode, ContractError where the stream lacks what the mode needs. The message names
    the line of the project file, or what cannot be read. Also where a type changed at the source so
    that old rows may have changed, and a load from the start would lose rows: `keeps_values` is the
    connector's answer to that. And where the table was read from another source than
    `source_identity`, unless `accept_source`.
    """
    plan = _first_load(table, _saved_key(previous), allow_shrink=allow_shrink)
    full_refresh = full_refresh or previous.reset
    source = source_of(
        table, previous, source_identity, full_refresh=full_refresh, accepted=accept_source
    )
    if source.is_accepted:
        previous = without_stream_identity(previous)
    start = ResumePoint() if full_refresh else resume_from(plan, previous, now)
    changes = _column_changes(plan, previous)
    enforce_schema_policy(table, changes, accepted=accept_changes or full_refresh)
    plan = replace(plan, lake_table=previous.lake_table, saved_state=previous.saved_state)
    if not start.replaces:
        rewritten = rewritten_columns(plan, changes, keeps_values)
        start = restart_after(table, plan, rewritten) if rewritten else start
    replaces = start.replaces or previous.lake_table is None
    if not replaces:
        plan = replace(plan, settings=with_loaded_format(previous.saved_state, plan.settings))
    plan = replace(
        plan,
        cursor_before=start.cursor,
        window=_window(table, plan, start.cursor),
        replace=replaces,
        full_refresh=full_refresh,
        compares_rows=_compares_rows(table, previous, full_refresh=full_refresh),
        compares_keys=not replaces and _compares_keys(table, plan.stream, previous, now),
        is_rebuilt=start.is_rebuilt,
        source_identity=source.identity,
        source_change=source.change,
        is_other_source=source.is_other,
    )
    notices = source.notices + notices_of(table, plan, start.reason, changes)
    declared_key = table.options.primary_key or plan.stream.primary_key
    if plan.primary_key and not declared_key:
        notices += (key_notice(plan),)
    return replace(plan, notices=notices)


def _saved_key(previous: PreviousState) -> tuple[str, ...]:
    """Return the primary key that the lake's rows were loaded with; empty where it is unknown."""
    settings = previous.saved_state.settings if previous.saved_state else None
    return tuple(json.loads(settings).get("primary_key", ())) if settings else ()


def _first_load(
    table: ConfiguredTable, previous_key: tuple[str, ...], *, allow_shrink: bool
) -> TablePlan:
    """Return the plan of a table without previous state, from its options and its stream."""
    stream = _readable_stream(table)
    if table.mode is not SyncMode.FULL_TABLE and not table.follows_cursors:
        raise unfollowed_mode(table.location, table.name, table.mode)
    columns = selected_columns(table, stream)
    follows_state = stream.follows_state and table.mode is not SyncMode.FULL_TABLE
    cursor_field = _cursor_field(table, stream)
    cursor_type = CursorType.STATE if follows_state else None
    if cursor_field is not None:
        cursor_type = _cursor_type(table, stream, cursor_field, columns)
    if table.mode is SyncMode.INCREMENTAL or follows_state:
        primary_key = required_key(table, stream, columns, previous_key)
    else:
        primary_key = optional_key(table, stream, columns)
    _check_lookback(table, cursor_type)
    _check_deletes(table, stream)
    return TablePlan(
        source=table.source,
        stream=stream,
        table=table.table,
        mode=table.mode,
        columns=columns,
        primary_key=primary_key,
        cursor_field=cursor_field,
        cursor_type=cursor_type,
        lookback=_lookback(table, stream, cursor_type),
        where=table.options.where,
        types=configured_types(table, stream, columns),
        allow_shrink=allow_shrink or bool(table.options.allow_shrink),
        every=table.options.every,
        location=table.location,
        settings=_settings(table, stream, primary_key),
        include=table.options.include,
        exclude=table.options.exclude,
        deletes=table.deletes,
    )


def _settings(table: ConfiguredTable, stream: Stream, primary_key: tuple[str, ...]) -> str:
    """Return the options that a table's rows depend on, as the text that the catalog keeps.

    `where` is kept as a digest only, because it may hold a secret and the catalog may be published.
    """
    where = table.options.where and sha256(table.options.where.encode()).hexdigest()[:32]
    settings: dict[str, object] = {"primary_key": primary_key, "where": where}
    if stream.row_format is not None:
        settings[ROW_FORMAT] = stream.row_format
    decides_rows = stream.changes and (stream.changes.cursor or stream.changes.includes_deletes)
    if decides_rows and table.deletes is not Deletes.IGNORE:
        settings["deletes"] = table.deletes
    return json.dumps(settings)


def _column_changes(plan: TablePlan, previous: PreviousState) -> tuple[ColumnChange, ...]:
    """Return the columns that changed since the last run; an open schema has none to compare."""
    if plan.stream.open_schema or previous.saved_state is None:
        return ()
    return diff_columns(previous.saved_state.columns, column_types(plan.columns))


def _compares_rows(table: ConfiguredTable, previous: PreviousState, *, full_refresh: bool) -> bool:
    """Whether a table is read as a whole, and may be in the lake already with the same rows.

    A full refresh writes it anew in any case, because a person asks for that to mend a table.
    """
    is_reload = table.mode is SyncMode.FULL_TABLE and previous.lake_table is not None
    return is_reload and not full_refresh


def _compares_keys(
    table: ConfiguredTable, stream: Stream, previous: PreviousState, now: datetime
) -> bool:
    """Whether deleted rows are found by comparing all keys, and the comparison is due."""
    if table.deletes is Deletes.IGNORE or (stream.changes and stream.changes.includes_deletes):
        return False
    last = previous.saved_state.deletes_at if previous.saved_state else None
    return table.mode is SyncMode.INCREMENTAL and is_due(table.options.deletes_every, last, now)


def _check_deletes(table: ConfiguredTable, stream: Stream) -> None:
    """Raise ContractError where the mode cannot find the rows that `deletes` concerns."""
    if table.deletes is Deletes.IGNORE or table.mode is SyncMode.INCREMENTAL:
        return
    if table.mode is SyncMode.FULL_TABLE and table.deletes is Deletes.HARD:
        return  # a replaced table has no deleted rows
    raise ContractError(
        f'{table.location}: table "{table.name}": deletes: {table.deletes} needs mode: '
        f"incremental, because rows of {this_kind(stream)} are found by their key. Use that mode, "
        "or deletes: ignore."
    )


_NUMBERS = {CursorType.INTEGER, CursorType.DECIMAL}


def _check_lookback(table: ConfiguredTable, cursor_type: CursorType | None) -> None:
    """Raise ContractError for a duration with a number cursor, or a number with a time cursor.

    Also for any with a state, because a state has nothing below it.
    """
    lookback = table.options.lookback
    if cursor_type is None or lookback is None:
        return
    if cursor_type is CursorType.STATE:
        raise ContractError(
            f'{table.location}: table "{table.name}": a lookback needs a cursor_field, and this '
            "source reports a state of its own. Leave lookback out."
        )
    if isinstance(lookback, timedelta) is (cursor_type in _NUMBERS):
        raise ContractError(
            f'{table.location}: table "{table.name}": the lookback does not fit a cursor of type '
            f"{cursor_type}. Use a duration (10m) for time cursors and a plain number for numbers."
        )


def _readable_stream(table: ConfiguredTable) -> Stream:
    if table.stream is None:
        hint = f'Did you mean "{table.suggestion}"? ' if table.suggestion else ""
        raise ReadError(
            f'{table.location}: stream "{table.name}" does not exist at source "{table.source}", '
            f"or its user may not see it. {hint}List the streams: cdpsync discover {table.source}."
        )
    if table.stream.unreadable_reason is not None:
        raise ReadError(table.stream.unreadable_reason)
    return table.stream


def _cursor_field(table: ConfiguredTable, stream: Stream) -> str | None:
    """Return the column that a read continues from; None for a mode that reads every row."""
    field = table.options.cursor_field
    if table.mode is SyncMode.FULL_TABLE:
        return None
    if stream.follows_state:
        if field is not None:
            raise ContractError(
                f'{table.location}: table "{table.name}": {table.mode} goes on from the state that '
                f'this source reports, not from "{field}". Leave cursor_field out, or use mode: '
                "full_table."
            )
        return None
    change_column = stream.changes.cursor if stream.changes else None
    if table.mode is SyncMode.INCREMENTAL and change_column:
        change_field = change_column.name
        if field not in {None, change_field}:
            raise ContractError(
                f'{table.location}: table "{table.name}": incremental follows the change log that '
                f'this source keeps, not "{field}". Leave cursor_field out, or use mode: '
                "append_only."
            )
        return change_field
    if field is None:
        likely = stream.cursor_fields[0] if stream.cursor_fields else None
        advice = f'Add "cursor_field: {likely}", or use' if likely else "Use"
        raise ContractError(
            f'{table.location}: table "{table.name}": {table.mode} needs a cursor_field. {advice} '
            "mode: full_table."
        )
    return field


def _cursor_type(
    table: ConfiguredTable, stream: Stream, field: str, columns: tuple[Column, ...]
) -> CursorType:
    """Return the type of the cursor field. Raises ContractError for one without an order.

    A decimal is a cursor only where the connector offers it, because other sources may round it.
    """
    column = next((column for column in columns if column.name == field), None)
    if column is None:
        named_column(table, stream, field, "cursor_field")
        raise ContractError(
            f'{table.location}: table "{table.name}": the cursor_field "{field}" is among the '
            "excluded columns. Keep it, or choose another."
        )
    requested_type = configured_types(table, stream, columns).get(field)
    type_ = cursor_type_of(requested_type or column.type)
    is_offered = type_ is not CursorType.DECIMAL or field in stream.cursor_fields
    if type_ is None or not is_offered:
        actual = column.source_type or column.type
        if requested_type:
            actual = f"{requested_type} because of columns.types"
        raise ContractError(
            f'{table.location}: table "{table.name}": cursor_field "{field}" is {actual}; '
            f"a cursor is an integer, a date or a timestamp. {_cursor_advice(stream)}"
        )
    return type_


def _cursor_advice(stream: Stream) -> str:
    if stream.cursor_fields:
        return f"It could be: {', '.join(stream.cursor_fields)}. Or use mode: full_table."
    return "Use mode: full_table."


def _lookback(
    table: ConfiguredTable, stream: Stream, cursor_type: CursorType | None
) -> Lookback | None:
    """Return how far below its cursor a read begins, for rows that are committed late."""
    if cursor_type is CursorType.STATE:
        return None
    if cursor_type is None or table.options.lookback is not None:
        return table.options.lookback if cursor_type else None
    if stream.has_safe_cursor or stream.changes or cursor_type is CursorType.DATE:
        return None
    return DEFAULT_NUMBERS if cursor_type in _NUMBERS else DEFAULT_LOOKBACK


def _window(table: ConfiguredTable, plan: TablePlan, cursor: Cursor | None) -> Window | None:
    """Return the rows to read, from a cursor less the lookback; None: every row.

    A timestamp without zone in the night may be of an hour that its clock has twice, when daylight
    saving ends. So the hour before it is read again, unless the project file has a lookback. That
    holds too where the project file gives the column a type with a zone in the lake.
    """
    if plan.cursor_field is None or cursor is None:
        return None
    lookback = plan.lookback
    follows_clock = cursor.type is CursorType.TIMESTAMP or is_naive(plan.stream, plan.cursor_field)
    if table.options.lookback is None and follows_clock and may_come_again(cursor):
        lookback = REPEATED_HOUR
    return Window(plan.cursor_field, lower_bound(cursor, lookback))
