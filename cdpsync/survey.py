"""What a run is about: the tables chosen, what the sources have of them, what is remembered."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from cdpsync import clock, engine, locks, project
from cdpsync.catalog import Ahead
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model import (
    Config,
    Failure,
    Planned,
    RunKind,
    Source,
    TableResult,
    TableStatus,
)
from cdpsync.plan import Remembered, table_plan
from cdpsync.storage import Storage, open_storage
from cdpsync.wanted import (
    Wanted,
    concerns_source,
    is_due,
    matches_name,
    matches_select,
    wanted_tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import duckdb

    from cdpsync.catalog import Recorded
    from cdpsync.connector import Connector
    from cdpsync.model import CursorEntry

log = logging.getLogger("cdpsync.survey")


@dataclass(frozen=True, slots=True)
class Choice:
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


class Survey:
    """What the sources have, what the project asks of it, and what is remembered."""

    def __init__(self, config: Config, choice: Choice) -> None:
        self.config = config
        self.choice = choice
        self.storage: Storage = open_storage(config.warehouse)
        self.catalog = project.catalog_of(config, self.storage)
        self.connectors: dict[str, Connector] = {}
        self.unreachable: list[TableResult] = []
        self.wanted: tuple[Wanted, ...] = ()
        self._stack = ExitStack()
        self._stack.callback(self.storage.close)
        self._lake: duckdb.DuckDBPyConnection | None = None
        self._recorded: Recorded | None = None
        self._reading = ExitStack()
        self._held: locks.Held | None = None
        self._refreshing = threading.Lock()
        self._ahead = self._stack.enter_context(closing(Ahead(self.catalog)))

    def __enter__(self) -> Self:
        self._ahead.start()
        try:
            self.wanted = self._choose(self._discover())
        except BaseException:
            self._stack.close()
            raise
        finally:
            self._ahead.join()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _discover(self) -> tuple[Wanted, ...]:
        patterns = self.choice.patterns
        sources = [
            source
            for source in self.config.sources.values()
            if concerns_source(source.name, patterns)
        ]
        for source in sources:
            self.connectors[source.name] = self._stack.enter_context(project.open_connector(source))
        for connector in self.connectors.values():
            engine.connect_ahead(connector.extensions, threads=1)
        with ThreadPoolExecutor(max(1, min(8, len(sources)))) as pool:
            found = list(pool.map(self._wanted_of, sources))
        return tuple(one for tables in found for one in tables)

    def _wanted_of(self, source: Source) -> tuple[Wanted, ...]:
        try:
            streams = self.connectors[source.name].discover()
        except ConfigError:
            raise
        except CdpsyncError as error:
            self.unreachable += self._all_failed(source, error)
            return ()
        return wanted_tables(source, streams)

    def _all_failed(self, source: Source, error: CdpsyncError) -> list[TableResult]:
        """Return a failure for each table that is known of a source that cannot be asked."""
        memory = project.remember(self.config)
        known = [
            one
            for one in project.known_tables(self.config, memory)
            if one.source == source.name and one.enabled
        ]
        names = [(one.stream, str(one.table)) for one in known] or [("*", f"{source.name}.*")]
        return [
            TableResult(
                source.name, stream, table, None, TableStatus.FAILED, error=Failure.of(error)
            )
            for stream, table in names
        ]

    def _choose(self, wanted: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
        down = {result.source for result in self.unreachable}
        for pattern in (*self.choice.patterns, *self.choice.exclude):
            hit = any(matches_select(one, pattern) for one in wanted)
            if not hit and not any(concerns_source(source, [pattern]) for source in down):
                raise _no_match(pattern, self.config, wanted)
        self.unreachable = [
            result
            for result in self.unreachable
            if self._is_chosen(partial(matches_name, result.source, result.stream, result.table))
        ]
        return tuple(one for one in wanted if self._is_chosen(partial(matches_select, one)))

    def _is_chosen(self, matches: Callable[[str], bool]) -> bool:
        patterns = self.choice.patterns
        return (not patterns or any(map(matches, patterns))) and not any(
            map(matches, self.choice.exclude)
        )

    @contextmanager
    def locked(self, run_id: str, started_at: datetime) -> Iterator[None]:
        """Keep every other run off the chosen tables; so the lake has them as it has them now."""
        since = started_at.isoformat(timespec="seconds")
        names = [str(one.table) for one in self.wanted]
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
        memory = project.remember(self.config, recorded)
        for notice in memory.notices:
            log.warning("%s", notice)
        successes = {
            (record.result.source, record.result.stream): record.started_at
            for record in reversed(memory.latest)
            if record.result.status is TableStatus.OK and record.kind is RunKind.RUN
        }
        entries = {(entry.source, entry.stream): entry for entry in memory.cursors}
        now = clock.now()
        plans, failed, skipped = [], list(self.unreachable), []
        for one in self.wanted:
            success = successes.get((one.source, one.name))
            if self.choice.due and not is_due(one.options.every, success, now):
                skipped.append(_result(one, TableStatus.SKIPPED))
                continue
            remembered = _remembered(one, memory, entries.get((one.source, one.name)))
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
                failed.append(_result(one, TableStatus.FAILED, Failure.of(error)))
        return Planned(tuple(plans), tuple(failed), tuple(skipped))


def _result(one: Wanted, status: TableStatus, failure: Failure | None = None) -> TableResult:
    return TableResult(one.source, one.name, str(one.table), one.mode, status, error=failure)


def _no_match(pattern: str, config: Config, wanted: Sequence[Wanted]) -> ConfigError:
    head = pattern.split(".", 1)[0]
    if not concerns_source(head, config.sources) and not any(sign in head for sign in "*?["):
        known = ", ".join(config.sources) or "none"
        return ConfigError(f'"{pattern}": there is no source "{head}". This project has: {known}.')
    names = ", ".join(f"{one.source}.{one.name}" for one in wanted[:10]) or "none"
    return ConfigError(
        f'"{pattern}" matches no enabled table. Tables: {names}{", …" if len(wanted) > 10 else ""}.'
    )


def _remembered(one: Wanted, memory: project.Memory, entry: CursorEntry | None) -> Remembered:
    said = memory.state.get((one.source, one.name))
    table = memory.tables.get(one.table)
    if said is None or (entry is not None and entry.table != one.table):
        return Remembered(landed=table)
    return Remembered(
        cursor_field=said.cursor_field,
        cursor=said.cursor,
        reset=said.reset,
        landed=table,
        entry=entry,
    )
