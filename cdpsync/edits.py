"""What a person changes of what is remembered: cursors that are set, tables reset or deleted."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync import clock, locks, project
from cdpsync.catalog import Lake
from cdpsync.cursors import parse_cursor
from cdpsync.errors import ConfigError
from cdpsync.model import Config, CursorEntry, TableName
from cdpsync.state import State, StateEntry, update_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def cursors(config: Config, select: Sequence[str] = ()) -> tuple[CursorEntry, ...]:
    """Return where each table's cursor stands, as the next run will take it."""
    memory = project.remember(config)
    by_key = {(entry.source, entry.stream): entry for entry in memory.cursors}
    found = []
    for one in project.known_tables(config, memory, select):
        said = memory.state.get((one.source, one.stream))
        if said is not None:
            entry = by_key.get((one.source, one.stream))
            found.append(_joined(one, said, entry))
    return tuple(found)


def _joined(one: project.Known, said: StateEntry, entry: CursorEntry | None) -> CursorEntry:
    return CursorEntry(
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


def set_cursor(config: Config, table: str, value: str) -> CursorEntry:
    """Let the next run of one table go on from this value. Raises ConfigError when it cannot."""
    memory = project.remember(config)
    chosen = project.known_tables(config, memory, [table])
    if len(chosen) != 1:
        raise ConfigError(f'"{table}" means {len(chosen)} tables; set one cursor at a time.')
    one = chosen[0]
    said = memory.state.get((one.source, one.stream))
    if said is None or said.cursor is None:
        raise ConfigError(
            f"{one.table} has no cursor yet, so its type is not known. Run it once: "
            f"cdpsync run {one.table}; then set the cursor."
        )
    try:
        cursor = parse_cursor(said.cursor.type, value)
    except ValueError as error:
        raise ConfigError(f'{one.table}: "{value}" is no {said.cursor.type} ({error}).') from error
    with _held(config, [one.table]):
        changed = replace(said, cursor=cursor, reset=False)
        _write_state(config, memory, {(one.source, one.stream): changed})
    return _joined(one, changed, None)


def reset_preview(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Return the tables that `reset` would touch."""
    memory = project.remember(config)
    return tuple(one.table for one in project.known_tables(config, memory, select))


delete_preview = reset_preview


def reset(config: Config, select: Sequence[str]) -> tuple[CursorEntry, ...]:
    """Let the next run load these tables from the start; until then they stay as they are."""
    memory = project.remember(config)
    chosen = project.known_tables(config, memory, select)
    with _held(config, [one.table for one in chosen]):
        changed: State = {}
        for one in chosen:
            said = memory.state.get((one.source, one.stream))
            if said is not None:
                changed[one.source, one.stream] = replace(said, cursor=None, reset=True)
        _write_state(config, memory, changed)
    return tuple(
        _joined(one, changed[one.source, one.stream], None)
        for one in chosen
        if (one.source, one.stream) in changed
    )


def delete(config: Config, select: Sequence[str]) -> tuple[TableName, ...]:
    """Drop these tables from the lake and the state. Their files go with a later maintenance."""
    memory = project.remember(config)
    chosen = project.known_tables(config, memory, select)
    tables = tuple(one.table for one in chosen)
    catalog = project.catalog_of(config)
    with _held(config, tables):
        if catalog.exists():
            with catalog.writer(data=False) as con:
                lake = Lake(con)
                lake.books.prepare()
                lake.drop(tables)
        gone = {(one.source, one.stream) for one in chosen}

        def forget(state: State) -> None:
            for key in gone:
                state.pop(key, None)

        update_state(config.warehouse.state, forget)
        for table in tables:
            shutil.rmtree(project.verified_folder(config, table), ignore_errors=True)
    return tables


def _write_state(config: Config, memory: project.Memory, changed: State) -> None:
    def apply(state: State) -> None:
        for key, entry in memory.state.items():
            state.setdefault(key, entry)
        state.update(changed)

    update_state(config.warehouse.state, apply)


@contextmanager
def _held(config: Config, tables: Sequence[TableName]) -> Iterator[None]:
    now = clock.now().isoformat(timespec="seconds")
    names = [str(table) for table in tables]
    with locks.hold(project.locks_folder(config), names, "by hand", now, waits=True):
        yield
