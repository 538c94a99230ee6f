"""Config, streams and cursors to what a run will do. Pure: no I/O, no clock."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.cursors import cursor_type_of, lower_bound
from cdpsync.errors import ConfigError, ContractError, ReadError
from cdpsync.model import (
    Column,
    Cursor,
    CursorType,
    LakeTable,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOptions,
    TablePlan,
    TableRule,
    Window,
)
from cdpsync.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stream that the project file asks for, with all that the file says of it.

    `stream` is None when the source has no stream of this name.
    """

    source: str
    name: str
    table: TableName
    options: TableOptions
    location: str
    stream: Stream | None

    @property
    def mode(self) -> SyncMode:
        """The sync mode; every row, unless the file says otherwise."""
        return self.options.mode or SyncMode.FULL_TABLE


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a table from before: where its cursor stands, and its form in the lake."""

    cursor_field: str | None = None
    cursor: Cursor | None = None
    mode: SyncMode | None = None
    settings: str | None = None
    reset: bool = False
    landed: LakeTable | None = None


def wanted_tables(source: Source, streams: Iterable[Stream]) -> tuple[Wanted, ...]:
    """Return the enabled tables of a source, in the order of its streams.

    Raises ConfigError for a glob that matches nothing, and for two streams of one table.
    """
    listed = list(streams)
    by_name = {stream.name: stream for stream in listed}
    _refuse_idle_globs(source, by_name)
    wanted = [_wanted(source, stream.name, stream) for stream in listed]
    wanted += [
        _wanted(source, rule.pattern, None)
        for rule in source.tables
        if not rule.is_glob and rule.pattern not in by_name
    ]
    enabled = tuple(one for one in wanted if one is not None)
    _refuse_shared_tables(enabled)
    return enabled


def _wanted(source: Source, name: str, stream: Stream | None) -> Wanted | None:
    options = table_options(source, name)
    if options is None:
        return None
    table = options.name or (stream.table if stream else name.rsplit(".", 1)[-1])
    rules = _rules(source, name)
    location = rules[-1].location if rules else source.location
    return Wanted(source.name, name, TableName(source.name, table), options, location, stream)


def table_options(source: Source, name: str) -> TableOptions | None:
    """Return all that the file says of a stream, or None when it is not to be synced."""
    rules = _rules(source, name)
    if not rules and not _takes_everything(source):
        return None
    options = TableOptions(every=source.every)
    for said in (source.defaults, *(rule.options for rule in rules)):
        options = said.over(options)
    return None if options.enabled is False else options


def _rules(source: Source, name: str) -> list[TableRule]:
    """Return the keys that mean a stream: globs in their order, then the exact one."""
    rules = [rule for rule in source.tables if _matches(rule, name)]
    return sorted(rules, key=lambda rule: not rule.is_glob)


def _takes_everything(source: Source) -> bool:
    """Whether streams that no key names are synced: no keys, or only keys that switch off."""
    return all(rule.options.enabled is False for rule in source.tables)


def _matches(rule: TableRule, name: str) -> bool:
    return fnmatchcase(name, rule.pattern) if rule.is_glob else name == rule.pattern


def _refuse_idle_globs(source: Source, streams: Mapping[str, Stream]) -> None:
    for rule in source.tables:
        if rule.is_glob and not any(_matches(rule, name) for name in streams):
            found = ", ".join(list(streams)[:8]) or "none"
            raise ConfigError(
                f'{rule.location}: tables: "{rule.pattern}" matches no stream of source '
                f'"{source.name}". It has: {found}{", …" if len(streams) > 8 else ""}. '
                f"See them all: cdpsync discover {source.name}."
            )


def _refuse_shared_tables(wanted: Sequence[Wanted]) -> None:
    owners: dict[str, Wanted] = {}
    for one in wanted:
        other = owners.setdefault(str(one.table).lower(), one)
        if other is not one:
            raise ConfigError(
                f'{one.location}: streams "{other.name}" ({other.location}) and "{one.name}" would '
                f'both be table {one.table}. Give one of them another "name:".'
            )


def matches_select(one: Wanted, pattern: str) -> bool:
    """Whether SELECT means this table: its source, `source.stream`, its table, or a glob of it."""
    return matches_name(one.source, one.name, str(one.table), pattern)


def matches_name(source: str, stream: str, table: str, pattern: str) -> bool:
    """Whether SELECT means the table of this source, stream and name in the lake."""
    return any(fnmatchcase(name, pattern) for name in (source, f"{source}.{stream}", table))


def concerns_source(source: str, patterns: Iterable[str]) -> bool:
    """Whether any of these SELECTs may mean a table of this source."""
    heads = [pattern.split(".", 1)[0] for pattern in patterns]
    return not heads or any(head == source or any(sign in head for sign in "*?[") for head in heads)


def table_plan(
    one: Wanted, remembered: Remembered, *, full_refresh: bool, allow_shrink: bool
) -> TablePlan:
    """Return what a run will do with a table.

    Raises ReadError when the source has no such stream, ContractError when a mode lacks what it
    needs there. Each names the line of the project file.
    """
    stream = _existing(one)
    columns = _chosen(one, stream)
    full_refresh = full_refresh or remembered.reset
    incremental = one.mode is SyncMode.INCREMENTAL
    cursor_type = None if one.mode is SyncMode.FULL_TABLE else _cursor_type(one, columns)
    cursor_field = None if cursor_type is None else one.options.cursor_field
    key = _key(one, stream, columns) if incremental else _known_key(one, stream, columns)
    settings = json.dumps({"primary_key": key, "where": one.options.where})
    _refuse_wrong_lookback(one, cursor_type)
    before = None if full_refresh else _usable(one, remembered, cursor_field, cursor_type)
    changed = remembered.settings not in {None, settings}
    if incremental and changed:
        before = None
    return TablePlan(
        source=one.source,
        stream=stream,
        table=one.table,
        mode=one.mode,
        columns=columns,
        primary_key=key,
        cursor_field=cursor_field,
        cursor_type=cursor_type,
        cursor_before=before,
        window=_window(one, cursor_field, before),
        lookback=one.options.lookback if cursor_field else None,
        where=one.options.where,
        types=_types(one, columns),
        landed=remembered.landed,
        replace=before is None or remembered.landed is None,
        full_refresh=full_refresh,
        allow_shrink=allow_shrink or bool(one.options.allow_shrink),
        every=one.options.every,
        location=one.location,
        settings=settings,
        notices=() if full_refresh else _notices(one, remembered, columns, before, changed=changed),
    )


def _notices(
    one: Wanted,
    remembered: Remembered,
    columns: tuple[Column, ...],
    before: Cursor | None,
    *,
    changed: bool,
) -> tuple[str, ...]:
    """Return what a person should know of a table whose making has changed."""
    if remembered.landed is None or one.mode is SyncMode.FULL_TABLE:
        return ()
    refresh = f"cdpsync run {one.table} --full-refresh"
    if before is None:
        why = "its primary key or where has changed" if changed else "its cursor does not apply"
        return () if remembered.cursor is None else (f"loaded from the start: {why}",)
    held = {column.name.lower() for column in remembered.landed.columns}
    notices = [
        f'column "{column.name}" is new, and NULL in rows that do not come again, until {refresh}'
        for column in columns
        if column.name.lower() not in held
    ]
    if changed:
        notices.append(f"where has changed: older rows that it now lets in need {refresh}")
    return tuple(notices)


_NUMBERS = {CursorType.INTEGER, CursorType.DECIMAL}


def _refuse_wrong_lookback(one: Wanted, cursor_type: CursorType | None) -> None:
    lookback = one.options.lookback
    if cursor_type is None or lookback is None:
        return
    if isinstance(lookback, timedelta) is (cursor_type in _NUMBERS):
        raise ContractError(
            f'{one.location}: table "{one.name}": the lookback does not fit a cursor of type '
            f"{cursor_type}. Use a duration (10m) for time cursors and a plain number for numbers."
        )


def _existing(one: Wanted) -> Stream:
    if one.stream is None:
        raise ReadError(
            f'{one.location}: stream "{one.name}" does not exist at source "{one.source}", or may '
            f"not be seen. See what there is: cdpsync discover {one.source}."
        )
    return one.stream


def _chosen(one: Wanted, stream: Stream) -> tuple[Column, ...]:
    names = [column.name for column in stream.columns]
    chosen = set(names)
    if one.options.include is not None:
        chosen = {
            _column(one, stream, name, "columns.include").name for name in one.options.include
        }
    if one.options.exclude is not None:
        chosen -= {
            _column(one, stream, name, "columns.exclude").name for name in one.options.exclude
        }
    columns = tuple(column for column in stream.columns if column.name in chosen)
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


def _column(one: Wanted, stream: Stream, name: str, where: str) -> Column:
    found = stream.column(name)
    if found is not None:
        return found
    names = [column.name for column in stream.columns]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f'Did you mean "{near[0]}"? ' if near else ""
    raise ContractError(
        f'{one.location}: {where}: stream "{one.name}" has no column "{name}". {hint}'
        f"It has: {', '.join(names)}."
    )


def _cursor_type(one: Wanted, columns: tuple[Column, ...]) -> CursorType:
    stream = _existing(one)
    field = one.options.cursor_field
    if field is None:
        likely = stream.cursor_fields[0] if stream.cursor_fields else None
        advice = f'Add "cursor_field: {likely}", or use' if likely else "Use"
        raise ContractError(
            f'{one.location}: table "{one.name}": {one.mode} needs a cursor_field. {advice} '
            "mode: full_table."
        )
    column = _column(one, stream, field, "cursor_field")
    if column not in columns:
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


def _key(one: Wanted, stream: Stream, columns: tuple[Column, ...]) -> tuple[str, ...]:
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


def _known_key(one: Wanted, stream: Stream, columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Return the key where it is no more than information: which columns stay NOT NULL."""
    names = {column.name for column in columns}
    return tuple(name for name in one.options.primary_key or stream.primary_key if name in names)


def _usable(
    one: Wanted,
    remembered: Remembered,
    cursor_field: str | None,
    cursor_type: CursorType | None,
) -> Cursor | None:
    """Return the cursor to go on from, or None to load from the start.

    A table that was appended to holds old versions of its rows: to become a table with one row
    per key, it is loaded anew.
    """
    cursor = remembered.cursor
    if cursor is None or cursor_field is None:
        return None
    if remembered.cursor_field not in {None, cursor_field} or cursor.type is not cursor_type:
        return None
    if one.mode is SyncMode.INCREMENTAL and remembered.mode is SyncMode.APPEND_ONLY:
        return None
    return cursor


def _window(one: Wanted, cursor_field: str | None, before: Cursor | None) -> Window | None:
    if cursor_field is None or before is None:
        return None
    return Window(cursor_field, lower_bound(before, one.options.lookback))


def _types(one: Wanted, columns: tuple[Column, ...]) -> dict[str, str]:
    stream = _existing(one)
    types = {}
    for name, text in (one.options.types or {}).items():
        column = _column(one, stream, name, "columns.types")
        if column not in columns:
            continue
        try:
            types[name] = parse_type(text)
        except ValueError as error:
            raise ContractError(f"{one.location}: columns.types: {name}: {error}.") from error
    return types


def is_due(every: timedelta | None, last_success: datetime | None, now: datetime) -> bool:
    """Whether a table's time has come. A table without `every` is always due.

    Cron starts a little earlier or later each time: a table is due when at most a tenth of its
    interval, and at most a minute, is missing. A failed run does not count, so it is retried.
    """
    if every is None or last_success is None:
        return True
    slack = min(every.total_seconds() / 10, 60.0)
    return (now - last_success).total_seconds() >= every.total_seconds() - slack
