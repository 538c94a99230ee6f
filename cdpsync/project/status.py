"""Status of a project's tables and the history of their runs, read without any source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.model import (
    Config,
    RunRecord,
    SyncMode,
    TableOptions,
    TableOverview,
    TableStatus,
)
from cdpsync.plan.configured import table_options
from cdpsync.plan.schedule import last_run, next_due
from cdpsync.plan.selector import is_chosen, resolved
from cdpsync.plan.source_changes import is_asked_for
from cdpsync.project.tables import (
    KnownTable,
    known_tables,
    load_state,
    records_by_table,
    require_known,
)
from cdpsync.project.workspace import catalog_of, locks_folder
from cdpsync.system import locks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model.state import ProjectState, StateFileEntry
    from cdpsync.plan.configured import Names


def status(config: Config, select: Sequence[str] = ()) -> tuple[TableOverview, ...]:
    """Return an overview of each table, from the lake, the state file and the locks.

    A source that could not be reached at its last run has one overview for all of its tables,
    until a newer run reaches it. So has a pattern of the project file that matched nothing.
    """
    state = load_state(config)
    records = records_by_table(state)
    missing = {
        (saved.source, saved.stream): saved.missing_since
        for saved in state.saved_states
        if saved.missing_since is not None
        and saved.source in config.sources
        and is_asked_for(config.sources[saved.source], saved.stream)
    }
    labels = {
        (saved.source, saved.stream): saved.source_identity.label
        for saved in state.saved_states
        if saved.source_identity is not None
    }
    overviews = [
        replace(
            _overview(config, state, table, records[table.key]),
            missing_since=missing.get(table.key),
            source_identity=labels.get(table.key),
        )
        for table in known_tables(config, state, select)
    ]
    overviews += [
        _unreachable_overview(record)
        for record in state.latest_runs
        if record.result.is_placeholder
        and record.result.source in config.sources
        and is_chosen(_names_of(record), select)
    ]
    return tuple(sorted(overviews, key=lambda overview: (overview.source, overview.stream)))


def _names_of(record: RunRecord) -> Names:
    return record.result.source, record.result.stream, str(record.result.table)


def _unreachable_overview(record: RunRecord) -> TableOverview:
    """Return the overview of the tables of a source that could not be reached."""
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


def _overview(
    config: Config, state: ProjectState, table: KnownTable, records: Sequence[RunRecord]
) -> TableOverview:
    last = last_run(records)
    successful = [record for record in records if record.result.status is TableStatus.OK]
    last_success, last_count = last_run(successful), successful[0] if successful else None
    source = config.sources.get(table.source)
    options = table_options(source, table.stream) if source else None
    every = options.every if options else None
    entry = state.entries.get(table.key)
    mode = last.result.mode if last else None
    if options:
        mode = options.mode or SyncMode.FULL_TABLE
    return TableOverview(
        source=table.source,
        stream=table.stream,
        table=table.table,
        mode=mode,
        enabled=table.enabled,
        every=every,
        status=_status_of(config, table, last),
        last_run_at=last.started_at if last else None,
        last_success_at=last_success.started_at if last_success else None,
        next_due_at=next_due(every, last) if table.enabled else None,
        rows=last_count.result.rows_in_table if last_count else None,
        cursor_field=_cursor_field(entry, options),
        cursor=entry.cursor if entry else None,
        error=last.result.error if last else None,
        notices=last.result.notices if last else (),
    )


def _cursor_field(entry: StateFileEntry | None, options: TableOptions | None) -> str | None:
    """Return the cursor field of the last run; before the first run, that of the project file."""
    if entry is not None:
        return entry.cursor_field
    if options is None or options.mode in {None, SyncMode.FULL_TABLE}:
        return None
    return options.cursor_field


def _status_of(config: Config, table: KnownTable, last: RunRecord | None) -> str:
    if not table.enabled:
        return "disabled"
    holder = locks.holder(locks_folder(config), str(table.table))
    if holder is not None and not holder.upkeep:
        return "running"
    return "never" if last is None else last.result.status.value


def history(
    config: Config, select: Sequence[str] = (), limit: int | None = None
) -> tuple[RunRecord, ...]:
    """Return the records of all runs, newest first, those of deleted tables included."""
    tables = known_tables(config, load_state(config)) if select else ()
    records: tuple[RunRecord, ...] = ()
    if catalog_of(config).exists():
        with catalog_of(config).reader() as con:
            records = Lake(con).system_tables.history()
    names = sorted({*(table.names for table in tables), *map(_names_of, records)})
    select = resolved(select, names, config.sources)
    require_known(config, names, select)
    selected = {
        (source, stream)
        for source, stream, table in names
        if is_chosen((source, stream, table), select)
    }
    records = tuple(
        record for record in records if (record.result.source, record.result.stream) in selected
    )
    return records[:limit]
