"""A project as its commands see it: what is configured, known, remembered and asked."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cdpsync import config as config_module
from cdpsync import locks, registry
from cdpsync.catalog import Answer, CatalogFile, Lake, Recorded, ask
from cdpsync.errors import CdpsyncError, ConfigError, QueryError
from cdpsync.model import (
    ALL_STREAMS,
    CheckResult,
    Config,
    CursorEntry,
    Failure,
    LakeTable,
    RunRecord,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOptions,
    TableState,
    TableStatus,
)
from cdpsync.state import State, StateEntry, read_state, reconcile
from cdpsync.storage import Storage, open_storage
from cdpsync.storage.names import folder_of
from cdpsync.wanted import is_chosen, last_run, matches_name, means_all, next_due, table_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cdpsync.connector import Connector
    from cdpsync.wanted import Names


CATALOG_PATIENCE = 60.0
"""Seconds to wait for another process that has the catalog open."""


def load(path: Path | str | None = None) -> Config:
    """Read a project file or folder. Raises ConfigError that names each line to mend."""
    return config_module.load_config(path, options_for=registry.options_for)


def catalog_of(config: Config, storage: Storage | None = None) -> CatalogFile:
    """Return the catalog file of a project, over this storage where it is open already."""
    storage = storage or open_storage(config.warehouse)
    return CatalogFile(config.warehouse.catalog, storage.root, CATALOG_PATIENCE, storage.prepare)


def locks_folder(config: Config) -> Path:
    """Return where the lock files of a project are."""
    return config.warehouse.catalog.parent / "locks"


def journal_folder(config: Config) -> Path:
    """Return where each run that has begun and not ended well has an empty file of its name."""
    return config.warehouse.catalog.parent / "runs"


def verified_folder(config: Config, table: TableName | None = None) -> Path:
    """Return where `verify` keeps what it knows of a table's rows, or of all."""
    folder = config.warehouse.catalog.parent / "verified"
    return folder if table is None else folder / folder_of(table)


@contextmanager
def open_connector(source: Source) -> Iterator[Connector]:
    """Make a source's connector, and let go of its connections at the end."""
    connector = registry.create(source)
    try:
        yield connector
    finally:
        connector.close()


def source_of(config: Config, name: str) -> Source:
    """Return a source by name. Raises ConfigError that lists the valid ones."""
    if name not in config.sources:
        known = ", ".join(config.sources) or "none"
        raise ConfigError(f'unknown source "{name}". This project has: {known}.')
    return config.sources[name]


def discover(config: Config, source: str) -> tuple[Stream, ...]:
    """Return the streams of a source."""
    with open_connector(source_of(config, source)) as connector:
        return tuple(connector.discover())


def check(config: Config, sources: Sequence[str] = ()) -> tuple[CheckResult, ...]:
    """Try the warehouse and these sources (all, when none is named); nothing is raised for them."""
    chosen = [source_of(config, name) for name in sources] or list(config.sources.values())
    results = [_tried("warehouse", config.warehouse.path, lambda: _check_warehouse(config))]
    results += [
        _tried(source.name, source.type, partial(_check_source, source)) for source in chosen
    ]
    return tuple(results)


def _check_source(source: Source) -> None:
    with open_connector(source) as connector:
        connector.check()


def _check_warehouse(config: Config) -> None:
    open_storage(config.warehouse).check()
    catalog = catalog_of(config)
    if catalog.exists():
        with catalog.reader(data=False) as con:
            Lake(con)
    read_state(config.warehouse.state)


def _tried(name: str, kind: str, attempt: Callable[[], None]) -> CheckResult:
    start = time.monotonic()
    try:
        attempt()
    except CdpsyncError as error:
        return CheckResult(
            name, kind, ok=False, seconds=time.monotonic() - start, error=Failure.of(error)
        )
    return CheckResult(name, kind, ok=True, seconds=time.monotonic() - start)


# ---- what is known of the tables, without asking any source


@dataclass(frozen=True, slots=True)
class Known:
    """A table that the project file names or the lake remembers."""

    source: str
    stream: str
    table: TableName
    enabled: bool

    @property
    def names(self) -> Names:
        """What SELECT may name it by."""
        return self.source, self.stream, str(self.table)


@dataclass(frozen=True, slots=True)
class Memory:
    """All that is remembered between runs, at one moment.

    `latest` has each table's last record and its last successful one of a kind, newest first, and
    nothing from before it was deleted.
    """

    state: State
    cursors: tuple[CursorEntry, ...]
    latest: tuple[RunRecord, ...]
    tables: Mapping[TableName, LakeTable]
    notices: tuple[str, ...] = ()


def remember(config: Config, recorded: Recorded | None = None) -> Memory:
    """Bring together what the lake and the state file remember.

    `recorded` is the lake's part; without it, the catalog is opened for it.
    """
    catalog = catalog_of(config)
    if recorded is None and catalog.exists():
        with catalog.reader(data=False) as con:
            recorded = Lake(con).recorded()
    recorded = recorded or Recorded()
    state, notices = reconcile(read_state(config.warehouse.state), recorded.cursors)
    return Memory(state, recorded.cursors, recorded.latest, recorded.tables, notices)


def records_by_table(memory: Memory) -> Mapping[tuple[str, str], Sequence[RunRecord]]:
    """Return the latest records of each source's stream, newest first; none of an unknown one."""
    records: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in memory.latest:
        records[record.result.source, record.result.stream].append(record)
    return records


def known_tables(config: Config, memory: Memory, select: Sequence[str] = ()) -> tuple[Known, ...]:
    """Return the known tables that SELECT means. Raises ConfigError when one means none.

    A source of the project may be named before anything is known of it.
    """
    found = _found(config, memory)
    _refuse_unknown(config, [one.names for one in found], select)
    return tuple(one for one in found if is_chosen(one.names, select))


def _found(config: Config, memory: Memory) -> list[Known]:
    found: dict[tuple[str, str], Known] = {}
    for entry in memory.cursors:
        found[entry.source, entry.stream] = _known(config, entry.source, entry.stream, entry.table)
    for record in memory.latest:
        result = record.result
        if (result.source, result.stream) not in found and result.stream != ALL_STREAMS:
            table = TableName(*result.table.split(".", 1))
            found[result.source, result.stream] = _known(
                config, result.source, result.stream, table
            )
    for source in config.sources.values():
        for rule in source.tables:
            if not rule.is_glob and (source.name, rule.pattern) not in found:
                name = rule.options.name or _guess_table(source, rule.pattern)
                found[source.name, rule.pattern] = _known(
                    config, source.name, rule.pattern, TableName(source.name, name)
                )
    return [one for _, one in sorted(found.items())]


def _refuse_unknown(config: Config, tables: Iterable[Names], select: Sequence[str]) -> None:
    for pattern in select:
        if not any(matches_name(*names, pattern) for names in tables) and not any(
            means_all(source, pattern) for source in config.sources
        ):
            known = ", ".join(dict.fromkeys(table for *_, table in tables)) or "none yet"
            raise ConfigError(f'"{pattern}" matches no table. Known tables: {known}.')


def _guess_table(source: Source, stream: str) -> str:
    """Return the table's name as discovery would, for a stream that was never read."""
    default = getattr(source.options, "default_schema", None)
    schema, _, name = stream.rpartition(".")
    return name if schema in {"", default} else stream.replace(".", "_")


def _known(config: Config, source: str, stream: str, table: TableName) -> Known:
    return Known(source, stream, table, _is_enabled(config, source, stream))


def _is_enabled(config: Config, source: str, stream: str) -> bool:
    return source in config.sources and table_options(config.sources[source], stream) is not None


def status(config: Config, select: Sequence[str] = ()) -> tuple[TableState, ...]:
    """Return a line per table, from the lake and the locks alone; no source is asked.

    A source that could not be asked has one for all of its tables, while nothing newer is known.
    """
    memory = remember(config)
    records = records_by_table(memory)
    states = [
        _state_of(config, memory, one, records[one.source, one.stream])
        for one in known_tables(config, memory, select)
    ]
    states += [
        _unreached(record)
        for record in memory.latest
        if record.result.stream == ALL_STREAMS
        and record.result.source in config.sources
        and is_chosen(_names_of(record), select)
    ]
    return tuple(sorted(states, key=lambda state: (state.source, state.stream)))


def _names_of(record: RunRecord) -> Names:
    return record.result.source, record.result.stream, record.result.table


def _unreached(record: RunRecord) -> TableState:
    """Return how the tables of a source are that could not be asked."""
    result = record.result
    return TableState(
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
    config: Config, memory: Memory, one: Known, records: Sequence[RunRecord]
) -> TableState:
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
    return TableState(
        source=one.source,
        stream=one.stream,
        table=str(one.table),
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


def _cursor_field(said: StateEntry | None, options: TableOptions | None) -> str | None:
    """Return the field that the last run followed; before one, that which the file names."""
    if said is not None:
        return said.cursor_field
    if options is None or options.mode in {None, SyncMode.FULL_TABLE}:
        return None
    return options.cursor_field


def _status_word(config: Config, one: Known, last: RunRecord | None) -> str:
    if not one.enabled:
        return "disabled"
    if locks.holder(locks_folder(config), str(one.table)) is not None:
        return "running"
    return "never" if last is None else last.result.status.value


def history(
    config: Config, select: Sequence[str] = (), limit: int | None = None
) -> tuple[RunRecord, ...]:
    """Return a line per table and run, newest first; also of tables that are deleted."""
    known = known_tables(config, remember(config)) if select else ()
    records: tuple[RunRecord, ...] = ()
    if catalog_of(config).exists():
        with catalog_of(config).reader() as con:
            records = Lake(con).books.history()
    names = sorted({*(one.names for one in known), *map(_names_of, records)})
    _refuse_unknown(config, names, select)
    chosen = {
        (source, stream)
        for source, stream, table in names
        if is_chosen((source, stream, table), select)
    }
    records = tuple(one for one in records if (one.result.source, one.result.stream) in chosen)
    return records[:limit]


@contextmanager
def open_query(config: Config, sql: str, *, at: str | None = None) -> Iterator[Answer]:
    """Ask the lake, as it is now or was at a snapshot's number or a time. Changes nothing.

    Raises QueryError for SQL that fails or would change something, LandingError where that is
    the warehouse's fault.
    """
    storage = open_storage(config.warehouse)
    try:
        with catalog_of(config, storage).reader(at, keep=False) as con:
            Lake(con)  # refuses a lake that a newer cdpsync keeps
            yield ask(con, sql)
    except QueryError as error:
        if error.unread:
            storage.reach(filled=storage.root in error.message)
        raise
