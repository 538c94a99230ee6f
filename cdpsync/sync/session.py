"""What a run is about: the tables chosen, what the sources have of them, what is remembered."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from cdpsync import engine, project
from cdpsync.catalog import CatalogPrefetch
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model import Config, Failure, Planned, Source, TableResult, TableStatus
from cdpsync.plan.configured import ConfiguredTable, configured_tables, table_options
from cdpsync.plan.resume import PreviousState
from cdpsync.plan.schedule import counts_from, is_due, last_run
from cdpsync.plan.selector import concerns_source, is_chosen, matches_select
from cdpsync.plan.table import table_plan
from cdpsync.storage import Storage, open_storage
from cdpsync.sync.unreachable import UnreachableSource, failures, unreached
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import duckdb

    from cdpsync.catalog import LakeState
    from cdpsync.connector import Connector
    from cdpsync.model import SavedState

log = logging.getLogger("cdpsync.sync.session")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Which tables a run is about, and how it treats them."""

    select: Sequence[str] = ()
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    due: bool = False
    full_refresh: bool = False
    allow_shrink: bool = False
    accept_changes: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        """What names tables: the SELECTs and -s."""
        return (*self.select, *self.include)


class RunSession:
    """What the sources have, what the project asks of it, and what is remembered."""

    def __init__(self, config: Config, choice: RunOptions) -> None:
        self.config = config
        self.choice = choice
        self.storage: Storage = open_storage(config.warehouse)
        self.catalog = project.catalog_of(config, self.storage)
        self.connectors: dict[str, Connector] = {}
        self.unreachable: list[TableResult] = []
        self._errors: dict[str, CdpsyncError] = {}
        self.tables: tuple[ConfiguredTable, ...] = ()
        self._stack = ExitStack()
        self._stack.callback(self.storage.close)
        self._lake: duckdb.DuckDBPyConnection | None = None
        self._recorded: LakeState | None = None
        self._reading = ExitStack()
        self._held: locks.Locks | None = None
        self._refreshing = threading.Lock()
        self._ahead = self._stack.enter_context(closing(CatalogPrefetch(self.catalog)))

    def __enter__(self) -> Self:
        self._ahead.start()
        try:
            self.tables = self._choose(self._discover())
        except BaseException:
            self._stack.close()
            raise
        finally:
            self._ahead.join()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _discover(self) -> tuple[ConfiguredTable, ...]:
        patterns = self.choice.patterns
        sources = [
            source
            for source in self.config.sources.values()
            if concerns_source(source.name, patterns)
        ]
        for source in sources:
            self.connectors[source.name] = self._stack.enter_context(project.open_connector(source))
        for connector in self.connectors.values():
            engine.preconnect(connector.extensions, threads=1)
        with ThreadPoolExecutor(max(1, min(8, len(sources)))) as pool:
            found = list(pool.map(self._wanted_of, sources))
        return tuple(one for tables in found for one in tables)

    def _wanted_of(self, source: Source) -> tuple[ConfiguredTable, ...]:
        try:
            streams = self.connectors[source.name].discover()
        except ConfigError:
            raise
        except CdpsyncError as error:
            self._errors[source.name] = error
            return ()
        return configured_tables(source, streams)

    def _choose(self, wanted: tuple[ConfiguredTable, ...]) -> tuple[ConfiguredTable, ...]:
        patterns, exclude, down = self.choice.patterns, self.choice.exclude, self._unreached()
        for pattern in (*patterns, *exclude):
            hit = any(matches_select(one, pattern) for one in wanted)
            if not hit and not any(concerns_source(one.source, [pattern]) for one in down):
                raise _no_match(pattern, self.config, wanted)
        self.unreachable = failures(down, wanted, patterns, exclude)
        return tuple(one for one in wanted if is_chosen(one.names, patterns, exclude))

    def _unreached(self) -> list[UnreachableSource]:
        if not self._errors:
            return []
        memory, sources = project.load_state(self.config), self.config.sources
        return [
            unreached(self.config, memory, sources[name], self._errors[name])
            for name in sources
            if name in self._errors
        ]

    @contextmanager
    def locked(self, run_id: str, started_at: datetime) -> Iterator[None]:
        """Keep every other run off the chosen tables; so the lake has them as it has them now."""
        since = started_at.isoformat(timespec="seconds")
        names = [str(one.table) for one in self.tables]
        folder = project.locks_folder(self.config)
        with locks.hold(folder, names, run_id, since, waits=True) as self._held, self._reading:
            if self.catalog.exists():
                opened = self._reading.enter_context(self._ahead.reader())
                self._lake, self._recorded = opened
                self._reading.callback(self._forget)
            yield

    def only_upkeep(self) -> None:
        """Say that all is committed: another run may wait for what is left to do."""
        if self._held is not None:
            self._held.only_upkeep()

    def done_reading(self) -> None:
        """Give back what reads the lake: the catalog is written through the same connection."""
        self._reading.close()

    def _forget(self) -> None:
        self._lake = self._recorded = None

    @contextmanager
    def lake(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection of the caller's own that reads the chosen tables while they are locked.

        All share one copy of the catalog: to open one takes longer than to compare most tables.
        """
        if self._lake is None:
            raise AssertionError("nothing is locked, or there is no lake yet")
        con = self._lake.cursor()
        try:
            with self._refreshing:  # two at once would be one too many for DuckDB's secrets
                self.storage.refresh(con)
            yield con
        finally:
            con.close()

    def plan(self) -> Planned:
        """Return what is to be done with each chosen table, from what is remembered now."""
        recorded = self._recorded
        if recorded is None and self.catalog.exists():
            with self._ahead.reader() as (_, recorded):
                pass
        memory = project.load_state(self.config, recorded)
        for notice in memory.notices:
            log.warning("%s", notice)
        entries = {(entry.source, entry.stream): entry for entry in memory.saved_states}
        now = clock.now()
        rests = _rests(self.config, memory, now) if self.choice.due else lambda *_: False
        plans, failed, skipped = [], [], []
        for result in self.unreachable:
            if rests(result.source, result.stream):
                skipped.append(replace(result, status=TableStatus.SKIPPED, error=None))
            else:
                failed.append(result)
        for one in self.tables:
            remembered = _remembered(one, memory, entries.get((one.source, one.name)))
            if rests(one.source, one.name):
                skipped.append(_result(one, remembered, TableStatus.SKIPPED))
                continue
            try:
                plans.append(
                    table_plan(
                        one,
                        remembered,
                        full_refresh=self.choice.full_refresh,
                        allow_shrink=self.choice.allow_shrink,
                        now=now,
                        accept_changes=self.choice.accept_changes,
                    )
                )
            except CdpsyncError as error:
                failed.append(_result(one, remembered, TableStatus.FAILED, Failure.of(error)))
        return Planned(tuple(plans), tuple(failed), tuple(skipped))


def _rests(
    config: Config, memory: project.ProjectState, now: datetime
) -> Callable[[str, str], bool]:
    """Return what tells of a source's stream whether its time has not come yet."""
    records = project.records_by_table(memory)

    def rests(source: str, stream: str) -> bool:
        options = table_options(config.sources[source], stream)
        since = counts_from(last_run(records[source, stream]))
        return options is not None and not is_due(options.every, since, now)

    return rests


def _result(
    one: ConfiguredTable,
    remembered: PreviousState,
    status: TableStatus,
    failure: Failure | None = None,
) -> TableResult:
    return TableResult(
        one.source,
        one.name,
        str(one.table),
        one.mode,
        status,
        cursor_before=remembered.cursor,
        cursor_after=remembered.cursor,
        error=failure,
    )


def _no_match(pattern: str, config: Config, wanted: Sequence[ConfiguredTable]) -> ConfigError:
    head = pattern.split(".", 1)[0]
    if not concerns_source(head, config.sources) and not any(sign in head for sign in "*?["):
        known = ", ".join(config.sources) or "none"
        return ConfigError(f'"{pattern}": there is no source "{head}". This project has: {known}.')
    names = ", ".join(f"{one.source}.{one.name}" for one in wanted[:10]) or "none"
    return ConfigError(
        f'"{pattern}" matches no enabled table. Tables: {names}{", …" if len(wanted) > 10 else ""}.'
    )


def _remembered(
    one: ConfiguredTable, memory: project.ProjectState, entry: SavedState | None
) -> PreviousState:
    said = memory.state.get((one.source, one.name))
    table = memory.tables.get(one.table)
    if said is None or (entry is not None and entry.table != one.table):
        return PreviousState(lake_table=table)
    return PreviousState(
        cursor_field=said.cursor_field,
        cursor=said.cursor,
        reset=said.reset,
        lake_table=table,
        saved_state=entry,
    )
