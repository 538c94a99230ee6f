"""The session of a run: its selected tables, its sources, and the lake as the last run left it."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from cdpsync import engine, project
from cdpsync.catalog import CatalogPrefetch
from cdpsync.connector import TypeChangeAware, source_identity_of, unmatched_patterns_of
from cdpsync.connector.faults import unknown_error
from cdpsync.connector.returned import discovered_streams, require_limit
from cdpsync.errors import CdpsyncError
from cdpsync.model import Config, Failure, Planned, Source, TableResult, TableStatus
from cdpsync.model.plan import sample_name
from cdpsync.plan.configured import (
    ConfiguredTable,
    configured_tables,
    spelled_as_streams,
    with_former_names,
)
from cdpsync.plan.resume import PreviousState
from cdpsync.plan.selector import (
    concerns_source,
    is_chosen,
    is_short,
    matches_select,
)
from cdpsync.plan.source_changes import shared_tables
from cdpsync.plan.table import table_plan
from cdpsync.plan.type_changes import keeps_any_value
from cdpsync.redact import label
from cdpsync.storage import Storage, open_storage
from cdpsync.sync.left_out import loaded_streams
from cdpsync.sync.missing import (
    DiscoveredSource,
    missing_names,
    missing_tables,
    selects_missing,
)
from cdpsync.sync.sample import sampled
from cdpsync.sync.selection import (
    RunOptions,
    never,
    no_match,
    not_due_check,
    with_full_names,
)
from cdpsync.sync.source_names import check_source_names
from cdpsync.sync.unreachable import (
    UnreachableSource,
    failures,
    names_of,
    unreachable_source,
)
from cdpsync.sync.unread_tables import locked_result, not_due_result, result_of
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.errors import ConfigError
    from cdpsync.model import SavedState, SourceIdentity, TableName, TablePlan
    from cdpsync.model.state import ProjectState, TableKey
    from cdpsync.plan.type_changes import KeepsValues

log = logging.getLogger("cdpsync.sync.session")


class RunSession:
    """The tables of a run, with the connectors of their sources, the storage and the catalog.

    `unreachable` has a failure for each selected table whose source cannot be reached.
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        self.config = config
        self.options = options
        self.storage: Storage = open_storage(config.warehouse)
        self.catalog = project.catalog_of(config, self.storage)
        self.connectors: dict[str, Connector] = {}
        self.unreachable: list[TableResult] = []
        self.tables: tuple[ConfiguredTable, ...] = ()
        self._all_tables: tuple[ConfiguredTable, ...] = ()
        self._discovered: dict[str, DiscoveredSource] = {}
        self._identities: dict[str, SourceIdentity | None] = {}
        self._errors: dict[str, CdpsyncError] = {}
        self._error_seconds: dict[str, float] = {}
        self._stack = ExitStack()
        self._stack.callback(self.storage.close)
        self._lake: duckdb.DuckDBPyConnection | None = None
        self._lake_state: ProjectState | None = None
        self._reader_stack = ExitStack()
        self._locks: locks.Locks | None = None
        self._refresh_lock = threading.Lock()
        self._prefetch = self._stack.enter_context(closing(CatalogPrefetch(self.catalog)))

    def __enter__(self) -> Self:
        self._prefetch.start()
        try:
            self._all_tables = with_former_names(
                self._discover(), lambda: self._state_without_locks().saved_states
            )
            self.tables = self._select_tables(self._all_tables)
        except BaseException:
            self._stack.close()
            raise
        finally:
            self._prefetch.join()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _discover(self) -> tuple[ConfiguredTable, ...]:
        """Return the configured tables of all sources that the selection may mean."""
        patterns = self.options.patterns
        sources = [
            source
            for source in self.config.sources.values()
            if concerns_source(source.name, patterns)
            or any(is_short(pattern, self.config.sources) for pattern in patterns)
        ]
        for source in sources:
            with self._as_failure_of(source):
                connector = self._stack.enter_context(project.open_connector(source, self.config))
                engine.preconnect(connector.extensions, threads=1)
                self.connectors[source.name] = connector
        with ThreadPoolExecutor(max(1, min(8, len(sources)))) as pool:
            tables_by_source = list(pool.map(self._configured_tables, sources))
        spelled = {name: found.source for name, found in self._discovered.items()}
        self.config = replace(self.config, sources={**self.config.sources, **spelled})
        return tuple(table for tables in tables_by_source for table in tables)

    def _configured_tables(self, source: Source) -> tuple[ConfiguredTable, ...]:
        connector = self.connectors.get(source.name)
        if connector is None:
            return ()
        with self._as_failure_of(source):
            streams = discovered_streams(connector)
            source = spelled_as_streams(source, [stream.name for stream in streams])
            unmatched = unmatched_patterns_of(connector)
            require_limit(connector)
            self._identities[source.name] = source_identity_of(connector)
            self._discovered[source.name] = DiscoveredSource.of(source, streams, unmatched)
            return configured_tables(
                source, streams, loaded_streams(source, streams, self._state_without_locks)
            )
        return ()

    @contextmanager
    def _as_failure_of(self, source: Source) -> Iterator[None]:
        """Note any error as that of the source, because it must not stop the other sources."""
        start = time.monotonic()
        try:
            yield
        except CdpsyncError as error:
            self._errors[source.name] = error
        except Exception as error:  # noqa: BLE001 - it becomes the source's failure
            place = f"{label(source.name)}: its streams could not be listed"
            connector = self.connectors.get(source.name)
            self._errors[source.name] = unknown_error(place, error, connector)
        self._error_seconds[source.name] = time.monotonic() - start

    def _select_tables(self, tables: tuple[ConfiguredTable, ...]) -> tuple[ConfiguredTable, ...]:
        """Return the selected tables. Raises ConfigError for a pattern that matches none."""
        unreachable = self._unreachable_sources()
        names = [table.names for table in tables]
        names += [names_of(table) for source in unreachable for table in source.tables]
        self.options = with_full_names(
            self.options,
            self.config,
            names,
            unreachable=[source.source for source in unreachable],
            missing=lambda: missing_names(
                self._discovered.values(), tables, self._state_without_locks()
            ),
        )
        patterns, exclude = self.options.patterns, self.options.exclude
        for pattern in (*patterns, *exclude):
            matches = any(matches_select(table, pattern) for table in tables)
            if (
                not matches
                and not any(concerns_source(source.source, [pattern]) for source in unreachable)
                and not selects_missing(
                    pattern, self._discovered.values(), tables, self._state_without_locks
                )
            ):
                raise no_match(pattern, self.config, tables)
        self.unreachable = failures(unreachable, tables, patterns, exclude)
        return tuple(table for table in tables if is_chosen(table.names, patterns, exclude))

    def _state_without_locks(self) -> ProjectState:
        return project.load_state(self.config)

    def _unreachable_sources(self) -> list[UnreachableSource]:
        if not self._errors:
            return []
        state, sources = self._state_without_locks(), self.config.sources
        return [
            unreachable_source(
                self.config, state, sources[name], self._errors[name], self._error_seconds[name]
            )
            for name in sources
            if name in self._errors
        ]

    @contextmanager
    def locked(self, run_id: str, started_at: datetime) -> Iterator[None]:
        """Lock the selected tables that are free, so that no other run changes them in the lake.

        The others are left out of the plan; see `Planned.locked`.
        """
        since = started_at.isoformat(timespec="seconds")
        names = [self._lock_name(table.table) for table in self.tables]
        folder = project.locks_folder(self.config)
        with locks.hold_free(folder, names, run_id, since) as self._locks, self._reader_stack:
            if self.catalog.exists():
                reader = self._reader_stack.enter_context(self._prefetch.reader())
                self._lake, self._lake_state = reader
                self._reader_stack.callback(self._drop_reader)
            yield

    def _lock_name(self, table: TableName) -> str:
        """Return the name of a table's lock; a sample has one of its own."""
        return str(table if self.options.limit is None else sample_name(table))

    def release(self, tables: Iterable[TableName]) -> None:
        """Let go of the locks of tables that have ended, so that other runs may have them."""
        if self._locks is not None:
            self._locks.release(map(str, tables))

    def release_all_but(self, tables: Iterable[TableName]) -> None:
        """Let go of the locks of all other tables."""
        kept = set(tables)
        self.release(table.table for table in self.tables if table.table not in kept)

    def lock_for_upkeep(self, table: TableName) -> AbstractContextManager[object]:
        """Lock a table that has ended for its upkeep; other runs wait for that.

        Raises LockHeldError at once where another run works on the table already.
        """
        if self._locks is None:
            raise AssertionError("no table was locked")
        folder, holder = project.locks_folder(self.config), self._locks.holder
        return locks.hold(
            folder, [str(table)], holder.run_id, holder.since, upkeep=True, patience=0.0
        )

    def done_reading(self) -> None:
        """Close the reader of the lake, because a write to the catalog uses the same connection."""
        self._reader_stack.close()

    def _drop_reader(self) -> None:
        self._lake = self._lake_state = None

    @contextmanager
    def lake(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection that reads the lake while the selected tables are locked.

        Each caller has its own connection. All share one copy of the catalog, because opening a
        copy takes longer than comparing most tables.
        """
        if self._lake is None:
            raise AssertionError("no table is locked, or there is no lake yet")
        con = self._lake.cursor()
        try:
            with self._refresh_lock:  # DuckDB's secrets cannot be replaced by two threads at once
                self.storage.refresh(con)
            yield con
        finally:
            con.close()

    def require_unlocked(self, planned: Planned) -> None:
        """Raise LockHeldError if other runs have locked every table that is to be worked on."""
        if planned.locked and not planned.plans and not planned.failed and self._locks:
            names = [self._lock_name(result.table) for result in planned.locked]
            raise locks.lock_error(names, self._locks.taken.get(names[0]))

    def plan(self) -> Planned:
        """Return the plan of each selected table, made from the state that is saved now."""
        lake_state = self._lake_state
        if lake_state is None and self.catalog.exists():
            with self._prefetch.reader() as (_, lake_state):
                pass
        state = project.load_state(self.config, lake_state)
        for notice in state.notices:
            log.warning("%s", notice)
        check_source_names(self.connectors, state)
        saved_states = {(saved.source, saved.stream): saved for saved in state.saved_states}
        now = clock.now()
        is_not_due = not_due_check(self.config, state, now) if self.options.due else never
        plans, failed, skipped, locked = [], [], [], []
        for result in self.unreachable:
            if is_not_due(result.source, result.stream):
                skipped.append(not_due_result(replace(result, error=None)))
            else:
                failed.append(result)
        missing = missing_tables(
            self._discovered.values(),
            self._all_tables,
            state,
            is_selected=lambda names: is_chosen(names, self.options.patterns, self.options.exclude),
            is_not_due=is_not_due,
            now=now,
        )
        failed += missing.failed
        skipped += missing.skipped
        shared = shared_tables(self._all_tables, state.saved_states)
        taken = self._locks.taken if self._locks else {}
        for table in self.tables:
            previous = _previous_state(table, state, saved_states.get((table.source, table.name)))
            if is_not_due(table.source, table.name):
                skipped.append(not_due_result(result_of(table, previous, TableStatus.SKIPPED)))
                continue
            if self._lock_name(table.table) in taken:
                locked.append(locked_result(table, previous, taken[self._lock_name(table.table)]))
                continue
            try:
                plans.append(self._plan_of(table, previous, shared, now))
            except Exception as error:  # noqa: BLE001 - it becomes the table's failure
                failure = unknown_error(str(table.table), error, self.connectors[table.source])
                failed.append(result_of(table, previous, TableStatus.FAILED, Failure.of(failure)))
        planned = Planned(
            tuple(plans), tuple(failed), tuple(skipped), tuple(locked), tuple(missing.changed)
        )
        if self.options.limit is None:
            return planned
        own_tables = {table.table for table in self._all_tables}
        own_tables |= {saved.table for saved in state.saved_states}
        return sampled(planned, self.options.limit, own_tables)

    def _plan_of(
        self,
        table: ConfiguredTable,
        previous: PreviousState,
        shared: Mapping[TableKey, ConfigError],
        now: datetime,
    ) -> TablePlan:
        if (table.source, table.name) in shared:
            raise shared[table.source, table.name]
        return table_plan(
            table,
            previous,
            full_refresh=self.options.full_refresh or self.options.limit is not None,
            allow_shrink=self.options.allow_shrink,
            now=now,
            accept_changes=self.options.accept_changes,
            source_identity=self._identities.get(table.source),
            accept_source=self.options.accept_source,
            keeps_values=self._keeps_values(table.source),
        )

    def _keeps_values(self, source: str) -> KeepsValues:
        connector = self.connectors[source]
        return connector.keeps_values if isinstance(connector, TypeChangeAware) else keeps_any_value


def _previous_state(
    table: ConfiguredTable, state: ProjectState, saved_state: SavedState | None
) -> PreviousState:
    entry = state.entries.get((table.source, table.name))
    lake_table = state.tables.get(table.table)
    if entry is None or (saved_state is not None and saved_state.table != table.table):
        return PreviousState(lake_table=lake_table)
    return PreviousState(
        cursor_field=entry.cursor_field,
        cursor=entry.cursor,
        reset=entry.reset,
        lake_table=lake_table,
        saved_state=saved_state,
    )
