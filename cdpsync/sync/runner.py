"""One run, start to end: discover, lock, plan, extract, land, commit, remember."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import Lake, remove_stale_dirs, temp_dir
from cdpsync.connector import concurrency_limit_of
from cdpsync.errors import CatalogError, CdpsyncError, ContractError
from cdpsync.extract.source_pools import SourcePools
from cdpsync.extract.workers import Workers
from cdpsync.load.commit import commit_of, is_unchanged, result_of
from cdpsync.load.table import LoadedTable, TableLoader
from cdpsync.load.upload import SpoolBudget, Uploader
from cdpsync.maintain.compact import Compactor
from cdpsync.maintain.maintenance import expire, expiry_is_due
from cdpsync.maintain.publish import publish_after_run
from cdpsync.model import (
    Config,
    Failure,
    Planned,
    Progress,
    RunRecord,
    RunResult,
    RunStatus,
    SavedState,
    TableName,
    TablePlan,
    TableResult,
    TableStatus,
)
from cdpsync.project.journal import Run, default_threads, start_run
from cdpsync.state import State, of_catalog, update_state
from cdpsync.sync.session import RunOptions, RunSession
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


log = logging.getLogger("cdpsync.sync")

_TOGETHER = 100  # tables in one transaction


def plan(
    config: Config | str | Path | None,
    select: Sequence[str] = (),
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    due: bool = False,
    full_refresh: bool = False,
    allow_shrink: bool = False,
    accept_changes: bool = False,
) -> Planned:
    """Return what `run` with the same arguments would do. Reads from sources and lake only."""
    choice = RunOptions(select, include, exclude, due, full_refresh, allow_shrink, accept_changes)
    with RunSession(_loaded(config), choice) as survey:
        return survey.plan()


def run(
    config: Config | str | Path | None,
    select: Sequence[str] = (),
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    due: bool = False,
    full_refresh: bool = False,
    threads: int | None = None,
    fail_fast: bool = False,
    allow_shrink: bool = False,
    accept_changes: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    is_stopped: Callable[[], bool] | None = None,
) -> RunResult:
    """Sync the chosen tables of a project into its lake, and return what happened to each.

    A table that fails keeps its old rows and cursor, and does not stop the others. Raises
    ConfigError when the project or the choice is wrong, LockHeldError when another run is at
    work on one of the tables, CatalogError when catalog or state file cannot be used; nothing
    was changed then. `on_progress` is called from several threads. When `is_stopped` turns true,
    the run ends as with Ctrl-C: KeyboardInterrupt, nothing half committed.
    """
    choice = RunOptions(select, include, exclude, due, full_refresh, allow_shrink, accept_changes)
    begun = start_run(_loaded(config))
    with RunSession(begun.config, choice) as survey, survey.locked(begun.run_id, begun.started_at):
        planned = survey.plan()
        execution = _Execution(
            survey,
            begun,
            planned,
            fail_fast=fail_fast,
            on_progress=on_progress or (lambda _: None),
            is_stopped=is_stopped or (lambda: False),
        )
        results = execution.work(threads or default_threads())
    finished_at = clock.now()
    results = tuple(sorted(results, key=lambda result: (result.source, result.table)))
    return RunResult(begun.run_id, _overall(results), begun.started_at, finished_at, results)


def _loaded(config: Config | str | Path | None) -> Config:
    return config if isinstance(config, Config) else project.load(config)


def _overall(results: Sequence[TableResult]) -> RunStatus:
    failed = sum(result.status is TableStatus.FAILED for result in results)
    if not failed:
        return RunStatus.OK
    done = any(result.status is TableStatus.OK for result in results)
    return RunStatus.PARTIAL if done else RunStatus.FAILED


@dataclass(slots=True)
class CommitInterval:
    """When to commit: soon, and then so that commits take a fifth of the time at most.

    To open the catalog takes long when it has many tables; what is ready meanwhile goes together.
    """

    _next: float = field(default_factory=lambda: time.monotonic() + 0.3)

    def is_time(self) -> bool:
        """Whether the last commit is long enough ago."""
        return time.monotonic() >= self._next

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Note how long a commit takes."""
        start = time.monotonic()
        yield
        end = time.monotonic()
        self._next = end + 4 * (end - start)


@dataclass(slots=True)
class _Execution:
    """The work of one run: tables extracted side by side, committed one by one."""

    session: RunSession
    run_: Run
    planned: Planned
    fail_fast: bool
    on_progress: Callable[[Progress], None]
    is_stopped: Callable[[], bool]
    results: list[TableResult] = field(default_factory=list)
    tables_to_compact: list[TableName] = field(default_factory=list)
    expiry_is_due: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    uploader: Uploader = field(init=False)

    def __post_init__(self) -> None:
        spool = SpoolBudget(self.session.config.warehouse.spool_max)
        self.uploader = Uploader(self.session.storage, self.run_.run_id, spool)

    def work(self, threads: int) -> tuple[TableResult, ...]:
        """Do all that is planned; return a result per table, also of those that were not tried."""
        remove_stale_dirs(self.session.catalog.scratch)
        self.results += self.planned.skipped
        for failed in self.planned.failed:
            self._finish(failed)
        if self.planned.failed:
            self._record_failures(self.planned.failed)
            if self.fail_fast:
                self.stopped.set()
        if not self.planned.plans or not self._reached():
            return tuple(self.results)
        self.run_.mark_started()
        with temp_dir(self.session.catalog.scratch, "spool-") as spool:
            workers = Workers(threads, spool / "spill")
            lander = TableLoader(
                self.session.connectors,
                self.session.lake,
                self.uploader,
                workers,
                spool,
                self.stopped,
                self._tell,
            )
            tables = SourcePools(threads, "cdpsync-table")
            try:
                self._commit_as_they_come(
                    {
                        tables.submit(
                            partial(lander.load, plan), plan.source, self._most(plan)
                        ): plan
                        for plan in self.planned.plans
                    }
                )
                self.session.only_upkeep()
                compactor = Compactor(self.session.catalog, self.uploader, spool, self.run_.run_id)
                compactor.compact(self.tables_to_compact)
                if self.expiry_is_due:
                    expire(self.session.catalog, self.session.config.warehouse.keep)
            except BaseException:
                self.stopped.set()
                workers.stop()
                self.uploader.close(wait=False)
                tables.shutdown(wait=False, cancel_futures=True)
                raise
            tables.shutdown()
            self.uploader.close()
            workers.close()
        if not self.uploader.may_have_orphans:
            self.run_.mark_finished()
        publish_after_run(
            self.session.config, self.session.catalog, self.session.storage, self.run_.run_id
        )
        return tuple(self.results)

    def _most(self, plan: TablePlan) -> int | None:
        """Return how many tables its source bears at once."""
        bounds = concurrency_limit_of(self.session.connectors[plan.source])
        return bounds.tables if bounds else None

    def _reached(self) -> bool:
        """Whether the storage is there; without it nothing is read, and every table fails."""
        try:
            self.session.storage.ping()
        except CdpsyncError as error:
            failures = [self._failed(plan, error) for plan in self.planned.plans]
            self._record_failures(failures)
            for failure in failures:
                self._finish(failure)
            return False
        return True

    def _commit_as_they_come(self, waiting: dict[Future[LoadedTable | None], TablePlan]) -> None:
        """Commit tables as they are landed: all that are ready, through one opened catalog."""
        ready: list[LoadedTable] = []
        failures: list[TableResult] = []
        pace = CommitInterval()
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED, timeout=0.5)
            if self.is_stopped():
                raise KeyboardInterrupt
            for future in done:
                plan = waiting.pop(future)
                try:
                    landed = future.result()
                except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                    failures.append(self._failed(plan, error))
                    if self.fail_fast:
                        self.stopped.set()
                else:
                    if landed is None:
                        self._finish(result_of(plan, TableStatus.SKIPPED))
                    else:
                        ready.append(landed)
            if not waiting:
                self.session.done_reading()
            if (ready or failures) and (not waiting or pace.is_time()):
                with pace.taken():
                    self._commit(ready, failures)
                ready, failures = [], []

    def _commit(self, ready: list[LoadedTable], failures: list[TableResult]) -> None:
        """Commit what is ready, each table wholly or not at all, and record what failed."""
        left = {landed.plan.table: landed for landed in ready}
        committed: list[SavedState] = []
        try:
            with self.session.catalog.writer() as con:
                lake = Lake(con)
                committed += self._commit_quiet(lake, left)
                while left:
                    some = tuple(left.values())[:_TOGETHER]
                    committed += self._commit_together(lake, some, failures)
                    for landed in some:
                        del left[landed.plan.table]
                lake.record(self._record_of(failure) for failure in failures)
                self.expiry_is_due = expiry_is_due(lake, self.session.config.warehouse.keep)
        except CdpsyncError as error:
            self.uploader.may_have_orphans = True
            if not left:
                log.warning("the failures are not in the history: %s", error.message)
            failures += [self._failed(one.plan, error, one) for one in left.values()]
        self._remember(committed)
        for failure in failures:
            self._finish(failure)
        if failures and self.fail_fast:
            self.stopped.set()

    def _commit_together(
        self, lake: Lake, landed: Sequence[LoadedTable], failures: list[TableResult]
    ) -> list[SavedState]:
        """Commit tables in one transaction; when that is refused, by halves, to find which one."""
        for one in landed:
            self._tell(one.plan, "committing", rows=one.extracted.rows)
        news = [commit_of(one, self.run_.run_id) for one in landed]
        try:
            results = lake.commit(*news)
        except CdpsyncError as error:
            if len(landed) > 1:
                middle = len(landed) // 2
                first = self._commit_together(lake, landed[:middle], failures)
                return first + self._commit_together(lake, landed[middle:], failures)
            failures.append(self._failed(landed[0].plan, error, landed[0]))
            if isinstance(error, ContractError):  # decided before anything was written
                self.uploader.remove(landed[0].files)
            elif landed[0].files:
                self.uploader.may_have_orphans = True
            return []
        for commit, result in zip(news, results, strict=True):
            if not commit.replace and (commit.files or result.rows_deleted):
                self.tables_to_compact.append(commit.table)
            self._finish(result)
        return [one.saved_state for one in news]

    def _commit_quiet(self, lake: Lake, left: dict[TableName, LoadedTable]) -> list[SavedState]:
        """Commit what has no news at once, and take it out of what is left to commit."""
        news = [
            commit_of(landed, self.run_.run_id) for landed in left.values() if is_unchanged(landed)
        ]
        if news:
            for result in lake.commit_unchanged(news):
                self._finish(result)
            for one in news:
                del left[one.table]
        return [one.saved_state for one in news]

    def _remember(self, committed: Sequence[SavedState]) -> None:
        """Bring the state file up to date; if that fails, the next run mends it."""
        if not committed:
            return

        def apply(state: State) -> None:
            for entry in committed:
                state[entry.source, entry.stream] = of_catalog(entry)

        try:
            update_state(self.session.config.warehouse.state, apply)
        except CatalogError as error:
            log.warning("%s", error.message)  # the lake has the cursors: nothing is lost

    def _record_failures(self, failures: Sequence[TableResult]) -> None:
        """Write failures into the history where there is a lake to hold one."""
        try:
            with self.session.catalog.writer(data=False) as con:
                Lake(con).record(self._record_of(failure) for failure in failures)
        except CatalogError as error:
            log.warning("the failures could not be written into the history: %s", error.message)

    def _record_of(self, result: TableResult) -> RunRecord:
        return RunRecord(self.run_.run_id, self.run_.started_at, clock.now(), result)

    def _failed(
        self, plan: TablePlan, error: Exception, landed: LoadedTable | None = None
    ) -> TableResult:
        if not isinstance(error, CdpsyncError):
            log.error("%s: this is a defect of cdpsync", plan.table, exc_info=error)
        return replace(
            result_of(plan, TableStatus.FAILED),
            rows_read=landed.extracted.rows if landed else 0,
            cursor_before=plan.cursor_before,
            cursor_after=plan.cursor_before,
            seconds=round(time.monotonic() - landed.clock, 3) if landed else 0.0,
            error=Failure.of(error),
        )

    def _finish(self, result: TableResult) -> None:
        self.results.append(result)
        table = TableName(*result.table.split(".", 1))
        self.on_progress(Progress(table, result.status.value, rows=result.rows_read, result=result))

    def _tell(
        self,
        plan: TablePlan,
        step: str,
        *,
        rows: int = 0,
        chunks_done: int = 0,
        chunks: int | None = None,
    ) -> None:
        estimated = plan.stream.estimated_rows if plan.replace else None
        self.on_progress(Progress(plan.table, step, rows, estimated, chunks_done, chunks))
