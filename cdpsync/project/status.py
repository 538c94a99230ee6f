"""Where each table stands, and the history of its runs, from the lake and the locks alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.model import (
    ALL_STREAMS,
    Config,
    RunRecord,
    SyncMode,
    TableOptions,
    TableOverview,
    TableStatus,
)
from cdpsync.plan.configured import table_options
from cdpsync.plan.schedule import last_run, next_due
from cdpsync.plan.selector import is_chosen
from cdpsync.project.tables import (
    KnownTable,
    ProjectState,
    _refuse_unknown,
    known_tables,
    load_state,
    records_by_table,
)
from cdpsync.project.workspace import catalog_of, locks_folder
from cdpsync.system import locks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.plan.configured import Names
    from cdpsync.state import StateFileEntry


def status(config: Config, select: Sequence[str] = ()) -> tuple[TableOverview, ...]:
    """Return a line per table, from the lake and the locks alone; no source is asked.

    A source that could not be asked has one for all of its tables, while nothing newer is known.
    """
    memory = load_state(config)
    records = records_by_table(memory)
    states = [
        _state_of(config, memory, one, records[one.source, one.stream])
        for one in known_tables(config, memory, select)
    ]
    states += [
        _unreached(record)
        for record in memory.latest_runs
        if record.result.stream == ALL_STREAMS
        and record.result.source in config.sources
        and is_chosen(_names_of(record), select)
    ]
    return tuple(sorted(states, key=lambda state: (state.source, state.stream)))


def _names_of(record: RunRecord) -> Names:
    return record.result.source, record.result.stream, str(record.result.table)


def _unreached(record: RunRecord) -> TableOverview:
    """Return how the tables of a source are that could not be asked."""
    result = record.result
    return TableOverview(
        result.source,
        result.stream,
        result.table,
        mode=None,
        enabled=True,
        every=None,
        status=result.status.value,
        last_run_at=record.started_at,
        error=result.error,
        notices=result.notices,
    )


def _state_of(
    config: Config, memory: ProjectState, one: KnownTable, records: Sequence[RunRecord]
) -> TableOverview:
    last = last_run(records)
    good = [record for record in records if record.result.status is TableStatus.OK]
    success, counted = last_run(good), good[0] if good else None
    source = config.sources.get(one.source)
    options = table_options(source, one.stream) if source else None
    every = options.every if options else None
    said = memory.state.get((one.source, one.stream))
    mode = last.result.mode if last else None
    if options:
        mode = options.mode or SyncMode.FULL_TABLE
    return TableOverview(
        source=one.source,
        stream=one.stream,
        table=one.table,
        mode=mode,
        enabled=one.enabled,
        every=every,
        status=_status_word(config, one, last),
        last_run_at=last.started_at if last else None,
        last_success_at=success.started_at if success else None,
        next_due_at=next_due(every, last) if one.enabled else None,
        rows=counted.result.rows_in_table if counted else None,
        cursor_field=_cursor_field(said, options),
        cursor=said.cursor if said else None,
        error=last.result.error if last else None,
        notices=last.result.notices if last else (),
    )


def _cursor_field(said: StateFileEntry | None, options: TableOptions | None) -> str | None:
    """Return the field that the last run followed; before one, that which the file names."""
    if said is not None:
        return said.cursor_field
    if options is None or options.mode in {None, SyncMode.FULL_TABLE}:
        return None
    return options.cursor_field


def _status_word(config: Config, one: KnownTable, last: RunRecord | None) -> str:
    if not one.enabled:
        return "disabled"
    if locks.holder(locks_folder(config), str(one.table)) is not None:
        return "running"
    return "never" if last is None else last.result.status.value


def history(
    config: Config, select: Sequence[str] = (), limit: int | None = None
) -> tuple[RunRecord, ...]:
    """Return a line per table and run, newest first; also of tables that are deleted."""
    known = known_tables(config, load_state(config)) if select else ()
    records: tuple[RunRecord, ...] = ()
    if catalog_of(config).exists():
        with catalog_of(config).reader() as con:
            records = Lake(con).system_tables.history()
    names = sorted({*(one.names for one in known), *map(_names_of, records)})
    _refuse_unknown(config, names, select)
    chosen = {
        (source, stream)
        for source, stream, table in names
        if is_chosen((source, stream, table), select)
    }
    records = tuple(one for one in records if (one.result.source, one.result.stream) in chosen)
    return records[:limit]
