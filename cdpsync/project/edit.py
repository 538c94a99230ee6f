"""Changes that a person makes to a project's state: sets cursors, resets or deletes tables."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.errors import ConfigError
from cdpsync.model import (
    Config,
    Cursor,
    CursorType,
    RunKind,
    RunRecord,
    SavedState,
    SourceIdentity,
    SyncMode,
    TableName,
    TableResult,
    TableStatus,
)
from cdpsync.model.cursors import parse_cursor
from cdpsync.model.plan import is_side_table
from cdpsync.plan.configured import table_options
from cdpsync.project.journal import start_run
from cdpsync.project.tables import KnownTable, known_tables, load_state, records_by_table
from cdpsync.project.workspace import catalog_of, locks_folder, verified_folder
from cdpsync.sql import fold_name
from cdpsync.state import State, update_state
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.model.state import ProjectState, StateFileEntry
    from cdpsync.project.journal import Run


def cursors(config: Config, select: Sequence[str] = ()) -> tuple[SavedState, ...]:
    """Return the state of each table from which the next run will go on."""
    state = load_state(config)
    modes = {(saved.source, saved.stream): saved.mode for saved in state.saved_states}
    return tuple(
        _saved_state(table, state.entries[table.key], modes.get(table.key))
        for table in known_tables(config, state, select)
        if table.key in state.entries
    )


def _saved_state(
    table: KnownTable, entry: StateFileEntry, mode: SyncMode | None = None
) -> SavedState:
    label = entry.source_identity
    return SavedState(
        source=table.source,
        stream=table.stream,
        table=table.table,
        mode=mode,
        cursor_field=entry.cursor_field,
        cursor=entry.cursor,
        run_id=entry.run_id,
        committed_at=entry.committed_at,
        reset=entry.reset,
        source_identity=SourceIdentity({}, label) if label else None,
    )


def set_cursor(config: Config, table: str, value: str) -> SavedState:
    """Set the cursor from which the next run of one table goes on.

    Raises ConfigError where the table has no cursor, or the value does not have its type.
    """
    with _locked(config, [table]) as (state, tables):
        if len(tables) != 1:
            raise ConfigError(f'"{table}" matches {len(tables)} tables. Set one cursor at a time.')
        known_table = tables[0]
        entry = state.entries.get(known_table.key)
        if entry is None or entry.cursor is None:
            raise ConfigError(
                f"{known_table.table} has no cursor yet, so its type is not known. Run it once: "
                f"cdpsync run {known_table.table}; then set the cursor."
            )
        cursor = _parse(known_table.table, entry.cursor.type, value)
        new_entry = replace(entry, cursor=cursor, reset=False)
        _write_entries(config, state, {known_table.key: new_entry})
    return _saved_state(known_table, new_entry)


def _parse(table: TableName, type_: CursorType, value: str) -> Cursor:
    try:
        return parse_cursor(type_, value)
    except ValueError as error:
        raise ConfigError(f'{table}: "{value}" is not a valid {type_} ({error}).') from error


def reset_preview(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Return the tables that `reset` would change: those that were loaded."""
    state = load_state(config)
    tables = known_tables(config, state, select)
    return tuple(table.table for table in tables if table.key in state.entries)


def reset(config: Config, select: Sequence[str]) -> tuple[SavedState, ...]:
    """Make the next run load these tables from the start; until then they stay as they are.

    Returns the tables that were reset. A table that was never loaded is not among them, because
    its next run starts from the start in any case.
    """
    with _locked(config, select) as (state, tables):
        entries = {
            table: replace(state.entries[table.key], cursor=None, reset=True)
            for table in tables
            if table.key in state.entries
        }
        _write_entries(config, state, {table.key: entry for table, entry in entries.items()})
    return tuple(_saved_state(table, entry) for table, entry in entries.items())


def delete_preview(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Return the tables that `delete` would drop."""
    state = load_state(config)
    tables = known_tables(config, state, select, samples=True)
    return tuple(table.table for table in _existing(state, tables))


def delete(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Drop these tables from the lake and the state. A later `maintain` removes their files.

    Returns the tables that existed; the history has a record of each deletion, except of samples.
    """
    run = start_run(config)
    with _locked(config, select, samples=True) as (state, tables):
        existing = _existing(state, tables)
        names = tuple(dict.fromkeys(table.table for table in existing))
        catalog = catalog_of(config)
        if existing and catalog.exists():
            records = [
                _deletion_record(config, state, table, run)
                for table in existing
                if not is_side_table(table.table) or table.key in state.entries
            ]
            with catalog.writer(data=False) as con:
                Lake(con).drop(_own_tables(state, existing), records)

        def remove_entries(entries: State) -> None:
            for table in tables:
                entries.pop(table.key, None)

        update_state(config.warehouse.state, remove_entries)
        for table in tables:
            shutil.rmtree(verified_folder(config, table.table), ignore_errors=True)
    return names


def _existing(state: ProjectState, tables: Sequence[KnownTable]) -> list[KnownTable]:
    """Return the tables that are in the lake, the state file or the history."""
    records = records_by_table(state)
    return [
        table
        for table in tables
        if table.table in state.tables or table.key in state.entries or table.key in records
    ]


def _own_tables(state: ProjectState, tables: Sequence[KnownTable]) -> set[TableName]:
    """Return the lake's tables of these; not one whose rows are those of a stream beside them.

    A stream that failed because another one has its table is forgotten without that table.
    """
    owners = {
        fold_name(str(saved.table)): (saved.source, saved.stream) for saved in state.saved_states
    }
    keys = {table.key for table in tables}
    return {
        table.table
        for table in tables
        if owners.get(fold_name(str(table.table)), table.key) in keys
    }


def _deletion_record(config: Config, state: ProjectState, table: KnownTable, run: Run) -> RunRecord:
    """Return the record of a deletion; the deleted rows are those of the last count."""
    source = config.sources.get(table.source)
    options = table_options(source, table.stream) if source else None
    entry = state.entries.get(table.key)
    lake_table = state.tables.get(table.table)
    result = TableResult(
        table.source,
        table.stream,
        table.table,
        (options.mode or SyncMode.FULL_TABLE) if options else None,
        TableStatus.OK,
        rows_deleted=(lake_table.rows or 0) if lake_table else 0,
        rows_in_table=0,
        cursor_before=entry.cursor if entry else None,
        notices=("dropped by cdpsync delete",),
    )
    return RunRecord(run.run_id, run.started_at, clock.now(), result, RunKind.DELETE)


def _write_entries(config: Config, state: ProjectState, new_entries: State) -> None:
    def apply(entries: State) -> None:
        for key, entry in state.entries.items():
            entries.setdefault(key, entry)
        entries.update(new_entries)

    update_state(config.warehouse.state, apply)


@contextmanager
def _locked(
    config: Config, select: Sequence[str], *, samples: bool = False
) -> Iterator[tuple[ProjectState, tuple[KnownTable, ...]]]:
    """Lock the selected tables against runs, and yield the project's state and the tables.

    The state is read under the locks, because a run may have ended while this waited for them.
    """
    tables = known_tables(config, load_state(config), select, samples=samples)
    names = {str(table.table) for table in tables}
    now = clock.now().isoformat(timespec="seconds")
    with locks.hold(locks_folder(config), names, "by hand", now, waits=True):
        state = load_state(config)
        tables = known_tables(config, state, select, samples=samples)
        yield state, tuple(table for table in tables if str(table.table) in names)
