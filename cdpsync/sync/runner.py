"""Runs one sync: discover, lock, plan, load, commit, upkeep."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import remove_stale_dirs, temp_dir
from cdpsync.connector import concurrency_limit_of
from cdpsync.errors import CdpsyncError
from cdpsync.extract.grouped import GroupedReads
from cdpsync.extract.source_pools import SourcePools
from cdpsync.extract.workers import Workers
from cdpsync.load.commit import result_of
from cdpsync.load.table import LoadedTable, TableLoader, progress_of
from cdpsync.load.upload import Uploader
from cdpsync.maintain.compact import Compactor
from cdpsync.maintain.maintenance import expire
from cdpsync.maintain.publish import publish_after_run
from cdpsync.model import (
    Config,
    Planned,
    Progress,
    RunResult,
    RunStatus,
    SkipReason,
    TableName,
    TablePlan,
    TableResult,
    TableStatus,
)
from cdpsync.project.journal import Run, default_threads, start_run
from cdpsync.sync.committer import Committer, failed_result
from cdpsync.sync.sample import SampleCommitter
from cdpsync.sync.selection import RunOptions
from cdpsync.sync.session import RunSession
from cdpsync.system import clock
from cdpsync.system.memory import memory_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cdpsync.load.table import ProgressCallback
    from cdpsync.model.deliveries import DeliveryResult


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
    accept_source: bool = False,
) -> Planned:
    """Return what `run` with the same arguments would do. Writes neither the lake nor a source."""
    options = RunOptions(
        select,
        include,
        exclude,
        due,
        full_refresh,
        allow_shrink,
        accept_changes,
        accept_source=accept_source,
    )
    with RunSession(_loaded(config), options) as session:
        return session.plan()


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
    accept_source: bool = False,
    limit: int | None = None,
    send: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    is_stopped: Callable[[], bool] | None = None,
) -> RunResult:
    """Sync the selected tables of a project into its lake, and return the result of each.

    A table that fails keeps its old rows and cursor, and does not stop the others. A table on which
    another run works is skipped, with a notice. Raises ConfigError when the project or the
    selection is wrong, LockHeldError when other runs work on all the tables, CatalogError when
    catalog or state file cannot be used; nothing was changed then. `on_progress` is called from
    several threads. When `is_stopped` returns True, the run ends as with Ctrl-C: KeyboardInterrupt,
    and no table is half committed.

    Afterwards, the project's destinations that are due get what the tables have changed, unless
    `send` is False. One that fails makes the run partial.

    With `limit`, at most so many rows of each table are read into a sample beside it, such as
    `shop.orders__sample`; the tables, their cursors and the history stay as they are.
    """
    options = RunOptions(
        select,
        include,
        exclude,
        due,
        full_refresh,
        allow_shrink,
        accept_changes,
        limit,
        accept_source,
    )
    new_run = start_run(_loaded(config))
    run_id, started_at = new_run.run_id, new_run.started_at
    with (
        closing(new_run),
        RunSession(new_run.config, options) as session,
        session.locked(run_id, started_at),
    ):
        planned = session.plan()
        session.require_unlocked(planned)
        runner = Runner(
            session,
            new_run,
            planned,
            fail_fast=fail_fast,
            on_progress=on_progress or (lambda _: None),
            is_stopped=is_stopped or (lambda: False),
        )
        results = runner.work(threads or default_threads())
    results = tuple(sorted(results, key=lambda result: (result.source, result.table)))
    deliveries: tuple[DeliveryResult, ...] = ()
    if send and limit is None and new_run.config.destinations:
        deliveries = _send(
            new_run.config,
            results,
            is_whole=not (select or include or exclude),
            is_stopped=is_stopped,
        )
    status = _overall(results)
    if status is RunStatus.OK and any(delivery.status == "failed" for delivery in deliveries):
        status = RunStatus.PARTIAL
    return RunResult(run_id, status, started_at, clock.now(), results, deliveries)


def _send(
    config: Config,
    results: Sequence[TableResult],
    *,
    is_whole: bool,
    is_stopped: Callable[[], bool] | None,
) -> tuple[DeliveryResult, ...]:
    """Send what the run has changed, to the destinations that its tables feed."""
    from cdpsync.destinations import send_after_run  # a project without destinations pays nothing

    tables = None if is_whole else [result.table for result in results]
    return send_after_run(config, tables, is_stopped=is_stopped or (lambda: False))


def _loaded(config: Config | str | Path | None) -> Config:
    return config if isinstance(config, Config) else project.load(config)


def _overall(results: Sequence[TableResult]) -> RunStatus:
    """Return the result of a run.

    It is partial where a table was left out that was asked for, and has failed where all that was
    asked for is missing at its source. A pattern that excludes nothing was not asked for.
    """
    asked_for = [r for r in results if r.skip_reason is not SkipReason.EXCLUDES_NOTHING]
    if asked_for and all(result.skip_reason is SkipReason.MISSING for result in asked_for):
        return RunStatus.FAILED
    if any(result.skip_reason is SkipReason.LOCKED for result in results):
        return RunStatus.PARTIAL
    if not any(result.status is TableStatus.FAILED for result in results):
        return RunStatus.OK
    succeeded = any(result.status is TableStatus.OK for result in results)
    return RunStatus.PARTIAL if succeeded else RunStatus.FAILED


@dataclass(slots=True)
class Runner:
    """The work of one run: loads tables side by side, commits them, and does the upkeep."""

    session: RunSession
    run: Run
    planned: Planned
    fail_fast: bool
    on_progress: ProgressCallback
    is_stopped: Callable[[], bool]
    results: list[TableResult] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    load_starts: dict[TableName, float] = field(default_factory=dict)
    uploader: Uploader = field(init=False)
    committer: Committer | SampleCommitter = field(init=False)

    def __post_init__(self) -> None:
        spool_max = self.session.config.warehouse.spool_max
        self.uploader = Uploader(self.session.storage, self.run.run_id, spool_max)
        if self.session.options.limit is None:
            self.committer = Committer(
                self.session, self.run, self.uploader, self._finish, self.on_progress
            )
        else:
            self.committer = SampleCommitter(self.session, self.run, self.uploader, self._finish)

    def work(self, threads: int) -> tuple[TableResult, ...]:
        """Do the planned work; return a result per table, also of tables that were skipped."""
        remove_stale_dirs(self.session.catalog.scratch)
        self.results += (*self.planned.skipped, *self.planned.locked)
        self.committer.save_missing(self.planned.missing)
        if self.planned.failed:
            self._finish_all(self.planned.failed)
        self.session.release_all_but(plan.table for plan in self.planned.plans)
        if not self.planned.plans or not self._storage_is_reachable():
            return tuple(self.results)
        self.run.mark_started()
        with temp_dir(self.session.catalog.scratch, "spool-") as spool:
            self._load_and_commit(threads, spool)
        if not self.uploader.may_have_orphans:
            self.run.mark_finished()
        publish_after_run(
            self.session.config, self.session.catalog, self.session.storage, self.run.run_id
        )
        return tuple(self.results)

    def _storage_is_reachable(self) -> bool:
        """Whether the storage is reachable; if not, no table is read and every table fails."""
        try:
            start = time.monotonic()
            self.session.storage.ping()
        except CdpsyncError as error:
            seconds = time.monotonic() - start
            self._finish_all(
                [failed_result(plan, error, seconds=seconds) for plan in self.planned.plans]
            )
            return False
        return True

    def _load_and_commit(self, threads: int, spool: Path) -> None:
        budget = memory_budget(self.session.config.warehouse.memory, threads)
        workers = Workers(threads, spool / "spill", budget)
        groups = GroupedReads(
            self.session.connectors,
            self.planned.plans,
            workers,
            spool,
            lambda plan, rows: self.on_progress(progress_of(plan, "reading", rows=rows)),
        )
        loader = TableLoader(
            self.session.connectors,
            self.session.lake,
            self.uploader,
            workers,
            spool,
            self.stopped,
            self.on_progress,
            groups.opener,
        )
        pools = SourcePools(threads, "cdpsync-table")
        try:
            self._commit_as_loaded(
                {
                    pools.submit(
                        partial(self._load, loader, plan),
                        plan.source,
                        self._max_tables(plan),
                        apart=groups.has_group(plan.source),
                    ): plan
                    for plan in self.planned.plans
                }
            )
            groups.close()
            self._do_upkeep(spool)
        except BaseException:
            self.stopped.set()
            workers.stop()
            self.uploader.close(wait=False)
            pools.shutdown(wait=False, cancel_futures=True)
            raise
        pools.shutdown()
        self.uploader.close()
        workers.close()

    def _load(self, loader: TableLoader, plan: TablePlan) -> LoadedTable | None:
        self.load_starts[plan.table] = time.monotonic()
        return loader.load(plan)

    def _max_tables(self, plan: TablePlan) -> int | None:
        """Return how many tables the plan's source allows to be read at once."""
        limit = concurrency_limit_of(self.session.connectors[plan.source])
        return limit.tables if limit else None

    def _commit_as_loaded(self, loads: dict[Future[LoadedTable | None], TablePlan]) -> None:
        """Commit tables while others are still being loaded."""
        while loads:
            finished, _ = wait(loads, return_when=FIRST_COMPLETED, timeout=0.5)
            if self.is_stopped():
                raise KeyboardInterrupt
            for load in finished:
                self._add_to_commit(load, loads.pop(load))
            if not loads:
                self.session.done_reading()
            self.committer.commit_added(is_last=not loads)

    def _add_to_commit(self, load: Future[LoadedTable | None], plan: TablePlan) -> None:
        try:
            table = load.result()
        except Exception as error:  # noqa: BLE001 - any error is its table's, the others go on
            now = time.monotonic()
            seconds = now - self.load_starts.get(plan.table, now)
            self.committer.add_failure(failed_result(plan, error, seconds=seconds))
            if self.fail_fast:
                self.stopped.set()
        else:
            if table is None:
                skipped = result_of(plan, TableStatus.SKIPPED)
                self._finish(replace(skipped, skip_reason=SkipReason.STOPPED))
                self.session.release([plan.table])
            else:
                self.committer.add(table)

    def _do_upkeep(self, spool: Path) -> None:
        """Compact tables and expire snapshots; no table is locked, except for its own upkeep."""
        compactor = Compactor(
            self.session.catalog,
            self.session.lock_for_upkeep,
            self.uploader,
            spool,
            self.run.run_id,
        )
        compactor.compact(self.committer.tables_to_compact)
        if self.committer.expiry_is_due:
            expire(self.session.catalog, self.session.config.warehouse.keep)

    def _finish_all(self, failures: Sequence[TableResult]) -> None:
        """Record failures of tables that were not read."""
        self.committer.record_failures(failures)
        for failure in failures:
            self._finish(failure)

    def _finish(self, result: TableResult) -> None:
        self.results.append(result)
        if self.fail_fast and result.status is TableStatus.FAILED:
            self.stopped.set()
        self.on_progress(
            Progress(result.table, result.status.value, rows=result.rows_read, result=result)
        )
