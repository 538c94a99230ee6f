"""Commits the loaded tables of one run together, and saves their cursors and its failures."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.catalog import Lake, ducklake
from cdpsync.connector.faults import unknown_error
from cdpsync.errors import CatalogError, CdpsyncError, ContractError
from cdpsync.load.commit import commit_of, is_unchanged, result_of
from cdpsync.load.table import progress_of
from cdpsync.maintain.compact import files_to_compact
from cdpsync.maintain.maintenance import expiry_is_due
from cdpsync.model import Failure, RunRecord, SavedState, TableName, TableResult, TableStatus
from cdpsync.state import State, entry_of, update_state
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cdpsync.load.table import LoadedTable, ProgressCallback
    from cdpsync.load.upload import Uploader
    from cdpsync.model import TablePlan
    from cdpsync.project.journal import Run
    from cdpsync.sync.session import RunSession

log = logging.getLogger("cdpsync.sync")

_MAX_BATCH = 100  # tables in one transaction


@dataclass(slots=True)
class CommitInterval:
    """The pauses between commits: the first is short, then commits take a fifth of the time.

    A catalog of many tables takes long to open, so tables that are ready meanwhile are committed
    together.
    """

    _next: float = field(default_factory=lambda: time.monotonic() + 0.3)

    def is_over(self) -> bool:
        """Whether the next commit may start."""
        return time.monotonic() >= self._next

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure how long a commit takes; the next pause depends on it."""
        start = time.monotonic()
        yield
        end = time.monotonic()
        self._next = end + 4 * (end - start)


@dataclass(slots=True)
class Committer:
    """Collects loaded tables and failures, and commits them at intervals. Used from one thread.

    `on_result` gets the result of each table that was committed or failed; its lock is released
    when the state file has its cursor, or the history its failure. `tables_to_compact`
    and `expiry_is_due` say which upkeep the commits made necessary.
    """

    session: RunSession
    run: Run
    uploader: Uploader
    on_result: Callable[[TableResult], None]
    on_progress: ProgressCallback
    tables_to_compact: list[TableName] = field(default_factory=list)
    expiry_is_due: bool = False
    _loaded: list[LoadedTable] = field(default_factory=list)
    _failures: list[TableResult] = field(default_factory=list)
    _interval: CommitInterval = field(default_factory=CommitInterval)

    def add(self, table: LoadedTable) -> None:
        """Add a table to the next commit."""
        self._loaded.append(table)

    def add_failure(self, failure: TableResult) -> None:
        """Add a failure to the next commit, which records it in the history."""
        self._failures.append(failure)

    def commit_added(self, *, is_last: bool) -> None:
        """Commit what was added, all through one opened catalog, if the interval is over.

        The last commit does not wait for the interval.
        """
        if (self._loaded or self._failures) and (is_last or self._interval.is_over()):
            with self._interval.measured():
                self._commit(self._loaded, self._failures)
            self._loaded, self._failures = [], []

    def record_failures(self, failures: Sequence[TableResult]) -> None:
        """Record failures in the history, if there is a lake."""
        try:
            with self.session.catalog.writer(data=False) as con:
                Lake(con).record(self._record_of(failure) for failure in failures)
        except CatalogError as error:
            _warn_unrecorded(error)

    def save_missing(self, states: Sequence[SavedState]) -> None:
        """Save which streams are missing at their sources, or back. A failure is a warning."""
        if not states:
            return
        try:
            with self.session.catalog.writer(data=False) as con:
                Lake(con).save_missing(states)
        except CatalogError as error:
            log.warning("missing tables could not be noted in the lake: %s", error.message)

    def _commit(self, tables: Sequence[LoadedTable], failures: list[TableResult]) -> None:
        """Commit each table wholly or not at all, and record the failures."""
        remaining = {table.plan.table: table for table in tables}
        saved_states: list[SavedState] = []
        try:
            with self.session.catalog.writer() as con:
                con.execute(engine.ONE_THREAD)
                lake = Lake(con)
                saved_states += self._commit_unchanged(lake, remaining)
                if remaining:
                    con.execute(engine.ALL_THREADS)
                while remaining:
                    batch = tuple(remaining.values())[:_MAX_BATCH]
                    saved_states += self._commit_together(lake, batch, failures)
                    for table in batch:
                        del remaining[table.plan.table]
                lake.record(self._record_of(failure) for failure in failures)
                self.expiry_is_due = expiry_is_due(lake, self.session.config.warehouse.keep)
        except CdpsyncError as error:
            self.uploader.may_have_orphans = True
            if not remaining:
                _warn_unrecorded(error)
            failures += [failed_result(table.plan, error, table) for table in remaining.values()]
        self._update_state_file(saved_states)
        for failure in failures:
            self.on_result(failure)
        self.session.release(table.plan.table for table in tables)
        self.session.release(failure.table for failure in failures)

    def _commit_unchanged(
        self, lake: Lake, remaining: dict[TableName, LoadedTable]
    ) -> list[SavedState]:
        """Commit the tables without changes in one transaction; drop them from `remaining`."""
        commits = [
            commit_of(table, self.run.run_id) for table in remaining.values() if is_unchanged(table)
        ]
        if commits:
            for result in lake.commit_unchanged(commits):
                self.on_result(result)
            for commit in commits:
                del remaining[commit.table]
        return [commit.saved_state for commit in commits]

    def _commit_together(
        self, lake: Lake, tables: Sequence[LoadedTable], failures: list[TableResult]
    ) -> list[SavedState]:
        """Commit tables in one transaction.

        If that fails, commit each half in its own, so that only the table at fault fails.
        """
        for table in tables:
            self.on_progress(progress_of(table.plan, "committing", rows=table.extracted.rows))
        commits = [commit_of(table, self.run.run_id) for table in tables]
        try:
            results = lake.commit(*commits)
        except CdpsyncError as error:
            if len(tables) > 1:
                middle = len(tables) // 2
                saved_states = self._commit_together(lake, tables[:middle], failures)
                return saved_states + self._commit_together(lake, tables[middle:], failures)
            self._fail(tables[0], error, failures)
            return []
        for commit, result in zip(commits, results, strict=True):
            if not commit.replace and (commit.files or result.rows_deleted):
                self._find_files_to_compact(lake, commit.table)
            self.on_result(result)
        return [commit.saved_state for commit in commits]

    def _find_files_to_compact(self, lake: Lake, table: TableName) -> None:
        """Note a table that has files to compact, through the catalog that is open now.

        `Compactor` opens it again, and looks again under the table's lock. So if the files cannot
        be listed here, it tells why.
        """
        import duckdb

        root = self.session.catalog.data_path
        with suppress(duckdb.Error):
            if not files_to_compact(ducklake.data_files(lake.con, table, root)):
                return
        self.tables_to_compact.append(table)

    def _fail(self, table: LoadedTable, error: CdpsyncError, failures: list[TableResult]) -> None:
        """Add the failure of a table that the catalog refused, whose files no commit names."""
        failures.append(failed_result(table.plan, error, table))
        if isinstance(error, ContractError):  # raised before anything was written
            self.uploader.remove((*table.files, *table.rejected_files))
        elif table.files or table.rejected_files:
            self.uploader.may_have_orphans = True

    def _update_state_file(self, saved_states: Sequence[SavedState]) -> None:
        """Write cursors to the state file; after a failure, the next run corrects the file."""
        if not saved_states:
            return

        def apply(state: State) -> None:
            for saved_state in saved_states:
                state[saved_state.source, saved_state.stream] = entry_of(saved_state)

        try:
            update_state(self.session.config.warehouse.state, apply)
        except CatalogError as error:
            log.warning("%s", error.message)  # no error, because the lake has the cursors

    def _record_of(self, result: TableResult) -> RunRecord:
        return RunRecord(self.run.run_id, self.run.started_at, clock.now(), result)


def failed_result(
    plan: TablePlan,
    error: Exception,
    table: LoadedTable | None = None,
    *,
    seconds: float = 0.0,
) -> TableResult:
    """Return the result of a table that failed, with the figures of its load if it was loaded.

    `seconds` is how long its load took that failed.
    """
    if not isinstance(error, CdpsyncError):
        error = unknown_error(str(plan.table), error)
    return replace(
        result_of(plan, TableStatus.FAILED),
        rows_read=table.extracted.rows if table else 0,
        cursor_before=plan.cursor_before,
        cursor_after=plan.cursor_before,
        seconds=table.seconds if table else round(seconds, 3),
        error=Failure.of(error),
        notices=plan.notices[:1] if plan.is_other_source else (),  # it may be the reason
    )


def _warn_unrecorded(error: CdpsyncError) -> None:
    log.warning("the failures could not be written into the history: %s", error.message)
