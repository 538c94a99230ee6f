"""What a person changes of what is remembered: cursors that are set, tables reset or deleted."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import Lake
from cdpsync.errors import ConfigError
from cdpsync.model import (
    Config,
    Cursor,
    CursorType,
    RunKind,
    RunRecord,
    SavedState,
    SyncMode,
    TableName,
    TableResult,
    TableStatus,
)
from cdpsync.model.cursors import parse_cursor
from cdpsync.plan.configured import table_options
from cdpsync.project.journal import start_run
from cdpsync.state import State, StateFileEntry, update_state
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.project.journal import Run


def cursors(config: Config, select: Sequence[str] = ()) -> tuple[SavedState, ...]:
    """Return where each table's cursor stands, as the next run will take it."""
    memory = project.load_state(config)
    by_key = {(entry.source, entry.stream): entry for entry in memory.saved_states}
    found = []
    for one in project.known_tables(config, memory, select):
        said = memory.state.get((one.source, one.stream))
        if said is not None:
            entry = by_key.get((one.source, one.stream))
            found.append(_joined(one, said, entry))
    return tuple(found)


def _joined(one: project.KnownTable, said: StateFileEntry, entry: SavedState | None) -> SavedState:
    return SavedState(
        source=one.source,
        stream=one.stream,
        table=one.table,
        mode=entry.mode if entry else None,
        cursor_field=said.cursor_field,
        cursor=said.cursor,
        run_id=said.run_id,
        committed_at=said.committed_at,
        reset=said.reset,
    )


def set_cursor(config: Config, table: str, value: str) -> SavedState:
    """Let the next run of one table go on from this value. Raises ConfigError when it cannot."""
    with _held(config, [table]) as (memory, chosen):
        if len(chosen) != 1:
            raise ConfigError(f'"{table}" means {len(chosen)} tables; set one cursor at a time.')
        one = chosen[0]
        said = memory.state.get((one.source, one.stream))
        if said is None or said.cursor is None:
            raise ConfigError(
                f"{one.table} has no cursor yet, so its type is not known. Run it once: "
                f"cdpsync run {one.table}; then set the cursor."
            )
        cursor = _parsed(one.table, said.cursor.type, value)
        changed = replace(said, cursor=cursor, reset=False)
        _write_state(config, memory, {(one.source, one.stream): changed})
    return _joined(one, changed, None)


def _parsed(table: TableName, type_: CursorType, value: str) -> Cursor:
    try:
        return parse_cursor(type_, value)
    except ValueError as error:
        raise ConfigError(f'{table}: "{value}" is no {type_} ({error}).') from error


def reset_preview(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Return the tables that `reset` would touch: those that were loaded."""
    memory = project.load_state(config)
    return tuple(one.table for one in _loaded(memory, project.known_tables(config, memory, select)))


def reset(config: Config, select: Sequence[str]) -> tuple[SavedState, ...]:
    """Let the next run load these tables from the start; until then they stay as they are.

    Returns those that were reset: one that was never loaded starts there anyway.
    """
    with _held(config, select) as (memory, chosen):
        entries = {
            one: replace(memory.state[one.source, one.stream], cursor=None, reset=True)
            for one in _loaded(memory, chosen)
        }
        changed = {(one.source, one.stream): entry for one, entry in entries.items()}
        _write_state(config, memory, changed)
    return tuple(_joined(one, entry, None) for one, entry in entries.items())


def _loaded(
    memory: project.ProjectState, chosen: Sequence[project.KnownTable]
) -> list[project.KnownTable]:
    return [one for one in chosen if (one.source, one.stream) in memory.state]


def delete_preview(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Return the tables that `delete` would drop."""
    memory = project.load_state(config)
    return tuple(one.table for one in _there(memory, project.known_tables(config, memory, select)))


def delete(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Drop these tables from the lake and the state. Their files go with a later maintenance.

    Returns those of which there was anything; the history tells of their deletion.
    """
    begun = start_run(config)
    with _held(config, select) as (memory, chosen):
        there = _there(memory, chosen)
        tables = tuple(dict.fromkeys(one.table for one in there))
        catalog = project.catalog_of(config)
        if there and catalog.exists():
            records = [_deletion(config, memory, one, begun) for one in there]
            with catalog.writer(data=False) as con:
                Lake(con).drop(tables, records)

        def forget(state: State) -> None:
            for one in chosen:
                state.pop((one.source, one.stream), None)

        update_state(config.warehouse.state, forget)
        for one in chosen:
            shutil.rmtree(project.verified_folder(config, one.table), ignore_errors=True)
    return tables


def _there(
    memory: project.ProjectState, chosen: Sequence[project.KnownTable]
) -> list[project.KnownTable]:
    """Return the tables of which the lake, the state or the history knows anything."""
    recorded = project.records_by_table(memory)
    return [
        one
        for one in chosen
        if one.table in memory.tables
        or (one.source, one.stream) in memory.state
        or (one.source, one.stream) in recorded
    ]


def _deletion(
    config: Config, memory: project.ProjectState, one: project.KnownTable, begun: Run
) -> RunRecord:
    """Return what the history tells of a deletion; the rows are those that were counted before."""
    source = config.sources.get(one.source)
    options = table_options(source, one.stream) if source else None
    said = memory.state.get((one.source, one.stream))
    table = memory.tables.get(one.table)
    result = TableResult(
        one.source,
        one.stream,
        one.table,
        (options.mode or SyncMode.FULL_TABLE) if options else None,
        TableStatus.OK,
        rows_deleted=(table.rows or 0) if table else 0,
        rows_in_table=0,
        cursor_before=said.cursor if said else None,
        notices=("dropped by cdpsync delete",),
    )
    return RunRecord(begun.run_id, begun.started_at, clock.now(), result, RunKind.DELETE)


def _write_state(config: Config, memory: project.ProjectState, changed: State) -> None:
    def apply(state: State) -> None:
        for key, entry in memory.state.items():
            state.setdefault(key, entry)
        state.update(changed)

    update_state(config.warehouse.state, apply)


@contextmanager
def _held(
    config: Config, select: Sequence[str]
) -> Iterator[tuple[project.ProjectState, tuple[project.KnownTable, ...]]]:
    """Keep runs off the tables that SELECT means, and lend what is remembered of them then.

    What was remembered before is old where a run ended meanwhile.
    """
    names = {
        str(one.table) for one in project.known_tables(config, project.load_state(config), select)
    }
    now = clock.now().isoformat(timespec="seconds")
    with locks.hold(project.locks_folder(config), names, "by hand", now, waits=True):
        memory = project.load_state(config)
        chosen = project.known_tables(config, memory, select)
        yield memory, tuple(one for one in chosen if str(one.table) in names)
